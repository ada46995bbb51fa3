package sim

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// prophet starts the shortest waiting job first; it is told durations by whoever makes it.
type prophet struct {
	greedy
	short func(j int32) time.Duration
}

func (p *prophet) Step(w *World, events []Event) {
	for _, e := range events {
		if e.Kind == Submitted {
			p.waiting = append(p.waiting, e.Job)
		}
	}
	for i := range p.waiting {
		for k := i; k > 0 && p.short(p.waiting[k]) < p.short(p.waiting[k-1]); k-- {
			p.waiting[k], p.waiting[k-1] = p.waiting[k-1], p.waiting[k]
		}
	}
	p.greedy.Step(w, nil)
}

func TestForesightFindsProphetsOnly(t *testing.T) {
	var jobs []trace.Job
	for i := range 60 {
		jobs = append(jobs, job(fmt.Sprint(i), i*20, 30+i*71%300, 1+i%3))
	}
	f := uniform(t, 2, 4)
	var instants []time.Duration
	for i := range 20 {
		instants = append(instants, time.Duration(20-i)*100*time.Second)
	}
	diff, err := Foresight(context.Background(), jobs, f, func() Policy { return &greedy{} }, Options{}, instants, 1)
	if err != nil || diff != "" {
		t.Errorf("first in first out: %s, %v", diff, err)
	}
	diff, err = Foresight(context.Background(), jobs, f, func() Policy {
		var world *World
		p := &prophet{}
		p.short = func(j int32) time.Duration { return world.Remaining(j) }
		return oracleOf(func(w *World, e []Event) { world = w; p.Step(w, e) })
	}, Options{}, instants, 1)
	if err != nil || !strings.Contains(diff, "durations dealt anew at ") {
		t.Errorf("shortest first was not found out: %q, %v", diff, err)
	}
}

// oracleOf is a script that may see the future.
type oracleOf func(w *World, events []Event)

func (s oracleOf) Step(w *World, events []Event) { s(w, events) }
func (oracleOf) Oracle()                         {}

func TestUntilEndsTheReplay(t *testing.T) {
	r := replay(t, []trace.Job{job("a", 0, 100, 1), job("b", 50, 100, 1)}, uniform(t, 1, 2), &greedy{}, Options{Until: 70 * time.Second})
	if r.Ended != 70*time.Second || r.Records[0].State != Running || r.Sites[0].BusySeconds != 90 {
		t.Errorf("%+v", r)
	}
}
