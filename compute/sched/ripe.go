package sched

import (
	"cmp"
	"slices"
)

// claim is a running job that may not be preempted yet, with the begin of the run that protects it.
type claim struct {
	w     *work
	since int64
}

// lent says who of those that wait may take a pool's chips back from other queues.
type lent struct {
	q       *queue // one of them
	several bool   // of more than one queue
}

// ripens is when a plan may take what this one could not: the next end of a minimum run of a job whose place somebody
// waits for by a guarantee, a priority or as a replica; maxInt if there is none. It is in whole seconds: many that began
// one after another are one question.
func (c *Core) ripens() int64 {
	back, own := c.claimants()
	if back == nil {
		c.young, c.follows = nil, false
		return maxInt
	}
	c.followYoung()
	past := 0
	for past < len(c.young) && !c.protected(&c.young[past]) {
		past++
	}
	c.young = c.young[past:]
	for i := range c.young {
		if y := &c.young[i]; c.protected(y) && y.w.wanted(&back[y.w.opt.pool], own) {
			return (y.since + c.conf.MinRun + 999) / 1000 * 1000
		}
	}
	return maxInt
}

// claimants are those whose right to take another's place waits for its minimum run alone: by pool those of guarantees,
// and the jobs that may displace their own queue's. Only the first of each lane is tried, so only it counts. The first
// answer is nil if there are none.
func (c *Core) claimants() (back []lent, own []*work) {
	for _, q := range c.queues {
		for _, l := range q.live {
			w := l.heap[0]
			higher, owed := w.Kind == Service || w.Priority > 0, len(c.queues) > 1 && q.guaranteed(w)
			if !higher && !owed {
				continue
			}
			if back == nil {
				back = make([]lent, len(c.pools))
			}
			if higher {
				own = append(own, w)
			}
			if owed {
				for _, p := range l.menu.pools {
					b := &back[p]
					b.several = b.several || b.q != nil && b.q != q
					b.q = q
				}
			}
		}
	}
	return back, own
}

// followYoung has c.young hold all running jobs that are protected, the oldest first. It is kept up by occupy while
// somebody asks for it, and made anew after that.
func (c *Core) followYoung() {
	if c.follows {
		return
	}
	c.follows, c.young = true, c.young[:0]
	for _, w := range c.running {
		if y := (claim{w, w.runSince}); c.protected(&y) {
			c.young = append(c.young, y)
		}
	}
	slices.SortFunc(c.young, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.w.number, b.w.number))
	})
}

// protected says whether a claim stands: the run is the one it began with, and within its minimum.
func (c *Core) protected(y *claim) bool {
	return y.w.status == running && y.w.runSince == y.since && y.since+c.conf.MinRun > c.now
}

// wanted says whether somebody may take a running job's place once its minimum run is over.
func (w *work) wanted(back *lent, own []*work) bool {
	slot := chipSlot(w.opt.chip)
	if back.q != nil && (back.several || back.q != w.q) && w.q.held[slot] > w.q.guarantee[slot] {
		return true
	}
	return !w.Fixed && w.Kind != Service && slices.ContainsFunc(own, func(x *work) bool {
		return x.q == w.q && (x.Kind == Service || x.Priority > w.Priority) && slices.Contains(x.menu.pools, w.opt.pool)
	})
}
