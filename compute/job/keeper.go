package job

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// Options of a keeper; defaults stand beside the fields.
type Options struct {
	Store    Store
	Executor Executor
	CPUs     int              // capacity of the default planner, at least 1
	Planner  Planner          // who decides what starts; default FIFO over CPUs
	IDs      *id.Maker        // default id.Default()
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // default: nothing is logged
	// OnChange, if set, is told of every change of a job after it is durable, in the order the keeper made them.
	// It is called with no lock held and must not block for long.
	OnChange func(Job)
	// Blame, if set, is asked of an attempt that ended badly on devices whether one of them failed while it ran, and what is wrong with it; empty: none
	// did. It may look at the devices, within some seconds.
	Blame func(ctx context.Context, j Job, e Exit) string
	Tick  time.Duration // longest time between two passes of Loop; default 1 s
	// Unclaimed is how long the folder of a job that no store row names is left alone; default 24 h.
	Unclaimed time.Duration
}

// Keeper owns the jobs of one store and one executor. Its methods may be called from any goroutine.
type Keeper struct {
	opt  Options
	wake chan struct{}
	pass sync.Mutex // one Reconcile or Collect at a time

	tries map[string]int // job -> failed calls of Executor.Start for its newest attempt; guarded by pass

	mu      sync.Mutex
	trouble map[string]string // open job -> why the last pass could not bring it forward
}

// New makes a keeper. It does nothing by itself: call Reconcile or Loop.
func New(opt Options) *Keeper {
	if opt.IDs == nil {
		opt.IDs = id.Default()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Tick <= 0 {
		opt.Tick = time.Second
	}
	if opt.Unclaimed <= 0 {
		opt.Unclaimed = 24 * time.Hour
	}
	if opt.Planner == nil {
		opt.Planner = &FIFO{CPUs: max(1, opt.CPUs)}
	}
	k := &Keeper{opt: opt, wake: make(chan struct{}, 1), trouble: map[string]string{}, tries: map[string]int{}}
	if w, ok := opt.Executor.(Watcher); ok {
		w.Watch(k.Wake)
	}
	return k
}

// Create admits a job: it is queued, durably, when Create returns. If its owner already has a job of this kind,
// that one is returned instead, so that a caller that crashed before it noted the id can ask again.
// Faults: Invalid with the field; Invalid for what could never run here.
func (k *Keeper) Create(ctx context.Context, s Spec) (Job, error) {
	s = s.withDefaults()
	if err := s.Validate(); err != nil {
		return Job{}, err
	}
	j := Job{ID: k.opt.IDs.New("job"), Spec: s, State: Queued, CreatedAt: k.now(), Revision: 1, Standing: Standing{Held: s.Ask.Hold}}
	if err := k.Admit(ctx, j); err != nil {
		return Job{}, err
	}
	err := k.opt.Store.Create(ctx, j)
	if fault.Is(err, fault.Conflict) && s.Owner != "" {
		have, lerr := k.opt.Store.List(ctx, s.Project, Filter{Kind: s.Kind, Owner: s.Owner, Limit: 1})
		if lerr != nil || len(have) == 0 {
			return Job{}, errors.Join(err, lerr)
		}
		return have[0], nil
	}
	if err != nil {
		return Job{}, err
	}
	k.changed(j)
	k.Wake()
	return j, nil
}

// Admit says why a job could never run here, or nil; it makes nothing. Its spec is checked by Spec.Validate, not here.
func (k *Keeper) Admit(ctx context.Context, j Job) error {
	have, err := k.opt.Store.Find(ctx, j.Ask.After)
	if err != nil {
		return err
	}
	for _, id := range j.Ask.After {
		if have[id].Project != j.Project {
			return fault.InvalidField("after", "There is no job %s to wait for.", id)
		}
	}
	return k.opt.Planner.Admit(ctx, j)
}

// Get finds a job of a project. A queued job's Reason says why it waits and what would change that; that of a job
// which the last pass could not bring forward says why.
// An array is found as one job with a Tally, an element also by the array's id and its index.
func (k *Keeper) Get(ctx context.Context, project, id string) (Job, error) {
	if IsArray(id) {
		return k.array(ctx, project, id)
	}
	id, err := k.locate(ctx, project, id)
	if err != nil {
		return Job{}, err
	}
	j, err := k.opt.Store.Get(ctx, project, id)
	return k.explained(j), err
}

// List gives jobs of a project, the newest first.
func (k *Keeper) List(ctx context.Context, project string, f Filter) ([]Job, error) {
	jobs, err := k.opt.Store.List(ctx, project, f)
	if err == nil && f.Fold {
		jobs, err = k.folded(ctx, jobs)
	}
	for i := range jobs {
		if jobs[i].Tally == nil {
			jobs[i] = k.explained(jobs[i])
		}
	}
	return jobs, err
}

// Cancel asks for a job to end and says so durably before it returns. A job that was only queued is cancelled at
// once, a running one is stopping until its attempt has ended, and one in a final state is returned unchanged.
func (k *Keeper) Cancel(ctx context.Context, project, id, reason string) (Job, error) {
	return k.change(ctx, project, id, func(j *Job) bool { return k.cancel(j, reason) })
}

func (k *Keeper) cancel(j *Job, reason string) bool {
	switch j.State {
	case Queued:
		j.State, j.EndedAt = Cancelled, k.now()
	case Starting, Running, Preempting:
		j.State = Stopping
	default:
		return false
	}
	j.Reason, j.Fault, j.NextStartAt = reason, "", time.Time{}
	return true
}

// Discard says that the state and results of an ended job are no longer needed: Collect gives their room back.
// Its logs and progress stay. fault.Conflict while the job has not ended.
func (k *Keeper) Discard(ctx context.Context, project, id string) error {
	open := false
	_, err := k.change(ctx, project, id, func(j *Job) bool {
		open = !j.State.Final()
		was := j.Discarded
		j.Discarded = true
		return !open && !was
	})
	if err == nil && open {
		return notEnded(id)
	}
	return err
}

// Delete forgets an ended job and everything it left. fault.Conflict while the job has not ended.
func (k *Keeper) Delete(ctx context.Context, project, id string) error {
	j, err := k.opt.Store.Get(ctx, project, id)
	if err != nil {
		return err
	}
	if !j.State.Final() {
		return notEnded(id)
	}
	if err := k.opt.Executor.Remove(ctx, id); err != nil {
		return err
	}
	return k.opt.Store.Delete(ctx, project, id)
}

func notEnded(id string) error {
	return fault.New(fault.Conflict, sprintf("Job %s has not ended.", id), fault.Fix("Cancel it first."))
}

// Logs reads the output of an attempt of a job, 0 meaning the newest, from an offset of at most limit bytes.
func (k *Keeper) Logs(ctx context.Context, project, id string, attempt int, offset int64, limit int) (LogChunk, error) {
	if IsArray(id) {
		return LogChunk{}, fault.New(fault.Invalid, "An array has no output of its own.", fault.Field("job"), fault.Fix("Name an element, such as %s_0.", id))
	}
	id, err := k.locate(ctx, project, id)
	if err != nil {
		return LogChunk{}, err
	}
	j, err := k.opt.Store.Get(ctx, project, id)
	if err != nil {
		return LogChunk{}, err
	}
	if attempt == 0 {
		attempt = j.Attempt
	}
	if attempt < 0 || attempt > j.Attempt {
		return LogChunk{}, fault.New(fault.NotFound, sprintf("Job %s has no attempt %d.", id, attempt))
	}
	if attempt == 0 {
		return LogChunk{Ended: j.State.Final()}, nil
	}
	return k.opt.Executor.Logs(ctx, id, attempt, max(0, offset), bound(limit))
}

// Progress reads the progress of a job across its attempts from a cursor on, about limit bytes of it. It returns
// the cursor to go on from, and done when the job has ended and everything was read. Lines come in the order
// attempts wrote them; Merge makes one history of them.
func (k *Keeper) Progress(ctx context.Context, project, id string, from Cursor, limit int) (lines []Line, next Cursor, done bool, err error) {
	j, err := k.opt.Store.Get(ctx, project, id)
	if err != nil {
		return nil, from, false, err
	}
	limit = bound(limit)
	next = from
	if next.Attempt < 1 {
		next = Cursor{Attempt: 1}
	}
	for next.Attempt <= j.Attempt && limit > 0 {
		data, off, err := k.opt.Executor.Progress(ctx, id, next.Attempt, next.Offset, limit)
		if err != nil {
			return nil, from, false, err
		}
		lines = append(lines, parseLines(next.Attempt, data)...)
		limit -= len(data)
		next.Offset = off
		if len(data) > 0 {
			continue
		}
		if next.Attempt == j.Attempt { // the newest may still write
			return lines, next, j.State.Final(), nil
		}
		next = Cursor{Attempt: next.Attempt + 1}
	}
	return lines, next, j.Attempt == 0 && j.State.Final(), nil
}

func bound(limit int) int {
	const most = 1 << 20
	if limit <= 0 || limit > most {
		return most
	}
	return limit
}

// Dir is the folder of a job on this machine, or empty where jobs have none.
func (k *Keeper) Dir(job string) string {
	if f, ok := k.opt.Executor.(Folders); ok {
		return f.Dir(job)
	}
	return ""
}

// AttemptDir is the folder of an attempt on this machine, or empty where attempts have none.
func (k *Keeper) AttemptDir(job string, attempt int) string {
	if f, ok := k.opt.Executor.(Folders); ok {
		return f.AttemptDir(job, attempt)
	}
	return ""
}

// Wake asks Loop for a pass soon. It never blocks.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// change applies f to the stored job until it is stored, starting over when somebody else changed it meanwhile.
// f returns false to leave the job as it is.
func (k *Keeper) change(ctx context.Context, project, id string, f func(*Job) bool) (Job, error) {
	for {
		j, err := k.opt.Store.Get(ctx, project, id)
		if err != nil || !f(&j) {
			return j, err
		}
		err = k.opt.Store.Update(ctx, j)
		if fault.Is(err, fault.Conflict) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return Job{}, err
		}
		j.Revision++
		k.changed(j)
		k.Wake()
		return j, nil
	}
}

func (k *Keeper) changed(j Job) {
	k.opt.Log.Info("job changed", "job", j.ID, "kind", j.Kind, "state", j.State, "attempt", j.Attempt,
		"restarts", j.Restarts, "fault", j.Fault, "reason", j.Reason)
	if k.opt.OnChange != nil {
		k.opt.OnChange(j)
	}
}

func (k *Keeper) now() time.Time { return k.opt.Now().UTC().Truncate(time.Microsecond) }
