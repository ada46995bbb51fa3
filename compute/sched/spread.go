package sched

import (
	"cmp"
	"slices"
)

// Gangs over unlike nodes. Where a pool's nodes do not all hold as many chips of a job as each other, because they have
// fewer or too little CPU beside them, a gang takes whole nodes of any size, the largest first, and of the last what is
// missing. Which nodes is decided when it is placed; the parts of its entry are what the empty pool would give.

// most is how many chips of a job a node could give it if nothing else ran there.
func (c *Core) most(n int32, each *ask) int {
	x := &c.nodes[n]
	if x.CPUMilli == 0 && x.MemoryMiB == 0 {
		return x.Chips
	}
	return chipsFor(x.Chips, x.CPUMilli, x.MemoryMiB, each)
}

// nowOf is how many it could give at this moment.
func (c *Core) nowOf(n int32, each *ask) int {
	f := &c.room.free[n]
	switch {
	case !f.open:
		return 0
	case !f.counted:
		return int(f.whole)
	}
	return chipsFor(int(f.whole), f.cpu, f.memo, each)
}

// chipsFor is how many chips can be used with an amount of CPU and memory beside them.
func chipsFor(chips int, cpu, memo int64, each *ask) int {
	n := int64(chips)
	if each.cpu > 0 {
		n = min(n, cpu/each.cpu)
	}
	if each.memo > 0 {
		n = min(n, memo/each.memo)
	}
	return int(max(0, n))
}

// alike says whether all nodes of a pool that could give a job anything could give it all their chips and equally many,
// and how many the best of them could.
func (c *Core) alike(p *pool, each *ask) (per int, same bool) {
	same = true
	for _, n := range p.nodes {
		if k := c.most(n, each); k > 0 {
			same = same && (per == 0 || k == per) && k == c.nodes[n].Chips
			per = max(per, k)
		}
	}
	return per, same
}

// groups are the nodes of a pool by the part of the topology that a job must not leave, in the order of block and rack.
// Nodes stay where they are, so it is found out once.
func (c *Core) groups(p *pool, l Level) [][]int32 {
	if p.groups[l] == nil {
		p.groups[l] = c.grouped(p, l)
	}
	return p.groups[l]
}

func (c *Core) grouped(p *pool, l Level) [][]int32 {
	if l != SameRack && l != SameBlock {
		return [][]int32{p.nodes}
	}
	nodes := slices.Clone(p.nodes)
	place := func(n int32) (string, string) {
		if l == SameBlock {
			return c.nodes[n].Block, ""
		}
		return c.nodes[n].Block, c.nodes[n].Rack
	}
	slices.SortStableFunc(nodes, func(a, b int32) int {
		ab, ar := place(a)
		bb, br := place(b)
		return cmp.Or(cmp.Compare(ab, bb), cmp.Compare(ar, br))
	})
	var out [][]int32
	for i, n := range nodes {
		if i > 0 {
			ab, ar := place(nodes[i-1])
			if bb, br := place(n); ab == bb && ar == br {
				out[len(out)-1] = append(out[len(out)-1], n)
				continue
			}
		}
		out = append(out, []int32{n})
	}
	return out
}

// offer is what a node would give a gang.
type offer struct {
	node  int32
	chips int
	whole bool  // all that it could ever give
	cost  int64 // of getting it, in any unit
}

// gather chooses among offers for so many chips: wholly given nodes, the largest first, and of one more, the tightest
// that suffices, what is then missing. It orders the offers anew; nil if they do not suffice. The chips of what is
// returned add up to those asked for.
func gather(all []offer, chips int) []offer {
	slices.SortStableFunc(all, func(a, b offer) int { return cmp.Compare(b.chips, a.chips) })
	var out []offer
	taken := make([]bool, len(all))
	for {
		last, next := -1, -1
		for k := range all {
			switch {
			case taken[k]:
			case all[k].chips >= chips:
				if last < 0 || all[k].chips < all[last].chips {
					last = k
				}
			case all[k].whole && next < 0:
				next = k
			}
		}
		if last >= 0 {
			x := all[last]
			x.chips = chips
			return append(out, x)
		}
		if next < 0 {
			return nil
		}
		taken[next] = true
		out = append(out, all[next])
		chips -= all[next].chips
	}
}

// layout is the parts that empty nodes would give, or nil.
func (c *Core) layout(p *pool, o *option) []part {
	var best []offer
	for _, nodes := range c.groups(p, o.within) {
		var all []offer
		for _, n := range nodes {
			if k := c.most(n, &o.each); k > 0 {
				all = append(all, offer{n, k, true, 0})
			}
		}
		if x := gather(all, o.size); x != nil && (best == nil || len(x) < len(best)) {
			best = x
		}
	}
	var parts []part
	for _, x := range best {
		if n := len(parts); n > 0 && parts[n-1].ask.chips == x.chips {
			parts[n-1].members++
			continue
		}
		parts = append(parts, part{1, o.askOf(&Seat{Chips: int32(x.chips)})})
	}
	return parts
}

// spread proposes seats on unlike nodes, inside the lowest part of the topology that has the room, of those the one with
// the least to spare.
func (c *Core) spread(pool int32, o *option, may func(int32) bool) []Seat {
	p := c.pools[pool]
	for _, l := range []Level{SameRack, SameBlock, SameSite} {
		if o.within != AnyLevel && l > o.within {
			break
		}
		var best []offer
		least := 0
		for _, nodes := range c.groups(p, l) {
			all, room := c.offers(nodes, o, may)
			if room < o.size || best != nil && room >= least {
				continue
			}
			if l > SameRack {
				c.nearFirst(all)
			}
			if x := gather(all, o.size); x != nil {
				best, least = x, room
			}
		}
		if best != nil {
			seats := make([]Seat, len(best))
			for i, x := range best {
				a := o.askOf(&Seat{Chips: int32(x.chips)})
				seats[i] = c.room.propose(x.node, &a)
			}
			return seats
		}
	}
	return nil
}

// offers is what nodes could give at this moment, until it is asked for again, and how much that is together; none where
// they cannot suffice.
func (c *Core) offers(nodes []int32, o *option, may func(int32) bool) (all []offer, room int) {
	for _, n := range nodes {
		room += int(c.room.free[n].whole)
	}
	if room < o.size { // without a look at who may use what
		return nil, room
	}
	all, room = c.offered[:0], 0
	for _, n := range nodes {
		if k := c.nowOf(n, &o.each); k > 0 && (may == nil || may(n)) {
			all = append(all, offer{n, k, k == c.most(n, &o.each), 0})
			room += k
		}
	}
	c.offered = all
	return all, room
}

// nearFirst puts offers of one rack beside each other, the racks that offer most first, so that of equal nodes those are
// taken that lie together.
func (c *Core) nearFirst(all []offer) {
	type rack struct{ block, rack string }
	room := map[rack]int{}
	at := func(x *offer) rack { return rack{c.nodes[x.node].Block, c.nodes[x.node].Rack} }
	for i := range all {
		room[at(&all[i])] += all[i].chips
	}
	slices.SortStableFunc(all, func(a, b offer) int {
		x, y := at(&a), at(&b)
		return cmp.Or(cmp.Compare(room[y], room[x]), cmp.Compare(x.block, y.block), cmp.Compare(x.rack, y.rack))
	})
}

// together is the most that whole nodes and one more have for a gang, inside one part of the topology if it must be.
func (c *Core) together(pool int32, o *option) (most int) {
	for _, nodes := range c.groups(c.pools[pool], o.within) {
		sum, more := 0, 0
		for _, n := range nodes {
			if k := c.nowOf(n, &o.each); k == c.most(n, &o.each) {
				sum += k
			} else {
				more = max(more, k)
			}
		}
		most = max(most, sum+more)
	}
	return most
}

// cheapest chooses whole nodes for a gang by their cost, the cheapest that suffice and none that is not needed, the
// dearest last. Where they do not suffice it adds the one that offers most of the others, as the last. nil if that does
// not suffice either.
func cheapest(all []offer, chips int, dearer func(a, b *offer) int) []offer {
	var whole []offer
	more := offer{node: -1}
	for _, x := range all {
		if x.whole {
			whole = append(whole, x)
		} else if x.chips > more.chips || x.chips == more.chips && dearer(&x, &more) < 0 {
			more = x
		}
	}
	slices.SortStableFunc(whole, func(a, b offer) int { return dearer(&a, &b) })
	out := enoughOf(whole, chips)
	if out == nil && more.node >= 0 && more.chips < chips {
		if out = enoughOf(whole, chips-more.chips); out != nil {
			out = append(out, more)
		}
	}
	return out
}

// enoughOf is the first of the offers that suffice together, without what is not needed.
func enoughOf(all []offer, chips int) []offer {
	sum := 0
	for i := range all {
		if sum += all[i].chips; sum < chips {
			continue
		}
		out := slices.Clone(all[:i+1])
		for k, x := range slices.Backward(out) {
			if sum-x.chips >= chips {
				sum -= x.chips
				out = slices.Delete(out, k, k+1)
			}
		}
		return out
	}
	return nil
}

// earliestSpread is when some of these nodes could give a gang all its chips first, and which.
func (c *Core) earliestSpread(w *work, o *option, nodes []int32) *hold {
	var all []offer
	for _, n := range nodes {
		k := c.most(n, &o.each)
		if k == 0 || c.nodes[n].State != Up || c.heldAlready(n) {
			continue
		}
		for give := k; give > 0; give-- { // what a node without end keeps busy it does not give
			a := o.askOf(&Seat{Chips: int32(give)})
			at, ok := c.freeAt(n, &a)
			if at = max(at, c.now); ok && (len(c.windows) == 0 || c.shut(w, n, at, at+c.lasts(w, o)) == nil) {
				all = append(all, offer{n, give, give == k, at})
				break
			}
		}
	}
	list := cheapest(all, o.size, func(a, b *offer) int { return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(b.chips, a.chips)) })
	if list == nil {
		return nil
	}
	h := &hold{w: w, owed: w.q.guaranteedFor(o)}
	for _, x := range list {
		h.nodes, h.start = append(h.nodes, x.node), max(h.start, x.cost)
	}
	return h
}

// attemptSpread is attempt for a gang over unlike nodes.
func (c *Core) attemptSpread(w *work, o *option, from whose) (done bool, poor *queue) {
	may := c.usable(w, o)
	for _, nodes := range c.groups(c.pools[o.pool], o.within) {
		chosen := c.oust(w, o, nodes, from, may)
		if len(chosen) == 0 {
			continue
		}
		if p := c.lawful(w, o, chosen); p != nil {
			poor = cmp.Or(poor, p)
		} else if c.takeOver(w, o, chosen) {
			return true, nil
		}
	}
	return false, poor
}

// oust chooses victims on whole nodes and on one more for a gang.
func (c *Core) oust(w *work, o *option, nodes []int32, from whose, may func(int32) bool) map[*work]bool {
	var all []offer
	found := map[int32]evicted{}
	for _, n := range nodes {
		k := c.most(n, &o.each)
		if k == 0 || c.nodes[n].State != Up || may != nil && !may(n) {
			continue
		}
		for give := k; give > 0; give-- {
			a := o.askOf(&Seat{Chips: int32(give)})
			if e := c.evict(w, o, n, &a, from, nil); e.enough {
				found[n] = e
				all = append(all, offer{n, give, give == k, e.lost / int64(give)})
				break
			}
		}
	}
	list := cheapest(all, o.size, func(a, b *offer) int {
		return cmp.Or(cmp.Compare(found[a.node].class, found[b.node].class), cmp.Compare(a.cost, b.cost), cmp.Compare(b.chips, a.chips))
	})
	if list == nil {
		return nil
	}
	rest := o.size
	chosen := map[*work]bool{}
	for i, x := range list {
		e := found[x.node]
		if i == len(list)-1 { // of the last only what is missing
			a := o.askOf(&Seat{Chips: int32(rest)})
			e = c.evict(w, o, x.node, &a, from, chosen)
		}
		for _, v := range e.victims {
			chosen[v] = true
		}
		rest -= x.chips
	}
	return chosen
}
