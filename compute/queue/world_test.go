package queue_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// world is what outlives keeper and planner: rows, quotas, processes, what was learnt, and the clock. Its jobs work for
// as long as they are told to, save their work when they are asked to end, and take their grace over it.
type world struct {
	clock   time.Time
	seq     uint64
	rows    map[string]job.Job
	order   []string
	works   map[string]*process // by job and attempt
	left    map[string]time.Duration
	quotas  map[string]queue.Quota
	orgs    map[string]string // project -> organisation
	marks   map[string]queue.NodeMark
	windows map[string]queue.Window
	kept    []byte

	conf     sched.Config
	capacity queue.Capacity
	fuse     int // the keeper dies at the fuse-th moment
	broken   []string

	speeds  func(*job.Job, []string) []int64
	tell    func(*job.Job, []string) string
	worth   func(string) (int64, int64)
	planner *queue.Planner
	keeper  *job.Keeper
}

type process struct {
	job     string
	attempt int
	held    []job.Seat
	phase   job.Phase
	since   time.Time
	stopAt  time.Time // it was asked to end then
	reason  string
	exit    *job.Exit
	grace   time.Duration // what it takes to save
}

type death struct{}

func newWorld(conf sched.Config, cores int, declared ...string) *world {
	c, err := queue.Local("here", cores, declared)
	if err != nil {
		panic(err)
	}
	w := &world{clock: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), rows: map[string]job.Job{}, works: map[string]*process{},
		left: map[string]time.Duration{}, quotas: map[string]queue.Quota{}, orgs: map[string]string{"a": "o", "b": "p"}, marks: map[string]queue.NodeMark{}, windows: map[string]queue.Window{},
		conf: conf, capacity: c}
	w.restart()
	return w
}

func (w *world) now() time.Time { return w.clock }

// Read makes ids countable.
func (w *world) Read(p []byte) (int, error) {
	w.seq++
	for i := range p {
		p[i] = 0
	}
	for i := 0; i < 8 && i < len(p); i++ {
		p[len(p)-1-i] = byte(w.seq >> (8 * i))
	}
	return len(p), nil
}

// restart puts a new keeper with a new planner in the place of the old ones.
func (w *world) restart() {
	w.planner = queue.New(queue.Options{Conf: w.conf, Capacity: w.capacity, Store: quotas{w}, Memory: memory{w}, Now: w.now, Speeds: w.speeds, Tell: w.tell, Worth: w.worth})
	w.keeper = job.New(job.Options{Store: rows{w}, Executor: executor{w}, Planner: w.planner, Now: w.now, IDs: &id.Maker{Now: w.now, Rand: w},
		Blame: func(_ context.Context, j job.Job, _ job.Exit) string { return w.planner.Blame(j) }})
}

func (w *world) moment() {
	if w.fuse > 0 {
		if w.fuse--; w.fuse == 0 {
			panic(death{})
		}
	}
}

// pass is one pass of the keeper, which may die in it.
func (w *world) pass() error {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case death:
			w.restart()
		default:
			panic(r)
		}
	}()
	return w.keeper.Reconcile(context.Background())
}

// run lets time pass in steps, with a pass after each.
func (w *world) run(d, step time.Duration) {
	for ; d > 0; d -= step {
		w.clock = w.clock.Add(step)
		w.live()
		_ = w.pass()
	}
}

// live is the processes' move.
func (w *world) live() {
	for _, k := range slices.Sorted(maps.Keys(w.works)) {
		p := w.works[k]
		switch {
		case p.phase == job.PhaseStarting && !p.stopAt.IsZero():
			w.over(p, job.Exit{Code: -1})
		case p.phase == job.PhaseStarting:
			p.phase, p.since = job.PhaseRunning, w.clock
		case p.phase != job.PhaseRunning:
		case !p.stopAt.IsZero() && w.clock.Sub(p.stopAt) >= p.grace:
			w.left[p.job] -= p.stopAt.Sub(p.since)
			w.over(p, job.Exit{Code: job.ExitStopped})
		case p.stopAt.IsZero() && w.left[p.job] > 0 && w.clock.Sub(p.since) >= w.left[p.job]:
			w.over(p, job.Exit{})
		}
	}
	w.check()
}

func (w *world) over(p *process, e job.Exit) {
	e.EndedAt = w.clock
	if !p.stopAt.IsZero() {
		e.Stopped, e.StopReason = true, p.reason
	}
	p.phase, p.exit = job.PhaseEnded, &e
}

// check looks for two owners of one device, and for a gang that is split.
func (w *world) check() {
	owner := map[string]string{}
	elements := map[string]int{}
	for _, k := range slices.Sorted(maps.Keys(w.works)) {
		p := w.works[k]
		if p.phase == job.PhaseEnded || p.phase == job.PhaseAbsent {
			continue
		}
		if m := w.rows[p.job].Ask.Member; m != nil && m.Limit > 0 {
			if elements[m.Array]++; elements[m.Array] > m.Limit {
				w.wrong("%d elements of %s run, and %d may", elements[m.Array], m.Array, m.Limit)
			}
		}
		w.stays(k, p)
		n := 0
		for _, s := range p.held {
			n += len(s.Devices)
			for _, d := range s.Devices {
				at := fmt.Sprintf("%s:%d", s.Node, d)
				if have := owner[at]; have != "" {
					w.wrong("%s is held by %s and %s", at, have, k)
				}
				owner[at] = k
			}
		}
		if ask := w.rows[p.job].Ask; ask.Chips > 0 && (n > ask.Chips || n < cmp.Or(ask.MinChips, ask.Chips)) {
			w.wrong("%s has %d of %d chips", k, n, ask.Chips)
		}
	}
}

// stays looks for work that is on a node well after its maintenance began.
func (w *world) stays(k string, p *process) {
	for _, x := range w.windows {
		if x.Project != "" || w.clock.Before(later(x.From, x.CreatedAt).Add(30*time.Second)) || !w.clock.Before(x.Until) {
			continue
		}
		for _, s := range p.held {
			if slices.Contains(x.Nodes, s.Node) {
				w.wrong("%s (%s) is on %s at %s, in maintenance %+v", k, p.phase, s.Node, w.clock, x)
			}
		}
	}
}

// intrudes looks for work that was given a place in another's window, well after that had begun. (What was decided before it
// began starts when those that make way for it have saved.)
func (w *world) intrudes(j job.Job) {
	at := j.Standing.PlacedAt
	for _, x := range w.windows {
		late := !at.Before(later(x.From, x.CreatedAt).Add(15 * time.Second))
		if !late || !at.Before(x.Until) || x.Project == j.Project || j.Standing.Placement == nil {
			continue
		}
		for _, s := range j.Standing.Placement.Seats {
			if slices.Contains(x.Nodes, s.Node) {
				w.wrong("job %s of project %s begins on %s at %s, in window %+v", j.ID, j.Project, s.Node, at, x)
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *world) wrong(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// submit adds a job that works for so long; 0 = until it is asked to end.
func (w *world) submit(project, name string, long time.Duration, ask job.Ask, change ...func(*job.Spec)) (job.Job, error) {
	ask.Saves = true
	s := job.Spec{Project: project, Kind: "work", Name: name, Command: job.Command{Argv: []string{"work"}}, Restart: job.Restart{Max: 3}, Ask: ask}
	for _, f := range change {
		f(&s)
	}
	j, err := w.keeper.Create(context.Background(), s)
	if err == nil {
		w.left[j.ID] = long
	}
	return j, err
}

// moving says whether a job is between two places.
func (w *world) moving() bool {
	for _, j := range w.rows {
		if j.State == job.Starting || j.State == job.Preempting {
			return true
		}
	}
	return false
}

// holds are the numbers of chips that the projects' living processes hold.
func (w *world) holds() map[string]int {
	out := map[string]int{}
	for _, p := range w.works {
		if p.phase == job.PhaseRunning || p.phase == job.PhaseStarting {
			for _, s := range p.held {
				out[w.rows[p.job].Project] += len(s.Devices)
			}
		}
	}
	return out
}

func (w *world) get(id string) job.Job {
	j, err := w.keeper.Get(context.Background(), w.rows[id].Project, id)
	if err != nil {
		panic(err)
	}
	return j
}

type memory struct{ *world }

func (m memory) Load() ([]byte, error) { return m.kept, nil }
func (m memory) Save(b []byte) error   { m.moment(); m.kept = b; return nil }

type quotas struct{ *world }

func (q quotas) Queues(context.Context) (out []queue.Row, _ error) {
	for _, p := range slices.Sorted(maps.Keys(q.orgs)) {
		x, set := q.world.quotas[p]
		x.Project, x.Weight = p, max(1, x.Weight)
		out = append(out, queue.Row{Quota: x, Name: "project " + p, Org: q.orgs[p], OrgName: q.orgs[p], OrgWeight: 1, Set: set})
	}
	return out, nil
}

func (q quotas) SetQuota(_ context.Context, x queue.Quota) error {
	q.world.quotas[x.Project] = x
	return nil
}
func (q quotas) RemoveQuota(_ context.Context, p string) error     { delete(q.world.quotas, p); return nil }
func (q quotas) SetOrgWeight(context.Context, string, int64) error { return nil }
func (q quotas) Marks(context.Context) ([]queue.NodeMark, error) {
	return slices.SortedFunc(maps.Values(q.marks), func(a, b queue.NodeMark) int { return cmp.Compare(a.Node, b.Node) }), nil
}
func (q quotas) SetMark(_ context.Context, m queue.NodeMark) error { q.marks[m.Node] = m; return nil }

func (q quotas) Windows(context.Context) ([]queue.Window, error) {
	return slices.SortedFunc(maps.Values(q.windows), func(a, b queue.Window) int { return cmp.Compare(a.Name, b.Name) }), nil
}

func (q quotas) AddWindow(_ context.Context, x queue.Window) error {
	if _, ok := q.windows[x.Name]; ok {
		return fault.New(fault.Conflict, "taken")
	}
	q.windows[x.Name] = x
	return nil
}

func (q quotas) RemoveWindow(_ context.Context, name string) error {
	if _, ok := q.windows[name]; !ok {
		return fault.New(fault.NotFound, "no such window")
	}
	delete(q.windows, name)
	return nil
}

// rows is the store of jobs.
type rows struct{ *world }

func (r rows) Create(_ context.Context, j job.Job) error {
	r.moment()
	r.rows[j.ID] = j
	r.order = append(r.order, j.ID)
	return nil
}

func (r rows) Get(_ context.Context, project, id string) (job.Job, error) {
	j, ok := r.rows[id]
	if !ok || j.Project != project {
		return job.Job{}, fault.New(fault.NotFound, "no such job")
	}
	return j, nil
}

func (r rows) List(_ context.Context, project string, f job.Filter) (out []job.Job, _ error) {
	for _, id := range slices.Backward(r.order) {
		if j := r.rows[id]; j.Project == project && kept(r.rows, j, f) && (f.Limit == 0 || len(out) < f.Limit) {
			out = append(out, j)
		}
	}
	return out, nil
}

func (r rows) Open(context.Context) (out []job.Job, _ error) {
	r.moment()
	for _, id := range r.order {
		if j := r.rows[id]; !j.State.Final() {
			out = append(out, j)
		}
	}
	return out, nil
}

func (r rows) Update(_ context.Context, j job.Job) error {
	r.moment()
	if r.rows[j.ID].Revision != j.Revision {
		return fault.New(fault.Conflict, "stale")
	}
	j.Revision++
	r.rows[j.ID] = j
	r.moment()
	return nil
}

func (r rows) Delete(_ context.Context, _, id string) error { delete(r.rows, id); return nil }

func (r rows) Find(_ context.Context, ids []string) (map[string]job.Job, error) {
	return found(r.rows, ids), nil
}

func (r rows) CreateAll(_ context.Context, js []job.Job) error {
	r.moment()
	for _, j := range js {
		r.rows[j.ID] = j
		r.order = append(r.order, j.ID)
	}
	r.moment()
	return nil
}

func (r rows) UpdateAll(_ context.Context, js []job.Job) error {
	r.moment()
	for _, j := range js {
		if r.rows[j.ID].Revision != j.Revision {
			return fault.New(fault.Conflict, "stale")
		}
	}
	for _, j := range js {
		j.Revision++
		r.rows[j.ID] = j
	}
	r.moment()
	return nil
}

func (r rows) Tally(context.Context, []string) (map[string]job.Tally, error) {
	return tallies(r.rows), nil
}

// kept says whether a job passes a filter; of an array that is folded the leading element does.
func kept(all map[string]job.Job, j job.Job, f job.Filter) bool {
	m := j.Ask.Member
	if f.Fold && m != nil {
		if m.Index != m.First {
			return false
		}
		t := tallies(all)[m.Array]
		if f.Open && t.State().Final() {
			return false
		}
		f.Open = false
	}
	return (f.Kind == "" || f.Kind == j.Kind) && (f.Owner == "" || f.Owner == j.Owner) && (f.State == "" || f.State == j.State) &&
		(!f.Open || !j.State.Final()) && (f.Name == "" || f.Name == j.Name) && (f.Array == "" || m != nil && m.Array == f.Array) &&
		(f.Element == nil || m != nil && m.Index == *f.Element)
}

func tallies(all map[string]job.Job) map[string]job.Tally {
	out := map[string]job.Tally{}
	for _, j := range all {
		m := j.Ask.Member
		if m == nil {
			continue
		}
		t := out[m.Array]
		if t.States == nil {
			t.States = map[job.State]int{}
		}
		t.States[j.State]++
		out[m.Array] = t
	}
	return out
}

// found are the jobs and arrays of ids.
func found(all map[string]job.Job, ids []string) map[string]job.Job {
	out := map[string]job.Job{}
	for _, id := range ids {
		if j, ok := all[id]; ok {
			out[id] = j
		}
		if t, ok := tallies(all)[id]; ok {
			for _, j := range all {
				if m := j.Ask.Member; m != nil && m.Array == id {
					out[id] = job.Job{ID: id, Spec: job.Spec{Project: j.Project}, State: t.Prospect()}
				}
			}
		}
	}
	return out
}

// executor starts the processes.
type executor struct{ *world }

func (x executor) at(id string, n int) *process {
	k := fmt.Sprintf("%s/%d", id, n)
	if x.works[k] == nil {
		x.works[k] = &process{job: id, attempt: n, phase: job.PhaseAbsent}
	}
	return x.works[k]
}

func (x executor) Start(_ context.Context, t job.Task) error {
	x.moment()
	p := x.at(t.Job, t.Attempt)
	if p.phase == job.PhaseAbsent && p.stopAt.IsZero() {
		p.phase, p.grace = job.PhaseStarting, time.Duration(3+len(x.works)%5)*time.Second
		if w := x.rows[t.Job].Standing.Placement; w != nil {
			p.held = w.Seats
		}
		x.intrudes(x.rows[t.Job])
	}
	x.check()
	x.moment()
	return nil
}

func (x executor) Status(_ context.Context, id string, n int) (job.Status, error) {
	p := x.at(id, n)
	return job.Status{Job: id, Attempt: n, Phase: p.phase, Exit: p.exit, StartedAt: p.since}, nil
}

func (x executor) Stop(_ context.Context, id string, n int, _ time.Duration, reason string) error {
	x.moment()
	p := x.at(id, n)
	if p.phase == job.PhaseEnded {
		return nil
	}
	if p.stopAt.IsZero() {
		p.stopAt, p.reason = x.clock, reason
	}
	if p.phase == job.PhaseAbsent {
		x.over(p, job.Exit{Code: -1})
	}
	x.moment()
	return nil
}

func (x executor) List(context.Context) ([]job.Status, error)    { return nil, nil }
func (x executor) Trim(context.Context, string, int, bool) error { return nil }
func (x executor) Remove(context.Context, string) error          { return nil }
func (x executor) Logs(context.Context, string, int, int64, int) (job.LogChunk, error) {
	return job.LogChunk{}, nil
}
func (x executor) Progress(context.Context, string, int, int64, int) ([]byte, int64, error) {
	return nil, 0, nil
}
