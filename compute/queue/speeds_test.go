package queue_test

import (
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
)

// What is learnt of speeds while a job waits decides where it starts, and a planner that begins anew knows it too.
func TestSpeedsAreLearntWhileJobsWait(t *testing.T) {
	for _, c := range []struct {
		name   string
		learnt bool
		again  bool // the planner begins anew after it was learnt
		want   string
	}{{"as thought at first", false, false, "new"}, {"learnt otherwise", true, false, "old"}, {"learnt, then begun anew", true, true, "old"}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(quick, 2, "old=1", "new=1")
			speed := map[string]int64{"old": sched.Micro, "new": 5 * sched.Micro}
			w.speeds = func(j *job.Job, classes []string) (out []int64) {
				for _, name := range classes {
					if j.Name != "late" {
						return nil
					}
					out = append(out, speed[name])
				}
				return out
			}
			w.restart()
			for _, name := range []string{"old", "new"} { // both chips come free at once
				must(w.submit("a", "on-"+name, 30*time.Minute, job.Ask{Chips: 1, ChipTypes: []string{name}}, func(s *job.Spec) { s.Priority = 9 }))(t)
			}
			w.run(time.Minute, time.Second)
			late := must(w.submit("a", "late", time.Hour, job.Ask{Chips: 1, ChipTypes: []string{"old", "new"}, Objective: "fastest"}))(t)
			w.run(5*time.Minute, time.Second)
			if c.learnt {
				speed["new"] = sched.Micro / 5
			}
			w.run(5*time.Minute, time.Second)
			if c.again {
				w.restart()
			}
			w.run(25*time.Minute, time.Second)
			got := w.get(late.ID)
			if got.State != job.Running || got.Standing.Placement.Chip != c.want || len(w.broken) > 0 {
				t.Errorf("it is %s: %s: %+v; %v", got.State, got.Reason, got.Standing.Placement, w.broken)
			}
		})
	}
}

// Speeds that cannot be are bounded, and the job runs all the same; it runs on while they change.
func TestSpeedsThatCannotBe(t *testing.T) {
	w := newWorld(quick, 2, "old=1", "new=1")
	say := []int64{-5, 1 << 62}
	w.speeds = func(*job.Job, []string) []int64 { return say }
	w.restart()
	j := must(w.submit("a", "x", 20*time.Minute, job.Ask{Chips: 1, ChipTypes: []string{"old", "new"}, Objective: "fastest"}))(t)
	w.run(5*time.Minute, time.Second)
	if got := w.get(j.ID); got.State != job.Running || got.Standing.Placement.Chip != "new" {
		t.Fatalf("it is %s: %s", got.State, got.Reason)
	}
	say = []int64{7}
	w.run(30*time.Minute, time.Second)
	if got := w.get(j.ID); got.State != job.Succeeded || got.Attempt > 2 || len(w.broken) > 0 {
		t.Errorf("it is %s after %d attempts: %s; %v", got.State, got.Attempt, got.Reason, w.broken)
	}
}

// What a job has attained counts at the reference speed, whatever becomes of it: while it runs, when it waits again, when the planner begins anew
// beside it, and when its speed turns out to be another.
func TestWhatIsAttainedIsAtTheReferenceSpeed(t *testing.T) {
	w := newWorld(quick, 2, "new=1")
	speed := int64(4 * sched.Micro)
	w.speeds = func(*job.Job, []string) []int64 { return []int64{speed} }
	w.restart()
	ask := job.Ask{Chips: 1, ChipTypes: []string{"new"}}
	j := must(w.submit("a", "x", 3*time.Hour, ask))(t)
	near := func(when string, want time.Duration) {
		t.Helper()
		if got := w.planner.Attained(w.clock, j.ID); got < want-5*time.Minute || got > want+5*time.Minute {
			t.Errorf("%s: attained %s, want %s", when, got, want)
		}
	}
	w.run(20*time.Minute, time.Second)
	near("running", 80*time.Minute)
	must(0, w.planner.Drain(t.Context(), "here-new", true, "a new fan"))(t)
	must(w.keeper.Requeue(t.Context(), "a", j.ID))(t)
	w.run(2*time.Minute, time.Second)
	if got := w.get(j.ID); got.State != job.Queued || got.Standing.Ran < 20*time.Minute {
		t.Fatalf("%s, ran %s", got.State, got.Standing.Ran)
	}
	near("waiting", 80*time.Minute)
	w.restart()
	w.run(time.Minute, time.Second)
	near("waiting, begun anew", 80*time.Minute)
	must(0, w.planner.Drain(t.Context(), "here-new", false, ""))(t)
	w.run(10*time.Minute, time.Second)
	near("running again", 120*time.Minute)
	w.restart()
	w.run(time.Second, time.Second)
	near("adopted", 120*time.Minute)
	speed = sched.Micro
	w.restart()
	w.run(time.Second, time.Second)
	near("adopted at another speed", 120*time.Minute)
	w.run(10*time.Minute, time.Second)
	near("slower", 130*time.Minute)
	if len(w.broken) > 0 {
		t.Error(w.broken)
	}
}
