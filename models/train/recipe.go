package train

import (
	"math"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/ref"
)

// Method says what a run learns from.
type Method string

// The methods.
const (
	Pretrain Method = "pretrain" // next token of documents (text and jsonl data)
	SFT      Method = "sft"      // the assistant's part of conversations (chat data)
)

// Recipe says how to train. A zero field takes the default written beside it; Fill writes them out, and the filled
// recipe is what a run keeps.
type Recipe struct {
	Method Method `json:"method,omitempty"` // default: sft for chat data, pretrain otherwise
	Preset string `json:"preset,omitempty"` // size of a fresh model, see Presets; default "small"; not with a base

	// Size of a fresh model; each overrides its preset. Not with a base version.
	Dim     int  `json:"dim,omitempty"`      // width
	Layers  int  `json:"layers,omitempty"`   // blocks
	Heads   int  `json:"heads,omitempty"`    // query heads
	KVHeads int  `json:"kv_heads,omitempty"` // key and value heads; default Heads
	HeadDim int  `json:"head_dim,omitempty"` // default Dim/Heads
	FFN     int  `json:"ffn,omitempty"`      // inner width; default about 8/3 Dim, a multiple of 32
	Vocab   int  `json:"vocab,omitempty"`    // tokens of the tokenizer to train
	Context int  `json:"context,omitempty"`  // longest sequence of the model; with a base: at most the base's
	Untied  bool `json:"untied,omitempty"`   // an output head of its own instead of the embedding; default false

	SeqLen     int     `json:"seq_len,omitempty"`    // tokens in one packed row; default Context
	Batch      int     `json:"batch,omitempty"`      // packed rows in one pass; default 8
	Accumulate int     `json:"accumulate,omitempty"` // passes in one optimiser step; default 1
	Steps      int     `json:"steps,omitempty"`      // optimiser steps; 0: Epochs decides
	Epochs     float64 `json:"epochs,omitempty"`     // passes over the data; default 3 for sft, 1 for pretrain; not with Steps

	LR          float64  `json:"lr,omitempty"`           // highest learning rate; default 3e-3 up to dim 128, falling with the root of dim above; 3e-4 from a base
	MinLR       float64  `json:"min_lr,omitempty"`       // where the cosine ends; default LR/10
	Warmup      int      `json:"warmup,omitempty"`       // steps of linear warm-up; default Steps/20, at most 200
	WeightDecay *float64 `json:"weight_decay,omitempty"` // AdamW, matrices only; default 0.1
	ClipNorm    float64  `json:"clip_norm,omitempty"`    // longest gradient; default 1
	Beta1       float64  `json:"beta1,omitempty"`        // AdamW; default 0.9
	Beta2       float64  `json:"beta2,omitempty"`        // AdamW; default 0.95
	Eps         float64  `json:"eps,omitempty"`          // AdamW; default 1e-8

	Seed            uint64 `json:"seed,omitempty"`             // of weights and order; default 1
	CheckpointEvery int    `json:"checkpoint_every,omitempty"` // steps; default Steps/20, between 10 and 1000
	DType           string `json:"dtype,omitempty"`            // of the exported weights: "f32" (default) or "bf16"
	// Temperature is what the model version suggests for requests that name none; default: nothing, which is 1.
	Temperature *float64 `json:"temperature,omitempty"`
}

// Preset is a size by name.
type Preset struct {
	Name                             string
	Dim, Layers, Heads, KVHeads, FFN int
	Vocab, Context                   int
	Note                             string // one line for people
}

// Presets are the named sizes, smallest first. Parameters are counted with tied embeddings.
var Presets = []Preset{
	{Name: "nano", Dim: 64, Layers: 2, Heads: 2, KVHeads: 2, FFN: 192, Vocab: 512, Context: 128, Note: "0.1 M parameters, for trying things out"},
	{Name: "tiny", Dim: 128, Layers: 4, Heads: 4, KVHeads: 4, FFN: 352, Vocab: 1024, Context: 256, Note: "0.9 M parameters, learns small tasks in a minute"},
	{Name: "small", Dim: 256, Layers: 4, Heads: 4, KVHeads: 4, FFN: 704, Vocab: 2048, Context: 256, Note: "3.7 M parameters"},
	{Name: "medium", Dim: 512, Layers: 8, Heads: 8, KVHeads: 8, FFN: 1408, Vocab: 4096, Context: 512, Note: "28 M parameters, hours on a few cores"},
}

// FindPreset returns a preset by name.
func FindPreset(name string) (Preset, bool) {
	for _, p := range Presets {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

// defaultPreset is the size when a recipe names none.
const defaultPreset = "small"

// Fill returns the recipe with every default written out that does not depend on the number of steps. Format is
// that of the data; fromBase says whether training continues a model version. With a base the size fields stay
// zero: the base has them.
func (r Recipe) Fill(format data.Format, fromBase bool) Recipe {
	if r.Method == "" {
		r.Method = Pretrain
		if format == data.Chat {
			r.Method = SFT
		}
	}
	if !fromBase {
		r.fillSize()
	}
	if r.SeqLen == 0 {
		r.SeqLen = r.Context
	}
	set(&r.Batch, 8)
	set(&r.Accumulate, 1)
	if r.Steps == 0 && r.Epochs == 0 {
		r.Epochs = 1
		if r.Method == SFT {
			r.Epochs = 3
		}
	}
	set(&r.LR, defaultLR(r.Dim, fromBase))
	set(&r.MinLR, r.LR/10)
	if r.WeightDecay == nil {
		wd := 0.1
		r.WeightDecay = &wd
	}
	set(&r.ClipNorm, 1)
	set(&r.Beta1, 0.9)
	set(&r.Beta2, 0.95)
	set(&r.Eps, 1e-8)
	set(&r.Seed, 1)
	if r.DType == "" {
		r.DType = "f32"
	}
	return r
}

// defaultLR is the highest learning rate where none is given: wider models take smaller steps, with the root of the
// width.
func defaultLR(dim int, fromBase bool) float64 {
	switch {
	case fromBase:
		return 3e-4
	case dim <= 128:
		return 3e-3
	}
	return math.Round(3e-3*math.Sqrt(128/float64(dim))*1e5) / 1e5
}

func (r *Recipe) fillSize() {
	if r.Preset == "" {
		r.Preset = defaultPreset
	}
	p, ok := FindPreset(r.Preset)
	if !ok {
		return // Validate names it
	}
	// An own width makes the preset's heads and inner width meaningless: they follow from it.
	if r.Dim != 0 && r.Dim != p.Dim {
		set(&r.FFN, roundUp(r.Dim*8/3, 32))
		if r.Heads == 0 {
			r.Heads = max(1, r.Dim/64)
			for r.Dim%(r.Heads*2) != 0 && r.Heads > 1 {
				r.Heads--
			}
		}
	}
	set(&r.Dim, p.Dim)
	set(&r.Layers, p.Layers)
	if r.Heads == 0 {
		r.Heads = p.Heads
		set(&r.KVHeads, p.KVHeads)
	}
	set(&r.KVHeads, r.Heads)
	if r.Heads > 0 {
		set(&r.HeadDim, r.Dim/r.Heads)
	}
	set(&r.FFN, p.FFN)
	set(&r.Vocab, p.Vocab)
	set(&r.Context, p.Context)
}

func set[T int | float64 | uint64](field *T, def T) {
	if *field == 0 {
		*field = def
	}
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// WithSteps fills what depends on the number of steps: Steps itself, Warmup and CheckpointEvery.
func (r Recipe) WithSteps(steps int) Recipe {
	r.Steps = steps
	set(&r.Warmup, min(200, max(1, steps/20)))
	set(&r.CheckpointEvery, min(1000, max(10, steps/20)))
	return r
}

// Validate checks a filled recipe field by field. The error is a fault.Invalid whose Field is "recipe." and the
// field's JSON name.
func (r Recipe) Validate(format data.Format, fromBase bool) error {
	if err := r.validateMethod(format); err != nil {
		return err
	}
	if err := r.validateSize(fromBase); err != nil {
		return err
	}
	for _, f := range []struct {
		name      string
		value     float64
		low, high float64
		note      string
	}{
		{"batch", float64(r.Batch), 1, 4096, ""},
		{"accumulate", float64(r.Accumulate), 1, 65536, ""},
		{"steps", float64(r.Steps), 0, 1e8, ""},
		{"epochs", r.Epochs, 0, 1e6, ""},
		{"lr", r.LR, 1e-9, 1, ""},
		{"min_lr", r.MinLR, 0, r.LR, ", not above lr"},
		{"warmup", float64(r.Warmup), 0, 1e8, ""},
		{"weight_decay", deref(r.WeightDecay), 0, 10, ""},
		{"clip_norm", r.ClipNorm, 1e-6, 1e6, ""},
		{"beta1", r.Beta1, 0, 0.99999, ""},
		{"beta2", r.Beta2, 0, 0.999999, ""},
		{"eps", r.Eps, 1e-20, 1, ""},
		{"checkpoint_every", float64(r.CheckpointEvery), 0, 1e8, ""},
	} {
		if math.IsNaN(f.value) || f.value < f.low || f.value > f.high {
			return invalid(f.name, "%s is %v, it must be %v to %v%s.", f.name, f.value, f.low, f.high, f.note)
		}
	}
	if t := r.Temperature; t != nil && !(*t > 0 && *t <= 2) {
		return invalid("temperature", "temperature is %g, it must be above 0 and at most 2.", *t)
	}
	if r.Steps > 0 && r.Epochs > 0 {
		return invalid("epochs", "steps and epochs are both given; give one of them.")
	}
	if r.DType != "f32" && r.DType != "bf16" {
		return invalid("dtype", "dtype is %s, it must be f32 or bf16.", ref.Quote(r.DType))
	}
	return nil
}

func (r Recipe) validateMethod(format data.Format) error {
	switch {
	case r.Method != Pretrain && r.Method != SFT:
		return invalid("method", "The method %s is not known; use pretrain or sft.", ref.Quote(string(r.Method)))
	case r.Method == SFT && format != data.Chat:
		return invalid("method", "sft learns from conversations, and the data is %s; import it as chat, or use pretrain.", format)
	case r.Method == Pretrain && format == data.Chat:
		return invalid("method", "pretrain learns from documents, and the data is chat; use sft, or import text or jsonl.")
	}
	return nil
}

func (r Recipe) validateSize(fromBase bool) error {
	if fromBase {
		if r.Preset != "" || r.Dim != 0 || r.Layers != 0 || r.Heads != 0 || r.KVHeads != 0 || r.HeadDim != 0 || r.FFN != 0 || r.Vocab != 0 || r.Untied {
			return invalid("preset", "The base version decides the model's size; leave preset, dim, layers, heads, kv_heads, head_dim, ffn, vocab and untied out.")
		}
	} else if err := r.validateFresh(); err != nil {
		return err
	}
	switch {
	case r.Context < 8 || r.Context > 1<<20:
		return invalid("context", "context is %d, it must be 8 to %d.", r.Context, 1<<20)
	case r.SeqLen < 8 || r.SeqLen > r.Context:
		return invalid("seq_len", "seq_len is %d, it must be 8 to the context of %d.", r.SeqLen, r.Context)
	case int64(r.Batch)*int64(r.SeqLen) > 1<<24:
		return invalid("batch", "batch times seq_len is %d tokens, at most %d fit one pass; use accumulate.", int64(r.Batch)*int64(r.SeqLen), 1<<24)
	}
	return nil
}

func (r Recipe) validateFresh() error {
	if _, ok := FindPreset(r.Preset); !ok {
		return invalid("preset", "The preset %s is not known; use nano, tiny, small or medium.", ref.Quote(r.Preset))
	}
	for _, f := range []struct {
		name             string
		value, low, high int
	}{
		{"dim", r.Dim, 8, 16384}, {"layers", r.Layers, 1, 256}, {"heads", r.Heads, 1, 256}, {"kv_heads", r.KVHeads, 1, 256},
		{"head_dim", r.HeadDim, 2, 512}, {"ffn", r.FFN, 8, 65536}, {"vocab", r.Vocab, 264, 262144},
	} {
		if f.value < f.low || f.value > f.high {
			return invalid(f.name, "%s is %d, it must be %d to %d.", f.name, f.value, f.low, f.high)
		}
	}
	switch {
	case r.Heads%r.KVHeads != 0:
		return invalid("kv_heads", "kv_heads %d does not divide heads %d.", r.KVHeads, r.Heads)
	case r.HeadDim%2 != 0:
		return invalid("head_dim", "head_dim %d is odd, it must be even.", r.HeadDim)
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return fault.InvalidField("recipe."+field, format, args...)
}

func deref(p *float64) float64 {
	if p == nil {
		return 0
	}
	return *p
}
