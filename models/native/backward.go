package native

import "github.com/triarch-ai/triarch/models/native/kernel"

// backward follows loss(b, true): it carries head.dnorm down through all layers and adds to Grads.
func (s *Step) backward(b *Batch) {
	s.headBackward()
	for i := len(s.layers) - 1; i >= 0; i-- {
		s.ffnBackward(&s.w.Layers[i], &s.Grads.Layers[i], &s.layers[i])
		s.attentionBlockBackward(&s.w.Layers[i], &s.Grads.Layers[i], &s.layers[i])
	}
	s.embedBackward(b.Tokens)
}

// headBackward is the backward pass of the final norm; rows without a target get a zero gradient.
func (s *Step) headBackward() {
	dim, h := s.w.Config.Dim, &s.head
	s.flat(len(s.back.dx), func(lo, hi int) { clear(s.back.dx[lo:hi]) })
	n := len(h.index)
	s.normGrad(n, s.Grads.Norm, func(i int, dw []float32) {
		r := h.index[i]
		kernel.RMSNormBackward(row(s.back.dx, r, dim), dw, row(h.dnorm, i, dim), row(s.out, r, dim), s.w.Norm, h.inv[i])
	})
}

// normGrad runs one norm's backward pass over n rows and adds the gradient of its weight to dw: one partial sum for
// each chunk of rows, added in order.
func (s *Step) normGrad(n int, dw []float32, each func(i int, dw []float32)) {
	dim := s.w.Config.Dim
	s.rows(n, func(chunk, lo, hi int) {
		part := row(s.back.normPart, chunk, dim)
		clear(part)
		for i := lo; i < hi; i++ {
			each(i, part)
		}
	})
	for chunk := range chunks(n) {
		kernel.Add(dw, dw, row(s.back.normPart, chunk, dim))
	}
}

// normBackward adds to back.dx the gradient that reaches a layer's norm input through back.dnorm.
func (s *Step) normBackward(x, w, inv, dw []float32) {
	dim, g := s.w.Config.Dim, &s.back
	s.normGrad(s.m, dw, func(i int, part []float32) {
		kernel.RMSNormBackward(row(g.dx, i, dim), part, row(g.dnorm, i, dim), row(x, i, dim), w, inv[i])
	})
}

func (s *Step) ffnBackward(w, dw *LayerWeights, a *layerActs) {
	c, g := s.w.Config, &s.back
	kernel.MatMulTN(s.pool, dw.Down, g.dx, a.act, c.Dim, c.FFN, s.m, true)
	kernel.MatMulNN(s.pool, g.dact, g.dx, w.Down, s.m, c.FFN, c.Dim, false)
	s.rows(s.m, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			d, both := row(g.dgateUp, i, 2*c.FFN), row(a.gateUp, i, 2*c.FFN)
			kernel.SiLUMulBackward(d[:c.FFN], d[c.FFN:], row(g.dact, i, c.FFN), both[:c.FFN], both[c.FFN:])
		}
	})
	s.linearWeights(g.dgateUp, a.norm2, c.Dim, dw.Gate, dw.Up)
	s.linearInput(g.dnorm, g.dgateUp, c.Dim, w.Gate, w.Up)
	s.normBackward(a.mid, w.FFNNorm, a.inv2, dw.FFNNorm)
}

func (s *Step) attentionBlockBackward(w, dw *LayerWeights, a *layerActs) {
	c, g := s.w.Config, &s.back
	kernel.MatMulTN(s.pool, dw.O, g.dx, a.att, c.Dim, c.QDim(), s.m, true)
	kernel.MatMulNN(s.pool, g.datt, g.dx, w.O, s.m, c.QDim(), c.Dim, false)
	s.attentionBackward(a)
	s.rotate(g.dqkv, rotateBack)
	s.linearWeights(g.dqkv, a.norm1, c.Dim, dw.Q, dw.K, dw.V)
	s.linearInput(g.dnorm, g.dqkv, c.Dim, w.Q, w.K, w.V)
	s.normBackward(a.x, w.AttnNorm, a.inv1, dw.AttnNorm)
}

// embedBackward adds each row of back.dx to its token's embedding gradient. Threads take columns, not rows: one
// token may stand in many rows, and the order of its sum must not change.
func (s *Step) embedBackward(tokens []int32) {
	const columns = 64
	dim := s.w.Config.Dim
	s.pool.Run((dim+columns-1)/columns, func(i int) {
		lo, hi := i*columns, min((i+1)*columns, dim)
		for r, id := range tokens {
			d := s.Grads.Embed[int(id)*dim+lo : int(id)*dim+hi]
			kernel.Add(d, d, s.back.dx[r*dim+lo:r*dim+hi])
		}
	})
}
