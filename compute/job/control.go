package job

import (
	"context"
	"slices"

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

// Forget is Delete for people: of an array all elements go, the one that leads it last, so that what was cut short can be
// asked for again. What belongs to a run or a replica is theirs to keep: fault.Conflict, as for what has not ended.
func (k *Keeper) Forget(ctx context.Context, project, id string) error {
	id, err := k.locate(ctx, project, id)
	if err != nil {
		return err
	}
	var all []Job
	if IsArray(id) {
		all, err = k.opt.Store.List(ctx, project, Filter{Array: id, Limit: MaxArray})
	} else {
		all = make([]Job, 1)
		all[0], err = k.opt.Store.Get(ctx, project, id)
	}
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fault.Newf(fault.NotFound, "There is no array %s.", id)
	}
	for i := range all {
		switch j := &all[i]; {
		case j.Owner != "":
			return fault.New(fault.Conflict, sprintf("Job %s belongs to %s and is kept with it.", j.ID, j.Owner))
		case j.Ask.Member != nil && id == j.ID:
			return fault.New(fault.Conflict, sprintf("Job %s is an element of the array %s.", j.ID, j.Ask.Member.Array), fault.Fix("Remove the whole array."))
		case !j.State.Final():
			return notEnded(j.ID)
		}
	}
	leads := func(j Job) int {
		if m := j.Ask.Member; m != nil && m.Index == m.First {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b Job) int { return leads(a) - leads(b) })
	for i := range all {
		if err := k.Delete(ctx, project, all[i].ID); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
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
