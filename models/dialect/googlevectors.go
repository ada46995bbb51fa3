package dialect

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// ParseGoogleEmbed reads a request of Google's embedContent, or of batchEmbedContents, whose model the path names. What
// stands beside a text, above all what it is for (taskType, title), is kept for engines that can be told.
func ParseGoogleEmbed(body []byte, model string) (r *EmbedRequest, batch bool, err error) {
	doc, o := wire.ParseFolded(body)
	if doc.Err() != nil {
		return nil, false, doc.Err()
	}
	r = &EmbedRequest{Model: model}
	if batch = o.Has("requests"); !batch {
		r.googleContent(o)
		return r, false, doc.Err()
	}
	list := o.List("requests")
	if len(list) == 0 || len(list) > maxPrompts {
		o.Fail("requests", "requests must have 1 to %d entries.", maxPrompts)
	}
	for i, e := range list {
		before := r.Dimensions
		r.googleContent(e.Obj())
		if i > 0 && (before == nil) != (r.Dimensions == nil) || before != nil && r.Dimensions != nil && *before != *r.Dimensions {
			o.Fail("requests", "requests must all ask for the same outputDimensionality.")
		}
	}
	return r, true, doc.Err()
}

// googleContent adds one text; of several parts it is the texts joined.
func (r *EmbedRequest) googleContent(o wire.Object) {
	o.Get("model") // the path names it
	var hints []wire.Member
	for _, name := range []string{"taskType", "title"} {
		if t := o.Text(name); t != "" && t != "TASK_TYPE_UNSPECIFIED" {
			hints = append(hints, wire.Member{Name: name, Raw: wire.AppendText(nil, t)})
		}
	}
	r.Dimensions = o.Int("outputDimensionality", 1, maxDimensions)
	c, ok := o.Obj("content")
	if !ok {
		o.Doc().Fail(fault.New(fault.Invalid, "content is missing.", fault.Field("content"), fault.Code("missing_required_parameter")))
		return
	}
	c.Get("role")
	var text strings.Builder
	for _, e := range c.List("parts") {
		p := e.Obj()
		if !p.Has("text") {
			p.Fail("text", "Only parts with text can be embedded.")
		}
		text.WriteString(p.Text("text"))
	}
	r.Inputs, r.Hints = append(r.Inputs, Prompt{Text: text.String()}), append(r.Hints, append(hints, o.Rest()...))
}

// WriteGoogleEmbed writes a request for vectors as Google's batchEmbedContents. Tokens instead of texts are refused;
// dropped are the names that the dialect has no word for.
func WriteGoogleEmbed(e *EmbedRequest) (body []byte, dropped []string, err error) {
	w := &wire.Writer{}
	w.Open()
	w.Key("requests")
	w.List()
	for i, p := range e.Inputs {
		if p.Tokens != nil {
			return nil, nil, fault.New(fault.Unsupported, "input has tokens, which cannot be passed on to what serves this model: send texts.", fault.Field("input"),
				fault.Code("unsupported_parameter"))
		}
		w.Open()
		w.FText("model", "models/"+strings.TrimPrefix(e.Model, "models/"))
		w.Key("content")
		w.Open()
		w.Key("parts")
		w.List()
		w.Open()
		w.FText("text", p.Text)
		w.Close()
		w.EndList()
		w.Close()
		w.OptInt("outputDimensionality", e.Dimensions)
		if i < len(e.Hints) {
			for _, h := range e.Hints[i] {
				w.FRaw(h.Name, h.Raw)
			}
		}
		w.Close()
	}
	w.EndList()
	w.Close()
	if e.User != "" {
		dropped = append(dropped, "user")
	}
	for _, x := range e.Extra {
		dropped = append(dropped, printable(x.Name))
	}
	return w.B, dropped, nil
}

// ParseGoogleEmbedAnswer reads the vectors of n texts.
func ParseGoogleEmbedAnswer(body []byte, n int) (*EmbedAnswer, error) {
	a, err := googleEmbedAnswer(body, n)
	if err != nil {
		return nil, garbled(err)
	}
	return a, nil
}

func googleEmbedAnswer(body []byte, n int) (*EmbedAnswer, error) {
	doc, o := wire.ParseFolded(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	if o.Has("error") {
		return nil, googleFailure(0, o)
	}
	list := o.List("embeddings")
	if len(list) != n {
		return nil, errors.New("dialect: not as many vectors as inputs")
	}
	a := &EmbedAnswer{}
	for _, e := range list {
		v, ok := e.Obj().Get("values")
		if !ok {
			return nil, errors.New("dialect: a vector has no values")
		}
		vec, err := vector(v)
		if err != nil {
			return nil, err
		}
		a.Vectors = append(a.Vectors, vec)
	}
	known := true // or else taken for unsaid
	if u, ok := o.Obj("usageMetadata"); ok {
		a.Input = tokensTold(u, "promptTokenCount", &known)
	}
	return a, doc.Err()
}

// WriteGoogleEmbedAnswer writes vectors as embedContent answers, or batchEmbedContents.
func WriteGoogleEmbedAnswer(a *EmbedAnswer, batch bool) []byte {
	w := &wire.Writer{}
	w.Open()
	if batch {
		w.Key("embeddings")
		w.List()
		for _, v := range a.Vectors {
			googleVector(w, v)
		}
		w.EndList()
	} else {
		w.Key("embedding")
		googleVector(w, a.Vectors[0])
	}
	w.Key("usageMetadata")
	w.Open()
	w.FInt("promptTokenCount", a.Input)
	w.Close()
	w.Close()
	return w.B
}

func googleVector(w *wire.Writer, vec []float32) {
	w.Open()
	w.Key("values")
	w.List()
	for i, f := range vec {
		if i > 0 {
			w.B = append(w.B, ',')
		}
		if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
			f = 0 // ParseEmbedAnswer lets none through
		}
		w.B = strconv.AppendFloat(w.B, float64(f), 'g', -1, 32)
	}
	w.EndList()
	w.Close()
}

// GoogleCountAnswer is the answer to Google's countTokens.
func GoogleCountAnswer(tokens int64) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FInt("totalTokens", tokens)
	w.Close()
	return w.B
}
