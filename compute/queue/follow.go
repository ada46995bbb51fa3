package queue

import (
	"maps"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
)

// follow tells the core what has become of the jobs since the last pass.
func (p *Planner) follow(v job.View) error {
	open := make(map[string]bool, len(v.Jobs))
	for i := range v.Jobs {
		j := &v.Jobs[i]
		if j.State.Final() {
			continue
		}
		open[j.ID] = true
		if e := p.jobs[j.ID]; e == nil {
			p.add(j, v)
		} else {
			p.update(e, j, v)
		}
	}
	gone, last, err := ended(v, p.jobs, open)
	if err != nil {
		return err
	}
	for _, id := range gone {
		p.end(p.jobs[id], last[id], ms(v.Now))
	}
	return nil
}

// ended is the known jobs that are not open any more, by id, and those of them that the store still has.
func ended[T any](v job.View, known map[string]T, open map[string]bool) (gone []string, last map[string]job.Job, err error) {
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if !open[id] {
			gone = append(gone, id)
		}
	}
	if len(gone) > 0 {
		last, err = v.Find(gone)
	}
	return gone, last, err
}

// end tells of a job that has ended; the zero Job is one that was deleted.
func (p *Planner) end(e *entry, last job.Job, now int64) {
	id := e.job.ID
	delete(p.jobs, id)
	defer delete(p.hist.paces, id)
	if e.free || e.outside != "" {
		return
	}
	taught := int64(0) // a replica has no length, and one that was cancelled says nothing of it
	if last.ClassOf() != job.Service && (last.State == job.Succeeded || last.State == job.Failed && !last.Standing.Overdue) {
		taught = p.hist.reference(&last)
	}
	p.note(id, p.core.End(now, id, taught, last.State == job.Succeeded))
	p.hist.changed = true
}

// note logs what the core refused to hear: a defect, after which the core is made anew from the store.
func (p *Planner) note(id string, err error) {
	if err != nil {
		p.opt.Log.Error("the scheduling core and the store differ; it begins anew", "job", id, "error", err)
		p.stale = true
	}
}

// add tells of a job that the core does not know.
func (p *Planner) add(j *job.Job, v job.View) {
	e := &entry{job: *j}
	p.jobs[j.ID] = e
	s, free := p.describe(j)
	if e.free = free; free {
		return
	}
	all := s.Need.AnyOf
	e.left = leave(j, &s)
	now := ms(v.Now)
	if j.State != job.Queued && j.State != job.Preempting {
		s.NotBefore = 0
		started := ms(later(j.Standing.PlacedAt, j.CreatedAt))
		if j.Standing.PlacedAt.IsZero() {
			started = ms(j.AttemptAt)
		}
		err := p.hist.adopting(j, now, func() error { return p.core.Adopt(now, s, seats(p.whereabouts(j, v)), started) })
		if err != nil {
			e.outside = sprintf("It runs beside the schedule: %s.", err)
			p.opt.Log.Warn("a job that runs cannot be placed where it is", "job", j.ID, "error", err)
			return
		}
		e.running = true
		if _, noted := p.hist.paces[j.ID]; noted && !j.AttemptAt.IsZero() {
			p.core.Attain(now, j.ID, p.hist.after(j.ID, by(j, now)))
		}
		p.core.Recall(j.ID, started-ms(j.CreatedAt)-j.Standing.Ran.Milliseconds(), true)
		return
	}
	e.turn = p.turns[j.ID]
	e.held, e.begin = j.Standing.Held || e.turn != "", later(j.Ask.NotBefore, j.NextStartAt)
	s.Hold, s.Attained = e.held, p.hist.waiting(j, now)
	if j.Attempt == 0 {
		p.depend(e, &s, v)
	}
	err := p.core.Submit(now, s)
	if err != nil && len(e.left) > 0 { // of the others there are too few: what is predicted may be wrong
		e.left, s.Need.AnyOf = nil, all
		err = p.core.Submit(now, s)
	}
	if err != nil {
		e.outside = sprintf("It can never start here: %s.", err)
		return
	}
	p.core.Recall(j.ID, now-ms(j.CreatedAt)-j.Standing.Ran.Milliseconds(), j.Attempt > 0)
	p.hist.stopped(j, now)
}

// later is the later of two times, either of which may be zero.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// depend fills in for which jobs another waits. What the core knows it watches by itself; what has ended decides here.
func (p *Planner) depend(e *entry, s *sched.Job, v job.View) {
	var unknown []string
	for _, id := range e.job.Ask.After {
		if x := p.jobs[id]; x != nil && !x.free && x.outside == "" {
			s.After = append(s.After, id)
		} else {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) == 0 {
		return
	}
	rest := e.job
	rest.Ask.After = unknown
	why, err := rest.Behind(v)
	if err != nil {
		why = "It is not known what became of the jobs that it waits for."
	}
	if e.words = why; why != "" {
		e.held, s.Hold = true, true
	}
}

// whereabouts is what a running job holds. One that was started before placements were written down holds the first
// devices of its class that nobody else does.
func (p *Planner) whereabouts(j *job.Job, v job.View) *job.Placement {
	if j.Standing.Placement != nil {
		return j.Standing.Placement
	}
	busy := inUse(v)
	left := min(j.CPUs, int(p.opt.Capacity.total(CPU)))
	out := &job.Placement{Site: Here, Chip: CPU, Size: left}
	for _, n := range p.opt.Capacity.Nodes {
		if n.Chip != CPU || left > n.Chips {
			continue
		}
		s := job.Seat{Node: n.Name, Chips: left}
		for d := int32(0); int(d) < n.Chips && len(s.Devices) < left; d++ {
			if !busy[device{n.Name, d}] {
				s.Devices = append(s.Devices, d)
			}
		}
		out.Seats = append(out.Seats, s)
		break
	}
	j.Standing.Placement = out // for those that come after it in this pass
	return out
}

// update tells what has changed of a job that is known.
func (p *Planner) update(e *entry, j *job.Job, v job.View) {
	e.job = *j
	if e.free {
		return
	}
	now := ms(v.Now)
	if e.outside != "" {
		if j.State == job.Queued { // it waits now, or the fleet may have changed
			delete(p.jobs, j.ID)
			p.add(j, v)
		}
		return
	}
	switch j.State {
	case job.Queued:
		e.stop = nil
		p.queued(e, v)
	case job.Preempting:
		e.stop = nil
		if e.running && e.start == nil { // somebody asked for it: it waits again, on whatever it still holds
			p.requeue(e, now)
		}
	case job.Starting, job.Running:
		if e.start != nil && j.Attempt >= e.start.attempt {
			e.start = nil
			p.core.Began(now, j.ID, ms(j.Standing.PlacedAt))
		}
		if !e.running && e.stop == nil {
			p.note(j.ID, errUnasked)
		}
	}
}

// queued brings the core's word on a waiting job in line with the store's.
func (p *Planner) queued(e *entry, v job.View) {
	now, j := ms(v.Now), &e.job
	begin := later(j.Ask.NotBefore, j.NextStartAt)
	e.turn = p.turns[j.ID]
	held := j.Standing.Held || e.words != "" || e.turn != ""
	if e.running && (e.start == nil || held || begin.After(v.Now)) {
		p.requeue(e, now)
	}
	if e.running {
		return
	}
	if e.words != "" { // it waited for what the core does not know
		if why, err := j.Behind(v); err == nil {
			e.words = why
		}
		held = j.Standing.Held || e.words != "" || e.turn != ""
	}
	if held != e.held {
		p.note(j.ID, p.core.SetHold(now, j.ID, held))
		e.held = held
	}
	if !begin.Equal(e.begin) {
		p.note(j.ID, p.core.SetBegin(now, j.ID, ms(begin)))
		e.begin = begin
	}
}

// requeue tells that a job lost its place.
func (p *Planner) requeue(e *entry, now int64) {
	p.note(e.job.ID, p.core.Requeue(now, e.job.ID, p.hist.waiting(&e.job, now)))
	e.running, e.start = false, nil
	e.held, e.begin = false, time.Time{}
	p.hist.changed = true
}

// told tells how much work of running jobs is safe: all of it where a job saves its work when it is asked to end.
func (p *Planner) told(v job.View) {
	for _, e := range p.jobs {
		if e.running && e.start == nil && e.job.Ask.Saves && e.job.State == job.Running {
			p.core.Safe(ms(v.Now), e.job.ID)
		}
	}
}
