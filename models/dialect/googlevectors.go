package dialect

import (
	"math"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// ParseGoogleEmbed reads a request of Google's embedContent, or of batchEmbedContents, whose model the path names. What a
// text is for (taskType, title) is not something that other engines can be told, and is refused by name unless it says
// nothing.
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
	if t := o.Text("taskType"); t != "" && t != "TASK_TYPE_UNSPECIFIED" {
		o.Doc().Fail(fault.New(fault.Unsupported, "taskType cannot be told to what serves this model.", fault.Field("taskType")))
	}
	if o.Text("title") != "" {
		o.Doc().Fail(fault.New(fault.Unsupported, "title cannot be told to what serves this model.", fault.Field("title")))
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
	r.Inputs = append(r.Inputs, Prompt{Text: text.String()})
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
