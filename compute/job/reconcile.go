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

// reconcile also returns when time alone changes something next; zero if it does not.
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
	if due, err = k.schedule(ctx, jobs); err != nil {
		errs = append(errs, err)
	}
	for _, j := range jobs {
		if !j.State.Final() {
			due = sooner(sooner(due, j.NextStartAt), j.ends())
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
	case j.State == Stopping || j.State == Preempting:
		return k.stop(ctx, j)
	case st.Phase == PhaseRunning && !j.ends().IsZero() && !k.now().Before(j.ends()):
		return k.expire(ctx, j)
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

// stop ends the attempt of a job that was cancelled or makes way. One that never started ends here and now.
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
		failed := j.Attempt > 1 && j.Fault == FaultNode
		j.Reason, j.Fault, j.NextStartAt = "", "", time.Time{}
		if j.Restarts > 0 || j.Standing.Preempted > 0 || failed {
			j.Reason = sprintf("Attempt %d%s.", j.Attempt, j.past())
			if before != "" {
				j.Reason = join(j.Reason, "Last time: "+before)
			}
		}
	}
	j.State, j.Limits = Running, st.Limits
	return k.save(ctx, j)
}

// past is what befell the attempts before, as a part of a sentence.
func (j *Job) past() (s string) {
	if j.Restarts > 0 {
		s += "; restarted " + times(j.Restarts)
	}
	if j.Standing.Preempted > 0 {
		s += "; made way " + times(j.Standing.Preempted)
	}
	return s
}

// start asks the executor for the newest attempt. A start that fails is tried again, later and later: nobody
// knows whether it took, and the attempt's number makes asking again safe.
func (k *Keeper) start(ctx context.Context, j *Job) error {
	now := k.now()
	if waits(j, now) {
		return nil
	}
	cmd := j.Command
	cmd.Env = append(slices.Clone(cmd.Env), j.env()...)
	err := k.opt.Executor.Start(ctx, Task{Job: j.ID, Attempt: j.Attempt, Command: cmd, CPUs: j.CPUs,
		MemoryBytes: j.MemoryBytes, Grace: j.Grace})
	switch {
	case err == nil:
		delete(k.tries, j.ID)
		return nil
	case ctx.Err() != nil:
		return err
	case fault.Is(err, fault.Conflict):
		// The executor has seen a higher number: the store is older than the folder. Take the next number.
		j.Standing.Placement = nil
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
	was := j.State
	if k.opt.Blame != nil && (was == Running || was == Starting) && !e.done() && !e.Stopped && e.Lost == "" && e.NotStarted == "" && j.Standing.Placement.Devices() != "" {
		if says := k.opt.Blame(ctx, *j, e); says != "" {
			e.Lost, e.Blame = LostDevice, says
		}
	}
	v := judge(*j, e, now)
	if !j.AttemptAt.IsZero() {
		j.Standing.Ran += max(0, e.EndedAt.Sub(j.AttemptAt))
	}
	j.State, j.Reason, j.Fault = v.state, v.reason, v.fault
	j.ExitCode, j.Restarts, j.Streak = e.Code, v.restarts, v.streak
	j.NextStartAt = time.Time{}
	if v.state == Queued {
		j.NextStartAt = now.Add(v.wait)
		if was == Preempting && j.Standing.For != "" {
			j.Standing.Preempted++
		}
		j.Standing.Placement, j.Standing.Overdue = nil, false
	} else {
		j.EndedAt = now
	}
	j.Standing.For = ""
	if (was == Stopping || was == Preempting) && e.Killed {
		j.Reason = join(j.Reason, sprintf("It did not end within %s and was killed.", j.Grace))
	}
	delete(k.tries, j.ID)
	return k.save(ctx, j)
}

// waits says whether a job's back-off still runs. One that has longer to go than any back-off lasts was set before
// the clock was put back, and is over.
func waits(j *Job, now time.Time) bool {
	left := j.NextStartAt.Sub(now)
	return !j.NextStartAt.IsZero() && left > 0 && left <= j.Restart.BackoffMax
}

// explained puts why a job waits or is stuck into its reason.
func (k *Keeper) explained(j Job) Job {
	if j.State.Final() {
		return j
	}
	if j.State == Queued {
		j.Reason = join(j.Reason, k.opt.Planner.Why(j.ID))
		return j
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if stuck := k.trouble[j.ID]; j.NextStartAt.IsZero() { // else the reason says so already
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
