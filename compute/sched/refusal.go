package sched

import (
	"fmt"
	"slices"
	"time"
)

// Stage is a stage of a plan, in order: an earlier one is never overruled by a later one.
type Stage uint8

// The stages.
const (
	Feasible Stage = iota + 1
	Entitled
	Ordered
	Matched
	Reserved
	Preempted
	Placed
)

var stages = []string{"", "feasible", "entitled", "ordered", "matched", "reserved", "preempted", "placed"}

func (s Stage) String() string { return stages[s] }

// Explanation is why a job is where it is.
type Explanation struct {
	Job     string
	Running bool
	Stage   Stage  // that refused it last; 0 if it runs, or waits for something other than room
	Bound   string // the constraint that binds, in a word: "hold", "begin", "after", "ceiling", "held", "window", "room", "scattered", "order"
	Have    int64  // of what binds
	Want    int64
	Unit    string // of the two: "chips", "thousandths" of a chip for a job that asks for a share, "ms", "jobs"; empty where they say nothing
	Reason  string // a sentence with the numbers
	Ahead   int    // jobs of its queue that come before it
}

// Explain says why a job waits, as of the last plan. It costs nothing until it is asked.
func (c *Core) Explain(id string) (Explanation, bool) {
	w := c.jobs[id]
	if w == nil {
		return Explanation{}, false
	}
	e := Explanation{Job: id}
	switch {
	case w.status == running:
		e.Running = true
		e.Reason = c.whyHere(w)
	case w.Hold:
		e.Bound, e.Reason = "hold", "It is held until somebody releases it."
	case w.doomed != "":
		e.Bound, e.Reason = "after", fmt.Sprintf("It waits for job %s, which did not succeed: it will never start. Cancel it, or submit it anew.", w.doomed)
	case len(w.After) > 0:
		e.Bound, e.Reason = "after", fmt.Sprintf("It waits for job %s to succeed.", w.After[0])
	case w.NotBefore > c.now:
		e.Bound, e.Want, e.Unit = "begin", w.NotBefore-c.now, "ms"
		e.Reason = fmt.Sprintf("It begins in %s at the earliest.", span(e.Want))
	default:
		c.refused(w, &e)
	}
	return e, true
}

// forEver is a time that nothing here lasts, and that fits a time.Duration: replicas have no end.
const forEver = 100 * 365 * 24 * 3_600_000

func span(ms int64) time.Duration {
	d := time.Duration(min(ms, forEver)) * time.Millisecond
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute)
	case d >= 10*time.Second:
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}

// whyHere says what a running job has and by which right.
func (c *Core) whyHere(w *work) string {
	o := w.opt
	what := "CPU alone"
	if o.chip >= 0 {
		what = fmt.Sprintf("%s of chip %s", amount(o.charge), c.chips[o.chip].Name)
	}
	s := fmt.Sprintf("It runs on %s at site %s%s", what, c.sites[o.site], c.linkWords(w))
	if best := c.best(w.menu); len(w.menu.options) > 1 && best != nil && best.chip >= 0 && o.chip >= 0 {
		switch {
		case best.chip == o.chip:
			s += ", the best for it at the prices of now"
		default:
			s += fmt.Sprintf("; at the prices of now %s would suit it better", c.chips[best.chip].Name)
		}
	}
	if slot := chipSlot(o.chip); w.q.guarantee[slot] > 0 || len(c.queues) > 1 {
		if over := w.q.held[slot] - w.q.guarantee[slot]; over > 0 {
			s += fmt.Sprintf(". Its queue holds %s beyond its guarantee of %s, and gives them back when they are claimed", amount(over), amount(w.q.guarantee[slot]))
		} else {
			s += fmt.Sprintf(". Its queue is within its guarantee of %s", amount(w.q.guarantee[slot]))
		}
	}
	return s + "."
}

// linkWords says over how many link groups the chips lie that a job has of one node; nothing where there are no groups.
func (c *Core) linkWords(w *work) string {
	if len(w.seats) != 1 || w.seats[0].Chips < 2 || c.room.links[w.seats[0].Node] == nil {
		return ""
	}
	groups := 0
	for _, g := range c.nodes[w.seats[0].Node].Links {
		if slices.ContainsFunc(g, func(d int) bool { return slices.Contains(w.seats[0].Devices, int32(d)) }) {
			groups++
		}
	}
	if groups == 1 {
		return " inside one link group"
	}
	return fmt.Sprintf(" over %d link groups", groups)
}

// refused finds, over the job's menu, the entry that got furthest and what stopped it there.
func (c *Core) refused(w *work, e *Explanation) {
	e.Ahead = c.aheadOf(w)
	list, near := c.entries(w)
	for i := range list {
		x := *e
		c.refusedEntry(w, list[i], i < near, &x)
		if e.Stage == 0 || x.Stage > e.Stage {
			*e = x
		}
	}
}

// aheadOf counts the jobs of a queue that come before one of them. Whoever asks for a second one, with nothing changed since,
// asks for many: then they are sorted once.
func (c *Core) aheadOf(w *work) (n int) {
	q := w.q
	if w.heapAt >= 0 && q.counted == q.changes {
		if q.sorted != q.changes {
			c.number(q)
		}
		return w.ahead
	}
	q.counted = q.changes
	for _, l := range q.live {
		for _, x := range l.heap {
			if x != w && c.before(x, w) {
				n++
			}
		}
	}
	return n
}

// number notes of each job of a queue that waits for room how many come before it.
func (c *Core) number(q *queue) {
	all := make([]*work, 0, q.waits)
	for _, l := range q.live {
		all = append(all, l.heap...)
	}
	slices.SortFunc(all, func(a, b *work) int {
		if c.before(a, b) {
			return -1
		}
		return 1
	})
	for i, w := range all {
		w.ahead = i
	}
	q.sorted = q.changes
}

func (c *Core) refusedEntry(w *work, o *option, near bool, e *Explanation) {
	slot, pool := chipSlot(o.chip), o.pool
	name, site := "CPU", c.sites[o.site]
	if o.chip >= 0 {
		name = "chip " + c.chips[o.chip].Name
	}
	fits, most := c.couldSit(pool, o)
	idle := c.room.pools[pool].idle
	switch {
	case w.q.held[slot]+o.charge > w.q.ceiling[slot]:
		e.Stage, e.Bound = Entitled, "ceiling"
		e.Have, e.Want, e.Unit = o.counted(w.q.ceiling[slot]-w.q.held[slot], o.charge)
		e.Reason = fmt.Sprintf("Queue %s may hold %s of %s, holds %s, and the job asks for %s.", w.q.Name, amount(w.q.ceiling[slot]), name, amount(w.q.held[slot]), amount(o.charge))
	case fits && c.heldFor(w, o) != nil:
		h := c.heldFor(w, o)
		e.Stage, e.Bound, e.Have, e.Want = Reserved, "held", h.start-c.now, c.lasts(w, o)
		e.Unit = "ms"
		e.Reason = fmt.Sprintf("What would fit is held for job %s, which starts there within %s, and this job may take %s.", h.w.ID, span(e.Have), span(e.Want))
	case fits && c.windowFor(w, o) != nil:
		x := c.windowFor(w, o)
		e.Stage, e.Bound, e.Have, e.Want = Reserved, "window", max(0, x.From-c.now), c.lasts(w, o)
		e.Unit = "ms"
		begins := "which has begun"
		if e.Have > 0 {
			begins = "which begins in " + span(e.Have).String()
		}
		e.Reason = fmt.Sprintf("What would fit is kept for %s, %s and ends in %s, and this job may take %s.", x.ID, begins, span(x.Until-c.now), span(e.Want))
	case fits && e.Ahead > 0:
		e.Stage, e.Bound, e.Have, e.Want, e.Unit = Ordered, "order", 0, int64(e.Ahead), "jobs"
		e.Reason = fmt.Sprintf("%d jobs of queue %s come before it.", e.Ahead, w.q.Name)
		if e.Ahead == 1 {
			e.Reason = fmt.Sprintf("1 job of queue %s comes before it.", w.q.Name)
		}
	case fits:
		e.Stage, e.Bound = Matched, "price"
		e.Reason = fmt.Sprintf("There is room on %s at site %s, and the next plan will look at it.", name, site)
	case o.shares():
		e.Stage, e.Bound, e.Have, e.Want, e.Unit = Placed, "room", c.roomiest(pool), o.charge, "thousandths"
		e.Reason = fmt.Sprintf("No %s at site %s has %d thousandths free beside the CPU and memory that the job needs; the most free of one is %d.", name, site, e.Want, e.Have)
	case o.mixed && idle >= int64(o.size):
		e.Stage, e.Bound, e.Have, e.Want, e.Unit = Placed, "scattered", int64(c.together(pool, o)), int64(o.size), "chips"
		e.Reason = fmt.Sprintf("%s free at site %s, but not on whole nodes: those that are free and one more have %d%s, and the job needs %d.",
			areOf(idle, name), site, e.Have, inside(o.within), o.size)
	case idle >= int64(o.size) && o.size > 0:
		e.Stage, e.Bound, e.Have, e.Want, e.Unit = Placed, "scattered", int64(most), int64(o.parts[0].ask.chips), "chips"
		e.Reason = fmt.Sprintf("%s free at site %s, but not side by side: a node has at most %d free, and the job needs %s.", areOf(idle, name), site, most, shape(o))
	default:
		e.Stage, e.Bound, e.Have, e.Want, e.Unit = Placed, "room", idle, int64(o.size), "chips"
		e.Reason = fmt.Sprintf("%s free at site %s and the job needs %d.", areOf(idle, name), site, o.size)
		if o.size == 0 {
			e.Reason = fmt.Sprintf("No node at site %s has the CPU and memory left that the job needs.", site)
		}
	}
	if e.Stage == Placed {
		e.Reason += c.whyNoVictims(w, o)
	}
}

// areOf counts chips of a class, with the verb.
func areOf(n int64, class string) string {
	if n == 1 {
		return "1 of " + class + " is"
	}
	return fmt.Sprintf("%d of %s are", n, class)
}

// couldSit says whether an option has room when holds are left aside, and the largest number of free chips of one node.
func (c *Core) couldSit(pool int32, o *option) (bool, int) {
	most := 0
	for k := len(c.room.pools[pool].sets) - 1; k >= 0 && most == 0; k-- {
		for _, word := range c.room.pools[pool].sets[k] {
			if word != 0 {
				most = k
			}
		}
	}
	seats := c.seatAll(pool, o, nil)
	c.unplace(o, seats)
	return seats != nil, most
}

// heldFor is the hold that keeps a job off what it would fit on.
func (c *Core) heldFor(w *work, o *option) *hold {
	may := c.usable(w, o)
	if may == nil {
		return nil
	}
	pool := o.pool
	if seats := c.seatAll(pool, o, may); seats != nil {
		c.unplace(o, seats)
		return nil
	}
	for _, h := range c.holds {
		if h.w != w && len(h.nodes) > 0 && c.room.pool[h.nodes[0]] == pool && c.goneIf(w, o) > h.start {
			return h
		}
	}
	return nil
}

// windowFor is the window that keeps a job off what it would fit on.
func (c *Core) windowFor(w *work, o *option) *window {
	a := &o.parts[0].ask
	if o.mixed {
		a = &o.parts[len(o.parts)-1].ask
	}
	for _, n := range c.pools[o.pool].nodes {
		if x := c.shut(w, n, c.now, c.goneIf(w, o)); x != nil && c.room.fits(n, a) {
			return x
		}
	}
	return nil
}

// lasts is how long a job may take on an option, by its P90 or its limit.
func (c *Core) lasts(w *work, o *option) int64 {
	t := c.wall(w, o, w.est.P90)
	if w.Limit > 0 {
		t = min(t, w.Limit)
	}
	return t
}

// inside says which part of the topology a job must not leave.
func inside(l Level) string {
	if l != SameRack && l != SameBlock {
		return ""
	}
	return " inside one " + l.String()
}

func shape(o *option) string {
	p := o.parts[0]
	if p.members == 1 && len(o.parts) == 1 {
		if p.ask.share < Whole {
			return fmt.Sprintf("%d thousandths of one", p.ask.share)
		}
		return fmt.Sprintf("%d on one node", p.ask.chips)
	}
	s := fmt.Sprintf("%d nodes with %d free each", p.members, p.ask.chips)
	if len(o.parts) > 1 {
		s += fmt.Sprintf(" and one with %d", o.parts[1].ask.chips)
	}
	return s
}

// whyNoVictims says why nothing of other queues makes way.
func (c *Core) whyNoVictims(w *work, o *option) string {
	if w.q.guaranteedFor(o) {
		young := 0
		for _, v := range c.running {
			if slot := chipSlot(o.chip); v.q != w.q && v.opt.chip == o.chip && v.opt.site == o.site &&
				v.q.held[slot] > v.q.guarantee[slot] && c.now-v.runSince < c.conf.MinRun {
				young++
			}
		}
		switch young {
		case 0:
			return ""
		case 1:
			return fmt.Sprintf(" Its queue is owed the room; 1 job that borrows it has not yet run for %s.", span(c.conf.MinRun))
		}
		return fmt.Sprintf(" Its queue is owed the room; %d jobs that borrow it have not yet run for %s.", young, span(c.conf.MinRun))
	}
	switch slot := chipSlot(o.chip); {
	case w.q.guarantee[slot] == 0 || !slices.ContainsFunc(c.running, func(v *work) bool { return v.q != w.q && v.opt.pool == o.pool }):
	case w.q.held[slot] >= w.q.guarantee[slot]:
		return fmt.Sprintf(" Its queue has its guarantee of %s, so work of other queues does not make way for it.", amount(w.q.guarantee[slot]))
	default:
		return fmt.Sprintf(" With it its queue would hold %s beyond its guarantee of %s, and for that work of other queues does not make way.",
			amount(w.q.held[slot]+o.charge-w.q.guarantee[slot]), amount(w.q.guarantee[slot]))
	}
	return ""
}

func (q *queue) guaranteedFor(o *option) bool {
	return q.guarantee[chipSlot(o.chip)] > 0 && q.within(o)
}
