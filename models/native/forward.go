package native

import "github.com/triarch-ai/triarch/models/native/kernel"

// forward runs the batch through all layers, leaving the activations in s.layers and the result in s.out.
func (s *Step) forward(b *Batch) {
	b.starts(s.first)
	s.embed(b.Tokens)
	for i := range s.layers {
		next := s.out
		if i+1 < len(s.layers) {
			next = s.layers[i+1].x
		}
		s.attentionBlock(&s.w.Layers[i], &s.layers[i])
		s.ffnBlock(&s.w.Layers[i], &s.layers[i], next)
	}
}

func (s *Step) embed(tokens []int32) {
	dim, x := s.w.Config.Dim, s.layers[0].x
	s.rows(s.m, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			copy(row(x, i, dim), row(s.w.Embed, int(tokens[i]), dim))
		}
	})
}

// attentionBlock computes mid = x + O(attention(norm(x))).
func (s *Step) attentionBlock(w *LayerWeights, a *layerActs) {
	c := s.w.Config
	s.norm(a.norm1, a.inv1, a.x, w.AttnNorm)
	kernel.MatMulNT(s.pool, a.q, a.norm1, w.Q, s.m, c.QDim(), c.Dim, false)
	kernel.MatMulNT(s.pool, a.k, a.norm1, w.K, s.m, c.KVDim(), c.Dim, false)
	kernel.MatMulNT(s.pool, a.v, a.norm1, w.V, s.m, c.KVDim(), c.Dim, false)
	s.rotate(a.q, a.k, Rotate)
	s.attention(a)
	copy(a.mid, a.x)
	kernel.MatMulNT(s.pool, a.mid, a.att, w.O, s.m, c.Dim, c.QDim(), true)
}

// ffnBlock computes next = mid + Down(silu(Gate(norm(mid))) * Up(norm(mid))).
func (s *Step) ffnBlock(w *LayerWeights, a *layerActs, next []float32) {
	c := s.w.Config
	s.norm(a.norm2, a.inv2, a.mid, w.FFNNorm)
	kernel.MatMulNT(s.pool, a.gate, a.norm2, w.Gate, s.m, c.FFN, c.Dim, false)
	kernel.MatMulNT(s.pool, a.up, a.norm2, w.Up, s.m, c.FFN, c.Dim, false)
	s.rows(s.m, func(_, lo, hi int) {
		lo, hi = lo*c.FFN, hi*c.FFN
		kernel.SiLUMul(a.act[lo:hi], a.gate[lo:hi], a.up[lo:hi])
	})
	copy(next, a.mid)
	kernel.MatMulNT(s.pool, next, a.act, w.Down, s.m, c.Dim, c.FFN, true)
}

func (s *Step) norm(dst, inv, x, w []float32) {
	dim, eps := s.w.Config.Dim, s.w.Config.NormEps
	s.rows(s.m, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			inv[i] = kernel.RMSNorm(row(dst, i, dim), row(x, i, dim), w, eps)
		}
	})
}

// rotate turns all rows of q and k (or their gradients) by their positions, counted from the document's begin.
func (s *Step) rotate(q, k []float32, turn func(x, cos, sin []float32)) {
	c := s.w.Config
	half := c.HeadDim / 2
	s.rows(s.m, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			p := max(i%s.t-int(s.first[i]), 0)
			cos, sin := row(s.cos, p, half), row(s.sin, p, half)
			turn(row(q, i, c.QDim()), cos, sin)
			turn(row(k, i, c.KVDim()), cos, sin)
		}
	})
}
