package perf

import (
	"cmp"
	"slices"
)

// Option is one way of laying work on chips, with its answer or refusal.
type Option struct {
	Layout  Layout
	Answer  Answer
	Refused *Refusal // nil: Answer holds
}

// Layouts tries the layouts of so many chips that make sense and ranks them: those with an answer first, the fastest
// before the others, then the refused ones, the nearest to fitting first. Tensor ranks stay within a node (q.Node), where the
// link carries their sums; pipeline stages and data-parallel ranks go over nodes. Training also splits states among its
// ranks in each stage. The layout and batch of q but for these are kept: for serving, Batch is of one replica.
func Layouts(q Question, chips int) ([]Option, *Refusal) {
	q.Layout = Layout{}
	if r := q.check(); r != nil {
		return nil, r
	}
	if chips < 1 || chips > limit {
		return nil, invalid("chips", "%d is out of range", chips)
	}
	node := chips
	if q.Node > 0 {
		node = min(chips, q.Node)
	}
	shards := []Shard{ShardNone}
	if q.Work.Task.trains() {
		shards = []Shard{ShardNone, ShardOptimizer, ShardGradients, ShardWeights}
	}
	var options []Option
	for tensor := 1; tensor <= node && tensor <= q.Shape.Heads; tensor *= 2 {
		for pipeline := 1; tensor*pipeline <= chips && pipeline <= q.Shape.Layers; pipeline *= 2 {
			if chips%(tensor*pipeline) != 0 || q.Shape.Heads%tensor != 0 {
				continue
			}
			data := chips / (tensor * pipeline)
			if q.Work.Task.trains() && data > q.Work.Batch {
				continue
			}
			for _, shard := range shards {
				if shard > ShardNone && data == 1 {
					continue
				}
				p := q
				p.Layout = Layout{Tensor: tensor, Pipeline: pipeline, Data: data, Sequence: 1, Expert: 1, Virtual: 1, Shard: shard}
				if q.Shape.Experts != nil && tensor > 1 {
					p.Layout.Expert = min(tensor, q.Shape.Experts.Count)
				}
				a, r := Predict(p)
				options = append(options, Option{p.Layout, a, r})
			}
		}
	}
	slices.SortStableFunc(options, compare)
	return options, nil
}

func compare(a, b Option) int {
	switch {
	case a.Refused == nil && b.Refused == nil:
		return cmp.Or(cmp.Compare(b.Answer.Rate, a.Answer.Rate), cmp.Compare(a.Answer.Memory.Total(), b.Answer.Memory.Total()))
	case a.Refused == nil:
		return -1
	case b.Refused == nil:
		return 1
	}
	return cmp.Compare(a.Refused.Needs, b.Refused.Needs)
}
