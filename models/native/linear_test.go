package native

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Weights whose matrices stand apart in memory give the same results as AllocWeights' layout, up to rounding.
func TestScatteredWeights(t *testing.T) {
	c := tiny(false)
	w := roughWeights(c, 9)
	if l := w.Layers[0]; joined([][]float32{l.Q, l.K, l.V}) == nil || joined([][]float32{l.Gate, l.Up}) == nil {
		t.Error("AllocWeights does not lay matrices of one input side by side")
	}
	apart := *w
	apart.Layers = slices.Clone(w.Layers)
	for i := range apart.Layers {
		l := &apart.Layers[i]
		for _, m := range []*[]float32{&l.Q, &l.K, &l.V, &l.Gate, &l.Up} {
			*m = slices.Clone(*m)
		}
		if joined([][]float32{l.Q, l.K, l.V}) != nil || joined([][]float32{l.K, l.Q}) != nil {
			t.Fatal("scattered matrices are taken as one")
		}
	}
	b := packed(rand.New(rand.NewPCG(3, 3)), c, 2, 20)
	one, other := newStep(t, w, 2, 20, nil), newStep(t, &apart, 2, 20, nil)
	want, _, err := one.Accumulate(b)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := other.Accumulate(b)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(got/want-1) > 1e-6 {
		t.Errorf("loss %v, want %v", got, want)
	}
	if d := distance(other.Grads, one.Grads); d > 1e-6 {
		t.Errorf("gradients differ by %g of their norm", d)
	}
}
