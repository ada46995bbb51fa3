package baseline

import "github.com/triarch-ai/triarch/compute/sched/sim"

// Ordered starts waiting jobs in the order of a key and stops none. With head-of-line blocking nothing starts while
// the first job does not fit; without (Backfill) whatever fits starts, and large jobs may wait long.
type Ordered struct {
	Backfill bool
	key      func(*sim.World, int32) int64
	groups
}

// Begin makes the lanes.
func (o *Ordered) Begin(w *sim.World) { o.begin(w) }

// Step starts what can start.
func (o *Ordered) Step(w *sim.World, events []sim.Event) {
	o.note(w, events, o.key)
	for i := range o.lanes {
		if l := &o.lanes[i]; l.dirty {
			o.dispatch(w, l)
		}
	}
}

func (o *Ordered) dispatch(w *sim.World, l *lanes) {
	l.dirty = false
	for {
		ln := l.first(o.Backfill)
		if ln == nil || ln.blocked {
			return
		}
		j := ln.heap[0].job
		parts, ok := w.Fit(j)
		if !ok {
			ln.blocked = true
			continue
		}
		if w.Start(j, parts) != nil {
			return
		}
		l.pop(ln)
	}
}

// oracle marks a policy that knows durations.
type oracle struct{}

// Oracle says that the policy sees how long jobs run.
func (oracle) Oracle() {}

// clairvoyant is Ordered by a key that needs perfect knowledge.
type clairvoyant struct {
	Ordered
	oracle
}

// FIFO is first in, first out: by submission.
func FIFO(backfill bool) sim.Policy {
	return &Ordered{Backfill: backfill, key: func(_ *sim.World, j int32) int64 { return int64(j) }}
}

// SJF is shortest job first, knowing durations perfectly.
func SJF(backfill bool) sim.Policy {
	return &clairvoyant{Ordered: Ordered{Backfill: backfill, key: func(w *sim.World, j int32) int64 { return int64(w.Remaining(j)) }}}
}
