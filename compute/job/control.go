package job

import (
	"context"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Hold has a queued job wait until it is released. fault.Conflict if it is not queued.
func (k *Keeper) Hold(ctx context.Context, project, id string) (Job, error) {
	return k.hold(ctx, project, id, true)
}

// Release lets a held job go on. A job that is not held is returned unchanged; fault.Conflict if it has ended.
func (k *Keeper) Release(ctx context.Context, project, id string) (Job, error) {
	return k.hold(ctx, project, id, false)
}

func (k *Keeper) hold(ctx context.Context, project, id string, held bool) (Job, error) {
	var refused error
	j, err := k.change(ctx, project, id, func(j *Job) bool {
		refused = nil
		switch {
		case j.State.Final():
			refused = fault.New(fault.Conflict, sprintf("Job %s is %s.", id, j.State))
		case held && j.State != Queued:
			refused = fault.New(fault.Conflict, sprintf("Job %s is %s; only a job that waits can be held.", id, j.State),
				fault.Fix("Queue it again first, or cancel it."))
		}
		if refused != nil || j.Standing.Held == held {
			return false
		}
		j.Standing.Held = held
		return true
	})
	if refused != nil {
		return Job{}, refused
	}
	return k.explained(j), err
}

// Requeue has a running job end with its grace and wait for its turn again. It counts as no restart and no preemption.
// fault.Conflict if it does not run.
func (k *Keeper) Requeue(ctx context.Context, project, id string) (Job, error) {
	var refused error
	j, err := k.change(ctx, project, id, func(j *Job) bool {
		refused = nil
		switch j.State {
		case Starting, Running:
			j.State, j.Reason, j.Fault = Preempting, "It was queued again on request.", ""
			j.Standing.For = ""
			return true
		case Preempting:
			return false
		}
		refused = fault.New(fault.Conflict, sprintf("Job %s is %s; only a job that runs can be queued again.", id, j.State))
		return false
	})
	if refused != nil {
		return Job{}, refused
	}
	return k.explained(j), err
}
