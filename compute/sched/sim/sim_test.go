package sim

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

// script is a policy told by a test.
type script func(w *World, events []Event)

func (s script) Step(w *World, events []Event) { s(w, events) }

// greedy starts every waiting job that fits, in the order of submission.
type greedy struct{ waiting []int32 }

func (g *greedy) Step(w *World, events []Event) {
	for _, e := range events {
		if e.Kind == Submitted || e.Kind == Failed {
			g.waiting = append(g.waiting, e.Job)
		}
	}
	rest := g.waiting[:0]
	for _, j := range g.waiting {
		parts, ok := w.Fit(j)
		if !ok || w.Start(j, parts) != nil {
			rest = append(rest, j)
		}
	}
	g.waiting = rest
}

func job(id string, submit, duration, chips int) trace.Job {
	return trace.Job{Duration: time.Duration(duration) * time.Second, Spec: trace.Spec{ID: id, Submit: time.Duration(submit) * time.Second,
		Chips: int32(chips), MinChips: int32(chips), MaxChips: int32(chips), Share: 1000, Preemptible: true}}
}

func uniform(t *testing.T, nodes, chips int) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Uniform(nodes, chips)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func replay(t *testing.T, jobs []trace.Job, f *fleet.Fleet, p Policy, o Options) *Result {
	t.Helper()
	r, err := Replay(context.Background(), jobs, f, p, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ends(r *Result) []int {
	var out []int
	for _, rec := range r.Records {
		out = append(out, int(rec.Ended/time.Second))
	}
	return out
}

func TestJobsWaitForChipsAndNodes(t *testing.T) {
	jobs := []trace.Job{job("a", 0, 100, 3), job("b", 0, 50, 3), job("c", 1, 10, 2), job("d", 2, 5, 1), job("e", 3, 7, 6)}
	r := replay(t, jobs, uniform(t, 2, 4), &greedy{}, Options{})
	// c asks for two chips of one node while each node has one free: it waits for b; d takes what is left over; e needs
	// a whole node and two of another, which are there when a ends.
	if diff := cmp.Diff([]int{100, 50, 60, 7, 107}, ends(r)); diff != "" {
		t.Fatal(diff)
	}
	if r.Actions != 5 || r.Chips != 8 || r.Ended != 107*time.Second {
		t.Fatalf("%+v", r)
	}
	if got := r.Sites[0].BusySeconds; got != 300+150+20+5+42 {
		t.Fatalf("busy %v chip-seconds", got)
	}
}

func TestPreemptionKeepsWorkAndCostsARestart(t *testing.T) {
	jobs := []trace.Job{job("long", 0, 100, 1), job("short", 40, 10, 1)}
	r := replay(t, jobs, uniform(t, 1, 1), script(func(w *World, events []Event) {
		for _, e := range events {
			switch {
			case e.Kind == Submitted && e.Job == 1:
				if w.Work(0) != 40*time.Second || w.Attained(0) != 40_000 {
					t.Errorf("worked %v, attained %d", w.Work(0), w.Attained(0))
				}
				w.Preempt(0)
				fallthrough
			case e.Kind == Submitted:
				w.Start(e.Job, []Part{{Node: 0, Chips: 1}})
			case e.Kind == Ended && e.Job == 1:
				w.Start(0, []Part{{Node: 0, Chips: 1}})
			}
		}
	}), Options{})
	if diff := cmp.Diff([]int{100 + 10 + 7, 50}, ends(r)); diff != "" {
		t.Fatal(diff)
	}
	if rec := r.Records[0]; rec.Preempts != 1 || rec.Wasted != 7000 || rec.Held != 107_000 {
		t.Fatalf("%+v", rec)
	}
}

func TestWrongActionsEndTheReplay(t *testing.T) {
	for want, act := range map[string]func(w *World) error{
		"has 2 chips free, not 3": func(w *World) error {
			w.Start(0, []Part{{Node: 0, Chips: 2}})
			return w.Start(1, []Part{{Node: 0, Chips: 3}})
		},
		"asks for 2 to 2":     func(w *World) error { return w.Start(0, []Part{{Node: 0, Chips: 1}}) },
		"spread over 2 nodes": func(w *World) error { return w.Start(0, []Part{{Node: 0, Chips: 1}, {Node: 1, Chips: 1}}) },
		"named twice":         func(w *World) error { return w.Start(2, []Part{{Node: 0, Chips: 4}, {Node: 0, Chips: 2}}) },
		"no node 7":           func(w *World) error { return w.Start(0, []Part{{Node: 7, Chips: 2}}) },
		"is empty":            func(w *World) error { return w.Start(0, nil) },
		"not running":         func(w *World) error { return w.Preempt(0) },
		"not elastic": func(w *World) error {
			w.Start(0, []Part{{Node: 0, Chips: 2}})
			return w.Resize(0, []Part{{Node: 1, Chips: 2}})
		},
		"not waiting": func(w *World) error {
			w.Start(0, []Part{{Node: 0, Chips: 2}})
			return w.Start(0, []Part{{Node: 1, Chips: 2}})
		},
		"not preemptible":      func(w *World) error { w.Start(3, []Part{{Node: 0, Chips: 1}}); return w.Preempt(3) },
		"declares itself an O": func(w *World) error { w.Remaining(0); return w.err },
	} {
		jobs := []trace.Job{job("a", 0, 10, 2), job("b", 0, 10, 3), job("c", 0, 10, 6), job("d", 0, 10, 1)}
		jobs[3].Preemptible = false
		_, err := Replay(context.Background(), jobs, uniform(t, 2, 4), script(func(w *World, _ []Event) {
			if act(w) == nil {
				t.Errorf("%s: allowed", want)
			}
		}), Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
