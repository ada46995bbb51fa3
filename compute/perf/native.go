package perf

import "math"

// Native is the embedded engine, whose steps are counted part by part instead of by the general formulas: its code is
// known, and on a processor no part hides behind another.
const Native = "native"

// Parts is what a step of the embedded engine does.
type Parts struct {
	Products  float64 `json:"products"`  // operations of products with weights
	Attention float64 `json:"attention"` // operations of attention, with softmax counted as so many numbers more in a head
	Weights   float64 `json:"weights"`   // bytes of weights that pass by, and of gradients and moments
	Passing   float64 `json:"passing"`   // bytes of activations that pass between products, the cache among them
	Starts    float64 `json:"starts"`    // layers begun
	Drawn     float64 `json:"drawn"`     // tokens drawn and handed out
}

// Cost is seconds for parts: of operations and bytes as multiples of what the processor's figures would take, of starts and
// drawn tokens in seconds.
type Cost Parts

// softmax is how many numbers of a head a score costs beside its product: fitted with the others.
const softmax = 16.0

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
	heads := layers * float64(s.Heads) * (float64(s.Head) + softmax)
	switch w.Task {
	case Train, PostTrain:
		m := n * context
		keys := (context + min(context, queryRows)) / 2
		micro := math.Max(1, math.Ceil(n/math.Max(1, float64(w.Micro))))
		if w.Micro == 0 {
			micro = 1
		}
		return Parts{Products: 6 * m * matrices, Attention: 14 * m * heads * keys, Weights: 4 * parameters * (9 + 3*micro),
			Passing: 4 * m * (3*layers*passing + 4*v), Starts: 3 * layers * micro}
	case Prefill, Embed:
		m := n * context
		steps := math.Ceil(m / promptRows)
		products := m*(matrices-d*v-rest) + n*rest
		if w.Task == Prefill {
			products += n * d * v
		}
		return Parts{Products: 2 * products, Attention: 4 * m * heads * context / 2, Weights: 4 * (matrices - d*v) * steps,
			Passing: 4 * m * layers * passing, Starts: layers * steps, Drawn: n}
	case Decode:
		return Parts{Products: 2 * n * matrices, Attention: 4 * n * heads * context, Weights: 4 * matrices,
			Passing: 4 * n * (layers*passing + 2*layers*kvd*context + 3*v), Starts: layers, Drawn: n}
	}
	return Parts{}
}

// Seconds is what parts take on a chip of so many operations and bytes a second.
func (c Cost) Seconds(p Parts, flops, bytes float64) float64 {
	return (c.Products*p.Products+c.Attention*p.Attention)/flops + (c.Weights*p.Weights+c.Passing*p.Passing)/bytes + c.Starts*p.Starts + c.Drawn*p.Drawn
}
