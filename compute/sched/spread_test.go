package sched

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// unlike is one site with a node for each size; racks, where told, by node.
func unlike(sizes []int, racks string, queues ...Queue) Fleet {
	f := Fleet{Chips: []Chip{{Name: "a", Value: Micro}}, Queues: queues}
	for i, k := range sizes {
		n := Node{Name: fmt.Sprintf("n%d", i), Site: "here", Chip: "a", Chips: k}
		if racks != "" {
			n.Rack, n.Block = racks[i:i+1], strings.ToUpper(racks[i:i+1])
		}
		f.Nodes = append(f.Nodes, n)
	}
	return f
}

// on is how many chips a job has of each node, by name.
func (w *world) on(id string) string {
	var out []string
	for _, s := range w.runs[id].Seats {
		out = append(out, fmt.Sprintf("%s:%d", w.c.nodes[s.Node].Name, s.Chips))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// A gang lies on nodes of unlike size when only together they have the room.
func TestGangsOverUnlikeNodes(t *testing.T) {
	w := newWorld(t, Config{}, unlike([]int{4, 8, 4}, "", Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "gang", Queue: "q", Need: Need{Chips: 16}}, 10*minute))
	if w.plan(); w.on("gang") != "n0:4 n1:8 n2:4" {
		t.Fatalf("%q", w.on("gang"))
	}
	err := w.c.Submit(0, Job{ID: "more", Queue: "q", Need: Need{Chips: 17}})
	var near *Nearby
	if !errors.As(err, &near) || near.Fits != 16 {
		t.Errorf("%v", err)
	}
	// What is missing to the whole nodes is taken of one that is not free as a whole, and of the tightest.
	w = newWorld(t, Config{}, unlike([]int{8, 4, 4, 2}, "", Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "one", Queue: "q", Need: Need{Chips: 1}}, 1000*minute))
	w.plan()
	must(0, w.submit(Job{ID: "gang", Queue: "q", Need: Need{Chips: 13}}, 10*minute))
	if w.plan(); w.on("one") != "n3:1" || w.on("gang") != "n0:8 n1:4 n3:1" {
		t.Errorf("%q %q", w.on("one"), w.on("gang"))
	}
	must(0, w.c.End(w.now, "gang", 1, true))
	delete(w.runs, "gang")
	must(0, w.submit(Job{ID: "most", Queue: "q", Need: Need{Chips: 17}}, 10*minute))
	if w.plan(); w.on("most") != "n0:8 n1:4 n2:4 n3:1" {
		t.Errorf("%q", w.on("most"))
	}
}

// Of two layouts the one inside a rack is taken, though it has more nodes, and what must not leave a rack does not.
func TestUnlikeNodesByRack(t *testing.T) {
	w := newWorld(t, Config{}, unlike([]int{8, 8, 4, 4, 4, 4}, "xzyyyy", Queue{Name: "q"}))
	must(0, w.submit(Job{ID: "gang", Queue: "q", Need: Need{Chips: 16}}, 10*minute))
	if w.plan(); w.on("gang") != "n2:4 n3:4 n4:4 n5:4" {
		t.Errorf("%q", w.on("gang"))
	}
	must(0, w.submit(Job{ID: "next", Queue: "q", Need: Need{Chips: 16}}, 10*minute))
	if w.plan(); w.on("next") != "n0:8 n1:8" {
		t.Errorf("%q", w.on("next"))
	}
	must(0, w.submit(Job{ID: "racked", Queue: "q", Need: Need{Chips: 16, Within: SameRack}}, 10*minute))
	if w.plan(); w.on("racked") != "" {
		t.Errorf("%q", w.on("racked"))
	}
	if e, _ := w.c.Explain("racked"); e.Stage != Placed || e.Bound != "room" || e.Want != 16 {
		t.Errorf("%+v", e)
	}
	if len(w.c.holds) != 1 || fmt.Sprint(w.c.holds[0].nodes) != "[2 3 4 5]" || w.c.holds[0].start != 10*minute {
		t.Errorf("%+v", w.c.holds[0])
	}
	w.end("next")
	w.plan()
	if e, _ := w.c.Explain("racked"); e.Bound != "scattered" || e.Have != 8 || e.Want != 16 || !strings.Contains(e.Reason, "inside one rack") {
		t.Errorf("%+v", e)
	}
	if at := w.c.lookAhead(100 * minute)["racked"]; at != 10*minute {
		t.Errorf("expected after %d ms", at)
	}
	if ch := w.c.Cheapest("racked"); ch == nil || ch.Kind != "less" || ch.To != 8 {
		t.Errorf("%+v", ch)
	}
}

// A guarantee is given back over unlike nodes, and nobody leaves who need not; a core that begins anew knows the gang.
func TestAGuaranteeOverUnlikeNodes(t *testing.T) {
	f := unlike([]int{8, 4, 4, 4}, "", Queue{Name: "owner", Guarantee: []Count{{"a", 14}}}, Queue{Name: "guest"})
	w := newWorld(t, Config{}, f)
	for i := range 5 {
		must(0, w.submit(Job{ID: fmt.Sprint("g", i), Queue: "guest", Need: Need{Chips: 4}}, 1000*minute))
	}
	w.plan()
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 14}}, 1000*minute))
	if w.plan(); w.runs["owned"].Job == "" || len(w.runs) != 2 {
		e, _ := w.c.Explain("owned")
		t.Fatalf("%q %+v %+v", w.on("owned"), w.runs, e)
	}
	again := must(New(Config{}, f, w.long, w.now))
	if err := again.Adopt(w.now, *w.jobs["owned"], w.c.Place(w.runs["owned"].Seats), w.now); err != nil {
		t.Error(err)
	}
}

// Whatever runs, a gang that the whole nodes and one more can hold is placed, never with two broken nodes.
func TestUnlikeNodesAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 2, 4, 8}), 2, 8).Draw(t, "sizes")
		racks := strings.Repeat("xyzu", 2)[:len(sizes)]
		w := newWorld(t, Config{}, unlike(sizes, racks, Queue{Name: "q"}))
		for i := range rapid.IntRange(0, 6).Draw(t, "others") {
			_ = w.submit(Job{ID: fmt.Sprint("o", i), Queue: "q", Need: Need{Chips: rapid.IntRange(1, 4).Draw(t, "size")}}, 1000*minute)
			w.plan()
		}
		whole, more, all := 0, 0, 0
		for i := range w.c.nodes {
			if k := int(w.c.room.free[i].whole); k == w.c.nodes[i].Chips {
				whole += k
			} else {
				more = max(more, k)
			}
			all += w.c.nodes[i].Chips
		}
		size := rapid.IntRange(1, all).Draw(t, "gang")
		if size <= slices.Max(sizes) {
			return
		}
		must(0, w.submit(Job{ID: "gang", Queue: "q", Priority: 1, Need: Need{Chips: size}}, 1000*minute))
		w.plan()
		broken := 0
		for _, s := range w.runs["gang"].Seats {
			if int(s.Chips) != w.c.nodes[s.Node].Chips {
				broken++
			}
		}
		if w.runs["gang"].Job == "" && whole+more >= size || broken > 1 {
			t.Fatalf("%d chips on %v with %d and %d free: %q", size, sizes, whole, more, w.on("gang"))
		}
	})
}

// A guarantee for a gang that must not leave a rack is found in the rack that can give it.
func TestAGuaranteeInsideARack(t *testing.T) {
	w := newWorld(t, Config{}, unlike([]int{4, 4, 4, 4}, "xyxy", Queue{Name: "owner", Guarantee: []Count{{"a", 8}}}, Queue{Name: "guest"}))
	must(0, w.submit(Job{ID: "kept", Queue: "owner", Fixed: true, Need: Need{Chips: 1}}, 1000*minute))
	w.plan()
	for i := range 3 {
		must(0, w.submit(Job{ID: fmt.Sprint("g", i), Queue: "guest", Need: Need{Chips: 4}}, 1000*minute))
		w.plan()
		w.now += minute
	}
	w.now += 20 * minute
	w.end("kept")
	must(0, w.submit(Job{ID: "high", Queue: "guest", Need: Need{Chips: 4}}, 1000*minute))
	w.plan()
	w.now += 20 * minute
	must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: 8, Within: SameRack}}, 10*minute))
	if w.plan(); w.runs["owned"].Job == "" || len(w.runs) != 3 {
		e, _ := w.c.Explain("owned")
		t.Errorf("%+v %+v", w.runs, e)
	}
}

// Whatever guests hold on nodes of whatever sizes, an owner gets a gang as large as its guarantee once they have had their
// time, and none of them leaves whose room it does not take.
func TestGuaranteesOverUnlikeNodesAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 2, 4, 8}), 2, 6).Draw(t, "sizes")
		all := 0
		for _, k := range sizes {
			all += k
		}
		owed := rapid.IntRange(1, all).Draw(t, "guarantee")
		if owed <= slices.Max(sizes) {
			return
		}
		w := newWorld(t, Config{}, unlike(sizes, "", Queue{Name: "owner", Guarantee: []Count{{"a", int64(owed)}}}, Queue{Name: "g1"}, Queue{Name: "g2"}))
		for i := range rapid.IntRange(1, 12).Draw(t, "guests") {
			_ = w.submit(Job{ID: fmt.Sprint("g", i), Queue: rapid.SampledFrom([]string{"g1", "g2"}).Draw(t, "queue"),
				Need: Need{Chips: rapid.IntRange(1, 6).Draw(t, "size")}}, 1000*minute)
			w.plan()
		}
		w.now += 20 * minute
		must(0, w.submit(Job{ID: "owned", Queue: "owner", Need: Need{Chips: owed}}, 1000*minute))
		w.plan()
		if w.runs["owned"].Job == "" {
			e, _ := w.c.Explain("owned")
			t.Fatalf("%d chips on %v: %+v", owed, sizes, e)
		}
	})
}

// BenchmarkSpread places a gang on a large fleet of unlike nodes that is half taken, and gives it back.
func BenchmarkSpread(b *testing.B) {
	f := fleetOf(6250, 8, Queue{Name: "q"})
	for i := range f.Nodes {
		f.Nodes[i].Rack, f.Nodes[i].Block = fmt.Sprint(i/16), fmt.Sprint(i/256)
		if i%3 == 0 {
			f.Nodes[i].Chips = 4
		}
	}
	c := must(New(Config{}, f, known{}, 0))
	for i := range 6250 {
		_ = c.Submit(0, Job{ID: fmt.Sprint(i), Queue: "q", Need: Need{Chips: 1 + i%4}})
	}
	c.Plan(0)
	must(0, c.Submit(0, Job{ID: "gang", Queue: "q", Need: Need{Chips: 60}}))
	o := &c.jobs["gang"].menu.options[0]
	b.ReportAllocs()
	for b.Loop() {
		seats := c.seatAll(o.pool, o, nil)
		if seats == nil {
			b.Fatal("no room")
		}
		c.unplace(o, seats)
	}
}
