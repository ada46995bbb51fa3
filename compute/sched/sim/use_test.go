package sim

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// takeAll starts each job on the first node at once.
type takeAll struct{}

func (takeAll) Step(w *World, events []Event) {
	for _, e := range events {
		if e.Kind == Submitted {
			_ = w.Start(e.Job, []Part{{Node: e.Job, Chips: w.Spec(e.Job).Chips, Device: -1}})
		}
	}
}

func TestUseCountsTheWindowByChip(t *testing.T) {
	f := &fleet.Fleet{Chips: []fleet.Chip{{Name: "a"}, {Name: "b"}, {Name: "none"}}, Sites: []fleet.Site{{Name: "s", End: 2}}, Nodes: []fleet.Node{
		{Name: "n1", Domain: -1, Chip: 0, Chips: 4, CPU: fleet.Unlimited, Memory: fleet.Unlimited},
		{Name: "n2", Domain: -1, Chip: 1, Chips: 2, CPU: fleet.Unlimited, Memory: fleet.Unlimited}}}
	job := func(id string, submit, lasts time.Duration, chips int32) trace.Job {
		return trace.Job{Spec: trace.Spec{ID: id, Submit: submit, Chips: chips, Share: 1000, MinChips: chips, MaxChips: chips}, Duration: lasts}
	}
	jobs := []trace.Job{job("a", 0, 100*time.Second, 3), job("b", 20*time.Second, 40*time.Second, 2)}
	r, err := Replay(context.Background(), jobs, f, takeAll{}, Options{BookFrom: 10 * time.Second, BookTo: 50 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	want := []Use{{Chip: 0, Chips: 4, BusySeconds: 120, UpSeconds: 160, TotalSeconds: 160}, {Chip: 1, Chips: 2, BusySeconds: 60, UpSeconds: 80, TotalSeconds: 80}}
	if diff := cmp.Diff(want, r.Use); diff != "" {
		t.Error(diff)
	}
	if r, err = Replay(context.Background(), jobs, f, takeAll{}, Options{BookTo: 1000 * time.Second}); err != nil || r.Use[0].BusySeconds != 300 || r.Use[0].UpSeconds != 4000 {
		t.Errorf("with nothing to do in the end: %+v, %v", r, err)
	}
	if r, err = Replay(context.Background(), jobs, f, takeAll{}, Options{}); err != nil || r.Use[0].BusySeconds != r.Sites[0].BusySeconds-r.Use[1].BusySeconds || r.Use[1].UpSeconds != 200 {
		t.Errorf("without a window: %+v, %v", r, err)
	}
}
