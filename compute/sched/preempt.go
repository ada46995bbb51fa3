package sched

import (
	"cmp"
	"slices"
)

// preempt lets the first jobs of the queues take what runs, where a guarantee or a priority gives them the right, and
// where the victims complete a placement. Stage 6.
func (c *Core) preempt() {
	for _, q := range c.byBurden() {
		for range 64 { // a plan is bounded; the next one goes on
			if !c.preemptFor(q) {
				break
			}
			c.fill() // victims that are elastic, and what fits beside
		}
	}
}

// byBurden is the queues, those furthest below their share first.
func (c *Core) byBurden() []*queue {
	if len(c.queues) == 1 {
		return c.queues
	}
	type entry struct {
		q        *queue
		org, own int64
	}
	var all []entry
	for _, q := range c.queues {
		if q.waits > 0 {
			all = append(all, entry{q, c.orgBurden(q.org), c.burden(q)})
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.org, b.org), cmp.Compare(a.own, b.own), cmp.Compare(a.q.at, b.q.at))
	})
	out := make([]*queue, len(all))
	for i, e := range all {
		out[i] = e.q
	}
	return out
}

// preemptFor tries the first of each lane, in order, and returns after the first that got its place.
func (c *Core) preemptFor(q *queue) bool {
	var heads []*work
	for _, l := range q.lanes {
		if l != nil && len(l.heap) > 0 && l.tried != c.stamp(l.menu, c.moves) {
			heads = append(heads, l.heap[0])
		}
	}
	slices.SortFunc(heads, func(a, b *work) int {
		if c.before(a, b) {
			return -1
		}
		return 1
	})
	for _, w := range heads {
		list, near := c.entries(w)
		for _, o := range slices.Clone(list[:near]) {
			if q.held[chipSlot(o.chip)]+int64(o.size) > q.ceiling[chipSlot(o.chip)] {
				continue
			}
			if c.displace(w, o) {
				return true
			}
		}
		q.lane(w.menu).tried = c.stamp(w.menu, c.moves)
	}
	return false
}

// right says by which right a waiting job may take a running one's place.
func (c *Core) right(w *work, o *option, v *work) (Why, bool) {
	if c.now-v.started < c.conf.MinRun || !c.spare(v) {
		return 0, false
	}
	if w.q != v.q {
		slot := chipSlot(v.opt.chip)
		return Owed, w.q.within(o) && v.q.held[slot] > v.q.guarantee[slot]
	}
	switch {
	case v.Fixed || v.Kind == Service:
		return 0, false
	case w.Kind == Service:
		return Replica, true
	case w.Priority != v.Priority:
		return Outranked, w.Priority > v.Priority
	case v.Kind == Interactive:
		return 0, false
	}
	return Outranked, c.outranks(w, o, v)
}

// spare says whether a replica can be missed: those of batch work always can.
func (c *Core) spare(v *work) bool {
	if v.Kind != Service {
		return true
	}
	up, missing := 0, 0
	for _, w := range c.jobs {
		if w.Kind == Service && w.Group == v.Group && w.q == v.q {
			if w.status == running {
				up++
			} else {
				missing++
			}
		}
	}
	return up > v.GroupMin && missing < v.Disruption
}

// outranks says whether a waiting job of the same queue and priority goes before a running one by rank, so clearly that
// it is worth what the change costs.
func (c *Core) outranks(w *work, o *option, v *work) bool {
	if w.urgent == 0 && v.urgent > 0 {
		return true
	}
	return w.key < v.key
}

// loss is what preempting a job loses, in chip-milliseconds, within its class: elastic work is shrunk first, then goes
// what is borrowed, then the rest.
func (c *Core) loss(v *work) (class int, lost int64) {
	lost = muldiv(int64(max(1, v.opt.size)), c.attained(v)-v.saved+c.conf.restart(v.opt.size), 1)
	slot := chipSlot(v.opt.chip)
	switch {
	case v.Need.Min > 0 && v.opt.size > v.Need.Min:
		return 0, lost
	case v.q.held[slot] > v.q.guarantee[slot]:
		return 1, lost
	}
	return 2, lost
}

// seatsAfter is a node as it would be without some of what runs there.
type evicted struct {
	node    int32
	victims []*work
	class   int
	lost    int64
}

// displace finds the cheapest victims whose places complete a placement, and has them make way. Whole gangs go, or none.
func (c *Core) displace(w *work, o *option) bool {
	pool := c.poolOf(o)
	may := c.usable(w, o)
	chosen := map[*work]bool{}
	used := map[int32]bool{}
	for i := range o.parts {
		pt := &o.parts[i]
		var all []evicted
		for _, n := range c.pools[pool].nodes {
			if used[n] || c.nodes[n].State != Up || may != nil && !may(n) {
				continue
			}
			if e, ok := c.evict(w, o, n, &pt.ask, chosen); ok {
				all = append(all, e)
			}
		}
		if len(all) < pt.members {
			return false
		}
		slices.SortFunc(all, func(a, b evicted) int {
			return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.lost, b.lost), cmp.Compare(a.node, b.node))
		})
		for _, e := range all[:pt.members] {
			used[e.node] = true
			for _, v := range e.victims {
				chosen[v] = true
			}
		}
	}
	if len(chosen) == 0 { // it fits as it is; fill has the word on that
		return false
	}
	if !c.lawful(w, o, chosen) {
		return false
	}
	ground := Outranked
	victims := make([]*work, 0, len(chosen))
	for v := range chosen {
		victims = append(victims, v)
	}
	slices.SortFunc(victims, func(a, b *work) int { return cmp.Compare(a.number, b.number) })
	for _, v := range victims {
		why, _ := c.right(w, o, v)
		ground = why
		c.act(v, Preempt, w.ID, why)
		c.vacate(v)
		v.Preempted++
		v.Attained = max(v.saved, v.Attained-c.conf.lost(v))
		v.saved = v.Attained
		c.stats.Preempted++
		c.enqueue(v)
	}
	seats := c.place(w, o)
	if seats == nil {
		return true // the room is another than was thought; what was freed is filled again
	}
	c.dequeue(w)
	c.occupy(w, o, seats)
	c.act(w, Start, "", ground)
	return true
}

// lost is the work that a preempted job does over.
func (c *Config) lost(*work) int64 { return 0 }

// lawful looks at all victims together: a queue gives no more than it borrowed, but for the last gang that it takes.
func (c *Core) lawful(w *work, o *option, chosen map[*work]bool) bool {
	give := map[*queue]int64{}
	largest := map[*queue]int64{}
	for v := range chosen {
		if v.q != w.q {
			give[v.q] += int64(v.opt.size)
			largest[v.q] = max(largest[v.q], int64(v.opt.size))
		}
	}
	slot := chipSlot(o.chip)
	for q, n := range give {
		if q.held[slot]-(n-largest[q]) <= q.guarantee[slot] {
			return false
		}
	}
	return true
}

// evict is the cheapest set of jobs on a node whose leaving makes room for a member.
func (c *Core) evict(w *work, o *option, n int32, a *ask, chosen map[*work]bool) (evicted, bool) {
	e := evicted{node: n}
	f := &c.room.free[n]
	whole, cpu, memo := int(f.whole), f.cpu, f.memo
	enough := func() bool {
		if a.share < Whole && a.chips > 0 && f.tightest(int32(a.share)) >= 0 && (!f.counted || cpu >= a.cpu && memo >= a.memo) {
			return true
		}
		return whole >= a.chips && (!f.counted || cpu >= a.cpu && memo >= a.memo)
	}
	gain := func(v *work) {
		k := 0
		for i := range v.opt.parts {
			for range v.opt.parts[i].members {
				if v.seats[k].Node == n {
					b := &v.opt.parts[i].ask
					if b.share == Whole || b.chips == 0 {
						whole += b.chips
					}
					cpu += b.cpu
					memo += b.memo
				}
				k++
			}
		}
	}
	type victim struct {
		w     *work
		class int
		lost  int64
	}
	var list []victim
	for _, v := range c.onNode[n] {
		if chosen[v] {
			gain(v)
		} else if _, ok := c.right(w, o, v); ok {
			class, lost := c.loss(v)
			list = append(list, victim{v, class, lost})
		}
	}
	slices.SortFunc(list, func(x, y victim) int {
		return cmp.Or(cmp.Compare(x.class, y.class), cmp.Compare(x.lost, y.lost), cmp.Compare(y.w.number, x.w.number))
	})
	for _, v := range list {
		if enough() {
			break
		}
		gain(v.w)
		e.victims = append(e.victims, v.w)
		e.class = max(e.class, v.class)
		e.lost += v.lost
	}
	return e, enough()
}
