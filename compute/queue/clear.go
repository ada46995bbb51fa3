package queue

import (
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
)

// clearMargin is how long before maintenance begins the nodes shall be empty: what is asked to end has its grace, and this
// much for the keeper to notice.
const clearMargin = 5 * time.Second

// standing are the windows that are not over.
func (p *Planner) standing(list []Window, now time.Time) (out []Window) {
	for _, w := range list {
		if w.Until.After(now) {
			out = append(out, w)
		}
	}
	return out
}

// clear says what makes way for maintenance now, and when something does next. From the time at which the first must, the
// nodes are the window's: nothing more starts there.
func (p *Planner) clear(v job.View) (stops []job.Stop, due time.Time) {
	fresh := false
	for i := range p.windows {
		w := &p.windows[i]
		if w.Project != "" || !w.Until.After(v.Now) {
			continue
		}
		eve := w.From.Add(-clearMargin)
		for k := range v.Jobs {
			j := &v.Jobs[k]
			if !onNodes(j, w) {
				continue
			}
			at := leaves(j, w)
			eve = earlier(eve, at)
			if j.State != job.Starting && j.State != job.Running {
				continue
			}
			if v.Now.Before(at) {
				due = sooner(due, at)
			} else if !slices.ContainsFunc(stops, func(s job.Stop) bool { return s.Job == j.ID }) {
				stops = append(stops, job.Stop{Job: j.ID, For: windowID(w), Reason: sprintf("It made way for %s on %s, which begins at %s.",
					windowID(w), where(j, w), w.From.UTC().Format(time.RFC3339))})
			}
		}
		if v.Now.Before(eve) {
			due = sooner(due, eve)
		} else if !p.closed[w.Name] {
			p.closed[w.Name], fresh = true, true
		}
	}
	if fresh {
		p.close(v.Now)
	}
	return stops, due
}

// close has the core take windows whose time to clear their nodes has come for begun, and takes back what was decided to
// start there and has not.
func (p *Planner) close(now time.Time) {
	list := slices.Clone(p.windows)
	for i := range list {
		if p.closed[list[i].Name] {
			list[i].From = earlier(list[i].From, now)
		}
	}
	if err := p.core.SetWindows(ms(now), p.ahead(list, p.rows, now)); err != nil {
		p.opt.Log.Error("the windows cannot be set", "error", err)
		return
	}
	for i := range p.view.Jobs {
		e := p.jobs[p.view.Jobs[i].ID]
		if e == nil || e.start == nil || e.job.State != job.Queued {
			continue
		}
		pending := job.Job{Standing: job.Standing{Placement: e.start.placement}, State: job.Starting}
		for k := range p.windows {
			if w := &p.windows[k]; p.closed[w.Name] && onNodes(&pending, w) && e.start != nil {
				p.requeue(e, ms(now))
			}
		}
	}
}

// windowID is how a window is named to people.
func windowID(w *Window) string {
	if w.Project != "" {
		return "reservation " + w.Name
	}
	return "maintenance window " + w.Name
}

// onNodes says whether an attempt holds something of a window's nodes.
func onNodes(j *job.Job, w *Window) bool { return where(j, w) != "" }

// where is the first node of a window that an attempt holds something of; empty if there is none.
func where(j *job.Job, w *Window) string {
	if j.State.Final() || j.State == job.Queued || j.Standing.Placement == nil {
		return ""
	}
	for _, s := range j.Standing.Placement.Seats {
		if slices.Contains(w.Nodes, s.Node) {
			return s.Node
		}
	}
	return ""
}

// leaves is when a job is asked to end for a window: in time for its grace.
func leaves(j *job.Job, w *Window) time.Time { return w.From.Add(-j.Grace - clearMargin) }

// leaving tells what runs of the maintenance ahead that will have it make way; empty if there is none.
func (p *Planner) leaving(j *job.Job) (s string) {
	for i := range p.windows {
		w := &p.windows[i]
		if node := where(j, w); node != "" && w.Project == "" && w.Until.After(p.view.Now) {
			s += sprintf(" Node %s is kept for %s from %s on: if it still runs, it is asked to end at %s, saves its work if it can, and waits again.",
				node, windowID(w), w.From.UTC().Format(time.RFC3339), leaves(j, w).UTC().Format(time.RFC3339))
		}
	}
	return s
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
