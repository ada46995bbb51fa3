package sched

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Shares count in ceilings, guarantees and explanations as what they are.
func TestSharesCountAsWhatTheyAre(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 4, Queue{Name: "a", Ceiling: []Count{{"a", 1}}}, Queue{Name: "b", Guarantee: []Count{{"a", 2}}}))
	for i := range 4 {
		must(0, w.submit(Job{ID: fmt.Sprint("a", i), Queue: "a", Need: Need{Chips: 1, Share: 300}}, 1000*minute))
	}
	w.plan()
	if len(w.runs) != 3 {
		t.Fatalf("under a ceiling of one chip %d shares of 0.3 run", len(w.runs))
	}
	e, _ := w.c.Explain("a3")
	if e.Stage != Entitled || e.Bound != "ceiling" || e.Have != 100 || e.Want != 300 || e.Unit != "thousandths" ||
		!strings.Contains(e.Reason, "may hold 1 of chip a, holds 0.9, and the job asks for 0.3") {
		t.Errorf("%+v", e)
	}
	if ch := w.c.Cheapest("a3"); ch == nil || ch.Kind != "queue" {
		t.Errorf("%+v", ch)
	}
	if ch := w.c.CheapestOf("a3", func(c *Change) bool { return c.Kind == "quota" }); ch == nil || ch.To != 1 || ch.Cost != 1001 {
		t.Errorf("%+v", ch)
	}
	for i := range 5 {
		must(0, w.submit(Job{ID: fmt.Sprint("b", i), Queue: "b", Need: Need{Chips: 1, Share: 500}}, 1000*minute))
	}
	w.plan()
	if e, _ := w.c.Explain("b0"); !strings.Contains(e.Reason, "within its guarantee of 2") && !strings.Contains(e.Reason, "holds 0.5 beyond its guarantee of 2") {
		t.Errorf("%+v", e)
	}
	for _, q := range w.c.Queues() {
		if want := map[string]int64{"a": 900, "b": 2500}[q.Name]; len(q.Held) != 1 || q.Held[0].Milli != want {
			t.Errorf("%s holds %v", q.Name, q.Held)
		}
	}
	if over := w.c.surplus(w.c.queueAt["b"]); over != Micro/2 {
		t.Errorf("half a chip beyond the guarantee costs %d an hour", over)
	}
}

// A guarantee is given back by those that share the chips: all that share one leave, and nobody else.
func TestAGuaranteeOutOfShares(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 2, Queue{Name: "owner", Guarantee: []Count{{"a", 1}}}, Queue{Name: "guest"}))
	for i := range 4 {
		must(0, w.submit(Job{ID: fmt.Sprint("g", i), Queue: "guest", Need: Need{Chips: 1, Share: 500}}, 1000*minute))
	}
	w.plan()
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 1}}, 10*minute))
	if w.plan(); w.runs["owned"].Job == "" || len(w.runs) != 3 {
		e, _ := w.c.Explain("owned")
		t.Errorf("%+v %+v", w.runs, e)
	}
}

// A hold on a chip that is shared begins when all have left it.
func TestAHoldOnSharedChips(t *testing.T) {
	w := newWorld(t, Config{}, fleetOf(1, 1, Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "short", Queue: "q", Need: Need{Chips: 1, Share: 500}}, 30*minute))
	must(0, w.submit(Job{ID: "long", Queue: "q", Need: Need{Chips: 1, Share: 500}}, 90*minute))
	w.plan()
	must(0, w.submit(Job{ID: "whole", Queue: "q", Priority: 1, Need: Need{Chips: 1}}, 10*minute))
	if w.plan(); len(w.c.holds) != 1 || w.c.holds[0].start != 90*minute {
		t.Fatalf("%+v", w.c.holds)
	}
	if at := w.c.lookAhead(1000 * minute)["whole"]; at > 90*minute {
		t.Errorf("expected after %d min", at/minute)
	}
}

// Whatever guests hold in shares and whole, an owner gets its whole guarantee, in one plan once they have had their time,
// and guests lose no more than that takes.
func TestGuaranteesOutOfSharesAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(1, 3).Draw(t, "nodes")
		chips := rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "chips")
		owed := rapid.IntRange(1, nodes*chips).Draw(t, "guarantee")
		w := newWorld(t, Config{}, fleetOf(nodes, chips, Queue{Name: "owner", Guarantee: []Count{{"a", int64(owed)}}}, Queue{Name: "g1"}, Queue{Name: "g2"}))
		for i := range rapid.IntRange(1, 40).Draw(t, "guests") {
			j := Job{ID: fmt.Sprint("g", i), Queue: rapid.SampledFrom([]string{"g1", "g2"}).Draw(t, "queue"), Need: Need{Chips: 1, Share: rapid.IntRange(1, 1000).Draw(t, "share")}}
			must(0, w.submit(j, 1000*minute))
		}
		w.plan()
		w.now += 20 * minute
		for i := range owed {
			j := Job{ID: fmt.Sprint("o", i), Queue: "owner", Need: Need{Chips: 1}}
			if rapid.Bool().Draw(t, "shared") {
				j.Need.Share = rapid.IntRange(1, 999).Draw(t, "of")
			}
			must(0, w.submit(j, 1000*minute))
		}
		w.plan()
		for i := range owed {
			if id := fmt.Sprint("o", i); w.runs[id].Job == "" {
				e, _ := w.c.Explain(id)
				t.Fatalf("%s waits: %+v", id, e)
			}
		}
	})
}
