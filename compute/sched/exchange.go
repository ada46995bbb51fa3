package sched

import "slices"

// exchange lets two running jobs of one queue trade chips, or one make place for another and go to chips that stand idle,
// where both together come off sooner by more than the restarts cost. Done once a round; pairs bounds the work.
func (c *Core) exchange() {
	if len(c.chips) < 2 {
		return
	}
	pairs := 200_000
	for _, w := range slices.Clone(c.running) {
		if w.status != running || !c.movable(w) {
			continue
		}
		if t := c.trade(w, &pairs); t.gain > 0 {
			c.carry(w, &t)
		}
		if pairs <= 0 {
			return
		}
	}
}

// swap is what a job would gain by another's place.
type swap struct {
	v        *work
	to, from *option // of w, and of v
	gain     int64
}

func (c *Core) movable(w *work) bool {
	return !w.Fixed && w.Kind == Batch && len(w.menu.options) > 1 && c.now-w.started >= c.conf.MinRun && len(w.seats) == 1
}

// trade finds the best swap for a job: by what both have left on the old and on the new chips.
func (c *Core) trade(w *work, pairs *int) (best swap) {
	mine := c.wall(w, w.opt, left(w))
	price := c.cost(w.opt, w.Objective)
	cost := c.conf.restart(w.opt.size)
	for i := range w.menu.options {
		o := &w.menu.options[i]
		if o == w.opt || o.size != w.opt.size || c.cost(o, w.Objective) >= price && c.idleOf(w.opt) {
			continue
		}
		saved := mine - c.wall(w, o, left(w))
		if saved <= best.gain+2*moveGain*cost {
			continue
		}
		for _, v := range c.running {
			if v.opt.chip != o.chip || v.opt.site != o.site || v.q != w.q || v.opt.size != o.size || v == w || v.Priority > w.Priority || !c.movable(v) {
				continue
			}
			*pairs--
			theirs := c.wall(v, v.opt, left(v))
			for k := range v.menu.options {
				x := &v.menu.options[k]
				if x == v.opt || x.size != v.opt.size || (x.chip != w.opt.chip || x.site != w.opt.site) && (!c.idleOf(x) || !v.q.allows(x)) {
					continue
				}
				gain := saved + theirs - c.wall(v, x, left(v)) - 2*moveGain*cost
				if gain > best.gain {
					best = swap{v, o, x, gain}
				}
			}
		}
	}
	return best
}

// allows says whether a queue stays below its ceiling with an option more.
func (q *queue) allows(o *option) bool {
	return q.held[chipSlot(o.chip)]+o.charge <= q.ceiling[chipSlot(o.chip)]
}

// left is what a job is taken to have left for weighing moves: between the middle and the late quantile, for durations
// have long tails.
func left(w *work) int64 { return (w.est.P50 + w.est.P90) / 2 }

func (c *Core) idleOf(o *option) bool { return c.room.pools[o.pool].idle >= int64(o.size) }

// carry carries a swap out, if both find their places; else both stay as they are.
func (c *Core) carry(w *work, t *swap) {
	v := t.v
	c.stand(w)
	c.stand(v)
	mine := c.place(w, t.to)
	var theirs []Seat
	if mine != nil {
		theirs = c.place(v, t.from)
	}
	if theirs == nil {
		c.unplace(t.to, mine)
		c.sitAgain(w)
		c.sitAgain(v)
		return
	}
	for _, x := range []*work{w, v} {
		c.act(x, Preempt, w.ID, Moved)
		c.retire(x)
	}
	c.resume(w, t.to, mine)
	c.resume(v, t.from, theirs)
}

// resume starts a job again that was moved: its claim to run undisturbed counts from before.
func (c *Core) resume(w *work, o *option, seats []Seat) {
	since := w.runSince
	w.saved, w.since = w.Attained, c.now
	c.occupy(w, o, seats)
	w.runSince = since
	c.act(w, Start, "", Moved)
}
