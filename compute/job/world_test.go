package job_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// world is what a keeper's death leaves standing: the store's rows, the executor's folders and processes, and the
// clock. It is a Store and an Executor that keep their contracts and can have the keeper die around any call.
type world struct {
	mu    sync.Mutex // for the one test whose keeper works by itself
	clock time.Time
	seq   uint64
	rows  map[string]job.Job
	order []string

	attempts map[string]map[int]*attempt
	fence    map[string]int

	fuse   int               // the keeper dies at the fuse-th moment from now; there is one before and one after each call
	blind  int               // the blind-th change from now is made, and reported as failed
	armed  bool              // whether fuse and blind count
	wishes map[string]string // running job -> the job it is to make way for: the planner's own whims, which outlive keepers
	mute   string            // job whose attempts cannot be looked at
	broken []string
}

type attempt struct {
	phase    job.Phase
	exit     *job.Exit
	stop     bool
	reason   string
	started  int
	output   string
	progress string
}

// death is what the keeper's goroutine panics with when it dies.
type death struct{}

func newWorld() *world {
	return &world{clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), rows: map[string]job.Job{},
		attempts: map[string]map[int]*attempt{}, fence: map[string]int{}, wishes: map[string]string{}}
}

// whim is a planner that counts CPUs and has jobs make way when the world wishes it.
type whim struct {
	job.FIFO
	w *world
}

// Plan implements job.Planner.
func (p *whim) Plan(ctx context.Context, v job.View) (job.Plan, error) {
	plan, err := p.FIFO.Plan(ctx, v)
	for _, j := range v.Jobs {
		by, wished := p.w.wishes[j.ID]
		if !wished || j.State != job.Starting && j.State != job.Running {
			delete(p.w.wishes, j.ID)
			continue
		}
		plan.Stops = append(plan.Stops, job.Stop{Job: j.ID, For: by, Reason: "It made way for job " + by + "."})
	}
	for i, s := range plan.Starts {
		plan.Starts[i].Placement = &job.Placement{Chip: "cpu", Size: 1, Seats: []job.Seat{{Node: "n", Chips: 1, Devices: []int32{int32(len(s.Job))}}}}
	}
	return plan, err
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

func (w *world) keeper(cpus int, onChange func(job.Job)) *job.Keeper {
	return job.New(job.Options{Store: w, Executor: executorOf{w}, Planner: &whim{FIFO: job.FIFO{CPUs: cpus}, w: w}, Now: w.now, OnChange: onChange,
		IDs: &id.Maker{Now: w.now, Rand: w}})
}

// moment is a point at which the keeper may die.
func (w *world) moment() {
	if !w.armed || w.fuse == 0 {
		return
	}
	if w.fuse--; w.fuse == 0 {
		panic(death{})
	}
}

// done is called after a change was made; it may hide that from the keeper.
func (w *world) done() error {
	w.moment()
	if w.armed && w.blind > 0 {
		if w.blind--; w.blind == 0 {
			return fault.New(fault.Unavailable, "The answer was lost.")
		}
	}
	return nil
}

func (w *world) Create(_ context.Context, j job.Job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment()
	for _, have := range w.rows {
		if j.Owner != "" && have.Owner == j.Owner && have.Kind == j.Kind && have.Project == j.Project {
			return fault.New(fault.Conflict, "taken")
		}
	}
	w.rows[j.ID] = j
	w.order = append(w.order, j.ID)
	return w.done()
}

func (w *world) Get(_ context.Context, project, id string) (job.Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment()
	j, ok := w.rows[id]
	if !ok || j.Project != project {
		return job.Job{}, fault.New(fault.NotFound, "no such job")
	}
	return j, nil
}

func (w *world) List(_ context.Context, project string, f job.Filter) (out []job.Job, err error) {
	w.moment()
	for _, id := range slices.Backward(w.order) {
		j, ok := w.rows[id]
		if ok && j.Project == project && kept(w.rows, j, f) && (f.Limit == 0 || len(out) < f.Limit) {
			out = append(out, j)
		}
	}
	return out, nil
}

func (w *world) Open(context.Context) (out []job.Job, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment()
	for _, id := range w.order {
		if j, ok := w.rows[id]; ok && !j.State.Final() {
			out = append(out, j)
		}
	}
	return out, nil
}

func (w *world) Update(_ context.Context, j job.Job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment()
	have, ok := w.rows[j.ID]
	if !ok {
		return fault.New(fault.NotFound, "no such job")
	}
	if have.Revision != j.Revision {
		return fault.New(fault.Conflict, "stale")
	}
	if have.State.Final() && (have.State != j.State || have.Attempt != j.Attempt) {
		w.wrong("job %s left the final state %s for %s", j.ID, have.State, j.State)
	}
	if j.Attempt < have.Attempt || j.Attempt > have.Attempt+1 {
		w.wrong("job %s went from attempt %d to %d", j.ID, have.Attempt, j.Attempt)
	}
	j.Revision++
	w.rows[j.ID] = j
	return w.done()
}

func (w *world) Delete(_ context.Context, project, id string) error {
	w.moment()
	delete(w.rows, id)
	return w.done()
}

func (w *world) Find(_ context.Context, ids []string) (map[string]job.Job, error) {
	w.moment()
	return found(w.rows, ids), nil
}

func (w *world) CreateAll(_ context.Context, js []job.Job) error {
	w.moment()
	for _, j := range js {
		w.rows[j.ID] = j
		w.order = append(w.order, j.ID)
	}
	return w.done()
}

func (w *world) UpdateAll(_ context.Context, js []job.Job) error {
	w.moment()
	for _, j := range js {
		if w.rows[j.ID].Revision != j.Revision {
			return fault.New(fault.Conflict, "stale")
		}
	}
	for _, j := range js {
		j.Revision++
		w.rows[j.ID] = j
	}
	return w.done()
}

func (w *world) Tally(context.Context, []string) (map[string]job.Tally, error) {
	return tallies(w.rows), nil
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

func (w *world) wrong(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

func (w *world) at(id string, n int) *attempt {
	if w.attempts[id] == nil {
		w.attempts[id] = map[int]*attempt{}
	}
	a := w.attempts[id][n]
	if a == nil {
		a = &attempt{phase: job.PhaseAbsent}
		w.attempts[id][n] = a
	}
	return a
}

func (w *world) Start(_ context.Context, t job.Task) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment()
	if w.fence[t.Job] > t.Attempt {
		return fault.New(fault.Conflict, "superseded")
	}
	w.fence[t.Job] = t.Attempt
	row, ok := w.rows[t.Job]
	if !ok || row.Attempt != t.Attempt || row.Standing.Placement == nil {
		w.wrong("attempt %d of %s was started and is not on record with its place", t.Attempt, t.Job)
	}
	if !slices.Contains(t.Command.Env, job.EnvDevices+"="+row.Standing.Placement.Devices()) {
		w.wrong("attempt %d of %s was not told its devices: %v", t.Attempt, t.Job, t.Command.Env)
	}
	if a := w.at(t.Job, t.Attempt); a.phase == job.PhaseAbsent && !a.stop {
		a.phase = job.PhaseStarting
	}
	return w.done()
}

// begin is the world's move: a supervisor gets its process going.
func (w *world) begin(id string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.at(id, n)
	if a.phase != job.PhaseStarting {
		return
	}
	if a.stop {
		a.phase, a.exit = job.PhaseEnded, &job.Exit{Code: -1, Stopped: true, StopReason: a.reason, EndedAt: w.clock}
		return
	}
	for m, other := range w.attempts[id] {
		if m != n && (other.phase == job.PhaseRunning || other.phase == job.PhaseOrphaned) {
			w.wrong("attempts %d and %d of %s live at once", m, n, id)
		}
	}
	a.phase = job.PhaseRunning
	if a.started++; a.started > 1 {
		w.wrong("attempt %d of %s ran twice", n, id)
	}
}

func (w *world) end(id string, n int, e job.Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.at(id, n)
	e.EndedAt = w.clock
	if a.stop {
		e.Stopped, e.StopReason = true, a.reason
	}
	a.phase, a.exit = job.PhaseEnded, &e
}

// living are the attempts that run or may yet.
func (w *world) living() (out []job.Status) {
	for _, id := range slices.Sorted(maps.Keys(w.attempts)) {
		for _, n := range slices.Sorted(maps.Keys(w.attempts[id])) {
			switch a := w.attempts[id][n]; a.phase {
			case job.PhaseStarting, job.PhaseRunning, job.PhaseOrphaned:
				out = append(out, job.Status{Job: id, Attempt: n, Phase: a.phase})
			}
		}
	}
	return out
}

func (w *world) Status(_ context.Context, id string, n int) (job.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment()
	if id == w.mute {
		return job.Status{}, fault.New(fault.Unavailable, "The disk is gone.")
	}
	a := w.at(id, n)
	return job.Status{Job: id, Attempt: n, Phase: a.phase, Exit: a.exit, Limits: "none", Touched: w.clock}, nil
}

func (w *world) Stop(_ context.Context, id string, n int, _ time.Duration, reason string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment()
	a := w.at(id, n)
	if !a.stop {
		a.stop, a.reason = true, reason
	}
	switch a.phase {
	case job.PhaseAbsent:
		a.phase, a.exit = job.PhaseEnded, &job.Exit{Code: -1, Stopped: true, StopReason: reason, EndedAt: w.clock}
	case job.PhaseOrphaned:
		a.phase, a.exit = job.PhaseEnded, &job.Exit{Code: -1, Lost: job.LostSupervisor, EndedAt: w.clock}
	}
	return w.done()
}

// List is job.Executor's: the store's has other parameters.
type executorOf struct{ *world }

func (x executorOf) List(context.Context) (out []job.Status, err error) {
	x.moment()
	for _, id := range slices.Sorted(maps.Keys(x.attempts)) {
		n := slices.Max(slices.Collect(maps.Keys(x.attempts[id])))
		a := x.attempts[id][n]
		out = append(out, job.Status{Job: id, Attempt: n, Phase: a.phase, Exit: a.exit, Touched: x.clock})
	}
	return out, nil
}

func (w *world) Trim(_ context.Context, id string, keepFrom int, all bool) error {
	w.moment()
	for n, a := range w.attempts[id] {
		if n < keepFrom {
			a.output = ""
		}
	}
	return w.done()
}

func (w *world) Remove(_ context.Context, id string) error {
	w.moment()
	for _, st := range w.living() {
		if st.Job == id {
			return fault.New(fault.Conflict, "it lives")
		}
	}
	delete(w.attempts, id)
	delete(w.fence, id)
	return w.done()
}

func (w *world) Logs(_ context.Context, id string, n int, offset int64, limit int) (job.LogChunk, error) {
	out := w.at(id, n).output
	offset = min(offset, int64(len(out)))
	data := out[offset:min(len(out), int(offset)+limit)]
	return job.LogChunk{Offset: offset, Data: []byte(data), Next: offset + int64(len(data)), End: int64(len(out))}, nil
}

func (w *world) Progress(_ context.Context, id string, n int, offset int64, limit int) ([]byte, int64, error) {
	text := w.at(id, n).progress[offset:]
	end := 0
	for i := range text {
		if text[i] == '\n' && (i < limit || end == 0) {
			end = i + 1
		}
	}
	return []byte(text[:end]), offset + int64(end), nil
}
