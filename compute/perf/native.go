package perf

import (
	"math"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Native is the embedded engine, whose steps are counted part by part instead of by the general formulas: its code is
// known, and on a processor no part hides behind another.
const Native = "native"

// Parts is what a step of the embedded engine does.
type Parts struct {
	Products  float64 `json:"products"`  // operations of products with weights
	Attention float64 `json:"attention"` // operations of attention, with softmax counted as so many numbers more in a head
	Weights   float64 `json:"weights"`   // bytes that a step reads from end to end: weights, the cache; in training gradients and moments
	Set       float64 `json:"set"`       // how large that is in all
	Passing   float64 `json:"passing"`   // bytes of activations that pass between products
	Rows      float64 `json:"rows"`      // bytes of activations that are there at once
	Starts    float64 `json:"starts"`    // layers begun
	Drawn     float64 `json:"drawn"`     // tokens drawn and handed out
	Adds      bool    `json:"adds"`      // reading weights does not overlap with products, as in training
}

// Cost is seconds for parts: of operations and bytes as multiples of what the processor's figures would take, of starts and
// drawn tokens in seconds.
type Cost struct {
	Products  float64 `json:"products"`
	Attention float64 `json:"attention"`
	Weights   float64 `json:"weights"`
	Passing   float64 `json:"passing"`
	Starts    float64 `json:"starts"`
	Drawn     float64 `json:"drawn"`
}

// NativeCosts is what the embedded engine takes by task, fitted to six shapes on one core (test/calibrate, docs/perf.md): nine of ten
// other shapes are expected within the spread.
func NativeCosts(t Task) (c Cost, spread float64) {
	switch t {
	case Train, PostTrain:
		return nativeCosts[Train], 1.2
	case Prefill, Embed:
		return nativeCosts[Prefill], 1.2
	}
	return nativeCosts[Decode], 1.4
}

var nativeCosts = map[Task]Cost{
	Train:   {1.07, 2.06, 0.987, 1.65, 2e-06, 1.5e-06},
	Prefill: {1.41, 2.96, 0.98, 1.23, 2.05e-06, 1.51e-06},
	Decode:  {1.84, 5.38, 0.676, 1.09, 2.43e-06, 1.84e-06},
}

// countable says whether the parts of a question's work are counted: of the embedded engine on a processor, each replica
// on one.
func (q Question) countable() bool {
	l := q.Layout.filled()
	return q.Work.Engine == Native && q.Chip.Kind == chip.CPU && q.Work.Precision == chip.FP32 && l.Chips() == l.Data && q.Shape.Experts == nil && q.Shape.Latent == nil &&
		(l.Data == 1 || !q.Work.Task.trains())
}

// counted fills in an answer from the parts of a step; false where a figure is missing.
func (q Question) counted(a *Answer) bool {
	batch, w := a.Batch, q.Work
	_, spread := NativeCosts(w.Task)
	ok := true
	step := func(t Task, batch, context int, times float64) {
		p := q
		p.Work.Task, p.Work.Context = t, context
		k, _ := NativeCosts(t)
		parts := p.Counts(batch)
		seconds, known := k.Seconds(parts, q.Chip)
		ok = ok && known
		peak, _ := q.Chip.Peak(chip.FP32)
		arithmetic := (k.Products*parts.Products + k.Attention*parts.Attention) / peak.Value
		overhead := k.Starts*parts.Starts + k.Drawn*parts.Drawn
		a.Terms.Arithmetic += times * arithmetic
		a.Terms.Overhead += times * overhead
		a.Terms.Memory += times * max(0, seconds-arithmetic-overhead)
		a.Step += times * seconds
	}
	n := float64(batch)
	switch w.Task {
	case Serve:
		step(Prefill, 1, w.Prompt, n)
		step(Decode, batch, w.Prompt+w.Output/2, float64(w.Output))
		a.Rate = n * float64(w.Output) / a.Step * q.replicas()
	case Decode:
		step(Decode, batch, w.Context, 1)
		a.Rate = n / a.Step * q.replicas()
	default:
		step(w.Task, batch, w.Context, 1)
		a.Rate = n * float64(w.Context) / a.Step * q.replicas()
	}
	a.Low, a.High = a.Rate/spread, a.Rate*spread
	return ok
}

// softmax is how many numbers of a head a score costs beside its product.
const softmax = 16

const (
	promptRows = 128 // rows of a step of the engine that decodes
	queryRows  = 64  // queries that attend together in training: keys are seen to the end of the block
)

// Counts is what a step does: in training a step of the optimiser, in prefill and embedding the batch, in decode a token
// of each sequence. Any other task has none.
func (q Question) Counts(batch int) Parts {
	s, w := q.Shape, q.Work
	n, context := float64(batch), float64(w.Context)
	d, qd, kvd, f, v := float64(s.Width), float64(s.Heads*s.Head), float64(s.KVHeads*s.Head), float64(s.Inner), float64(s.Vocab)
	layers := float64(s.Layers)
	first := d * (qd + 2*kvd)           // queries, keys and values
	rest := qd*d + 3*d*f                // what comes after
	passing := 6*d + 2*(qd+2*kvd) + 3*f // numbers that a layer's row leaves and finds between products
	matrices := layers*(first+rest) + d*v
	parameters := float64(s.Parameters())
	heads := layers * float64(s.Heads) * float64(s.Head+softmax)
	m := n * context
	switch w.Task {
	case Train, PostTrain:
		keys := (context + min(context, queryRows)) / 2
		micro := 1.0
		if w.Micro > 0 {
			micro = math.Ceil(n / float64(w.Micro))
		}
		return Parts{Products: 6 * m * matrices, Attention: 14 * m * heads * keys, Weights: 4 * parameters * (9 + 3*micro), Set: 16 * parameters,
			Passing: 4 * m * (3*layers*passing + 4*v), Rows: 1e9, Starts: 3 * layers * micro, Adds: true}
	case Prefill, Embed:
		steps := math.Ceil(m / promptRows)
		products := m*(matrices-d*v-rest) + n*rest // the last layer is cut to the rows that somebody wants
		if w.Task == Prefill {
			products += n * d * v
		}
		return Parts{Products: 2 * products, Attention: 4 * m * heads * context / 2, Weights: 4 * (matrices - d*v) * steps, Set: 4 * matrices,
			Passing: 4 * m * layers * passing, Rows: 4 * min(m, promptRows) * passing, Starts: layers * steps, Drawn: n}
	case Decode:
		read := 4 * (matrices + n*2*layers*kvd*context)
		return Parts{Products: 2 * n * matrices, Attention: 4 * n * heads * context, Weights: read, Set: read,
			Passing: 4 * n * (layers*passing + 3*v), Rows: 4 * n * (passing + v), Starts: layers, Drawn: n}
	}
	return Parts{}
}

// overlap is the time of two things that partly hide each other: more than the longer, less than both.
func overlap(a, b float64) float64 { return math.Sqrt(a*a + b*b) }

// Seconds is what parts take on a chip; false where it lacks a figure.
func (c Cost) Seconds(p Parts, on chip.Chip) (float64, bool) {
	peak, ok := on.Peak(chip.FP32)
	set, rows := on.At(p.Set), on.At(p.Rows)
	if !ok || set == 0 {
		return 0, false
	}
	products, weights := c.Products*p.Products/peak.Value, c.Weights*p.Weights/set
	both := overlap(products, weights)
	if p.Adds {
		both = products + weights
	}
	return both + c.Attention*p.Attention/peak.Value + c.Passing*p.Passing/rows + c.Starts*p.Starts + c.Drawn*p.Drawn, true
}
