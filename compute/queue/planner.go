package queue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Options of a planner.
type Options struct {
	Conf     sched.Config
	Capacity Capacity
	Store    Store
	Memory   Memory           // nil: nothing is kept
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // default: nothing is logged
	Changed  func()           // told when something changed that the next pass should see soon; may be nil

	// Speeds says how fast a job is thought to be on one chip of each class it may use, beside one another: in sched.Micro
	// of any reference that is the same in all answers for the job. Nothing or 0: as fast as the reference; Unfit: the job's work does not fit
	// there, and the class is left out of its menu if another is left. It is asked when a job comes
	// and again once a round, for speeds are learnt while jobs wait and run. It must be quick. nil: all are alike.
	Speeds func(j *job.Job, classes []string) []int64
	// Tell explains the speeds of a job in a sentence that begins with a blank; empty: there is nothing to explain. nil: nothing is.
	Tell func(j *job.Job, classes []string) string
	// Worth is what a chip of a class costs an hour in micro-units of money, and the watts that it draws at work; 0: unknown. A class
	// without a price counts as the mean of those that have one, and where none has, all count alike. nil: nothing is known. Reprice
	// says that it has changed.
	Worth    func(class string) (micros, watts int64)
	Declared Declarer // nodes declared by hand; nil: nobody declares any
	// Recompose, if set, is called after a declaration changed, and has SetCapacity called with what there is now.
	Recompose func(ctx context.Context) error
	// Resumed, if set, is told that somebody had a node take work again, for devices of it that were out.
	Resumed func(ctx context.Context, node string) error
}

// Planner is job.Planner over a scheduling core.
type Planner struct {
	opt  Options
	hist *history

	mu      sync.Mutex
	core    *sched.Core // nil until the first pass
	stale   bool        // it must be made anew
	rows    map[string]Row
	marks   []NodeMark
	windows []Window // those that are not over, as of when the core was made
	closed  map[string]bool
	turns   map[string]string // elements of arrays that wait for others of theirs, and why
	rounds  int64             // of the core, as of the last pass
	spoken  int64             // of the core, when it was told of speeds last
	jobs    map[string]*entry
	ordered int64 // starts decided so far: the order in which they are carried out
	view    job.View
}

var _ job.Planner = (*Planner)(nil)

// entry is an open job as the planner believes it to be.
type entry struct {
	job     job.Job
	outside string    // why the core does not know it; empty if it does
	free    bool      // it asks for nothing that is counted: it is started by the planner itself
	words   string    // why the planner itself has it wait
	turn    string    // why it waits for others of its array
	running bool      // the core has given it a place
	held    bool      // the core was told that it waits for a person, or for a job that will not succeed
	begin   time.Time // before which the core was told not to start it
	start   *start    // decided, not seen carried out
	stop    *stop     // likewise
	left    []string  // classes that its menu was told without, for its work does not fit there
}

// start is a decision to start an attempt.
type start struct {
	attempt   int
	order     int64
	placement *job.Placement
}

// stop is a decision to end an attempt.
type stop struct {
	attempt int
	order   job.Stop
}

// New makes a planner. It asks for nothing until the first call.
func New(opt Options) *Planner {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p := &Planner{opt: opt, jobs: map[string]*entry{}}
	p.hist = recall(opt.Memory, opt.Log)
	return p
}

// Plan implements job.Planner: 1 the core learns what has changed since the last pass, 2 it plans, 3 its actions become
// decisions, 4 decisions that can be carried out now become orders, beside those that clear nodes for maintenance. What was
// learnt is saved at last.
func (p *Planner) Plan(ctx context.Context, v job.View) (job.Plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.view, p.turns = v, job.Turns(v)
	now := ms(v.Now)
	if p.core == nil || p.stale || p.strange(v) {
		if err := p.begin(ctx, v); err != nil {
			return job.Plan{}, err
		}
	} else if err := p.follow(v); err != nil {
		return job.Plan{}, err
	}
	p.told(v)
	p.respeed(now)
	p.paced(now)
	stops, due := p.clear(v)
	stops = append(stops, p.fallen(v)...)
	plan := p.core.Plan(now)
	for i := range plan.Actions {
		p.take(&plan.Actions[i])
	}
	out := p.orders(v)
	if plan.Next < 1<<53 {
		out.Due = sooner(out.Due, time.UnixMilli(plan.Next))
	}
	out.Stops = append(out.Stops, stops...)
	out.Due = sooner(out.Due, due)
	if n := p.core.Rounds(); n != p.rounds {
		p.rounds, p.hist.changed = n, true
		p.core.Await(horizon.Milliseconds()) // what people are told is held against what comes
	}
	p.hist.save(v.Now, p.core.Used(), p.core.State)
	return out, nil
}

// strange says whether a job came of a project that the core has no queue for.
func (p *Planner) strange(v job.View) bool {
	for i := range v.Jobs {
		if j := &v.Jobs[i]; !j.State.Final() && !p.hasQueue(j.Project) {
			return true
		}
	}
	return false
}

func (p *Planner) hasQueue(project string) bool {
	_, ok := p.rows[project]
	return ok
}

// begin makes a core from nothing but the store's truth: what runs is adopted where it is, the rest waits.
func (p *Planner) begin(ctx context.Context, v job.View) error {
	rows, err := p.opt.Store.Queues(ctx)
	if err != nil {
		return err
	}
	marks, err := p.opt.Store.Marks(ctx)
	if err != nil {
		return err
	}
	windows, err := p.opt.Store.Windows(ctx)
	if err != nil {
		return err
	}
	kept := map[string]Row{}
	open := map[string]bool{}
	reserved := map[string]bool{} // projects with a window of their own
	for _, w := range windows {
		reserved[w.Project] = reserved[w.Project] || w.Until.After(v.Now)
	}
	for i := range v.Jobs {
		open[v.Jobs[i].Project] = true
	}
	for _, r := range rows {
		if r.Set || open[r.Project] || reserved[r.Project] {
			kept[r.Project] = r
		}
		delete(open, r.Project)
	}
	for project := range open { // a project that is gone while its jobs still end
		kept[project] = Row{Quota: Quota{Project: project}, Org: project}
	}
	used, state := p.hist.used, p.hist.state
	if p.core != nil {
		used, state = p.core.Used(), p.core.State()
	}
	core, err := sched.New(p.opt.Conf, p.fleet(kept, marks), p.hist, ms(v.Now))
	if err != nil {
		return fault.Wrap(err, "making the scheduling core")
	}
	if err := core.SetWindows(ms(v.Now), p.ahead(windows, kept, v.Now)); err != nil {
		return fault.Wrap(err, "setting the windows")
	}
	core.SetUsed(used)
	core.Align()
	p.core, p.rows, p.marks, p.stale, p.jobs = core, kept, marks, false, map[string]*entry{}
	p.windows, p.closed = p.standing(windows, v.Now), map[string]bool{}
	if err := p.hist.catchUp(v); err != nil {
		p.stale = true
		return err
	}
	for i := range v.Jobs {
		if !v.Jobs[i].State.Final() {
			p.add(&v.Jobs[i], v)
		}
	}
	core.Restore(state)
	return nil
}

// Admit implements job.Planner.
func (p *Planner) Admit(ctx context.Context, j job.Job) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, free := p.describe(&j)
	if free {
		return nil
	}
	core := p.core
	if core == nil || !p.hasQueue(j.Project) { // asked of the empty fleet: a queue of its own forbids nothing
		var err error
		row := map[string]Row{j.Project: {Quota: Quota{Project: j.Project}}}
		if core, err = sched.New(p.opt.Conf, p.fleet(row, nil), p.hist.blank(), 0); err != nil {
			return fault.Wrap(err, "making the scheduling core")
		}
	}
	if j.Ask.Chips == 0 && int64(j.CPUs) > p.opt.Capacity.total(CPU) {
		return fault.New(fault.Invalid, sprintf("The job asks for %d CPUs and there are %d.", j.CPUs, p.opt.Capacity.total(CPU)),
			fault.Field("cpus"), fault.Fix("Ask for at most %d.", p.opt.Capacity.total(CPU)))
	}
	return p.refusal(core.Could(s))
}

// refusal is an error of the core as a fault that names the field.
func (p *Planner) refusal(err error) error {
	if err == nil {
		return nil
	}
	if near, ok := errors.AsType[*sched.Nearby](err); ok {
		f := fault.InvalidField(field(near.Field), "The job can never run here: %s.", near.Reason)
		f.Message = p.named(f.Message)
		if near.Fits > 0 {
			f.Fix = sprintf("Ask for at most %d.", near.Fits)
		}
		return f
	}
	if bad, ok := errors.AsType[*sched.Problem](err); ok {
		text := "The job cannot be taken: " + bad.Reason
		if !strings.HasSuffix(text, "?") {
			text += "."
		}
		return fault.InvalidField(field(bad.Field), "%s", text)
	}
	return err
}

// field is the core's word for a field as a request has it.
func field(s string) string {
	if strings.HasPrefix(s, "any_of[") {
		return "chip_types"
	}
	return s
}

// Close saves what was learnt. The planner may be used on.
func (p *Planner) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.core == nil {
		return nil
	}
	return p.hist.write(p.opt.Now(), p.core.Used(), p.core.State())
}

func (p *Planner) changed() {
	p.stale = true
	if p.opt.Changed != nil {
		p.opt.Changed()
	}
}

// ms is a time in the core's clock; 0 for the zero time.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(0, t.UnixMilli())
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
