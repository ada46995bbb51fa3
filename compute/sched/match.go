package sched

import (
	"cmp"
	"slices"
)

// Prices clear the demand for classes of chips: stage 4. A class that more work would choose than it has chips for
// becomes dearer with each round until some of that work is better off elsewhere; one that stands idle becomes cheaper
// again. At the prices that clear, each job's best entry is that of the linear programme that maximises the work done
// per time (its dual prices): work goes where it is comparatively fast. Prices move by at most a twentieth in a step,
// and stand between rounds.
const (
	priceSteps = 8            // steps in a round
	priceStep  = Micro / 20   // largest change of a step
	priceMost  = 1000 * Micro // times the base, so that nothing runs away
	nearBest   = Micro / 20   // an entry this much dearer than the best is as good
	moveGain   = 2            // a job moves to better chips if that saves so many times what the move costs
)

// market is the demand that one round sees: work by menu.
type market struct {
	menu *menu
	work int64 // reference milliseconds times chips, scaled down
}

// reprice moves the prices by what waits and runs now.
func (c *Core) reprice() {
	if len(c.chips) < 2 {
		return
	}
	demand := c.demand()
	if len(demand) == 0 {
		for i := range c.price {
			c.price[i] = Micro
		}
		return
	}
	load := make([]int64, len(c.chips))
	for range priceSteps {
		clear(load)
		for _, m := range demand {
			if o := c.best(m.menu); o != nil && o.chip >= 0 && o.speed > 0 {
				load[o.chip] += muldiv(m.work, int64(o.size)*Micro, o.speed)
			}
		}
		var all, chips int64
		for i := range load {
			all += load[i]
			chips += c.count[i]
		}
		mean := all / max(1, chips)
		if mean == 0 {
			return
		}
		least := int64(maxInt)
		for i := range load {
			u := load[i] / max(1, c.count[i])
			change := muldiv(min(u, 2*mean), priceStep, mean) - priceStep
			c.price[i] = min(priceMost, max(Micro/1000, c.price[i]+c.price[i]/Micro*change+c.price[i]%Micro*change/Micro))
			least = min(least, c.price[i])
		}
		for i := range c.price { // only what they are to each other matters
			c.price[i] = muldiv(c.price[i], Micro, least)
		}
	}
}

// demand is the work that waits and runs, by menu; empty if nothing waits.
func (c *Core) demand() []market {
	sum, waits := make([]int64, len(c.menuList)), false
	add := func(w *work) {
		sum[w.menu.id] += 1 + muldiv(w.est.P50, int64(max(1, w.menu.largest)), 1000)
	}
	for _, q := range c.queues {
		for _, l := range q.lanes {
			if l == nil {
				continue
			}
			for _, w := range l.heap {
				add(w)
				waits = true
			}
		}
	}
	if !waits {
		return nil
	}
	for _, w := range c.running {
		add(w)
	}
	var out []market
	for i, s := range sum {
		if s > 0 {
			out = append(out, market{c.menuList[i], s})
		}
	}
	return out
}

// cost is what an entry costs for a unit of work at the prices of now, by an objective: money, time or energy, each made
// dearer by how scarce the chips are.
func (c *Core) cost(o *option, by Objective) int64 {
	if o.chip < 0 {
		return 0
	}
	base := int64(Micro)
	switch {
	case (by == Cheapest || by == ByDeadline) && c.chips[o.chip].Value > 0:
		base = c.chips[o.chip].Value
	case by == Greenest && c.chips[o.chip].Watts > 0:
		base = c.chips[o.chip].Watts * 1000
	}
	return muldiv(muldiv(base, c.price[o.chip], Micro), int64(o.size)*Micro, max(1, o.speed))
}

// best is the entry of a menu that is cheapest for the work at the prices, of the largest size there is.
func (c *Core) best(m *menu) *option {
	var best *option
	var least int64
	for i := range m.options {
		o := &m.options[i]
		if best != nil && o.size < best.size {
			break
		}
		if x := c.cost(o, Fastest); best == nil || x < least {
			best, least = o, x
		}
	}
	return best
}

// entries are the entries of a job's menu in the order in which it wants them: the largest size first, inside it the cheapest at the
// prices. near is how many of them are about as good as the best; it takes the others only where chips would stand idle.
func (c *Core) entries(w *work) (list []*option, near int) {
	m := w.menu
	c.scratch = c.scratch[:0]
	for i := range m.options {
		c.scratch = append(c.scratch, &m.options[i])
	}
	if len(m.options) == 1 {
		return c.scratch, 1
	}
	slices.SortStableFunc(c.scratch, func(a, b *option) int {
		return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(c.late(w, a), c.late(w, b)), cmp.Compare(c.cost(a, w.Objective), c.cost(b, w.Objective)), cmp.Compare(b.speed, a.speed))
	})
	best, late := c.cost(c.scratch[0], w.Objective), c.late(w, c.scratch[0])
	for _, o := range c.scratch {
		if x := c.cost(o, w.Objective); c.late(w, o) > late || x > best+muldiv(best, nearBest, Micro) {
			break
		}
		near++
	}
	return c.scratch, near
}

// late is by how much a job that wants to end by its deadline would miss it on an entry, by its P90; 0 for all others.
func (c *Core) late(w *work, o *option) int64 {
	if w.Objective != ByDeadline {
		return 0
	}
	return max(0, c.now+c.wall(w, o, w.est.P90)-w.Deadline)
}

// grow gives elastic work that was started or left with fewer chips than it asked for more of those that stand idle, where that saves
// clearly more than the restart.
func (c *Core) grow() {
	if !slices.ContainsFunc(c.queues, func(q *queue) bool { return q.elastic > 0 }) {
		return
	}
	for _, w := range slices.Clone(c.running) {
		if w.Need.Min == 0 || w.opt.size >= w.menu.largest || w.Fixed || c.now-w.started < c.conf.MinRun {
			continue
		}
		c.larger(w)
	}
}

func (c *Core) larger(w *work) {
	now := c.wall(w, w.opt, w.est.P50)
	for i := range w.menu.options { // from the largest down
		o := &w.menu.options[i]
		if o.size <= w.opt.size {
			return
		}
		more := o.charge
		if o.chip == w.opt.chip {
			more -= w.opt.charge
		}
		if now-c.wall(w, o, w.est.P50) < 2*moveGain*c.conf.restart(o.size) || w.q.held[chipSlot(o.chip)]+more > w.q.ceiling[chipSlot(o.chip)] {
			continue
		}
		c.stand(w) // its own chips count as idle
		seats := c.place(w, o)
		if seats == nil {
			c.sitAgain(w)
			continue
		}
		c.act(w, Preempt, w.ID, Moved)
		c.retire(w)
		c.resume(w, o, seats)
		return
	}
}

// upgrade moves running jobs to chips that stand idle and suit them so much better that the move pays.
func (c *Core) upgrade() {
	if len(c.chips) < 2 {
		return
	}
	for _, w := range slices.Clone(c.running) {
		if w.Fixed || w.Kind != Batch || len(w.menu.options) < 2 || c.now-w.started < c.conf.MinRun {
			continue
		}
		c.better(w)
	}
}

func (c *Core) better(w *work) {
	old := w.opt
	now, price := c.wall(w, old, w.est.P50), c.cost(old, w.Objective)
	list, _ := c.entries(w)
	for _, o := range slices.Clone(list) {
		if o == old || o.size != old.size || c.cost(o, w.Objective) >= price {
			return // it has the best that is to be had
		}
		saved := now - c.wall(w, o, w.est.P50)
		if saved < moveGain*c.conf.restart(o.size) || o.chip != old.chip && !w.q.allows(o) || c.room.pools[o.pool].idle < int64(o.size) {
			continue
		}
		seats := c.place(w, o)
		if seats == nil {
			continue
		}
		c.act(w, Preempt, w.ID, Moved)
		c.vacate(w)
		c.resume(w, o, seats)
		return
	}
}
