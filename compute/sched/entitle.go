package sched

import (
	"cmp"
	"slices"
)

// org is an organisation among the queues.
type org struct {
	name   string
	weight int64
	queues []*queue
}

// queue is a Queue with what it uses.
type queue struct {
	Queue
	org       *org
	at        int
	guarantee []int64 // by chipSlot, like all amounts here in thousandths of a chip: a share counts as what it is
	ceiling   []int64 // by chipSlot; maxInt = none
	held      []int64 // in use, by chipSlot
	fast      int64   // in use by jobs of the fast lane
	all       int64   // in use
	used      int64   // micro-units, decayed, of what was held beyond the guarantee
	lanes     []*lane // waiting jobs by menu
	live      []*lane // of them those that have any, in no order
	open      []*lane // of them those whose first may be tried, while a plan fills
	changes   int64   // counts what may have changed the order of those that wait
	counted   int64   // changes when somebody asked for a job's place in it last
	sorted    int64   // changes when all places were noted last
	elastic   int     // jobs that run and may run on fewer chips than they asked for
	waits     int
	parked    []*work // waiting for something other than room: held, not before, after others
}

func (c *Core) layQueues(list []Queue) {
	list = slices.SortedFunc(slices.Values(list), func(a, b Queue) int { return cmp.Compare(a.Name, b.Name) })
	orgs := map[string]*org{}
	for i, in := range list {
		q := &queue{Queue: in, at: i, guarantee: make([]int64, len(c.chips)+1), ceiling: make([]int64, len(c.chips)+1), held: make([]int64, len(c.chips)+1)}
		q.Weight, q.Reserve = cmp.Or(q.Weight, Micro), cmp.Or(q.Reserve, c.conf.Reserve)
		for k := range q.ceiling {
			q.ceiling[k] = maxInt
		}
		for _, g := range in.Guarantee {
			q.guarantee[chipSlot(c.chipAt[g.Chip])] = g.Chips * Whole
		}
		for _, g := range in.Ceiling {
			q.ceiling[chipSlot(c.chipAt[g.Chip])] = g.Chips * Whole
		}
		o := orgs[in.Org]
		if o == nil {
			o = &org{name: in.Org, weight: cmp.Or(in.OrgWeight, Micro)}
			orgs[in.Org] = o
			c.orgs = append(c.orgs, o)
		}
		q.org = o
		o.queues = append(o.queues, q)
		c.queues = append(c.queues, q)
		c.queueAt[q.Name] = q
	}
	slices.SortFunc(c.orgs, func(a, b *org) int { return cmp.Compare(a.name, b.name) })
}

// add counts a job that starts (1) or ends (-1).
func (q *queue) add(w *work, sign int64) {
	slot := chipSlot(w.opt.chip)
	q.held[slot] += sign * w.opt.charge
	q.all += sign * w.opt.charge
	if w.Need.Min > 0 {
		q.elastic += int(sign)
	}
	if w.fast {
		q.fast += sign * w.opt.charge
	}
}

// surplus is what a queue holds beyond its guarantees, in micro-units an hour: guarantees are counted in chips, only what
// goes beyond them in value.
func (c *Core) surplus(q *queue) (rate int64) {
	for i, ch := range c.chips {
		if over := q.held[chipSlot(i)] - q.guarantee[chipSlot(i)]; over > 0 {
			rate += muldiv(over, max(1, ch.Value), Whole)
		}
	}
	return rate
}

const hour = 3_600_000

// settle brings the clock and what queues used up to a time.
func (c *Core) settle(now int64) {
	if now <= c.now {
		return
	}
	for _, q := range c.queues {
		q.used += muldiv(c.surplus(q), now-c.now, hour)
	}
	c.now = now
}

// decay lets what was used count less: by the part of the half-life that a round is.
func (c *Core) decay() {
	// 2^(-x) for x = round/half-life, by the series of exp(-x ln 2) up to the third power; ln 2 in Micro is 693147.
	x := muldiv(c.conf.Round, 693_147, c.conf.HalfLife)
	left := Micro - x + x*x/(2*Micro) - muldiv(x*x/Micro, x, 6*Micro)
	for _, q := range c.queues {
		q.used = muldiv(q.used, max(0, left), Micro)
	}
}

// burden is how much of its share a queue has had: what it used, and what it holds as if it had held it for the Horizon,
// by its weight.
func (c *Core) burden(q *queue) int64 {
	return muldiv(q.used+muldiv(c.surplus(q), c.conf.Horizon, hour), Micro, q.Weight)
}

func (c *Core) orgBurden(o *org) (sum int64) {
	for _, q := range o.queues {
		sum += q.used + muldiv(c.surplus(q), c.conf.Horizon, hour)
	}
	return muldiv(sum, Micro, o.weight)
}

// within says whether a queue stays inside its guarantee with an option more.
func (q *queue) within(o *option) bool {
	slot := chipSlot(o.chip)
	return q.held[slot]+o.charge <= q.guarantee[slot]
}

// next is the queue that is to choose now, and its candidate: of those with something to try, one that stays within its guarantee before
// all others, then the organisation and inside it the queue that is furthest below its share. Stage 2.
func (c *Core) next() (*queue, *work) {
	var best *queue
	var chosen *work
	var bestOrg, bestOwn int64
	bestFirst := false
	for _, q := range c.queues {
		w := q.candidate(c)
		if w == nil {
			continue
		}
		if len(c.queues) == 1 {
			return q, w
		}
		first := q.guaranteed(w)
		ob, own := c.orgBurden(q.org), c.burden(q)
		better := best == nil || first && !bestFirst
		if !better && first == bestFirst {
			better = cmp.Or(cmp.Compare(ob, bestOrg), cmp.Compare(q.org.name, best.org.name), cmp.Compare(own, bestOwn)) < 0
		}
		if better {
			best, chosen, bestOrg, bestOwn, bestFirst = q, w, ob, own, first
		}
	}
	return best, chosen
}

// guaranteed says whether some option of a job lies within the queue's guarantee.
func (q *queue) guaranteed(w *work) bool {
	for i := range w.menu.options {
		if q.within(&w.menu.options[i]) {
			return true
		}
	}
	return false
}
