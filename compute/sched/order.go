package sched

import "slices"

// lane holds the waiting jobs of a queue that have one menu, the first of them in front. If the first does not fit
// anywhere, none of them does.
type lane struct {
	menu    *menu
	heap    []*work
	liveAt  int   // in its queue's live lanes, while it has jobs
	refused int64 // the stamp of the room's changes when the first was refused what suits it best last
	all     int64 // the same of when it was refused everything
	tried   int64 // the stamp of moves when the first could displace nothing last
}

// before is the order inside a queue, stage 3: starved, priority, the fast lane, a deadline that presses, the rank by
// what is left, arrival.
func (c *Core) before(a, b *work) bool {
	switch {
	case a.replica() != b.replica():
		return a.replica()
	case a.Priority != b.Priority:
		return a.Priority > b.Priority
	case a.urgent != b.urgent:
		return a.urgent < b.urgent
	case a.urgent == urgentStarved: // by arrival: among many that starved, rank would pass the longest for ever
		return a.number < b.number
	case a.key != b.key:
		return a.key < b.key
	}
	return a.number < b.number
}

// replica says of a job that it is one of a service, whose place is before all batch work.
func (w *work) replica() bool { return w.Kind == Service }

// urgency puts what is not ranked by length first: a replica, what starved, the fast lane and what somebody sits before, a
// deadline that presses; then everything else.
func (c *Core) urgency(w *work) int {
	switch {
	case w.Kind == Service:
		return urgentReplica
	case w.waited+c.now-w.since >= c.conf.Starved:
		return urgentStarved
	case w.Kind == Interactive || c.fastLane(w):
		return urgentFast
	case w.Deadline > 0 && w.Deadline-c.now-w.est.P90 < c.conf.Slack:
		return urgentDeadline
	}
	return urgentNot
}

// What is not ranked by length, first to last.
const (
	urgentReplica = iota
	urgentStarved
	urgentFast
	urgentDeadline
	urgentNot
)

// look asks what is known of a waiting job now. Between two looks its place in the order stands.
func (c *Core) look(w *work) {
	w.est = c.history.Estimate(w.ID, w.Attained, c.now)
	restart := int64(0)
	if w.ran {
		restart = c.conf.restart(w.menu.largest)
	}
	w.q.changes++
	w.key = c.conf.Rule.Waiting(w.est, w.menu.largest, restart, w.waited+c.now-w.since)
	w.urgent = c.urgency(w)
}

// lookRunning asks the same of a running job, whose key is what others must beat to take its place.
func (c *Core) lookRunning(w *work) {
	if w.looks++; w.looks%quantileEvery == 0 {
		w.est = c.history.Estimate(w.ID, c.attained(w), c.now)
		c.begin(w)
		return
	}
	w.est.Rank = c.history.Rank(w.ID, c.attained(w), c.now)
	c.rankRunning(w)
}

// quantileEvery is how many looks at a running job there are for each that asks for its quantiles too.
const quantileEvery = 8

// begin takes what was last learned of a job as of now.
func (c *Core) begin(w *work) {
	was := w.goneBy
	w.goneBy = c.now + c.wall(w, w.opt, w.est.P90)
	if w.Limit > 0 {
		w.goneBy = min(w.goneBy, w.started+w.Limit)
	}
	if w.Kind == Service {
		w.goneBy = maxInt
	}
	if w.goneBy != was {
		for i := range w.seats {
			c.version[w.seats[i].Node]++
		}
	}
	c.rankRunning(w)
}

func (c *Core) rankRunning(w *work) {
	w.key = c.conf.Rule.Running(w.est, w.waited)
	// What is known of a job goes by the ratio of its ages: there is nothing new until it is a part older.
	w.lookAt = c.now + max(c.conf.Round, (c.now-w.started+w.Attained)/agePart)
}

// fastLane says whether a job may pass the others as short work: it says so, its time limit is short, and the lane has
// not had its part of what the queue holds.
func (c *Core) fastLane(w *work) bool {
	if w.Kind != Evaluation || w.Limit <= 0 || w.Limit > c.conf.Fast {
		return false
	}
	return w.q.fast == 0 || w.q.fast+w.menu.charge <= muldiv(w.q.all, c.conf.FastPart, Micro)
}

// enqueue has a job wait, for room or for what must come before.
func (c *Core) enqueue(w *work) {
	w.status, w.since = waiting, c.now
	if c.parks(w) {
		w.q.parked = append(w.q.parked, w)
		return
	}
	c.look(w)
	l := w.q.lane(w.menu)
	l.refused, l.all, l.tried = 0, 0, 0
	w.q.waits++
	c.push(w.q, l, w)
}

// parks says whether a job waits for something other than room. One that waits for a job that failed does so until it is
// cancelled; Explain says so.
func (c *Core) parks(w *work) bool {
	return w.Hold || w.NotBefore > c.now || len(w.After) > 0
}

// dequeue takes a waiting job out, and with it what was held for it.
func (c *Core) dequeue(w *work) {
	c.holds = slices.DeleteFunc(c.holds, func(h *hold) bool { return h.w == w })
	if w.heapAt >= 0 {
		l := w.q.lane(w.menu)
		c.remove(w.q, l, w.heapAt)
		w.q.waits--
		return
	}
	for i, p := range w.q.parked {
		if p == w {
			w.q.parked = append(w.q.parked[:i], w.q.parked[i+1:]...)
			return
		}
	}
}

// unpark looks whether what jobs wait for has come.
func (c *Core) unpark(q *queue) {
	all := q.parked
	q.parked = nil
	for _, w := range all {
		c.enqueue(w)
	}
}

func (q *queue) lane(m *menu) *lane {
	for len(q.lanes) <= m.id {
		q.lanes = append(q.lanes, nil)
	}
	if q.lanes[m.id] == nil {
		q.lanes[m.id] = &lane{menu: m}
	}
	return q.lanes[m.id]
}

// openLanes finds the lanes whose first was not refused since room last came back. Starting jobs gives no room back and
// nobody comes to wait by it: while a plan fills, no lane opens.
func (q *queue) openLanes(c *Core) {
	q.open = q.open[:0]
	for _, l := range q.live {
		if l.isOpen(c) {
			q.open = append(q.open, l)
		}
	}
}

func (l *lane) isOpen(c *Core) bool {
	return len(l.heap) > 0 && *l.mark(c.idle) != c.stamp(l.menu, c.room.change)
}

// candidate is the first job of a queue that may be tried: the best of the open lanes' first.
func (q *queue) candidate(c *Core) *work {
	var best *work
	for i := 0; i < len(q.open); {
		l := q.open[i]
		if !l.isOpen(c) {
			last := len(q.open) - 1
			q.open[i], q.open = q.open[last], q.open[:last]
			continue
		}
		if w := l.heap[0]; best == nil || c.before(w, best) {
			best = w
		}
		i++
	}
	return best
}

func (c *Core) push(q *queue, l *lane, w *work) {
	if len(l.heap) == 0 {
		l.liveAt = len(q.live)
		q.live = append(q.live, l)
	}
	q.changes++
	w.heapAt = len(l.heap)
	l.heap = append(l.heap, w)
	c.up(l, w.heapAt)
}

func (c *Core) up(l *lane, i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !c.before(l.heap[i], l.heap[p]) {
			break
		}
		l.swap(i, p)
		i = p
	}
}

func (c *Core) down(l *lane, i int) {
	for {
		least := i
		for k := 2*i + 1; k <= 2*i+2 && k < len(l.heap); k++ {
			if c.before(l.heap[k], l.heap[least]) {
				least = k
			}
		}
		if least == i {
			return
		}
		l.swap(i, least)
		i = least
	}
}

func (l *lane) swap(i, k int) {
	l.heap[i], l.heap[k] = l.heap[k], l.heap[i]
	l.heap[i].heapAt, l.heap[k].heapAt = i, k
}

func (c *Core) remove(q *queue, l *lane, i int) {
	q.changes++
	last := len(l.heap) - 1
	l.swap(i, last)
	l.heap[last].heapAt = -1
	l.heap[last] = nil
	l.heap = l.heap[:last]
	if last == 0 {
		end := q.live[len(q.live)-1]
		q.live[l.liveAt], end.liveAt = end, l.liveAt
		q.live = q.live[:len(q.live)-1]
	}
	if i < last {
		c.down(l, i)
		c.up(l, i)
	}
}

// lookPart is the rounds after which a waiting job is looked at again, agePart by which part of its age a running one grows
// before it is.
const (
	lookPart = 32
	agePart  = 8
)

// rerank asks history anew for those that wait, lane by lane in turn.
func (c *Core) rerank(q *queue) {
	for _, l := range q.live {
		if (c.stats.Rounds+int64(l.menu.id))%lookPart != 0 {
			continue
		}
		for _, w := range l.heap {
			c.look(w)
		}
		for i := len(l.heap)/2 - 1; i >= 0; i-- {
			c.down(l, i)
		}
	}
}

// mark is where a lane remembers a refusal: of everything, or of what suits best.
func (l *lane) mark(idle bool) *int64 {
	if idle {
		return &l.all
	}
	return &l.refused
}

// stamp adds up counters of the pools of a menu, plus one: it has moved on if any of them has.
func (c *Core) stamp(m *menu, counters []int64) int64 {
	if len(m.pools) == 1 {
		return 1 + counters[m.pools[0]]
	}
	sum := int64(1)
	for _, p := range m.pools {
		sum += counters[p]
	}
	return sum
}
