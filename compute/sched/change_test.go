package sched

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// In small worlds the cheapest change starts the job when it is really made, and no cheaper one of the menu, each tried by
// really making it in the same world, does.
func TestTheCheapestChange(t *testing.T) {
	worlds, changes := 0, 0
	g := rapid.Custom(func(t *rapid.T) *world { return crowd(t) })
	for seed := range 1000 {
		w := g.Example(seed)
		ids := sortedKeys(w.jobs)
		for _, id := range ids {
			if w.c.jobs[id].status != waiting {
				continue
			}
			worlds++
			best := w.c.Cheapest(id)
			for i := range w.c.changes(w.c.jobs[id]) {
				other := g.Example(seed) // the same world again
				ch := other.c.changes(other.c.jobs[id])[i]
				if best != nil && ch.Cost > best.Cost {
					break
				}
				started := amended(t, other, id, &ch)
				switch {
				case best == nil && started:
					t.Fatalf("world %d: no change starts %s, yet %q does", seed, id, ch.Reason)
				case best != nil && started && ch.Cost < best.Cost:
					t.Fatalf("world %d: %q starts %s at %d, the cheapest is said to be %q at %d", seed, ch.Reason, id, ch.Cost, best.Reason, best.Cost)
				case best != nil && !started && ch.Cost == best.Cost && ch.Reason == best.Reason:
					t.Fatalf("world %d: %q does not start %s", seed, ch.Reason, id)
				}
			}
			if best != nil {
				changes++
			}
			break
		}
	}
	if worlds < 500 || changes < 200 {
		t.Errorf("only %d worlds had a waiting job, of which %d could be started", worlds, changes)
	}
}

// amended really makes a change and says whether the job then runs.
func amended(t *testing.T, w *world, id string, ch *Change) bool {
	t.Helper()
	if err := w.c.Amend(w.now, id, ch); err != nil {
		var near *Nearby
		var bad *Problem
		if !errors.As(err, &near) && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		return false
	}
	w.c.Plan(w.now)
	return w.c.jobs[id].status == running
}

// crowd is a small world that is full.
func crowd(t *rapid.T) *world {
	f := Fleet{Chips: []Chip{{Name: "a", Value: Micro}, {Name: "b", Value: Micro}}}
	for i := range rapid.IntRange(2, 4).Draw(t, "nodes") {
		n := Node{Name: string(rune('m' + i)), Site: rapid.SampledFrom([]string{"here", "there"}).Draw(t, "site"),
			Chip: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "chip"), Chips: rapid.IntRange(1, 4).Draw(t, "chips")}
		if rapid.Bool().Draw(t, "counted") {
			n.CPUMilli, n.MemoryMiB = 4000, 1000
		}
		f.Nodes = append(f.Nodes, n)
	}
	f.Queues = []Queue{{Name: "q0"}, {Name: "q1"}}
	if rapid.Bool().Draw(t, "capped") {
		f.Queues[0].Ceiling = []Count{{f.Nodes[0].Chip, rapid.Int64Range(1, 3).Draw(t, "ceiling")}}
	}
	w := newWorld(t, Config{MinRun: 5 * minute}, f)
	for i := range rapid.IntRange(3, 9).Draw(t, "jobs") {
		j := Job{ID: string(rune('a' + i)), Queue: rapid.SampledFrom([]string{"q0", "q1"}).Draw(t, "queue"),
			Need: Need{Chips: rapid.IntRange(1, 4).Draw(t, "size"), CPUMilli: rapid.SampledFrom([]int64{0, 1000, 2000}).Draw(t, "cpu")}}
		if j.Need.Chips == 1 && rapid.Bool().Draw(t, "shared") {
			j.Need.Share = rapid.SampledFrom([]int{200, 500, 700}).Draw(t, "share")
		}
		if rapid.Bool().Draw(t, "picky") {
			j.Need.AnyOf = []Choice{{Chip: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "which")}}
		}
		if rapid.Bool().Draw(t, "resident") {
			j.Need.Sites = []string{f.Nodes[0].Site}
		}
		_ = w.submit(j, rapid.Int64Range(1, 100*minute).Draw(t, "long"))
		if rapid.Bool().Draw(t, "planned") {
			w.plan()
		}
	}
	w.plan()
	return w
}

// What Explain says is true of the world it speaks of.
func TestExplanations(t *testing.T) {
	f := fleetOf(2, 4, Queue{Name: "q", Ceiling: []Count{{"a", 6}}}, Queue{Name: "r", Guarantee: []Count{{"a", 2}}})
	w := newWorld(t, Config{}, f)
	for _, j := range []Job{
		{ID: "first", Queue: "q", Need: Need{Chips: 3}}, {ID: "second", Queue: "r", Need: Need{Chips: 3}},
		{ID: "capped", Queue: "q", Need: Need{Chips: 4}}, {ID: "scattered", Queue: "r", Need: Need{Chips: 2}},
		{ID: "kept", Queue: "q", Need: Need{Chips: 1}, Hold: true}, {ID: "later", Queue: "q", Need: Need{Chips: 1}, After: []string{"first"}},
	} {
		if err := w.submit(j, 100*minute); err != nil {
			t.Fatal(j.ID, err)
		}
		w.plan()
	}
	for id, want := range map[string]Explanation{
		"capped":    {Stage: Entitled, Bound: "ceiling", Have: 3, Want: 4},
		"scattered": {Stage: Placed, Bound: "scattered", Have: 1, Want: 2},
		"kept":      {Bound: "hold"},
		"later":     {Bound: "after"},
	} {
		e, ok := w.c.Explain(id)
		if !ok || e.Stage != want.Stage || e.Bound != want.Bound || e.Have != want.Have || e.Want != want.Want || e.Reason == "" {
			t.Errorf("%s: %+v", id, e)
		}
	}
	if e, _ := w.c.Explain("first"); !e.Running {
		t.Errorf("%+v", e)
	}
	if ch := w.c.Cheapest("scattered"); ch == nil || ch.Kind != "less" || ch.To != 1 {
		t.Errorf("%+v", ch)
	}
}

// A large gang has no more sizes to be tried than a small one, down to a single chip.
func TestFewSizesAreTried(t *testing.T) {
	for _, chips := range []int{1, 2, 8, 64, 65, 100, 8192, 1 << 20} {
		sizes := fewer(&work{Job: Job{Need: Need{Chips: chips}}})
		if len(sizes) > fewerMost || chips > 1 && (len(sizes) == 0 || sizes[len(sizes)-1].To != 1) || chips <= fewerMost && len(sizes) != chips-1 {
			t.Errorf("of %d chips %d sizes are tried", chips, len(sizes))
		}
		for i, ch := range sizes {
			if last := append([]Change{{To: chips, Cost: 499}}, sizes...)[i]; ch.To >= last.To || ch.Cost < last.Cost || ch.Cost > 999 {
				t.Errorf("of %d chips: %d at %d after %d at %d", chips, ch.To, ch.Cost, last.To, last.Cost)
			}
		}
	}
}

// Why an owner waits counts only what borrows: a queue within its guarantee gives nothing back.
func TestOnlyBorrowersAreCounted(t *testing.T) {
	f := fleetOf(2, 4, Queue{Name: "owner", Guarantee: []Count{{"a", 2}}}, Queue{Name: "guest"}, Queue{Name: "third", Guarantee: []Count{{"a", 4}}})
	w := newWorld(t, Config{MinRun: 10 * minute}, f)
	for i := range 4 {
		must(0, w.submit(Job{ID: "third" + string(rune('0'+i)), Queue: "third", Need: Need{Chips: 1}}, 1000*minute))
	}
	w.plan()
	must(0, w.submit(Job{ID: "guest", Queue: "guest", Need: Need{Chips: 4}}, 1000*minute))
	w.plan()
	w.now += minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 2}}, minute))
	must(0, w.submit(Job{ID: "more", Queue: "third", Need: Need{Chips: 2}}, minute))
	w.plan()
	for id, want := range map[string]string{
		"owned": "0 of chip a are free at site here and the job needs 2. Its queue is owed the room; 1 job that borrows it has not yet run for 10m0s.",
		"more":  "0 of chip a are free at site here and the job needs 2. Its queue has its guarantee of 4, so work of other queues does not make way for it.",
	} {
		if e, ok := w.c.Explain(id); !ok || e.Reason != want {
			t.Errorf("of %s it says %q", id, e.Reason)
		}
	}
}

// Where no other queue's work runs, nothing is said of what it does not do.
func TestNobodyElseIsNamed(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 4, Queue{Name: "owner", Guarantee: []Count{{"a", 2}}}, Queue{Name: "guest"}))
	must(0, w.submit(Job{ID: "runs", Queue: "owner", Need: Need{Chips: 3}}, 1000*minute))
	w.plan()
	must(0, w.submit(Job{ID: "waits", Queue: "owner", Need: Need{Chips: 2}}, minute))
	w.plan()
	if e, _ := w.c.Explain("waits"); e.Reason != "1 of chip a is free at site here and the job needs 2." {
		t.Error(e.Reason)
	}
}
