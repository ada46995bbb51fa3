package sched

import (
	"cmp"
	"slices"
)

// hold keeps nodes for a blocked gang until its earliest start. Stage 5.
type hold struct {
	w     *work
	nodes []int32
	start int64 // when all of them will be free, by the P90 of what runs there
	owed  bool  // the job's queue is guaranteed the room
}

// dropHolds forgets all holds; they are made anew by what is refused next.
func (c *Core) dropHolds() { c.holds = nil }

// hold notes nodes for a job that was refused, if it is the first of its queue and its queue may hold one more.
func (c *Core) hold(w *work) {
	n := 0
	for _, h := range c.holds {
		if h.w == w {
			return
		}
		if h.w.q == w.q {
			n++
		}
	}
	if n >= w.q.Reserve || !c.heads(w) {
		return
	}
	var best *hold
	for i := range w.menu.options {
		if !w.q.allows(&w.menu.options[i]) {
			continue
		}
		if h := c.earliest(w, &w.menu.options[i]); h != nil && (best == nil || h.start < best.start) {
			best = h
		}
	}
	if best != nil {
		c.holds = append(c.holds, best)
	}
}

// heads says whether no job of its queue that waits comes before it: blocked ones that hold already do not count.
func (c *Core) heads(w *work) bool {
	for _, l := range w.q.live {
		if l.heap[0] == w || !c.before(l.heap[0], w) {
			continue
		}
		if !c.holding(l.heap[0]) {
			return false
		}
	}
	return true
}

func (c *Core) holding(w *work) bool {
	return slices.ContainsFunc(c.holds, func(h *hold) bool { return h.w == w })
}

// earliest finds the nodes on which an option can start first, when jobs end by their P90.
func (c *Core) earliest(w *work, o *option) (best *hold) {
	for _, nodes := range c.groups(c.pools[o.pool], o.within) {
		earliest := c.earliestOn
		if o.mixed {
			earliest = c.earliestSpread
		}
		if h := earliest(w, o, nodes); h != nil && (best == nil || h.start < best.start) {
			best = h
		}
	}
	return best
}

// earliestOn is earliest among some nodes.
func (c *Core) earliestOn(w *work, o *option, nodes []int32) *hold {
	h := &hold{w: w, owed: w.q.guaranteedFor(o)}
	for i := range o.parts {
		pt := &o.parts[i]
		first := make([]when, 0, pt.members)
		seen := c.freeing(o, i)
		for _, n := range nodes {
			if c.nodes[n].State != Up || slices.Contains(h.nodes, n) || c.heldAlready(n) {
				continue
			}
			if seen[n].version != c.version[n]+1 {
				at, ok := c.freeAt(n, &pt.ask)
				if !ok {
					at = maxInt
				}
				seen[n] = freed{c.version[n] + 1, at}
			}
			if at := seen[n].at; at < maxInt && (len(c.windows) == 0 || c.shut(w, n, max(at, c.now), max(at, c.now)+c.lasts(w, o)) == nil) {
				first = push(first, when{n, max(at, c.now)}, pt.members)
			}
		}
		if len(first) < pt.members {
			return nil
		}
		for _, x := range first {
			h.nodes = append(h.nodes, x.node)
			h.start = max(h.start, x.at)
		}
	}
	return h
}

func (c *Core) heldAlready(n int32) bool {
	for _, h := range c.holds {
		if slices.Contains(h.nodes, n) {
			return true
		}
	}
	return false
}

// when is the time at which a node has room.
type when struct {
	node int32
	at   int64
}

func (a when) before(b when) bool { return a.at < b.at || a.at == b.at && a.node < b.node }

// push keeps the k earliest in a heap with the latest of them in front.
func push(h []when, x when, k int) []when {
	if len(h) < k {
		h = append(h, x)
		for i := len(h) - 1; i > 0; {
			p := (i - 1) / 2
			if !h[p].before(h[i]) {
				break
			}
			h[i], h[p] = h[p], h[i]
			i = p
		}
		return h
	}
	if !x.before(h[0]) {
		return h
	}
	h[0] = x
	for i := 0; ; {
		m := i
		for c := 2*i + 1; c <= 2*i+2 && c < k; c++ {
			if h[m].before(h[c]) {
				m = c
			}
		}
		if m == i {
			return h
		}
		h[i], h[m] = h[m], h[i]
		i = m
	}
}

// freeing remembers when the nodes will have room for a part of an entry, as of their versions.
type freeing struct {
	o    *option
	part int
	at   []freed
}

type freed struct{ version, at int64 }

const freeings = 16 // parts of entries remembered

func (c *Core) freeing(o *option, part int) []freed {
	for i := range c.frees {
		if f := &c.frees[i]; f.o == o && f.part == part {
			return f.at
		}
	}
	if len(c.frees) == freeings {
		c.frees = append(c.frees[:0], c.frees[1:]...)
	}
	c.frees = append(c.frees, freeing{o, part, make([]freed, len(c.nodes))})
	return c.frees[len(c.frees)-1].at
}

// freeAt is when a node will have room for a member.
func (c *Core) freeAt(n int32, a *ask) (int64, bool) {
	f := &c.room.free[n]
	if c.nodes[n].Chips < a.chips {
		return 0, false
	}
	if c.room.fits(n, a) {
		return 0, true
	}
	runs := append(c.ending[:0], c.onNode[n]...)
	c.ending = runs
	if len(runs) > 1 {
		slices.SortFunc(runs, func(x, y *work) int { return cmp.Or(cmp.Compare(x.goneBy, y.goneBy), cmp.Compare(x.number, y.number)) })
	}
	if c.divided(n, a) {
		return c.freeAtShares(n, a, runs)
	}
	whole, cpu, memo := int(f.whole), f.cpu, f.memo
	for _, r := range runs {
		whole, cpu, memo = r.gives(n, whole, cpu, memo)
		if whole >= a.chips && (!f.counted || cpu >= a.cpu && memo >= a.memo) {
			return r.goneBy, r.goneBy < maxInt
		}
	}
	return 0, false
}

// gives adds what a job of whole chips, or of CPU alone, would leave on a node.
func (w *work) gives(n int32, whole int, cpu, memo int64) (int, int64, int64) {
	for k := range w.seats {
		if w.seats[k].Node == n {
			b := w.opt.askOf(&w.seats[k])
			whole, cpu, memo = whole+b.chips, cpu+b.cpu, memo+b.memo
		}
	}
	return whole, cpu, memo
}

// usable tells which nodes a job may be put on now: all but those held for others, unless it will be gone by then. nil =
// all.
func (c *Core) usable(w *work, o *option) func(int32) bool {
	pool, any := o.pool, false
	for _, h := range c.holds {
		any = any || h.w != w && c.room.pool[h.nodes[0]] == pool
	}
	if !any && len(c.windows) == 0 {
		return nil
	}
	gone := c.goneIf(w, o)
	owed := w.q.guaranteedFor(o)
	return func(n int32) bool {
		for _, h := range c.holds {
			if owed && !h.owed {
				continue // nobody holds against a guarantee
			}
			if h.w != w && gone > h.start && slices.Contains(h.nodes, n) {
				return false
			}
		}
		return c.shut(w, n, c.now, gone) == nil
	}
}

// goneIf is when a job would be gone if it started now, by its P90 or its limit.
func (c *Core) goneIf(w *work, o *option) int64 {
	gone := c.now + c.wall(w, o, w.est.P90)
	if w.Limit > 0 {
		gone = min(gone, c.now+w.Limit)
	}
	if w.Kind == Service {
		gone = maxInt
	}
	return gone
}
