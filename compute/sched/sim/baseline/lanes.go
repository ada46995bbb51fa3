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
	byClass []lane
	active  []int32 // classes that have waited, in the order of their first job
	dirty   bool    // something came or went since the last look
}

type lane struct {
	heap    []ticket
	blocked bool // its first fits nowhere until chips are freed
	known   bool
}

// ticket is a waiting job and its key; lower keys first, equal ones in the order of submission.
type ticket struct {
	key int64
	job int32
}

func (a ticket) before(b ticket) bool { return a.key < b.key || a.key == b.key && a.job < b.job }

func (l *lanes) push(class int32, t ticket) {
	ln := &l.byClass[class]
	if !ln.known {
		ln.known = true
		l.active = append(l.active, class)
	}
	ln.heap = append(ln.heap, t)
	h, i := ln.heap, len(ln.heap)-1
	for i > 0 && h[i].before(h[(i-1)/2]) {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
	l.dirty = true
}

func (l *lanes) pop(class int32) {
	ln := &l.byClass[class]
	h, last := ln.heap, len(ln.heap)-1
	h[0] = h[last]
	ln.heap = h[:last]
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

// first is the class whose first job comes before all others, passing over blocked ones if they do not hold the line;
// -1 when there is none.
func (l *lanes) first(passBlocked bool) int32 {
	best := int32(-1)
	var least ticket
	for _, c := range l.active {
		ln := &l.byClass[c]
		if len(ln.heap) == 0 || passBlocked && ln.blocked {
			continue
		}
		if best < 0 || ln.heap[0].before(least) {
			best, least = c, ln.heap[0]
		}
	}
	return best
}

// freed has every class be looked at again.
func (l *lanes) freed() {
	for _, c := range l.active {
		l.byClass[c].blocked = false
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
	for i := range g.lanes {
		g.lanes[i].byClass = make([]lane, w.Classes())
	}
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
