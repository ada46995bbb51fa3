package dialect

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// LeftFile is a file that a caller left here, to stand in a request in place of its id.
type LeftFile struct {
	Name string
	Data []byte
}

var fileID = []byte("file_id")

// NamesFiles says whether a request may name files; it looks for the rarest character of the name.
func NamesFiles(body []byte) bool {
	const at = 4 // of the character in the name
	for pos := at; pos < len(body); pos++ {
		i := bytes.IndexByte(body[pos:], '_')
		if i < 0 {
			return false
		}
		if pos += i; bytes.HasPrefix(body[pos-at:], fileID) {
			return true
		}
	}
	return false
}

// WithFiles puts files in place of their ids, in the dialect's own words for bytes; every other byte stays. Google's
// dialect names files by their URLs alone.
func WithFiles(d Kind, body []byte, get func(id string) (LeftFile, error)) ([]byte, error) {
	if err := wire.Check(body); err != nil {
		return nil, err
	}
	p := &placing{d: d, get: get}
	root := gjson.ParseBytes(body)
	switch d {
	case Chat, Anthropic:
		p.contents(root, "messages", "content")
	case Responses:
		p.contents(root, "input", "content")
		p.contents(root, "input", "output")
	}
	if p.err != nil || len(p.changes) == 0 {
		return body, p.err
	}
	return splice(body, p.changes), nil
}

// placing walks over a request and notes what takes the place of what.
type placing struct {
	d       Kind
	get     func(id string) (LeftFile, error)
	changes []change
	err     error
}

// members calls f for every member of a name, as a name that is there twice must not hide one.
func members(v gjson.Result, name string, f func(gjson.Result)) {
	if v.IsObject() {
		v.ForEach(func(k, m gjson.Result) bool {
			if k.Str == name {
				f(m)
			}
			return true
		})
	}
}

func elements(v gjson.Result, f func(gjson.Result)) {
	if v.IsArray() {
		v.ForEach(func(_, e gjson.Result) bool { f(e); return true })
	}
}

func (p *placing) contents(root gjson.Result, list, content string) {
	members(root, list, func(l gjson.Result) {
		elements(l, func(m gjson.Result) {
			members(m, content, func(c gjson.Result) { elements(c, p.part) })
		})
	})
}

// part replaces what names a file in one part of a message.
func (p *placing) part(part gjson.Result) {
	switch p.d {
	case Chat:
		members(part, "file", func(f gjson.Result) { p.place(f, f, chatFile) })
	case Responses:
		as := responsesFile
		if part.Get("type").String() == "input_image" {
			as = responsesImage
		}
		p.place(part, part, as)
	case Anthropic:
		as := anthropicDocument
		if part.Get("type").String() == "image" {
			as = anthropicImage
		}
		members(part, "source", func(s gjson.Result) { p.place(s, part, as) })
		members(part, "content", func(c gjson.Result) { elements(c, p.part) }) // of a tool's result
	}
}

// place puts what as writes in place of an object that has the id of a file; of is the part that it stands in.
func (p *placing) place(v, of gjson.Result, as func(w *wire.Writer, of gjson.Result, f *LeftFile)) {
	members(v, "file_id", func(id gjson.Result) {
		if id.Type != gjson.String || p.err != nil || len(p.changes) > 0 && p.changes[len(p.changes)-1].from == v.Index {
			return
		}
		f, err := p.get(id.Str)
		if err != nil {
			p.err = err
			return
		}
		w := &wire.Writer{}
		w.Open()
		as(w, of, &f)
		w.Close()
		p.changes = append(p.changes, change{v.Index, v.Index + len(v.Raw), string(w.B)})
	})
}

func (f *LeftFile) media() string {
	if m := mediaOf(f.Name, ""); m != "" {
		return m
	}
	m, _, _ := strings.Cut(http.DetectContentType(f.Data), ";")
	return m
}

func (f *LeftFile) base64() string { return base64.StdEncoding.EncodeToString(f.Data) }

func (f *LeftFile) dataURL() string { return "data:" + f.media() + ";base64," + f.base64() }

func chatFile(w *wire.Writer, _ gjson.Result, f *LeftFile) {
	w.FText("filename", f.Name)
	w.FText("file_data", f.dataURL())
}

func responsesFile(w *wire.Writer, _ gjson.Result, f *LeftFile) {
	w.FText("type", "input_file")
	chatFile(w, gjson.Result{}, f)
}

func responsesImage(w *wire.Writer, part gjson.Result, f *LeftFile) {
	w.FText("type", "input_image")
	w.FText("image_url", f.dataURL())
	if detail := part.Get("detail"); detail.Type == gjson.String {
		w.FText("detail", detail.Str)
	}
}

func anthropicImage(w *wire.Writer, _ gjson.Result, f *LeftFile) {
	w.FText("type", "base64")
	w.FText("media_type", f.media())
	w.FText("data", f.base64())
}

// anthropicDocument writes texts as such: the dialect takes no other documents than those and PDF.
func anthropicDocument(w *wire.Writer, of gjson.Result, f *LeftFile) {
	if strings.HasPrefix(f.media(), "text/") && utf8.Valid(f.Data) && len(f.Data) > 0 {
		w.FText("type", "text")
		w.FText("media_type", "text/plain")
		w.FText("data", string(f.Data))
		return
	}
	anthropicImage(w, of, f)
}

// notHere refuses a file that nothing was put in place of.
func (r *Request) notHere(o wire.Object, name string) {
	o.Get(name)
	o.Doc().Fail(fault.New(fault.Unsupported, o.Field(name)+" names a file that was not left here.", fault.Field(printable(o.Field(name))),
		fault.Code("file_not_found"), fault.Fix("Send the file to POST /v1/files first, or send its bytes in the request.")))
}
