package sched

// Could says why a job could never run on the fleet, or nil; the errors are those of Submit. It keeps nothing of the job.
func (c *Core) Could(j Job) error {
	_, _, err := c.admit(&j)
	return err
}

// SetBegin has a waiting job not start before a time, as a back-off does; 0 = at once.
func (c *Core) SetBegin(now int64, id string, at int64) error {
	return c.rewait(now, id, func(w *work) { w.NotBefore = at })
}

// QueueState is a queue as it stands.
type QueueState struct {
	Name, Org          string
	Weight, OrgWeight  int64     // in Micro
	Held               []Portion // in use by class
	Guarantee, Ceiling []Count
	Waiting            int    // for room
	Parked             int    // for something else: held, not before, after others
	Running            int    // jobs
	Used               int64  // micro-units beyond its guarantee, decayed
	Burden             int64  // what decides its turn: what it used and holds beyond its guarantee, by its weight
	Next               string // the first of its jobs that wait for room; empty if none does
}

// Queues tells of all queues, by name.
func (c *Core) Queues() []QueueState {
	out := make([]QueueState, len(c.queues))
	for i, q := range c.queues {
		s := QueueState{Name: q.Name, Org: q.org.name, Weight: q.Weight, OrgWeight: q.org.weight, Guarantee: q.Guarantee, Ceiling: q.Ceiling,
			Waiting: q.waits, Parked: len(q.parked), Used: q.used, Burden: c.burden(q)}
		for k, ch := range c.chips {
			if n := q.held[chipSlot(k)]; n > 0 {
				s.Held = append(s.Held, Portion{ch.Name, n})
			}
		}
		var first *work
		for _, l := range q.lanes {
			if l != nil && len(l.heap) > 0 && (first == nil || c.before(l.heap[0], first)) {
				first = l.heap[0]
			}
		}
		if first != nil {
			s.Next = first.ID
		}
		out[i] = s
	}
	for _, w := range c.running {
		out[w.q.at].Running++
	}
	return out
}

// Align has a core that begins anew start with a round, and puts the rounds at the multiples of their length, where the
// core before it had them.
func (c *Core) Align() { c.round = c.now / c.conf.Round * c.conf.Round }

// Recall tells a core that begins anew what the one before it knew of a job: how long it has waited in all, and whether it
// ran before.
func (c *Core) Recall(id string, waited int64, ran bool) {
	w := c.jobs[id]
	if w == nil {
		return
	}
	w.ran, w.waited, w.since = w.ran || ran, max(0, waited), c.now
	if w.status == running {
		c.lookRunning(w)
	}
	if w.heapAt >= 0 {
		c.dequeue(w)
		c.enqueue(w)
	}
}

// Began tells that a job whose start was decided earlier, and waited for others to leave, runs only since then.
func (c *Core) Began(now int64, id string, at int64) {
	if w := c.jobs[id]; w != nil && w.status == running {
		c.settle(now)
		began := max(w.started, min(at, c.now))
		if w.runSince == w.started { // not a move, which does not begin the claim to run undisturbed anew
			w.runSince, c.follows = began, false
		}
		w.started = began
		c.begin(w) // its time limit, too, counts from then
	}
}

// Safe tells that all the work of a running job up to now is safe: it saves its work when it is asked to end.
func (c *Core) Safe(now int64, id string) {
	w := c.jobs[id]
	if w == nil || w.status != running {
		return
	}
	c.settle(now)
	w.saved = max(w.saved, c.attained(w))
}
