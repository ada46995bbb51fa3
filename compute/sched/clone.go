package sched

import (
	"maps"
	"slices"
)

// clone is a core that goes its own way from here, with another history. Menus, nodes and what jobs declared are shared:
// no core changes them.
func (c *Core) clone(h History) *Core {
	d := *c
	d.history, d.copied = h, true
	d.acts, d.scratch, d.offered, d.promises = nil, nil, nil, nil
	d.price = slices.Clone(c.price)
	d.moves, d.version, d.memo, d.ending = slices.Clone(c.moves), slices.Clone(c.version), evictions{}, nil
	d.victims, d.frees, d.worst = nil, nil, slices.Clone(c.worst)
	d.young, d.follows = nil, false
	t := *c.trust
	d.trust = &t
	d.nodes = slices.Clone(c.nodes)
	d.room = c.room.clone()
	d.seating = c.seating.clone()
	d.menus, d.needs = maps.Clone(c.menus), maps.Clone(c.needs)
	d.menuList = slices.Clone(c.menuList)
	twin := make(map[*work]*work, len(c.jobs))
	d.jobs = make(map[string]*work, len(c.jobs))
	all := make([]work, 0, len(c.jobs))
	for id, w := range c.jobs {
		all = append(all, *w)
		x := &all[len(all)-1]
		x.After = slices.Clone(w.After)
		twin[w], d.jobs[id] = x, x
	}
	d.layTwins(c, twin)
	d.running = make([]*work, len(c.running))
	for i, w := range c.running {
		d.running[i] = twin[w]
	}
	d.onNode = make([][]*work, len(c.onNode))
	for n, list := range c.onNode {
		for _, w := range list {
			d.onNode[n] = append(d.onNode[n], twin[w])
		}
	}
	d.holds = nil
	for _, x := range c.holds {
		if w := twin[x.w]; w != nil {
			d.holds = append(d.holds, &hold{w, x.nodes, x.start, x.owed})
		}
	}
	d.children = make(map[string][]*work, len(c.children))
	for id, list := range c.children {
		for _, w := range list {
			if twin[w] != nil {
				d.children[id] = append(d.children[id], twin[w])
			}
		}
	}
	return &d
}

// layTwins copies queues and organisations with their lanes, and has each job's twin point into its own.
func (c *Core) layTwins(from *Core, twin map[*work]*work) {
	c.queues, c.orgs, c.queueAt = nil, nil, map[string]*queue{}
	orgs := map[*org]*org{}
	for _, o := range from.orgs {
		x := &org{name: o.name, weight: o.weight}
		orgs[o] = x
		c.orgs = append(c.orgs, x)
	}
	for _, q := range from.queues {
		x := *q
		x.org = orgs[q.org]
		x.org.queues = append(x.org.queues, &x)
		x.held, x.ceiling = slices.Clone(q.held), slices.Clone(q.ceiling)
		x.lanes, x.live, x.open = make([]*lane, len(q.lanes)), make([]*lane, len(q.live)), nil
		for i, l := range q.lanes {
			if l == nil {
				continue
			}
			y := *l
			y.heap = make([]*work, len(l.heap))
			for k, w := range l.heap {
				y.heap[k] = twin[w]
			}
			x.lanes[i] = &y
			if len(y.heap) > 0 {
				x.live[y.liveAt] = &y
			}
		}
		x.parked = make([]*work, len(q.parked))
		for i, w := range q.parked {
			x.parked[i] = twin[w]
		}
		c.queues = append(c.queues, &x)
		c.queueAt[x.Name] = &x
	}
	for w, x := range twin {
		x.q = c.queues[w.q.at]
	}
}

func (r *room) clone() *room {
	d := *r
	d.change = slices.Clone(r.change)
	d.free = slices.Clone(r.free)
	for i := range d.free {
		d.free[i].devices = slices.Clone(r.free[i].devices)
	}
	d.pools = slices.Clone(r.pools)
	for i := range d.pools {
		sets := make([][]uint64, len(d.pools[i].sets))
		for k, s := range d.pools[i].sets {
			sets[k] = slices.Clone(s)
		}
		d.pools[i].sets = sets
	}
	return &d
}

// fixed is a history for a core that looks ahead: each job goes on as it was expected to when the look began.
type fixed struct {
	length map[string]int64 // in all, at the reference speed
	rank   map[string]int64
}

func (f *fixed) Arrive(*Job, int, int64)           {}
func (f *fixed) Start(string, int64, int64, int64) {}
func (f *fixed) Stop(string, int64, int64)         {}
func (f *fixed) Finish(string, int64, int64)       {}
func (f *fixed) Forget(string, int64)              {}
func (f *fixed) Rank(id string, _, _ int64) int64  { return f.rank[id] }
func (f *fixed) Estimate(id string, attained, _ int64) Estimate {
	left := max(0, f.length[id]-attained)
	return Estimate{P10: left, P50: left, P90: left, Index: left, Rank: f.rank[id]}
}

// ahead is a clone in which every job takes as long as is expected of it.
func (c *Core) ahead() (*Core, *fixed) {
	f := &fixed{make(map[string]int64, len(c.jobs)), make(map[string]int64, len(c.jobs))}
	for id, w := range c.jobs {
		f.length[id] = c.attained(w) + max(1, w.est.P50)
		if w.Limit > 0 {
			f.length[id] = min(f.length[id], max(c.attained(w)+1, w.Limit))
		}
		f.rank[id] = w.est.Rank
	}
	return c.clone(f), f
}
