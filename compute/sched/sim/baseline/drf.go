package baseline

import (
	"github.com/triarch-ai/triarch/compute/sched/sim"
)

// Fair is dominant resource fairness (Ghodsi et al., NSDI 2011): the next job is that of the queue with the lowest
// dominant share (the largest of its parts of chips, CPU and memory, over its weight), first in first out inside the
// queue, passing over jobs that do not fit. It stops none. A job's queue is its queue, project or user, the first that
// the trace names; weights are those of the fleet's queues of that name, else 1.
type Fair struct {
	bound  bool
	arenas []arena
	held   []int32 // by job: number of its queue in its arena
}

// arena is a group of sites whose chips the queues share.
type arena struct {
	names  map[string]int32
	queues []fairQueue
	total  [3]float64 // chips in thousandths, CPU, memory
	dirty  bool
}

type fairQueue struct {
	lanes  lanes
	weight float64
	used   [3]float64
}

// DRF is the policy Fair.
func DRF() sim.Policy { return &Fair{} }

// Begin sums up what there is.
func (f *Fair) Begin(w *sim.World) {
	f.bound = w.Bound()
	f.arenas = make([]arena, len(w.Fleet().Sites))
	f.held = make([]int32, w.Jobs())
	if !f.bound {
		f.arenas = f.arenas[:1]
	}
	for i := range f.arenas {
		f.arenas[i].names = map[string]int32{}
	}
	for i := range w.Fleet().Nodes {
		n := &w.Fleet().Nodes[i]
		t := &f.arenas[f.at(n.Site)].total
		t[0] += 1000 * float64(n.Chips)
		t[1] += float64(n.CPU)
		t[2] += float64(n.Memory)
	}
}

func (f *Fair) at(site int32) int32 {
	if f.bound {
		return site
	}
	return 0
}

// Step books what came and went and starts what is due.
func (f *Fair) Step(w *sim.World, events []sim.Event) {
	for _, e := range events {
		if e.Kind == sim.Submitted || e.Kind == sim.Failed || e.Kind == sim.Ended {
			a := &f.arenas[f.at(w.Home(e.Job))]
			a.dirty = true
			if e.Kind != sim.Submitted {
				a.book(w, e.Job, f.held[e.Job], -1)
				a.freed()
			}
			if e.Kind != sim.Ended {
				q := a.queueOf(w, e.Job)
				f.held[e.Job] = q
				a.queues[q].lanes.push(w.Class(e.Job), ticket{int64(e.Job), e.Job})
			}
		} else if e.Node >= 0 {
			a := &f.arenas[f.at(w.Fleet().Nodes[e.Node].Site)]
			a.dirty = true
			a.freed()
		}
	}
	for i := range f.arenas {
		if f.arenas[i].dirty {
			f.arenas[i].dispatch(w)
		}
	}
}

func (a *arena) dispatch(w *sim.World) {
	a.dirty = false
	for {
		q := a.next()
		if q < 0 {
			return
		}
		l := &a.queues[q].lanes
		ln := l.first(true)
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
		a.book(w, j, q, 1)
	}
}

// next is the queue with the lowest dominant share that has a job worth a look, -1 if none has.
func (a *arena) next() int32 {
	best, least := int32(-1), 0.0
	for i := range a.queues {
		q := &a.queues[i]
		if q.lanes.first(true) == nil {
			continue
		}
		if s := q.share(a.total); best < 0 || s < least {
			best, least = int32(i), s
		}
	}
	return best
}

func (q *fairQueue) share(total [3]float64) float64 {
	s := 0.0
	for i, u := range q.used {
		if total[i] > 0 {
			s = max(s, u/total[i])
		}
	}
	return s / q.weight
}

func (a *arena) book(w *sim.World, j, q int32, sign float64) {
	s, u := w.Spec(j), &a.queues[q].used
	u[0] += sign * float64(s.Chips) * float64(s.Share)
	u[1] += sign * float64(s.CPU)
	u[2] += sign * float64(s.Memory)
}

func (a *arena) freed() {
	for i := range a.queues {
		a.queues[i].lanes.freed()
	}
}

// queueOf is the number of a job's queue, which is new at its first job.
func (a *arena) queueOf(w *sim.World, j int32) int32 {
	s := w.Spec(j)
	name := s.Queue
	if name == "" {
		name = s.Project
	}
	if name == "" {
		name = s.User
	}
	q, known := a.names[name]
	if !known {
		q = int32(len(a.queues))
		a.names[name] = q
		fq := fairQueue{weight: 1}
		for _, fleetQueue := range w.Fleet().Queues {
			if fleetQueue.Name == name && fleetQueue.Weight > 0 {
				fq.weight = float64(fleetQueue.Weight)
			}
		}
		a.queues = append(a.queues, fq)
	}
	return q
}
