package trainer

import (
	"math"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

// pieceFloats is how many parameters one piece of optimiser work takes; fixed, so that sums have one order.
const pieceFloats = 1 << 14

// optimizer is AdamW over all parameters, with the arithmetic of torch.optim.AdamW and of clip_grad_norm_.
type optimizer struct {
	opt    Options
	m, v   *native.Weights // first and second moments
	pool   *kernel.Pool
	pieces []piece
	sums   []float64
}

type piece struct {
	w, g, m, v []float32
	decay      float32 // weight decay: matrices have it, norms do not
}

func newOptimizer(opt Options, w, g *native.Weights, pool *kernel.Pool) *optimizer {
	o := &optimizer{opt: opt, m: native.AllocWeights(w.Config), v: native.AllocWeights(w.Config), pool: pool}
	gs, ms, vs := g.Tensors(), o.m.Tensors(), o.v.Tensors()
	for i, t := range w.Tensors() {
		var decay float32
		if t.Matrix() {
			decay = float32(opt.WeightDecay)
		}
		for lo := 0; lo < len(t.Data); lo += pieceFloats {
			hi := min(lo+pieceFloats, len(t.Data))
			o.pieces = append(o.pieces, piece{t.Data[lo:hi], gs[i].Data[lo:hi], ms[i].Data[lo:hi], vs[i].Data[lo:hi], decay})
		}
	}
	o.sums = make([]float64, len(o.pieces))
	return o
}

// norm is the length of the mean gradient over a step's targets; the gradients hold the sum.
func (o *optimizer) norm(targets int) float64 {
	o.pool.Run(len(o.pieces), func(i int) { o.sums[i] = kernel.SumSquares(o.pieces[i].g) })
	var sum float64
	for _, s := range o.sums {
		sum += s
	}
	return math.Sqrt(sum) / float64(targets)
}

// update makes step number t (from 1) with the mean gradient, clipped to opt.ClipNorm.
func (o *optimizer) update(t int, lr, norm float64, targets int) {
	scale := 1 / float64(targets)
	if c := o.opt.ClipNorm; c > 0 {
		scale *= min(c/(norm+1e-6), 1)
	}
	bc1 := float32(1 - math.Pow(o.opt.Beta1, float64(t)))
	bc2 := float32(1 - math.Pow(o.opt.Beta2, float64(t)))
	o.pool.Run(len(o.pieces), func(i int) {
		p := &o.pieces[i]
		kernel.AdamW(p.w, p.g, p.m, p.v, float32(lr), float32(o.opt.Beta1), float32(o.opt.Beta2), float32(o.opt.Eps), p.decay, bc1, bc2, float32(scale))
	})
}
