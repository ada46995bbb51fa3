// Package perf says what a piece of work is on a chip: whether it fits, how fast it runs and what bounds it. It is
// pure: a model's shape, the work, a chip of the catalogue and a layout in; an answer or the reason of a refusal out.
//
// Rules for callers: a figure of the chip that is not known is never guessed; what needs it is refused with its name,
// or the answer tells in Assumed what stands in for it. Time is a roofline: the larger of arithmetic and memory traffic,
// plus what links carry, over efficiencies that depend on task and engine alone and were fitted to published figures
// (package published, docs/perf.md). Every answer carries an interval and how it is known. Sizes are bytes, times
// seconds, throughputs tokens a second of the whole layout.
package perf

import (
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Task is what a model does.
type Task string

// The tasks. Serve is prefill and decode mixed, as an engine does under full load; its throughput counts the tokens of
// answers alone.
const (
	Train     Task = "train"
	PostTrain Task = "post-train"
	Prefill   Task = "prefill"
	Decode    Task = "decode"
	Serve     Task = "serve"
	Embed     Task = "embed"
)

// Tasks lists them.
func Tasks() []Task { return []Task{Train, PostTrain, Prefill, Decode, Serve, Embed} }

func (t Task) trains() bool { return t == Train || t == PostTrain }

// Recompute says which activations are computed again in the backward pass instead of being kept.
type Recompute string

// The ways of recomputing. The empty one is Fused.
const (
	KeepAll Recompute = "none"  // everything is kept, the attention maps too
	Fused   Recompute = "fused" // all but the attention maps, which fused attention never stores
	Full    Recompute = "full"  // only the input of each layer is kept
)

// Work is the question's work.
type Work struct {
	Task        Task           `json:"task"`
	Engine      string         `json:"engine,omitempty"` // whose efficiency is meant; empty: the task's own
	Precision   chip.Precision `json:"precision"`        // of the matrix products
	WeightBytes float64        `json:"weight_bytes,omitempty"`
	CacheBytes  float64        `json:"cache_bytes,omitempty"` // of one number of the KV cache; 0: two
	Batch       int            `json:"batch"`                 // training: sequences of a step over all chips; else sequences at once in a replica; 0: as many as fit
	AtMost      int            `json:"at_most,omitempty"`     // where Batch is 0: no more than these
	Micro       int            `json:"micro,omitempty"`       // training: sequences at once in a data-parallel rank; 0: one
	Context     int            `json:"context"`               // training, prefill, embed: tokens of a sequence; decode: tokens in the cache, in the mean
	Prompt      int            `json:"prompt,omitempty"`      // serve: tokens of a prompt
	Output      int            `json:"output,omitempty"`      // serve: tokens of an answer
	Recompute   Recompute      `json:"recompute,omitempty"`
	Trained     float64        `json:"trained,omitempty"` // the part of the weights that is trained, as with LoRA; 0: all
}

// Shard says what data-parallel ranks split among them instead of each holding it, in ZeRO's stages.
type Shard int

// The stages; each splits what the one before it does, too.
const (
	ShardNone Shard = iota
	ShardOptimizer
	ShardGradients
	ShardWeights // as FSDP does
)

// Layout says how the work lies on chips. A zero counts as one.
type Layout struct {
	Tensor   int   `json:"tensor"`
	Pipeline int   `json:"pipeline"`
	Data     int   `json:"data"`              // ranks that train on different sequences, or replicas that serve
	Sequence int   `json:"sequence"`          // chips that share one sequence (context parallelism)
	Expert   int   `json:"expert"`            // chips that share the experts, among those of Data and Tensor
	Virtual  int   `json:"virtual,omitempty"` // parts of the model on one pipeline stage
	Shard    Shard `json:"shard,omitempty"`
}

// Filled is the layout with a one for each zero.
func (l Layout) Filled() Layout { return l.filled() }

func (l Layout) filled() Layout {
	for _, n := range []*int{&l.Tensor, &l.Pipeline, &l.Data, &l.Sequence, &l.Expert, &l.Virtual} {
		if *n == 0 {
			*n = 1
		}
	}
	return l
}

// Chips is how many chips the layout takes.
func (l Layout) Chips() int {
	l = l.filled()
	return l.Tensor * l.Pipeline * l.Data * l.Sequence
}

// Question is all that an answer depends on.
type Question struct {
	Shape  Shape
	Work   Work
	Chip   chip.Chip
	Layout Layout
	Node   int     // chips of a node, joined by the chip's link; 0: all of the layout
	Net    float64 // bytes a second of one chip to other nodes, each way; 0: unknown
}

// Known says how an answer is known.
type Known string

// The ways. This package alone answers with priors.
const (
	Measured  Known = "measured"  // the same work was measured
	Corrected Known = "corrected" // the prior times what near work told
	Prior     Known = "prior"     // the roofline
)

// Terms are where the seconds of a step go. Arithmetic and Memory overlap in serving and add up in training, where Memory
// is the traffic of what lies between the products.
type Terms struct {
	Arithmetic float64 `json:"arithmetic"`
	Memory     float64 `json:"memory"`
	Link       float64 `json:"link"`
	Bubble     float64 `json:"bubble"`
	Overhead   float64 `json:"overhead"`
}

// Answer is a prediction.
type Answer struct {
	Rate    float64  `json:"tokens_per_second"` // of the whole layout; for Serve tokens of answers, for Decode new tokens
	Low     float64  `json:"low"`               // nine of ten figures of the engine are expected between Low and High
	High    float64  `json:"high"`
	Step    float64  `json:"step_seconds"` // training: a step; prefill and embed: the batch; decode: a token of each sequence; serve: an answer from its prompt on
	Batch   int      `json:"batch"`        // the one asked for, or the largest that fits
	Terms   Terms    `json:"terms"`
	Bound   string   `json:"bound"` // the largest of the terms
	Memory  Memory   `json:"memory"`
	Watts   *float64 `json:"watts"` // of all chips at full load; nil: unknown
	Known   Known    `json:"known"`
	Assumed []string `json:"assumed"` // what stands in for what is not known
	// Open is what links and networks of unknown speed must carry for the answer to hold, in bytes a second of a chip each
	// way; 0: it rests on none.
	Open float64 `json:"open,omitempty"`
	// Evidence is what the answer was corrected by; nil: nothing.
	Evidence *Evidence `json:"evidence,omitempty"`
}

// Evidence is measurements of this work or of work near it.
type Evidence struct {
	Factor float64   `json:"factor"` // the answer over the prior
	Count  float64   `json:"count"`  // measurements, older ones counting less
	Cells  int       `json:"cells"`  // different batches, contexts and shapes among them
	Last   time.Time `json:"last"`   // the newest
	Apart  int       `json:"apart"`  // measurements more than ten times off that nothing else bears out: not counted
}

// Scaled is the answer at so many times its rate, with an interval of so many times around that.
func (a Answer) Scaled(factor, half float64) Answer {
	a.Rate *= factor
	a.Step /= factor
	a.Open *= factor
	a.Low, a.High = a.Rate/half, a.Rate*half
	for _, t := range []*float64{&a.Terms.Arithmetic, &a.Terms.Memory, &a.Terms.Link, &a.Terms.Bubble, &a.Terms.Overhead} {
		*t /= factor
	}
	return a
}
