package queue

import (
	"maps"
	"math"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
)

// The store knows how long a job's attempts ran by the clock. The core orders and predicts by time at the reference speed, which is
// not the same for a job on faster or slower chips, or on fewer than it asked for. pace ties the two together.

// pace is what a job had attained at the reference speed when it had run for a time by the clock, and at which pace it goes on.
type pace struct {
	Ran      int64 `json:"ran"`      // milliseconds by the clock, of all attempts
	Attained int64 `json:"attained"` // milliseconds at the reference speed
	Speed    int64 `json:"speed"`    // in sched.Micro
}

// reference is the running time of a job's ended attempts at the reference speed, in milliseconds.
func (h *history) reference(j *job.Job) int64 {
	return h.after(j.ID, j.Standing.Ran.Milliseconds())
}

// waiting is reference for a job that waits, with the attempt that still makes way, which the store does not count yet.
func (h *history) waiting(j *job.Job, now int64) int64 {
	if _, noted := h.paces[j.ID]; noted && j.State == job.Preempting && !j.AttemptAt.IsZero() {
		return h.after(j.ID, by(j, now))
	}
	return h.reference(j)
}

// after is what a job has attained at the reference speed when it has run for so long by the clock.
func (h *history) after(id string, ran int64) int64 {
	p, ok := h.paces[id]
	if !ok {
		return ran
	}
	at := float64(p.Attained) + float64(ran-p.Ran)*(float64(p.Speed)/sched.Micro)
	return int64(math.Round(min(max(0, at), float64(endless))))
}

// by is how long a job has run by the clock, its present attempt with it.
func by(j *job.Job, now int64) int64 {
	return j.Standing.Ran.Milliseconds() + max(0, now-ms(j.AttemptAt))
}

// paced notes what the core counts of the jobs that run. Those that always ran at the reference speed need no note.
func (p *Planner) paced(now int64) {
	if p.core == nil {
		return
	}
	for id, e := range p.jobs {
		j := &e.job
		if !e.running || e.start != nil || j.AttemptAt.IsZero() || j.State != job.Starting && j.State != job.Running {
			continue
		}
		if _, noted := p.hist.paces[id]; noted || p.core.Pace(id) != sched.Micro {
			p.hist.paces[id] = pace{by(j, now), p.core.Attained(now, id), p.core.Pace(id)}
		}
	}
}

// forgetPaces drops the notes of jobs that are not open any more.
func (h *history) forgetPaces(open map[string]bool) {
	maps.DeleteFunc(h.paces, func(id string, _ pace) bool { return !open[id] })
}
