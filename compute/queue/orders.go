package queue

import (
	"cmp"
	"errors"
	"slices"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
)

var errUnasked = errors.New("it was started by somebody else")

// take turns an action of the core into a decision.
func (p *Planner) take(a *sched.Action) {
	e := p.jobs[a.Job]
	if e == nil {
		return
	}
	p.hist.changed = true
	switch a.Verb {
	case sched.Preempt:
		e.running = false
		if e.start != nil { // it never began: there is nothing to end
			e.start = nil
			return
		}
		if e.job.State == job.Starting || e.job.State == job.Running {
			e.stop = &stop{e.job.Attempt, job.Stop{Job: a.Job, For: a.For, Reason: p.because(a)}}
		}
	case sched.Start:
		p.ordered++
		e.running = true
		e.start = &start{e.job.Attempt + 1, p.ordered, p.opt.Capacity.placement(a, p.core.Place(a.Seats))}
	}
}

// because says why a job makes way.
func (p *Planner) because(a *sched.Action) string {
	who := "job " + a.For
	own := p.jobs[a.Job].job.Project
	if e := p.jobs[a.For]; e != nil && e.job.Name != "" && e.job.Project == own { // another project's names are its own
		who = sprintf("job %s (%s)", a.For, e.job.Name)
	}
	switch a.Why {
	case sched.Owed:
		return sprintf("It made way for %s, whose queue was below its guarantee; it ran on chips that its own queue had borrowed.", who)
	case sched.Replica:
		return sprintf("It made way for %s, a replica of a deployment.", who)
	case sched.Moved:
		return "It makes way for itself: chips that suit it better stood idle."
	}
	return sprintf("It made way for %s, which goes before it.", who)
}

// device is one chip of a node.
type device struct {
	node   string
	number int32
}

// inUse is the devices that attempts hold, or may.
func inUse(v job.View) map[device]bool {
	busy := map[device]bool{}
	for i := range v.Jobs {
		if j := &v.Jobs[i]; !j.State.Final() && j.State != job.Queued {
			mark(busy, j.Standing.Placement)
		}
	}
	return busy
}

func mark(busy map[device]bool, p *job.Placement) {
	if p == nil {
		return
	}
	for _, s := range p.Seats {
		for _, d := range s.Devices {
			busy[device{s.Node, d}] = true
		}
	}
}

// vacant says whether nobody holds a device of a placement.
func vacant(busy map[device]bool, p *job.Placement) bool {
	for _, s := range p.Seats {
		for _, d := range s.Devices {
			if busy[device{s.Node, d}] {
				return false
			}
		}
	}
	return true
}

// orders are the decisions that can be carried out now. The others stand until what is in their way has ended.
func (p *Planner) orders(v job.View) job.Plan {
	var out job.Plan
	var starts []*entry
	for i := range v.Jobs {
		e := p.jobs[v.Jobs[i].ID]
		switch {
		case e == nil:
		case e.free:
			p.orderFree(e, v, &out)
		case e.stop != nil && (e.job.State == job.Starting || e.job.State == job.Running) && e.job.Attempt == e.stop.attempt:
			out.Stops = append(out.Stops, e.stop.order)
		}
		if e != nil && e.start != nil && e.job.State == job.Queued {
			starts = append(starts, e)
		}
	}
	slices.SortFunc(starts, func(a, b *entry) int { return cmp.Compare(a.start.order, b.start.order) })
	busy := inUse(v)
	for _, e := range starts {
		if vacant(busy, e.start.placement) {
			mark(busy, e.start.placement)
			out.Starts = append(out.Starts, job.Start{Job: e.job.ID, Placement: e.start.placement})
		}
	}
	return out
}

// orderFree starts a job that takes nothing of the capacity as soon as nothing else keeps it.
func (p *Planner) orderFree(e *entry, v job.View, out *job.Plan) {
	if e.job.State != job.Queued {
		return
	}
	why, until, err := e.job.Blocked(v)
	if err != nil {
		why = "It is not known what became of the jobs that it waits for."
	}
	if why == "" {
		why = p.turns[e.job.ID]
	}
	if e.words = why; why == "" {
		out.Starts = append(out.Starts, job.Start{Job: e.job.ID})
	}
	out.Due = sooner(out.Due, until)
}
