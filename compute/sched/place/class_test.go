package place

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTree: the tree of maxima says what a look at every leaf says, over all and over a part.
func TestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 15, 16, 17, 255, 256, 257, 700, 5000}).Draw(t, "nodes")
		cs := classes{nodes: n}
		cs.init(1)
		c := cs.fresh(classKey{})
		for i := range c.leaf {
			c.leaf[i] = none
		}
		for _, level := range c.up {
			for i := range level {
				level[i] = none
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			at := rapid.IntRange(0, n-1).Draw(t, "at")
			w := rapid.SampledFrom([]int64{none, -5, 0, 0, 3, 9}).Draw(t, "worth")
			if w != c.leaf[at] {
				c.leaf[at] = w
				c.raise(at, w)
			}
			lo := rapid.IntRange(0, n-1).Draw(t, "lo")
			hi := rapid.IntRange(lo, n).Draw(t, "hi")
			if got, want := c.first(), plainFirst(c.leaf, 0, n); got != want {
				t.Fatalf("first = %d, want %d", got, want)
			}
			if got, want := c.firstIn(lo, hi), plainFirst(c.leaf, lo, hi); got != want {
				t.Fatalf("first from %d to %d = %d, want %d", lo, hi, got, want)
			}
		}
	})
}

func plainFirst(leaf []int64, lo, hi int) int32 {
	best := int32(-1)
	for i := lo; i < hi; i++ {
		if leaf[i] != none && (best < 0 || leaf[i] > leaf[best]) {
			best = int32(i)
		}
	}
	return best
}

// TestForgotten: with room for two classes the third forgets the one asked for longest ago, and answers stay
// right while more nodes change than the ring of changes holds.
func TestForgotten(t *testing.T) {
	nodes := make([]Node, 40)
	for i := range nodes {
		nodes[i] = Node{Name: fmt.Sprintf("n%02d", i), CPU: 8000, Devices: 2, Chip: "alpha"}
	}
	x, err := New(nodes, nil)
	if err != nil {
		t.Fatal(err)
	}
	x.Remember(2)
	ask := func(share int64) Ask { return Ask{Devices: 1, Share: share} }
	for _, share := range []int64{100, 200, 100, 300} {
		if _, ok := x.Find(ask(share), Scope{}); !ok {
			t.Fatal("an empty fleet refuses")
		}
	}
	for share, want := range map[int64]bool{100: true, 200: false, 300: true} {
		a := ask(share)
		if _, ok := x.classes.known[x.classes.key(&a)]; ok != want {
			t.Errorf("class of share %d remembered: %v", share, ok)
		}
	}
	for i := range 500 {
		p, ok := x.Find(ask(100), Scope{})
		if !ok {
			t.Fatalf("placement %d is refused", i)
		}
		if err := x.Take(p); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := rescan(x, ask(300))
	if p, _ := x.Find(ask(300), Scope{}); p.Node != want {
		t.Errorf("after 500 changes node %d is found, rescan finds %d", p.Node, want)
	}
}

// TestChipSets: asks with any number of different chip sets do not fill the memory.
func TestChipSets(t *testing.T) {
	x, err := New([]Node{{Name: "n", CPU: 1, Devices: 1, Chip: "alpha"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	x.Remember(4)
	for i := range 200 {
		chips := []string{fmt.Sprint("chip-", i), "alpha"}
		if _, ok := x.Find(Ask{Devices: 1, Share: Whole, Chips: chips}, Scope{}); !ok {
			t.Fatalf("a node with an allowed chip is refused")
		}
	}
	if n := len(x.classes.chipSets); n > 16 {
		t.Errorf("%d chip sets are remembered", n)
	}
	a, b := Ask{Devices: 1, Share: 5, Chips: []string{"x", "y"}}, Ask{Devices: 1, Share: 5, Chips: []string{"y", "x", "x"}}
	if x.classes.key(&a) != x.classes.key(&b) {
		t.Error("the same set in another order is another class")
	}
}

// TestManyNodes: classes of a large fleet stay within the bound on memory.
func TestManyNodes(t *testing.T) {
	cs := classes{nodes: MaxNodes}
	cs.init(DefaultClasses)
	for i := range 200 {
		k := classKey{cpu: int64(i)}
		cs.lookups++
		c := cs.fresh(k)
		c.used = cs.lookups
		cs.known[k] = c
	}
	if got := len(cs.known) * MaxNodes; got > maxLeaves {
		t.Errorf("%d worths are held, %d are allowed", got, maxLeaves)
	}
}

// TestSamePlacesEverywhere: a history gives the recorded places, bit by bit, on every machine and architecture.
func TestSamePlacesEverywhere(t *testing.T) {
	rng := rand.NewPCG(3, 4)
	pick := func(n uint64) int64 { return int64(rng.Uint64() % n) }
	var nodes []Node
	for i := range 60 {
		nodes = append(nodes, Node{
			Name: fmt.Sprintf("n%02d", i), CPU: 32000 + 16000*pick(5), Memory: 1000, Devices: 1 << pick(4),
			Chip: chipNames[pick(3)], Path: []string{fmt.Sprint("rack-", i/8)},
		})
	}
	var mix []Weighted
	for range 30 {
		a := Ask{CPU: 1000 * pick(20), Devices: 1, Share: 10 * (1 + pick(100))}
		if a.Share > 600 {
			a.Share, a.Devices = Whole, 1<<pick(3)
		}
		mix = append(mix, Weighted{Ask: a, Count: 1 + pick(9)})
	}
	x := mustNew(t, nodes, mix...)
	hash := fnv.New64a()
	var running []Place
	for range 3000 {
		if p, ok := x.Find(mix[pick(30)].Ask, Scope{}); ok {
			if err := x.Take(p); err != nil {
				t.Fatal(err)
			}
			running = append(running, p)
			fmt.Fprintln(hash, p)
		}
		if len(running) > 0 && pick(3) > 0 {
			i := pick(uint64(len(running)))
			if err := x.Release(running[i]); err != nil {
				t.Fatal(err)
			}
			running = slices.Delete(running, int(i), int(i)+1)
		}
	}
	const recorded = 0x75a9505582eeb3f4
	if got := hash.Sum64(); got != recorded {
		t.Errorf("the places hash to %#x, recorded is %#x", got, uint64(recorded))
	}
}
