package perf

import (
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/compute/chip"
)

// tensorLink is the bytes that a chip sends for so many tokens of its rank: each pass through a layer sums twice over the
// tensor ranks (here `sums` in all), and a ring's sum sends 2(n-1)/n of what is summed.
func (q Question) tensorLink(tokens, sums float64) float64 {
	l := q.Layout.filled()
	n := float64(l.Tensor)
	return sums * float64(q.Shape.Layers) / float64(l.Pipeline) * tokens * float64(q.Shape.Width) * 2 * 2 * (n - 1) / n
}

// dataLink is the part of the exchange among data-parallel ranks that work does not hide, in seconds. Gradients are
// summed once a step; sharded weights are gathered twice for each microbatch. Without a figure it counts as hidden, and
// the answer says so.
func (q Question) dataLink(a *Answer, r rates, work, micros float64) float64 {
	l, w := q.Layout.filled(), q.Work
	n := float64(l.Data)
	if l.Data == 1 {
		return 0
	}
	bytes := 2 * q.share() * w.weightBytes() * w.trained() * (n - 1) / n
	if l.Shard == ShardWeights {
		bytes = (2*micros + w.trained()) * q.share() * w.weightBytes() * (n - 1) / n
	}
	speed, name := q.carrier(r, l.Chips())
	if speed == 0 {
		a.hide(name, "what data-parallel ranks exchange", bytes, work)
		return 0
	}
	return max(0, bytes/speed-work)
}

// expertLink is the seconds in which tokens go to the chips of their experts and come back, where experts lie on chips of
// several tensor ranks; within one the rank's sums already bring them together. Each holds the width in two bytes.
func (q Question) expertLink(r rates, tokens, passes float64) float64 {
	l := q.Layout.filled()
	if l.Expert <= l.Tensor || q.Shape.Experts == nil {
		return 0
	}
	layers, _ := q.Shape.experts()
	e := float64(l.Expert)
	return passes * float64(layers) * tokens * float64(q.Shape.Experts.Active*q.Shape.Width) * 2 * 2 * (e - 1) / e / r.link
}

// stageLink is the seconds in which a stage of a pipeline hands on so many tokens so many times: their width in two bytes,
// each tensor rank its part. Where the speed is unknown it counts as hidden behind the work.
func (q Question) stageLink(a *Answer, r rates, tokens, times, work float64) float64 {
	l := q.Layout.filled()
	if l.Pipeline == 1 {
		return 0
	}
	bytes := tokens * times * float64(q.Shape.Width) * 2 / float64(l.Tensor)
	speed, name := q.carrier(r, l.Tensor*l.Sequence*l.Pipeline)
	if speed == 0 {
		a.hide(name, "what pipeline stages hand on", bytes, work)
		return 0
	}
	return bytes / speed
}

// carrier is what joins so many chips that lie together: the link of a node or the network.
func (q Question) carrier(r rates, chips int) (speed float64, name string) {
	if q.Node > 0 && chips > q.Node {
		return r.net, "network between nodes"
	}
	return r.link, "link"
}

// hide says what is not counted, and how fast it must be for that to be true.
func (a *Answer) hide(name, what string, bytes, work float64) {
	if !(work > 0 && bytes > 0) {
		a.assume(fmt.Sprintf("the %s is unknown: %s counts as hidden behind work", name, what))
		return
	}
	a.Open = max(a.Open, bytes/work)
	a.assume(fmt.Sprintf("the %s is unknown: %s counts as hidden behind work, which takes %s a chip each way", name, what, chip.FormatQuantity(bytes/work, chip.BytesPerSecond)))
}

// passLink is the seconds that links take of a pass of so many tokens through all layers without a backward one, beside so
// many seconds of work.
func (q Question) passLink(a *Answer, r rates, tokens, work float64) (t float64) {
	l := q.Layout.filled()
	if l.Tensor > 1 {
		t = q.tensorLink(tokens, 2) * float64(l.Pipeline) / r.link
	}
	t += q.expertLink(r, tokens/float64(l.Tensor*l.Sequence), 1)
	return t + q.stageLink(a, r, tokens, float64(l.Pipeline-1), work)
}

// assume notes what stands in for what is unknown, once.
func (a *Answer) assume(notes ...string) {
	for _, n := range notes {
		if !slices.Contains(a.Assumed, n) {
			a.Assumed = append(a.Assumed, n)
		}
	}
}
