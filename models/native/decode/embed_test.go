package decode

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/triarch-ai/triarch/internal/fault"
)

// refEmbed is the reference's vector.
func refEmbed(hidden [][]float64, last bool) []float64 {
	sum := slices.Clone(hidden[len(hidden)-1])
	if !last {
		for _, h := range hidden[:len(hidden)-1] {
			refAdd(sum, h)
		}
	}
	norm := 0.0
	for _, v := range sum {
		norm += v * v
	}
	for i := range sum {
		sum[i] /= math.Sqrt(norm)
	}
	return sum
}

func TestEmbeddingsEqualTheReference(t *testing.T) {
	w := toy(false, 3)
	e := newEngine(t, w, Options{StepTokens: 40})
	rng := rand.New(rand.NewPCG(1, 1))
	for _, last := range []bool{false, true} {
		inputs := [][]int32{prompt(rng, 1), prompt(rng, 75), prompt(rng, 33)}
		got, _, err := e.Embed(t.Context(), &Embedding{Inputs: inputs, Last: last})
		if err != nil || len(got) != len(inputs) {
			t.Fatal(len(got), err)
		}
		for i, in := range inputs {
			want := refEmbed(referenceHidden(w, in), last)
			for j, v := range got[i] {
				if math.Abs(float64(v)-want[j]) > 2e-5 {
					t.Fatalf("last %v, input %d, number %d: %v, want %v", last, i, j, v, want[j])
				}
			}
		}
	}
}

func TestEmbeddingsAloneAndAmongOthers(t *testing.T) {
	e := newEngine(t, toy(true, 3), Options{StepTokens: 50, MaxSeqs: 6})
	rng := rand.New(rand.NewPCG(2, 1))
	var inputs [][]int32
	for i := range 20 { // more than run at once
		inputs = append(inputs, prompt(rng, 1+7*i))
	}
	var alone [][]float32
	for _, in := range inputs {
		v, _, err := e.Embed(t.Context(), &Embedding{Inputs: [][]int32{in}})
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, v[0])
	}
	q := &Request{Prompts: [][]int32{prompt(rng, 20)}, MaxTokens: 100, IgnoreEOS: true}
	want := generate(t, e, q)
	busy, err := e.Submit(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	together, cached, err := e.Embed(t.Context(), &Embedding{Inputs: inputs})
	if d := cmp.Diff(alone, together); d != "" || err != nil || cached != 0 {
		t.Errorf("%v, %d cached, %s", err, cached, d)
	}
	if got, err := collect(busy, 1); err != nil || !cmp.Equal(got, want) {
		t.Errorf("beside embeddings: %v, alone: %v, %v", got, want, err)
	}
	first, _, err1 := e.Embed(t.Context(), &Embedding{Inputs: inputs[15:16], Last: true})
	again, cached, err2 := e.Embed(t.Context(), &Embedding{Inputs: inputs[15:16], Last: true})
	if !cmp.Equal(first, again) || err1 != nil || err2 != nil || cached != 96 {
		t.Errorf("found again: %d tokens, %v, %v", cached, err1, err2)
	}
	if s := e.Stats(); s.Running != 0 || s.KVUsed != 0 {
		t.Errorf("something is left: %+v", s)
	}
}

func TestEmbeddingsThatAreRefused(t *testing.T) {
	e := newEngine(t, toy(true, 3), Options{})
	for name, in := range map[string][][]int32{"none": nil, "empty": {{5}, {}}, "too long": {make([]int32, 160)}, "no token": {{99}}, "too many": make([][]int32, MaxInputs+1)} {
		if _, _, err := e.Embed(t.Context(), &Embedding{Inputs: in}); fault.KindOf(err) != fault.Invalid || fault.As(err).Field != "input" {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := toy(true, 3)
	broken.Norm[3] = float32(math.NaN())
	b := newEngine(t, broken, Options{})
	if _, _, err := b.Embed(t.Context(), &Embedding{Inputs: [][]int32{{5}}}); fault.KindOf(err) != fault.Internal {
		t.Errorf("a broken model: %v", err)
	}
}
