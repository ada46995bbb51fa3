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
	s.linear(a.qkv, a.norm1, c.Dim, w.Q, w.K, w.V)
	s.rotate(a.qkv, Rotate)
	s.attention(a)
	s.copy(a.mid, a.x)
	kernel.MatMulNT(s.pool, a.mid, a.att, w.O, s.m, c.Dim, c.QDim(), true)
}

// ffnBlock computes next = mid + Down(silu(Gate(norm(mid))) * Up(norm(mid))).
func (s *Step) ffnBlock(w *LayerWeights, a *layerActs, next []float32) {
	c := s.w.Config
	s.norm(a.norm2, a.inv2, a.mid, w.FFNNorm)
	s.linear(a.gateUp, a.norm2, c.Dim, w.Gate, w.Up)
	s.rows(s.m, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			both := row(a.gateUp, i, 2*c.FFN)
			kernel.SiLUMul(row(a.act, i, c.FFN), both[:c.FFN], both[c.FFN:])
		}
	})
	s.copy(next, a.mid)
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

// rotate turns the queries and keys in all rows of qkv (or of its gradient) by their positions, counted from the
// document's begin.
func (s *Step) rotate(qkv []float32, turn func(x, cos, sin []float32)) {
	c := s.w.Config
	half, turned, width := c.HeadDim/2, c.QDim()+c.KVDim(), c.QDim()+2*c.KVDim()
	s.rows(s.m, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			p := max(i%s.t-int(s.first[i]), 0)
			turn(row(qkv, i, width)[:turned], row(s.cos, p, half), row(s.sin, p, half))
		}
	})
}
