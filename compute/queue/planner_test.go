package queue_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
)

var quick = sched.Config{Round: 10_000, MinRun: 60_000}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func slots(n int) job.Ask { return job.Ask{Chips: n} }

// A guarantee that others borrowed comes back: the borrower makes way after its minimum run, keeps its work, and runs on
// when there is room. What each job is told of it is right.
func TestABorrowedGuaranteeComesBack(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	w.quotas["a"] = queue.Quota{Project: "a", Guarantee: map[string]int64{"slot": 4}}
	w.quotas["b"] = queue.Quota{Project: "b", Guarantee: map[string]int64{"slot": 4}}
	w.restart()
	borrower := must(w.submit("b", "borrower", 10*time.Minute, slots(8)))(t)
	w.run(30*time.Second, time.Second)
	owner := must(w.submit("a", "owner", time.Minute, slots(4)))(t)
	w.run(2*time.Second, time.Second)
	if x := w.planner.Explain(w.get(owner.ID)); x.Stage != "placed" || x.Bound != "room" || x.Have != 0 || x.Want != 4 ||
		!strings.Contains(x.Reason, "1 job that borrows it has not yet run for 1m0s") || x.Unit != "chips" || x.P50.IsZero() || x.P90.Before(x.P50) {
		t.Errorf("%+v", x)
	}
	w.run(30*time.Second, time.Second) // its minimum run
	if got := w.get(borrower.ID); got.State != job.Preempting || !strings.Contains(got.Reason, "whose queue was below its guarantee") {
		t.Fatalf("the borrower is %s: %s", got.State, got.Reason)
	}
	if got := w.get(borrower.ID); strings.Contains(got.Reason, "(owner)") {
		t.Errorf("it names another project's job: %s", got.Reason)
	}
	if x := w.planner.Explain(w.get(owner.ID)); x.Bound != "room being made" || !strings.Contains(x.Reason, borrower.ID) {
		t.Errorf("%+v", x)
	}
	w.run(10*time.Second, time.Second)
	if got := w.get(owner.ID); got.State != job.Running || len(got.Standing.Placement.Seats[0].Devices) != 4 {
		t.Fatalf("the owner is %s: %s", got.State, got.Reason)
	}
	if got := w.get(borrower.ID); got.State != job.Queued || got.Standing.Preempted != 1 || got.Restarts != 0 || got.Standing.Ran < time.Minute {
		t.Fatalf("the borrower is %s: %+v", got.State, got.Standing)
	}
	if c := w.planner.Explain(w.get(borrower.ID)).Change; c == nil || c.Kind != "less" || c.To != 4 {
		t.Errorf("the cheapest change is %+v", c)
	}
	w.run(2*time.Minute, time.Second)
	if got := w.get(borrower.ID); got.State != job.Running || got.Attempt != 2 || w.get(owner.ID).State != job.Succeeded {
		t.Errorf("the borrower is %s: %s", got.State, got.Reason)
	}
	w.run(10*time.Minute, time.Second)
	if got := w.get(borrower.ID); got.State != job.Succeeded || len(w.broken) > 0 {
		t.Errorf("the borrower is %s: %s; %v", got.State, got.Reason, w.broken)
	}
}

// A guarantee is taken back when the minimum run of what borrows it has passed, and at once if it has: not only at rounds.
func TestAGuaranteeWaitsForNoRound(t *testing.T) {
	for _, ran := range []time.Duration{20 * time.Second, 2 * time.Minute} {
		w := newWorld(sched.Config{Round: 3_600_000, MinRun: 60_000}, 2, "slot=8")
		w.clock = w.clock.Add(time.Second) // the round of the hour is over
		w.quotas["a"] = queue.Quota{Project: "a", Guarantee: map[string]int64{"slot": 4}}
		w.quotas["b"] = queue.Quota{Project: "b"}
		w.restart()
		borrower := must(w.submit("b", "borrower", 0, slots(8)))(t)
		w.run(ran, time.Second)
		must(w.submit("a", "owner", time.Minute, slots(4)))(t)
		w.run(max(2*time.Second, 60*time.Second-ran), time.Second)
		early := w.get(borrower.ID)
		w.run(2*time.Second, time.Second)
		if got := w.get(borrower.ID); got.State != job.Preempting || ran < time.Minute && early.State != job.Running {
			t.Errorf("after %s the borrower is %s, and is %s later", ran, early.State, got.State)
		}
	}
}

// A new planner decides as the one before it would have: with the prices, what was held and what was said of starts.
func TestAPlannerGoesOnWhereTheOldOneWas(t *testing.T) {
	history := func(restart bool) (out []string) {
		w := newWorld(sched.Config{Round: 60_000, MinRun: 60_000}, 2, "slow=8@one", "fast=4@two")
		w.quotas["a"] = queue.Quota{Project: "a"}
		w.quotas["b"] = queue.Quota{Project: "b"}
		w.restart()
		any := func(n int, types ...string) job.Ask { return job.Ask{Chips: n, ChipTypes: types} }
		for i := range 12 {
			p := []string{"a", "b"}[i%2]
			must(w.submit(p, "small", time.Duration(3+i%5)*time.Minute, any(1+i%3, "fast", "slow")))(t)
		}
		w.run(5*time.Minute, time.Second)
		gang := must(w.submit("a", "gang", 10*time.Minute, any(8, "slow")))(t)
		w.run(61*time.Second, time.Second)
		for range 3 {
			if restart {
				w.restart()
			}
			must(w.submit("b", "late", 30*time.Minute, any(2, "fast", "slow")))(t)
			w.run(10*time.Second, time.Second)
		}
		x := w.planner.Explain(w.get(gang.ID))
		out = append(out, x.Bound, x.Reason)
		for _, id := range w.order {
			j := w.get(id)
			out = append(out, string(j.State), j.Reason, j.Standing.PlacedAt.String())
			if at := j.Standing.Placement; at != nil {
				out = append(out, at.Chip)
			}
		}
		return out
	}
	if d := cmp.Diff(history(false), history(true)); d != "" {
		t.Error(d)
	}
}

// Replicas are kept while batch work fills what they leave, and are never queued behind it.
func TestReplicasAreKept(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	replica := func(name string) job.Job {
		return must(w.submit("a", name, 0, job.Ask{Chips: 2, Class: job.Service, Group: "dep", GroupMin: 2}, func(s *job.Spec) { s.Restart.Forever = true }))(t)
	}
	first := replica("one")
	batch := must(w.submit("a", "batch", 20*time.Minute, slots(6)))(t)
	w.run(2*time.Minute, time.Second)
	second := replica("two")
	w.run(30*time.Second, time.Second)
	if got := w.get(second.ID); got.State != job.Running {
		t.Errorf("the second replica is %s: %s", got.State, got.Reason)
	}
	if got := w.get(first.ID); got.State != job.Running || got.Attempt != 1 {
		t.Errorf("the first replica is %s, attempt %d", got.State, got.Attempt)
	}
	if got := w.get(batch.ID); got.State != job.Queued || got.Standing.Preempted != 1 || !strings.Contains(got.Reason, "a replica of a deployment") {
		t.Errorf("the batch job is %s: %s", got.State, got.Reason)
	}
	must(w.submit("a", "small", time.Minute, slots(4)))(t)
	w.run(5*time.Second, time.Second)
	if got := w.holds()["a"]; got != 8 {
		t.Errorf("%d of 8 are in use beside the replicas", got)
	}
}

// Another queue is a change to think of only inside one organisation.
func TestChangesNameNobodyElsesProjects(t *testing.T) {
	for _, same := range []bool{false, true} {
		w := newWorld(quick, 2, "slot=8")
		if same {
			w.orgs["b"] = w.orgs["a"]
		}
		w.quotas["a"] = queue.Quota{Project: "a", Ceiling: map[string]int64{"slot": 4}}
		w.quotas["b"] = queue.Quota{Project: "b"}
		w.restart()
		must(w.submit("a", "first", time.Hour, slots(4)))(t)
		second := must(w.submit("a", "second", time.Hour, slots(4)))(t)
		w.run(2*time.Second, time.Second)
		x := w.planner.Explain(w.get(second.ID))
		if x.Bound != "ceiling" || x.Change == nil || (x.Change.Kind == "queue") != same {
			t.Errorf("one organisation %v: %+v, %+v", same, x, x.Change)
		}
	}
}

// Short evaluation passes the queue.
func TestTheFastLane(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	must(w.submit("a", "long", 5*time.Minute, slots(8)))(t)
	w.run(5*time.Second, time.Second)
	for range 3 {
		must(w.submit("a", "batch", 5*time.Minute, slots(8)))(t)
	}
	w.run(5*time.Second, time.Second)
	fast := must(w.submit("a", "eval", 20*time.Second, job.Ask{Chips: 2, Class: job.Evaluation, TimeLimit: 5 * time.Minute}))(t)
	w.run(7*time.Minute, time.Second)
	if got := w.get(fast.ID); got.State != job.Succeeded {
		t.Errorf("the evaluation is %s: %s", got.State, got.Reason)
	}
}

// What a job waits for besides room is said, and ends when it should.
func TestHoldsBeginsAndDependencies(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	ctx := context.Background()
	parent := must(w.submit("a", "parent", time.Minute, job.Ask{Chips: 1, Hold: true}))(t)
	if x := w.planner.Explain(w.get(parent.ID)); x.Bound != "plan" || x.Reason == "" { // no plan has seen it
		t.Errorf("%+v", x)
	}
	child := must(w.submit("a", "child", time.Minute, job.Ask{Chips: 1, After: []string{parent.ID}}))(t)
	late := must(w.submit("a", "late", time.Minute, job.Ask{Chips: 1, NotBefore: w.clock.Add(10 * time.Minute)}))(t)
	w.run(5*time.Second, time.Second)
	for id, bound := range map[string]string{parent.ID: "hold", child.ID: "after", late.ID: "begin"} {
		if x := w.planner.Explain(w.get(id)); x.Bound != bound || x.Reason == "" {
			t.Errorf("%s: %+v", w.rows[id].Name, x)
		}
	}
	w.restart() // what only the core knew is found again
	w.run(5*time.Second, time.Second)
	must(w.keeper.Release(ctx, "a", parent.ID))(t)
	w.run(70*time.Second, time.Second)
	if p, c := w.get(parent.ID), w.get(child.ID); p.State != job.Succeeded || c.State != job.Running || w.get(late.ID).State != job.Queued {
		t.Errorf("parent %s, child %s: %s", p.State, c.State, c.Reason)
	}
	w.run(9*time.Minute, time.Second)
	if w.get(late.ID).State != job.Running {
		t.Errorf("late is %s: %s", w.get(late.ID).State, w.get(late.ID).Reason)
	}
	orphan := must(w.submit("a", "orphan", time.Minute, job.Ask{Chips: 1, Hold: true}))(t)
	heir := must(w.submit("a", "heir", time.Minute, job.Ask{Chips: 1, After: []string{orphan.ID}}))(t)
	w.run(time.Second, time.Second)
	must(w.keeper.Cancel(ctx, "a", orphan.ID, "no need"))(t)
	for range 2 {
		w.run(2*time.Second, time.Second)
		if got := w.get(heir.ID); got.State != job.Queued || !strings.Contains(got.Reason, "it will never start") {
			t.Errorf("the heir is %s: %s", got.State, got.Reason)
		}
		w.restart()
	}
}

// A node that is drained takes nothing new, also after a restart, and says so.
func TestDrain(t *testing.T) {
	w := newWorld(quick, 2, "slot=4@left", "slot=4@right")
	ctx := context.Background()
	on := func(id string) string { return w.get(id).Standing.Placement.Seats[0].Node }
	first := must(w.submit("a", "first", time.Hour, slots(4)))(t)
	w.run(2*time.Second, time.Second)
	other := map[string]string{"left": "right", "right": "left"}[on(first.ID)]
	must(0, w.planner.Drain(ctx, other, true, "a new fan"))(t)
	w.restart()
	second := must(w.submit("a", "second", time.Hour, slots(4)))(t)
	w.run(2*time.Second, time.Second)
	if got := w.get(second.ID); got.State != job.Queued || !strings.Contains(got.Reason, "Node "+other+" takes no new work: a new fan.") {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	must(0, w.planner.Drain(ctx, other, false, ""))(t)
	w.run(2*time.Second, time.Second)
	if got := w.get(second.ID); got.State != job.Running || on(second.ID) != other {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	if err := w.planner.Drain(ctx, "nowhere", true, ""); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	must(w.submit("a", "gang", time.Minute, slots(8)))(t) // over both nodes
	w.run(time.Minute, time.Second)
	if len(w.broken) > 0 {
		t.Error(w.broken)
	}
}

// What was learnt of durations, and what queues used, outlives the planner, also where jobs end while none lives.
func TestWhatWasLearntIsKept(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	same := func(n int) (last job.Job) {
		for range n {
			last = must(w.submit("a", "sweep", time.Minute, slots(8)))(t)
		}
		return last
	}
	wait := func() time.Duration {
		t.Helper()
		last := same(2)
		w.run(2*time.Second, time.Second)
		x := w.planner.Explain(w.get(last.ID))
		if x.P50.IsZero() {
			t.Fatalf("it is not said when %s starts", last.ID)
		}
		return x.P50.Sub(w.clock)
	}
	if d := wait(); d < 10*time.Minute {
		t.Errorf("knowing nothing it expects a start in %s", d)
	}
	same(18)
	w.run(25*time.Minute, time.Second)
	learnt := wait()
	if learnt < 20*time.Second || learnt > 3*time.Minute {
		t.Errorf("after twenty that took a minute it expects a start in %s", learnt)
	}
	used := w.planner.Queues()[0].Used
	if used <= 0 {
		t.Errorf("used %d", used)
	}
	w.run(10*time.Second, time.Second) // what was learnt is written within it
	w.planner, w.keeper = nil, nil
	w.clock = w.clock.Add(5 * time.Minute) // nobody is there when one ends
	w.live()
	w.restart()
	w.run(time.Second, time.Second)
	if now := w.planner.Queues()[0].Used; now < used*9/10 {
		t.Errorf("used %d, and %d before the restart", now, used)
	}
	w.run(5*time.Minute, time.Second)
	if d := wait(); d < 20*time.Second || d > 3*time.Minute {
		t.Errorf("after the restart it expects a start in %s, before in %s", d, learnt)
	}
}

// What could never run is refused when it is submitted, with the nearest that could.
func TestWhatCouldNeverRun(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	w.quotas["a"] = queue.Quota{Project: "a", Ceiling: map[string]int64{"slot": 4}}
	w.restart()
	for _, known := range []bool{false, true} {
		for _, c := range []struct {
			ask    job.Ask
			cpus   int
			field  string
			reason string
		}{
			{slots(9), 0, "chips", "no site has room for 9 chips"},
			{job.Ask{Chips: 1, ChipTypes: []string{"slots"}}, 0, "chip_types", `did you mean "slot"?`},
			{job.Ask{}, 3, "cpus", "The job asks for 3 CPUs and there are 2."},
		} {
			_, err := w.submit("a", "x", time.Minute, c.ask, func(s *job.Spec) { s.CPUs = c.cpus })
			if f := fault.As(err); !fault.Is(err, fault.Invalid) || f.Field != c.field || !strings.Contains(f.Message, c.reason) {
				t.Errorf("%+v, known %v: %v", c.ask, known, err)
			}
		}
		must(w.submit("a", "fits", time.Minute, slots(2)))(t)
		w.run(time.Second, time.Second)
	}
	if _, err := w.submit("a", "x", time.Minute, slots(5)); !strings.Contains(fault.As(err).Message, "may never hold as many") {
		t.Errorf("above the ceiling: %v", err)
	}
}

// fill draws a world with quotas and jobs.
func fill(t *rapid.T) *world {
	w := newWorld(quick, 2, "slot=4@left", "slot=4@right")
	if rapid.Bool().Draw(t, "guaranteed") {
		w.quotas["a"] = queue.Quota{Project: "a", Guarantee: map[string]int64{"slot": 4}}
	}
	if rapid.Bool().Draw(t, "capped") {
		w.quotas["b"] = queue.Quota{Project: "b", Ceiling: map[string]int64{"slot": 6}}
	}
	w.restart()
	return w
}

func (w *world) draw(t *rapid.T) {
	ask := job.Ask{Chips: rapid.SampledFrom([]int{0, 1, 2, 4, 6}).Draw(t, "chips")}
	if ask.Chips > 1 && rapid.Bool().Draw(t, "elastic") {
		ask.MinChips = rapid.IntRange(1, ask.Chips).Draw(t, "least")
	}
	if rapid.IntRange(0, 4).Draw(t, "fast") == 0 {
		ask.Class, ask.TimeLimit = job.Evaluation, 5*time.Minute
	}
	if len(w.order) > 0 && rapid.IntRange(0, 5).Draw(t, "dependent") == 0 {
		parent := rapid.SampledFrom(w.order).Draw(t, "parent")
		ask.After = []string{parent}
	}
	project := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "project")
	if len(ask.After) > 0 {
		project = w.rows[ask.After[0]].Project
	}
	_, _ = w.submit(project, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name"), time.Duration(rapid.IntRange(5, 240).Draw(t, "seconds"))*time.Second, ask,
		func(s *job.Spec) { s.CPUs = rapid.IntRange(0, 2).Draw(t, "cpus") })
}

// reserve draws a window, or takes one away.
func (w *world) reserve(t *rapid.T) {
	name, ctx := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "window"), context.Background()
	if _, there := w.windows[name]; there {
		if err := w.planner.RemoveWindow(ctx, name); err != nil {
			t.Fatal(err)
		}
		return
	}
	from := w.clock.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "in")) * time.Second)
	x := queue.Window{Name: name, Nodes: rapid.SampledFrom([][]string{{"left"}, {"right"}, {"left", "right", "here"}}).Draw(t, "nodes"), From: from,
		Until: from.Add(time.Duration(rapid.IntRange(1, 300).Draw(t, "for")) * time.Second), Project: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "whose")}
	if _, err := w.planner.AddWindow(ctx, x); err != nil {
		t.Fatal(err)
	}
}

// Whatever is submitted, held, requeued, drained, reserved and killed: no device has two owners, no gang is split, nobody
// begins in another's window, and in the end every job ends.
func TestThePlannerSurvivesEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, ctx := fill(t), context.Background()
		some := func() string {
			if len(w.order) == 0 {
				return ""
			}
			return rapid.SampledFrom(w.order).Draw(t, "id")
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if len(w.broken) > 0 {
					t.Fatal(strings.Join(w.broken, "; "))
				}
			},
			"submit": w.draw,
			"time passes": func(t *rapid.T) {
				w.run(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds"))*time.Second, time.Second)
			},
			"the keeper dies": func(t *rapid.T) {
				w.fuse = rapid.IntRange(1, 15).Draw(t, "moments")
				w.run(2*time.Second, time.Second)
				w.fuse = 0
			},
			"restart": func(*rapid.T) { w.restart() },
			"what was learnt is lost": func(t *rapid.T) {
				w.kept = []byte(rapid.SampledFrom([]string{"", "{", `{"format":1,"book":"AAAA"}`}).Draw(t, "left"))
				w.restart()
			},
			"hold": func(t *rapid.T) { id := some(); _, _ = w.keeper.Hold(ctx, w.rows[id].Project, id) },
			"requeue": func(t *rapid.T) {
				id := some()
				_, _ = w.keeper.Requeue(ctx, w.rows[id].Project, id)
			},
			"cancel": func(t *rapid.T) {
				if id := some(); rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					_, _ = w.keeper.Cancel(ctx, w.rows[id].Project, id, "enough")
				}
			},
			"reserve": w.reserve,
			"array": func(t *rapid.T) {
				spec := job.Spec{Project: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "project"), Kind: "work", Name: "array", Command: job.Command{Argv: []string{"work"}},
					Ask: job.Ask{Chips: rapid.IntRange(1, 2).Draw(t, "chips"), Saves: true}, Restart: job.Restart{Max: 3}}
				before := len(w.order)
				if _, err := w.keeper.CreateArray(ctx, spec, []int{0, 1, 2, 3}[:rapid.IntRange(1, 4).Draw(t, "elements")], rapid.IntRange(0, 2).Draw(t, "limit")); err != nil && !fault.Is(err, fault.Invalid) {
					t.Fatal(err)
				}
				for _, id := range w.order[before:] {
					w.left[id] = time.Duration(rapid.IntRange(1, 100).Draw(t, "long")) * time.Second
				}
			},
			"drain": func(t *rapid.T) {
				if w.planner.Drain(ctx, rapid.SampledFrom([]string{"left", "right"}).Draw(t, "node"), rapid.Bool().Draw(t, "draining"), "") != nil {
					t.Fatal("it cannot be drained")
				}
			},
		})
		settle(t, w)
	})
}

// unended are the jobs that have not ended and could: those that do not wait for one that failed.
func (w *world) unended() (open []string) {
	doomed := map[string]bool{}
	for _, id := range w.order {
		j := w.rows[id]
		for _, p := range j.Ask.After {
			doomed[id] = doomed[id] || doomed[p] || w.rows[p].State.Final() && w.rows[p].State != job.Succeeded
		}
		if !j.State.Final() && !doomed[id] {
			open = append(open, id)
		}
	}
	return open
}

func settle(t *rapid.T, w *world) {
	ctx := context.Background()
	for _, node := range []string{"left", "right"} {
		if err := w.planner.Drain(ctx, node, false, ""); err != nil {
			t.Fatal(err)
		}
	}
	for name := range w.windows {
		if err := w.planner.RemoveWindow(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range w.order {
		_, _ = w.keeper.Release(ctx, w.rows[id].Project, id)
	}
	var open []string
	for range 3000 { // a long history leaves hours of work
		w.clock = w.clock.Add(5 * time.Second)
		w.live()
		if err := w.pass(); err != nil {
			t.Fatalf("an undisturbed pass: %v", err)
		}
		if open = w.unended(); len(open) == 0 {
			break
		}
	}
	for _, id := range open {
		j := w.rows[id]
		t.Errorf("job %s (%d chips, %d CPUs) is still %s: %s", id, j.Ask.Chips, j.CPUs, j.State, w.get(id).Reason)
	}
	if len(w.broken) > 0 {
		t.Fatal(strings.Join(w.broken, "; "))
	}
}

// A planner that begins anew, when nothing is on its way, orders what the one before it would have ordered at that moment,
// on the same devices. (Predictions may differ by what two looks at history are apart, so priorities and time limits
// decide here and no job ends; what is on its way is decided anew, see TestThePlannerSurvivesEverything.)
func TestANewPlannerPlansAlike(t *testing.T) {
	orders := 0
	rapid.Check(t, func(t *rapid.T) {
		w := fill(t)
		w.conf.Round, w.conf.MinRun = 1000, 60_000 // what was refused is tried again at each pass
		w.restart()
		priority := 0
		draw := func() {
			project, chips := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "project"), rapid.SampledFrom([]int{1, 2, 4, 6}).Draw(t, "chips")
			priority++
			own := priority * rapid.SampledFrom([]int{-1, 1}).Draw(t, "up")
			if _, err := w.submit(project, "x", time.Hour, job.Ask{Chips: chips, TimeLimit: 30 * time.Minute}, func(s *job.Spec) { s.Priority = own }); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(2, 8).Draw(t, "jobs") {
			draw()
			w.run(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds"))*time.Second, time.Second)
		}
		for w.moving() {
			w.run(time.Second, time.Second)
		}
		draw()
		w.clock = w.clock.Add(2 * time.Second)
		w.live()
		open, err := rows{w}.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		view := job.View{Now: w.clock, Jobs: open, Find: func(ids []string) (map[string]job.Job, error) { return rows{w}.Find(context.Background(), ids) }}
		old := w.planner
		if err := old.Close(); err != nil { // what queues used is written every few seconds else
			t.Fatal(err)
		}
		w.restart()
		want, err := old.Plan(context.Background(), view)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.planner.Plan(context.Background(), view)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{want.Starts, want.Stops}, []any{got.Starts, got.Stops}); diff != "" {
			t.Fatal(diff)
		}
		orders += len(got.Starts) + len(got.Stops)
	})
	if orders < 10 && !t.Failed() {
		t.Errorf("only %d orders were compared", orders)
	}
}

// The keeper's loop wakes for what time alone brings: a beginning, a minimum run that is over, a time limit.
func TestTheLoopWakesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(sched.Config{Round: 30_000, MinRun: 60_000}, 2, "slot=8")
		w.quotas["a"] = queue.Quota{Project: "a", Guarantee: map[string]int64{"slot": 8}}
		p := queue.New(queue.Options{Conf: w.conf, Capacity: w.capacity, Store: quotas{w}})
		w.keeper = job.New(job.Options{Store: rows{w}, Executor: executor{w}, Planner: p, Tick: 24 * time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.keeper.Loop(ctx) }()
		synctest.Wait()
		began := time.Now()
		state := func(j job.Job) job.State { return w.rows[j.ID].State }
		after := func(d time.Duration) {
			time.Sleep(d - time.Since(began))
			synctest.Wait()
			w.clock = time.Now()
			w.live()
			w.keeper.Wake()
			synctest.Wait()
		}
		borrower := must(w.submit("b", "borrower", 0, job.Ask{Chips: 8, TimeLimit: 4 * time.Minute}))(t)
		after(time.Second)
		late := must(w.submit("a", "late", 0, job.Ask{Chips: 8, NotBefore: began.Add(20 * time.Second)}))(t)
		after(10 * time.Second)
		if state(borrower) != job.Running || state(late) != job.Queued {
			t.Fatalf("borrower %s, late %s", state(borrower), state(late))
		}
		time.Sleep(95*time.Second - time.Since(began)) // nobody wakes it but time: the beginning, then the round after the minimum run
		synctest.Wait()
		if state(borrower) != job.Preempting {
			t.Fatalf("the borrower is %s", state(borrower))
		}
		after(100 * time.Second)
		after(101 * time.Second)
		if state(late) != job.Running || state(borrower) != job.Queued {
			t.Errorf("borrower %s, late %s", state(borrower), state(late))
		}
		must(w.keeper.Cancel(ctx, "a", late.ID, "enough"))(t)
		after(110 * time.Second)
		after(111 * time.Second)
		if state(borrower) != job.Running {
			t.Errorf("the borrower is %s", state(borrower))
		}
		time.Sleep(4*time.Minute + time.Minute)
		synctest.Wait()
		if got := w.rows[borrower.ID]; got.State != job.Stopping || !got.Standing.Overdue {
			t.Errorf("after its time limit the borrower is %s", got.State)
		}
		cancel()
		<-ended
	})
}

func TestDeclaredCapacity(t *testing.T) {
	c, err := queue.Local("my host!", 3, []string{"slot=8", " a100=4@rack1 ", "slot=1+1@n"})
	if err != nil || len(c.Nodes) != 4 || len(c.Chips) != 3 || c.Nodes[0].Name != "myhost" || c.Nodes[1].Name != "myhost-slot" || c.Nodes[2].Chips != 4 ||
		c.Nodes[3].Chips != 2 || len(c.Nodes[3].Links) != 2 || c.Nodes[1].Links != nil {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "slot", "slot=", "slot=0", "slot=-1", "slot=1025", "slot=x", "slot=4+", "slot=8+-4", "slot=1000+1000", "=3", "cpu=3", "a b=3", "slot=1@", "slot=1@a b", "slot=1@here"} {
		if _, err := queue.Local("here", 1, []string{bad}); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "compute.capacity" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzCapacity(f *testing.F) {
	f.Add("slot=8@n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := queue.Local("here", 2, strings.Split(text, ","))
		if err != nil {
			return
		}
		fleet := sched.Fleet{Chips: c.Chips, Nodes: c.Nodes}
		if err := fleet.Check(); err != nil {
			t.Errorf("%q makes a fleet that is none: %v", text, err)
		}
	})
}
