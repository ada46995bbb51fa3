package job

import (
	"context"
	"errors"
	"time"
)

// keptAttempts is how many attempts keep their logs and files; older ones keep how they ended and their
// progress.
const keptAttempts = 3

// Collect gives back room that nothing needs: old attempts' files, the state and results of discarded jobs, and
// the folders of jobs that no store row names, once nothing of them lives and they lay untouched for
// Options.Unclaimed. What lives is never touched, claimed or not: unclaimed ids that live are returned, because a
// store that does not know running work is more likely the wrong store than the work is wrong.
func (k *Keeper) Collect(ctx context.Context) (strangers []string, err error) {
	k.pass.Lock()
	defer k.pass.Unlock()
	seen, err := k.opt.Executor.List(ctx)
	errs := []error{err}
	ids := make([]string, len(seen))
	for i, st := range seen {
		ids[i] = st.Job
	}
	known, err := k.opt.Store.Find(ctx, ids)
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	for _, st := range seen {
		j, ok := known[st.Job]
		switch {
		case ok:
			all := j.Discarded && j.State.Final()
			errs = append(errs, k.opt.Executor.Trim(ctx, j.ID, j.Attempt-keptAttempts+1, all))
		case st.Phase != PhaseEnded && st.Phase != PhaseAbsent:
			strangers = append(strangers, st.Job)
		case k.now().Sub(st.Touched) >= k.opt.Unclaimed:
			errs = append(errs, k.opt.Executor.Remove(ctx, st.Job))
		}
	}
	return strangers, errors.Join(errs...)
}

// Down ends everything an executor runs, for taking a data directory down, and returns when nothing lives or ctx
// ends. The keeper that comes next queues those jobs again. No keeper may run meanwhile. A worker has grace to
// save its work. What cannot be looked at or asked does not hold up the rest and is reported at the end.
func Down(ctx context.Context, x Executor, grace time.Duration) (ended int, err error) {
	asked := map[string]bool{}
	for {
		all, err := x.List(ctx)
		living, errs := 0, []error{err}
		for _, st := range all {
			if st.Leaving {
				living++ // nothing to ask of it, but whoever takes the folder away next should find nobody in it
				continue
			}
			if st.Phase == PhaseEnded || st.Phase == PhaseAbsent {
				continue
			}
			living++
			asked[st.Job] = true
			errs = append(errs, x.Stop(ctx, st.Job, st.Attempt, grace, StopDown))
		}
		if living == 0 || ctx.Err() != nil {
			return len(asked), errors.Join(errs...)
		}
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return len(asked), errors.Join(append(errs, ctx.Err())...)
		case <-t.C:
		}
	}
}
