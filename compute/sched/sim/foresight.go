package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// Foresight tries whether a policy knows the future: at each of the instants it deals the durations of the jobs that
// have not ended anew among them, each still above what its job has done by then, replays the changed trace, and
// compares all actions before the instant. It returns the first that differs, as text, or nothing when none does.
// Instants at which fewer than two jobs are left to deal among are passed over. mk makes the policy for each replay;
// options other than Log, Progress and Until are those of every replay.
func Foresight(ctx context.Context, jobs []trace.Job, f *fleet.Fleet, mk func() Policy, o Options, instants []time.Duration, seed uint64) (string, error) {
	instants = slices.Sorted(slices.Values(instants))
	o.Progress, o.Until = nil, 0
	var base []string
	var times []time.Duration
	o.Log = func(a Action) {
		base = append(base, a.String())
		times = append(times, a.At)
	}
	done := make([][]time.Duration, len(instants))
	passed := 0
	o.moment = func(w *World, next time.Duration) {
		for passed < len(instants) && instants[passed] <= next {
			done[passed] = w.undone(instants[passed])
			passed++
		}
	}
	if _, err := Replay(ctx, jobs, f, mk(), o); err != nil {
		return "", err
	}
	o.moment = nil
	r := rand.New(rand.NewPCG(seed, 0x66757475))
	for i, at := range instants {
		changed, ok := redeal(jobs, done[i], r)
		if !ok {
			continue
		}
		known, _ := slices.BinarySearch(times, at)
		diff, err := follow(ctx, changed, f, mk(), o, at, base[:known])
		if err != nil || diff != "" {
			return diff, err
		}
	}
	return "", nil
}

// follow replays up to an instant and compares with what was done before.
func follow(ctx context.Context, jobs []trace.Job, f *fleet.Fleet, p Policy, o Options, until time.Duration, want []string) (string, error) {
	n, diff := 0, ""
	o.Until = until
	o.Log = func(a Action) {
		if diff != "" || a.At >= until {
			return
		}
		if got := a.String(); n >= len(want) {
			diff = fmt.Sprintf("durations dealt anew at %s: action %d is %s, and was none", until, n, got)
		} else if got != want[n] {
			diff = fmt.Sprintf("durations dealt anew at %s: action %d is %s, and was %s", until, n, got, want[n])
		}
		n++
	}
	if _, err := Replay(ctx, jobs, f, p, o); err != nil {
		return "", err
	}
	if diff == "" && n < len(want) {
		diff = fmt.Sprintf("durations dealt anew at %s: action %d is none, and was %s", until, n, want[n])
	}
	return diff, nil
}

// undone is, for each job, the work it will have done at a time before the next event; -1 for one that has ended.
func (w *World) undone(at time.Duration) []time.Duration {
	out := make([]time.Duration, len(w.job))
	for j := range w.job {
		js := &w.job[j]
		switch js.state {
		case Done, Refused:
			out[j] = -1
		case Running:
			if out[j] = js.done + progress(at-js.from, js.speed); out[j] >= w.jobs[j].Duration {
				out[j] = -1 // it ends at this instant
			}
		default:
			out[j] = js.done
		}
	}
	return out
}

// redeal deals durations among the jobs with at least 0 done, each above what its job has done; those furthest along
// choose first, so that there is always one left that is long enough.
func redeal(jobs []trace.Job, done []time.Duration, r *rand.Rand) ([]trace.Job, bool) {
	var open []int32
	for j, d := range done {
		if d >= 0 {
			open = append(open, int32(j))
		}
	}
	if len(open) < 2 {
		return nil, false
	}
	byDuration := slices.Clone(open)
	slices.SortFunc(open, func(a, b int32) int { return int(min(1, max(-1, done[b]-done[a]))) })
	slices.SortFunc(byDuration, func(a, b int32) int { return int(min(1, max(-1, jobs[b].Duration-jobs[a].Duration))) })
	out := slices.Clone(jobs)
	var eligible []time.Duration
	for _, j := range open {
		for len(byDuration) > 0 && (jobs[byDuration[0]].Duration > done[j] || done[j] == 0) {
			eligible = append(eligible, jobs[byDuration[0]].Duration)
			byDuration = byDuration[1:]
		}
		k, last := r.IntN(len(eligible)), len(eligible)-1
		out[j].Duration = eligible[k]
		eligible[k] = eligible[last]
		eligible = eligible[:last]
	}
	return out, true
}
