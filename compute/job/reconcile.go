package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Loop runs Reconcile until ctx ends: when something changed, when a back-off has passed, and every Tick.
// Failures of single passes are logged; the next pass tries again. It returns ctx's error.
func (k *Keeper) Loop(ctx context.Context) error {
	logged := ""
	for ctx.Err() == nil {
		due, err := k.reconcile(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != logged { // once, not every second
			logged = err.Error()
			k.opt.Log.Error("jobs could not all be brought forward", "error", err)
		}
		if err == nil {
			logged = ""
		}
		wait := k.opt.Tick
		if !due.IsZero() {
			wait = min(wait, max(time.Millisecond, due.Sub(k.now())))
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-t.C:
		}
		t.Stop()
	}
	return ctx.Err()
}

// Reconcile is one pass: it brings every open job one step further if what the executor says allows it, and lets
// those that are first in the queue start. It goes on past a job that fails and returns all failures together.
func (k *Keeper) Reconcile(ctx context.Context) error {
	_, err := k.reconcile(ctx)
	return err
}

// reconcile also returns when the next back-off passes; zero if none is running.
func (k *Keeper) reconcile(ctx context.Context) (due time.Time, err error) {
	k.pass.Lock()
	defer k.pass.Unlock()
	jobs, err := k.opt.Store.Open(ctx)
	if err != nil {
		return due, err
	}
	var errs []error
	trouble := map[string]string{}
	for i := range jobs {
		if err := k.advance(ctx, &jobs[i]); err != nil && !errors.Is(err, errMoved) {
			errs = append(errs, fmt.Errorf("job %s: %w", jobs[i].ID, err))
			trouble[jobs[i].ID] = "It cannot be brought forward: " + fault.As(err).Sentence()
		}
	}
	k.mu.Lock()
	k.trouble = trouble
	k.mu.Unlock()
	if err := k.admit(ctx, jobs); err != nil {
		errs = append(errs, err)
	}
	for _, j := range jobs {
		if !j.State.Final() && !j.NextStartAt.IsZero() && (due.IsZero() || j.NextStartAt.Before(due)) {
			due = j.NextStartAt
		}
	}
	return due, errors.Join(errs...)
}

// advance compares one job with its attempt and acts on the difference.
func (k *Keeper) advance(ctx context.Context, j *Job) error {
	if j.State == Queued || j.State.Final() {
		return nil
	}
	st, err := k.opt.Executor.Status(ctx, j.ID, j.Attempt)
	if err != nil {
		return err
	}
	switch {
	case st.Phase == PhaseEnded:
		return k.ended(ctx, j, st)
	case st.Phase == PhaseOrphaned:
		// Nothing may follow while a part of it lives; the next pass finds it ended.
		return k.opt.Executor.Stop(ctx, j.ID, j.Attempt, 0, "its supervisor died")
	case j.State == Stopping:
		return k.stop(ctx, j)
	case st.Phase == PhaseRunning:
		return k.seenRunning(ctx, j, st)
	case st.Phase == PhaseAbsent && j.State == Starting:
		return k.start(ctx, j)
	case st.Phase == PhaseAbsent:
		// It was seen running and its folder is gone: somebody deleted it.
		st.Exit = &Exit{Code: -1, Lost: LostSupervisor, EndedAt: k.now()}
		return k.ended(ctx, j, st)
	}
	return nil
}

// stop ends a cancelled job's attempt. One that never started ends here and now.
func (k *Keeper) stop(ctx context.Context, j *Job) error {
	if err := k.opt.Executor.Stop(ctx, j.ID, j.Attempt, j.Grace, j.Reason); err != nil {
		return err
	}
	st, err := k.opt.Executor.Status(ctx, j.ID, j.Attempt)
	if err != nil {
		return err
	}
	if st.Phase == PhaseEnded {
		return k.ended(ctx, j, st)
	}
	return nil
}

func (k *Keeper) seenRunning(ctx context.Context, j *Job, st Status) error {
	if j.State == Running && j.Limits == st.Limits {
		return nil
	}
	if j.State != Running {
		j.AttemptAt = cmp.Or(st.StartedAt, k.now())
		if j.StartedAt.IsZero() {
			j.StartedAt = j.AttemptAt
		}
		before := j.Reason // why the last attempt ended stays known
		j.Reason, j.Fault, j.NextStartAt = "", "", time.Time{}
		if j.Restarts > 0 {
			j.Reason = sprintf("Attempt %d; restarted %s.", j.Attempt, times(j.Restarts))
			if before != "" {
				j.Reason = join(j.Reason, "Last time: "+before)
			}
		}
	}
	j.State, j.Limits = Running, st.Limits
	return k.save(ctx, j)
}

// start asks the executor for the newest attempt. A start that fails is tried again, later and later: nobody
// knows whether it took, and the attempt's number makes asking again safe.
func (k *Keeper) start(ctx context.Context, j *Job) error {
	now := k.now()
	if waits(j, now) {
		return nil
	}
	err := k.opt.Executor.Start(ctx, Task{Job: j.ID, Attempt: j.Attempt, Command: j.Command, CPUs: j.CPUs,
		MemoryBytes: j.MemoryBytes, Grace: j.Grace})
	switch {
	case err == nil:
		delete(k.tries, j.ID)
		return nil
	case ctx.Err() != nil:
		return err
	case fault.Is(err, fault.Conflict):
		// The executor has seen a higher number: the store is older than the folder. Take the next number.
		j.State, j.Reason, j.Fault = Queued, "A newer attempt than the one on record was found.", FaultPlatform
		return k.save(ctx, j)
	case fault.Is(err, fault.Invalid):
		return k.ended(ctx, j, Status{Exit: &Exit{Code: -1, NotStarted: fault.As(err).Sentence(), EndedAt: now}})
	}
	k.tries[j.ID]++
	j.NextStartAt = now.Add(j.Restart.backoff(k.tries[j.ID]))
	j.Reason, j.Fault = "It could not be started and will be tried again: "+fault.As(err).Sentence(), FaultPlatform
	return errors.Join(err, k.save(ctx, j))
}

// ended decides what becomes of a job whose newest attempt is over.
func (k *Keeper) ended(ctx context.Context, j *Job, st Status) error {
	e, now := *st.Exit, k.now()
	if j.AttemptAt.IsZero() { // it ended before a pass saw it running
		j.AttemptAt = st.StartedAt
	}
	if j.StartedAt.IsZero() {
		j.StartedAt = j.AttemptAt
	}
	if st.Limits != "" {
		j.Limits = st.Limits
	}
	wasStopping := j.State == Stopping
	v := judge(*j, e, now)
	j.State, j.Reason, j.Fault = v.state, v.reason, v.fault
	j.ExitCode, j.Restarts, j.Streak = e.Code, v.restarts, v.streak
	j.NextStartAt = time.Time{}
	if v.state == Queued {
		j.NextStartAt = now.Add(v.wait)
	} else {
		j.EndedAt = now
	}
	if wasStopping && e.Killed {
		j.Reason = join(j.Reason, sprintf("It did not end within %s and was killed.", j.Grace))
	}
	delete(k.tries, j.ID)
	return k.save(ctx, j)
}

// admit gives attempt numbers to the queued jobs whose turn it is, and starts them. Strictly first in, first
// out within a priority: a job that does not fit holds up those behind it, so that it cannot starve.
func (k *Keeper) admit(ctx context.Context, jobs []Job) error {
	free, queue := k.opt.CPUs, []*Job{}
	for i := range jobs {
		switch j := &jobs[i]; {
		case j.State == Queued:
			queue = append(queue, j)
		case !j.State.Final():
			free -= k.slots(j)
		}
	}
	slices.SortFunc(queue, func(a, b *Job) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	now, ahead := k.now(), 0
	waiting := map[string]string{}
	var errs []error
	for _, j := range queue {
		need := k.slots(j)
		switch {
		case waits(j, now):
			waiting[j.ID] = sprintf("Tried again in %s.", j.NextStartAt.Sub(now).Round(100*time.Millisecond))
		case need > 0 && (ahead > 0 || need > free):
			waiting[j.ID] = k.queueReason(need, free, ahead)
			ahead++
		default:
			free -= need
			if err := k.begin(ctx, j); err != nil && !errors.Is(err, errMoved) {
				errs = append(errs, fmt.Errorf("job %s: %w", j.ID, err))
			}
		}
	}
	k.mu.Lock()
	k.waiting = waiting
	k.mu.Unlock()
	return errors.Join(errs...)
}

// begin makes the next attempt's number durable, and only then asks for it.
func (k *Keeper) begin(ctx context.Context, j *Job) error {
	was := *j
	j.Attempt++
	j.State, j.NextStartAt, j.AttemptAt, j.Limits = Starting, time.Time{}, time.Time{}, ""
	if err := k.save(ctx, j); err != nil {
		*j = was
		return err
	}
	return k.start(ctx, j)
}

// waits says whether a job's back-off still runs. One that has longer to go than any back-off lasts was set before
// the clock was put back, and is over.
func waits(j *Job, now time.Time) bool {
	left := j.NextStartAt.Sub(now)
	return !j.NextStartAt.IsZero() && left > 0 && left <= j.Restart.BackoffMax
}

// slots is what a job takes of the capacity; one larger than a capacity that shrank takes all of it.
func (k *Keeper) slots(j *Job) int { return min(j.CPUs, k.opt.CPUs) }

func (k *Keeper) queueReason(need, free, ahead int) string {
	s := sprintf("Waits for %s; %d of %d are free", count(need, "CPU"), max(0, free), k.opt.CPUs)
	if ahead > 0 {
		return s + sprintf(" and %s before it.", be(ahead, "job"))
	}
	return s + " and it is the next."
}

// explained puts why a job waits or is stuck into its reason.
func (k *Keeper) explained(j Job) Job {
	if j.State.Final() {
		return j
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if j.State == Queued {
		j.Reason = join(j.Reason, k.waiting[j.ID])
	} else if stuck := k.trouble[j.ID]; j.NextStartAt.IsZero() { // else the reason says so already
		j.Reason = join(j.Reason, stuck)
	}
	return j
}

// errMoved says that somebody else changed the job meanwhile, a cancel as a rule: the next pass sees.
var errMoved = errors.New("changed meanwhile")

// save stores a job, or changes nothing and returns errMoved.
func (k *Keeper) save(ctx context.Context, j *Job) error {
	if err := k.opt.Store.Update(ctx, *j); err != nil {
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
			k.Wake()
			return errMoved
		}
		return err
	}
	j.Revision++
	k.changed(*j)
	return nil
}
