package sched

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A core that begins anew with what runs and what waits owns the same devices and goes on as the one before.
func TestACoreBeginsAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := crowd(t)
		again, err := New(w.c.conf, w.fleet, w.long, w.now)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range byArrival(w.c) {
			x := w.c.jobs[id]
			if x.status == running {
				if err := again.Adopt(w.now, x.Job, w.c.Place(x.seats), x.started); err != nil {
					t.Fatal(err)
				}
			} else if err := again.Submit(w.now, x.Job); err != nil {
				t.Fatal(err)
			}
		}
		for i := range w.c.room.free {
			if diff := cmp.Diff(w.c.room.free[i].devices, again.room.free[i].devices); diff != "" {
				t.Fatalf("node %s: %s", w.c.nodes[i].Name, diff)
			}
		}
		again.SetUsed(w.c.Used())
		w.c.Await(100 * minute)
		again.Restore(w.c.State())
		if diff := cmp.Diff(w.c.State(), again.State()); diff != "" {
			t.Fatalf("what is carried from round to round differs: %s", diff)
		}
		later := w.now + 7*minute
		if diff := cmp.Diff(w.c.Plan(later).Actions, again.Plan(later).Actions); diff != "" {
			t.Fatalf("the plans differ: %s", diff)
		}
	})
}

func byArrival(c *Core) []string {
	ids := sortedKeys(c.jobs)
	out := make([]string, len(ids))
	for _, id := range ids {
		out[c.jobs[id].number] = id
	}
	return out
}
