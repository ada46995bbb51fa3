package local

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/exec/exectest"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/storage/sql"
)

// keeperArg makes the test binary a control plane with nothing but a keeper.
const keeperArg = "test-keeper"

const (
	project  = "prj_test"
	patience = 30 * time.Second // for what must come; a test that passes does not need it
)

// control is what a control plane has of jobs.
type control struct {
	db   *sql.DB
	exec *Executor
	*job.Keeper
}

func newControl(ctx context.Context, dir string, onChange func(job.Job)) (*control, error) {
	log := slog.New(slog.DiscardHandler)
	db, err := sql.Open(ctx, "sqlite:"+filepath.Join(dir, "state.db"), log)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	x, err := New(Options{Root: filepath.Join(dir, "work"), Supervise: []string{self, superviseArg}})
	if err != nil {
		return nil, err
	}
	return &control{db: db, exec: x, Keeper: job.New(job.Options{Store: db.Jobs(), Executor: x, CPUs: 3,
		Tick: 20 * time.Millisecond, OnChange: onChange})}, nil
}

// keep is the body of a keeper process: it works until it is killed.
func keep(dir string) int {
	c, err := newControl(context.Background(), dir, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("keeping")
	c.Loop(context.Background()) // it has no end but a kill
	return 0
}

// watched opens a control plane in a fresh folder and collects the changes of its jobs.
func watched(t *testing.T, loop bool) (*control, func(id string) []job.Job) {
	t.Helper()
	var mu sync.Mutex
	seen := map[string][]job.Job{}
	c, err := newControl(t.Context(), place(t), func(j job.Job) {
		mu.Lock()
		defer mu.Unlock()
		seen[j.ID] = append(seen[j.ID], j)
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {}
	if loop {
		stop = c.loop(t)
	}
	t.Cleanup(func() {
		stop()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		job.Down(ctx, c.exec, 0) // best effort
		c.db.Close()
	})
	return c, func(id string) []job.Job {
		mu.Lock()
		defer mu.Unlock()
		return seen[id]
	}
}

// loop has the keeper work until stop is called.
func (c *control) loop(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Loop(ctx) // ends when it is told to
	}()
	return func() {
		cancel()
		<-ended
	}
}

func (c *control) create(t *testing.T, deeds ...string) job.Job {
	t.Helper()
	j, err := c.Create(t.Context(), job.Spec{Project: project, Kind: "test", CPUs: 1, Command: exectest.Command(deeds...),
		Restart: job.Restart{Max: 3, BackoffBase: time.Millisecond}, Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (c *control) await(t *testing.T, id string, what string, ok func(job.Job) bool) job.Job {
	t.Helper()
	var j job.Job
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var err error
		if j, err = c.Get(t.Context(), project, id); err != nil {
			t.Fatal(err)
		}
		if ok(j) {
			return j
		}
	}
	t.Fatalf("job %s never was %s: it is %s, attempt %d: %s", id, what, j.State, j.Attempt, j.Reason)
	return j
}

func (c *control) awaitFinal(t *testing.T, id string) job.Job {
	t.Helper()
	return c.await(t, id, "final", func(j job.Job) bool { return j.State.Final() })
}

func (c *control) awaitProgress(t *testing.T, id string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if lines, _, _, err := c.Progress(t.Context(), project, id, job.Cursor{}, 0); err == nil && len(lines) >= n {
			return
		}
	}
	t.Fatalf("job %s made no progress", id)
}

// starts is the account its attempts kept; it fails the test if two of them ever lived at once.
func (c *control) starts(t *testing.T, id string) []string {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(c.Dir(id), exectest.ViolationsFile)); err == nil {
		t.Errorf("two attempts of job %s lived at once: %s", id, b)
	}
	b, err := os.ReadFile(filepath.Join(c.Dir(id), exectest.StartsFile))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// done checks that a job's steps were all done, in one history, by attempts that ran one after the other.
func (c *control) done(t *testing.T, id string, steps int) job.Job {
	t.Helper()
	j := c.awaitFinal(t, id)
	if j.State != job.Succeeded {
		t.Fatalf("job %s is %s: %s", id, j.State, j.Reason)
	}
	started := c.starts(t, id)
	if len(started) != j.Attempt || started[len(started)-1] != strconv.Itoa(j.Attempt) || j.Restarts != j.Attempt-1 {
		t.Errorf("job %s is at attempt %d with %d restarts, and attempts %v ran", id, j.Attempt, j.Restarts, started)
	}
	lines, _, _, err := c.Progress(t.Context(), project, id, job.Cursor{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if merged := job.Merge(lines); len(merged) != steps || merged[steps-1].Step != int64(steps) {
		t.Errorf("job %s reports %d steps of %d", id, len(merged), steps)
	}
	if b, err := os.ReadFile(filepath.Join(c.Dir(id), job.OutDir, "finished")); err != nil || strings.Count(string(b), "\n") != 1 {
		t.Errorf("job %s finished %q, %v; want once", id, b, err)
	}
	return j
}

// TestKeeperKilled kills the control plane at twenty random moments while jobs queue, start, run and end. Each job
// must run exactly once, to its end.
func TestKeeperKilled(t *testing.T) {
	c, _ := watched(t, false)
	dir := filepath.Dir(c.exec.opt.Root)
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	run := func() *exec.Cmd {
		cmd := exec.Command(testSelf(t), keeperArg, dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		cmd.Process.Kill() // Wait tells
		cmd.Wait()         // killed
	}
	long := c.create(t, "witness", "steps:40:25ms")
	var short []string
	for range 20 {
		short = append(short, c.create(t, "witness", "steps:4:5ms").ID)
		cmd := run()
		time.Sleep(time.Duration(rng.IntN(90)) * time.Millisecond)
		kill(cmd)
	}
	cmd := run()
	defer kill(cmd)
	if j := c.done(t, long.ID, 40); j.Attempt != 1 {
		t.Errorf("the long job needed %d attempts: %+v", j.Attempt, j)
	}
	for _, id := range short {
		if j := c.done(t, id, 4); j.Attempt != 1 {
			t.Errorf("a short job needed %d attempts: %+v", j.Attempt, j)
		}
	}
}

// TestEverythingKilled kills keepers, supervisors and processes in any order. The work is done in the end, in one
// history, never by two at once, and no more restarts are counted than attempts died.
func TestEverythingKilled(t *testing.T) {
	t.Parallel()
	c, _ := watched(t, false)
	j, err := c.Create(t.Context(), job.Spec{Project: project, Kind: "test", CPUs: 1, Command: exectest.Command("fork", "witness", "steps:40:10ms"),
		Restart: job.Restart{Max: 1000, BackoffBase: time.Millisecond, BackoffMax: 2 * time.Millisecond}, Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	deaths := 0
	for range 12 {
		stop := c.loop(t)
		time.Sleep(time.Duration(rng.IntN(80)) * time.Millisecond)
		now, err := c.Get(t.Context(), project, j.ID)
		if err != nil {
			t.Fatal(err)
		}
		file := []string{supervisorFile, childFile}[rng.IntN(2)]
		if p, ok, _ := readJSON[process](c.AttemptDir(j.ID, now.Attempt), file); ok && running(p) {
			syscall.Kill(p.PID, syscall.SIGKILL) // it may just have ended
			deaths++
		}
		stop() // between two calls here; TestKeeperKilled has the worse moments
	}
	defer c.loop(t)()
	got := c.awaitFinal(t, j.ID)
	started := c.starts(t, j.ID)
	if got.State != job.Succeeded || got.Restarts > deaths || got.Restarts != got.Attempt-1 || len(started) > got.Attempt {
		t.Errorf("%s at attempt %d with %d restarts after %d kills, %v ran: %s", got.State, got.Attempt, got.Restarts, deaths, started, got.Reason)
	}
	lines, _, _, err := c.Progress(t.Context(), project, j.ID, job.Cursor{}, 0)
	if merged := job.Merge(lines); err != nil || len(merged) != 40 {
		t.Errorf("%d steps of 40 are on record, %v", len(merged), err)
	}
}

// reasonOf finds the reason given when a job's attempt died.
func reasonOf(changes []job.Job) (fault, reason string) {
	for _, j := range changes {
		if j.State == job.Queued && j.Attempt > 0 {
			return j.Fault, j.Reason
		}
	}
	return "", ""
}

func TestSupervisorKilled(t *testing.T) {
	for name, first := range map[string]string{"alone": "print:nothing", "with a grandchild": "fork"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, changes := watched(t, true)
			j := c.create(t, first, "witness", "steps:100:20ms") // long enough not to end before the kill on a busy machine
			c.awaitProgress(t, j.ID, 3)
			dir := c.AttemptDir(j.ID, 1)
			sup, _, err := readJSON[process](dir, supervisorFile)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(sup.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if got := c.done(t, j.ID, 100); got.Attempt != 2 {
				t.Errorf("it took %d attempts, want 2", got.Attempt)
			}
			if f, r := reasonOf(changes(j.ID)); f != job.FaultPlatform || !strings.Contains(r, "supervisor died") {
				t.Errorf("the fault is %q: %q", f, r)
			}
			if b, err := os.ReadFile(filepath.Join(dir, exectest.GrandchildFile)); err == nil {
				pid, _ := strconv.Atoi(string(b))
				if p, err := identify(pid); err == nil && running(p) {
					t.Error("a grandchild of the lost attempt lives")
				}
			}
		})
	}
}

func TestChildKilled(t *testing.T) {
	t.Parallel()
	c, changes := watched(t, true)
	j := c.create(t, "witness", "steps:100:20ms")
	c.awaitProgress(t, j.ID, 3)
	child, _, err := readJSON[childRecord](c.AttemptDir(j.ID, 1), childFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := c.done(t, j.ID, 100); got.Attempt != 2 {
		t.Errorf("it took %d attempts, want 2", got.Attempt)
	}
	if f, r := reasonOf(changes(j.ID)); f != job.FaultNode || !strings.Contains(r, "killed from outside") {
		t.Errorf("the fault is %q: %q", f, r)
	}
}

// TestSupervisorKilledAnywhere kills supervisors at random moments from their first instruction on. An attempt may
// be lost or never have begun, but never be alive with another.
func TestSupervisorKilledAnywhere(t *testing.T) {
	t.Parallel()
	x := open(t, place(t))
	task := job.Task{Job: someJob, Command: exectest.Command("witness", "steps:1000000:1ms"), Grace: time.Second}
	rng := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	lost := 0
	for n := 1; n <= 20; n++ {
		task.Attempt = n
		if err := x.Start(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		x.mu.Lock()
		pid := x.spawned[attemptKey{task.Job, n}]
		x.mu.Unlock()
		wait := time.Now().Add(patience) // a busy machine may take its time
		for n%2 == 0 && !exists(x.AttemptDir(task.Job, n), supervisorFile) && time.Now().Before(wait) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
		syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		st := exectest.Await(t, x, task.Job, n, job.PhaseEnded, job.PhaseAbsent, job.PhaseOrphaned)
		if st.Phase == job.PhaseOrphaned {
			if err := x.Stop(t.Context(), task.Job, n, 0, "its supervisor died"); err != nil {
				t.Fatal(err)
			}
			st = exectest.Await(t, x, task.Job, n, job.PhaseEnded)
		}
		if st.Phase == job.PhaseEnded {
			if lost++; st.Exit.Lost != job.LostSupervisor {
				t.Errorf("attempt %d ended with %+v", n, st.Exit)
			}
		}
	}
	if lost == 0 {
		t.Error("no kill came late enough to matter")
	}
	if b, err := os.ReadFile(filepath.Join(x.Dir(task.Job), exectest.ViolationsFile)); err == nil {
		t.Errorf("two attempts lived at once: %s", b)
	}
	task.Attempt, task.Command = 21, exectest.Command("witness")
	if err := x.Start(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if e := exectest.Await(t, x, task.Job, 21, job.PhaseEnded).Exit; e.Code != 0 {
		t.Errorf("the last attempt ended with %+v", e)
	}
}

// TestEscapedProcess leaves a process behind that no record leads to. It has the job's lock, so the next attempt
// waits for its end all the same.
func TestEscapedProcess(t *testing.T) {
	t.Parallel()
	x := open(t, place(t))
	task := job.Task{Job: someJob, Attempt: 1, Command: exectest.Command("escape"), Grace: time.Second}
	if err := x.Start(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	exectest.Await(t, x, task.Job, 1, job.PhaseEnded)
	b, err := os.ReadFile(filepath.Join(x.AttemptDir(task.Job, 1), exectest.GrandchildFile))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL) // as a rule it is dead by then
	task.Attempt, task.Command = 2, exectest.Command("witness")
	if err := x.Start(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !exists(x.AttemptDir(task.Job, 2), supervisorFile); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the second attempt has no supervisor")
		}
	}
	time.Sleep(50 * time.Millisecond) // room for a wrong start to show
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e := exectest.Await(t, x, task.Job, 2, job.PhaseEnded).Exit
	if exists(x.Dir(task.Job), exectest.ViolationsFile) || e.Code != 0 {
		t.Errorf("the second attempt did not wait: %+v", e)
	}
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	c, changes := watched(t, true)
	j, err := c.Create(t.Context(), job.Spec{Project: project, Kind: "test", Command: exectest.Command("alloc:600"),
		MemoryBytes: 64 << 20, Restart: job.Restart{Max: 1, BackoffBase: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	got := c.awaitFinal(t, j.ID)
	if got.State != job.Failed || got.Fault != job.FaultNode || got.Restarts != 1 ||
		!strings.Contains(got.Reason, "lack of memory: its limit was 64 MiB (memory by rlimit") {
		t.Errorf("%s by %q after %d restarts: %s", got.State, got.Fault, got.Restarts, got.Reason)
	}
	if f, r := reasonOf(changes(j.ID)); f != job.FaultNode || !strings.Contains(r, "lack of memory") {
		t.Errorf("the first time the fault is %q: %q", f, r)
	}
}

func TestMemoryWithinItsLimit(t *testing.T) {
	t.Parallel()
	c, _ := watched(t, true)
	j, err := c.Create(t.Context(), job.Spec{Project: project, Kind: "test", CPUs: 1, Command: exectest.Command("alloc:100"), MemoryBytes: 160 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.awaitFinal(t, j.ID); got.State != job.Succeeded || got.Limits != "memory by rlimit and GOMEMLIMIT, CPUs by GOMAXPROCS" {
		t.Errorf("%s, %s: %s", got.State, got.Limits, got.Reason)
	}
}

func TestCancelAndTakeDown(t *testing.T) {
	t.Parallel()
	c, _ := watched(t, false)
	stop := c.loop(t)
	stopped := c.create(t, "hang")
	goesOn := c.create(t, "witness", "steps:50:10ms")
	c.await(t, stopped.ID, "started", func(j job.Job) bool { return j.State == job.Running })
	exectest.AwaitLog(t, c.exec, stopped.ID, 1, "ready")
	c.awaitProgress(t, goesOn.ID, 2)
	if _, err := c.Cancel(t.Context(), project, stopped.ID, "enough"); err != nil {
		t.Fatal(err)
	}
	stop()
	if n, err := job.Down(t.Context(), c.exec, patience); err != nil || n == 0 {
		t.Fatalf("taken down %d, %v", n, err)
	}
	defer c.loop(t)()
	if j := c.awaitFinal(t, stopped.ID); j.State != job.Cancelled || j.Restarts != 0 {
		t.Errorf("the cancelled job is %s with %d restarts: %s", j.State, j.Restarts, j.Reason)
	}
	j := c.awaitFinal(t, goesOn.ID)
	if started := c.starts(t, goesOn.ID); j.State != job.Succeeded || j.Restarts != 0 || len(started) != 2 {
		t.Errorf("the job taken down is %s with %d restarts after %v: %s", j.State, j.Restarts, started, j.Reason)
	}
}
