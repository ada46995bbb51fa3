package native

import (
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

// rowChunk is how many rows one piece of row-wise work takes. It is fixed, not derived from the number of threads:
// partial sums over chunks are added in order, so results are the same on any machine of one kind.
const rowChunk = 64

// logitFloats bounds the logits held at once; the head is computed in blocks of rows that fit.
const logitFloats = 1 << 21

// Step computes the loss of batches of one shape and adds up the gradients of all parameters. Everything is
// allocated when it is made. A Step is used by one goroutine; it spreads its own work over the pool.
//
// Gradients are those of the *sum* of the token losses, so the caller divides by all tokens of an accumulated step
// at the end: accumulating small batches then equals one big batch, whatever the masks.
type Step struct {
	// Grads has the shape of the weights; Accumulate adds to it, ZeroGrads clears it.
	Grads *Weights

	w        *Weights
	pool     *kernel.Pool
	b, t     int // rows and length of a batch
	m        int // b*t
	cos, sin []float32
	first    []int32 // [m] where the document of a position begins in its row
	layers   []layerActs
	out      []float32 // [m, dim] after the last layer
	scratch  chan *attnScratch
	head     headActs
	back     backActs
}

// layerActs are the activations of one layer that the backward pass reads again.
type layerActs struct {
	x, norm1    []float32 // [m, dim] input, normed input
	qkv         []float32 // [m, qDim+2*kvDim] rotated queries and keys, values
	att         []float32 // [m, qDim] attention output
	mid, norm2  []float32 // [m, dim] after attention, normed
	gateUp, act []float32 // [m, 2*ffn] both inner projections, [m, ffn]
	inv1, inv2  []float32 // [m] inverse RMS of the two norms
}

// backActs are the gradients in flight, shared by all layers.
type backActs struct {
	dx, dnorm, datt, dqkv []float32
	dact, dgateUp         []float32
	normPart              []float32 // [chunks, dim] partial gradients of a norm's weight
}

// NewStep makes a Step for batches of b sequences of t tokens on weights w, which it reads and never writes. The
// pool may be nil for one thread. The error is a fault.Invalid for a shape the model cannot take.
func NewStep(w *Weights, b, t int, pool *kernel.Pool) (*Step, error) {
	c := w.Config
	if b < 1 || b > 1<<16 {
		return nil, fault.InvalidField("batch_size", "batch_size is %d, it must be 1 to %d", b, 1<<16)
	}
	if t < 1 || t > c.MaxContext {
		return nil, fault.InvalidField("seq_len", "seq_len is %d, the model takes 1 to %d tokens", t, c.MaxContext)
	}
	if b*t > 1<<24 {
		return nil, fault.InvalidField("batch_size", "a batch of %d tokens is too large, at most %d", b*t, 1<<24)
	}
	s := &Step{Grads: AllocWeights(c), w: w, pool: pool, b: b, t: t, m: b * t}
	s.cos, s.sin = RopeTable(c, t)
	s.first = make([]int32, s.m)
	s.allocForward()
	s.allocBackward()
	s.allocHead()
	threads := 1
	if pool != nil {
		threads = pool.Threads()
	}
	s.scratch = make(chan *attnScratch, threads)
	for range threads {
		s.scratch <- newAttnScratch(t)
	}
	return s, nil
}

func (s *Step) allocForward() {
	c := s.w.Config
	per := func(n int) []float32 { return make([]float32, s.m*n) }
	s.layers = make([]layerActs, c.Layers)
	for i := range s.layers {
		s.layers[i] = layerActs{
			x: per(c.Dim), norm1: per(c.Dim), qkv: per(c.QDim() + 2*c.KVDim()), att: per(c.QDim()),
			mid: per(c.Dim), norm2: per(c.Dim), gateUp: per(2 * c.FFN), act: per(c.FFN),
			inv1: per(1), inv2: per(1),
		}
	}
	s.out = per(c.Dim)
}

func (s *Step) allocBackward() {
	c := s.w.Config
	per := func(n int) []float32 { return make([]float32, s.m*n) }
	s.back = backActs{
		dx: per(c.Dim), dnorm: per(c.Dim), datt: per(c.QDim()), dqkv: per(c.QDim() + 2*c.KVDim()),
		dact: per(c.FFN), dgateUp: per(2 * c.FFN),
		normPart: make([]float32, chunks(s.m)*c.Dim),
	}
}

// TrainBytes is the memory that weights, gradients, AdamW moments and the activations of one Step take together,
// to plan with; scratch space comes on top and is small. c must be valid.
func TrainBytes(c Config, b, t int) int64 {
	m, dim, q, kv, ffn := int64(b)*int64(t), int64(c.Dim), int64(c.QDim()), int64(c.KVDim()), int64(c.FFN)
	forward := int64(c.Layers)*(4*dim+2*q+2*kv+3*ffn+2) + dim
	backward := 2*dim + 2*q + 2*kv + 3*ffn
	head := m*2*dim + min(m*int64(c.VocabSize), logitFloats+int64(c.VocabSize))
	return 4 * (4*c.Params() + m*(forward+backward) + head)
}

// Threads is the number of threads the step works with.
func (s *Step) Threads() int { return cap(s.scratch) }

// ZeroGrads clears the gradients.
func (s *Step) ZeroGrads() {
	for _, t := range s.Grads.Tensors() {
		s.flat(len(t.Data), func(lo, hi int) { clear(t.Data[lo:hi]) })
	}
}

// Evaluate computes the sum of the token losses (natural logarithm) of a batch and the number of tokens counted,
// without gradients.
func (s *Step) Evaluate(b *Batch) (lossSum float64, tokens int, err error) {
	if err := b.check(s.w.Config, s.b, s.t); err != nil {
		return 0, 0, err
	}
	s.forward(b)
	lossSum, tokens = s.loss(b, false)
	return lossSum, tokens, nil
}

// Accumulate is Evaluate that also adds the gradients of the loss sum to Grads.
func (s *Step) Accumulate(b *Batch) (lossSum float64, tokens int, err error) {
	if err := b.check(s.w.Config, s.b, s.t); err != nil {
		return 0, 0, err
	}
	s.forward(b)
	lossSum, tokens = s.loss(b, true)
	s.backward(b)
	return lossSum, tokens, nil
}

func chunks(rows int) int { return (rows + rowChunk - 1) / rowChunk }

// rows runs f over all rows [0,n) in chunks, in parallel; chunk is the chunk's number.
func (s *Step) rows(n int, f func(chunk, lo, hi int)) {
	s.pool.Run(chunks(n), func(i int) {
		f(i, i*rowChunk, min((i+1)*rowChunk, n))
	})
}

// flat runs f over the elements [0,n) of a long array in large pieces, in parallel.
func (s *Step) flat(n int, f func(lo, hi int)) {
	const piece = 1 << 16
	s.pool.Run((n+piece-1)/piece, func(i int) { f(i*piece, min((i+1)*piece, n)) })
}

// copy is the built-in copy spread over the pool.
func (s *Step) copy(dst, src []float32) {
	s.flat(len(src), func(lo, hi int) { copy(dst[lo:hi], src[lo:hi]) })
}

// row is row i of a matrix of n columns.
func row(x []float32, i, n int) []float32 { return x[i*n : (i+1)*n] }
