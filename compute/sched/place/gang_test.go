package place

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// lowest is the depth of the deepest domain that holds all the nodes.
func lowest(x *Index, nodes map[int32]bool) int {
	depth := -1
	for d := range x.domains {
		e, inside := &x.domains[d], 0
		for n := range nodes {
			if at := x.slots[n]; at >= e.lo && at < e.hi {
				inside++
			}
		}
		if inside == len(nodes) {
			depth = max(depth, int(e.depth))
		}
	}
	return depth
}

// capacity is how many blocks a domain can hold, counted by placing them.
func capacity(x *Index, d *domain, a Ask, block int, without int32) int {
	total := 0
	for i := d.lo; i < d.hi; i++ {
		n := &x.nodes[i]
		if n.slot == without {
			continue
		}
		trial, members := x.Try(), 0
		for members < 100 {
			if _, fits := plainWorth(x, n, a); !fits {
				break
			}
			one := a
			c := x.class(&one)
			if err := x.Take(x.placeOn(c, n)); err != nil {
				break
			}
			members++
		}
		x.Rollback(trial)
		total += members / block
	}
	return total
}

// TestGang: all members or none, on room that is free; blocks stay together; no deeper domain and no single
// node could hold them.
func TestGang(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(0, 8).Draw(t, "steps") {
			w.change(t)
		}
		a := rapid.SampledFrom(w.asks).Draw(t, "member")
		if a.Devices == 0 {
			a.CPU += 400
		}
		g := Gang{Member: a, Count: rapid.IntRange(1, 12).Draw(t, "count"), Block: rapid.SampledFrom([]int{0, 1, 1, 2, 4}).Draw(t, "block")}
		block, without := max(g.Block, 1), rapid.SampledFrom([]int32{-1, -1, 0}).Draw(t, "without")
		s := Scope{}
		if without >= 0 {
			s.Without = func(n int32) bool { return n == without }
		}
		deepest := -1 // of the domains that could hold the full blocks
		for d := range w.x.domains {
			if capacity(w.x, &w.x.domains[d], a, block, without) >= g.Count/block {
				deepest = max(deepest, int(w.x.domains[d].depth))
			}
		}
		places, ok := w.x.FindGang(g, s)
		if !ok {
			if len(places) != 0 {
				t.Fatal("half a gang")
			}
			if deepest >= 0 && g.Count%block == 0 {
				t.Fatalf("%+v is refused though a domain of depth %d holds it", g, deepest)
			}
			return
		}
		on := map[int32]int{}
		nodes := map[int32]bool{}
		for _, p := range places {
			if p.Node == without {
				t.Fatal("a place on a node that was left out")
			}
			w.take(t, p)
			on[p.Node]++
			nodes[p.Node] = true
		}
		w.check(t)
		odd := 0
		for _, n := range on {
			if n%block != 0 {
				odd++
			}
		}
		if len(places) != g.Count || odd > 1 {
			t.Fatalf("%d members of %d, blocks broken on %d nodes: %v", len(places), g.Count, odd, on)
		}
		if len(nodes) > 1 && g.Count%block == 0 && lowest(w.x, nodes) < deepest {
			t.Fatalf("the gang spans depth %d, a domain of depth %d would do", lowest(w.x, nodes), deepest)
		}
	})
}

// TestGangPicks: the tightest domain of the lowest level, then the fewest nodes.
func TestGangPicks(t *testing.T) {
	var nodes []Node
	for rack, size := range []int{4, 3, 5} {
		for i := range size {
			nodes = append(nodes, Node{
				Name: fmt.Sprintf("r%d-%d", rack, i), CPU: 8000, Devices: 8, Chip: "c",
				Path: []string{fmt.Sprintf("rack-%d", rack)},
			})
		}
	}
	x := mustNew(t, nodes)
	device := Ask{Devices: 1, Share: Whole}
	for _, c := range []struct {
		gang  Gang
		nodes string
	}{
		{Gang{Member: device, Count: 8}, "r0-0"},
		{Gang{Member: device, Count: 24}, "r1-0 r1-1 r1-2"},
		{Gang{Member: device, Count: 20, Block: 8}, "r1-0 r1-1 r1-2"},
		{Gang{Member: device, Count: 40}, "r2-0 r2-1 r2-2 r2-3 r2-4"},
		{Gang{Member: device, Count: 56}, "r1-0 r1-1 r2-0 r2-1 r2-2 r2-3 r2-4"},
		{Gang{Member: Ask{Devices: 8, Share: Whole}, Count: 2}, "r1-0 r1-1"},
		{Gang{Member: Ask{Devices: 1, Share: 300}, Count: 24}, "r0-0"},
		{Gang{Member: Ask{Devices: 1, Share: 300}, Count: 40, Block: 24}, "r1-0 r1-1"},
		{Gang{Member: device, Count: 97}, ""},
		{Gang{Member: Ask{Devices: 9, Share: Whole}, Count: 1}, ""},
		{Gang{Member: device, Count: 0}, ""},
	} {
		places, _ := x.FindGang(c.gang, Scope{})
		seen, got := map[int32]bool{}, ""
		for i := range x.nodes {
			for _, p := range places {
				if p.Node == x.nodes[i].slot && !seen[p.Node] {
					seen[p.Node] = true
					if got != "" {
						got += " "
					}
					got += x.Node(p.Node).Name
				}
			}
		}
		if got != c.nodes {
			t.Errorf("%+v goes to %q, want %q", c.gang, got, c.nodes)
		}
	}
}
