package queue

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
)

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Change is the cheapest change of a waiting job, or of its queue, with which it would start now. See sched.Change.
type Change struct {
	Kind string // "chip", "site", "smaller", "queue", "less" or "quota"
	Name string // of the class, site or project
	To   int
	Text string // a sentence
}

// Explanation is why a job is where it is.
type Explanation struct {
	Stage  string // of the plan that refused it: feasible, entitled, ordered, matched, reserved, preempted or placed; empty if none did
	Bound  string // what binds, in a word: see sched.Explanation; also "plan", "room being made", "start", "array" and "outside"
	Have   int64  // of what binds
	Want   int64
	Unit   string // of the two: "chips", "thousandths" of a chip, "ms" or "jobs"; empty where they say nothing
	Ahead  int    // jobs of its queue that come before it
	Reason string
	Change *Change
	P50    time.Time // expected start: by then in half of all cases; zero if it cannot be told
	P90    time.Time // by then in nine of ten
}

// horizon is how far expected starts look ahead.
const horizon = 30 * 24 * time.Hour

// Why implements job.Planner. Runs keep its sentence, so it changes when the reason does and not with every second.
func (p *Planner) Why(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.why(id)
	if x.Stage == sched.Reserved.String() {
		return "What would fit is held for what begins there before this job would be done."
	}
	return x.Reason
}

// why is the explanation without what takes trying.
func (p *Planner) why(id string) Explanation {
	e := p.jobs[id]
	switch {
	case e == nil || p.core == nil:
		return Explanation{}
	case e.words != "":
		return Explanation{Bound: "after", Reason: e.words}
	case e.turn != "" && !e.job.Standing.Held:
		return Explanation{Bound: "array", Have: int64(e.job.Ask.Member.Limit), Want: int64(e.job.Ask.Member.Count), Unit: "jobs", Reason: e.turn}
	case e.free:
		return Explanation{}
	case e.outside != "":
		return Explanation{Bound: "outside", Reason: e.outside}
	case e.start != nil && e.job.State == job.Queued:
		return p.placed(e)
	}
	x, ok := p.core.Explain(id)
	if !ok {
		return Explanation{}
	}
	out := Explanation{Bound: x.Bound, Have: x.Have, Want: x.Want, Unit: x.Unit, Ahead: x.Ahead, Reason: p.named(x.Reason)}
	if x.Stage > 0 {
		out.Stage = x.Stage.String()
	}
	switch {
	case e.running:
		out.Reason += p.leaving(&e.job)
	case x.Stage == sched.Placed:
		out.Reason += p.drained(e)
	case x.Bound == "begin":
		out.Reason = sprintf("It begins at %s at the earliest.", e.begin.UTC().Format(time.RFC3339))
	}
	return out
}

// drained names the nodes that a job could use if they took new work.
func (p *Planner) drained(e *entry) (s string) {
	need, _ := p.describe(&e.job)
	for _, n := range p.opt.Capacity.Nodes {
		usable := slices.ContainsFunc(without(need.Need.AnyOf, e.left), func(c sched.Choice) bool { return c.Chip == n.Chip })
		if usable {
			s += p.opt.Capacity.outOf(n.Name)
		}
		for _, m := range p.marks {
			if !usable || !m.Draining || m.Node != n.Name {
				continue
			}
			s += sprintf(" Node %s takes no new work", n.Name)
			if m.Reason != "" {
				s += ": " + strings.TrimRight(m.Reason, ".")
			}
			s += "."
		}
	}
	return s
}

// placed explains a job whose place is decided and not free yet.
func (p *Planner) placed(e *entry) Explanation {
	w := e.start.placement
	out := Explanation{Bound: "room being made", Want: int64(w.Size), Unit: "chips"}
	for i := range p.view.Jobs {
		j := &p.view.Jobs[i]
		if j.ID == e.job.ID || j.State.Final() || j.State == job.Queued {
			continue
		}
		busy := map[device]bool{}
		mark(busy, j.Standing.Placement)
		if !vacant(busy, w) {
			out.Stage = sched.Preempted.String()
			out.Reason = sprintf("Its place is found, %d of chip %s, and it starts when job %s has made room.", w.Size, w.Chip, j.ID)
			return out
		}
	}
	out.Bound, out.Reason = "start", sprintf("Its place is found, %d of chip %s, and it is being started.", w.Size, w.Chip)
	return out
}

// Explain says why a job is where it is, and for one that waits what would start it and when it is expected to start. It
// tries changes on copies of the core and takes its time.
func (p *Planner) Explain(j job.Job) Explanation {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.why(j.ID)
	e := p.jobs[j.ID]
	if e != nil && p.opt.Tell != nil && out.Reason != "" {
		out.Reason += p.opt.Tell(&e.job, p.classes(&e.job))
		if len(e.left) > 0 {
			out.Reason += sprintf(" It is kept off chips on which its work does not fit: %s.", strings.Join(e.left, ", "))
		}
	}
	if e == nil && j.State == job.Queued {
		return Explanation{Bound: "plan", Reason: "It has just come, and the next plan looks at it."}
	}
	if e == nil || p.core == nil || e.free || e.outside != "" || e.running {
		return out
	}
	home := p.rows[j.Project].Org
	near := func(c *sched.Change) bool { // others' projects are not named, nor chips on which it does not fit
		return (c.Kind != "queue" || p.rows[c.Name].Org == home) && (c.Kind != "chip" || !slices.Contains(e.left, c.Name))
	}
	if c := p.core.CheapestOf(j.ID, near); c != nil {
		out.Change = &Change{Kind: c.Kind, Name: c.Name, To: c.To, Text: p.sentence(c)}
	}
	if x, ok := p.core.Expect(horizon.Milliseconds())[j.ID]; ok {
		out.P50, out.P90 = time.UnixMilli(x.P50).UTC(), time.UnixMilli(x.P90).UTC()
	}
	return out
}

// sentence says what a change would be.
func (p *Planner) sentence(c *sched.Change) string {
	if r, ok := p.rows[c.Name]; ok && c.Kind == "queue" {
		return sprintf("It would start now in the queue of project %s.", r.Name)
	}
	return sprintf("It would start now %s.", p.named(c.Reason))
}

// named puts the names of projects in the place of their ids.
func (p *Planner) named(s string) string {
	if !strings.Contains(s, "ueue prj_") {
		return s
	}
	for id, r := range p.rows {
		s = strings.ReplaceAll(s, "ueue "+id, "ueue of project "+r.Name)
	}
	return s
}

// QueueView is a queue as it stands.
type QueueView struct {
	Row
	Held    map[string]int64 // chips in use by class, a part of one as one
	Waiting int              // jobs that wait for room
	Parked  int              // jobs that wait for something else: held, a later beginning, other jobs
	Running int              // jobs
	Used    int64            // micro-units beyond its guarantee, decayed
	Share   float64          // its part of all that the queues have had beyond their guarantees lately, by weight; 0 to 1
	Next    string           // id of the job that is the next to start; empty if none waits for room
}

// Queues tells of the queues that have a quota or jobs, by project; nil before the first plan.
func (p *Planner) Queues() []QueueView {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.core == nil {
		return nil
	}
	states := p.core.Queues()
	var all int64
	for _, s := range states {
		all += s.Burden
	}
	out := make([]QueueView, len(states))
	for i, s := range states {
		v := QueueView{Row: p.rows[s.Name], Held: map[string]int64{}, Waiting: s.Waiting, Parked: s.Parked, Running: s.Running, Used: s.Used, Next: s.Next}
		for _, h := range s.Held {
			v.Held[h.Chip] = (h.Milli + sched.Whole - 1) / sched.Whole
		}
		if all > 0 {
			v.Share = float64(s.Burden) / float64(all)
		}
		out[i] = v
	}
	return out
}
