package sched

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A queue below its guarantee has its jobs running as soon as those that borrow the room have had their minimum time.
func TestAGuaranteeIsRestored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, per := rapid.IntRange(1, 6).Draw(t, "nodes"), 4
		total := int64(nodes * per)
		g := rapid.Int64Range(1, total).Draw(t, "guarantee")
		w := newWorld(t, Config{MinRun: 10 * minute}, fleetOf(nodes, per, Queue{Name: "owner", Guarantee: []Count{{"a", g}}}, Queue{Name: "guest"}))
		for i := range int(total) { // jobs of one chip: nothing is lost to shape
			if err := w.submit(Job{ID: fmt.Sprintf("g%02d", i), Queue: "guest", Need: Need{Chips: 1}}, 10_000*minute); err != nil {
				t.Fatal(err)
			}
		}
		w.plan()
		w.now += rapid.Int64Range(0, 20*minute).Draw(t, "later")
		wanted := rapid.Int64Range(1, total).Draw(t, "wanted")
		for i := range wanted {
			if err := w.submit(Job{ID: fmt.Sprintf("o%02d", i), Queue: "owner", Need: Need{Chips: 1}}, 10_000*minute); err != nil {
				t.Fatal(err)
			}
		}
		w.plan()
		w.now = max(w.now, 10*minute)
		w.plan()
		held := int64(0)
		for id := range w.runs {
			if id[0] == 'o' {
				held++
			}
		}
		if held < min(g, wanted) {
			t.Fatalf("the owner holds %d of %d guaranteed chips and asks for %d", held, g, wanted)
		}
		if held > g && int64(len(w.runs)) == total && held > max(g, wanted) {
			t.Fatalf("the owner took %d beyond its guarantee %d", held, g)
		}
	})
}

// A guarantee, and a priority, get their room in the second in which the minimum runs of enough of what lies there are over,
// by nothing but the plan's own wish to be asked again: whoever runs a core, live or in a replay, has it so. A look ahead
// knows it too.
func TestTheCoreAsksToBeAskedWhenMinimumRunsEnd(t *testing.T) {
	for _, first := range []Job{
		{ID: "first", Queue: "owner", Need: Need{Chips: 2}},
		{ID: "first", Queue: "guest", Need: Need{Chips: 2}, Priority: 1},
	} {
		w := newWorld(t, Config{Round: 60 * minute, MinRun: 10 * minute}, fleetOf(1, 4, Queue{Name: "owner", Guarantee: []Count{{"a", 4}}}, Queue{Name: "guest"}))
		w.plan()
		for i := range 4 {
			w.now = int64(i) * (minute + 100)
			must(0, w.submit(Job{ID: fmt.Sprintf("g%d", i), Queue: "guest", Need: Need{Chips: 1}}, 10_000*minute))
			w.plan()
		}
		w.now = 5 * minute
		must(0, w.submit(first, 100*minute))
		told := w.c.Expect(24 * 60 * minute)["first"]
		var wakes []int64
		for w.runs["first"].Job == "" && len(wakes) < 10 {
			p := w.plan()
			wakes = append(wakes, w.now)
			w.now = p.Next
		}
		if want := []int64{5 * minute, 10 * minute, 11*minute + 1000}; !slices.Equal(wakes, want) { // rounded up
			t.Errorf("of queue %s: asked at %d, want %d", first.Queue, wakes, want)
		}
		if told.P50 != 11*minute+1000 {
			t.Errorf("of queue %s: it was told %d", first.Queue, told.P50)
		}
		if p := w.plan(); p.Next < 60*minute {
			t.Errorf("of queue %s: nobody waits, and it asks for %d", first.Queue, p.Next)
		}
	}
}

// A core does not ask for the ends of minimum runs that let nobody in: those of a queue within its guarantee, of work that
// stays, or of other chips.
func TestMinimumRunsThatHelpNobody(t *testing.T) {
	f := fleetOf(1, 4, Queue{Name: "owner", Guarantee: []Count{{"a", 2}}}, Queue{Name: "other", Guarantee: []Count{{"a", 2}}})
	w := newWorld(t, Config{Round: 60 * minute, MinRun: 10 * minute}, f)
	must(0, w.submit(Job{ID: "runs", Queue: "other", Need: Need{Chips: 2}}, 1000*minute))
	must(0, w.submit(Job{ID: "stays", Queue: "owner", Need: Need{Chips: 2}, Fixed: true}, 1000*minute))
	w.plan()
	must(0, w.submit(Job{ID: "waits", Queue: "owner", Need: Need{Chips: 1}, Priority: 5}, minute))
	if p := w.plan(); p.Next != 60*minute {
		t.Errorf("it asks for %d", p.Next)
	}
}

// Gangs are never cut: one is preempted whole, and only if its room completes a placement.
func TestWholeGangsMakeWay(t *testing.T) {
	w := newWorld(t, Config{MinRun: minute}, fleetOf(4, 8, Queue{Name: "owner", Guarantee: []Count{{"a", 16}}}, Queue{Name: "guest"}))
	for i := range 2 {
		must(0, w.submit(Job{ID: fmt.Sprintf("guest%d", i), Queue: "guest", Need: Need{Chips: 16}}, 1000*minute))
	}
	w.plan()
	w.now += 5 * minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 12}}, 100*minute))
	p := w.plan()
	if len(p.Actions) != 2 || p.Actions[0].Verb != Preempt || p.Actions[0].Why != Owed || p.Actions[0].For != "owned" || p.Actions[1].Job != "owned" {
		t.Fatalf("%+v", p.Actions)
	}
	must(0, w.submit(Job{ID: "more", Queue: "owner", Need: Need{Chips: 8}}, 100*minute)) // beyond the guarantee with what is held
	w.now += 5 * minute
	if p := w.plan(); len(p.Actions) != 0 {
		t.Fatalf("%+v", p.Actions)
	}
}

// Batch work fills what replicas leave and yields when they want more; a replica that others may not miss stays.
func TestReplicasAndBatch(t *testing.T) {
	w := newWorld(t, Config{MinRun: minute}, fleetOf(2, 4, Queue{Name: "q"}, Queue{Name: "owner", Guarantee: []Count{{"a", 8}}}))
	replica := func(i int) Job {
		return Job{ID: fmt.Sprintf("r%d", i), Queue: "q", Kind: Service, Group: "chat", GroupMin: 2, Disruption: 1, Need: Need{Chips: 1}}
	}
	for i := range 2 {
		must(0, w.submit(replica(i), maxInt/2))
	}
	for i := range 8 {
		must(0, w.submit(Job{ID: fmt.Sprintf("b%d", i), Queue: "q", Need: Need{Chips: 1}}, 1000*minute))
	}
	w.plan()
	if len(w.runs) != 8 || w.runs["r0"].Job == "" || w.runs["r1"].Job == "" {
		t.Fatalf("%+v", w.runs)
	}
	w.now += 2 * minute
	must(0, w.submit(replica(2), maxInt/2))
	if p := w.plan(); w.runs["r2"].Job == "" || len(p.Actions) != 2 || p.Actions[0].Why != Replica {
		t.Fatalf("batch work does not yield: %+v", p.Actions)
	}
	w.now += 2 * minute
	for i := range 8 { // the owner of all chips takes them back, but for the replicas that must stay
		must(0, w.submit(Job{ID: fmt.Sprintf("o%d", i), Queue: "owner", Need: Need{Chips: 1}}, 1000*minute))
	}
	w.plan()
	up := 0
	for i := range 3 {
		if w.runs[fmt.Sprintf("r%d", i)].Job != "" {
			up++
		}
	}
	if up != 2 || len(w.runs) != 8 {
		t.Fatalf("%d replicas of 3 are left, 2 must be: %+v", up, w.runs)
	}
}

// A short evaluation passes a queue of long work; a long one that says it is short does not.
func TestTheFastLane(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 1, Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "runs", Queue: "q", Need: Need{Chips: 1}}, 30*minute))
	w.plan()
	must(0, w.submit(Job{ID: "short-batch", Queue: "q", Need: Need{Chips: 1}}, minute))
	must(0, w.submit(Job{ID: "long-evaluation", Queue: "q", Kind: Evaluation, Limit: 10 * 60 * minute, Need: Need{Chips: 1}}, 5*minute))
	must(0, w.submit(Job{ID: "evaluation", Queue: "q", Kind: Evaluation, Limit: 10 * minute, Need: Need{Chips: 1}}, 9*minute))
	w.plan()
	var order []string
	for len(w.jobs) > 0 {
		w.pass(w.now + 100*minute)
		for _, a := range w.plan().Actions {
			if a.Verb == Start {
				order = append(order, a.Job)
			}
		}
	}
	if fmt.Sprint(order[:1]) != "[evaluation]" {
		t.Errorf("the order was %v", order)
	}
}

// A blocked gang holds its start: small work passes it only if it will be gone by then.
func TestABlockedGangIsNotStarved(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(2, 8, Queue{Name: "q", Reserve: 1}))
	must(0, w.submit(Job{ID: "long", Queue: "q", Fixed: true, Need: Need{Chips: 8}}, 100*minute))
	w.plan()
	must(0, w.submit(Job{ID: "gang", Queue: "q", Priority: 1, Need: Need{Chips: 16}}, 10*minute))
	w.plan()
	must(0, w.submit(Job{ID: "fits", Queue: "q", Need: Need{Chips: 4}}, 50*minute))
	must(0, w.submit(Job{ID: "outlasts", Queue: "q", Need: Need{Chips: 4}}, 200*minute))
	w.plan()
	if w.runs["fits"].Job == "" || w.runs["outlasts"].Job != "" {
		t.Fatalf("%+v", w.runs)
	}
	if e, _ := w.c.Explain("outlasts"); e.Stage != Reserved || e.Have != 100*minute || e.Want != 200*minute {
		t.Errorf("%+v", e)
	}
	for w.runs["gang"].Job == "" && w.now < 1000*minute {
		w.pass(w.now + 10*minute)
		w.plan()
	}
	if w.now != 100*minute {
		t.Errorf("the gang started at %d min, not when the long job had ended", w.now/minute)
	}
}

// Maintenance keeps work off that would reach into it; what is short enough goes before, also from behind the first of its kind;
// a reservation lets its queue in.
func TestWindows(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 2, Queue{Name: "q"}, Queue{Name: "class"}))
	if err := w.c.SetWindows(0, []Window{{ID: "maintenance", Nodes: []string{"n000"}, From: 60 * minute, Until: 120 * minute}}); err != nil {
		t.Fatal(err)
	}
	must(0, w.submit(Job{ID: "long", Queue: "q", Priority: 1, Need: Need{Chips: 1}}, 90*minute))
	must(0, w.submit(Job{ID: "short", Queue: "q", Need: Need{Chips: 1}}, 50*minute))
	w.plan()
	if len(w.runs) != 1 || w.runs["short"].Job == "" {
		t.Fatalf("%+v", w.runs)
	}
	if e, _ := w.c.Explain("long"); e.Stage != Reserved || e.Bound != "window" || e.Have != 60*minute || e.Want != 90*minute {
		t.Errorf("%+v", e)
	}
	for w.runs["long"].Job == "" && w.now < 500*minute {
		p := w.plan()
		w.pass(max(w.now+1, min(p.Next, w.now+10*minute)))
	}
	if w.begun["long"] != 120*minute {
		t.Errorf("it started at %d min", w.begun["long"]/minute)
	}
	if err := w.c.SetWindows(w.now, []Window{{ID: "course", Nodes: []string{"n000"}, From: w.now, Until: w.now + 60*minute, Queue: "class"}}); err != nil {
		t.Fatal(err)
	}
	must(0, w.submit(Job{ID: "guest", Queue: "q", Need: Need{Chips: 1}}, minute))
	must(0, w.submit(Job{ID: "pupil", Queue: "class", Need: Need{Chips: 1}}, minute))
	w.plan()
	if w.runs["pupil"].Job == "" || w.runs["guest"].Job != "" {
		t.Errorf("%+v", w.runs)
	}
	for _, bad := range []Window{{ID: "w", From: 2, Until: 1}, {ID: "w", Until: 1, Nodes: []string{"n00"}}, {ID: "w", Until: 1, Queue: "z"}} {
		var p *Problem
		if err := w.c.SetWindows(w.now, []Window{bad}); !errors.As(err, &p) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Elastic work makes way by getting smaller, and grows again when the chips are back.
func TestElasticWorkShrinksAndGrows(t *testing.T) {
	w := newWorld(t, Config{MinRun: 5 * minute}, fleetOf(1, 8, Queue{Name: "guest"}, Queue{Name: "owner", Guarantee: []Count{{"a", 4}}}))
	must(0, w.submit(Job{ID: "elastic", Queue: "guest", Need: Need{Chips: 8, Min: 2}}, 1000*minute))
	w.plan()
	w.now += 10 * minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 4}}, 50*minute))
	w.plan()
	if w.runs["owned"].Size != 4 || w.runs["elastic"].Size != 4 {
		t.Fatalf("%+v", w.runs)
	}
	w.now += 50 * minute
	w.end("owned")
	w.plan()
	if w.runs["elastic"].Size != 8 {
		t.Fatalf("%+v", w.runs["elastic"])
	}
	w.now += minute
	if p := w.plan(); len(p.Actions) != 0 {
		t.Errorf("it does not rest: %+v", p.Actions)
	}
}

// A start that waited for others to leave begins its time undisturbed only when it really begins.
func TestTheMinimumRunCountsFromTheRealStart(t *testing.T) {
	w := newWorld(t, Config{MinRun: 10 * minute}, fleetOf(1, 4, Queue{Name: "guest"}, Queue{Name: "owner", Guarantee: []Count{{"a", 4}}}))
	must(0, w.submit(Job{ID: "borrower", Queue: "guest", Need: Need{Chips: 4}, Limit: 30 * minute}, 1000*minute))
	if p := w.plan(); len(p.Actions) != 1 {
		t.Fatalf("%+v", p.Actions)
	}
	began := w.now + 3*minute
	w.now = began
	w.c.Began(w.now, "borrower", began)
	if by := w.c.jobs["borrower"].goneBy; by < began+30*minute {
		t.Errorf("it has to be gone %d minutes after it began, its limit is 30", (by-began)/minute)
	}
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 4}}, 100*minute))
	for ; w.now < began+10*minute; w.now += minute {
		if p := w.plan(); len(p.Actions) != 0 {
			t.Fatalf("after %d minutes: %+v", (w.now-began)/minute, p.Actions)
		}
	}
	if p := w.plan(); len(p.Actions) != 2 {
		t.Fatalf("%+v", p.Actions)
	}
}
