package native

import (
	"math"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func tiny(tied bool) Config {
	return Config{VocabSize: 19, Dim: 12, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 6, FFN: 14, MaxContext: 32,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: tied, BOS: 1, EOS: 2, PAD: 0, Arch: "llama"}
}

func TestParamsCountsEveryTensor(t *testing.T) {
	for _, tied := range []bool{true, false} {
		w := AllocWeights(tiny(tied))
		var n int64
		for _, x := range w.Tensors() {
			size := 1
			for _, s := range x.Shape {
				size *= s
			}
			if size != len(x.Data) {
				t.Errorf("%s: shape %v does not hold %d values", x.Name, x.Shape, len(x.Data))
			}
			n += int64(size)
		}
		if n != w.Config.Params() {
			t.Errorf("tied %v: tensors hold %d, Params says %d", tied, n, w.Config.Params())
		}
	}
}

func TestNewWeightsIsDeterministicAndScaled(t *testing.T) {
	c := tiny(false)
	c.Dim, c.FFN, c.VocabSize = 64, 128, 256
	a, b, other := NewWeights(c, 7), NewWeights(c, 7), NewWeights(c, 8)
	at, bt, ot := a.Tensors(), b.Tensors(), other.Tensors()
	for i := range at {
		same := true
		for j := range at[i].Data {
			if at[i].Data[j] != bt[i].Data[j] {
				t.Fatalf("%s differs between two runs of one seed", at[i].Name)
			}
			same = same && at[i].Data[j] == ot[i].Data[j]
		}
		if at[i].Matrix() && same {
			t.Errorf("%s does not depend on the seed", at[i].Name)
		}
	}
	for name, tc := range map[string]struct {
		x    []float32
		want float64
	}{"embed": {a.Embed, 0.02}, "down": {a.Layers[1].Down, 0.01}, "o": {a.Layers[0].O, 0.01}, "q": {a.Layers[0].Q, 0.02}} {
		var s float64
		for _, v := range tc.x {
			s += float64(v) * float64(v)
		}
		if std := math.Sqrt(s / float64(len(tc.x))); math.Abs(std/tc.want-1) > 0.08 {
			t.Errorf("%s: deviation %.5f, want about %.3f", name, std, tc.want)
		}
	}
}

func TestValidateNamesTheField(t *testing.T) {
	for field, spoil := range map[string]func(*Config){
		"vocab_size":  func(c *Config) { c.VocabSize = 0 },
		"dim":         func(c *Config) { c.Dim = 1 << 30 },
		"layers":      func(c *Config) { c.Layers = -1 },
		"kv_heads":    func(c *Config) { c.KVHeads = 3 },
		"head_dim":    func(c *Config) { c.HeadDim = 7 },
		"ffn":         func(c *Config) { c.FFN = math.MaxInt },
		"max_context": func(c *Config) { c.MaxContext = 0 },
		"rope_theta":  func(c *Config) { c.RopeTheta = float32(math.NaN()) },
		"norm_eps":    func(c *Config) { c.NormEps = 0 },
		"eos":         func(c *Config) { c.EOS = 19 },
		"arch":        func(c *Config) { c.Arch = "mamba" },
	} {
		c := tiny(true)
		spoil(&c)
		err := c.Validate()
		if err == nil {
			t.Errorf("%s: accepted", field)
			continue
		}
		if f := fault.As(err).Field; f != field {
			t.Errorf("%s: the error names %q: %v", field, f, err)
		}
	}
	if err := tiny(true).Validate(); err != nil {
		t.Errorf("a good shape is refused: %v", err)
	}
}
