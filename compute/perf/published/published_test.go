package published

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

var (
	tune = flag.Bool("tune", false, "fit the efficiencies to the tuning rows and print them")
	each = flag.Bool("each", false, "print every figure with its prediction")
)

func all(t testing.TB) []Figure {
	figures, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return figures
}

type errors struct {
	off     []float64 // |prediction / figure - 1|
	inside  int       // figures within the answer's interval
	refused int
}

func (e errors) at(p float64) float64 {
	slices.Sort(e.off)
	return e.off[min(len(e.off)-1, int(p*float64(len(e.off))))]
}

func (e errors) String() string {
	if len(e.off) == 0 {
		return fmt.Sprintf("| 0 | | | | %d |", e.refused)
	}
	return fmt.Sprintf("| %d | %.0f %% | %.0f %% | %d %% | %d |", len(e.off), 100*e.at(.5), 100*e.at(.9), 100*e.inside/len(e.off), e.refused)
}

// bounds are what the held-out figures may be off by, median and nine tenths, of all and by make.
var bounds = map[string][2]float64{"all": {0.15, 0.40}, "NVIDIA": {0.15, 0.40}, "AMD": {0.15, 0.35}, "Apple": {0.20, 0.45}, "Intel": {0.30, 0.60}}

// strangers is what bounds are to an engine that nobody measured: the task's mean efficiency.
var strangers = [2]float64{0.35, 1.0}

// TestErrors prints how far predictions are from held-out figures, and fails where that is further than docs/perf.md says.
func TestErrors(t *testing.T) {
	held, tuned, strange := map[string]*errors{}, map[string]*errors{}, &errors{}
	for _, f := range all(t) {
		to := tuned
		if f.HeldOut {
			to = held
		}
		a, r := perf.Predict(f.Question)
		for _, name := range []string{"all", f.Make, f.Make + " | " + string(f.Question.Work.Task)} {
			e := to[name]
			if e == nil {
				e = &errors{}
				to[name] = e
			}
			if r != nil {
				e.refused++
				continue
			}
			if !(a.Rate > 0) || math.IsInf(a.Rate, 0) {
				t.Fatalf("%s: %+v", f.Name(), a)
			}
			e.off = append(e.off, math.Abs(a.Rate/f.Rate-1))
			if f.Rate >= a.Low && f.Rate <= a.High {
				e.inside++
			}
		}
		if f.HeldOut && r == nil {
			q := f.Question
			q.Work.Engine = ""
			if a, r := perf.Predict(q); r == nil {
				strange.off = append(strange.off, math.Abs(a.Rate/f.Rate-1))
				if f.Rate >= a.Low && f.Rate <= a.High {
					strange.inside++
				}
			}
		}
		if *each {
			t.Logf("%5.2f held %-5v %s: %.4g, predicted %.4g, bound %s %v", a.Rate/f.Rate, f.HeldOut, f.Name(), f.Rate, a.Rate, a.Bound, r)
		}
	}
	for title, table := range map[string]map[string]*errors{"held out": held, "used for tuning": tuned} {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(table)) {
			if strings.Contains(name, "|") {
				fmt.Fprintf(&b, "| %s %s\n", name, table[name])
			}
		}
		fmt.Fprintf(&b, "| all | %s", *table["all"])
		t.Logf("%s:\n| make | task | figures | median | P90 | inside | refused |\n|---|---|---|---|---|---|---|\n%s", title, b.String())
	}
	t.Logf("held out, with the task's mean efficiency: %s", *strange)
	if strange.at(.5) > strangers[0] || strange.at(.9) > strangers[1] {
		t.Errorf("with the mean efficiency: %v, at most %v", *strange, strangers)
	}
	for name, most := range bounds {
		if e := held[name]; e == nil || e.at(.5) > most[0] || e.at(.9) > most[1] {
			t.Errorf("%s: %v, at most %v", name, e, most)
		}
	}
	if n := len(held["all"].off); n < 25 {
		t.Errorf("%d held-out figures were predicted, at least 25 are needed", n)
	}
}

// What was run fits: a published figure is refused only where the catalogue lacks a figure of the chip.
func TestWhatRanFits(t *testing.T) {
	for _, f := range all(t) {
		// NeMo fine-tuned 70B on 16 GPUs of 80 GB; its page does not say what was computed again to make it fit.
		if f.Model == "llama-2-70b" && f.Question.Work.Engine == "nemo" && f.Question.Work.Task == perf.PostTrain && f.Question.Layout.Chips() == 16 {
			continue
		}
		if _, r := perf.Predict(f.Question); r != nil && r.Reason != perf.Unknown {
			t.Errorf("%s: %v", f.Name(), r)
		}
	}
}

func TestHeldOutIsAbout(t *testing.T) {
	n, held := 0, 0
	for _, f := range all(t) {
		n++
		if f.HeldOut {
			held++
		}
	}
	if held < n/3 || held > 2*n/3 {
		t.Errorf("%d of %d figures are held out", held, n)
	}
}

func TestBadRows(t *testing.T) {
	chips, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	good := "{model: llama-2-7b, chip: nvidia-l4, task: decode, precision: bf16, batch: 1, context: 9, figure: 5, unit: tok/s}"
	form := "source: a\nread: 2026-11-22\nsays: b\ndefaults: {}\nrows:\n  - %s\n"
	if _, err := parse([]byte(fmt.Sprintf(form, good)), chips); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"llama-2-7b", "nobody"}, {"nvidia-l4", "nothing"}, {"figure: 5", "figure: -5"}, {"unit: tok/s", "unit: miles"}, {"batch: 1", "bitch: 1"}, {"{model", "[model"}, {"figure: 5", "figure: .nan"}} {
		if _, err := parse([]byte(fmt.Sprintf(form, strings.Replace(good, change[0], change[1], 1))), chips); err == nil {
			t.Errorf("%s was taken", change[1])
		}
	}
}

// TestTune fits arithmetic, memory and the seconds of a layer of each task and engine to the tuning rows by a search on a
// grid that gets finer, with a small pull towards usual values where figures say little. The table of perf has to predict as
// what comes of it; -tune prints it.
func TestTune(t *testing.T) {
	print := func(format string, args ...any) {
		if *tune {
			fmt.Printf(format, args...)
		}
	}
	type key struct {
		task   perf.Task
		engine string
	}
	cells := map[key][]Figure{}
	for _, f := range all(t) {
		if !f.HeldOut {
			k := key{f.Question.Work.Task, f.Question.Work.Engine}
			cells[k] = append(cells[k], f)
		}
	}
	keys := slices.SortedFunc(maps.Keys(cells), func(a, b key) int { return cmp.Or(cmp.Compare(a.task, b.task), cmp.Compare(a.engine, b.engine)) })
	means := map[perf.Task][]perf.Efficiency{}
	for _, k := range keys {
		if len(logs(cells[k], perf.Efficiency{Arithmetic: .5, Memory: .5, Spread: 1})) == 0 {
			continue // all refused: nothing to learn from
		}
		e := fit(cells[k])
		means[k.task] = append(means[k.task], e)
		for _, f := range cells[k] {
			now, refused := perf.Predict(f.Question)
			if refused != nil {
				continue
			}
			if then, _ := perf.PredictWith(f.Question, e); math.Abs(math.Log(now.Rate/then.Rate)) > 0.02 {
				t.Errorf("%s: perf predicts %.4g where the fit gives %.4g; run with -tune -v and take its lines", f.Model, now.Rate, then.Rate)
			}
		}
		print("\t{%q, %q}: {%.3f, %.3f, %.2g, %.2f},\n", k.task, k.engine, e.Arithmetic, e.Memory, e.Layer, e.Spread)
	}
	for task, es := range means {
		m := perf.Efficiency{Spread: 1}
		for _, e := range es {
			n := float64(len(es))
			m.Arithmetic += math.Log(e.Arithmetic) / n
			m.Memory += math.Log(e.Memory) / n
			m.Layer += e.Layer / n
			m.Spread = max(m.Spread, e.Spread)
		}
		print("\t{%q, \"\"}: {%.3f, %.3f, %.2g, %.2f},\n", task, math.Exp(m.Arithmetic), math.Exp(m.Memory), m.Layer, m.Spread*1.2)
	}
}

// TestStrangeEngine holds how far a prediction is for an engine of which nothing was measured: the held-out rows of each by
// the efficiency fitted to the tuning rows of all other engines of its task.
func TestStrangeEngine(t *testing.T) {
	figures := all(t)
	e := errors{}
	seen := map[string]bool{}
	for _, f := range figures {
		task, engine := f.Question.Work.Task, f.Question.Work.Engine
		if seen[string(task)+engine] {
			continue
		}
		seen[string(task)+engine] = true
		var others, own []Figure
		for _, g := range figures {
			switch w := g.Question.Work; {
			case w.Task != task:
			case w.Engine != engine && !g.HeldOut:
				others = append(others, g)
			case w.Engine == engine && g.HeldOut:
				own = append(own, g)
			}
		}
		if len(others) == 0 {
			continue
		}
		one := errors{}
		for _, x := range logs(own, fit(others)) {
			one.off = append(one.off, math.Abs(math.Exp(x)-1))
		}
		e.off = append(e.off, one.off...)
		t.Logf("%s %s %s", task, engine, one)
	}
	t.Logf("all %s", e)
	if len(e.off) < 100 || e.at(.5) > 0.20 || e.at(.9) > 0.60 {
		t.Errorf("engines that nobody measured are off by more than docs/perf.md says: %s", e)
	}
}

func fit(figures []Figure) perf.Efficiency {
	loss := func(e perf.Efficiency) float64 {
		sum := 0.0
		for _, x := range logs(figures, e) {
			sum += math.Min(math.Abs(x), 1)
		}
		return sum + 0.05*(math.Pow(math.Log(e.Arithmetic/0.55), 2)+math.Pow(math.Log(e.Memory/0.7), 2)+math.Pow(math.Log(e.Layer/1e-5)/4, 2))
	}
	best := perf.Efficiency{Arithmetic: 0.55, Memory: 0.7, Layer: 1e-5, Spread: 1}
	least := loss(best)
	for _, step := range []float64{1.6, 1.25, 1.1, 1.04, 1.015} {
		for moved := true; moved; {
			moved = false
			from := best
			for i := range 27 {
				a, m, l := float64(i%3-1), float64(i/3%3-1), float64(i/9-1)
				e := perf.Efficiency{Arithmetic: math.Min(from.Arithmetic*math.Pow(step, a), 1), Memory: math.Min(from.Memory*math.Pow(step, m), 1), Layer: math.Max(1e-8, math.Min(from.Layer*math.Pow(step, 3*l), 1e-3)), Spread: 1}
				if now := loss(e); now < least-1e-9 {
					best, least, moved = e, now, true
				}
			}
		}
	}
	off := logs(figures, best)
	for i := range off {
		off[i] = math.Abs(off[i])
	}
	slices.Sort(off)
	// Nine of ten of what comes next lie within the figure of rank 0.9 (n + 1); where there are too few, beyond the furthest.
	if rank := int(math.Ceil(.9*float64(len(off)+1))) - 1; rank < len(off) {
		best.Spread = math.Exp(off[rank])
	} else {
		best.Spread = math.Exp(1.25 * off[len(off)-1])
	}
	best.Spread = math.Max(1.15, best.Spread)
	return best
}

func logs(figures []Figure, e perf.Efficiency) []float64 {
	var out []float64
	for _, f := range figures {
		if a, r := perf.PredictWith(f.Question, e); r == nil {
			out = append(out, math.Log(a.Rate/f.Rate))
		}
	}
	return out
}
