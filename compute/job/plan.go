package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// View is what a planner sees.
type View struct {
	Now  time.Time
	Jobs []Job // every job of every project that was open at the beginning of the pass, in order of creation
	// Find gives those of the ids that are jobs, open or ended, of any project.
	// The id of an array gives a job that stands for it, see Store.Find.
	Find func(ids []string) (map[string]Job, error)
}

// Start is a queued job whose turn it is, and what its attempt will hold.
type Start struct {
	Job       string
	Placement *Placement
}

// Stop is a running job that makes way.
type Stop struct {
	Job    string
	For    string // the job that takes its place, or the maintenance that takes its nodes
	Reason string // a sentence for the user
	Fault  string // who must act on Reason, if something failed: FaultNode
}

// Plan is what a planner decides. Stops are carried out first. A planner must not start a job on what an attempt still
// holds: a job that makes way holds its placement until it is queued again.
type Plan struct {
	Stops  []Stop
	Starts []Start
	Due    time.Time // when it may decide otherwise without a change of any job; zero: not by time alone
}

// Planner decides which queued jobs start and which running ones make way. The keeper carries its plans out and shows it
// the truth again at each pass: what could not be carried out is decided anew.
type Planner interface {
	// Plan is asked at each pass. One keeper asks at a time.
	Plan(ctx context.Context, v View) (Plan, error)
	// Admit says why a job could never run here: fault.Invalid with the field. It keeps nothing.
	Admit(ctx context.Context, j Job) error
	// Why says in a sentence why a queued job waits, as of the last Plan. It may be asked from any goroutine.
	Why(id string) string
}

// FIFO is the planner of last resort: it counts CPUs and nothing else. Strictly first in, first out within a priority: a
// job that does not fit holds up those behind it, so that it cannot starve.
type FIFO struct {
	CPUs int // capacity

	mu      sync.Mutex
	waiting map[string]string // queued job -> why it waits
}

// Admit implements Planner.
func (f *FIFO) Admit(_ context.Context, j Job) error {
	if j.CPUs > f.CPUs {
		return fault.New(fault.Invalid, sprintf("The job asks for %d CPUs and there are %d.", j.CPUs, f.CPUs),
			fault.Field("cpus"), fault.Fix("Ask for at most %d.", f.CPUs))
	}
	if j.Ask.Chips > 0 {
		return fault.InvalidField("chips", "There are no chips here, only %s.", count(f.CPUs, "CPU"))
	}
	return nil
}

// Why implements Planner.
func (f *FIFO) Why(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting[id]
}

// Plan implements Planner.
func (f *FIFO) Plan(_ context.Context, v View) (Plan, error) {
	free, queue := f.CPUs, []*Job{}
	for i := range v.Jobs {
		switch j := &v.Jobs[i]; {
		case j.State == Queued:
			queue = append(queue, j)
		case !j.State.Final():
			free -= f.slots(j)
		}
	}
	slices.SortFunc(queue, func(a, b *Job) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	var p Plan
	ahead, waiting := 0, map[string]string{}
	turns := Turns(v)
	for _, j := range queue {
		need := f.slots(j)
		why, begins, err := j.Blocked(v)
		switch {
		case err != nil:
			return Plan{}, err
		case turns[j.ID] != "":
			waiting[j.ID] = turns[j.ID]
		case why != "":
			waiting[j.ID] = why
			p.Due = sooner(p.Due, begins)
		case need > 0 && (ahead > 0 || need > free):
			waiting[j.ID] = f.queueReason(need, free, ahead)
			ahead++
		default:
			free -= need
			p.Starts = append(p.Starts, Start{Job: j.ID})
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = waiting
	return p, nil
}

// slots is what a job takes of the capacity; one larger than a capacity that shrank takes all of it.
func (f *FIFO) slots(j *Job) int { return min(j.CPUs, f.CPUs) }

func (f *FIFO) queueReason(need, free, ahead int) string {
	s := sprintf("Waits for %s; %d of %d are free", count(need, "CPU"), max(0, free), f.CPUs)
	if ahead > 0 {
		return s + sprintf(" and %s before it.", be(ahead, "job"))
	}
	return s + " and it is the next."
}

// Blocked says why a queued job must not start whatever is free, and when that passes, if it does by time alone; empty
// when nothing but room keeps it from starting.
func (j *Job) Blocked(v View) (why string, until time.Time, err error) {
	switch {
	case j.Standing.Held:
		return "It is held until somebody releases it.", time.Time{}, nil
	case waits(j, v.Now):
		return sprintf("Tried again in %s.", j.NextStartAt.Sub(v.Now).Round(100*time.Millisecond)), j.NextStartAt, nil
	case j.Ask.NotBefore.After(v.Now):
		return sprintf("It begins at %s at the earliest.", j.Ask.NotBefore.UTC().Format(time.RFC3339)), j.Ask.NotBefore, nil
	case len(j.Ask.After) > 0:
		why, err = j.Behind(v)
	}
	return why, time.Time{}, err
}

// Behind says for which job a job waits; empty if all that it names have succeeded.
func (j *Job) Behind(v View) (string, error) {
	have, err := v.Find(j.Ask.After)
	if err != nil {
		return "", err
	}
	for _, id := range j.Ask.After {
		what := "job " + id
		if IsArray(id) {
			what = "array " + id
		}
		switch x, ok := have[id]; {
		case !ok:
			return sprintf("It waits for %s, which is gone: it will never start. Cancel it, or submit it anew.", what), nil
		case x.State == Succeeded:
		case x.State.Final():
			return sprintf("It waits for %s, which %s: it will never start. Cancel it, or submit it anew.", what, ended[x.State]), nil
		default:
			return sprintf("It waits for %s to succeed.", what), nil
		}
	}
	return "", nil
}

var ended = map[State]string{Failed: "failed", Cancelled: "was cancelled"}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// schedule asks the planner what is to be done and does it: what makes way is told first.
func (k *Keeper) schedule(ctx context.Context, jobs []Job) (due time.Time, err error) {
	at := make(map[string]*Job, len(jobs))
	for i := range jobs {
		at[jobs[i].ID] = &jobs[i]
	}
	view := View{Now: k.now(), Jobs: jobs, Find: remembered(func(ids []string) (map[string]Job, error) { return k.opt.Store.Find(ctx, ids) })}
	p, err := k.opt.Planner.Plan(ctx, view)
	if err != nil {
		return due, fmt.Errorf("planning: %w", err)
	}
	var errs []error
	try := func(id string, f func(*Job) error) {
		j := at[id]
		if j == nil {
			return
		}
		if err := f(j); err != nil && !errors.Is(err, errMoved) {
			errs = append(errs, fmt.Errorf("job %s: %w", id, err))
		}
	}
	for _, s := range p.Stops {
		try(s.Job, func(j *Job) error { return k.makeWay(ctx, j, s) })
	}
	for _, s := range p.Starts {
		try(s.Job, func(j *Job) error { return k.begin(ctx, j, s.Placement) })
	}
	return p.Due, errors.Join(errs...)
}

// remembered asks for each id once: of an array that waits, each element waits for the same.
func remembered(find func([]string) (map[string]Job, error)) func([]string) (map[string]Job, error) {
	seen := map[string]*Job{} // nil: there is none
	return func(ids []string) (map[string]Job, error) {
		out := make(map[string]Job, len(ids))
		var ask []string
		for _, id := range ids {
			if j, ok := seen[id]; !ok {
				ask = append(ask, id)
			} else if j != nil {
				out[id] = *j
			}
		}
		if len(ask) == 0 {
			return out, nil
		}
		got, err := find(ask)
		if err != nil {
			return nil, err
		}
		for _, id := range ask {
			seen[id] = nil
			if j, ok := got[id]; ok {
				seen[id], out[id] = &j, j
			}
		}
		return out, nil
	}
}

// makeWay notes durably that a job makes way, and then asks its attempt to end.
func (k *Keeper) makeWay(ctx context.Context, j *Job, s Stop) error {
	if j.State != Starting && j.State != Running {
		return nil
	}
	was := *j
	j.State, j.Reason, j.Fault, j.NextStartAt = Preempting, s.Reason, s.Fault, time.Time{}
	j.Standing.For = s.For
	if err := k.save(ctx, j); err != nil {
		*j = was
		return err
	}
	return k.stop(ctx, j)
}

// begin makes the next attempt's number and placement durable together, and only then asks for it.
func (k *Keeper) begin(ctx context.Context, j *Job, p *Placement) error {
	if j.State != Queued {
		return nil
	}
	was := *j
	j.Attempt++
	j.State, j.NextStartAt, j.AttemptAt, j.Limits = Starting, time.Time{}, time.Time{}, ""
	j.Standing.Placement, j.Standing.PlacedAt = p, k.now()
	if err := k.save(ctx, j); err != nil {
		*j = was
		return err
	}
	return k.start(ctx, j)
}

// expire ends a job whose attempt has reached its time limit.
func (k *Keeper) expire(ctx context.Context, j *Job) error {
	j.State, j.Fault = Stopping, ""
	j.Reason = sprintf("It reached its time limit of %s.", j.Ask.TimeLimit)
	j.Standing.Overdue = true
	if err := k.save(ctx, j); err != nil {
		return err
	}
	return k.stop(ctx, j)
}

// ends is when a running job reaches its time limit; zero if it has none.
func (j *Job) ends() time.Time {
	if j.State != Running || j.Ask.TimeLimit <= 0 || j.AttemptAt.IsZero() {
		return time.Time{}
	}
	return j.AttemptAt.Add(j.Ask.TimeLimit)
}
