package place

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"
)

// Domain is a part of the topology: the whole fleet, a site, a block, a rack. The zero Domain is the whole
// fleet.
type Domain int32

// domain is a run of nodes that share a path, and the domain it lies in.
type domain struct {
	lo, hi int32 // positions of its nodes
	parent int32
	depth  int32
}

// findDomains reads the domains off the sorted nodes.
func (x *Index) findDomains() {
	x.domains = append(x.domains[:0], domain{hi: int32(len(x.nodes)), parent: -1})
	var open []int32 // the domains around the node, outermost first, without the fleet
	var path []string
	for i := range x.nodes {
		n := &x.nodes[i]
		same := 0
		for same < len(path) && same < len(n.spec.Path) && path[same] == n.spec.Path[same] {
			same++
		}
		for _, d := range open[same:] {
			x.domains[d].hi = int32(i)
		}
		open = open[:same]
		for depth := same; depth < len(n.spec.Path); depth++ {
			parent := int32(0)
			if depth > 0 {
				parent = open[depth-1]
			}
			open = append(open, int32(len(x.domains)))
			x.domains = append(x.domains, domain{lo: int32(i), parent: parent, depth: int32(depth) + 1})
		}
		path = n.spec.Path
		n.domain = 0
		if len(open) > 0 {
			n.domain = open[len(open)-1]
		}
	}
	for _, d := range open {
		x.domains[d].hi = int32(len(x.nodes))
	}
}

// Domain is the domain with this path, outermost name first; no names is the whole fleet.
func (x *Index) Domain(path ...string) (Domain, bool) {
	if len(path) == 0 {
		return 0, true
	}
	for d := 1; d < len(x.domains); d++ {
		n := &x.nodes[x.domains[d].lo]
		if int(x.domains[d].depth) == len(path) && slices.Equal(n.spec.Path[:len(path)], path) {
			return Domain(d), true
		}
	}
	return 0, false
}

func (x *Index) bounds(d Domain) (lo, hi int) {
	if int(d) >= len(x.domains) || d < 0 {
		return 0, 0
	}
	return int(x.domains[d].lo), int(x.domains[d].hi)
}

// gangCounts is how many blocks of a class each node and each domain can hold now.
type gangCounts struct {
	on      bool
	block   int32 // members that stay together on a node
	nodes   []int32
	some    []uint64 // of the nodes those that can hold any
	domains []int64
}

func (g *gangCounts) update(x *Index, position, hosts int32) {
	hosts /= g.block
	delta := int64(hosts - g.nodes[position])
	if delta == 0 {
		return
	}
	g.nodes[position] = hosts
	if bit := uint64(1) << (position % 64); hosts > 0 {
		g.some[position/64] |= bit
	} else {
		g.some[position/64] &^= bit
	}
	for d := x.nodes[position].domain; d >= 0; d = x.domains[d].parent {
		g.domains[d] += delta
	}
}

// count makes the counts for blocks of this size.
func (g *gangCounts) count(x *Index, c *class, block int32) {
	if g.on && g.block == block {
		return
	}
	g.on, g.block = true, block
	g.nodes = slices.Grow(g.nodes[:0], len(x.nodes))[:len(x.nodes)]
	g.domains = slices.Grow(g.domains[:0], len(x.domains))[:len(x.domains)]
	words := (len(x.nodes) + 63) / 64
	g.some = slices.Grow(g.some[:0], words)[:words]
	clear(g.nodes)
	clear(g.some)
	clear(g.domains)
	for i := range x.nodes {
		g.update(x, int32(i), int32(c.hosts(&x.nodes[i])))
	}
}

// manyMembers bounds what a node without devices and with no need of CPU could hold.
const manyMembers = 1 << 20

// hosts is how many members of the class the node could hold now, together.
func (c *class) hosts(n *node) int {
	if !c.fits(n) {
		return 0
	}
	h := manyMembers
	if c.key.cpu > 0 {
		h = min(h, int(n.cpu/c.key.cpu))
	}
	if c.key.memory > 0 {
		h = min(h, int(n.memory/c.key.memory))
	}
	switch {
	case c.key.devices == 0:
	case c.key.share == Whole:
		h = min(h, int(n.whole/c.key.devices))
	default:
		room := 0
		for _, f := range n.free {
			room += int(f) / int(c.key.share)
		}
		h = min(h, room)
	}
	return h
}

// Gang is a job of equal members that run all or none.
type Gang struct {
	Member Ask
	Count  int // members
	Block  int // members that must share a node, but for the last Count % Block of them; 0 is 1
}

// FindGang proposes places for all members, or none. It takes the lowest domain that can hold them, of those
// the one with the least room to spare, of those the first; within it as few parts as can be, the tightest
// that suffices last. It changes nothing: give the places to Take, all of them.
func (x *Index) FindGang(g Gang, s Scope) ([]Place, bool) {
	block := max(g.Block, 1)
	if g.Member.Validate() != nil || g.Count < 1 || g.Count > manyMembers || block > manyMembers {
		return nil, false
	}
	if places, ok := x.onOneNode(g, s); ok {
		return places, true
	}
	c := x.class(&g.Member)
	c.gang.count(x, c, int32(block))
	r := room{x: x, ask: c.ask, nodes: c.gang.nodes, some: c.gang.some, domains: c.gang.domains, block: block}
	if s.Without != nil {
		r.leaveOut(s)
	}
	full, rest := g.Count/block, g.Count%block
	if full == 0 { // they were to share one node, and none holds them
		return nil, false
	}
	for _, d := range r.candidates(s.Domain, int64(full)) {
		if places, ok := r.fill(d, full, rest, s); ok {
			return places, true
		}
	}
	return nil, false
}

// onOneNode tries to hold all members on one node: chosen as if they were one member where that can be said,
// else the node with the least room that suffices.
func (x *Index) onOneNode(g Gang, s Scope) ([]Place, bool) {
	one, n := g.Member, int64(g.Count)
	if one.Devices > 0 && one.Share < Whole && n > 1 {
		return x.tightest(g, s)
	}
	if int64(one.Devices)*n > MaxDevices || one.CPU*n >= MaxAmount || one.Memory*n >= MaxAmount {
		return nil, false
	}
	one.CPU, one.Memory, one.Devices = one.CPU*n, one.Memory*n, one.Devices*g.Count
	p, ok := x.Find(one, s)
	if !ok {
		return nil, false
	}
	return split(p, g.Member, g.Count), true
}

// tightest puts members with shares on the first of the nodes with the least room for such members that
// suffices.
func (x *Index) tightest(g Gang, s Scope) ([]Place, bool) {
	c := x.class(&g.Member)
	best, least := -1, manyMembers+1
	lo, hi := x.bounds(s.Domain)
	for i := lo; i < hi; i++ {
		n := &x.nodes[i]
		if c.leaf[i] == none || s.Without != nil && s.Without(n.slot) {
			continue
		}
		if h := c.hosts(n); h >= g.Count && h < least {
			best, least = i, h
		}
	}
	if best < 0 {
		return nil, false
	}
	r := room{x: x, ask: c.ask}
	return r.on(int32(best), g.Count), true
}

// split shares the devices of one place out to its members.
func split(all Place, member Ask, count int) []Place {
	out := make([]Place, count)
	left := all.Devices
	for i := range out {
		out[i] = Place{Node: all.Node, Share: member.Share, CPU: member.CPU, Memory: member.Memory}
		for range member.Devices {
			out[i].Devices |= left & -left
			left &= left - 1
		}
	}
	return out
}

// room is the counts a gang is placed by.
type room struct {
	x       *Index
	ask     Ask
	nodes   []int32
	some    []uint64 // the nodes that count
	domains []int64
	block   int
}

// next is the first position from lo on of a node that counts, hi if there is none below it.
func (r *room) next(lo, hi int32) int32 {
	for w := lo / 64; lo < hi; lo, w = (w+1)*64, w+1 {
		if word := r.some[w] >> (lo % 64); word != 0 {
			return min(hi, lo+int32(bits.TrailingZeros64(word)))
		}
	}
	return hi
}

// leaveOut counts anew without the nodes that are left out.
func (r *room) leaveOut(s Scope) {
	r.some, r.domains = slices.Clone(r.some), slices.Clone(r.domains)
	lo, hi := r.x.bounds(s.Domain) // elsewhere nobody looks
	for i := r.next(int32(lo), int32(hi)); i < int32(hi); i = r.next(i+1, int32(hi)) {
		if !s.Without(r.x.nodes[i].slot) {
			continue
		}
		for d := r.x.nodes[i].domain; d >= 0; d = r.x.domains[d].parent {
			r.domains[d] -= int64(r.nodes[i])
		}
		r.some[i/64] &^= 1 << (i % 64)
	}
}

// candidates are the domains inside within that can hold so many blocks: deepest first, then the one with the
// least room, then the first.
func (r *room) candidates(within Domain, blocks int64) []int32 {
	var out []int32
	lo, hi := r.x.bounds(within)
	for d := int(within); d < len(r.x.domains) && int(r.x.domains[d].lo) < hi; d++ { // domains are in preorder
		if e := &r.x.domains[d]; int(e.lo) >= lo && int(e.hi) <= hi && r.domains[d] >= blocks {
			out = append(out, int32(d))
		}
	}
	slices.SortFunc(out, func(a, b int32) int {
		x, y := &r.x.domains[a], &r.x.domains[b]
		switch {
		case x.depth != y.depth:
			return int(y.depth - x.depth)
		case r.domains[a] != r.domains[b]:
			return int(min(max(r.domains[a]-r.domains[b], -1), 1))
		}
		return int(a - b)
	})
	return out
}

// part is a child of a domain: a domain or a node right in it.
type part struct {
	domain int32 // -1 for a node
	node   int32
	room   int64
}

// fill puts the blocks into a domain that has room for them, then the rest.
func (r *room) fill(d int32, full, rest int, s Scope) ([]Place, bool) {
	var places []Place
	used := map[int32]bool{}
	r.spread(d, int64(full), func(node int32, blocks int64) {
		used[node] = true
		places = append(places, r.on(node, int(blocks)*r.block)...)
	})
	if rest == 0 {
		return places, true
	}
	last := Scope{Domain: Domain(d), Without: func(number int32) bool {
		return used[r.x.slots[number]] || s.Without != nil && s.Without(number)
	}}
	more, ok := r.x.onOneNode(Gang{Member: r.ask, Count: rest}, last)
	if !ok {
		return nil, false
	}
	return append(places, more...), true
}

// spread shares blocks out over the children of a domain, largest first, but whatever is left goes to the
// smallest child that can take all of it, the first of equals. take is called once for each node.
func (r *room) spread(d int32, blocks int64, take func(node int32, blocks int64)) {
	parts := r.parts(d)
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.room, a.room) })
	for ; blocks > 0; parts = parts[1:] {
		p := parts[0]
		if p.room >= blocks {
			smaller := sort.Search(len(parts), func(i int) bool { return parts[i].room < blocks })
			least := parts[smaller-1].room
			p = parts[sort.Search(len(parts), func(i int) bool { return parts[i].room <= least })]
		}
		n := min(p.room, blocks)
		if p.domain < 0 {
			take(p.node, n)
		} else {
			r.spread(p.domain, n, take)
		}
		blocks -= n
	}
}

// parts are the children of a domain that have room, in the order of their nodes.
func (r *room) parts(d int32) []part {
	e := &r.x.domains[d]
	var out []part
	next := d + 1 // domains are in preorder
	for i := e.lo; i < e.hi; {
		for int(next) < len(r.x.domains) && r.x.domains[next].lo < i {
			next++
		}
		until, child := e.hi, int(next) < len(r.x.domains) && r.x.domains[next].lo < e.hi
		if child {
			until = r.x.domains[next].lo
		}
		for i = r.next(i, until); i < until; i = r.next(i+1, until) {
			out = append(out, part{domain: -1, node: i, room: int64(r.nodes[i])})
		}
		if child {
			if r.domains[next] > 0 {
				out = append(out, part{domain: next, room: r.domains[next]})
			}
			i = r.x.domains[next].hi
		}
	}
	return out
}

// on puts members on a node that has room for them.
func (r *room) on(position int32, members int) []Place {
	n := &r.x.nodes[position]
	a := &r.ask
	if n.links != nil && a.Share == Whole {
		whole := with(n.free, Whole)
		all := Place{Node: n.slot, Devices: Linked(whole, whole, n.links, members*a.Devices)}
		return split(all, *a, members)
	}
	free := slices.Clone(n.free)
	out := make([]Place, members)
	for i := range out {
		out[i] = Place{Node: n.slot, Share: a.Share, CPU: a.CPU, Memory: a.Memory}
		need := a.Devices
		for d := 0; d < len(free) && need > 0; d++ {
			if int64(free[d]) >= a.Share {
				free[d] -= int16(a.Share)
				out[i].Devices |= 1 << d
				need--
			}
		}
	}
	return out
}
