package job

import (
	"context"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Hold has a queued job wait until it is released, or those elements of an array that are queued. fault.Conflict if it is
// not queued, or held already.
func (k *Keeper) Hold(ctx context.Context, project, id string) (Job, error) {
	return k.act(ctx, project, id, func(j *Job) (bool, error) {
		switch {
		case j.State.Final():
			return false, over(j)
		case j.State != Queued:
			return false, fault.New(fault.Conflict, sprintf("Job %s is %s; only a job that waits can be held.", j.ID, j.State),
				fault.Fix("Queue it again first, or cancel it."))
		case j.Standing.Held:
			return false, fault.New(fault.Conflict, sprintf("Job %s is held already.", j.ID))
		}
		j.Standing.Held = true
		return true, nil
	})
}

// Release lets a held job go on, or those elements of an array that are held. fault.Conflict if it is not held.
func (k *Keeper) Release(ctx context.Context, project, id string) (Job, error) {
	return k.act(ctx, project, id, func(j *Job) (bool, error) {
		switch {
		case j.State.Final():
			return false, over(j)
		case !j.Standing.Held:
			return false, fault.New(fault.Conflict, sprintf("Job %s is %s and not held.", j.ID, j.State))
		}
		j.Standing.Held = false
		return true, nil
	})
}

// Requeue has a running job end with its grace and wait for its turn again, or those elements of an array that run. It
// counts as no restart and no preemption. fault.Conflict if it does not run.
func (k *Keeper) Requeue(ctx context.Context, project, id string) (Job, error) {
	return k.act(ctx, project, id, func(j *Job) (bool, error) {
		switch j.State {
		case Starting, Running:
			j.State, j.Reason, j.Fault = Preempting, "It was queued again on request.", ""
			j.Standing.For = ""
			return true, nil
		case Preempting:
			return false, nil
		}
		return false, fault.New(fault.Conflict, sprintf("Job %s is %s; only a job that runs can be queued again.", j.ID, j.State))
	})
}

// End is Cancel for people: a job that has ended is a fault.Conflict. Of an array all elements that have not ended end.
func (k *Keeper) End(ctx context.Context, project, id, reason string) (Job, error) {
	return k.act(ctx, project, id, func(j *Job) (bool, error) {
		if j.State.Final() {
			return false, over(j)
		}
		return k.cancel(j, reason), nil
	})
}

func over(j *Job) error { return fault.New(fault.Conflict, sprintf("Job %s is %s.", j.ID, j.State)) }

// act does something to a job, an element or all of an array. do changes the job, or says why it may not be.
func (k *Keeper) act(ctx context.Context, project, id string, do func(*Job) (bool, error)) (Job, error) {
	if IsArray(id) {
		return k.changeAll(ctx, project, id, do)
	}
	id, err := k.locate(ctx, project, id)
	if err != nil {
		return Job{}, err
	}
	var refused error
	j, err := k.change(ctx, project, id, func(j *Job) (yes bool) {
		yes, refused = do(j)
		return yes
	})
	if refused != nil {
		return Job{}, refused
	}
	return k.explained(j), err
}
