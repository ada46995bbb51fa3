package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/kept"
)

// Bounds of an upload beside the file's own.
const (
	maxFileName  = 512
	maxFormField = 1 << 10
	maxFormParts = 16
	uploadTime   = 30 * time.Minute // for all of a file to arrive
)

// fileObject is a file as OpenAI's clients read it.
type fileObject struct {
	ID        string `json:"id"`
	Object    string `json:"object"` // "file"
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	Name      string `json:"filename"`
	Purpose   string `json:"purpose"`
	Status    string `json:"status"` // "processed"
}

func fileOf(f kept.File) fileObject {
	return fileObject{f.ID, "file", f.Bytes, f.CreatedAt.Unix(), f.Name, f.Purpose, "processed"}
}

// errFilesElsewhere is the answer of a gateway of its own: the bytes of files are in the control plane's data directory.
var errFilesElsewhere = withStatus{http.StatusNotImplemented, fault.New(fault.Unsupported, "Files are kept by the control plane, and this is a gateway alone.", fault.Code("files_elsewhere"),
	fault.Fix("Send requests for /v1/files to the address of the control plane, or have the proxy before both do so."))}

// files is where files are; an error where none are kept.
func (o *OpenAI) files() (*kept.Service, error) {
	if o.Kept == nil {
		return nil, errNothingKept
	}
	if o.Kept.Blobs == nil {
		return nil, errFilesElsewhere
	}
	return o.Kept, nil
}

// arriving is a body whose pieces have a time each.
type arriving struct {
	w     *sink
	r     *http.Request
	until time.Time
}

func (a *arriving) Read(p []byte) (int, error) {
	now := a.w.now()
	if now.After(a.until) {
		return 0, fault.New(fault.Timeout, "The file did not arrive in time.")
	}
	_ = http.NewResponseController(a.w.ResponseWriter).SetReadDeadline(now.Add(chunkTimeout)) // tests have no connection
	return a.r.Body.Read(p)
}

// addFile takes a multipart form with a file and its purpose, in either order.
func (o *OpenAI) addFile(w *sink, r *http.Request, a *asked) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return fault.New(fault.Invalid, "A file is sent as multipart/form-data with the fields file and purpose.", fault.Field("file"))
	}
	if err := o.Intake.expect(a.who); err != nil {
		return err
	}
	defer o.Intake.arrived(a.who)
	body := http.MaxBytesReader(w.ResponseWriter, io.NopCloser(&arriving{w, r, w.now().Add(uploadTime)}), files.MaxFile()+1<<20)
	f, err := o.takeForm(r, files, multipart.NewReader(body, params["boundary"]), kept.File{Project: a.who.ProjectID, CreatedBy: a.who.KeyID})
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return tooLarge(files.MaxFile())
		}
		if fault.Is(err, fault.Internal) && errors.Is(err, io.ErrUnexpectedEOF) {
			return fault.New(fault.Invalid, "The form ended before it was complete.", fault.Cause(err))
		}
		return err
	}
	w.unread = false
	return reply(w, fileOf(f))
}

func (o *OpenAI) takeForm(r *http.Request, files *kept.Service, form *multipart.Reader, f kept.File) (kept.File, error) {
	var stored bool
	for n := 0; ; n++ {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || n == maxFormParts {
			return f, broken(err)
		}
		switch part.FormName() {
		case "purpose":
			text, err := io.ReadAll(io.LimitReader(part, maxFormField))
			if err != nil {
				return f, broken(err)
			}
			f.Purpose = string(text)
			if !slices.Contains(kept.Purposes, f.Purpose) {
				return f, fault.InvalidField("purpose", "purpose must be one of assistants, batch, fine-tune, vision, user_data, evals.")
			}
		case "file":
			if stored {
				return f, fault.InvalidField("file", "There is more than one file.")
			}
			f.Name = part.FileName()
			if f.Name == "" || len(f.Name) > maxFileName || !utf8.ValidString(f.Name) || slices.Contains([]byte(f.Name), 0) {
				return f, fault.InvalidField("file", "The file needs a name of at most %d bytes.", maxFileName)
			}
			if f, err = files.Put(r.Context(), f, part); err != nil {
				return f, err
			}
			stored = true
		default:
			if _, err := io.Copy(io.Discard, io.LimitReader(part, maxFormField)); err != nil {
				return f, broken(err)
			}
		}
	}
	switch {
	case !stored:
		return f, fault.New(fault.Invalid, "file is missing.", fault.Field("file"), fault.Code("missing_required_parameter"))
	case f.Purpose == "":
		return f, fault.New(fault.Invalid, "purpose is missing.", fault.Field("purpose"), fault.Code("missing_required_parameter"))
	}
	return files.AddFile(r.Context(), f)
}

func broken(err error) error {
	if _, large := errors.AsType[*http.MaxBytesError](err); large || err != nil && !fault.Is(err, fault.Internal) {
		return err
	}
	return fault.New(fault.Invalid, "The form is broken.", fault.Field("file"), fault.Cause(err))
}

func (o *OpenAI) listFiles(w *sink, r *http.Request, a *asked) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	p := page.Page{Limit: page.Most}
	if text := q.Get("limit"); text != "" {
		if p.Limit, err = strconv.Atoi(text); err != nil || p.Limit < 1 || p.Limit > 10_000 {
			return fault.InvalidField("limit", "limit is 1 to 10000.")
		}
		p.Limit = min(p.Limit, page.Most)
	}
	if after := q.Get("after"); after != "" {
		f, err := files.File(r.Context(), a.who.ProjectID, after)
		if err != nil {
			return err
		}
		p.After = page.Key{strconv.FormatInt(f.CreatedAt.UnixMicro(), 10), f.ID}
	}
	limit := p.Limit
	p.Limit++ // one more says whether there is more
	list, err := files.List(r.Context(), a.who.ProjectID, q.Get("purpose"), p)
	if err != nil {
		return err
	}
	out := struct {
		Object  string       `json:"object"`
		Data    []fileObject `json:"data"`
		HasMore bool         `json:"has_more"`
		FirstID *string      `json:"first_id"`
		LastID  *string      `json:"last_id"`
	}{Object: "list", Data: []fileObject{}, HasMore: len(list) > limit}
	for _, f := range list[:min(limit, len(list))] {
		out.Data = append(out.Data, fileOf(f))
	}
	if n := len(out.Data); n > 0 {
		out.FirstID, out.LastID = &out.Data[0].ID, &out.Data[n-1].ID
	}
	return reply(w, out)
}

func (o *OpenAI) showFile(w *sink, r *http.Request, a *asked) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	f, err := files.File(r.Context(), a.who.ProjectID, a.name)
	if err != nil {
		return err
	}
	return reply(w, fileOf(f))
}

func (o *OpenAI) readFile(w *sink, r *http.Request, a *asked) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	f, text, err := files.Open(r.Context(), a.who.ProjectID, a.name)
	if err != nil {
		return err
	}
	defer text.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.FormatInt(f.Bytes, 10))
	w.WriteHeader(http.StatusOK)
	// Pieces above what buffers on the way take have a deadline each.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{text}, make([]byte, 128<<10)); err != nil {
		panic(http.ErrAbortHandler) // half a file must not look whole
	}
	return nil
}

// Bounds of the files that one request may name.
const (
	maxPlaced      = 16 << 20 // bytes of them together
	maxPlacedFiles = 64
)

// withFiles puts the bytes of the project's files in place of their ids in a request of the model API, and in the items that
// it goes on from. held is the memory that this took of the intake's, given back by the caller whatever the error.
func (o *OpenAI) withFiles(ctx context.Context, c *gateway.Call) (held int, err error) {
	kind := c.Dialect
	if kind == "" && c.Path == openai.ChatPath {
		kind = dialect.Chat
	}
	if kind != dialect.Chat && kind != dialect.Responses && kind != dialect.Anthropic {
		return 0, nil
	}
	left, count := int64(maxPlaced), 0
	get := func(id string) (dialect.LeftFile, error) {
		if count++; count > maxPlacedFiles {
			return dialect.LeftFile{}, fault.InvalidField("file_id", "A request names at most %d files.", maxPlacedFiles)
		}
		name, text, err := o.leftFile(ctx, c.Who.ProjectID, id, &left, &held)
		return dialect.LeftFile{Name: name, Data: text}, err
	}
	if c.Body, err = dialect.WithFiles(kind, c.Body, get); err != nil || len(c.Earlier) == 0 {
		return held, err
	}
	const before, behind = `{"input":`, `}`
	earlier, err := dialect.WithFiles(kind, slices.Concat([]byte(before), c.Earlier, []byte(behind)), get)
	if err == nil {
		c.Earlier = earlier[len(before) : len(earlier)-len(behind)]
	}
	return held, err
}

// leftFile reads one file of a project, as far as there is room left. The memory for it, in base64 and in the body, is held
// before.
func (o *OpenAI) leftFile(ctx context.Context, project, id string, left *int64, held *int) (name string, text []byte, err error) {
	files, err := o.files()
	if err != nil {
		return "", nil, err
	}
	f, r, err := files.Open(ctx, project, id)
	if fault.Is(err, fault.NotFound) {
		return "", nil, fault.New(fault.Invalid, "There is no file "+clip(id)+" here.", fault.Code("file_not_found"), fault.Field("file_id"),
			fault.Fix("Name a file of this project that was sent to POST /v1/files, or send its bytes in the request."))
	}
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	if *left -= f.Bytes; *left < 0 {
		return "", nil, fault.New(fault.TooLarge, "The files that the request names have together more than "+strconv.Itoa(maxPlaced)+" bytes.", fault.Field("file_id"),
			fault.Fix("Name fewer or smaller ones."))
	}
	n := int(2 * f.Bytes)
	if err = o.Intake.hold(n); err != nil {
		return "", nil, err
	}
	*held += n
	if text, err = io.ReadAll(io.LimitReader(r, f.Bytes+1)); err == nil && int64(len(text)) != f.Bytes {
		err = fault.New(fault.Internal, "A file is not as long as it was.")
	}
	return f.Name, text, err
}

func (o *OpenAI) removeFile(w *sink, r *http.Request, a *asked) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	if err := files.RemoveFile(r.Context(), a.who.ProjectID, a.name); err != nil {
		return err
	}
	return reply(w, deleted{a.name, "file", true})
}
