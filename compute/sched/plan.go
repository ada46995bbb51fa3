package sched

import "slices"

// Verb is what an Action does.
type Verb uint8

// The verbs.
const (
	Start   Verb = iota + 1 // on the seats
	Preempt                 // its seats go to For; it waits again
)

// Action is one thing to be done; a Plan's are done in order.
type Action struct {
	Verb  Verb
	Job   string
	Seats []Seat
	Chip  string // class of the chips, empty without
	Site  string
	Size  int
	For   string // of a Preempt: the job whose placement it completes
	Why   Why
}

// Why is the ground of an action.
type Why uint8

// The grounds.
const (
	Fair      Why = iota // its queue was the next, it was the first that could start
	Backfill             // it started on chips held for another, by whose start it will be gone
	Owed                 // its queue was below its guarantee
	Outranked            // a job of a higher priority or rank took its place
	Replica              // a deployment needed it
	Moved                // chips that suit it better stood idle
)

// Plan is what a core decides at a moment.
type Plan struct {
	Now     int64
	Actions []Action
	Next    int64 // the next time at which it may decide otherwise without being told anything
}

// Plan decides what starts and what makes way. The core takes its own decisions for done: a start that fails is told by
// Requeue. The stages are those of the package's description, in their order.
func (c *Core) Plan(now int64) Plan {
	// 1. What is feasible was found when the jobs came: their menus. What waits for other things is looked at again.
	c.settle(now)
	c.acts = nil
	if len(c.windows) > 0 && c.now >= c.edge { // a window began or ended
		c.edge = c.nextWindow()
		c.tryAll()
	}
	if c.now >= c.ripe { // what was protected may make way
		c.tryAll()
	}
	for _, q := range c.queues {
		if len(q.parked) > 0 {
			c.unpark(q)
		}
	}
	if c.now >= c.round {
		c.startRound()
	}
	// 2. to 5. and 7. The next queue, its first job, its best entry, beside what is held, on the tightest place.
	due := c.renewed
	c.fill()
	if due {
		c.grow()
		c.upgrade()
		c.exchange()
	}
	// 6. Guarantees and priorities take their due from what runs.
	c.preempt()
	c.renewed, c.ranked, c.ripe = false, false, c.ripens()
	return Plan{Now: c.now, Actions: c.acts, Next: c.due()}
}

// rankEvery is how many rounds there are for each in which running jobs are ranked anew and may be preempted by rank.
const rankEvery = 3

// startRound renews what stands between rounds: decayed usage, ranks, prices, holds.
func (c *Core) startRound() {
	for c.round <= c.now {
		c.decay()
		c.round += c.conf.Round
	}
	c.stats.Rounds++
	c.renewed, c.ranked = true, c.stats.Rounds%rankEvery == 0
	for _, q := range c.queues {
		if q.waits > 0 && !c.still {
			c.rerank(q)
		}
	}
	if c.ranked {
		c.rankAnew()
	}
	c.reprice()
	c.learn()
	c.seating.learn()
	c.dropHolds()
	c.forgetMenus()
	c.tryAll()
}

// rankAnew asks history for the ranks of what runs where somebody waits.
func (c *Core) rankAnew() {
	wanted := c.wanted()
	clear(c.worst)
	for _, w := range c.running {
		if c.now >= w.lookAt && !c.still && wanted[c.room.pool[w.seats[0].Node]] {
			c.lookRunning(w)
		}
		key := w.key
		if w.Priority < 0 { // it makes way whatever its rank
			key = maxInt
		}
		for i := range w.seats {
			c.worst[w.seats[i].Node] = max(c.worst[w.seats[i].Node], key)
		}
	}
}

// wanted says which pools somebody waits for: elsewhere nobody asks what the running jobs' ranks are.
func (c *Core) wanted() []bool {
	out := make([]bool, len(c.pools))
	for _, q := range c.queues {
		for _, l := range q.live {
			for _, p := range l.menu.pools {
				out[p] = true
			}
		}
	}
	return out
}

// due is when the core should be asked again though nothing happened.
func (c *Core) due() int64 {
	at := c.appointed()
	for _, q := range c.queues {
		if q.waits > 0 {
			at = min(at, c.round)
		}
	}
	return at
}

// appointed is the next time at which something may start because of the time alone: a window begins or ends before those
// that wait for room, a job may begin, or what runs may make way.
func (c *Core) appointed() int64 {
	at := c.ripe
	for _, q := range c.queues {
		for _, w := range q.parked {
			if w.NotBefore > c.now {
				at = min(at, w.NotBefore)
			}
		}
		if q.waits > 0 {
			at = min(at, c.nextWindow())
		}
	}
	return at
}

// fill starts what can start: first on the chips that suit it best at the prices, then on what would stand idle.
func (c *Core) fill() {
	for c.idle = false; ; c.idle = true {
		for _, q := range c.queues {
			q.openLanes(c)
		}
		for {
			q, w := c.next()
			if q == nil {
				break
			}
			l := q.lane(w.menu)
			if c.start(w, l) {
				continue
			}
			c.stats.Refused++
			if c.backfill(w, l) {
				continue
			}
			*l.mark(c.idle) = c.stamp(w.menu, c.room.change)
			if c.idle || len(c.chips) < 2 || len(w.menu.options) == 1 {
				c.hold(w)
			}
		}
		if c.idle || len(c.chips) < 2 {
			return
		}
	}
}

// backfillMost bounds how many of a lane are looked at behind its first.
const backfillMost = 32

// backfill starts a shorter job of a lane whose first is kept off room only because it would take too long there.
func (c *Core) backfill(first *work, l *lane) bool {
	if len(c.holds) == 0 && len(c.windows) == 0 || !c.idleFor(l.menu) {
		return false
	}
	failed := first
	for i := 0; i < min(len(l.heap), backfillMost); i++ {
		w := l.heap[i]
		if w == first || c.lasting(w) >= c.lasting(first) || c.noFreer(w, first) || c.noFreer(w, failed) {
			continue
		}
		if c.start(w, l) {
			return true
		}
		failed = w
	}
	return false
}

// noFreer says that a job of a menu cannot start where another of it could not: whatever kept the other off nodes keeps it
// off them too, and its menu is such that more nodes never make it harder to place.
func (c *Core) noFreer(w, other *work) bool {
	if len(c.windows) > 0 || !c.idle && len(w.menu.options) > 1 {
		return false
	}
	for i := range w.menu.options {
		o := &w.menu.options[i]
		if o.mixed || len(o.parts) > 1 || o.parts[0].members > 1 && o.within != AnyLevel && o.within != SameSite {
			return false
		}
		gone, others := c.goneIf(w, o), c.goneIf(other, o)
		for _, h := range c.holds {
			if h.w != other && others > h.start && (h.w == w || gone <= h.start) && c.room.pool[h.nodes[0]] == o.pool {
				return false
			}
		}
	}
	return true
}

// idleFor says whether some pool has as many chips idle as an entry of the menu takes there.
func (c *Core) idleFor(m *menu) bool {
	for i := range m.options {
		o := &m.options[i]
		if o.size == 0 || o.parts[0].ask.share < Whole || c.room.pools[o.pool].idle >= int64(o.size) {
			return true
		}
	}
	return false
}

// lasting is how long a job may take, by its P90 or its limit.
func (c *Core) lasting(w *work) int64 {
	if w.Limit > 0 {
		return min(w.Limit, w.est.P90)
	}
	return w.est.P90
}

// start tries the entries of a job's menu, best first.
func (c *Core) start(w *work, l *lane) bool {
	list, near := c.entries(w)
	if !c.idle {
		list = list[:near]
	}
	if w.menu.largest == 0 {
		list = c.cpuFirst(w, list)
	}
	for _, o := range list {
		slot := chipSlot(o.chip)
		if held := w.q.held[slot]; held+o.charge > w.q.ceiling[slot] {
			continue
		}
		if seats := c.place(w, o); seats != nil {
			c.dequeue(w)
			c.occupy(w, o, seats)
			c.act(w, Start, "", c.ground(w))
			return true
		}
	}
	return false
}

// ground is why a job starts: it would be passed over, but for the reason told.
func (c *Core) ground(w *work) Why {
	switch {
	case w.Kind == Service:
		return Replica
	case w.q.held[chipSlot(w.opt.chip)] <= w.q.guarantee[chipSlot(w.opt.chip)]:
		return Owed
	}
	for _, h := range c.holds {
		for _, s := range w.seats {
			if h.w != w && slices.Contains(h.nodes, s.Node) {
				return Backfill
			}
		}
	}
	return Fair
}

func (c *Core) act(w *work, v Verb, beneficiary string, why Why) {
	a := Action{Verb: v, Job: w.ID, Seats: w.seats, Site: c.sites[w.opt.site], Size: w.opt.size, For: beneficiary, Why: why}
	if w.opt.chip >= 0 {
		a.Chip = c.chips[w.opt.chip].Name
	}
	c.acts = append(c.acts, a)
}

// place seats all members of a job on an option, or none. Stage 7. Nodes held for others are used only if the job will be
// gone by then.
func (c *Core) place(w *work, o *option) []Seat {
	return c.seatAll(o.pool, o, c.usable(w, o))
}

// seatAll takes seats for all members of an option on the nodes that may be used, or none.
func (c *Core) seatAll(pool int32, o *option, may func(int32) bool) []Seat {
	if o.size > 0 && o.parts[0].ask.share == Whole && c.room.pools[pool].idle < int64(o.size) {
		return nil
	}
	var seats []Seat
	switch {
	case o.mixed:
		seats = c.spread(pool, o, may)
	case c.seating != nil:
		seats = c.seating.choose(c, o, may)
	default:
		seats = c.tightest(pool, o, may)
	}
	if seats == nil || !c.within(seats, o.within) {
		return nil
	}
	for k := range seats {
		a := o.askOf(&seats[k])
		if !c.sit(&seats[k], &a) {
			c.unplace(o, seats[:k])
			return nil
		}
	}
	return seats
}

// tightest proposes the nodes with the least room that suffices.
func (c *Core) tightest(pool int32, o *option, may func(int32) bool) []Seat {
	var seats []Seat
	for i := range o.parts {
		pt := &o.parts[i]
		for range pt.members {
			n := c.room.find(pool, &pt.ask, func(n int32) bool {
				return (may == nil || may(n)) && !slices.ContainsFunc(seats, func(s Seat) bool { return s.Node == n })
			})
			if n < 0 {
				return nil
			}
			seats = append(seats, c.room.propose(n, &pt.ask))
		}
	}
	return seats
}

// unplace gives back what a trial took. Nothing that others were refused has become possible by it.
func (c *Core) unplace(o *option, seats []Seat) {
	if len(seats) == 0 {
		return
	}
	pool := o.pool
	before := c.room.change[pool]
	for k := range seats {
		a := o.askOf(&seats[k])
		c.leave(&seats[k], &a)
	}
	c.room.change[pool] = before
}
