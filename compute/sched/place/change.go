package place

import (
	"maps"
	"math/bits"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Take occupies a place. It refuses one that is not free, so no device is ever given beyond itself.
func (x *Index) Take(p Place) error {
	if !x.known(p.Node) {
		return fault.New(fault.NotFound, "the node to place on is not in the index")
	}
	n := x.at(p.Node)
	if p.CPU < 0 || p.Memory < 0 || p.Share < 0 || p.Share > Whole || int(bits.Len64(uint64(p.Devices))) > len(n.free) {
		return fault.Newf(fault.Invalid, "this is no place on node %s", n.spec.Name)
	}
	if p.CPU > n.cpu || p.Memory > n.memory {
		return fault.Newf(fault.Conflict, "node %s has too little free CPU or memory", n.spec.Name)
	}
	for m := p.Devices; m != 0; m &= m - 1 {
		if d := bits.TrailingZeros64(uint64(m)); int64(n.free[d]) < p.Share {
			return fault.Newf(fault.Conflict, "device %d of node %s is taken", d, n.spec.Name)
		}
	}
	x.journal.note(n)
	n.shift(p, -1)
	x.touch(n)
	return nil
}

// Release frees a place that was taken. It refuses to free more than the node has.
func (x *Index) Release(p Place) error {
	if !x.known(p.Node) {
		return fault.New(fault.NotFound, "the node to release is not in the index")
	}
	n := x.at(p.Node)
	if p.CPU < 0 || p.Memory < 0 || p.Share < 0 || p.Share > Whole || int(bits.Len64(uint64(p.Devices))) > len(n.free) ||
		n.cpu+p.CPU > n.spec.CPU || n.memory+p.Memory > n.spec.Memory {
		return fault.Newf(fault.Conflict, "what is released was not taken on node %s", n.spec.Name)
	}
	for m := p.Devices; m != 0; m &= m - 1 {
		if d := bits.TrailingZeros64(uint64(m)); int64(n.free[d])+p.Share > Whole {
			return fault.Newf(fault.Conflict, "device %d of node %s was not taken", d, n.spec.Name)
		}
	}
	x.journal.note(n)
	n.shift(p, 1)
	x.touch(n)
	return nil
}

// shift moves what the place holds out of (-1) or into (1) what is free.
func (n *node) shift(p Place, sign int64) {
	n.cpu += sign * p.CPU
	n.memory += sign * p.Memory
	for m := p.Devices; m != 0; m &= m - 1 {
		n.free[bits.TrailingZeros64(uint64(m))] += int16(sign * p.Share)
	}
	n.idle += int32(sign*p.Share) * int32(p.Devices.Count())
	n.sort()
}

// sort keeps sorted and whole in step with free.
func (n *node) sort() {
	n.whole = 0
	for i, f := range n.free {
		for ; i > 0 && n.sorted[i-1] > f; i-- {
			n.sorted[i] = n.sorted[i-1]
		}
		n.sorted[i] = f
		if f == Whole {
			n.whole++
		}
	}
}

// touch makes what classes remember of the node void.
func (x *Index) touch(n *node) {
	x.version++
	n.version = x.version
	n.lost = x.score.lost(n.chip, n.cpu, n.sorted)
	x.log.add(x.slots[n.slot])
}

// changes is a ring of the nodes touched last. A class remembers up to which one it has seen them.
type changes struct {
	ring []int32
	end  uint64 // touched so far
	base uint64 // classes that have seen less must look at every node
	seen []uint64
	look uint64
}

func (c *changes) init(nodes int) {
	size := 1 << bits.Len(uint(2*nodes))
	c.ring = make([]int32, size)
	c.seen = make([]uint64, nodes)
	c.look = 0
	c.void()
}

// void sends every class to look at every node.
func (c *changes) void() {
	c.end++
	c.base = c.end
}

func (c *changes) add(position int32) {
	c.ring[c.end&uint64(len(c.ring)-1)] = position
	c.end++
}

// since appends the nodes touched since a class last looked, each once; all is true if it must look at all.
func (c *changes) since(last uint64, out []int32) (touched []int32, all bool) {
	if last < c.base || c.end-last > uint64(len(c.ring)) {
		return out, true
	}
	c.look++
	for i := last; i < c.end; i++ {
		if p := c.ring[i&uint64(len(c.ring)-1)]; c.seen[p] != c.look {
			c.seen[p] = c.look
			out = append(out, p)
		}
	}
	return out, false
}

// journal holds the states of nodes before they were changed, while a trial runs.
type journal struct {
	open int
	old  []before
	free []int16
}

type before struct {
	slot        int32
	away        bool
	cpu, memory int64
	version     uint64
	idle, whole int32
	lost        int32
	room        int // where its devices start in journal.free
}

func (j *journal) note(n *node) {
	if j.open == 0 {
		return
	}
	j.old = append(j.old, before{
		slot: n.slot, away: n.away, cpu: n.cpu, memory: n.memory, version: n.version,
		idle: n.idle, whole: n.whole, lost: n.lost, room: len(j.free),
	})
	j.free = append(append(j.free, n.free...), n.sorted...)
}

// Trial is a point to return to.
type Trial struct{ depth, changes int }

// Try starts a trial: what is taken, released or drained from here on is undone by Rollback or made to stay
// by Keep. Trials nest; the last begun ends first.
func (x *Index) Try() Trial {
	x.journal.open++
	return Trial{depth: x.journal.open, changes: len(x.journal.old)}
}

// Keep ends the trial and lets its changes stand.
func (x *Index) Keep(t Trial) {
	x.journal.end(t)
	if x.journal.open == 0 {
		x.journal.old, x.journal.free = x.journal.old[:0], x.journal.free[:0]
	}
}

// Rollback ends the trial and undoes its changes: every node is as it was, to its version, so that what
// classes had remembered of it then holds again.
func (x *Index) Rollback(t Trial) {
	x.journal.end(t)
	for i := len(x.journal.old) - 1; i >= t.changes; i-- {
		b := &x.journal.old[i]
		n := x.at(b.slot)
		n.away, n.cpu, n.memory, n.version = b.away, b.cpu, b.memory, b.version
		n.idle, n.whole, n.lost = b.idle, b.whole, b.lost
		copy(n.free, x.journal.free[b.room:])
		copy(n.sorted, x.journal.free[b.room+len(n.free):])
		x.journal.free = x.journal.free[:b.room]
		x.log.add(x.slots[n.slot])
	}
	x.journal.old = x.journal.old[:t.changes]
}

func (j *journal) end(t Trial) {
	if t.depth != j.open {
		panic("place: trials must end in the reverse order of their beginning")
	}
	j.open--
}

// Clone is an index of its own with the same nodes and places; what classes remember is not carried over.
// Trials stay behind.
func (x *Index) Clone() *Index {
	c := &Index{
		nodes: slices.Clone(x.nodes), slots: slices.Clone(x.slots),
		names: make(map[string]int32, len(x.names)), chips: make(map[string]int16, len(x.chips)),
		domains: slices.Clone(x.domains), mix: x.mix, version: x.version,
	}
	maps.Copy(c.names, x.names)
	maps.Copy(c.chips, x.chips)
	for i := range c.nodes {
		n := &c.nodes[i]
		n.free, n.sorted = slices.Clone(n.free), slices.Clone(n.sorted)
	}
	score := *x.score
	score.cache = make([]remembered, len(score.cache))
	c.score = &score
	c.classes.init(x.classes.limit)
	c.log.init(len(c.nodes))
	c.classes.shape(len(c.nodes), len(c.domains))
	return c
}
