package sched

import (
	"fmt"
	"testing"
)

// What a queue held is charged whatever is submitted meanwhile.
func TestUsageIsChargedBesideSubmissions(t *testing.T) {
	used := func(busy bool) int64 {
		w := newWorld(t, Config{}, fleetOf(1, 8, Queue{Name: "a"}, Queue{Name: "b"}))
		must(0, w.submit(Job{ID: "x", Queue: "a", Need: Need{Chips: 8}}, 100*60*minute))
		for i := range int64(600) {
			w.now = i * minute
			if busy {
				must(0, w.submit(Job{ID: fmt.Sprint(i), Queue: "b", Hold: true, Need: Need{Chips: 1}}, minute))
			}
			w.plan()
		}
		return w.c.Used()["a"]
	}
	quiet, busy := used(false), used(true)
	if d := quiet - busy; quiet < 70*Micro || d > quiet/1000 || -d > quiet/1000 {
		t.Errorf("used %d, and %d beside submissions", quiet, busy)
	}
}

// A job that its queue's ceiling keeps waiting holds nothing against others, and gives way to nobody but its own.
func TestCeilings(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(4, 8, Queue{Name: "a", Org: "x", Ceiling: []Count{{"a", 8}}}, Queue{Name: "b", Org: "y"}))
	for _, j := range []Job{{ID: "a1", Queue: "a"}, {ID: "b1", Queue: "b"}, {ID: "b2", Queue: "b"}, {ID: "a2", Queue: "a"}} {
		j.Need.Chips = 8
		must(0, w.submit(j, 1000*minute))
	}
	w.plan()
	must(0, w.submit(Job{ID: "b3", Queue: "b", Need: Need{Chips: 8}}, 10*minute))
	w.plan()
	if w.runs["b3"].Job == "" || w.runs["a2"].Job != "" {
		t.Fatalf("%+v", w.runs)
	}
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "high", Queue: "a", Priority: 100, Need: Need{Chips: 8}}, 10*minute))
	w.plan()
	if w.runs["high"].Job == "" || w.runs["a1"].Job != "" {
		t.Errorf("a higher priority waits at its own queue's ceiling: %+v", w.runs)
	}
}

// Two that would trade places do not leave them where a window or a hold keeps them from the new ones.
func TestATradeLosesNothing(t *testing.T) {
	f := Fleet{Chips: []Chip{{Name: "a", Value: Micro}, {Name: "b", Value: Micro}}, Queues: []Queue{{Name: "q"}},
		Nodes: []Node{{Name: "na", Site: "s", Chip: "a", Chips: 1}, {Name: "nb", Site: "s", Chip: "b", Chips: 1}}}
	w := newWorld(t, Config{}, f)
	job := func(id string, a, b int64) Job {
		return Job{ID: id, Queue: "q", Objective: Fastest, Need: Need{Chips: 1, AnyOf: []Choice{{Chip: "a", Speed: a * Micro}, {Chip: "b", Speed: b * Micro}}}}
	}
	must(0, w.submit(job("x", 4, 1), 5000*minute))
	w.plan()
	must(0, w.submit(job("y", 40, 1), 5000*minute))
	w.plan()
	if err := w.c.SetWindows(w.now, []Window{{ID: "m", Nodes: []string{"na", "nb"}, From: 20 * minute, Until: 30 * minute}}); err != nil {
		t.Fatal(err)
	}
	for w.now < 60*minute {
		w.now += minute
		w.plan()
		if len(w.runs) != 2 {
			t.Fatalf("after %d min only %+v run", w.now/minute, w.runs)
		}
	}
	if w.runs["y"].Chip != "a" {
		t.Errorf("they never traded: %+v", w.runs)
	}
}

// However much of a guarantee is claimed at once, a service misses no more replicas than it may.
func TestTheDisruptionBudget(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 4, Queue{Name: "owner", Guarantee: []Count{{"a", 4}}}, Queue{Name: "web"}))
	for i := range 4 {
		must(0, w.submit(Job{ID: fmt.Sprint("r", i), Queue: "web", Kind: Service, Group: "g", GroupMin: 3, Disruption: 1, Need: Need{Chips: 1}}, maxInt/2))
	}
	w.plan()
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "all", Queue: "owner", Need: Need{Chips: 4}}, minute))
	if p := w.plan(); len(p.Actions) != 0 {
		t.Errorf("%+v", p.Actions)
	}
	must(0, w.submit(Job{ID: "one", Queue: "owner", Need: Need{Chips: 1}}, minute))
	if p := w.plan(); len(p.Actions) != 2 || p.Actions[0].Why != Owed || p.Actions[1].Why != Owed || p.Actions[1].Job != "one" {
		t.Errorf("%+v", p.Actions)
	}
}

// Work without chips has no claim on what other queues hold.
func TestCPUWorkClaimsNothing(t *testing.T) {
	f := fleetOf(1, 8, Queue{Name: "a"}, Queue{Name: "b"})
	f.Nodes[0].CPUMilli, f.Nodes[0].MemoryMiB = 8000, 8000
	w := newWorld(t, Config{}, f)
	must(0, w.submit(Job{ID: "train", Queue: "a", Need: Need{Chips: 8, CPUMilli: 1000}}, 1000*minute))
	w.plan()
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "small", Queue: "b", Need: Need{CPUMilli: 100}}, minute))
	if p := w.plan(); len(p.Actions) != 0 {
		t.Errorf("%+v", p.Actions)
	}
}

// A guarantee is found where it can be had, not only where it is cheapest.
func TestAGuaranteeBesideAPoorQueue(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(3, 4, Queue{Name: "owner", Guarantee: []Count{{"a", 4}}}, Queue{Name: "p", Guarantee: []Count{{"a", 3}}}, Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "q1", Queue: "q", Need: Need{Chips: 4}}, 1000*minute))
	must(0, w.submit(Job{ID: "q2", Queue: "q", Need: Need{Chips: 4}}, 1000*minute))
	w.plan()
	w.now += 60 * minute
	for i := range 4 { // with the last of them the queue borrows one chip; they are the youngest, and so the cheapest
		must(0, w.submit(Job{ID: fmt.Sprint("p", i), Queue: "p", Need: Need{Chips: 1}}, 1000*minute))
	}
	w.plan()
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 4}}, 10*minute))
	w.plan()
	if w.runs["owned"].Job == "" {
		e, _ := w.c.Explain("owned")
		t.Errorf("it waits: %+v", e)
	}
}

// What must end by a deadline is not displaced by what is only shorter, and what starved goes by arrival.
func TestRankDoesNotOverruleOrder(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 1, Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "due", Queue: "q", Deadline: 80 * minute, Need: Need{Chips: 1}}, 60*minute))
	for w.now < 60*minute {
		w.plan()
		must(0, w.submit(Job{ID: fmt.Sprint("s", w.now), Queue: "q", Need: Need{Chips: 1}}, 5*minute))
		if w.plan(); w.runs["due"].Job == "" {
			t.Fatalf("displaced after %d min", w.now/minute)
		}
		w.now += minute
	}
	w = newWorld(t, Config{Round: 30 * minute, Starved: 24 * 60 * minute}, fleetOf(1, 1, Queue{Name: "q"}))
	for h := range int64(24 * 12) { // twice as much as there is room for, and in it one long job
		w.now = h * 60 * minute
		for id, a := range w.runs {
			if w.now-w.begun[a.Job] >= w.left[id] {
				w.end(id)
			}
		}
		must(0, w.submit(Job{ID: fmt.Sprintf("t%03d", h), Queue: "q", Need: Need{Chips: 1}}, 120*minute))
		if h == 24 {
			must(0, w.submit(Job{ID: "long", Queue: "q", Need: Need{Chips: 1}}, 48*60*minute))
		}
		if w.plan(); w.runs["long"].Job != "" {
			return
		}
	}
	t.Error("what starved is passed for ever by what came later")
}

// A replica goes before all batch work, and a window far away does not keep it off.
func TestReplicasGoFirst(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 1, Queue{Name: "q"}))
	if err := w.c.SetWindows(0, []Window{{ID: "far", Nodes: []string{"n000"}, From: 300 * 24 * 60 * minute, Until: 301 * 24 * 60 * minute}}); err != nil {
		t.Fatal(err)
	}
	must(0, w.submit(Job{ID: "batch", Queue: "q", Priority: 9, Fixed: true, Need: Need{Chips: 1}}, 60*minute))
	must(0, w.submit(Job{ID: "replica", Queue: "q", Kind: Service, Group: "g", Need: Need{Chips: 1}}, maxInt/2))
	if w.plan(); w.runs["replica"].Job == "" {
		t.Errorf("%+v", w.runs)
	}
}

// Nobody leaves whose leaving is not needed.
func TestNoNeedlessVictims(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 8, Queue{Name: "owner", Guarantee: []Count{{"a", 7}}}, Queue{Name: "guest"}))
	must(0, w.submit(Job{ID: "big", Queue: "guest", Need: Need{Chips: 7}}, 1000*minute))
	w.plan()
	w.now += 5 * minute
	must(0, w.submit(Job{ID: "small", Queue: "guest", Need: Need{Chips: 1}}, 1000*minute))
	w.plan()
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 7}}, minute))
	if w.plan(); w.runs["owned"].Job == "" || w.runs["small"].Job == "" {
		t.Errorf("%+v", w.runs)
	}
}
