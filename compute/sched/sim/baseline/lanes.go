// Package baseline holds the scheduling policies that others are measured by: first in first out, shortest first with
// perfect knowledge, least attained service, dominant resource fairness and heterogeneity-aware rounds, each as strong
// as its published form.
//
// Rules for callers: New makes a policy for one replay; none is used twice. What each knows and does is said at its
// type; policies marked as oracles see how long jobs run.
package baseline

import (
	"github.com/triarch-ai/triarch/compute/sched/sim"
)

// lanes are the waiting jobs of one group of sites that compete for the same chips. Jobs of one class have the same
// needs, so that only the first of each class need be looked at: if it fits nowhere, none of them does.
type lanes struct {
	all    []lane
	slots  map[int32]int32 // by class: its lane
	active []int32         // lanes with a job, in no order that means anything
	dirty  bool            // something came or went since the last look
}

type lane struct {
	heap    []ticket
	at      int32 // in active
	blocked bool  // its first fits nowhere until chips are freed
}

// ticket is a waiting job and its key; lower keys first, equal ones in the order of submission.
type ticket struct {
	key int64
	job int32
}

func (a ticket) before(b ticket) bool { return a.key < b.key || a.key == b.key && a.job < b.job }

// push has a job of a class wait, and gives its lane.
func (l *lanes) push(class int32, t ticket) *lane {
	slot, known := l.slots[class]
	if !known {
		if l.slots == nil {
			l.slots = map[int32]int32{}
		}
		slot = int32(len(l.all))
		l.slots[class] = slot
		l.all = append(l.all, lane{})
	}
	ln := &l.all[slot]
	if len(ln.heap) == 0 {
		ln.at, ln.blocked = int32(len(l.active)), false
		l.active = append(l.active, slot)
	}
	ln.heap = append(ln.heap, t)
	h, i := ln.heap, len(ln.heap)-1
	for i > 0 && h[i].before(h[(i-1)/2]) {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
	l.dirty = true
	return ln
}

// pop takes the first job out of a lane that has one.
func (l *lanes) pop(ln *lane) {
	h, last := ln.heap, len(ln.heap)-1
	h[0] = h[last]
	ln.heap = h[:last]
	if last == 0 {
		end := l.active[len(l.active)-1]
		l.all[end].at = ln.at
		l.active[ln.at] = end
		l.active = l.active[:len(l.active)-1]
		return
	}
	h = ln.heap
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			return
		}
		if c+1 < last && h[c+1].before(h[c]) {
			c++
		}
		if !h[c].before(h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// first is the lane whose first job comes before all others, passing over blocked ones if they do not hold the line;
// nil when there is none. Valid until the next push.
func (l *lanes) first(passBlocked bool) *lane {
	var best *lane
	for _, slot := range l.active {
		ln := &l.all[slot]
		if passBlocked && ln.blocked {
			continue
		}
		if best == nil || ln.heap[0].before(best.heap[0]) {
			best = ln
		}
	}
	return best
}

// freed has every class be looked at again.
func (l *lanes) freed() {
	for _, slot := range l.active {
		l.all[slot].blocked = false
	}
	l.dirty = true
}

// groups keep one set of lanes for each site where every job is bound to one, else one for the whole fleet.
type groups struct {
	lanes []lanes
	bound bool
}

func (g *groups) begin(w *sim.World) {
	n := len(w.Fleet().Sites)
	g.bound = w.Bound()
	if !g.bound {
		n = 1
	}
	g.lanes = make([]lanes, n)
}

func (g *groups) of(w *sim.World, j int32) *lanes {
	if g.bound {
		return &g.lanes[w.Home(j)]
	}
	return &g.lanes[0]
}

func (g *groups) ofNode(w *sim.World, node int32) *lanes {
	if g.bound {
		return &g.lanes[w.Fleet().Nodes[node].Site]
	}
	return &g.lanes[0]
}

// note brings the lanes up to date with what happened.
func (g *groups) note(w *sim.World, events []sim.Event, key func(*sim.World, int32) int64) {
	for _, e := range events {
		switch e.Kind {
		case sim.Submitted, sim.Failed:
			g.of(w, e.Job).push(w.Class(e.Job), ticket{key(w, e.Job), e.Job})
		case sim.Ended:
			g.of(w, e.Job).freed()
		case sim.NodeUp, sim.NodeDown:
			g.ofNode(w, e.Node).freed()
		}
	}
}
