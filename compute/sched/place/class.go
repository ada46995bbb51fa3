package place

import (
	"math"
	"math/bits"
	"slices"
)

// DefaultClasses is how many classes an index remembers unless told otherwise, fewer where all together would
// hold more than maxLeaves worths of 8 bytes. At 6,250 nodes a class takes 53 KB. A class that is asked for
// again after it was forgotten costs one look at every node.
const (
	DefaultClasses = 1024
	maxLeaves      = 16 << 20
	fewestClasses  = 8
)

const (
	none   = math.MinInt64 // the worth of a node that cannot hold the class
	fanOut = 16
	// The weight of the expected loss, summed over the rehearsals, against what is left free: idle thousandths
	// of devices and one milli of CPU in cpuPerResidue, the proportion of best fit. Three times the residue cost
	// 0.2 points on openb; none at all cost up to 0.6 on made-up fleets that are easy to fill, where the
	// rehearsals lose next to nothing and can tell little. Two to eight times the weight gains at most 0.03 in the mean of
	// the six lists it is tuned on, and costs 0.1 on gpushare80.
	lossWeight    = 16
	cpuPerResidue = 16
	// What needs no device goes to nodes with devices only where there are no others.
	beside = 1 << 40
	// What one link group can give goes to nodes where one does: the lowest level of the topology comes first.
	spanning = 1 << 40
)

// classKey is an ask with its chips as a number.
type classKey struct {
	cpu, memory    int64
	devices, share int32
	chips          int32
}

// class is what is remembered for equal asks: the worth of every node and a tree of maxima over it.
type class struct {
	key     classKey
	ask     Ask
	allowed []bool // by chip number; nil for any
	last    uint64 // changes seen
	used    uint64 // when asked for last, in lookups
	leaf    []int64
	up      [][]int64 // up[0] the maxima of fanOut leaves each, up[1] of fanOut of those, ...
	gang    gangCounts
}

// classes are those known, at most limit; the one asked for longest ago is forgotten first.
type classes struct {
	limit    int
	nodes    int
	domains  int
	lookups  uint64
	known    map[classKey]*class
	chipSets map[string]int32
	buffer   []byte
	touched  []int32
}

func (cs *classes) init(limit int) {
	cs.limit = limit
	cs.known = map[classKey]*class{}
	cs.chipSets = map[string]int32{}
}

// shape forgets all classes because the nodes are others.
func (cs *classes) shape(nodes, domains int) {
	cs.nodes, cs.domains = nodes, domains
	clear(cs.known)
	clear(cs.chipSets)
}

// Remember sets how many classes are remembered, at least one.
func (x *Index) Remember(limit int) {
	x.classes.limit = max(limit, 1)
	x.classes.shape(x.classes.nodes, x.classes.domains)
}

// key interns the ask. It allocates only for a set of chips not seen before.
func (cs *classes) key(a *Ask) classKey {
	k := classKey{cpu: a.CPU, memory: a.Memory, devices: int32(a.Devices), share: int32(a.Share)}
	if len(a.Chips) == 0 {
		return k
	}
	cs.buffer = cs.buffer[:0]
	for _, c := range canonical(a.Chips) {
		cs.buffer = append(append(cs.buffer, c...), 0)
	}
	id, ok := cs.chipSets[string(cs.buffer)]
	if !ok {
		if len(cs.chipSets) >= 4*cs.limit { // sets of classes long forgotten
			cs.shape(cs.nodes, cs.domains)
		}
		id = int32(len(cs.chipSets)) + 1
		cs.chipSets[string(cs.buffer)] = id
	}
	k.chips = id
	return k
}

// class is the class of an ask, its worths up to date.
func (x *Index) class(a *Ask) *class {
	cs := &x.classes
	k := cs.key(a)
	c, ok := cs.known[k]
	if !ok {
		c = cs.fresh(k)
		c.ask = *a
		c.ask.Chips = canonical(a.Chips)
		c.allowed = nil
		if len(a.Chips) > 0 {
			c.allowed = make([]bool, len(x.chips))
			for _, name := range a.Chips {
				if chip, ok := x.chips[name]; ok {
					c.allowed[chip] = true
				}
			}
		}
		cs.known[k] = c
	}
	cs.lookups++
	c.used = cs.lookups
	if c.last != x.log.end {
		x.refresh(c)
	}
	return c
}

// fresh is an empty class; when there are too many it is the memory of the one to be forgotten.
func (cs *classes) fresh(k classKey) *class {
	if len(cs.known) < min(cs.limit, max(fewestClasses, maxLeaves/max(cs.nodes, 1))) {
		c := &class{key: k, leaf: make([]int64, cs.nodes)}
		for n := cs.nodes; n > 1; {
			n = (n + fanOut - 1) / fanOut
			c.up = append(c.up, make([]int64, n))
		}
		return c
	}
	var old *class
	for _, c := range cs.known {
		if old == nil || c.used < old.used { // used is never equal, so the order of the map does not matter
			old = c
		}
	}
	delete(cs.known, old.key)
	old.key, old.last = k, 0
	old.gang = gangCounts{} // a gang that is being placed may still hold its counts
	return old
}

// refresh rescores the nodes that changed since the class last looked.
func (x *Index) refresh(c *class) {
	touched, all := x.log.since(c.last, x.classes.touched[:0])
	x.classes.touched = touched
	c.last = x.log.end
	if all {
		for i := range x.nodes {
			c.leaf[i] = x.worth(c, &x.nodes[i])
		}
		below := c.leaf
		for _, level := range c.up {
			for b := range level {
				level[b] = blockMax(below, b)
			}
			below = level
		}
		c.gang.on = false
		return
	}
	for _, p := range touched {
		n := &x.nodes[p]
		if c.gang.on {
			c.gang.update(x, p, int32(c.hosts(n)))
		}
		if w := x.worth(c, n); w != c.leaf[p] {
			c.leaf[p] = w
			c.raise(int(p), w)
		}
	}
}

// raise carries a changed leaf up until a maximum stays as it was.
func (c *class) raise(at int, worth int64) {
	below := c.leaf
	for _, level := range c.up {
		at /= fanOut
		if worth < level[at] { // it may have been the maximum
			worth = blockMax(below, at)
		}
		if level[at] == worth {
			return
		}
		level[at] = worth
		below = level
	}
}

func blockMax(below []int64, block int) int64 {
	part := below[block*fanOut : min((block+1)*fanOut, len(below))]
	best := part[0]
	for _, w := range part[1:] {
		best = max(best, w)
	}
	return best
}

// first is the first node with the highest worth, -1 if none can hold the class.
func (c *class) first() int32 {
	if len(c.leaf) == 0 {
		return -1
	}
	at := 0
	for l, v := range slices.Backward(c.up) {
		want := v[at]
		if want == none {
			return -1
		}
		below := c.leaf
		if l > 0 {
			below = c.up[l-1]
		}
		for at *= fanOut; below[at] != want; {
			at++
		}
	}
	if c.leaf[at] == none {
		return -1
	}
	return int32(at)
}

// fits says whether the node can hold the class now.
func (c *class) fits(n *node) bool {
	if n.away || n.cpu < c.key.cpu || n.memory < c.key.memory {
		return false
	}
	if c.key.devices == 0 {
		return true
	}
	if n.chip < 0 || c.allowed != nil && !c.allowed[n.chip] {
		return false
	}
	if c.key.share == Whole {
		return n.whole >= c.key.devices
	}
	return n.sorted[len(n.sorted)-1] >= int16(c.key.share)
}

// worth is how good the node is for the class, higher is better: how much the expected loss of its devices
// falls, and a little how tightly the class fits. What needs no device goes where there are none, else where it
// leaves the devices the CPU and memory that they need.
func (x *Index) worth(c *class, n *node) int64 {
	if !c.fits(n) {
		return none
	}
	after, _ := x.lostAfter(c, n)
	idle := int64(n.idle) - int64(c.key.devices)*int64(c.key.share)
	w := int64(n.lost-after)*lossWeight - idle - (n.cpu-c.key.cpu)/cpuPerResidue
	if c.key.share == Whole && n.apart(c.key.devices) {
		w -= spanning
	}
	if c.key.devices == 0 && n.chip >= 0 {
		w -= beside
		if x.score.blind {
			w -= (n.starved(n.cpu-c.key.cpu, n.memory-c.key.memory) - n.starved(n.cpu, n.memory)) * rehearsals * lossWeight
		}
	}
	return w
}

// starved is how many thousandths of the node's idle devices would lack CPU or memory, if each needs its part of the
// node's: what can be said where no requests are expected. Where they are, the rehearsals know better, and memory
// counted so cost 2.6 points on openb, whose requests need little.
func (n *node) starved(cpu, memory int64) int64 {
	parts := int64(n.spec.Devices) * Whole
	enough := parts
	if n.spec.CPU > 0 {
		enough = cpu * parts / n.spec.CPU
	}
	if n.spec.Memory > 0 {
		enough = min(enough, memory*parts/n.spec.Memory)
	}
	return max(0, int64(n.idle)-enough)
}

// lostAfter is the expected loss of the node with the class on its best devices, and the free amount of the
// device a share goes to. The node must fit.
func (x *Index) lostAfter(c *class, n *node) (lost int32, room int16) {
	cpu := n.cpu - c.key.cpu
	if c.key.devices == 0 {
		return x.score.lost(n.chip, cpu, n.sorted), 0
	}
	after := x.scratch[:len(n.sorted)]
	if c.key.share == Whole {
		copy(after, n.sorted)
		fillWhole(after, int(c.key.devices))
		return x.score.lost(n.chip, cpu, after), Whole
	}
	lost = math.MaxInt32
	for i, f := range n.sorted {
		if f < int16(c.key.share) || i > 0 && f == n.sorted[i-1] {
			continue
		}
		copy(after, n.sorted)
		lower(after, i, f-int16(c.key.share))
		if l := x.score.lost(n.chip, cpu, after); l < lost {
			lost, room = l, f
		}
	}
	return lost, room
}

// lower sets entry i of an ascending list to a smaller value and keeps it ascending.
func lower(g []int16, i int, v int16) {
	for ; i > 0 && g[i-1] > v; i-- {
		g[i] = g[i-1]
	}
	g[i] = v
}

// devices are those the class takes on a node that fits: the first wholly free ones, or the first device with
// the room that is best for a share; where there are link groups, those that Linked chooses.
func (x *Index) devices(c *class, n *node) Mask {
	if c.key.devices == 0 {
		return 0
	}
	_, room := x.lostAfter(c, n)
	var m Mask
	if n.links != nil {
		for d, f := range n.free {
			if f == room {
				m |= 1 << d
			}
		}
		return Linked(m, with(n.free, Whole), n.links, int(c.key.devices))
	}
	for d, f := range n.free {
		if f == room {
			if m |= 1 << d; bits.OnesCount64(uint64(m)) == int(c.key.devices) {
				break
			}
		}
	}
	return m
}

// Forget drops what is remembered of every class, so that the next search looks at every node: the plain
// rescan that the index is measured against.
func (x *Index) Forget() { x.log.void() }
