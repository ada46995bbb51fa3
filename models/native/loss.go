package native

import (
	"math"

	"github.com/triarch-ai/triarch/models/native/kernel"
)

// headActs are the buffers of the output head. Only positions that have a target reach it.
type headActs struct {
	index  []int     // rows of the batch with a target, in order
	norm   []float32 // [m, dim] final norm of those rows, packed
	dnorm  []float32 // [m, dim] its gradient
	inv    []float32 // [m]
	losses []float64 // [m]
	logits []float32 // [block, vocab]
	block  int       // rows of logits held at once
}

func (s *Step) allocHead() {
	c := s.w.Config
	block := min(max(logitFloats/c.VocabSize, 1), s.m)
	s.head = headActs{
		index: make([]int, 0, s.m), norm: make([]float32, s.m*c.Dim), dnorm: make([]float32, s.m*c.Dim),
		inv: make([]float32, s.m), losses: make([]float64, s.m), logits: make([]float32, block*c.VocabSize), block: block,
	}
}

// loss computes the sum of cross-entropies over positions with a target. With grads it also adds the gradient of
// the head's weight and leaves that of the normed rows in head.dnorm, so logits live only within one block.
func (s *Step) loss(b *Batch, grads bool) (sum float64, tokens int) {
	c, h := s.w.Config, &s.head
	h.index = h.index[:0]
	for i, t := range b.Targets {
		if t != Ignore {
			h.index = append(h.index, i)
		}
	}
	n := len(h.index)
	s.rows(n, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			h.inv[i] = kernel.RMSNorm(row(h.norm, i, c.Dim), row(s.out, h.index[i], c.Dim), s.w.Norm, c.NormEps)
		}
	})
	for lo := 0; lo < n; lo += h.block {
		s.lossBlock(b, lo, min(lo+h.block, n), grads)
	}
	for _, l := range h.losses[:n] {
		sum += l
	}
	return sum, n
}

func (s *Step) lossBlock(b *Batch, lo, hi int, grads bool) {
	c, h := s.w.Config, &s.head
	n, weight := hi-lo, s.w.HeadWeight()
	x := h.norm[lo*c.Dim : hi*c.Dim]
	kernel.MatMulNT(s.pool, h.logits, x, weight, n, c.VocabSize, c.Dim, false)
	s.rows(n, func(_, from, to int) {
		for i := from; i < to; i++ {
			h.losses[lo+i] = crossEntropy(row(h.logits, i, c.VocabSize), int(b.Targets[h.index[lo+i]]))
		}
	})
	if !grads {
		return
	}
	kernel.MatMulNN(s.pool, h.dnorm[lo*c.Dim:hi*c.Dim], h.logits, weight, n, c.Dim, c.VocabSize, false)
	kernel.MatMulTN(s.pool, s.Grads.HeadWeight(), h.logits, x, c.VocabSize, c.Dim, n, true)
}

// crossEntropy gives -log softmax(x)[target] and turns x into the gradient, softmax(x) - onehot(target). The loss
// is taken from the logits and the largest probability, which stays exact where the target's underflows.
func crossEntropy(x []float32, target int) float64 {
	top := 0
	best := x[0]
	for i, v := range x {
		if v > best {
			top, best = i, v
		}
	}
	gap := float64(best) - float64(x[target])
	kernel.SoftmaxRow(x, len(x))
	loss := gap - math.Log(float64(x[top]))
	x[target]--
	return loss
}
