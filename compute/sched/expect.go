package sched

import (
	"cmp"
	"slices"
)

// Expected is when a waiting job is expected to start: by P50 in half of all cases, by P90 in nine of ten. Times are of
// the snapshot's clock.
type Expected struct{ P50, P90 int64 }

// Expect says when the waiting jobs will start, by running this very core forward with every job as long as is expected
// of it, corrected by how such answers held so far. Jobs that no end of another lets start, those that wait for a person
// or for a job that failed, are missing. horizon bounds how far it looks, in milliseconds.
func (c *Core) Expect(horizon int64) map[string]Expected {
	starts := c.lookAhead(horizon)
	out := make(map[string]Expected, len(starts))
	for id, at := range starts {
		out[id] = c.trust.correct(c.now, at)
	}
	return out
}

// end of a job that runs in a look ahead.
type ending struct {
	at int64
	w  *work
	of int64 // its start: an ending of an attempt that was preempted is void
}

// lookAhead is when each waiting job starts in a world without surprises.
func (c *Core) lookAhead(horizon int64) map[string]int64 {
	d, f := c.ahead()
	d.conf.Round, d.still, d.frees = max(d.conf.Round, lookRound*max(1, int64(len(d.nodes))/1000)), true, nil
	starts := map[string]int64{}
	var ends []ending
	push := func(w *work) {
		at := w.goes() + d.wall(w, w.opt, max(0, f.length[w.ID]-w.Attained))
		ends = pushEnd(ends, ending{max(at, d.now+1), w, w.started})
	}
	for _, w := range d.running {
		if w.Kind != Service {
			push(w)
		}
	}
	left := 0
	for _, q := range d.queues {
		left += q.waits + len(q.parked)
	}
	for now := c.now; left > 0 && now <= c.now+horizon; {
		p := d.Plan(now)
		for i := range p.Actions {
			a := &p.Actions[i]
			if a.Verb != Start {
				continue
			}
			w := d.jobs[a.Job]
			if _, seen := starts[a.Job]; !seen && c.jobs[a.Job].status == waiting {
				starts[a.Job] = now
				left--
			}
			if w.status == running && w.Kind != Service {
				push(w)
			}
		}
		next := p.Next
		if len(ends) > 0 {
			next = min(ends[0].at, d.appointed()) // what rounds between would change is little in a world without surprises
		}
		if next == maxInt || next <= now && len(ends) == 0 {
			break
		}
		now = max(now+1, next)
		for len(ends) > 0 && ends[0].at <= now {
			var e ending
			e, ends = popEnd(ends)
			if e.w.status == running && e.w.started == e.of {
				_ = d.End(now, e.w.ID, f.length[e.w.ID], true)
			}
		}
	}
	return starts
}

// lookRound is the least round of a look ahead, in milliseconds, for each thousand nodes: holds, prices and preemption by
// rank are renewed less often there.
const lookRound = 30 * 60_000

func pushEnd(h []ending, e ending) []ending {
	h = append(h, e)
	for i := len(h) - 1; i > 0; {
		p := (i - 1) / 2
		if !h[i].before(&h[p]) {
			break
		}
		h[i], h[p] = h[p], h[i]
		i = p
	}
	return h
}

func popEnd(h []ending) (ending, []ending) {
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		least := i
		for k := 2*i + 1; k <= 2*i+2 && k < len(h); k++ {
			if h[k].before(&h[least]) {
				least = k
			}
		}
		if least == i {
			return top, h
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func (e *ending) before(f *ending) bool {
	return cmp.Or(cmp.Compare(e.at, f.at), cmp.Compare(e.w.number, f.w.number)) < 0
}

// correction of expected waits: by how long the wait looks, a factor for each quantile, moved a little by every answer
// that proved too early or too late, so that in the long run as many hold as should (Gibbs and Candes 2021).
type correction struct {
	factor [waitBands][2]int64 // in Micro
}

const (
	waitBands = 12
	factorMax = 64 * Micro
	factorMin = Micro / 64
)

// expectStep is how much of itself a factor moves at most by one answer, in Micro.
const expectStep = Micro / 12

var expectLevels = [2]int64{500, 900} // thousandths

func newCorrection() *correction {
	t := &correction{}
	for i := range t.factor {
		t.factor[i] = [2]int64{Micro, 8 * Micro}
	}
	return t
}

// band is the expected wait by powers of two minutes.
func band(wait int64) int {
	b := 0
	for wait > 60_000 && b < waitBands-1 {
		wait /= 2
		b++
	}
	return b
}

func (t *correction) correct(now, at int64) Expected {
	wait := max(1000, at-now)
	f := &t.factor[band(wait)]
	p50 := muldiv(wait, f[0], Micro)
	return Expected{now + p50, now + max(p50, muldiv(wait, f[1], Micro))}
}

// promise is an answer whose truth shows at its two times, and not before: a start tells early of the short waits only.
type promise struct {
	w        *work
	expected int64    // wait, uncorrected
	by       [2]int64 // by when it was to start
	shown    [2]bool
}

// learn moves the factors by the promises whose times have come.
func (c *Core) learn() {
	left := c.promises[:0]
	for _, p := range c.promises {
		for i := range p.by {
			if p.shown[i] || c.now < p.by[i] {
				continue
			}
			p.shown[i] = true
			if p.w.ran || p.w.status != gone { // one that was cancelled before it started teaches nothing
				c.trust.learn(p.expected, i, p.w.ran && p.w.first <= p.by[i])
			}
		}
		if !p.shown[0] || !p.shown[1] {
			left = append(left, p)
		}
	}
	c.promises = left
}

func (t *correction) learn(expected int64, i int, held bool) {
	f, level := &t.factor[band(expected)][i], expectLevels[i]
	if held {
		*f -= muldiv(*f, expectStep*(1000-level)/1000, Micro)
	} else {
		*f += muldiv(*f, expectStep*level/1000, Micro)
	}
	*f = min(factorMax, max(factorMin, *f))
}

// Await is Expect for jobs that are to be held against what comes: those that wait and were not told of before. The
// core learns from their starts.
func (c *Core) Await(horizon int64) map[string]Expected {
	fresh := false
	for _, w := range c.jobs {
		fresh = fresh || w.status == waiting && !w.promised
	}
	if !fresh {
		return nil
	}
	starts := c.lookAhead(horizon)
	ids := make([]string, 0, len(starts))
	for id := range starts {
		if w := c.jobs[id]; !w.promised && !w.ran {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	out := make(map[string]Expected, len(ids))
	for _, id := range ids {
		w := c.jobs[id]
		w.promised = true
		e := c.trust.correct(c.now, starts[id])
		out[id] = e
		c.promises = append(c.promises, promise{w: w, expected: max(1000, starts[id]-c.now), by: [2]int64{e.P50, e.P90}})
	}
	return out
}
