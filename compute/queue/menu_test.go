package queue_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/compute/sched"
)

func menuOf(t *testing.T, now func() time.Time) (*queue.Menu, *measured.Book) {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	book := &measured.Book{Now: now}
	return &queue.Menu{Catalogue: c, Now: now, Corrector: func(project string) estimate.Corrector { return book.Scoped(project) }}, book
}

func serving(t *testing.T, model string) *job.Work {
	shape, ok := perf.Named(model)
	if !ok {
		t.Fatal(model)
	}
	return &job.Work{Shape: shape, Work: perf.Work{Task: perf.Decode, Engine: "vllm", Batch: 8, Context: 1024}}
}

const big = "nvidia-h100-sxm"

// Speeds are those that perf predicts, corrected by what was measured; they stay beside the same reference while that comes.
func TestMenuOfAModel(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	now := func() time.Time { return at }
	m, book := menuOf(t, now)
	j := &job.Job{Spec: job.Spec{Project: "prj_a", Ask: job.Ask{Chips: 1, Work: serving(t, "llama-3-8b")}}}
	classes := []string{"nvidia-a100-80gb-sxm", big, "unheard-of"}
	before := m.Speeds(j, classes)
	if !(before[1] > before[0] && before[0] > 0) || before[2] != before[0] {
		t.Fatalf("%v", before)
	}
	list := m.Entries(j, classes)
	c, err := m.Catalogue.Find(big)
	if err != nil {
		t.Fatal(err)
	}
	q := perf.Question{Shape: j.Ask.Work.Shape, Chip: c, Work: j.Ask.Work.Work}
	q.Work.Precision = chip.BF16
	for range 30 {
		if err := book.Add(measured.Measurement{Question: q, Rate: list[1].Rate * 0.5, At: at, By: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if again := m.Speeds(j, classes); again[1] != before[1] {
		t.Error("it was asked anew within seconds")
	}
	at = at.Add(time.Minute)
	after := m.Speeds(j, classes)
	if r := float64(after[1]) / float64(before[1]); math.Abs(r-0.5) > 0.06 || math.Abs(float64(after[0])/float64(before[0])-1) > 0.5 {
		t.Errorf("measured at half: %v, before %v", after, before)
	}
	m.Price = func(class string) (int64, bool) { return 2_500_000, class == big }
	if text := m.Tell(j, classes); !strings.Contains(text, big+" ") || !strings.Contains(text, "(measured) at ") || !strings.Contains(text, "unheard-of: nobody told its figures") {
		t.Error(text)
	}
	j.Ask.Work = serving(t, "llama-3-70b")
	if x := m.Speeds(j, []string{big, "amd-mi300x"}); len(x) != 2 || x[0] != queue.Unfit || x[1] < sched.Micro/2 {
		t.Errorf("one that does not fit: %v, %s", x, m.Tell(j, []string{big, "amd-mi300x"}))
	}
	j.Ask.Work = nil
	if m.Speeds(j, classes) != nil || m.Tell(j, classes) != "" {
		t.Error("a job that does not tell its work")
	}
}

// A job that tells its work starts on the chip that is fastest for it, and is told why; prices decide where that is asked.
func TestJobsAreMatchedByWhatTheyCompute(t *testing.T) {
	for _, c := range []struct {
		objective, want string
		prices          map[string]int64
	}{
		{"fastest", big, nil},
		{"cheapest", big, map[string]int64{big: 2_000_000, "nvidia-a100-80gb-sxm": 1_900_000}},
		{"cheapest", "nvidia-a100-80gb-sxm", map[string]int64{big: 9_000_000, "nvidia-a100-80gb-sxm": 1_000_000}},
	} {
		w := newWorld(quick, 2, "nvidia-a100-80gb-sxm=1", big+"=1")
		m, _ := menuOf(t, w.now)
		w.speeds, w.tell = m.Speeds, m.Tell
		w.worth = func(class string) (int64, int64) { return c.prices[class], 0 }
		w.restart()
		j := must(w.submit("a", "serve", time.Hour, job.Ask{Chips: 1, ChipTypes: []string{"nvidia-a100-80gb-sxm", big}, Objective: c.objective, Work: serving(t, "llama-3-8b")}))(t)
		w.run(5*time.Minute, time.Second)
		got := w.get(j.ID)
		if got.State != job.Running || got.Standing.Placement.Chip != c.want {
			t.Errorf("%s at %v: it is %s on %+v: %s", c.objective, c.prices, got.State, got.Standing.Placement, got.Reason)
			continue
		}
		if x := w.planner.Explain(got); !strings.Contains(x.Reason, "for 1 of them: "+big) || !strings.Contains(x.Reason, "predicted") {
			t.Errorf("%q", x.Reason)
		}
	}
}

// A change of prices is seen by the next pass, without disturbing what runs.
func TestPricesChangeWhileJobsRun(t *testing.T) {
	w := newWorld(quick, 2, "x=1", "y=1")
	price := map[string]int64{"x": 1_000_000}
	w.worth = func(class string) (int64, int64) { return price[class], 300 }
	w.restart()
	run := must(w.submit("a", "first", time.Hour, job.Ask{Chips: 1, ChipTypes: []string{"x"}}))(t)
	w.run(5*time.Minute, time.Second)
	price["y"] = 1
	w.planner.Reprice()
	next := must(w.submit("a", "second", time.Hour, job.Ask{Chips: 1, ChipTypes: []string{"x", "y"}}))(t)
	w.run(5*time.Minute, time.Second)
	if a, b := w.get(run.ID), w.get(next.ID); a.State != job.Running || a.Attempt != 1 || b.State != job.Running || b.Standing.Placement.Chip != "y" || len(w.broken) > 0 {
		t.Errorf("%s in attempt %d, %s on %+v; %v", a.State, a.Attempt, b.State, b.Standing.Placement, w.broken)
	}
}

// A class on which the work does not fit is left out of the menu: the job waits for another though that one is idle, and says so. Where
// no other is, or of the others too few, it starts all the same, for predictions may be wrong.
func TestChipsOnWhichWorkDoesNotFit(t *testing.T) {
	const large = "amd-mi300x"
	for _, c := range []struct {
		name  string
		chips int
		types []string
		want  string // where it runs in the end
		waits bool
	}{
		{"another is busy", 1, []string{big, large}, large, true},
		{"none is left", 1, []string{big}, big, false},
		{"of the others there are too few", 2, []string{"nvidia-a100-40gb-pcie", large}, "nvidia-a100-40gb-pcie", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(quick, 2, big+"=1", large+"=1", "nvidia-a100-40gb-pcie=2")
			m, _ := menuOf(t, w.now)
			w.speeds, w.tell = m.Speeds, m.Tell
			w.restart()
			must(w.submit("a", "before", time.Hour, job.Ask{Chips: 1, ChipTypes: []string{large}}, func(s *job.Spec) { s.Priority = 9 }))(t)
			w.run(time.Minute, time.Second)
			model := map[int]string{1: "llama-3-70b", 2: "llama-3-405b"}[c.chips]
			j := must(w.submit("a", "large", time.Hour, job.Ask{Chips: c.chips, ChipTypes: c.types, Work: serving(t, model)}))(t)
			w.run(10*time.Minute, time.Second)
			x := w.planner.Explain(w.get(j.ID))
			if got := w.get(j.ID); c.waits != (got.State == job.Queued) || c.waits != strings.Contains(x.Reason, "kept off chips on which its work does not fit: "+big+".") || x.Change != nil && x.Change.Name == big {
				t.Errorf("it is %s: %s (%+v)", got.State, x.Reason, x.Change)
			}
			w.restart()
			w.run(2*time.Hour, 10*time.Second)
			if got := w.get(j.ID); got.Standing.Placement == nil || got.Standing.Placement.Chip != c.want || len(w.broken) > 0 {
				t.Errorf("it is %s on %+v: %s; %v", got.State, got.Standing.Placement, got.Reason, w.broken)
			}
		})
	}
}

// A project whose jobs compute very many different things does not keep the others waiting: it is answered a part of them at a time, and the rest
// later.
func TestMenusOfManyWorks(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	m, _ := menuOf(t, func() time.Time { return at })
	ask := func(project string, i int) bool {
		w := serving(t, "llama-3-8b")
		w.Work.Context = 100 + i
		j := &job.Job{Spec: job.Spec{Project: project, Ask: job.Ask{Chips: 1, Work: w}}}
		got := m.Speeds(j, []string{big, "amd-mi300x"}) != nil
		if !got && !strings.Contains(m.Tell(j, []string{big}), "not looked at yet") {
			t.Error("nothing says why")
		}
		return got
	}
	answered := func() (n int) {
		for i := range 100 {
			if ask("prj_a", i) {
				n++
			}
		}
		return n
	}
	first, again := answered(), answered()
	if first == 0 || first > 50 || again != first {
		t.Errorf("%d, then %d of 100 at one time", first, again)
	}
	if !ask("prj_b", 1) {
		t.Error("another project has to wait for it")
	}
	for range 20 {
		at = at.Add(time.Minute)
		again = answered()
	}
	if again != 100 {
		t.Errorf("%d of 100 after twenty minutes", again)
	}
}
