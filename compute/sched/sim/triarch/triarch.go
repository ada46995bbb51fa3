// Package triarch replays a trace through the scheduling core that runs live fleets: the policy named after the program.
//
// It only translates: events of the replay into calls of sched.Core, the core's plans into actions of the replay. What
// the core learns of durations it learns from jobs that have ended, as it does in life.
package triarch

import (
	"maps"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// Policy is the core as a policy of a replay. Use New.
type Policy struct {
	conf    sched.Config
	history sched.History
	core    *sched.Core
	number  map[string]int32 // of jobs that wait or run
	queues  map[string]bool
	node    []int32 // the core's node -> the fleet's
	err     error
	parts   []sim.Part
	version int64 // of the world's speeds, as the core was told of them last
	wake    time.Duration

	// Expect has the policy say when jobs that wait will start, as often as this; 0 = never.
	Expect   time.Duration
	expected time.Duration

	// Explain has the policy work out and keep why each job waits: in the plan that refuses it first, and again as often as
	// this for all that wait; 0 = never. It changes no decision.
	Explain   time.Duration
	explained time.Duration
	reasons   map[string]sched.Explanation
	told      int64
}

// New makes the policy of a configuration and a history that has seen nothing.
func New(conf sched.Config, h sched.History) *Policy {
	return &Policy{conf: conf, history: h, number: map[string]int32{}, reasons: map[string]sched.Explanation{}}
}

// Begin implements sim.Beginner.
func (p *Policy) Begin(w *sim.World) {
	f := w.Fleet()
	in := sched.Fleet{}
	for _, c := range f.Chips {
		in.Chips = append(in.Chips, sched.Chip{Name: c.Name, Value: c.Price, Watts: c.Power})
	}
	at := map[string]int32{}
	for i, n := range f.Nodes {
		x := sched.Node{Name: n.Name, Site: f.Sites[n.Site].Name, Chips: int(n.Chips), Links: n.Links, CPUMilli: limited(n.CPU), MemoryMiB: limited(n.Memory)}
		if n.Chip >= 0 {
			x.Chip = f.Chips[n.Chip].Name
		}
		x.Block, x.Rack = where(f, &f.Nodes[i])
		at[n.Name] = int32(i)
		in.Nodes = append(in.Nodes, x)
	}
	in.Queues = queues(f)
	p.queues = map[string]bool{}
	for _, q := range in.Queues {
		p.queues[q.Name] = true
	}
	p.core, p.err = sched.New(p.conf, in, p.history, w.Now().Milliseconds())
	if p.err != nil {
		return
	}
	for _, n := range p.core.Nodes() {
		p.node = append(p.node, at[n.Name])
	}
}

// Step implements sim.Policy.
func (p *Policy) Step(w *sim.World, events []sim.Event) {
	if p.err != nil {
		return
	}
	now := w.Now().Milliseconds()
	for _, e := range events {
		p.tell(w, e, now)
	}
	if v := w.Version(); v != p.version {
		p.version = v
		p.respeed(w, now)
	}
	plan := p.core.Plan(now)
	for i := range plan.Actions {
		p.carryOut(w, &plan.Actions[i])
	}
	if p.Explain > 0 {
		p.explain(w, events, plan.Actions)
	}
	if p.Expect > 0 && w.Now() >= p.expected {
		for id, e := range p.core.Await(horizon) {
			w.Expect(p.number[id], time.Duration(e.P50)*time.Millisecond, time.Duration(e.P90)*time.Millisecond)
		}
		p.expected = w.Now() + p.Expect
	}
	if next := time.Duration(plan.Next) * time.Millisecond; plan.Next < 1<<53 && (p.wake <= w.Now() || next < p.wake) {
		p.wake = next
		w.WakeAt(next)
	}
}

// explain keeps why the jobs wait that began to with this step, and all that do when it is time again.
func (p *Policy) explain(w *sim.World, events []sim.Event, actions []sched.Action) {
	for i := range actions {
		if actions[i].Verb == sched.Start {
			delete(p.reasons, actions[i].Job)
		}
	}
	if w.Now() >= p.explained {
		p.explained = w.Now() + p.Explain
		for id, j := range p.number {
			p.keep(w, id, j)
		}
		return
	}
	for _, e := range events {
		switch e.Kind {
		case sim.Submitted, sim.Failed:
			p.keep(w, w.Spec(e.Job).ID, e.Job)
		case sim.Ended: // one that was withdrawn while it waited
			delete(p.reasons, w.Spec(e.Job).ID)
		}
	}
	for i := range actions {
		if actions[i].Verb == sched.Preempt {
			p.keep(w, actions[i].Job, p.number[actions[i].Job])
		}
	}
}

// keep keeps why a job waits, if it does.
func (p *Policy) keep(w *sim.World, id string, j int32) {
	if w.State(j) != sim.Waiting {
		return
	}
	if e, ok := p.core.Explain(id); ok {
		p.reasons[id] = e
		p.told++
	}
}

// Explained is how many explanations were worked out.
func (p *Policy) Explained() int64 { return p.told }

// Reason is why a job waits, as it was kept last.
func (p *Policy) Reason(id string) (sched.Explanation, bool) {
	e, ok := p.reasons[id]
	return e, ok
}

// horizon is how far expectations look ahead, in milliseconds.
const horizon = 60 * 24 * 3_600_000

func (p *Policy) tell(w *sim.World, e sim.Event, now int64) {
	switch e.Kind {
	case sim.Submitted:
		s := w.Spec(e.Job)
		p.number[s.ID] = e.Job
		j := job(w, e.Job, s)
		if !p.queues[j.Queue] { // the fleet file does not say what it is entitled to
			j.Queue = everyone
		}
		p.note(p.core.Submit(now, j))
	case sim.Ended:
		s := w.Spec(e.Job)
		delete(p.number, s.ID)
		p.note(p.core.End(now, s.ID, p.attained(w, e.Job, now), true))
	case sim.Failed:
		p.note(p.core.Requeue(now, w.Spec(e.Job).ID, p.attained(w, e.Job, now)))
	case sim.NodeDown:
		p.note(p.core.SetNode(now, w.Fleet().Nodes[e.Node].Name, sched.Down))
	case sim.NodeUp:
		p.note(p.core.SetNode(now, w.Fleet().Nodes[e.Node].Name, sched.Up))
	}
}

// attained is how long a job has run at the reference speed: where speeds are learnt, by what was thought of them, for the
// world's own count would tell what they are. What a failure lost is not taken off then.
func (p *Policy) attained(w *sim.World, j int32, now int64) int64 {
	if w.Knowing() {
		return p.core.Attained(now, w.Spec(j).ID)
	}
	return w.Work(j).Milliseconds()
}

// respeed tells the core what speeds are thought right now, of all jobs that wait or run, in the order of submission.
func (p *Policy) respeed(w *sim.World, now int64) {
	for _, j := range slices.Sorted(maps.Values(p.number)) {
		if s := w.Spec(j); s.Chips > 0 {
			p.note(p.core.SetSpeeds(now, s.ID, choices(w, j, s)))
		}
	}
}

func (p *Policy) note(err error) {
	if p.err == nil && err != nil {
		p.err = err
	}
}

// Err is the first error of the core; nil in a replay that went well.
func (p *Policy) Err() error { return p.err }

func (p *Policy) carryOut(w *sim.World, a *sched.Action) {
	j := p.number[a.Job]
	if a.Verb == sched.Preempt {
		p.note(w.Preempt(j))
		return
	}
	p.parts = p.parts[:0]
	for _, s := range a.Seats {
		part := sim.Part{Node: p.node[s.Node], Chips: s.Chips, Device: -1}
		if s.Share < sched.Whole && len(s.Devices) == 1 {
			part.Device = s.Devices[0]
		}
		p.parts = append(p.parts, part)
	}
	p.note(w.Start(j, p.parts))
}

// job is what the core is told of a job: what its submitter said.
func job(w *sim.World, j int32, s *trace.Spec) sched.Job {
	out := sched.Job{ID: s.ID, Queue: s.Queue, User: s.User, Name: s.Name, Submitted: s.Submit.Milliseconds(), Priority: int(s.Priority),
		Deadline: s.Deadline.Milliseconds(), Fixed: !s.Preemptible, Objective: sched.Fastest,
		Need: sched.Need{Chips: int(s.Chips), CPUMilli: s.CPU, MemoryMiB: s.Memory}}
	if s.Chips > 0 {
		out.Need.CPUMilli, out.Need.MemoryMiB = s.CPU/int64(s.Chips), s.Memory/int64(s.Chips)
	}
	if s.Share < 1000 {
		out.Need.Share = int(s.Share)
	}
	if s.Elastic() {
		out.Need.Chips, out.Need.Min = int(s.MaxChips), int(s.MinChips)
	}
	if home := w.Home(j); home >= 0 {
		out.Need.Sites = []string{w.Fleet().Sites[home].Name}
	}
	out.Need.AnyOf = choices(w, j, s)
	return out
}

// choices are the chips that a job may use at the speeds as they are known.
func choices(w *sim.World, j int32, s *trace.Spec) (out []sched.Choice) {
	for c := range w.Fleet().Chips {
		speed := w.Speed(j, int32(c))
		if speed > 0 && (len(s.ChipList) == 0 || allowed(s.ChipList, w.Fleet().Chips[c].Name)) {
			out = append(out, sched.Choice{Chip: w.Fleet().Chips[c].Name, Speed: speed})
		}
	}
	return out
}

func allowed(list []string, name string) bool {
	return slices.Contains(list, name)
}

// everyone is the queue of jobs that name none.
const everyone = "default"

// queues are the fleet file's leaves, each under its outermost ancestor as organisation, and the one for jobs that name
// none.
func queues(f *fleet.Fleet) []sched.Queue {
	parent := make([]bool, len(f.Queues))
	for _, q := range f.Queues {
		if q.Parent >= 0 {
			parent[q.Parent] = true
		}
	}
	var out []sched.Queue
	named := false
	for i, q := range f.Queues {
		if parent[i] {
			continue
		}
		top := q
		for top.Parent >= 0 {
			top = f.Queues[top.Parent]
		}
		x := sched.Queue{Name: q.Name, Org: top.Name, Weight: q.Weight * sched.Micro, OrgWeight: top.Weight * sched.Micro}
		for _, g := range q.Guarantees {
			x.Guarantee = append(x.Guarantee, sched.Count{Chip: f.Chips[g.Chip].Name, Chips: int64(g.Chips)})
		}
		named = named || q.Name == everyone
		out = append(out, x)
	}
	if !named {
		out = append(out, sched.Queue{Name: everyone})
	}
	return out
}

// where is the block and the rack that a node stands in; of several blocks around it the innermost. Names are whole paths,
// for the core wants a rack to be in one block.
func where(f *fleet.Fleet, n *fleet.Node) (block, rack string) {
	for d := n.Domain; d >= 0; d = f.Domains[d].Parent {
		switch {
		case f.Domains[d].Kind == "rack" && rack == "":
			rack = path(f, d)
		case f.Domains[d].Kind == "block" && block == "":
			block = path(f, d)
		}
	}
	return block, rack
}

func path(f *fleet.Fleet, d int32) string {
	name := f.Domains[d].Name
	for p := f.Domains[d].Parent; p >= 0; p = f.Domains[p].Parent {
		name = f.Domains[p].Name + "/" + name
	}
	return name
}

// limited is an amount of a node as the core counts it: 0 where nobody gave a figure.
func limited(v int64) int64 {
	if v >= fleet.Unlimited {
		return 0
	}
	return v
}
