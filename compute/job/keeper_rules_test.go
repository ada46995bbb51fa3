package job_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

func TestQueueIsFirstInFirstOutWithinPriority(t *testing.T) {
	s := newShell(4)
	add := func(name string, cpus, priority int) {
		sp := spec(cpus)
		sp.Name, sp.Priority = name, priority
		mustCreate(t, s.k, sp)
		s.w.clock = s.w.clock.Add(time.Second)
	}
	add("first", 3, 0)
	mustPass(t, s.k)
	add("big", 3, 0)
	add("small", 1, 0)
	add("urgent", 4, 9)
	add("free", 0, 0)
	order := func() (out []string) {
		for _, st := range s.w.living() {
			out = append(out, s.w.rows[st.Job].Name)
		}
		return out
	}
	mustPass(t, s.k)
	// The one without a slot runs at once; small would fit, but must not overtake urgent and big.
	if diff := cmp.Diff([]string{"first", "free"}, order()); diff != "" {
		t.Fatal(diff)
	}
	reasons := map[string]string{}
	all, err := s.k.List(t.Context(), project, job.Filter{State: job.Queued})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range all {
		reasons[j.Name] = j.Reason
	}
	want := map[string]string{
		"urgent": "Waits for 4 CPUs; 1 of 4 are free and it is the next.",
		"big":    "Waits for 3 CPUs; 1 of 4 are free and 1 job is before it.",
		"small":  "Waits for 1 CPU; 1 of 4 are free and 2 jobs are before it.",
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Error(diff)
	}
	var ran []string
	for range 4 {
		for _, st := range s.w.living() {
			if name := s.w.rows[st.Job].Name; name != "free" {
				ran = append(ran, name)
				s.w.begin(st.Job, st.Attempt)
				s.w.end(st.Job, st.Attempt, job.Exit{})
			}
		}
		mustPass(t, s.k)
	}
	if diff := cmp.Diff([]string{"first", "urgent", "big", "small"}, ran); diff != "" {
		t.Error(diff)
	}
	if _, err := s.k.Create(t.Context(), spec(5)); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "cpus" {
		t.Errorf("more CPUs than there are: %v", err)
	}
}

func TestEndsAreNamedAndCounted(t *testing.T) {
	for _, c := range []struct {
		name    string
		exit    job.Exit
		max     int
		forever bool
		state   job.State
		fault   string
		words   string
		counted int
	}{
		{"done", job.Exit{}, 2, false, job.Succeeded, "", "", 0},
		{"code", job.Exit{Code: 3}, 2, false, job.Queued, job.FaultProgram, "exit code 3", 1},
		{"code, never again", job.Exit{Code: 3}, 0, false, job.Failed, job.FaultProgram, "exit code 3", 0},
		{"crash", job.Exit{Code: -1, Signal: "SIGSEGV"}, 2, false, job.Queued, job.FaultProgram, "SIGSEGV", 1},
		{"killed", job.Exit{Code: -1, Signal: "SIGKILL"}, 2, false, job.Queued, job.FaultNode, "killed from outside", 1},
		{"memory", job.Exit{Code: -1, Signal: "SIGKILL", OOM: true}, 2, false, job.Queued, job.FaultNode, "lack of memory", 1},
		{"supervisor", job.Exit{Code: -1, Lost: job.LostSupervisor}, 2, false, job.Queued, job.FaultPlatform, "supervisor died", 1},
		{"machine", job.Exit{Code: -1, Lost: job.LostMachine}, 2, false, job.Queued, job.FaultNode, "machine restarted", 0},
		{"shutdown", job.Exit{Code: job.ExitStopped, Stopped: true, StopReason: "signal"}, 2, false, job.Queued, job.FaultNode, "from outside", 0},
		{"asked outside", job.Exit{Code: job.ExitStopped}, 2, false, job.Queued, job.FaultNode, "from outside", 1},
		{"full disk", job.Exit{Code: job.ExitMachine}, 2, false, job.Queued, job.FaultNode, "full disk", 0},
		{"full disk, never again", job.Exit{Code: job.ExitMachine}, 0, false, job.Failed, job.FaultNode, "full disk", 0},
		{"no program", job.Exit{Code: -1, NotStarted: "x: not found"}, 2, false, job.Failed, job.FaultProgram, "x: not found", 0},
		{"replica ended", job.Exit{}, 0, true, job.Queued, job.FaultProgram, "keep running", 1},
		{"replica without program", job.Exit{Code: -1, NotStarted: "x: not found"}, 0, true, job.Queued, job.FaultProgram, "x: not found", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShell(1)
			sp := spec(1)
			sp.Restart.Max, sp.Restart.Forever = c.max, c.forever
			j := mustCreate(t, s.k, sp)
			mustPass(t, s.k)
			s.w.begin(j.ID, 1)
			mustPass(t, s.k)
			s.w.end(j.ID, 1, c.exit)
			if err := s.k.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := s.w.rows[j.ID]
			if c.state == job.Queued && got.State == job.Starting { // no back-off: it is already on its way again
				got.State = job.Queued
			}
			if got.State != c.state || got.Fault != c.fault || !strings.Contains(got.Reason, c.words) || got.Streak != c.counted {
				t.Errorf("got %s, fault %q, streak %d: %q", got.State, got.Fault, got.Streak, got.Reason)
			}
		})
	}
}

func TestBackoffGrowsAndHealthEndsTheRow(t *testing.T) {
	s := newShell(1)
	sp := spec(1)
	sp.Restart = job.Restart{Max: 3, BackoffBase: time.Second, BackoffMax: 3 * time.Second, Healthy: time.Minute}
	j := mustCreate(t, s.k, sp)
	die := func(after time.Duration) job.Job {
		t.Helper()
		mustPass(t, s.k)
		n := s.w.rows[j.ID].Attempt
		s.w.begin(j.ID, n)
		mustPass(t, s.k)
		s.w.clock = s.w.clock.Add(after)
		s.w.end(j.ID, n, job.Exit{Code: 1})
		mustPass(t, s.k)
		return s.w.rows[j.ID]
	}
	var waits []time.Duration
	for _, lived := range []time.Duration{0, 0, 0, time.Minute, 0} {
		got := die(lived)
		waits = append(waits, got.NextStartAt.Sub(s.w.clock))
		mustPass(t, s.k)
		if again := s.w.rows[j.ID]; again.State != job.Queued {
			t.Fatalf("it did not wait: %+v", again)
		}
		s.w.clock = got.NextStartAt
	}
	want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, time.Second, 2 * time.Second}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Error(diff)
	}
	s.w.clock = s.w.clock.Add(time.Hour)
	third := die(0)
	s.w.clock = s.w.clock.Add(time.Hour)
	if last := die(0); third.State != job.Queued || last.State != job.Failed || last.Restarts != 6 || !strings.Contains(last.Reason, "3 times in a row") {
		t.Errorf("after a row of 3 it is %s, %d restarts: %s", last.State, last.Restarts, last.Reason)
	}
}

// A machine that fails its jobs for long, as with a full disk, uses none of their tries up; they wait longer and longer.
func TestTheMachinesFaultsAreNotCounted(t *testing.T) {
	s := newShell(1)
	sp := spec(1)
	sp.Restart = job.Restart{Max: 2, BackoffBase: time.Second, BackoffMax: 3 * time.Second, Healthy: time.Minute}
	j := mustCreate(t, s.k, sp)
	die := func(code int) job.Job {
		t.Helper()
		s.w.clock = s.w.clock.Add(time.Second * 4)
		mustPass(t, s.k)
		n := s.w.rows[j.ID].Attempt
		s.w.begin(j.ID, n)
		mustPass(t, s.k)
		s.w.end(j.ID, n, job.Exit{Code: code})
		mustPass(t, s.k)
		return s.w.rows[j.ID]
	}
	var waits []time.Duration
	for range 5 {
		got := die(job.ExitMachine)
		if got.State != job.Queued || got.Streak != 0 {
			t.Fatalf("%+v", got)
		}
		waits = append(waits, got.NextStartAt.Sub(s.w.clock))
	}
	if d := cmp.Diff([]time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second, 3 * time.Second}, waits); d != "" {
		t.Error(d)
	}
	die(1)
	if got := die(1); got.State != job.Queued {
		t.Errorf("its own second failure: %+v", got)
	}
	if got := die(1); got.State != job.Failed {
		t.Errorf("its own third failure: %+v", got)
	}
}

func TestClockPutBack(t *testing.T) {
	s := newShell(1)
	j := mustCreate(t, s.k, spec(1))
	mustPass(t, s.k)
	s.w.begin(j.ID, 1)
	s.w.end(j.ID, 1, job.Exit{Code: 1})
	mustPass(t, s.k)
	mustPass(t, s.k)
	if got := s.w.rows[j.ID]; got.State != job.Queued {
		t.Fatalf("no back-off: %s", got.State)
	}
	s.w.clock = s.w.clock.Add(-time.Hour)
	mustPass(t, s.k)
	if got := s.w.rows[j.ID]; got.Attempt != 2 {
		t.Errorf("it waits for a clock that was put back: %+v", got)
	}
}

func TestCancel(t *testing.T) {
	s := newShell(1)
	running, waiting := mustCreate(t, s.k, spec(1)), mustCreate(t, s.k, spec(1))
	mustPass(t, s.k)
	s.w.begin(running.ID, 1)
	got, err := s.k.Cancel(t.Context(), project, waiting.ID, "not needed")
	if err != nil || got.State != job.Cancelled || got.Reason != "not needed" {
		t.Errorf("a queued job: %+v, %v", got, err)
	}
	got, err = s.k.Cancel(t.Context(), project, running.ID, "enough")
	if err != nil || got.State != job.Stopping {
		t.Errorf("a running job: %+v, %v", got, err)
	}
	if err := s.k.Discard(t.Context(), project, running.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("discarding what runs: %v", err)
	}
	if err := s.k.Delete(t.Context(), project, running.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("deleting what runs: %v", err)
	}
	mustPass(t, s.k)
	if !s.w.at(running.ID, 1).stop {
		t.Fatal("nobody asked the attempt to end")
	}
	s.w.end(running.ID, 1, job.Exit{Code: -1, Signal: "SIGKILL", Killed: true})
	mustPass(t, s.k)
	got, err = s.k.Get(t.Context(), project, running.ID)
	if err != nil || got.State != job.Cancelled || got.Reason != "enough. It did not end within 10s and was killed." || got.Restarts != 0 {
		t.Errorf("after its end: %+v, %v", got, err)
	}
	if _, err := s.k.Cancel(t.Context(), "prj_other", running.ID, ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("another project's job: %v", err)
	}
	if err := errors.Join(s.k.Discard(t.Context(), project, running.ID), s.k.Delete(t.Context(), project, running.ID)); err != nil {
		t.Error(err)
	}
	if _, err := s.k.Get(t.Context(), project, running.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a deleted job: %v", err)
	}
}

func TestOlderStoreThanFolders(t *testing.T) {
	s := newShell(1)
	j := mustCreate(t, s.k, spec(1))
	s.w.fence[j.ID] = 4 // the rows were restored from a copy; attempts up to 4 were started since
	for range 10 {
		mustPass(t, s.k)
	}
	if got := s.w.rows[j.ID]; got.Attempt != 4 && got.Attempt != 5 || len(s.w.broken) > 0 {
		t.Errorf("attempt %d after a fence of 4, %v", got.Attempt, s.w.broken)
	}
}

func TestCollect(t *testing.T) {
	s := newShell(2)
	j := mustCreate(t, s.k, spec(1))
	for n := 1; n <= 2; n++ {
		mustPass(t, s.k)
		s.w.begin(j.ID, n)
		s.w.end(j.ID, n, job.Exit{Code: 1})
		mustPass(t, s.k)
		s.w.clock = s.w.clock.Add(time.Hour)
	}
	dead, alive := "job_01hzzzzzzzzzzzzzzzzzzzzzz0", "job_01hzzzzzzzzzzzzzzzzzzzzzz1"
	s.w.at(dead, 1).phase = job.PhaseEnded
	s.w.at(alive, 1).phase = job.PhaseRunning
	strangers, err := s.k.Collect(t.Context())
	if err != nil || len(strangers) != 1 || strangers[0] != alive {
		t.Errorf("strangers %v, %v", strangers, err)
	}
	if _, ok := s.w.attempts[dead]; !ok {
		t.Error("a fresh folder without a row was deleted at once")
	}
	s.w.attempts[alive][1].phase = job.PhaseRunning
	k := job.New(job.Options{Store: s.w, Executor: executorOf{s.w}, Now: func() time.Time { return s.w.clock.Add(25 * time.Hour) }})
	if _, err := k.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, deadThere := s.w.attempts[dead]
	_, aliveThere := s.w.attempts[alive]
	_, ownThere := s.w.attempts[j.ID]
	if deadThere || !aliveThere || !ownThere {
		t.Errorf("after a day: unclaimed %v, unclaimed and alive %v, claimed %v", deadThere, aliveThere, ownThere)
	}
}

// TestLoop runs jobs by the loop alone: on wake, on its tick, and after a back-off, in the bubble's own time.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var changes []string
		k := job.New(job.Options{Store: w, Executor: executorOf{w}, CPUs: 1, Tick: time.Minute, OnChange: func(j job.Job) {
			changes = append(changes, fmt.Sprintf("%s %d", j.State, j.Attempt))
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- k.Loop(ctx) }()
		synctest.Wait()
		sp := spec(1)
		sp.Restart.BackoffBase = 5 * time.Second
		j, err := k.Create(ctx, sp) // wakes it
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.begin(j.ID, 1)
		w.end(j.ID, 1, job.Exit{Code: 1})
		time.Sleep(time.Minute) // its tick
		synctest.Wait()
		if got, err := k.Get(ctx, project, j.ID); err != nil || got.State != job.Queued {
			t.Errorf("after the tick it is %s", got.State)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got, err := k.Get(ctx, project, j.ID); err != nil || got.Attempt != 1 {
			t.Error("it did not wait for the back-off")
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		want := []string{"queued 0", "starting 1", "queued 1", "starting 2"}
		if diff := cmp.Diff(want, changes); diff != "" {
			t.Error(diff)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestStartThatFailsIsTriedAgain(t *testing.T) {
	s := newShell(1)
	j := mustCreate(t, s.k, spec(1))
	s.w.armed, s.w.blind = true, 2 // the row's change goes through, the start's answer is lost
	if err := s.k.Reconcile(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("a failed start: %v", err)
	}
	got := s.w.rows[j.ID]
	if got.State != job.Starting || got.Fault != job.FaultPlatform || !got.NextStartAt.After(s.w.clock) || !strings.Contains(got.Reason, "answer was lost") {
		t.Errorf("after a failed start: %+v", got)
	}
	s.w.begin(j.ID, 1) // it had taken after all
	mustPass(t, s.k)
	if got := s.w.rows[j.ID]; got.State != job.Running || got.Attempt != 1 || got.Reason != "" || got.Fault != "" {
		t.Errorf("after it showed: %+v", got)
	}
}

func TestProgressAcrossAttempts(t *testing.T) {
	s := newShell(1)
	j := mustCreate(t, s.k, spec(1))
	for n := 1; n <= 3; n++ {
		mustPass(t, s.k)
		var b strings.Builder
		for step := 10*n - 5; step < 10*n+5; step++ { // each goes back five steps
			fmt.Fprintf(&b, "{\"step\":%d,\"attempt\":%d}\n", step, n)
		}
		s.w.at(j.ID, n).progress = b.String() + "{\"step\":99" // and dies in a line
		s.w.begin(j.ID, n)
		s.w.end(j.ID, n, job.Exit{Code: 1})
		mustPass(t, s.k)
		s.w.clock = s.w.clock.Add(time.Hour)
	}
	var all []job.Line
	var at job.Cursor
	for done := false; !done; {
		lines, next, end, err := s.k.Progress(t.Context(), project, j.ID, at, 100)
		if err != nil {
			t.Fatal(err)
		}
		back, err := job.ParseCursor(next.String())
		if err != nil || back != next {
			t.Fatalf("cursor %v reads back as %v, %v", next, back, err)
		}
		all, at, done = append(all, lines...), next, end
	}
	if len(all) != 30 {
		t.Errorf("%d lines, want 30", len(all))
	}
	var steps []string
	for _, l := range job.Merge(all) {
		steps = append(steps, fmt.Sprintf("%d:%d", l.Attempt, l.Step))
	}
	want := "1:5 1:6 1:7 1:8 1:9 1:10 1:11 1:12 1:13 1:14 2:15 2:16 2:17 2:18 2:19 2:20 2:21 2:22 2:23 2:24 3:25"
	if got := strings.Join(steps, " "); !strings.HasPrefix(got, want) || len(steps) != 30 {
		t.Errorf("merged %s", got)
	}
}

// TestStuckJobsSayWhy has the executor fail to answer for one job: the others go on and that one says why.
func TestStuckJobsSayWhy(t *testing.T) {
	s := newShell(2)
	stuck, fine := mustCreate(t, s.k, spec(1)), mustCreate(t, s.k, spec(1))
	mustPass(t, s.k)
	s.w.mute = stuck.ID
	s.w.begin(fine.ID, 1)
	if err := s.k.Reconcile(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a pass with a job that cannot be looked at: %v", err)
	}
	got, err := s.k.Get(t.Context(), project, stuck.ID)
	if err != nil || got.State != job.Starting || got.Reason != "It cannot be brought forward: The disk is gone." {
		t.Errorf("the stuck job is %s: %q, %v", got.State, got.Reason, err)
	}
	if got := s.w.rows[fine.ID]; got.State != job.Running {
		t.Errorf("the other job is %s", got.State)
	}
	s.w.mute = ""
	mustPass(t, s.k)
	if got, _ := s.k.Get(t.Context(), project, stuck.ID); got.Reason != "" {
		t.Errorf("the reason stays: %q", got.Reason)
	}
}
