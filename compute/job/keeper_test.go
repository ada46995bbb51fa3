package job_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

const project = "prj_test"

func spec(cpus int) job.Spec {
	return job.Spec{Project: project, Kind: "train", CPUs: cpus, Command: job.Command{Argv: []string{"work"}},
		Restart: job.Restart{Max: 2}}
}

// shell is a keeper that can die and be followed by another.
type shell struct {
	w       *world
	k       *job.Keeper
	cpus    int
	deaths  map[string]int // job -> attempts that ended without having been asked
	created map[string]job.Spec
	cancels map[string]bool
}

func newShell(cpus int) *shell {
	s := &shell{w: newWorld(), cpus: cpus, deaths: map[string]int{}, created: map[string]job.Spec{}, cancels: map[string]bool{}}
	s.k = s.w.keeper(cpus, nil)
	return s
}

// do runs f; if the keeper dies in it, the next keeper takes its place. It says whether f came to its end.
func (s *shell) do(f func(k *job.Keeper)) (finished bool) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case death:
			s.k, finished = s.w.keeper(s.cpus, nil), false
		default:
			panic(r)
		}
	}()
	f(s.k)
	return true
}

// check looks at everything that must hold between any two moments.
func (s *shell) check(t *rapid.T) {
	w := s.w
	if len(w.broken) > 0 {
		t.Fatal(strings.Join(w.broken, "; "))
	}
	used := 0
	for _, st := range w.living() {
		j := w.rows[st.Job]
		if j.State.Final() || j.State == job.Queued {
			t.Fatalf("job %s is %s and its attempt %d is %s", j.ID, j.State, st.Attempt, st.Phase)
		}
		if j.Standing.Placement == nil {
			t.Fatalf("job %s runs and holds nothing", j.ID)
		}
		if st.Attempt != j.Attempt {
			t.Fatalf("job %s is at attempt %d and attempt %d is %s", j.ID, j.Attempt, st.Attempt, st.Phase)
		}
		used += j.CPUs
	}
	if used > s.cpus {
		t.Fatalf("%d CPUs are in use of %d", used, s.cpus)
	}
	for _, j := range w.rows {
		if j.Restarts > s.deaths[j.ID] {
			t.Fatalf("job %s counts %d restarts and only %d attempts died", j.ID, j.Restarts, s.deaths[j.ID])
		}
		if (j.State == job.Failed) != (j.State.Final() && j.Fault != "") || j.State == job.Failed && j.Reason == "" {
			t.Fatalf("job %s is %s by the fault of %q: %q", j.ID, j.State, j.Fault, j.Reason)
		}
		if j.State == job.Queued && j.Standing.Placement != nil || (j.State == job.Queued || j.State.Final()) && j.Standing.For != "" {
			t.Fatalf("job %s waits and holds %+v", j.ID, j.Standing)
		}
		if j.State.Final() != !j.EndedAt.IsZero() {
			t.Fatalf("job %s is %s and ended at %v", j.ID, j.State, j.EndedAt)
		}
	}
}

func (s *shell) someLiving(t *rapid.T, phase job.Phase) (job.Status, bool) {
	var all []job.Status
	for _, st := range s.w.living() {
		if st.Phase == phase {
			all = append(all, st)
		}
	}
	if len(all) == 0 {
		return job.Status{}, false
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "which")], true
}

// TestKeeperSurvivesEverything lets keepers die at any moment, answers be lost, attempts die in every way, the
// machine restart and users cancel, checks what must always hold after each step, and at the end that every job
// comes to the end it should.
func TestKeeperSurvivesEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		s := newShell(rapid.IntRange(1, 3).Draw(t, "cpus"))
		w := s.w
		w.armed = true
		t.Repeat(map[string]func(*rapid.T){
			"": s.check,
			"create": func(t *rapid.T) {
				sp := spec(rapid.IntRange(0, s.cpus).Draw(t, "cpus"))
				sp.Owner = rapid.SampledFrom([]string{"", "", "run_a", "run_b"}).Draw(t, "owner")
				sp.Priority = rapid.IntRange(0, 2).Draw(t, "priority")
				sp.Restart.Forever = rapid.Bool().Draw(t, "forever")
				sp.Ask.Hold = rapid.IntRange(0, 3).Draw(t, "held") == 0
				sp.Ask.TimeLimit = rapid.SampledFrom([]time.Duration{0, 0, 30 * time.Minute}).Draw(t, "limit")
				if len(w.order) > 0 && rapid.IntRange(0, 3).Draw(t, "after") == 0 {
					sp.Ask.After = []string{rapid.SampledFrom(w.order).Draw(t, "parent")}
				}
				s.do(func(k *job.Keeper) {
					if j, err := k.Create(ctx, sp); err == nil {
						if _, ok := w.rows[j.ID]; !ok {
							t.Fatalf("acknowledged job %s is nowhere", j.ID)
						}
						s.created[j.ID] = j.Spec
					}
				})
			},
			"cancel": func(t *rapid.T) {
				if len(w.order) == 0 {
					return
				}
				id := rapid.SampledFrom(w.order).Draw(t, "id")
				s.do(func(k *job.Keeper) {
					if j, err := k.Cancel(ctx, project, id, "no more need"); err == nil && !(j.State.Final() && j.State != job.Cancelled) {
						s.cancels[id] = true
					}
				})
			},
			"preempt": func(t *rapid.T) {
				if st, ok := s.someLiving(t, rapid.SampledFrom([]job.Phase{job.PhaseStarting, job.PhaseRunning}).Draw(t, "phase")); ok {
					w.wishes[st.Job] = "job_x"
				}
			},
			"hold, release or requeue": func(t *rapid.T) {
				if len(w.order) == 0 {
					return
				}
				id := rapid.SampledFrom(w.order).Draw(t, "id")
				s.do(func(k *job.Keeper) {
					f := rapid.SampledFrom([]func(context.Context, string, string) (job.Job, error){k.Hold, k.Release, k.Requeue}).Draw(t, "verb")
					_, _ = f(ctx, project, id)
				})
			},
			"reconcile": func(t *rapid.T) { s.do(func(k *job.Keeper) { _ = k.Reconcile(ctx) }) },
			"keeper dies within": func(t *rapid.T) {
				w.fuse = rapid.IntRange(1, 12).Draw(t, "moments")
				s.do(func(k *job.Keeper) { _ = k.Reconcile(ctx) })
				w.fuse = 0
			},
			"an answer is lost": func(t *rapid.T) {
				w.blind = rapid.IntRange(1, 4).Draw(t, "changes")
				s.do(func(k *job.Keeper) { _ = k.Reconcile(ctx) })
				w.blind = 0
			},
			"begin": func(t *rapid.T) {
				if st, ok := s.someLiving(t, job.PhaseStarting); ok {
					w.begin(st.Job, st.Attempt)
				}
			},
			"exit": func(t *rapid.T) {
				if st, ok := s.someLiving(t, job.PhaseRunning); ok {
					code := rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "code")
					s.deaths[st.Job]++
					w.end(st.Job, st.Attempt, job.Exit{Code: code})
				}
			},
			"a supervisor dies": func(t *rapid.T) {
				if st, ok := s.someLiving(t, job.PhaseRunning); ok {
					s.deaths[st.Job]++
					w.at(st.Job, st.Attempt).phase = job.PhaseOrphaned
				}
			},
			"the machine restarts": func(t *rapid.T) {
				for _, st := range w.living() {
					s.deaths[st.Job]++
					w.at(st.Job, st.Attempt).phase = job.PhaseEnded
					w.at(st.Job, st.Attempt).exit = &job.Exit{Code: -1, Lost: job.LostMachine, EndedAt: w.clock}
				}
				s.k = w.keeper(s.cpus, nil)
			},
			"everything is taken down": func(t *rapid.T) {
				for _, st := range w.living() {
					_ = w.Stop(ctx, st.Job, st.Attempt, 0, job.StopDown)
					if a := w.at(st.Job, st.Attempt); a.phase != job.PhaseEnded {
						w.end(st.Job, st.Attempt, job.Exit{Code: job.ExitStopped})
					}
				}
				s.k = w.keeper(s.cpus, nil)
			},
			"time passes": func(t *rapid.T) {
				w.clock = w.clock.Add(time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds")) * time.Second)
			},
		})
		s.settle(t)
	})
}

// settle lets everything go well from here on and checks how the jobs end.
func (s *shell) settle(t *rapid.T) {
	w := s.w
	w.armed = false
	s.k = w.keeper(s.cpus, nil)
	clear(w.wishes)
	for id := range w.rows {
		_, _ = s.k.Release(t.Context(), project, id)
	}
	for range 10 * (len(w.rows) + 2) {
		if err := s.k.Reconcile(t.Context()); err != nil {
			t.Fatalf("an undisturbed pass: %v", err)
		}
		for _, st := range w.living() {
			w.begin(st.Job, st.Attempt)
			if j := w.rows[st.Job]; j.State == job.Stopping || j.Attempt > 0 && !j.Restart.Forever {
				if w.at(st.Job, st.Attempt).phase == job.PhaseRunning {
					w.end(st.Job, st.Attempt, job.Exit{Code: 0})
				}
			}
		}
		for id, j := range w.rows {
			if j.Restart.Forever && !j.State.Final() && !s.cancels[id] {
				if _, err := s.k.Cancel(t.Context(), project, id, "end of test"); err != nil {
					t.Fatal(err)
				}
				s.cancels[id] = true
			}
		}
		w.clock = w.clock.Add(time.Hour)
		s.check(t)
	}
	for id := range s.created {
		j := w.rows[id]
		switch {
		case !j.State.Final() && s.doomed(j):
		case !j.State.Final():
			t.Errorf("job %s is still %s: %s", id, j.State, j.Reason)
		case s.cancels[id] && j.State != job.Cancelled && !j.Standing.Overdue:
			t.Errorf("job %s was cancelled and is %s", id, j.State)
		case j.State == job.Failed && j.Streak < j.Restart.Max && !j.Standing.Overdue:
			t.Errorf("job %s gave up after %d restarts in a row of %d: %s", id, j.Streak, j.Restart.Max, j.Reason)
		}
	}
}

// doomed says whether a job waits for one that did not succeed.
func (s *shell) doomed(j job.Job) bool {
	for _, id := range j.Ask.After {
		if p := s.w.rows[id]; p.State.Final() && p.State != job.Succeeded || s.doomed(p) {
			return true
		}
	}
	return false
}

// TestMakingWayThroughKeepers has a job make way once, be tried again and end, with the keeper dying at every moment of
// its life in turn: it makes way once, runs twice, and loses nothing by it.
func TestMakingWayThroughKeepers(t *testing.T) {
	for fuse := 1; ; fuse++ {
		s := newShell(1)
		j := mustCreate(t, s.k, spec(1))
		mustPass(t, s.k)
		s.w.begin(j.ID, 1)
		s.w.wishes[j.ID] = "job_x"
		s.w.armed, s.w.fuse = true, fuse
		for range 20 {
			s.do(func(k *job.Keeper) { _ = k.Reconcile(t.Context()) })
			for _, st := range s.w.living() {
				if a := s.w.at(j.ID, st.Attempt); st.Phase == job.PhaseRunning && a.stop {
					s.w.clock = s.w.clock.Add(time.Second)
					s.w.end(j.ID, st.Attempt, job.Exit{Code: job.ExitStopped})
				} else if st.Phase == job.PhaseRunning && st.Attempt == 2 {
					s.w.end(j.ID, st.Attempt, job.Exit{})
				}
				s.w.begin(j.ID, st.Attempt)
			}
		}
		got := s.w.rows[j.ID]
		if got.State != job.Succeeded || got.Attempt != 2 || got.Restarts != 0 || got.Standing.Preempted != 1 || got.Standing.Ran <= 0 || len(s.w.broken) > 0 {
			t.Fatalf("dead at moment %d: %+v, %v", fuse, got, s.w.broken)
		}
		if s.w.fuse > 0 {
			if fuse < 10 {
				t.Fatalf("only %d moments", fuse)
			}
			return
		}
	}
}

func TestTimeLimit(t *testing.T) {
	s := newShell(1)
	sp := spec(1)
	sp.Ask.TimeLimit = time.Minute
	j := mustCreate(t, s.k, sp)
	mustPass(t, s.k)
	s.w.begin(j.ID, 1)
	mustPass(t, s.k)
	s.w.clock = s.w.clock.Add(time.Minute - time.Microsecond)
	mustPass(t, s.k)
	if got := s.w.rows[j.ID]; got.State != job.Running {
		t.Fatalf("before its time: %+v", got)
	}
	s.w.clock = s.w.clock.Add(time.Microsecond)
	mustPass(t, s.k)
	if got := s.w.rows[j.ID]; got.State != job.Stopping || !s.w.at(j.ID, 1).stop {
		t.Fatalf("at its time: %+v", got)
	}
	s.w.end(j.ID, 1, job.Exit{Code: job.ExitStopped})
	mustPass(t, s.k)
	if got := s.w.rows[j.ID]; got.State != job.Failed || got.Fault != job.FaultProgram || got.Reason != "It reached its time limit of 1m0s." || got.Restarts != 0 {
		t.Errorf("%+v", got)
	}
}

func TestHoldReleaseRequeueAndAfter(t *testing.T) {
	s, ctx := newShell(2), t.Context()
	sp := spec(1)
	sp.Ask.Hold = true
	first := mustCreate(t, s.k, sp)
	sp = spec(1)
	sp.Ask.After, sp.Ask.NotBefore = []string{first.ID}, s.w.clock.Add(time.Hour)
	second := mustCreate(t, s.k, sp)
	states := func() string {
		a, _ := s.k.Get(ctx, project, first.ID)
		b, _ := s.k.Get(ctx, project, second.ID)
		return fmt.Sprintf("%s: %s | %s: %s", a.State, a.Reason, b.State, b.Reason)
	}
	expect := func(want string) {
		t.Helper()
		mustPass(t, s.k)
		if got := states(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	expect("queued: It is held until somebody releases it. | queued: It begins at 2026-01-02T04:04:05Z at the earliest.")
	if _, err := s.k.Requeue(ctx, project, first.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("requeuing what waits: %v", err)
	}
	s.w.clock = s.w.clock.Add(2 * time.Hour)
	if _, err := s.k.Release(ctx, project, first.ID); err != nil {
		t.Fatal(err)
	}
	expect("starting:  | queued: It waits for job " + first.ID + " to succeed.")
	if _, err := s.k.Hold(ctx, project, first.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("holding what runs: %v", err)
	}
	s.w.begin(first.ID, 1)
	if j, err := s.k.Requeue(ctx, project, first.ID); err != nil || j.State != job.Preempting {
		t.Fatal(j, err)
	}
	mustPass(t, s.k)
	s.w.end(first.ID, 1, job.Exit{Code: job.ExitStopped})
	mustPass(t, s.k)
	if got := s.w.rows[first.ID]; got.Attempt != 2 || got.Standing.Preempted != 0 || got.Restarts != 0 {
		t.Errorf("after the requeue: %+v", got)
	}
	s.w.begin(first.ID, 2)
	if _, err := s.k.Cancel(ctx, project, first.ID, "no need"); err != nil {
		t.Fatal(err)
	}
	mustPass(t, s.k)
	s.w.end(first.ID, 2, job.Exit{Code: job.ExitStopped})
	expect("cancelled: no need | queued: It waits for job " + first.ID + ", which was cancelled: it will never start. Cancel it, or submit it anew.")
	sp.Ask.After = []string{"job_none"}
	if _, err := s.k.Create(ctx, sp); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "after" {
		t.Errorf("after a job that is not there: %v", err)
	}
}

// TestOneRestartlessRunThroughKeepers is the plain promise: whatever moment of its life the keeper dies at, the
// job runs exactly once.
func TestOneRestartlessRunThroughKeepers(t *testing.T) {
	for fuse := 1; ; fuse++ {
		s := newShell(1)
		s.w.armed, s.w.fuse = true, fuse
		var id string
		for id == "" {
			sp := spec(1)
			sp.Owner = "run_once"
			s.do(func(k *job.Keeper) {
				if j, err := k.Create(t.Context(), sp); err == nil {
					id = j.ID
				}
			})
		}
		for range 20 {
			s.do(func(k *job.Keeper) { _ = k.Reconcile(t.Context()) })
			for _, st := range s.w.living() {
				if st.Phase == job.PhaseRunning {
					s.w.end(id, st.Attempt, job.Exit{})
				}
				s.w.begin(id, st.Attempt)
			}
		}
		j := s.w.rows[id]
		if len(s.w.rows) != 1 || j.State != job.Succeeded || j.Attempt != 1 || j.Restarts != 0 || len(s.w.broken) > 0 {
			t.Fatalf("dead at moment %d: %d jobs, %+v, %v", fuse, len(s.w.rows), j, s.w.broken)
		}
		if s.w.fuse > 0 { // the keeper lived to see the end: all moments were tried
			if fuse < 10 {
				t.Fatalf("only %d moments in a job's life", fuse)
			}
			return
		}
	}
}

func mustCreate(t *testing.T, k *job.Keeper, s job.Spec) job.Job {
	t.Helper()
	j, err := k.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func mustPass(t *testing.T, k *job.Keeper) {
	t.Helper()
	if err := k.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
}
