package native

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Attention alone: forward against the definition in float64, and the gradient of <g, attention(qkv)> for a random g
// against finite differences, over documents, padding and several blocks of queries.
func TestAttentionAlone(t *testing.T) {
	c := tiny(true)
	c.MaxContext = 256
	const length = 140
	r := rand.New(rand.NewPCG(6, 6))
	b := packed(r, c, 2, length)
	s := newStep(t, NewWeights(c, 1), 2, length, nil)
	b.starts(s.first)
	a, width := &s.layers[0], s.qkvWidth()
	qkv, g := make([]float64, len(a.qkv)), make([]float64, len(a.att))
	for i := range qkv {
		a.qkv[i] = float32(r.NormFloat64())
		qkv[i] = float64(a.qkv[i])
	}
	for i := range g {
		s.back.datt[i] = float32(r.NormFloat64())
		g[i] = float64(s.back.datt[i])
	}
	s.attention(a)
	s.attentionBackward(a)
	m := newRef(s.w)
	row := func(i int) []float64 { // the definition, for the query at i
		if b.Segments[i] == Padding {
			return make([]float64, c.QDim())
		}
		var ks, vs [][]float64
		for j := i - i%length + int(s.first[i]); j <= i; j++ {
			x := qkv[j*width : (j+1)*width]
			ks, vs = append(ks, x[c.QDim():c.QDim()+c.KVDim()]), append(vs, x[c.QDim()+c.KVDim():])
		}
		return m.attend(qkv[i*width:i*width+c.QDim()], ks, vs)
	}
	for i := range s.m {
		for d, want := range row(i) {
			if got := float64(a.att[i*c.QDim()+d]); math.Abs(got-want) > 2e-6 {
				t.Fatalf("row %d, element %d: %g, want %g", i, d, got, want)
			}
		}
	}
	// Only the rest of its document feels a change at a position.
	value := func(at int) (sum float64) {
		for i := at; i < at-at%length+length && s.first[i] == s.first[at]; i++ {
			for d, o := range row(i) {
				sum += o * g[i*c.QDim()+d]
			}
		}
		return sum
	}
	for range 400 {
		i := r.IntN(len(qkv))
		const h = 1e-5
		keep := qkv[i]
		qkv[i] = keep + h
		up := value(i / width)
		qkv[i] = keep - h
		down := value(i / width)
		qkv[i] = keep
		want, got := (up-down)/(2*h), float64(s.back.dqkv[i])
		if math.Abs(got-want) > 1e-5*(1+math.Abs(want)) {
			t.Fatalf("gradient of qkv[%d] (row %d, column %d): %g, finite difference %g", i, i/width, i%width, got, want)
		}
	}
}
