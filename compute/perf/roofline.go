package perf

import (
	"fmt"
	"math"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Predict answers a question by the roofline, or says why it cannot.
func Predict(q Question) (Answer, *Refusal) {
	return predict(q, efficiencyOf)
}

// PredictWith is Predict with an efficiency of the caller's.
func PredictWith(q Question, e Efficiency) (Answer, *Refusal) {
	return predict(q, func(Task, string) (Efficiency, bool) { return e, true })
}

// Few is a batch at which decode waits for memory on every chip of the catalogue whose figures are known: a token
// takes two operations for each weight that is read, and these chips do more than fifty for each byte.
const Few = 8

// unasked is the largest batch tried where the question names none.
const unasked = 1024

func predict(q Question, efficiency func(Task, string) (Efficiency, bool)) (Answer, *Refusal) {
	if r := q.check(); r != nil {
		return Answer{}, r
	}
	a := Answer{Known: Prior, Batch: q.Work.Batch, Assumed: []string{}}
	has, ok := q.room()
	if !ok {
		return Answer{}, &Refusal{Reason: Unknown, Chip: q.Chip.ID, Missing: []string{"memory"}}
	}
	if a.Batch == 0 {
		most := unasked
		if q.Work.AtMost > 0 {
			most = q.Work.AtMost
		}
		a.Batch = max(1, q.largest(has, most)) // where not even one fits, one is what the refusal tells of
	}
	if a.Memory = q.hold(a.Batch); a.Memory.Total() > has {
		return Answer{}, &Refusal{Reason: NoFit, Chip: q.Chip.ID, Needs: a.Memory.Total(), Has: has}
	}
	rates, r := q.rates(a.Batch, &a)
	if r != nil {
		return Answer{}, r
	}
	if q.countable() {
		if !q.counted(&a) {
			return Answer{}, &Refusal{Reason: Unknown, Chip: q.Chip.ID, Missing: []string{"flops." + string(chip.FP32)}}
		}
		q.finish(&a)
		return a, nil
	}
	e, own := efficiency(q.Work.Task, q.Work.Engine)
	if !own {
		if q.Work.Engine == "" {
			a.assume(fmt.Sprintf("the efficiency is the mean of the engines whose %s was published", q.Work.Task))
		} else {
			a.assume(fmt.Sprintf("the efficiency of %s in %s is unknown: the mean of the engines whose %s was published stands for it", q.Work.Engine, q.Work.Task, q.Work.Task))
		}
	}
	switch q.Work.Task {
	case Train, PostTrain:
		q.training(&a, rates, e)
	case Prefill, Embed:
		q.prefill(&a, rates, e, a.Batch, q.Work.Context, false)
		a.Rate = float64(a.Batch*q.Work.Context) / a.Step * q.replicas()
	case Decode:
		q.decode(&a, rates, e, a.Batch, float64(q.Work.Context))
		a.Rate = float64(a.Batch) / a.Step * q.replicas()
	case Serve:
		q.serving(&a, rates, e)
	}
	a.Low, a.High = a.Rate/e.Spread, a.Rate*e.Spread
	q.finish(&a)
	return a, nil
}

// finish says what bounds it and what it draws.
func (q Question) finish(a *Answer) {
	a.Bound = a.Terms.largest()
	if q.Chip.Power != nil {
		w := q.Chip.Power.Value * float64(q.Layout.Chips())
		a.Watts = &w
	}
}

func (q Question) replicas() float64 { return float64(q.Layout.filled().Data) }

// rates are the chip's figures that the question needs.
type rates struct{ flops, bytes, link, net float64 }

// rates looks them up and refuses if one is missing that nothing can stand in for.
func (q Question) rates(batch int, a *Answer) (rates, *Refusal) {
	var r rates
	var missing []string
	l, w := q.Layout.filled(), q.Work
	if f, ok := q.Chip.Peak(w.Precision); ok {
		r.flops = f.Value
	} else if w.Task == Decode && batch <= Few {
		r.flops = math.Inf(1)
		a.Assumed = append(a.Assumed, "flops."+string(w.Precision)+" is unknown: decode of so few sequences waits for memory")
	} else {
		missing = append(missing, "flops."+string(w.Precision))
	}
	if q.Chip.Bandwidth != nil {
		r.bytes = q.Chip.Bandwidth.Value
	} else {
		missing = append(missing, "bandwidth")
	}
	if q.Chip.Link != nil {
		r.link = q.Chip.Link.EachWay()
	} else if l.Tensor > 1 || l.Sequence > 1 || l.Expert > l.Tensor {
		missing = append(missing, "link")
	}
	if r.net = q.Net; q.Node > 0 && max(l.Tensor*l.Sequence, l.Expert) > q.Node { // their sums go over the network
		if r.link = min(r.link, r.net); r.net == 0 {
			missing = append(missing, "network between nodes")
		}
	}
	if missing != nil {
		return r, &Refusal{Reason: Unknown, Chip: q.Chip.ID, Missing: missing}
	}
	return r, nil
}

// training fills in a step: three passes' worth of arithmetic (arXiv 2001.08361), a fourth where all is computed again
// (mosaicml/llm-foundry scripts/train/benchmarking/README.md), and less where few weights are trained; between
// the products each activation is written once and read once a pass.
func (q Question) training(a *Answer, r rates, e Efficiency) {
	w, l, s := q.Work, q.Layout.filled(), q.Shape
	passes := 2 + w.trained()
	if w.Recompute == Full {
		passes++
	}
	context := float64(w.Context)
	tokens := float64(w.Batch) * context
	micro := max(1, min(max(1, w.Micro), w.Batch/l.Data))
	micros := math.Ceil(float64(w.Batch) / float64(l.Data*micro))
	// As if a chip did all of so many tokens. Where the batch does not divide by the ranks, or the layers by the stages, the
	// others wait for the fullest.
	each := math.Ceil(float64(w.Batch)/float64(l.Data)) * float64(l.Data) * context / float64(l.Chips()) * q.fullest()
	t := &a.Terms
	t.Arithmetic = each * passes * s.Flops(context/2) / (r.flops * e.Arithmetic) // attention sees half of the context in the mean
	how := w.Recompute
	if how == Full || how == "" {
		how = Fused // what is not kept is written and read all the same
	}
	t.Memory = each * passes * float64(s.Layers) * 2 * s.kept(how, context) / (r.bytes * e.Memory)
	t.Overhead = float64(s.Layers) * passes * e.Layer * micros / float64(l.Pipeline) * q.fullest()
	if l.Tensor > 1 {
		t.Link = q.tensorLink(each*float64(l.Tensor*l.Pipeline), passes*2) / r.link
	}
	t.Link += q.expertLink(r, each, passes)
	work := t.Arithmetic + t.Memory + t.Overhead + t.Link
	if l.Pipeline > 1 { // (stages - 1) / (microbatches * parts): docs.rs/crate/boostr, schedule_interleaved
		t.Bubble = work * float64(l.Pipeline-1) / (micros * float64(l.Virtual))
	}
	// Each microbatch goes forward and back through the parts of a stage: what it hands on waits for nothing else.
	t.Link += q.stageLink(a, r, each*float64(l.Tensor*l.Pipeline), 2*float64(l.Virtual), work)
	work = t.Arithmetic + t.Memory + t.Overhead + t.Link
	data := q.dataLink(a, r, work, micros)
	t.Link += data
	a.Step = work + t.Bubble + data
	a.Rate = tokens / a.Step
}

// prefill fills in the pass of a batch of prompts. Stages of a pipeline work on one prompt each; steady says that others
// follow and precede the batch, so that no stage waits for its first or after its last.
func (q Question) prefill(a *Answer, r rates, e Efficiency, batch, prompt int, steady bool) {
	l, s := q.Layout.filled(), q.Shape
	ranks, stages := float64(l.Tensor*l.Sequence), float64(l.Pipeline)
	passes := 1.0 // of all prompts together, or one a prompt
	if l.Pipeline > 1 {
		passes = float64(batch)
	}
	tokens := float64(batch*prompt) / passes
	seen := float64(prompt) / 2 // in the mean
	if s.Encoder {
		seen = float64(prompt)
	}
	t := Terms{ // of a pass through all stages, one after the other
		Arithmetic: tokens * s.Flops(seen) / ranks / (r.flops * e.Arithmetic),
		Memory:     s.met(tokens) * q.Work.weightBytes() / ranks / (r.bytes * e.Memory),
		Overhead:   float64(s.Layers) * e.Layer,
	}
	t.Link = q.passLink(a, r, tokens, max(t.Arithmetic, t.Memory))
	pass := max(t.Arithmetic, t.Memory) + t.Link + t.Overhead
	for _, x := range []*float64{&t.Arithmetic, &t.Memory, &t.Overhead, &t.Link} {
		*x *= passes / stages * q.fullest()
	}
	pass *= q.fullest()
	if !steady {
		t.Bubble = pass * (stages - 1) / stages
	}
	a.Terms = t
	a.Step = pass*passes/stages + t.Bubble
}

// decode fills in a token of each of a batch of sequences: all weights that the batch meets and its whole cache are
// read. Stages of a pipeline work on a part of the sequences each and hand them on, so each part goes through all
// stages for a token: a pipeline saves no reading of weights.
func (q Question) decode(a *Answer, r rates, e Efficiency, batch int, context float64) {
	l, s, w := q.Layout.filled(), q.Shape, q.Work
	ranks := float64(l.Tensor * l.Sequence)
	n := float64(batch) / float64(min(l.Pipeline, batch)) // the sequences of a part
	heads := float64(min(l.Tensor, s.KVHeads))
	if s.Latent != nil {
		heads = 1
	}
	cache := n * s.Cached(context) * w.cacheBytes() / heads / float64(l.Sequence)
	t := Terms{
		Arithmetic: n * s.Flops(context) / ranks / (r.flops * e.Arithmetic),
		Memory:     (s.met(n)*w.weightBytes()/ranks + cache) / (r.bytes * e.Memory),
		Overhead:   float64(s.Layers) * e.Layer,
	}
	t.Link = q.passLink(a, r, n, max(t.Arithmetic, t.Memory))
	for _, x := range []*float64{&t.Arithmetic, &t.Memory, &t.Overhead, &t.Link} {
		*x *= q.fullest()
	}
	a.Terms = t
	a.Step = max(t.Arithmetic, t.Memory) + t.Link + t.Overhead
}

// serving mixes both: in the time in which a batch's answers are made, as many prompts are read.
func (q Question) serving(a *Answer, r rates, e Efficiency) {
	w := q.Work
	var in, out Answer
	q.prefill(&in, r, e, 1, w.Prompt, true) // prompts come one after the other
	q.decode(&out, r, e, a.Batch, float64(w.Prompt)+float64(w.Output)/2)
	n, o := float64(a.Batch), float64(w.Output)
	a.assume(in.Assumed...)
	a.assume(out.Assumed...)
	a.Open = max(in.Open, out.Open)
	for _, part := range []struct{ sum, in, out *float64 }{
		{&a.Terms.Arithmetic, &in.Terms.Arithmetic, &out.Terms.Arithmetic}, {&a.Terms.Memory, &in.Terms.Memory, &out.Terms.Memory},
		{&a.Terms.Link, &in.Terms.Link, &out.Terms.Link}, {&a.Terms.Overhead, &in.Terms.Overhead, &out.Terms.Overhead}} {
		*part.sum = n**part.in + o**part.out
	}
	// Short prompts share a pass: reading the weights and starting the layers is paid once for two thousand tokens.
	share := min(1, float64(w.Prompt)/2048)
	each := max(in.Terms.Arithmetic, in.Terms.Memory*share) + in.Terms.Link + in.Terms.Overhead*share
	if a.Batch == 1 {
		each = in.Step
	}
	a.Step = n*each + o*out.Step
	a.Rate = n * o / a.Step * q.replicas()
}

// largest names the largest term.
func (t Terms) largest() string {
	name, most := "arithmetic", t.Arithmetic
	for _, x := range []struct {
		name string
		v    float64
	}{{"memory", t.Memory}, {"link", t.Link}, {"bubble", t.Bubble}, {"overhead", t.Overhead}} {
		if x.v > most {
			name, most = x.name, x.v
		}
	}
	return name
}
