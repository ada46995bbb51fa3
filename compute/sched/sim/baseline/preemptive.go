package baseline

import (
	"cmp"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim"
)

// Preemptive starts waiting jobs in the order of a key and stops running ones with higher keys for them: for a job of
// up to a node's size on the node where what has to stop is furthest behind, for a larger one on the nodes where it is.
// What does not fit even so is passed over. A job that may not be preempted never is.
type Preemptive struct {
	groups
	key     func(*sim.World, int32) int64
	after   func(*Preemptive, *sim.World, int32) // called when a job was started; may be nil
	same    int                                  // lowest bits of the key that order waiting jobs but are not worth a preemption
	running [][]int32                            // by group of sites, in the order of starting
	keys    []int64                              // by job, of the present instant, for those that run
	fresh   bool                                 // keys and behind are those of this instant
	behind  int64                                // no running job of the group has a higher key

	stops   []int32 // scratch, as are the following
	cands   []candidate
	parts   []sim.Part
	victims []int32
}

// candidate is a node that could be made free enough.
type candidate struct {
	node   int32
	behind int64 // the lowest key that would have to stop; nothing to stop counts as the highest
	cost   int32 // chips that would have to stop
}

// Begin makes the lanes.
func (p *Preemptive) Begin(w *sim.World) {
	p.begin(w)
	p.running = make([][]int32, len(p.lanes))
	p.keys = make([]int64, w.Jobs())
}

// Step starts what can start and stops what has to.
func (p *Preemptive) Step(w *sim.World, events []sim.Event) {
	p.note(w, events, p.key)
	for _, e := range events {
		if e.Kind == sim.Woken {
			for i := range p.lanes {
				p.lanes[i].freed()
			}
		}
	}
	for i := range p.lanes {
		if p.lanes[i].dirty {
			p.dispatch(w, i)
		}
	}
}

func (p *Preemptive) dispatch(w *sim.World, group int) {
	l := &p.lanes[group]
	l.freed() // the order of running jobs changes with time, so that nothing stays blocked
	l.dirty = false
	p.fresh = false
	for {
		ln := l.first(true)
		if ln == nil {
			return
		}
		t, class := ln.heap[0], w.Class(ln.heap[0].job)
		parts, ok := w.Fit(t.job)
		if !ok {
			parts, ok = p.makeRoom(w, group, t)
		}
		if !ok {
			ln.blocked = true
			continue
		}
		if w.Start(t.job, parts) != nil {
			return
		}
		l.pop(&l.all[l.slots[class]]) // what was stopped may have made new lanes and moved this one
		p.running[group] = append(p.running[group], t.job)
		p.keys[t.job] = p.key(w, t.job)
		p.behind = max(p.behind, p.keys[t.job])
		if p.after != nil {
			p.after(p, w, t.job)
		}
	}
}

// refresh computes the keys of what runs in a group, once an instant and only when something does not fit.
func (p *Preemptive) refresh(w *sim.World, group int) {
	if p.fresh {
		return
	}
	p.fresh, p.behind = true, 0
	p.running[group] = slices.DeleteFunc(p.running[group], func(j int32) bool { return w.State(j) != sim.Running })
	for _, j := range p.running[group] {
		p.keys[j] = p.key(w, j)
		p.behind = max(p.behind, p.keys[j])
	}
}

// makeRoom stops jobs behind t so that it fits, and says where; it stops nothing when that is impossible.
func (p *Preemptive) makeRoom(w *sim.World, group int, t ticket) ([]sim.Part, bool) {
	spec := w.Spec(t.job)
	if spec.Chips == 0 || spec.Share < 1000 || spec.CPU > 0 || spec.Memory > 0 {
		return nil, false // only chips are taken from others
	}
	if p.refresh(w, group); p.behind <= t.key {
		return nil, false
	}
	for _, pool := range w.PoolsOf(t.job) {
		if p.plan(w, pool, t, spec.Chips) {
			return p.parts, p.stop(w, &p.lanes[group])
		}
	}
	return nil, false
}

// stop preempts the victims and has them wait. A gang among them frees chips elsewhere too: then every class is worth
// another look.
func (p *Preemptive) stop(w *sim.World, l *lanes) bool {
	gang := false
	for _, v := range p.victims {
		gang = gang || len(w.Parts(v)) > 1
		if w.Preempt(v) != nil {
			return false
		}
		l.push(w.Class(v), ticket{p.key(w, v), v}).blocked = false
	}
	if gang {
		l.freed()
	}
	l.dirty = false
	return true
}

// plan finds nodes of a pool and the victims on them.
func (p *Preemptive) plan(w *sim.World, pool int32, t ticket, chips int32) bool {
	pl := w.Pool(pool)
	p.victims, p.parts, p.cands = p.victims[:0], p.parts[:0], p.cands[:0]
	need, rest := chips/pl.Size, chips%pl.Size
	for _, node := range pl.Nodes {
		if !w.Down(node) {
			if c, ok := p.clear(w, node, t, min(chips, pl.Size), pl.Size); ok {
				p.cands = append(p.cands, c)
			}
		}
	}
	if need > 0 && chips > pl.Size || need == 1 && rest == 0 {
		if len(p.cands) < int(need) {
			return false
		}
		slices.SortFunc(p.cands, furthest)
		for _, c := range p.cands[:need] {
			p.use(w, c.node, t, pl.Size)
		}
	}
	if rest == 0 {
		return true
	}
	best := candidate{node: -1}
	for _, node := range pl.Nodes {
		if w.Down(node) || slices.ContainsFunc(p.parts, func(q sim.Part) bool { return q.Node == node }) {
			continue
		}
		if c, ok := p.clear(w, node, t, rest, pl.Size); ok && (best.node < 0 || furthest(c, best) < 0) {
			best = c
		}
	}
	if best.node < 0 {
		return false
	}
	p.use(w, best.node, t, rest)
	return true
}

// furthest orders candidates: those whose victims are furthest behind first, then fewer chips stopped, then by node.
func furthest(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.behind, a.behind), cmp.Compare(a.cost, b.cost), cmp.Compare(a.node, b.node))
}

// stoppable lists the jobs on a node that may be stopped for t, the furthest behind first. Valid until the next call.
func (p *Preemptive) stoppable(w *sim.World, node int32, t ticket) []int32 {
	out := p.stops[:0]
	for _, j := range w.On(node) {
		if p.keys[j]>>p.same > t.key>>p.same && w.Spec(j).Preemptible && !slices.Contains(p.victims, j) {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b int32) int { return cmp.Or(cmp.Compare(p.keys[b], p.keys[a]), cmp.Compare(b, a)) })
	p.stops = out
	return out
}

// freeWith is what is free on a node, counting what was already chosen to stop.
func (p *Preemptive) freeWith(w *sim.World, node int32) int32 {
	free, _, _ := w.Free(node)
	for _, v := range p.victims {
		free += chipsOn(w, v, node)
	}
	return free
}

func chipsOn(w *sim.World, j, node int32) int32 {
	for _, q := range w.Parts(j) {
		if q.Node == node {
			return q.Chips
		}
	}
	return 0
}

// clear says whether the node can be made to have chips free, and at what price.
func (p *Preemptive) clear(w *sim.World, node int32, t ticket, chips, size int32) (candidate, bool) {
	free := p.freeWith(w, node)
	c := candidate{node: node, behind: 1<<63 - 1}
	if free >= chips {
		return c, true
	}
	for _, j := range p.stoppable(w, node, t) {
		free += chipsOn(w, j, node)
		c.behind = p.keys[j]
		c.cost += w.Chips(j)
		if free >= chips {
			return c, true
		}
	}
	return c, false
}

// use takes chips of a node, adding what has to stop to the victims.
func (p *Preemptive) use(w *sim.World, node int32, t ticket, chips int32) {
	free := p.freeWith(w, node)
	if free < chips {
		for _, j := range p.stoppable(w, node, t) {
			if free >= chips {
				break
			}
			free += chipsOn(w, j, node)
			p.victims = append(p.victims, j)
		}
	}
	p.parts = append(p.parts, sim.Part{Node: node, Chips: chips, Device: -1})
}

// foresight is Preemptive by a key that needs perfect knowledge.
type foresight struct {
	Preemptive
	oracle
}

// left is the time a job still needs, with the restart it would need if it waits after having run.
func left(w *sim.World, j int32) int64 {
	r := w.Remaining(j)
	if w.State(j) == sim.Waiting && w.Work(j) > 0 {
		r += sim.RestartCost(w.Spec(j).Chips)
	}
	return int64(r / time.Millisecond)
}

// SRTF is shortest remaining time first, preemptive, knowing durations perfectly.
func SRTF() sim.Policy { return &foresight{Preemptive: Preemptive{key: left}} }

// SRSF is shortest remaining service first: remaining time times chips, preemptive, knowing durations perfectly
// (Tiresias, Gu et al., NSDI 2019).
func SRSF() sim.Policy {
	return &foresight{Preemptive: Preemptive{key: func(w *sim.World, j int32) int64 { return left(w, j) * int64(max(1, w.Spec(j).Chips)) }}}
}

// LAS is least attained service in two queues, as Tiresias discretises it (Gu et al., NSDI 2019): a job is in the first
// until it has held threshold of chip-time, then in the second; inside a queue first in, first out. Jobs of the first
// queue preempt those of the second; in one queue nobody stops another, which does better than stopping the later one.
func LAS(threshold time.Duration) sim.Policy {
	const second = int64(1) << 40
	limit := threshold.Milliseconds()
	return &Preemptive{
		same: 40,
		key: func(w *sim.World, j int32) int64 {
			if w.Attained(j) >= limit {
				return second + int64(j)
			}
			return int64(j)
		},
		after: func(_ *Preemptive, w *sim.World, j int32) {
			if rest, chips := limit-w.Attained(j), int64(w.Chips(j)); rest > 0 && chips > 0 {
				w.WakeAt(w.Now() + time.Duration((rest+chips-1)/chips)*time.Millisecond)
			}
		},
	}
}
