package perf

import (
	"math"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Memory is what the fullest chip of the layout holds, in bytes.
type Memory struct {
	Weights     float64 `json:"weights"`
	Gradients   float64 `json:"gradients"`
	Optimizer   float64 `json:"optimizer"`
	Activations float64 `json:"activations"`
	Cache       float64 `json:"cache"`
}

// Total adds them up.
func (m Memory) Total() float64 {
	return m.Weights + m.Gradients + m.Optimizer + m.Activations + m.Cache
}

// usable is the part of a chip's memory that work may fill; the rest is for the runtime and for fragments. TensorRT-LLM
// leaves a tenth of what is free by default (NVIDIA/TensorRT-LLM docs/source/performance/perf-overview.md).
// Training needs less: published runs fill 95 per cent by the counts below (llm-foundry's MPT 3B with sequences of 8,192).
const usable, usableTraining = 0.9, 0.95

// width is the bytes of a number; 0 for none of the precisions.
func width(p chip.Precision) float64 {
	switch p {
	case chip.FP32, chip.TF32:
		return 4
	case chip.BF16, chip.FP16:
		return 2
	case chip.FP8, chip.INT8:
		return 1
	case chip.FP4:
		return 0.5
	}
	return 0
}

func (w Work) weightBytes() float64 {
	switch {
	case w.WeightBytes > 0:
		return w.WeightBytes
	case w.Task.trains(): // products may be narrower than what is kept
		return max(2, width(w.Precision))
	}
	return width(w.Precision)
}

// gradientBytes is the bytes of a gradient: frozen weights may be narrower than what is trained beside them.
func (w Work) gradientBytes() float64 { return max(2, w.weightBytes()) }

func (w Work) cacheBytes() float64 {
	if w.CacheBytes > 0 {
		return w.CacheBytes
	}
	return 2
}

func (w Work) trained() float64 {
	if w.Trained > 0 {
		return w.Trained
	}
	return 1
}

// share is how many of the model's parameters lie on one chip of a rank: all but experts are split by the tensor and
// pipeline layout, experts by the expert layout too.
func (q Question) share() float64 {
	l := q.Layout.filled()
	sparse, each := q.Shape.experts()
	experts := 0.0
	if sparse > 0 {
		experts = float64(sparse*each) * float64(q.Shape.Experts.Count)
	}
	rest := float64(q.Shape.Parameters()) - experts
	// Experts that are split by the expert layout may be so within the tensor ranks or across data ranks.
	split := float64(max(l.Tensor, l.Expert))
	return (rest/float64(l.Tensor) + experts/split) / float64(l.Pipeline) * q.fullest()
}

// fullest is how much more than its even part the fullest stage of a pipeline has, where layers do not divide by stages.
func (q Question) fullest() float64 {
	n, p := q.Shape.Layers, q.Layout.filled().Pipeline
	return float64((n+p-1)/p*p) / float64(n)
}

// kept is the bytes that one token leaves in a layer for the backward pass, by arXiv 2205.05198 section 4 without
// dropout, with the widths of today's layers: inputs of both norms and of both blocks, queries, keys, values and what
// attention gives, and in the feed-forward network what goes into and comes out of its activation.
func (s Shape) kept(how Recompute, context float64) float64 {
	d := float64(s.Width)
	if how == Full {
		return 2 * d
	}
	attention := 2 * float64(s.Heads*s.Head+s.KVHeads*s.Head) * 2
	if l := s.Latent; l != nil {
		attention = 2 * (float64(s.Heads*(2*(l.Plain+l.Rotor)+2*l.Value)) + float64(l.Query+l.Keys+l.Rotor))
	}
	inner := float64(s.Inner)
	if e := s.Experts; e != nil && e.Dense == 0 {
		inner = float64(e.Width * (e.Active + e.Shared))
	} else if e != nil {
		inner = max(inner, float64(e.Width*(e.Active+e.Shared)))
	}
	matrices := 6.0
	if s.Plain {
		matrices = 4
	}
	n := 8*d + attention + matrices*inner
	if how == KeepAll {
		n += 2 * float64(s.Heads) * context
	}
	return n
}

// Hold is what the fullest chip holds. It needs no figure of the chip. A mixed-precision step keeps of each parameter
// the weight and the gradient in 16 bits and in 32 bits a copy and Adam's two moments, 16 bytes in all
// (huggingface.co/spaces/nanotron/ultrascale-playbook, without its optional gradients in 32 bits); with float32 there is no copy. Work that does not train keeps weights and cache.
func Hold(q Question) (Memory, *Refusal) {
	if r := q.check(); r != nil {
		return Memory{}, r
	}
	return q.hold(q.Work.Batch), nil
}

func (q Question) hold(batch int) Memory {
	if q.Work.Task.trains() {
		return q.holdTraining()
	}
	w, l, s := q.Work, q.Layout.filled(), q.Shape
	m := Memory{Weights: q.share() * w.weightBytes()}
	heads := float64(min(l.Tensor, s.KVHeads)) // KV heads are copied where there are more chips than heads
	if s.Latent != nil {
		heads = 1 // the latent vector belongs to all heads
	}
	tokens := float64(w.Context)
	if w.Task == Serve {
		tokens = float64(w.Prompt) + float64(w.Output)/2 // sequences come and go: in the mean they are half done
	}
	if w.Task != Embed {
		m.Cache = float64(batch) * s.Cached(tokens) * w.cacheBytes() / heads / float64(l.Pipeline) / float64(l.Sequence)
	}
	// What a layer works on: engines cut prompts into pieces of some thousand tokens.
	working := min(float64(batch)*max(1, float64(w.Prompt)), 8192)
	if w.Task == Prefill || w.Task == Embed {
		working = min(float64(batch)*tokens, 8192)
	}
	m.Activations = working * s.kept(Fused, tokens) / float64(l.Tensor)
	m.Activations += 4 * min(float64(batch), 8192) * float64(s.Vocab) / float64(l.Tensor)
	return m
}

func (q Question) holdTraining() Memory {
	w, l, s := q.Work, q.Layout.filled(), q.Shape
	n, f := q.share(), w.trained()
	m := Memory{Weights: n * w.weightBytes(), Gradients: n * f * w.gradientBytes(), Optimizer: n * f * 12}
	if width(w.Precision) == 4 {
		m.Optimizer = n * f * 8
	}
	ranks := float64(l.Data * l.Sequence)
	for i, part := range []*float64{&m.Optimizer, &m.Gradients, &m.Weights} {
		if int(l.Shard) > i {
			*part /= ranks
		}
	}
	if l.Shard == ShardWeights { // one layer is whole while it works
		m.Weights += n / float64(s.Layers) * float64(l.Pipeline) * w.weightBytes()
	}
	micro := max(1, w.Micro)
	if per := w.Batch / l.Data; per >= 1 {
		micro = min(micro, per)
	}
	tokens := float64(micro) * float64(w.Context) / float64(l.Sequence)
	// The first stage of a pipeline holds as many microbatches as there are stages, each of its part of the layers.
	m.Activations = tokens * float64(s.Layers) * s.kept(w.Recompute, float64(w.Context)) / float64(l.Tensor)
	if w.Recompute == Full {
		m.Activations += tokens * s.kept(Fused, float64(w.Context)) / float64(l.Tensor)
	}
	if l.Pipeline == 1 { // else the logits are on the last stage, which holds one microbatch
		m.Activations += 4 * tokens * float64(s.Vocab) / float64(l.Tensor)
	}
	return m
}

// room is how many bytes of the chip can be used; false where its memory is unknown.
func (q Question) room() (float64, bool) {
	if q.Chip.Memory == nil {
		return 0, false
	}
	if q.Work.Task.trains() {
		return q.Chip.Memory.Value * usableTraining, true
	}
	return q.Chip.Memory.Value * usable, true
}

// Room is how many bytes of one chip the question's work may fill; false where the chip's memory is unknown.
func Room(q Question) (float64, bool) { return q.room() }

// Largest is the largest batch that fits, no more than most; 0: not even one. Serving alone has one.
func Largest(q Question, most int) (int, *Refusal) {
	if r := q.check(); r != nil {
		return 0, r
	}
	has, ok := q.room()
	if !ok {
		return 0, &Refusal{Reason: Unknown, Chip: q.Chip.ID, Missing: []string{"memory"}}
	}
	return q.largest(has, most), nil
}

func (q Question) largest(has float64, most int) int {
	low, high := 0, min(most, limit)
	for low < high { // what is held grows with the batch
		mid := low + (high-low+1)/2
		if q.hold(mid).Total() <= has {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}

func power(base, exponent float64) float64 { return math.Pow(base, exponent) }
