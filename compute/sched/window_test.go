package sched

import "testing"

// What waits for a window to end is expected at its end, however long other work runs, and what is gone before the window
// begins is expected at once.
func TestExpectedStartsKnowWindows(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(2, 8, Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "long", Queue: "q", Need: Need{Chips: 8}}, 600*minute))
	w.plan()
	if err := w.c.SetWindows(0, []Window{{ID: "m", Nodes: []string{"n000", "n001"}, From: 20 * minute, Until: 67*minute + 1}}); err != nil {
		t.Fatal(err)
	}
	must(0, w.submit(Job{ID: "after", Queue: "q", Need: Need{Chips: 8}}, 30*minute))
	must(0, w.submit(Job{ID: "begin", Queue: "q", NotBefore: 5 * minute, Need: Need{Chips: 1}}, 7*minute))
	w.plan()
	if w.runs["after"].Job != "" {
		t.Fatalf("%+v", w.runs)
	}
	must(0, w.submit(Job{ID: "before", Queue: "q", Need: Need{Chips: 4}}, 15*minute))
	starts := w.c.lookAhead(1000 * 60 * minute)
	if starts["after"] != 67*minute+1 || starts["before"] != 0 || starts["begin"] != 5*minute {
		t.Errorf("expected %v", starts)
	}
	for w.now < 70*minute && w.runs["after"].Job == "" { // and so it comes
		w.pass(w.plan().Next)
		w.plan()
	}
	if w.begun["after"] != starts["after"] || w.begun["before"] != starts["before"] || w.begun["begin"] != starts["begin"] {
		t.Errorf("begun %v", w.begun)
	}
}
