package queue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// describe is a job as the core is told of it; free if it asks for nothing that is counted.
func (p *Planner) describe(j *job.Job) (s sched.Job, free bool) {
	a := &j.Ask
	s = sched.Job{ID: j.ID, Queue: j.Project, User: a.User, Name: j.Name, Submitted: ms(j.CreatedAt), Priority: j.Priority,
		Limit: a.TimeLimit.Milliseconds(), Deadline: ms(a.Deadline), NotBefore: ms(later(a.NotBefore, j.NextStartAt)),
		Attained: p.hist.reference(j), Preempted: j.Standing.Preempted}
	switch j.ClassOf() {
	case job.Evaluation:
		s.Kind = sched.Evaluation
	case job.Interactive:
		s.Kind = sched.Interactive
	case job.Service:
		s.Kind, s.Group = sched.Service, cmp.Or(a.Group, j.Name, j.ID)
		s.GroupMin, s.Disruption = a.GroupMin, a.Disruption
	}
	switch a.Objective {
	case "fastest":
		s.Objective = sched.Fastest
	case "greenest":
		s.Objective = sched.Greenest
	}
	switch {
	case a.Chips > 0:
		s.Need.Chips, s.Need.Min = a.Chips, a.MinChips
		s.Need.AnyOf = p.choices(j, p.classes(j))
	case j.CPUs > 0: // one larger than a capacity that shrank takes all of it
		s.Need.Chips = min(j.CPUs, int(p.opt.Capacity.total(CPU)))
		s.Need.AnyOf = []sched.Choice{{Chip: CPU}}
	default:
		return s, true
	}
	return s, false
}

// choices are the classes that a job may use at the speeds that are thought right now.
func (p *Planner) choices(j *job.Job, names []string) []sched.Choice {
	var speeds []int64
	if p.opt.Speeds != nil {
		speeds = p.opt.Speeds(j, names)
	}
	out := make([]sched.Choice, len(names))
	for i, n := range names {
		out[i] = sched.Choice{Chip: n}
		switch {
		case i >= len(speeds):
		case speeds[i] == Unfit:
			out[i].Speed = slowest
		default:
			out[i].Speed = min(max(speeds[i], 0), maxSpeed)
		}
	}
	return out
}

// Unfit is the speed on a class of chips on which the work of a job does not fit.
const Unfit = -1

// slowest is the least that can be told of a speed, a millionth of the reference: nothing chooses such a class that has another.
const slowest = 1

// leave takes the classes out of a menu on which the work does not fit, and names them. They stay where nothing else would be left, for what
// is predicted may be wrong and the job is not to wait for ever; and so does the class that it runs on.
func leave(j *job.Job, s *sched.Job) (left []string) {
	running := j.State != job.Queued && j.State != job.Preempting
	w := j.Standing.Placement
	if j.Ask.Work == nil || running && w == nil {
		return nil
	}
	for _, c := range s.Need.AnyOf {
		if c.Speed == slowest && !(running && w.Chip == c.Chip) {
			left = append(left, c.Chip)
		}
	}
	if len(left) == len(s.Need.AnyOf) {
		return nil
	}
	s.Need.AnyOf = without(s.Need.AnyOf, left)
	return left
}

// without are the choices but those of some classes.
func without(all []sched.Choice, left []string) []sched.Choice {
	if len(left) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(c sched.Choice) bool { return slices.Contains(left, c.Chip) })
}

// worth fills in what chips cost and draw.
func (p *Planner) worth(chips []sched.Chip) {
	if p.opt.Worth == nil {
		return
	}
	var sum, priced int64
	for i := range chips {
		micros, watts := p.opt.Worth(chips[i].Name)
		chips[i].Watts = min(max(watts, 0), maxWorth)
		chips[i].Value = min(max(micros, 0), maxWorth)
		if chips[i].Value > 0 {
			sum, priced = sum+chips[i].Value, priced+1
		}
	}
	for i := range chips {
		switch {
		case chips[i].Value > 0:
		case priced > 0:
			chips[i].Value = max(1, sum/priced)
		default:
			chips[i].Value = sched.Micro
		}
	}
}

// maxWorth bounds a price and a power: a million an hour, a gigawatt.
const maxWorth = 1 << 39

// Reprice has the next pass count chips at what Options.Worth says then.
func (p *Planner) Reprice() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed()
}

// classes are those that a job may use, by the names that it or the fleet gives.
func (p *Planner) classes(j *job.Job) []string {
	if len(j.Ask.ChipTypes) > 0 {
		return j.Ask.ChipTypes
	}
	return p.opt.Capacity.declared()
}

// maxSpeed bounds what is told of a speed: a million times the reference.
const maxSpeed = 1_000_000 * sched.Micro

// respeed tells the core, once a round, what speeds are thought right now of all jobs that it knows.
func (p *Planner) respeed(now int64) {
	n := p.core.Rounds()
	if p.opt.Speeds == nil || p.spoken == n {
		return
	}
	p.spoken = n
	for _, id := range slices.Sorted(maps.Keys(p.jobs)) {
		e := p.jobs[id]
		if s, free := p.describe(&e.job); !free && e.outside == "" {
			p.note(id, p.core.SetSpeeds(now, id, without(s.Need.AnyOf, e.left)))
		}
	}
}

// placement is an action's seats as they are written down.
func (c *Capacity) placement(a *sched.Action, held []sched.Held) *job.Placement {
	out := &job.Placement{Site: a.Site, Chip: a.Chip, Size: a.Size, Env: c.isolation(a.Chip, held)}
	for _, h := range held {
		out.Seats = append(out.Seats, job.Seat{Node: h.Node, Chips: h.Chips, Share: h.Share, Devices: h.Devices})
	}
	return out
}

// seats is the reverse.
func seats(p *job.Placement) (held []sched.Held) {
	for _, s := range p.Seats {
		held = append(held, sched.Held{Node: s.Node, Chips: s.Chips, Share: s.Share, Devices: s.Devices})
	}
	return held
}

// fleet is what the core is made on. Guarantees that the fleet no longer has, because it became smaller, are cut in the
// order of the projects; classes that are no longer there are left out.
func (p *Planner) fleet(rows map[string]Row, marks []NodeMark) sched.Fleet {
	f := sched.Fleet{Chips: slices.Clone(p.opt.Capacity.Chips), Nodes: slices.Clone(p.opt.Capacity.Nodes)}
	for i := range f.Nodes {
		f.Nodes[i].Out = p.opt.Capacity.out(f.Nodes[i].Name)
		for _, m := range marks {
			if m.Node == f.Nodes[i].Name && m.Draining {
				f.Nodes[i].State = sched.Draining
			}
		}
	}
	p.worth(f.Chips)
	left := map[string]int64{}
	for _, ch := range f.Chips {
		left[ch.Name] = p.opt.Capacity.total(ch.Name)
	}
	projects := make([]string, 0, len(rows))
	weights := map[string]int64{}
	for id, r := range rows {
		projects = append(projects, id)
		weights[r.Org] = max(weights[r.Org], r.OrgWeight, 1)
	}
	slices.Sort(projects)
	for _, id := range projects {
		r := rows[id]
		q := sched.Queue{Name: id, Org: r.Org, Weight: max(1, r.Weight) * sched.Micro, OrgWeight: weights[r.Org] * sched.Micro}
		for _, ch := range f.Chips {
			want := r.Guarantee[ch.Name]
			if n := min(want, left[ch.Name]); n > 0 {
				q.Guarantee = append(q.Guarantee, sched.Count{Chip: ch.Name, Chips: n})
				left[ch.Name] -= n
				want -= n
			}
			if want > 0 {
				p.opt.Log.Warn("a guarantee is larger than what is left of the fleet", "project", id, "chip", ch.Name, "guarantee", r.Guarantee[ch.Name], "missing", want)
			}
			if n, ok := r.Ceiling[ch.Name]; ok {
				q.Ceiling = append(q.Ceiling, sched.Count{Chip: ch.Name, Chips: n})
			}
		}
		f.Queues = append(f.Queues, q)
	}
	return f
}
