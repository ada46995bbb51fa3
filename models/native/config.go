// Package native is the embedded engine's model: the shape of a Llama-family transformer, its weights, and the
// training forward and backward pass written by hand on top of the kernel package. It is a library, not a driver.
//
// Rules for callers: call Config.Validate on every shape that comes from outside before allocating anything; all
// tensors are float32, row-major, a linear layer's weight is [out,in] (the Hugging Face layout, y = x W^T); RoPE is
// the half-rotation form of Hugging Face Llama. Results do not depend on the number of threads, bit for bit.
package native

import (
	"github.com/triarch-ai/triarch/internal/fault"
)

// Config is the shape of a model. All counts are elements; the zero value is not valid.
type Config struct {
	VocabSize     int     `json:"vocab_size"`     // tokens the model knows, 1 to 1,048,576
	Dim           int     `json:"dim"`            // width of the residual stream
	Layers        int     `json:"layers"`         // transformer blocks
	Heads         int     `json:"heads"`          // query heads
	KVHeads       int     `json:"kv_heads"`       // key and value heads; divides Heads (grouped-query attention)
	HeadDim       int     `json:"head_dim"`       // width of one head, even; Heads*HeadDim need not be Dim
	FFN           int     `json:"ffn"`            // inner width of the SwiGLU block
	MaxContext    int     `json:"max_context"`    // longest sequence, tokens
	RopeTheta     float32 `json:"rope_theta"`     // base of the rotary frequencies; 10000 is usual
	NormEps       float32 `json:"norm_eps"`       // RMSNorm epsilon; 1e-5 is usual
	TieEmbeddings bool    `json:"tie_embeddings"` // the output head is the embedding matrix
	BOS           int     `json:"bos"`            // id of begin-of-sequence, -1 when there is none
	EOS           int     `json:"eos"`            // id of end-of-sequence, -1 when there is none
	PAD           int     `json:"pad"`            // id of padding, -1 when there is none
	Arch          string  `json:"arch"`           // "llama"; empty is read as "llama"
}

// Bounds on shapes from outside. They keep every product of sizes far from overflow; the memory a model needs is
// for the caller to compare with what the machine has (Params times 4 bytes).
const (
	maxVocab   = 1 << 20
	maxDim     = 1 << 16
	maxLayers  = 1 << 10
	maxHeads   = 1 << 10
	maxHeadDim = 1 << 10
	maxFFN     = 1 << 18
	maxContext = 1 << 22
	maxParams  = 1 << 36
)

// arch says what an architecture has beyond the plain Llama block. It is the one place that does: a variant adds a
// row here, and tensors, forward and backward read it.
type arch struct {
	name string
}

var arches = map[string]arch{
	"":      {name: "llama"},
	"llama": {name: "llama"},
}

// Validate says whether the shape can be built and computed; the error is a fault.Invalid naming the field, or a
// fault.Unsupported for an architecture this engine does not know.
func (c Config) Validate() error {
	if _, ok := arches[c.Arch]; !ok {
		return fault.New(fault.Unsupported, "The embedded engine does not know the architecture "+quoteShort(c.Arch)+".",
			fault.Field("arch"), fault.Fix("Use a Llama-family model, or another engine."))
	}
	for _, b := range []struct {
		field      string
		value, max int
	}{
		{"vocab_size", c.VocabSize, maxVocab}, {"dim", c.Dim, maxDim}, {"layers", c.Layers, maxLayers},
		{"heads", c.Heads, maxHeads}, {"kv_heads", c.KVHeads, maxHeads}, {"head_dim", c.HeadDim, maxHeadDim},
		{"ffn", c.FFN, maxFFN}, {"max_context", c.MaxContext, maxContext},
	} {
		if b.value < 1 || b.value > b.max {
			return fault.InvalidField(b.field, "%s is %d, it must be 1 to %d", b.field, b.value, b.max)
		}
	}
	if c.Heads%c.KVHeads != 0 {
		return fault.InvalidField("kv_heads", "kv_heads %d does not divide heads %d", c.KVHeads, c.Heads)
	}
	if c.HeadDim%2 != 0 {
		return fault.InvalidField("head_dim", "head_dim %d is odd, rotary positions need an even one", c.HeadDim)
	}
	if !(c.RopeTheta >= 1 && c.RopeTheta <= 1e10) {
		return fault.InvalidField("rope_theta", "rope_theta %g is outside 1 to 1e10", c.RopeTheta)
	}
	if !(c.NormEps > 0 && c.NormEps <= 1) {
		return fault.InvalidField("norm_eps", "norm_eps %g is outside 0 to 1", c.NormEps)
	}
	if err := c.validateSpecials(); err != nil {
		return err
	}
	if n := c.Params(); n > maxParams {
		return fault.InvalidField("dim", "the model has %d parameters, at most %d can be held", n, int64(maxParams))
	}
	return nil
}

func (c Config) validateSpecials() error {
	for _, s := range []struct {
		field string
		id    int
	}{{"bos", c.BOS}, {"eos", c.EOS}, {"pad", c.PAD}} {
		if s.id < -1 || s.id >= c.VocabSize {
			return fault.InvalidField(s.field, "%s is %d, outside the vocabulary of %d (-1 for none)", s.field, s.id, c.VocabSize)
		}
	}
	return nil
}

// Params is the number of parameters, tied embeddings counted once. It is exact for every shape within the bounds
// that Validate checks.
func (c Config) Params() int64 {
	d, ffn := int64(c.Dim), int64(c.FFN)
	q, kv := int64(c.Heads)*int64(c.HeadDim), int64(c.KVHeads)*int64(c.HeadDim)
	perLayer := 2*d + 2*q*d + 2*kv*d + 3*ffn*d
	n := int64(c.VocabSize)*d + int64(c.Layers)*perLayer + d
	if !c.TieEmbeddings {
		n += int64(c.VocabSize) * d
	}
	return n
}

// QDim is the width of all query heads together, KVDim that of all key (or value) heads.
func (c Config) QDim() int { return c.Heads * c.HeadDim }

// KVDim is the width of all key heads together; values have the same.
func (c Config) KVDim() int { return c.KVHeads * c.HeadDim }

// quoteShort quotes text from outside for an error message and keeps it short.
func quoteShort(s string) string {
	const most = 40
	r := []rune(s)
	if len(r) > most {
		r = append(r[:most], '…')
	}
	return "\"" + string(r) + "\""
}
