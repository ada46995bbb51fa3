package worker

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/decode"
)

// maxInputTokens bounds the tokens of all inputs of one request, as the interface has it.
const maxInputTokens = 300_000

// embeddings answers with one vector of length 1 for each input: the mean of the last hidden states, or with pooling "last"
// the last position's. With dimensions the first so many numbers are kept and their length made 1 again.
func (s *server) embeddings(w http.ResponseWriter, r *http.Request, m *served) error {
	f, err := s.read(w, r)
	if err != nil {
		return err
	}
	name := s.name
	if given := f.text("model"); given != "" {
		name = given
		if len(name) > maxModelName {
			f.fail(fault.InvalidField("model", "The model's name is longer than %d bytes.", maxModelName))
		}
	}
	q := &decode.Embedding{Inputs: f.texts("input", m), Scope: r.Header.Get("X-Cache-Scope")}
	base64 := f.word("encoding_format", "float", "base64") == "base64"
	q.Last = f.word("pooling", "mean", "last") == "last"
	size := f.integer("dimensions", m.engine.Dim(), 1, m.engine.Dim())
	tokens := 0
	for _, in := range q.Inputs {
		tokens += len(in)
	}
	if tokens > maxInputTokens {
		f.fail(fault.InvalidField("input", "The inputs have %d tokens together, at most %d are allowed.", tokens, maxInputTokens))
	}
	if f.err != nil {
		return f.err
	}
	vectors, cached, err := m.engine.Embed(r.Context(), q)
	if err != nil {
		return err
	}
	type item struct {
		Object    string `json:"object"`
		Index     int    `json:"index"`
		Embedding any    `json:"embedding"`
	}
	data := make([]item, 0, len(vectors))
	for i, v := range vectors {
		v = shorten(v, size)
		x := item{"embedding", i, v}
		if base64 {
			x.Embedding = packed(v)
		}
		data = append(data, x)
	}
	return s.reply(w, map[string]any{"object": "list", "data": data, "model": name,
		"usage": json.RawMessage(appendEmbeddingUsage(nil, tokens, cached))})
}

// shorten keeps the first n numbers and makes their length 1 again.
func shorten(v []float32, n int) []float32 {
	if n == len(v) {
		return v
	}
	square := 0.0
	for _, x := range v[:n] {
		square += float64(x) * float64(x)
	}
	if square == 0 {
		return v[:n]
	}
	scale := 1 / math.Sqrt(square)
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(float64(v[i]) * scale)
	}
	return out
}

// packed is the base64 of the numbers as float32, little-endian.
func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// appendEmbeddingUsage is the usage of prompts that nothing is generated for.
func appendEmbeddingUsage(b []byte, tokens, cached int) []byte {
	u := map[string]any{"prompt_tokens": tokens, "total_tokens": tokens}
	if cached > 0 {
		u["prompt_tokens_details"] = map[string]int{"cached_tokens": cached}
	}
	text, _ := json.Marshal(u) // maps of numbers always can be
	return append(b, text...)
}
