package native

import (
	"math"

	"github.com/triarch-ai/triarch/models/native/kernel"
)

// queryBlock is how many queries attention takes at once: the keys after the block's last query are never touched,
// nor are those before its first document.
const queryBlock = 64

// attnScratch is the working space of one thread: scores and their gradients of one block of queries. Scores are
// computed again in the backward pass rather than kept, so memory grows with the context, not with its square.
type attnScratch struct {
	p, dp []float32 // [queryBlock, T]
}

func newAttnScratch(t int) *attnScratch {
	return &attnScratch{p: make([]float32, queryBlock*t), dp: make([]float32, queryBlock*t)}
}

// span is one block of queries of one head with the keys it may see. Offsets count rows of the packed batch.
type span struct {
	q0, rows int // first query and number of queries
	k0, keys int // first key and number of keys
	out      int // where the head's columns begin in att
	q, k, v  int // where query, key and value of the span's first rows begin in qkv
}

// spans calls f for every block of queries of one sequence and head that sees at least one key.
func (s *Step) spans(seq, head int, f func(span)) {
	c := s.w.Config
	group := c.Heads / c.KVHeads
	base, width := seq*s.t, s.qkvWidth()
	for lo := 0; lo < s.t; lo += queryBlock {
		hi := min(lo+queryBlock, s.t)
		k0 := int(s.first[base+lo])
		if k0 >= hi || s.blind(base+lo, base+hi) {
			continue
		}
		kv := head / group * c.HeadDim
		f(span{q0: base + lo, rows: hi - lo, k0: base + k0, keys: hi - k0,
			out: (base+lo)*c.QDim() + head*c.HeadDim,
			q:   (base+lo)*width + head*c.HeadDim,
			k:   (base+k0)*width + c.QDim() + kv,
			v:   (base+k0)*width + c.QDim() + c.KVDim() + kv})
	}
}

// blind says whether all positions in [lo,hi) are padding.
func (s *Step) blind(lo, hi int) bool {
	for i := lo; i < hi; i++ {
		if int(s.first[i]) <= i%s.t {
			return false
		}
	}
	return true
}

// qkvWidth is the length of a row of qkv.
func (s *Step) qkvWidth() int { return s.w.Config.QDim() + 2*s.w.Config.KVDim() }

func (s *Step) scale() float32 { return float32(1 / math.Sqrt(float64(s.w.Config.HeadDim))) }

// attention fills a.att with causal attention within each document: softmax(q k^T / sqrt(headDim)) v per head.
func (s *Step) attention(a *layerActs) {
	c := s.w.Config
	if s.hasPadding() {
		clear(a.att)
	}
	s.pool.Run(s.b*c.Heads, func(i int) {
		ws := <-s.scratch
		defer func() { s.scratch <- ws }()
		s.spans(i/c.Heads, i%c.Heads, func(sp span) {
			s.probabilities(ws.p, a, sp)
			kernel.MatMulNNStrided(nil, a.att[sp.out:], c.QDim(), ws.p, sp.keys, a.qkv[sp.v:], s.qkvWidth(),
				sp.rows, c.HeadDim, sp.keys, false, 1)
		})
	})
}

func (s *Step) hasPadding() bool {
	for i, f := range s.first {
		if int(f) > i%s.t {
			return true
		}
	}
	return false
}

// probabilities fills p [rows, keys] of one span: scores, masked, through softmax.
func (s *Step) probabilities(p []float32, a *layerActs, sp span) {
	width := s.qkvWidth()
	kernel.MatMulNTStrided(nil, p, sp.keys, a.qkv[sp.q:], width, a.qkv[sp.k:], width,
		sp.rows, sp.keys, s.w.Config.HeadDim, false, s.scale())
	seq := sp.q0 - sp.q0%s.t
	for i := range sp.rows {
		q := sp.q0 + i
		from := min(seq+int(s.first[q])-sp.k0, sp.keys) // keys of earlier documents
		x := row(p, i, sp.keys)
		clear(x[:from])
		kernel.SoftmaxRow(x[from:], max(q+1-sp.k0-from, 0))
	}
}

// attentionBackward turns the gradient of the attention output (back.datt) into that of qkv. Heads that
// share keys are taken one after the other by one thread, so the sums have a fixed order.
func (s *Step) attentionBackward(a *layerActs) {
	c, g := s.w.Config, &s.back
	group := c.Heads / c.KVHeads
	s.flat(len(g.dqkv), func(lo, hi int) { clear(g.dqkv[lo:hi]) })
	s.pool.Run(s.b*c.KVHeads, func(i int) {
		ws := <-s.scratch
		defer func() { s.scratch <- ws }()
		for h := range group {
			s.spans(i/c.KVHeads, i%c.KVHeads*group+h, func(sp span) { s.spanBackward(ws, a, sp) })
		}
	})
}

// spanBackward is the backward pass of one block. With P the probabilities, O = P V and D the row sums of dO*O:
// dV += P^T dO, dS = P*(dO V^T - D), dQ = dS K / sqrt(headDim), dK += dS^T Q / sqrt(headDim) (FlashAttention, appendix).
func (s *Step) spanBackward(ws *attnScratch, a *layerActs, sp span) {
	c, g := s.w.Config, &s.back
	qd, hd, width := c.QDim(), c.HeadDim, s.qkvWidth()
	s.probabilities(ws.p, a, sp)
	kernel.MatMulTNStrided(nil, g.dqkv[sp.v:], width, ws.p, sp.keys, g.datt[sp.out:], qd, sp.keys, hd, sp.rows, true, 1)
	kernel.MatMulNTStrided(nil, ws.dp, sp.keys, g.datt[sp.out:], qd, a.qkv[sp.v:], width, sp.rows, sp.keys, hd, false, 1)
	for i := range sp.rows {
		at := sp.out + i*qd
		d := kernel.Dot(g.datt[at:at+hd], a.att[at:at+hd])
		p, dp := row(ws.p, i, sp.keys), row(ws.dp, i, sp.keys)
		kernel.Mul(dp, dp, p)
		kernel.Axpy(dp, -d, p)
	}
	kernel.MatMulNNStrided(nil, g.dqkv[sp.q:], width, ws.dp, sp.keys, a.qkv[sp.k:], width, sp.rows, hd, sp.keys, false, s.scale())
	kernel.MatMulTNStrided(nil, g.dqkv[sp.k:], width, ws.dp, sp.keys, a.qkv[sp.q:], width, sp.keys, hd, sp.rows, true, s.scale())
}
