package queue_test

import (
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
)

// Of an array with a limit no more run at once, whatever dies; it uses all the turns it has, those that lost their place
// come first, and the others know why they wait.
func TestAnArrayKeepsItsLimit(t *testing.T) {
	for fuse := range 25 {
		w := newWorld(quick, 2, "slot=8")
		w.quotas["a"] = queue.Quota{Project: "a"}
		w.quotas["b"] = queue.Quota{Project: "b", Guarantee: map[string]int64{"slot": 6}}
		w.restart()
		ctx := t.Context()
		spec := job.Spec{Project: "a", Kind: "program", Name: "sweep", Command: job.Command{Argv: []string{"x"}}, Ask: job.Ask{Chips: 2, Saves: true}}
		arr := must(w.keeper.CreateArray(ctx, spec, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 3))(t)
		var ids []string
		for _, id := range w.order {
			ids, w.left[id] = append(ids, id), 3*time.Minute
		}
		after := must(w.submit("a", "after", time.Minute, job.Ask{Chips: 1, After: []string{arr.ID}}))(t)
		w.fuse = 7 * fuse
		most, owner := 0, ""
		for i := range 1800 {
			if i == 80 {
				left := w.fuse
				w.fuse = 0 // it is not the keeper of the request that dies
				owner, w.fuse = must(w.submit("b", "owner", time.Minute, slots(6)))(t).ID, left
			}
			w.run(time.Second, time.Second)
			n := 0
			for _, p := range w.works {
				if w.rows[p.job].Ask.Member != nil && (p.phase == job.PhaseRunning || p.phase == job.PhaseStarting) {
					n++
				}
			}
			most = max(most, n)
			if i == 10 {
				if x := w.planner.Explain(w.get(ids[9])); fuse == 0 && (x.Bound != "array" || x.Have != 3 || x.Want != 10 || x.Reason != "It waits for its turn: 3 elements of its array may run at once.") {
					t.Errorf("the last element waits because %+v", x)
				}
			}
			if got := must(w.keeper.Get(ctx, "a", arr.ID))(t); got.State.Final() {
				break
			} else if w.rows[after.ID].Attempt > 0 {
				t.Fatalf("what waits for the array began while it is %s", got.Reason)
			}
		}
		got := must(w.keeper.Get(ctx, "a", arr.ID))(t)
		if most != 3 || got.State != job.Succeeded || got.Tally.States[job.Succeeded] != 10 || len(w.broken) > 0 {
			t.Errorf("fuse %d: at most %d at once; in the end %s; %v", fuse, most, got.Reason, w.broken)
		}
		if w.get(owner).State != job.Succeeded {
			t.Errorf("fuse %d: the owner is %s", fuse, w.get(owner).State)
		}
		w.run(2*time.Minute, time.Second)
		if got := w.get(after.ID); got.State != job.Succeeded {
			t.Errorf("fuse %d: what waits for the array is %s: %s", fuse, got.State, got.Reason)
		}
	}
}
