package place

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var chipNames = []string{"alpha", "beta", "gamma"}

// drawNode is a random machine; some have no devices, some more than the cache keeps divided.
func drawNode(t *rapid.T, name string) Node {
	n := Node{
		Name: name, CPU: rapid.Int64Range(0, 64).Draw(t, "cpu") * 500, Memory: rapid.Int64Range(0, 64).Draw(t, "memory"),
		Devices: rapid.SampledFrom([]int{0, 1, 2, 4, 8, 8, 8, 14, 64}).Draw(t, "devices"),
		Rank:    rapid.IntRange(0, 2).Draw(t, "rank"),
	}
	if n.Devices > 0 {
		n.Chip = rapid.SampledFrom(chipNames).Draw(t, "chip")
	}
	for range rapid.IntRange(0, 3).Draw(t, "depth") {
		n.Path = append(n.Path, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "domain"))
	}
	return n
}

func drawAsk(t *rapid.T) Ask {
	a := Ask{CPU: rapid.Int64Range(0, 16).Draw(t, "cpu") * 400, Memory: rapid.Int64Range(0, 8).Draw(t, "memory")}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return a
	case 1, 2:
		a.Devices, a.Share = 1, rapid.SampledFrom([]int64{100, 250, 330, 500, 810, 999}).Draw(t, "share")
	default:
		a.Devices, a.Share = rapid.SampledFrom([]int{1, 1, 2, 4, 8}).Draw(t, "devices"), Whole
	}
	if rapid.IntRange(0, 3).Draw(t, "picky") == 0 {
		a.Chips = rapid.SliceOfN(rapid.SampledFrom([]string{"alpha", "beta", "unknown"}), 1, 3).Draw(t, "chips")
	}
	return a
}

func drawMix(t *rapid.T) []Weighted {
	var mix []Weighted
	for range rapid.IntRange(0, 5).Draw(t, "classes") {
		mix = append(mix, Weighted{Ask: drawAsk(t), Count: rapid.Int64Range(0, 9).Draw(t, "count")})
	}
	return mix
}

// world is an index and what a test believes is on it.
type world struct {
	x       *Index
	asks    []Ask
	running []Place
	names   int
}

func newWorld(t *rapid.T) *world {
	w := &world{}
	var nodes []Node
	for range rapid.IntRange(1, 9).Draw(t, "nodes") {
		nodes = append(nodes, drawNode(t, w.name()))
	}
	x, err := New(nodes, drawMix(t))
	if err != nil {
		t.Fatal(err)
	}
	w.x = x
	x.Remember(rapid.SampledFrom([]int{1, 3, 100}).Draw(t, "remembered"))
	for range rapid.IntRange(1, 5).Draw(t, "asks") {
		w.asks = append(w.asks, drawAsk(t))
	}
	return w
}

func (w *world) name() string {
	w.names++
	return fmt.Sprintf("node-%02d", w.names)
}

// change does something random to the world, one step of a history.
func (w *world) change(t *rapid.T) {
	switch rapid.IntRange(0, 11).Draw(t, "step") {
	case 0, 1, 2:
		if len(w.running) > 0 {
			i := rapid.IntRange(0, len(w.running)-1).Draw(t, "ends")
			if err := w.x.Release(w.running[i]); err != nil {
				t.Fatal(err)
			}
			w.running = slices.Delete(w.running, i, i+1)
		}
	case 3:
		w.x.Drain(w.someNode(t), rapid.Bool().Draw(t, "away"))
	default:
		if p, ok := w.x.Find(rapid.SampledFrom(w.asks).Draw(t, "ask"), Scope{}); ok {
			w.take(t, p)
		}
	}
}

// fleet changes the nodes themselves.
func (w *world) fleet(t *rapid.T) {
	switch rapid.IntRange(0, 2).Draw(t, "fleet") {
	case 0:
		if err := w.x.Add(drawNode(t, w.name())); err != nil {
			t.Fatal(err)
		}
	case 1:
		if w.x.Len() > 1 {
			number := w.someNode(t)
			if err := w.x.Remove(number); err != nil {
				t.Fatal(err)
			}
			w.running = slices.DeleteFunc(w.running, func(p Place) bool { return p.Node == number })
		}
	default:
		if err := w.x.SetMix(drawMix(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) someNode(t *rapid.T) int32 {
	return w.x.nodes[rapid.IntRange(0, len(w.x.nodes)-1).Draw(t, "node")].slot
}

func (w *world) take(t *rapid.T, p Place) {
	if err := w.x.Take(p); err != nil {
		t.Fatalf("a proposed place is not free: %v", err)
	}
	w.running = append(w.running, p)
}

// check holds the index to what is running: every device has one owner at most for each of its shares.
func (w *world) check(t *rapid.T) {
	type sum struct {
		cpu, memory int64
		devices     [MaxDevices]int64
	}
	used := map[int32]*sum{}
	for _, p := range w.running {
		s := used[p.Node]
		if s == nil {
			s = &sum{}
			used[p.Node] = s
		}
		s.cpu += p.CPU
		s.memory += p.Memory
		for _, d := range p.Devices.List() {
			if s.devices[d] += p.Share; s.devices[d] > Whole {
				t.Fatalf("device %d of node %d is given beyond itself", d, p.Node)
			}
		}
	}
	for i := range w.x.nodes {
		n := &w.x.nodes[i]
		s := used[n.slot]
		if s == nil {
			s = &sum{}
		}
		room := w.x.Room(n.slot)
		if room.CPU != n.spec.CPU-s.cpu || room.Memory != n.spec.Memory-s.memory {
			t.Fatalf("node %s: room %+v does not fit what runs", n.spec.Name, room)
		}
		for d, f := range room.Free {
			if int64(f) != Whole-s.devices[d] {
				t.Fatalf("node %s device %d: %d is free, %d is used", n.spec.Name, d, f, s.devices[d])
			}
		}
	}
}

// rescan finds the best node the plain way: every node, nothing remembered, the formula written out.
func rescan(x *Index, a Ask) (best int32, ok bool) {
	top := int64(math.MinInt64)
	for i := range x.nodes {
		n := &x.nodes[i]
		if w, fits := plainWorth(x, n, a); fits && w > top {
			best, top, ok = n.slot, w, true
		}
	}
	return best, ok
}

func plainWorth(x *Index, n *node, a Ask) (int64, bool) {
	if n.away || n.cpu < a.CPU || n.memory < a.Memory {
		return 0, false
	}
	if a.Devices > 0 && len(a.Chips) > 0 && !slices.Contains(a.Chips, n.spec.Chip) {
		return 0, false
	}
	var options [][]int16
	whole := slices.Clone(n.free)
	left := a.Devices
	for d, f := range n.free {
		if left > 0 && int64(f) >= a.Share {
			left--
			whole[d] -= int16(a.Share)
			one := slices.Clone(n.free)
			one[d] -= int16(a.Share)
			options = append(options, one)
		}
		if a.Share < Whole && a.Share > 0 {
			left = 1 // every device is an option for a share
		}
	}
	switch {
	case a.Devices == 0:
		options = [][]int16{n.free}
	case a.Share == Whole && left > 0 || len(options) == 0:
		return 0, false
	case a.Share == Whole:
		options = [][]int16{whole}
	}
	lost := int64(math.MaxInt64)
	for _, o := range options {
		lost = min(lost, plainLost(x, n, n.cpu-a.CPU, o))
	}
	w := (plainLost(x, n, n.cpu, n.free)-lost)*16 - int64(sum(options[0])) - (n.cpu-a.CPU)/16
	if a.Devices == 0 && n.spec.Devices > 0 {
		w -= 1 << 40
		if expected := slices.ContainsFunc(x.mix, func(w Weighted) bool { return w.Count > 0 }); !expected {
			w -= 256 * (plainStarved(n, n.cpu-a.CPU, n.memory-a.Memory) - plainStarved(n, n.cpu, n.memory))
		}
	}
	return w, true
}

// plainStarved is the idle devices beyond those for which there are CPU and memory.
func plainStarved(n *node, cpu, memory int64) int64 {
	fed, all := int64(len(n.free))*Whole, int64(0)
	for _, f := range n.free {
		all += int64(f)
	}
	if n.spec.Memory > 0 {
		fed = int64(len(n.free)) * Whole * memory / n.spec.Memory
	}
	if n.spec.CPU > 0 {
		fed = min(fed, int64(len(n.free))*Whole*cpu/n.spec.CPU)
	}
	return max(0, all-fed)
}

// plainLost is the loss without cache and without short cuts.
func plainLost(x *Index, n *node, cpu int64, free []int16) int64 {
	if len(free) == 0 {
		return 0
	}
	g := slices.Clone(free)
	slices.Sort(g)
	var lost int64
	for i := range x.score.streams[n.chip] {
		room, c := slices.Clone(g), cpu-cpu%cpuQuantum
		for _, s := range x.score.streams[n.chip][i].all {
			last := len(room) - int(s.devices)
			if c < int64(s.cpu) || last < 0 || room[last] < s.share {
				continue
			}
			if s.share < Whole {
				last = slices.IndexFunc(room, func(f int16) bool { return f >= s.share })
			}
			for d := range int(s.devices) {
				room[last+d] -= s.share
			}
			slices.Sort(room)
			c -= int64(s.cpu)
		}
		lost += int64(sum(room))
	}
	return lost
}

// TestIndexEqualsRescan: what is remembered never changes an answer, whatever happened before.
func TestIndexEqualsRescan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "rare") == 0 {
				w.fleet(t)
			} else {
				w.change(t)
			}
			w.check(t)
			a := rapid.SampledFrom(w.asks).Draw(t, "ask")
			want, ok := rescan(w.x, a)
			p, found := w.x.Find(a, Scope{})
			if ok != found || ok && p.Node != want {
				t.Fatalf("Find(%+v) = %v %v, rescan %v %v", a, p.Node, found, want, ok)
			}
			if again, _ := w.x.Clone().Find(a, Scope{}); again != p {
				t.Fatalf("a clone finds %+v, not %+v", again, p)
			}
			if n := len(w.x.classes.known); n > w.x.classes.limit {
				t.Fatalf("%d classes are remembered, %d are allowed", n, w.x.classes.limit)
			}
		}
	})
}

// TestRollbackRestores: after a trial every node is as it was, to its version, and so is what classes answer.
func TestRollbackRestores(t *testing.T) {
	state := func(x *Index) []node {
		out := slices.Clone(x.nodes)
		for i := range out {
			out[i].free, out[i].sorted = slices.Clone(out[i].free), slices.Clone(out[i].sorted)
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(0, 10).Draw(t, "steps") {
			w.change(t)
		}
		before, running := state(w.x), slices.Clone(w.running)
		outer := w.x.Try()
		for range rapid.IntRange(0, 8).Draw(t, "tried") {
			w.change(t)
		}
		inner := w.x.Try()
		w.change(t)
		if rapid.Bool().Draw(t, "keep") {
			w.x.Keep(inner)
		} else {
			w.x.Rollback(inner)
		}
		w.x.Rollback(outer)
		w.running = running
		if d := cmp.Diff(before, state(w.x), cmp.AllowUnexported(node{})); d != "" {
			t.Fatal(d)
		}
		w.check(t)
		for _, a := range w.asks {
			want, ok := rescan(w.x, a)
			if p, found := w.x.Find(a, Scope{}); ok != found || ok && p.Node != want {
				t.Fatalf("after the trial Find(%+v) = %v %v, rescan %v %v", a, p.Node, found, want, ok)
			}
		}
	})
}

// TestScope: a search within a domain, without nodes or with drawn ties is the rescan of what is left.
func TestScope(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(0, 10).Draw(t, "steps") {
			w.change(t)
		}
		path := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 3).Draw(t, "path")
		d, known := w.x.Domain(path...)
		without := rapid.SampledFrom([]int32{-1, 0, 1}).Draw(t, "without")
		s := Scope{Domain: d}
		if without >= 0 {
			s.Without = func(number int32) bool { return number == without }
		}
		a := rapid.SampledFrom(w.asks).Draw(t, "ask")
		best, top, equals := int32(-1), int64(math.MinInt64), 0
		for i := range w.x.nodes {
			n := &w.x.nodes[i]
			inside := len(n.spec.Path) >= len(path) && slices.Equal(n.spec.Path[:len(path)], path)
			if inside && !known {
				t.Fatalf("domain %v is not known, yet node %s is in it", path, n.spec.Name)
			}
			if worth, fits := plainWorth(w.x, n, a); known && inside && n.slot != without && fits {
				if worth > top {
					best, top, equals = n.slot, worth, 0
				}
				if worth == top {
					equals++
				}
			}
		}
		if !known {
			return
		}
		p, ok := w.x.Find(a, s)
		if ok != (best >= 0) || ok && p.Node != best {
			t.Fatalf("Find in %v = %v %v, want %v", path, p.Node, ok, best)
		}
		s.Ties = func(n int) int {
			if n != equals {
				t.Fatalf("a draw among %d, there are %d equals", n, equals)
			}
			return n - 1
		}
		if p, ok := w.x.Find(a, s); ok {
			if worth, _ := plainWorth(w.x, w.x.at(p.Node), a); worth != top {
				t.Fatalf("the drawn node is worth %d, the best %d", worth, top)
			}
		}
		r := w.x.Why(a, s)
		if (r.Nodes == r.Away+r.Chips+r.Devices+r.CPU+r.Memory) == ok {
			t.Fatalf("Find says %v and Why %+v", ok, r)
		}
	})
}
