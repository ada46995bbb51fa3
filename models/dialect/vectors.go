package dialect

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// EmbedRequest asks for a vector of each input, in OpenAI's form of embeddings.
type EmbedRequest struct {
	Model      string
	Inputs     []Prompt
	Dimensions *int64
	Base64     bool // little-endian float32 in base64 instead of a list of numbers
	User       string
	Extra      []Extra
	Hints      [][]wire.Member // of Google's form: what stands beside each text, such as what it is for
}

// EmbedAnswer are the vectors in the order of the inputs.
type EmbedAnswer struct {
	Model   string
	Vectors [][]float32
	Input   int64 // tokens; 0: it was not said
}

const maxDimensions = 1 << 16

// ParseEmbed reads a request for embeddings: input is a text, texts, tokens or lists of tokens.
func ParseEmbed(body []byte) (*EmbedRequest, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	r := &Request{}
	r.model(o)
	e := &EmbedRequest{Model: r.Model, Dimensions: o.Int("dimensions", 1, maxDimensions), User: o.Text("user")}
	v, ok := o.Get("input")
	switch {
	case !ok:
		doc.Fail(fault.New(fault.Invalid, "input is missing.", fault.Field("input"), fault.Code("missing_required_parameter")))
	case v.IsText():
		e.Inputs = []Prompt{{Text: v.Text()}}
	default:
		list := v.List()
		if len(list) == 0 || len(list) > maxPrompts && !list[0].IsNumber() {
			o.Fail("input", "input must have 1 to %d entries.", maxPrompts)
		} else if list[0].IsNumber() {
			e.Inputs = []Prompt{{Tokens: tokens(list)}}
			break
		}
		for _, x := range list {
			if x.IsList() {
				e.Inputs = append(e.Inputs, Prompt{Tokens: tokens(x.List())})
			} else {
				e.Inputs = append(e.Inputs, Prompt{Text: x.Text()})
			}
		}
	}
	switch f := o.Text("encoding_format"); f {
	case "", "float":
	case "base64":
		e.Base64 = true
	default:
		o.Fail("encoding_format", "encoding_format must be float or base64.")
	}
	for _, m := range o.Rest() {
		e.Extra = append(e.Extra, Extra{Member: m})
	}
	return e, doc.Err()
}

// WriteEmbed writes the request for an upstream in OpenAI's form. What a text is for is not something that it can be told:
// a fault of kind Unsupported names it.
func WriteEmbed(e *EmbedRequest) ([]byte, error) {
	for _, hints := range e.Hints {
		for _, h := range hints {
			if h.Name == "taskType" || h.Name == "title" {
				return nil, fault.New(fault.Unsupported, h.Name+" cannot be told to what serves this model.", fault.Field(h.Name), fault.Code("unsupported_parameter"))
			}
		}
	}
	w := &wire.Writer{}
	w.Open()
	w.FText("model", e.Model)
	w.Key("input")
	w.List()
	for _, p := range e.Inputs {
		writePrompt(w, p)
	}
	w.EndList()
	w.OptInt("dimensions", e.Dimensions)
	if e.Base64 {
		w.FText("encoding_format", "base64")
	}
	w.FSome("user", e.User)
	for _, x := range e.Extra {
		w.FRaw(x.Name, x.Raw)
	}
	w.Close()
	return w.B, nil
}

// ParseEmbedAnswer reads vectors in either encoding. Their number must be that of the inputs, n.
func ParseEmbedAnswer(body []byte, n int) (*EmbedAnswer, error) {
	a, err := embedAnswer(body, n)
	if err != nil {
		return nil, garbled(err)
	}
	return a, nil
}

func embedAnswer(body []byte, n int) (*EmbedAnswer, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	if o.Has("error") {
		return nil, openaiFailure(0, o)
	}
	list := o.List("data")
	if len(list) != n {
		return nil, errors.New("dialect: not as many vectors as inputs")
	}
	a := &EmbedAnswer{Model: o.Text("model"), Vectors: make([][]float32, n)}
	for i, e := range list {
		d := e.Obj()
		at := int64(i)
		if x := d.Int("index", 0, int64(n-1)); x != nil {
			at = *x
		}
		v, _ := d.Get("embedding")
		vec, err := vector(v)
		if err != nil || a.Vectors[at] != nil {
			return nil, errors.Join(err, errors.New("dialect: a vector is missing, twice or broken"))
		}
		a.Vectors[at] = vec
	}
	known := true // or else taken for unsaid
	if u, ok := o.Obj("usage"); ok {
		a.Input = max(tokensTold(u, "prompt_tokens", &known), tokensTold(u, "total_tokens", &known))
	}
	return a, doc.Err()
}

func vector(v wire.Value) ([]float32, error) {
	if v.IsText() {
		b, err := base64.StdEncoding.DecodeString(v.Text())
		if err != nil || len(b)%4 != 0 || len(b) > 4*maxDimensions {
			return nil, errors.New("dialect: a vector that is no base64 of float32")
		}
		out := make([]float32, len(b)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			if f := float64(out[i]); math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, errors.New("dialect: a vector with no number in it")
			}
		}
		return out, nil
	}
	list := v.List()
	if len(list) > maxDimensions {
		return nil, errors.New("dialect: a vector is too long")
	}
	out := make([]float32, len(list))
	for i, e := range list {
		out[i] = float32(e.Num())
	}
	return out, nil
}

// WriteEmbedAnswer writes vectors in the encoding that the request asks for.
func WriteEmbedAnswer(e *EmbedRequest, a *EmbedAnswer) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FText("object", "list")
	w.Key("data")
	w.List()
	for i, vec := range a.Vectors {
		w.Open()
		w.FText("object", "embedding")
		w.FInt("index", int64(i))
		w.Key("embedding")
		if e.Base64 {
			b := make([]byte, 0, 4*len(vec))
			for _, f := range vec {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
			}
			w.Text(base64.StdEncoding.EncodeToString(b))
		} else {
			w.List()
			for i, f := range vec {
				if i > 0 {
					w.B = append(w.B, ',')
				}
				w.B = strconv.AppendFloat(w.B, float64(f), 'g', -1, 32)
			}
			w.EndList()
		}
		w.Close()
	}
	w.EndList()
	w.FText("model", a.Model)
	w.Key("usage")
	w.Open()
	w.FInt("prompt_tokens", a.Input)
	w.FInt("total_tokens", a.Input)
	w.Close()
	w.Close()
	return w.B
}

// RerankRequest asks how well each document answers a query, in the form that Jina, Cohere and others share.
type RerankRequest struct {
	Model, Query string
	Documents    []string
	Top          *int64 // how many to give, all when nil
	Return       bool   // give the documents back
	Extra        []Extra
}

// RerankAnswer are the best documents first.
type RerankAnswer struct {
	ID, Model string
	Results   []Ranked
	Input     int64 // tokens, 0 when the upstream does not say
}

// Ranked is a document by its place in the request, and its score.
type Ranked struct {
	Index int
	Score float64
}

const maxDocuments = 1 << 12

// ParseRerank reads a rerank request; documents are texts or objects with a text.
func ParseRerank(body []byte) (*RerankRequest, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	r := &Request{}
	r.model(o)
	q := &RerankRequest{Model: r.Model, Query: o.Need("query")}
	list := o.List("documents")
	if len(list) == 0 || len(list) > maxDocuments {
		o.Fail("documents", "documents must have 1 to %d entries.", maxDocuments)
		list = nil
	}
	for _, e := range list {
		if e.IsText() {
			q.Documents = append(q.Documents, e.Text())
		} else {
			q.Documents = append(q.Documents, e.Obj().Need("text"))
		}
	}
	q.Top = o.Int("top_n", 1, 1<<31)
	q.Return = o.True("return_documents")
	for _, m := range o.Rest() {
		q.Extra = append(q.Extra, Extra{Member: m})
	}
	return q, doc.Err()
}

// WriteRerank writes the request for an upstream, which is not asked for the documents: they are known.
func WriteRerank(q *RerankRequest) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FText("model", q.Model)
	w.FText("query", q.Query)
	w.OptTexts("documents", q.Documents)
	w.OptInt("top_n", q.Top)
	for _, x := range q.Extra {
		w.FRaw(x.Name, x.Raw)
	}
	w.Close()
	return w.B
}

// ParseRerankAnswer reads the ranking of n documents.
func ParseRerankAnswer(body []byte, n int) (*RerankAnswer, error) {
	a, err := rerankAnswer(body, n)
	if err != nil {
		return nil, garbled(err)
	}
	return a, nil
}

func rerankAnswer(body []byte, n int) (*RerankAnswer, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	if o.Has("error") {
		return nil, openaiFailure(0, o)
	}
	a := &RerankAnswer{ID: o.Text("id"), Model: o.Text("model")}
	seen := make([]bool, n)
	for _, e := range o.List("results") {
		d := e.Obj()
		i, score := d.Int("index", 0, int64(n-1)), d.Num("relevance_score", -1e9, 1e9)
		if score == nil {
			score = d.Num("score", -1e9, 1e9)
		}
		if i == nil || score == nil || seen[*i] {
			return nil, errors.New("dialect: a result is broken or there twice")
		}
		seen[*i] = true
		a.Results = append(a.Results, Ranked{int(*i), *score})
	}
	if len(a.Results) == 0 {
		return nil, errors.New("dialect: the answer has no results")
	}
	known := true // or else taken for unsaid
	if u, ok := o.Obj("usage"); ok {
		a.Input = max(tokensTold(u, "total_tokens", &known), tokensTold(u, "prompt_tokens", &known))
	} else if m, ok := o.Obj("meta"); ok {
		t, _ := m.Obj("tokens")
		a.Input = tokensTold(t, "input_tokens", &known)
	}
	return a, doc.Err()
}

// WriteRerankAnswer writes the ranking, with Jina's usage and Cohere's meta, whose clients each look at their own.
func WriteRerankAnswer(q *RerankRequest, a *RerankAnswer) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FText("id", a.ID)
	w.FText("model", a.Model)
	w.FText("object", "list")
	w.Key("results")
	w.List()
	for _, x := range a.Results {
		w.Open()
		w.FInt("index", int64(x.Index))
		w.Key("relevance_score")
		w.Num(x.Score)
		if q.Return && x.Index < len(q.Documents) {
			w.Key("document")
			w.Open()
			w.FText("text", q.Documents[x.Index])
			w.Close()
		}
		w.Close()
	}
	w.EndList()
	w.Key("usage")
	w.Open()
	w.FInt("prompt_tokens", a.Input)
	w.FInt("total_tokens", a.Input)
	w.Close()
	w.Key("meta")
	w.Open()
	w.Key("tokens")
	w.Open()
	w.FInt("input_tokens", a.Input)
	w.Close()
	w.Close()
	w.Close()
	return w.B
}
