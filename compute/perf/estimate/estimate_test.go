package estimate

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
)

func catalogue(t testing.TB) *chip.Catalogue {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func all(t testing.TB) (cs []Candidate) {
	for _, c := range catalogue(t).All() {
		cs = append(cs, Candidate{Chip: c})
	}
	return cs
}

func the(t testing.TB, names ...string) (cs []Candidate) {
	for _, n := range names {
		c, err := catalogue(t).Find(n)
		if err != nil {
			t.Fatal(err)
		}
		cs = append(cs, Candidate{Chip: c})
	}
	return cs
}

func llama70b(t testing.TB) perf.Shape {
	s, ok := perf.Named("llama-3-70b")
	if !ok {
		t.Fatal("no llama-3-70b")
	}
	return s
}

func ask(t testing.TB, task perf.Task) Ask {
	w := perf.Work{Task: task}
	switch task {
	case perf.Train:
		w.Batch, w.Context = 512, 8192
	case perf.PostTrain:
		w.Batch, w.Context = 64, 4096
	case perf.Serve:
		w.Prompt, w.Output = 1024, 256
	default:
		w.Batch, w.Context = 8, 2048
	}
	return Ask{Shape: llama70b(t), Work: w, Precisions: []chip.Precision{chip.BF16}, By: ByTime, Net: 50e9}
}

func ranked(t testing.TB, a Ask, cs []Candidate) Ranking {
	t.Helper()
	r, bad := Rank(a, cs, nil)
	if bad != nil {
		t.Fatal(bad)
	}
	return r
}

func row(t testing.TB, a Ask, name string) Row {
	t.Helper()
	return ranked(t, a, the(t, name)).Rows[0]
}

// What the field knows of a 70B: 16 bits are served by two chips of 80 GB or one of 141 GB and more with narrow room,
// all weights are trained by 16 to 24 of 80 GB, adapters by two to four.
func TestSeventyBillionFitsWhereTheFieldHasIt(t *testing.T) {
	lora := ask(t, perf.PostTrain)
	lora.Work.Trained = LoRA(lora.Shape, 16)
	narrow := ask(t, perf.Serve)
	narrow.Work.WeightBytes = 0.5
	eight := ask(t, perf.Serve)
	eight.Precisions = []chip.Precision{chip.FP8}
	for _, c := range []struct {
		name     string
		ask      Ask
		chip     string
		from, to int
	}{
		{"serving", ask(t, perf.Serve), "h100-sxm", 2, 2},
		{"serving", ask(t, perf.Serve), "a100-80gb-sxm", 2, 2},
		{"serving", ask(t, perf.Serve), "h200-sxm", 2, 2}, // 141 GB of weights on 127 GB of use
		{"serving", ask(t, perf.Serve), "mi300x", 1, 1},
		{"serving", ask(t, perf.Serve), "b200", 1, 1},
		{"serving", ask(t, perf.Serve), "gaudi3", 2, 2},
		{"serving", ask(t, perf.Serve), "l40s", 4, 4},
		{"serving", ask(t, perf.Serve), "rtx-4090", 8, 8},
		{"serving in four bits", narrow, "a100-40gb-sxm", 1, 2},
		{"serving in four bits", narrow, "rtx-4090", 2, 2},
		{"serving in eight bits", eight, "h100-sxm", 1, 2},
		{"training", ask(t, perf.Train), "h100-sxm", 16, 24},
		{"training", ask(t, perf.Train), "a100-80gb-sxm", 16, 24},
		{"training", ask(t, perf.Train), "mi300x", 8, 8},
		{"tuning all", ask(t, perf.PostTrain), "h100-sxm", 16, 24},
		{"tuning all", ask(t, perf.PostTrain), "a100-40gb-sxm", 32, 48},
		{"adapters", lora, "h100-sxm", 2, 4},
		{"adapters", lora, "h200-sxm", 2, 2},
		{"adapters", lora, "mi300x", 1, 1},
	} {
		r := row(t, c.ask, c.chip)
		if r.Refused != nil || r.Count < c.from || r.Count > c.to {
			t.Errorf("%s on %s: %d chips, want %d to %d (%v)", c.name, c.chip, r.Count, c.from, c.to, r.Refused)
		}
	}
}

// A rank-16 adapter beside every product of Llama 3 8B has 41,943,040 parameters, as everybody's tools print it.
func TestLoRA(t *testing.T) {
	s, _ := perf.Named("llama-3-8b")
	if n := LoRA(s, 16) * float64(s.Parameters()); math.Abs(n-41_943_040) > 1 {
		t.Errorf("%v parameters", n)
	}
	for _, s := range perf.Shapes() {
		if f := LoRA(s, 16); !(f > 0 && f < 0.2) {
			t.Errorf("%s: %v", s.Name, f)
		}
		if LoRA(s, 1<<16) > 1 {
			t.Errorf("%s: more than all", s.Name)
		}
	}
}

func TestRefusals(t *testing.T) {
	fp8, fp4, two := ask(t, perf.Serve), ask(t, perf.Serve), ask(t, perf.Serve)
	fp8.Precisions, fp4.Precisions, two.Precisions = []chip.Precision{chip.FP8}, []chip.Precision{chip.FP4}, []chip.Precision{chip.BF16, chip.FP16}
	trt, few := ask(t, perf.Serve), ask(t, perf.Serve)
	trt.Work.Engine = "tensorrt-llm"
	few.Counts = []int{1}
	slow := ask(t, perf.Train)
	slow.Tokens, slow.Within, slow.Most = 15e12, 3600, 64
	arc := ask(t, perf.Train)
	for _, c := range []struct {
		name, chip string
		ask        Ask
		reason     string
		says       []string
	}{
		{"bf16 on Volta", "v100", ask(t, perf.Serve), NoPrecision, []string{"bf16", "vllm", "fp16"}},
		{"fp8 on Ampere", "a100", fp8, NoPrecision, []string{"fp8", "TransformerEngine", "bf16"}},
		{"fp4 on Hopper", "h100", fp4, NoPrecision, []string{"fp4", "fp8"}},
		{"fp8 on CDNA 2", "mi250x", fp8, NoPrecision, []string{"fp8"}},
		{"fp8 on an Ascend 910B", "910b1", fp8, NoPrecision, []string{"fp8", "fp16"}},
		{"fp8 that nobody told", "mtt-s4000", fp8, string(perf.Unknown), []string{"flops.fp8", "bf16"}},
		{"a chip without figures", "kunlunxin-p800", two, string(perf.Unknown), []string{"memory", "flops.bf16", "bandwidth"}},
		{"processors", "cpu", two, string(perf.Unknown), []string{"memory"}},
		{"an engine of another make", "mi300x", trt, NoEngine, []string{"AMD", "vllm"}},
		{"one chip", "h100", few, string(perf.NoFit), []string{"141", "72 GB", "2 chips"}},
		{"an hour", "h100", slow, TooSlow, []string{"64 chips", "60 min"}},
		{"a link that nobody told", "arc-b580", arc, string(perf.NoFit), []string{"link", "no number"}},
	} {
		r := row(t, c.ask, c.chip)
		if r.Refused == nil || r.Refused.Reason != c.reason {
			t.Errorf("%s: %+v", c.name, r.Refused)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(r.Refused.Error(), s) {
				t.Errorf("%s says nothing of %s: %s", c.name, s, r.Refused.Error())
			}
		}
	}
	if r := row(t, two, "v100"); r.Refused != nil || r.Precision != chip.FP16 {
		t.Errorf("V100 with fp16 for its second choice: %+v", r.Refused)
	}
}

// The fleet bounds the number; what does not fit in it says how many it takes.
func TestFleet(t *testing.T) {
	cs := the(t, "h100")
	cs[0].Has, cs[0].Node = 8, 8
	if r := ranked(t, ask(t, perf.Train), cs).Rows[0]; r.Refused == nil || r.Refused.Fleet != 8 || r.Refused.Smallest != 16 || !strings.Contains(r.Refused.Error(), "16 chips and there are 8") {
		t.Errorf("%+v", r.Refused)
	}
	if r := ranked(t, ask(t, perf.Serve), cs).Rows[0]; r.Refused != nil || r.Count != 2 {
		t.Errorf("%+v", r)
	}
	a := ask(t, perf.Serve)
	a.Counts = []int{16}
	if r := ranked(t, a, cs).Rows[0]; r.Refused == nil || r.Refused.Fleet != 8 {
		t.Errorf("%+v", r.Refused)
	}
}

// Cost and energy are price and power times time; unknown ones stand behind and are never guessed.
func TestMoney(t *testing.T) {
	a := ask(t, perf.Train)
	a.Tokens, a.By, a.PUE = 1e12, ByCost, 1.5
	a.Prices = map[string]float64{"nvidia-h100-sxm": 3, "amd-mi300x": 2, "intel-gaudi3": 0}
	r := ranked(t, a, the(t, "h100", "mi300x", "gaudi3", "a100", "tpu-v5p"))
	var order []string
	for _, x := range r.Rows {
		order = append(order, x.Chip)
		if x.Refused != nil {
			t.Fatalf("%s: %v", x.Chip, x.Refused)
		}
		p, priced := a.Prices[x.Chip]
		if (x.Cost != nil) != priced || (x.Hourly != nil) != priced {
			t.Errorf("%s: cost %v", x.Chip, x.Cost)
		}
		if priced && math.Abs(x.Cost.Is-p*float64(x.Count)*1e12/x.Rate.Is/3600) > 1e-6*x.Cost.Is {
			t.Errorf("%s: %v", x.Chip, x.Cost)
		}
		if x.Cost != nil && (x.Cost.Low > x.Cost.Is || x.Cost.High < x.Cost.Is) {
			t.Errorf("%s: %v", x.Chip, x.Cost)
		}
		if power := x.Answer.Watts; (power == nil) != (x.Energy == nil) || power != nil && math.Abs(x.Energy.Is-*power*1.5*x.Seconds.Is) > 1e-6*x.Energy.Is {
			t.Errorf("%s: %v W, %v J", x.Chip, power, x.Energy)
		}
	}
	if order[0] != "intel-gaudi3" || slices.Index(order, "amd-mi300x") > 2 || slices.Index(order, "nvidia-a100-80gb-sxm") < 3 || slices.Index(order, "google-tpu-v5p") < 3 {
		t.Errorf("%v", order)
	}
	a.Prices = nil
	if r := ranked(t, a, the(t, "h100")); !r.Unpriced {
		t.Error("no price, and nothing says so")
	}
}

func TestWanted(t *testing.T) {
	a := ask(t, perf.Serve)
	few := row(t, a, "h100")
	a.Rate = 10 * few.Rate.Is
	more := row(t, a, "h100")
	if more.Refused != nil || more.Count <= few.Count || more.Rate.Is < a.Rate {
		t.Errorf("%d chips give %v", more.Count, more.Rate)
	}
	a.Sure = true
	if sure := row(t, a, "h100"); sure.Refused != nil || sure.Rate.Low < a.Rate || sure.Count < more.Count {
		t.Errorf("%d chips give %v", sure.Count, sure.Rate)
	}
	b := ask(t, perf.Serve)
	b.Counts, b.User = []int{8}, 20
	slow := b
	slow.User = 0
	if fast := row(t, b, "h100"); fast.User < 20 || fast.Rate.Is > row(t, slow, "h100").Rate.Is {
		t.Errorf("%v tokens a second of one, %v of all", fast.User, fast.Rate)
	}
	b.Counts = nil
	if r := row(t, b, "l40s").Refused; r == nil || r.Reason != TooSlow || !strings.Contains(r.Error(), "one sequence alone") {
		t.Errorf("a pipeline of L40S for someone in a hurry: %+v", r)
	}
	c := ask(t, perf.Train)
	c.Tokens, c.Within = 1e12, 30*86400
	if r := row(t, c, "h100"); r.Refused != nil || r.Seconds.Is > c.Within || r.Count < 100 {
		t.Errorf("%d chips, %v", r.Count, r.Seconds)
	}
	d := ask(t, perf.Serve)
	d.Best = true
	if best := row(t, d, "h100"); best.Count <= 2 || best.Rate.Is/float64(best.Count) < few.Rate.Is/2 || few.Better.Count != best.Count || best.Least != few.Count {
		t.Errorf("best is %d, and two know of %+v", best.Count, few.Better)
	}
}

// Rows without what they are ranked by stand behind in the order of what one chip does, not of how many there are.
func TestUnpricedRowsInTheOrderOfOneChip(t *testing.T) {
	a := ask(t, perf.Serve)
	a.By, a.Prices = ByCost, map[string]float64{"nvidia-l4": 1}
	r := ranked(t, a, the(t, "tpu-v5e", "mi355x", "h20", "l4"))
	if r.Rows[0].Chip != "nvidia-l4" || r.Rows[1].Chip != "amd-mi355x" {
		t.Errorf("%s, then %s", r.Rows[0].Chip, r.Rows[1].Chip)
	}
	for i := 2; i < len(r.Rows); i++ {
		if r.Rows[i-1].each() < r.Rows[i].each() {
			t.Errorf("%s does %v, %s behind it %v", r.Rows[i-1].Chip, r.Rows[i-1].each(), r.Rows[i].Chip, r.Rows[i].each())
		}
	}
}

// What is true only if an unknown link is fast stands behind what is known, however fast it would be; what any slot carries
// does not.
func TestRowsOnUnknownLinksStandBehind(t *testing.T) {
	a := ask(t, perf.Train)
	a.By = ByChips
	slow := the(t, "v100-32gb", "h100")
	slow[1].Chip.ID, slow[1].Chip.Link, slow[1].Node = "dark", nil, 64
	a.Precisions = []chip.Precision{chip.BF16, chip.FP16}
	a.Work.Batch, a.Work.Context, a.Counts = 64, 512, []int{64} // short steps: much to exchange
	r := ranked(t, a, slow)
	if x, y := r.Rows[0], r.Rows[1]; x.Chip != "nvidia-v100-sxm-32gb" || x.Open || y.Refused != nil || !y.Open || y.each() < x.each() || y.Answer.Open <= slot {
		t.Errorf("%s %v %v, then %s %v %v %v", x.Chip, x.each(), x.Open, y.Chip, y.each(), y.Open, y.Answer.Open)
	}
	b := ask(t, perf.Serve)
	if x := row(t, b, "l40s"); x.Open || x.Answer.Open <= 0 || x.Layout.Pipeline != 4 {
		t.Errorf("stages of a pipeline of L40S hand on %v, in %+v", x.Answer.Open, x.Layout)
	}
	a.Net = 0 // stages hand on little and need no network that is told, so they are taken before data ranks, which do
	x := row(t, a, "h100")
	if x.Open || x.Layout.Pipeline == 1 || x.Refused != nil {
		t.Errorf("%v in %+v", x.Answer.Open, x.Layout)
	}
	for _, o := range x.Others {
		if o.Refused == nil && !open(o.Answer) && o.Answer.Rate > x.Rate.Is {
			t.Errorf("%+v gives %v, and %+v is taken", o.Layout, o.Answer.Rate, x.Layout)
		}
	}
}

type doubling struct{}

func (doubling) Correct(_ perf.Question, a perf.Answer) perf.Answer {
	a.Rate, a.Low, a.High, a.Known = 2*a.Rate, 2*a.Low, 2*a.High, perf.Corrected
	return a
}

func TestCorrector(t *testing.T) {
	a := ask(t, perf.Serve)
	prior := row(t, a, "h100")
	r, _ := Rank(a, the(t, "h100"), doubling{})
	if x := r.Rows[0]; x.Rate.Is != 2*prior.Rate.Is || x.Answer.Known != perf.Corrected || prior.Answer.Known != perf.Prior {
		t.Errorf("%v after %v", x.Rate, prior.Rate)
	}
}

// A processor with figures of its own is a chip like any other, with the embedded engine's speed.
func TestProcessor(t *testing.T) {
	c := the(t, "cpu")[0].Chip
	f := func(v float64) *chip.Figure { return &chip.Figure{Value: v, Source: "here", Confidence: chip.Measured} }
	c.Memory, c.Bandwidth, c.Flops = f(32e9), f(40e9), map[chip.Precision]*chip.Figure{chip.FP32: f(2e11)}
	s, _ := perf.Named("mpt-125m")
	a := Ask{Shape: s, Work: perf.Work{Task: perf.Decode, Context: 512, Batch: 1}, Precisions: []chip.Precision{chip.BF16, chip.FP32}, By: ByTime}
	r := ranked(t, a, []Candidate{{Chip: c}}).Rows[0]
	if r.Refused != nil || r.Count != 1 || r.Node != 1 || r.Precision != chip.FP32 || r.Rate.Is < 5 || r.Rate.Is > 200 || !strings.Contains(strings.Join(r.Answer.Assumed, "; "), "embedded engine") {
		t.Errorf("%+v %v", r, r.Refused)
	}
	a.Work.Engine = "tensorrt-llm"
	if r := ranked(t, a, []Candidate{{Chip: c}}).Rows[0]; r.Refused == nil || !strings.Contains(r.Refused.Error(), perf.Native) {
		t.Errorf("%+v", r.Refused)
	}
}

func TestBadQuestions(t *testing.T) {
	for field, change := range map[string]func(*Ask){
		"precision": func(a *Ask) { a.Precisions = nil }, "work.precision": func(a *Ask) { a.Precisions = []chip.Precision{"fp3"} },
		"net": func(a *Ask) { a.Net = math.NaN() }, "link": func(a *Ask) { a.Link = -1 }, "tokens": func(a *Ask) { a.Tokens = math.Inf(1) },
		"within": func(a *Ask) { a.Within = 5 }, "rate": func(a *Ask) { a.Rate = -1 }, "pue": func(a *Ask) { a.PUE = 0.5 },
		"prices.x": func(a *Ask) { a.Prices = map[string]float64{"x": math.NaN()} }, "count": func(a *Ask) { a.Counts = []int{0} },
		"node": func(a *Ask) { a.Node = -1 }, "by": func(a *Ask) { a.By = "beauty" }, "sure": func(a *Ask) { a.Sure = true },
		"work.prompt": func(a *Ask) { a.Work.Prompt = 0 }, "shape.layers": func(a *Ask) { a.Shape.Layers = 0 }, "user_rate": func(a *Ask) { a.User = math.Inf(1) },
	} {
		a := ask(t, perf.Serve)
		change(&a)
		if _, r := Rank(a, all(t), nil); r == nil || r.Field != field {
			t.Errorf("%s: %v", field, r)
		}
	}
}

// Every chip has a row, every answer fits and is a number, and refusals have a reason and a sentence.
func TestEveryChipHasARow(t *testing.T) {
	cs := all(t)
	rapid.Check(t, func(t *rapid.T) {
		a := Ask{Shape: rapid.SampledFrom(perf.Shapes()).Draw(t, "shape"), By: rapid.SampledFrom([]By{ByCost, ByTime, ByEnergy}).Draw(t, "by"), Net: rapid.SampledFrom([]float64{0, 50e9}).Draw(t, "net")}
		a.Precisions = []chip.Precision{rapid.SampledFrom(chip.Precisions()).Draw(t, "precision")}
		a.Work = perf.Work{Task: rapid.SampledFrom(perf.Tasks()).Draw(t, "task"), Batch: rapid.IntRange(1, 300).Draw(t, "batch"), Context: rapid.IntRange(1, 9000).Draw(t, "context"),
			Prompt: rapid.IntRange(1, 4000).Draw(t, "prompt"), Output: rapid.IntRange(1, 2000).Draw(t, "output"), Trained: rapid.SampledFrom([]float64{0, 0.01}).Draw(t, "trained")}
		a.Tokens, a.Most = rapid.SampledFrom([]float64{0, 1e9}).Draw(t, "tokens"), 512
		if rapid.Bool().Draw(t, "counted") {
			a.Counts = []int{rapid.IntRange(1, 40).Draw(t, "count")}
		}
		a.Prices = map[string]float64{"nvidia-h100-sxm": 2}
		from := rapid.IntRange(0, len(cs)-4).Draw(t, "from")
		r, bad := Rank(a, cs[from:from+4], nil)
		if bad != nil {
			t.Fatal(bad)
		}
		if len(r.Rows) != 4 {
			t.Fatalf("%d rows", len(r.Rows))
		}
		refused := false
		for _, x := range r.Rows {
			if x.Refused != nil {
				if refused = true; x.Refused.Reason == "" || len(x.Refused.Error()) < 10 || x.Refused.rank() == 0 {
					t.Fatalf("%s: %+v", x.Chip, x.Refused)
				}
				continue
			}
			if refused {
				t.Fatal("an answer stands behind a refusal")
			}
			for _, n := range []float64{x.Rate.Low, x.Rate.Is, x.Rate.High} {
				if !(n > 0) || math.IsInf(n, 0) {
					t.Fatalf("%s: %+v", x.Chip, x.Rate)
				}
			}
			if x.Layout.Chips() != x.Count || x.Answer.Memory.Total() > x.Has {
				t.Fatalf("%s: %+v in %v of %v", x.Chip, x.Layout, x.Answer.Memory.Total(), x.Has)
			}
		}
	})
}

// Weights of a model are counted as they are stored where that is narrower, frozen ones beside adapters too, unless the question says how
// they are kept; what was counted is told.
func TestStoredWeights(t *testing.T) {
	m := Market{Catalogue: catalogue(t)}
	for _, c := range []struct {
		name   string
		stored float64
		in     api.ChipQuestion
		want   float64 // gigabytes of weights on one MI300X, to a part in a hundred
		says   string
	}{
		{"as the products", 2, api.ChipQuestion{Task: "serve"}, 141, ""},
		{"four bits", 0.55, api.ChipQuestion{Task: "serve"}, 38.8, "weights as they are stored, 4.4 bits each"},
		{"asked otherwise", 0.55, api.ChipQuestion{Task: "serve", Weights: "int8"}, 70.6, ""},
		{"frozen beside adapters", 0.55, api.ChipQuestion{Task: "post-train", LoRA: 8, Batch: 8, Context: 512}, 38.8, "weights as they are stored, 4.4 bits each"},
		{"wider than the products", 4, api.ChipQuestion{Task: "serve"}, 141, "stored with 32 bits each"},
	} {
		c.in.Chips, c.in.Count, c.in.Model = []string{"mi300x"}, []int{1}, "mine"
		r, err := Answer(c.in, &Model{Shape: llama70b(t), PerWeight: c.stored}, m)
		if err != nil || len(r.Rows) != 1 || r.Rows[0].Memory == nil {
			t.Errorf("%s: %+v, %v", c.name, r, err)
			continue
		}
		got, says := r.Rows[0].Memory.Weights/1e9, strings.Join(r.Notes, "; ")
		if math.Abs(got/c.want-1) > 0.01 || !strings.Contains(says, c.says) || c.says == "" && strings.Contains(says, "stored") {
			t.Errorf("%s: %.4g GB, %q", c.name, got, says)
		}
	}
}

// A question that nobody waits for any more ends, and says so.
func TestQuestionsEnd(t *testing.T) {
	asked := 0
	m := Market{Catalogue: catalogue(t), Stop: func() error {
		if asked++; asked > 3 {
			return context.DeadlineExceeded
		}
		return nil
	}}
	in := api.ChipQuestion{Model: "llama-3-70b", Task: "train", Batch: 1 << 20, Tokens: 1e18, Within: 1}
	if _, err := Answer(in, nil, m); !fault.Is(err, fault.TooLarge) {
		t.Errorf("%v", err)
	}
	m.Stop = func() error { return nil }
	if _, err := Answer(api.ChipQuestion{Model: "llama-3-8b", Task: "serve", Chips: []string{"h100"}}, nil, m); err != nil {
		t.Error(err)
	}
}

// What a question leaves open is never longer than the model's sequences; what it names is told where it is.
func TestSequencesOfTheModel(t *testing.T) {
	m := Market{Catalogue: catalogue(t)}
	for _, c := range []struct {
		name    string
		context int
		in      api.ChipQuestion
		says    string
		never   string
	}{
		{"a short model", 256, api.ChipQuestion{Task: "serve"}, "prompt 205, output 51, together the model's longest sequence", "1024"},
		{"a long one", 8192, api.ChipQuestion{Task: "serve"}, "prompt 1024", "longest"},
		{"unknown", 0, api.ChipQuestion{Task: "serve"}, "prompt 1024", "longest"},
		{"training", 512, api.ChipQuestion{Task: "post-train", LoRA: 8}, "context 512, the model's longest", "4096"},
		{"asked for more", 256, api.ChipQuestion{Task: "serve", Prompt: 1000, Output: 24}, "sequences of 1024 tokens, though the model was made for 256", "longest"},
	} {
		c.in.Chips, c.in.Count, c.in.Model = []string{"mi300x"}, []int{1}, "mine"
		r, err := Answer(c.in, &Model{Shape: llama70b(t), Context: c.context}, m)
		if says := strings.Join(r.Notes, "; "); err != nil || !strings.Contains(says, c.says) || strings.Contains(says, c.never) {
			t.Errorf("%s: %q, %v", c.name, says, err)
		}
	}
}
