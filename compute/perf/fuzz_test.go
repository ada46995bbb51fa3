package perf_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

// sound fails for an answer with a number that is none, is negative or stands outside its own interval.
func sound(t interface{ Fatalf(string, ...any) }, q perf.Question, a perf.Answer) {
	for name, v := range map[string]float64{"rate": a.Rate, "low": a.Low, "high": a.High, "step": a.Step} {
		if !(v > 0) || math.IsInf(v, 0) {
			t.Fatalf("%s is %v for %+v", name, v, q)
		}
	}
	for name, v := range map[string]float64{"arithmetic": a.Terms.Arithmetic, "memory": a.Terms.Memory, "link": a.Terms.Link, "bubble": a.Terms.Bubble, "overhead": a.Terms.Overhead,
		"weights": a.Memory.Weights, "gradients": a.Memory.Gradients, "optimizer": a.Memory.Optimizer, "activations": a.Memory.Activations, "cache": a.Memory.Cache} {
		if !(v >= 0) || math.IsInf(v, 0) {
			t.Fatalf("%s is %v for %+v", name, v, q)
		}
	}
	if a.Low > a.Rate || a.Rate > a.High || a.Batch < 1 || a.Assumed == nil {
		t.Fatalf("%+v for %+v", a, q)
	}
}

// Whatever is asked, the answer is a number of sense or a refusal with its reason.
func FuzzPredict(f *testing.F) {
	f.Add(0, 0, 2, 4096, 80, 8192, 64, 8, 128, 28672, 128256, 8, 1, 2, 1, 1, 1, 3, 1, 0, 0.0, 50e9, 80e9, 3e12, 1e15, 450e9)
	f.Add(9, 4, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 9, 0.5, 0.0, 1e15, 1.0, 1.0, 0.0)
	f.Add(12, 3, -1, math.MaxInt, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 1<<24, 9, 7, 3, math.NaN(), math.Inf(1), math.MaxFloat64, 5e-324, -1.0, math.NaN())
	f.Fuzz(func(t *testing.T, known, task, batch, context, layers, width, heads, kv, head, inner, vocab, tensor, pipeline, data, sequence, expert, virtual, shard, recompute, node int,
		trained, net, memory, bandwidth, flops, link float64) {
		s := perf.Shape{Layers: layers, Width: width, Heads: heads, KVHeads: kv, Head: head, Inner: inner, Vocab: vocab}
		if all := perf.Shapes(); known >= 0 && known < len(all) {
			s = all[known]
		}
		tasks, ways := perf.Tasks(), []perf.Recompute{"", perf.KeepAll, perf.Fused, perf.Full, "half"}
		c := chip.Chip{ID: "x", Memory: fig(memory), Bandwidth: fig(bandwidth), Flops: map[chip.Precision]*chip.Figure{chip.BF16: fig(flops)}, Power: fig(bandwidth)}
		if link != 0 {
			c.Link = &chip.Link{Figure: chip.Figure{Value: link}, Counts: chip.EachWay}
		}
		q := perf.Question{Shape: s, Chip: c, Node: node, Net: net,
			Work:   perf.Work{Task: tasks[uint(task)%uint(len(tasks))], Precision: chip.BF16, Batch: batch, Context: context, Prompt: context, Output: batch, Micro: batch, Trained: trained, Recompute: ways[uint(recompute)%uint(len(ways))]},
			Layout: perf.Layout{Tensor: tensor, Pipeline: pipeline, Data: data, Sequence: sequence, Expert: expert, Virtual: virtual, Shard: perf.Shard(shard)}}
		a, r := perf.Predict(q)
		if r == nil {
			sound(t, q, a)
		} else if r.Reason == "" || r.Error() == "" {
			t.Fatalf("%+v for %+v", r, q)
		}
		if options, r := perf.Layouts(q, data); r == nil && data <= 4096 {
			for _, o := range options {
				if o.Refused == nil {
					sound(t, q, o.Answer)
				}
			}
		}
	})
}

// A chip with more of anything does no less and refuses nothing that the other did, for every layout of its numbers.
func TestMoreIsNeverLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := draw(t)
		q.Chip.Memory = fig(rapid.Float64Range(5e9, 400e9).Draw(t, "memory"))
		q.Net = rapid.SampledFrom([]float64{1e9, 50e9}).Draw(t, "net")
		q.Work.Recompute = rapid.SampledFrom([]perf.Recompute{perf.Fused, perf.Full}).Draw(t, "recompute")
		q.Work.Micro = rapid.IntRange(0, 4).Draw(t, "micro")
		chips := rapid.IntRange(1, 40).Draw(t, "chips")
		before, r := perf.Layouts(q, chips)
		if r != nil {
			t.Skip(r.Error())
		}
		for name, better := range map[string]func(*perf.Question){
			"memory":    func(q *perf.Question) { q.Chip.Memory = fig(q.Chip.Memory.Value * 1.5) },
			"bandwidth": func(q *perf.Question) { q.Chip.Bandwidth = fig(q.Chip.Bandwidth.Value * 1.5) },
			"flops": func(q *perf.Question) {
				q.Chip.Flops = map[chip.Precision]*chip.Figure{chip.BF16: fig(2e15), chip.FP8: fig(3e15)}
			},
			"link": func(q *perf.Question) {
				q.Chip.Link = &chip.Link{Figure: chip.Figure{Value: 900e9}, Counts: chip.EachWay}
			},
			"network": func(q *perf.Question) { q.Net *= 2 },
		} {
			p := q
			better(&p)
			after, _ := perf.Layouts(p, chips)
			of := map[perf.Layout]perf.Option{}
			for _, o := range after {
				of[o.Layout] = o
			}
			for _, o := range before {
				x := of[o.Layout]
				switch {
				case o.Refused != nil:
				case x.Refused != nil:
					t.Fatalf("more %s: %+v is refused: %v", name, o.Layout, x.Refused)
				case x.Answer.Rate < o.Answer.Rate*(1-1e-9):
					t.Fatalf("more %s: %+v does %v after %v", name, o.Layout, x.Answer.Rate, o.Answer.Rate)
				}
			}
		}
	})
}

// A pipeline decodes no faster than memory is read: stages save no reading of weights, whatever their number.
func TestPipelinesReadAllWeights(t *testing.T) {
	q := perf.Question{Shape: shape(t, "llama-3-70b"), Chip: big(), Work: perf.Work{Task: perf.Decode, Precision: chip.BF16, Batch: 1, Context: 1024}, Layout: perf.Layout{Pipeline: 8}}
	deep, r := perf.Predict(q)
	if r != nil {
		t.Fatal(r)
	}
	q.Layout = perf.Layout{Tensor: 8}
	wide, _ := perf.Predict(q)
	if deep.Terms.Memory < 7.9*wide.Terms.Memory {
		t.Errorf("one sequence reads weights for %v s over eight stages, %v s over eight tensor ranks", deep.Terms.Memory, wide.Terms.Memory)
	}
	q.Layout, q.Work.Batch = perf.Layout{Pipeline: 8}, 64
	if many, _ := perf.Predict(q); many.Terms.Arithmetic > 8.1*deep.Terms.Arithmetic || many.Rate < 20*deep.Rate {
		t.Errorf("sixty-four sequences: %+v after %+v", many, deep)
	}
}

// Eighty layers over sixty-four stages leave two in the fullest: it decides the step.
func TestUnevenStages(t *testing.T) {
	q := perf.Question{Shape: shape(t, "llama-3-70b"), Chip: big(), Work: perf.Work{Task: perf.Train, Precision: chip.BF16, Batch: 1 << 14, Context: 4096}, Layout: perf.Layout{Tensor: 1, Pipeline: 40}}
	q.Chip.Memory = fig(1e15)
	even, r := perf.Predict(q)
	if r != nil {
		t.Fatal(r)
	}
	q.Layout.Pipeline = 64
	uneven, _ := perf.Predict(q)
	if f := uneven.Rate / even.Rate; f < 0.95 || f > 1.05 { // as many layers in the fullest stage as with forty
		t.Errorf("sixty-four stages do %v times what forty do", f)
	}
}

// What tensor ranks sum does not depend on how many stages follow one another.
func TestTensorSumsOfStages(t *testing.T) {
	q := perf.Question{Shape: shape(t, "llama-3-70b"), Chip: big(), Work: perf.Work{Task: perf.Train, Precision: chip.BF16, Batch: 256, Context: 4096}, Layout: perf.Layout{Tensor: 8, Data: 4}}
	q.Chip.Memory = fig(1e15)
	q.Layout.Shard = perf.ShardNone
	flat, r := perf.Predict(q)
	if r != nil {
		t.Fatal(r)
	}
	q.Layout = perf.Layout{Tensor: 8, Pipeline: 4}
	deep, _ := perf.Predict(q)
	if f := deep.Terms.Link / flat.Terms.Link; f < 0.99 || f > 1.2 {
		t.Errorf("links take %v s in four stages, %v s in four data ranks", deep.Terms.Link, flat.Terms.Link)
	}
}
