package perf_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

func shape(t testing.TB, name string) perf.Shape {
	s, ok := perf.Named(name)
	if !ok {
		t.Fatalf("no shape %s", name)
	}
	return s
}

// The counts are those of the published weights; of the MPT models those that llm-foundry prints.
func TestParametersAreExact(t *testing.T) {
	for name, want := range map[string][2]int64{
		"llama-2-7b": {6_738_415_616}, "llama-2-13b": {13_015_864_320}, "llama-2-70b": {68_976_648_192},
		"llama-3-8b": {8_030_261_248}, "llama-3-70b": {70_553_706_496}, "llama-3-405b": {405_853_388_800},
		"mistral-7b": {7_241_732_096}, "mixtral-8x7b": {46_702_792_704, 12_879_925_248},
		"deepseek-v3": {671_026_419_200}, "qwen2.5-7b": {7_615_616_512}, "qwen3-30b-a3b": {30_532_122_624}, "qwen3-235b-a22b": {235_093_634_560},
		"mpt-125m": {125_311_488}, "mpt-350m": {355_985_408}, "mpt-760m": {760_470_528}, "mpt-1b": {1_315_950_592}, "mpt-3b": {2_651_837_440},
		"mpt-7b": {6_658_859_008}, "mpt-13b": {12_853_954_560}, "mpt-30b": {29_975_214_080}, "mpt-70b": {64_862_437_376},
	} {
		s := shape(t, name)
		if n := s.Parameters(); n != want[0] {
			t.Errorf("%s has %d parameters, want %d", name, n, want[0])
		}
		if want[1] != 0 && s.Active() != want[1] {
			t.Errorf("%s uses %d a token, want %d", name, s.Active(), want[1])
		}
	}
	if n := float64(shape(t, "deepseek-v3").Active()) / 1e9; n < 37 || n > 38 { // its report says 37B
		t.Errorf("DeepSeek-V3 uses %.1f billion a token", n)
	}
}

// Llama 2 7B caches half a mebibyte a token, Llama 3 70B 320 KiB, DeepSeek-V3 576 numbers a layer.
func TestCache(t *testing.T) {
	for name, want := range map[string]float64{"llama-2-7b": 256 << 10, "llama-3-70b": 160 << 10, "deepseek-v3": 61 * 576} {
		if n := shape(t, name).CacheNumbers(); n != want {
			t.Errorf("%s caches %v numbers, want %v", name, n, want)
		}
	}
}

func fig(v float64) *chip.Figure { return &chip.Figure{Value: v} }

func big() chip.Chip {
	return chip.Chip{ID: "x", Memory: fig(80e9), Bandwidth: fig(3e12), Power: fig(700),
		Flops: map[chip.Precision]*chip.Figure{chip.BF16: fig(1e15), chip.FP8: fig(2e15)},
		Link:  &chip.Link{Figure: chip.Figure{Value: 450e9}, Counts: chip.EachWay}}
}

func TestTrainingMemoryAddsUp(t *testing.T) {
	s := shape(t, "llama-2-7b")
	q := perf.Question{Shape: s, Work: perf.Work{Task: perf.Train, Precision: chip.BF16, Batch: 8, Context: 4096}, Layout: perf.Layout{Data: 8}}
	m, r := perf.Hold(q)
	if r != nil {
		t.Fatal(r)
	}
	n := float64(s.Parameters())
	if got := m.Weights + m.Gradients + m.Optimizer; got != 16*n {
		t.Errorf("states are %v bytes, want 16 for each parameter, %v", got, 16*n)
	}
	q.Layout.Shard = perf.ShardGradients
	if m2, _ := perf.Hold(q); math.Abs(m2.Weights+m2.Gradients+m2.Optimizer-(2+14.0/8)*n) > 1 {
		t.Errorf("sharded states are %v", m2)
	}
	// Megatron's 34 bytes less the two of dropout for each token, layer and width, in a layer of GPT's form.
	g := shape(t, "gpt3-175b")
	q = perf.Question{Shape: g, Work: perf.Work{Task: perf.Train, Precision: chip.BF16, Batch: 1, Context: 2048}}
	m, _ = perf.Hold(q)
	want := 2048 * (96*32*12288.0 + 4*51200)
	if math.Abs(m.Activations-want) > 1 {
		t.Errorf("activations are %v, want %v", m.Activations, want)
	}
}

func TestRefusals(t *testing.T) {
	q := perf.Question{Shape: shape(t, "llama-3-70b"), Chip: big(), Work: perf.Work{Task: perf.Decode, Precision: chip.BF16, Batch: 1, Context: 1024}}
	a, r := perf.Predict(q)
	if r == nil || r.Reason != perf.NoFit || r.Needs < 141e9 || r.Has > 80e9 {
		t.Errorf("70B in 16 bits on 80 GB: %+v %+v", a, r)
	}
	q.Layout.Tensor = 4
	if _, r = perf.Predict(q); r != nil {
		t.Errorf("on four: %v", r)
	}
	for name, change := range map[string]func(*chip.Chip){
		"memory": func(c *chip.Chip) { c.Memory = nil }, "bandwidth": func(c *chip.Chip) { c.Bandwidth = nil },
		"link": func(c *chip.Chip) { c.Link = nil }, "flops.bf16": func(c *chip.Chip) { c.Flops = nil },
	} {
		p := q
		p.Chip, p.Work.Batch = big(), 64
		change(&p.Chip)
		if _, r := perf.Predict(p); r == nil || r.Reason != perf.Unknown || len(r.Missing) != 1 || r.Missing[0] != name {
			t.Errorf("without %s: %v", name, r)
		}
	}
	q.Chip.Flops = nil
	if a, r := perf.Predict(q); r != nil || len(a.Assumed) == 0 {
		t.Errorf("decode of one sequence without the peak: %+v %v", a, r)
	}
	for _, bad := range []func(*perf.Question){
		func(q *perf.Question) { q.Shape.Layers = 0 }, func(q *perf.Question) { q.Work.Task = "sing" }, func(q *perf.Question) { q.Layout.Tensor = 3 },
		func(q *perf.Question) { q.Work.Batch = -1 }, func(q *perf.Question) { q.Work.Precision = "fp3" }, func(q *perf.Question) { q.Work.WeightBytes = math.NaN() },
		func(q *perf.Question) { q.Layout.Pipeline = 81 }, func(q *perf.Question) { q.Layout.Expert = 2 }, func(q *perf.Question) { q.Work.Context = math.MaxInt },
	} {
		p := q
		bad(&p)
		if _, r := perf.Predict(p); r == nil || r.Reason != perf.Invalid || r.Field == "" {
			t.Errorf("%+v: %v", p.Work, r)
		}
	}
}

func draw(t *rapid.T) perf.Question {
	s := rapid.SampledFrom(perf.Shapes()).Draw(t, "shape")
	q := perf.Question{Shape: s, Chip: big(), Net: 50e9, Node: 8}
	q.Chip.Memory = fig(1e15) // fit is another property
	q.Work = perf.Work{Task: rapid.SampledFrom(perf.Tasks()).Draw(t, "task"), Precision: rapid.SampledFrom([]chip.Precision{chip.BF16, chip.FP8}).Draw(t, "precision"),
		Batch: rapid.IntRange(8, 512).Draw(t, "batch"), Context: rapid.IntRange(1, 8192).Draw(t, "context"), Prompt: rapid.IntRange(1, 4096).Draw(t, "prompt"), Output: rapid.IntRange(1, 4096).Draw(t, "output")}
	q.Layout = perf.Layout{Tensor: rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "tensor"), Data: rapid.SampledFrom([]int{1, 2, 8}).Draw(t, "data"), Pipeline: rapid.SampledFrom([]int{1, 2}).Draw(t, "pipeline")}
	return q
}

func rate(t *rapid.T, q perf.Question) perf.Answer {
	a, r := perf.Predict(q)
	if r != nil {
		t.Skip(r.Error())
	}
	if !(a.Rate > 0) || math.IsInf(a.Rate, 0) || a.Low > a.Rate || a.High < a.Rate || a.Step <= 0 {
		t.Fatalf("%+v", a)
	}
	return a
}

// A better chip is never slower, and more sequences at once are never less work in all nor need less memory.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := draw(t)
		a := rate(t, q)
		for name, better := range map[string]func(*chip.Chip){
			"bandwidth": func(c *chip.Chip) { c.Bandwidth = fig(c.Bandwidth.Value * 2) },
			"flops": func(c *chip.Chip) {
				c.Flops = map[chip.Precision]*chip.Figure{chip.BF16: fig(3e15), chip.FP8: fig(4e15)}
			},
			"link": func(c *chip.Chip) { c.Link = &chip.Link{Figure: chip.Figure{Value: 900e9}, Counts: chip.EachWay} },
		} {
			p := q
			better(&p.Chip)
			if b := rate(t, p); b.Rate < a.Rate*(1-1e-9) {
				t.Fatalf("more %s: %v after %v tokens/s", name, b.Rate, a.Rate)
			}
		}
		p := q
		p.Work.Batch *= 2
		b := rate(t, p)
		if b.Rate < a.Rate*(1-1e-9) {
			t.Fatalf("twice the batch: %v after %v tokens/s", b.Rate, a.Rate)
		}
		if b.Memory.Total() < a.Memory.Total() {
			t.Fatalf("twice the batch: %v after %v bytes", b.Memory, a.Memory)
		}
		if !(q.Work.Task == perf.Train || q.Work.Task == perf.PostTrain) {
			p = q
			p.Layout.Data *= 2
			if b := rate(t, p); math.Abs(b.Rate/a.Rate-2) > 1e-9 {
				t.Fatalf("twice the replicas: %v after %v tokens/s", b.Rate, a.Rate)
			}
		}
		p = q
		p.Layout.Tensor *= 2
		if b := rate(t, p); b.Memory.Total() > a.Memory.Total()+1 {
			t.Fatalf("twice the chips of a rank hold %v after %v", b.Memory, a.Memory)
		}
	})
}

// What the largest batch is said to be fits, and one more does not.
func TestLargest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := draw(t)
		if q.Work.Task == perf.Train || q.Work.Task == perf.PostTrain || q.Work.Task == perf.Embed || q.Work.Task == perf.Prefill {
			q.Work.Task = perf.Decode
		}
		q.Chip.Memory = fig(rapid.Float64Range(1e9, 1e12).Draw(t, "memory"))
		n, r := perf.Largest(q, 1<<20)
		if r != nil {
			t.Skip(r.Error())
		}
		if n < 1 {
			n = 0
		} else if q.Work.Batch = n; true {
			if _, r := perf.Predict(q); r != nil {
				t.Fatalf("%d fit, but %v", n, r)
			}
		}
		if n == 1<<20 {
			return
		}
		q.Work.Batch = n + 1
		if _, r := perf.Predict(q); r == nil || r.Reason != perf.NoFit {
			t.Fatalf("%d fit, and so does one more", n)
		}
	})
}

// A 70B in 16 bits on eight chips of 80 GB: a replica of one is refused (two just hold it, 70.6 of 72 GB each), the rest ranked by speed, all
// of eight chips.
func TestLayouts(t *testing.T) {
	q := perf.Question{Shape: shape(t, "llama-3-70b"), Chip: big(), Node: 8, Net: 50e9, Work: perf.Work{Task: perf.Serve, Precision: chip.BF16, Prompt: 512, Output: 512}}
	options, r := perf.Layouts(q, 8)
	if r != nil {
		t.Fatal(r)
	}
	answers, refused, last := 0, 0, math.Inf(1)
	for _, o := range options {
		if o.Layout.Chips() != 8 {
			t.Errorf("%+v is not of eight chips", o.Layout)
		}
		if o.Refused != nil {
			refused++
			if o.Layout.Tensor*o.Layout.Pipeline > 1 || o.Refused.Reason != perf.NoFit {
				t.Errorf("%+v: %v", o.Layout, o.Refused)
			}
			continue
		}
		if answers++; refused > 0 || o.Answer.Rate > last {
			t.Errorf("%+v stands too late", o.Layout)
		}
		last = o.Answer.Rate
	}
	if answers != 9 || refused != 1 {
		t.Errorf("%d answers and %d refusals", answers, refused)
	}
	q.Work = perf.Work{Task: perf.Train, Precision: chip.BF16, Batch: 64, Context: 4096, Recompute: perf.Full}
	options, r = perf.Layouts(q, 64)
	if r != nil || len(options) == 0 || options[0].Refused != nil {
		t.Fatalf("training on 64: %v %v", options, r)
	}
	for _, o := range options {
		if o.Layout.Tensor > 8 {
			t.Errorf("tensor ranks over nodes: %+v", o.Layout)
		}
	}
}

func TestTensorRanksOverNodesNeedTheNetwork(t *testing.T) {
	q := perf.Question{Shape: shape(t, "llama-3-70b"), Chip: big(), Node: 4, Work: perf.Work{Task: perf.Decode, Precision: chip.BF16, Batch: 64, Context: 1024}, Layout: perf.Layout{Tensor: 8}}
	if _, r := perf.Predict(q); r == nil || r.Reason != perf.Unknown {
		t.Errorf("without a network: %v", r)
	}
	q.Net = 1e9
	slow, r := perf.Predict(q)
	if r != nil {
		t.Fatal(r)
	}
	q.Node = 8
	if fast, _ := perf.Predict(q); fast.Rate <= slow.Rate {
		t.Errorf("%v within a node, %v over two", fast.Rate, slow.Rate)
	}
}
