// Package exectest is the suite that every driver of job.Executor passes, and the worker program it runs.
//
// A driver's test calls Run with a way to open an executor, and has its TestMain call Worker when the binary was
// started with WorkerArg, so that the test binary is the program under test. Reopening stands for a new control
// plane on the same machine: the suite does it wherever an answer must not depend on what a program remembers.
package exectest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// Open gives an executor over the same place each time it is called within one test.
type Open func(t *testing.T) job.Executor

// patience is how long the suite waits for what must come; a test that passes does not need it.
const patience = 20 * time.Second

type suite struct {
	open Open
	ids  *id.Maker
}

// Run puts a driver through the suite. fresh is called once per test and gives the place of that test.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	for name, f := range map[string]func(*testing.T, suite){
		"an attempt runs to its end":         runsToEnd,
		"exit codes and signals are told":    exits,
		"a start is idempotent":              idempotent,
		"a spent attempt never runs again":   spent,
		"a lower attempt is refused":         fenced,
		"a newer attempt ends an older one":  supersedes,
		"stop is gentle, then not":           stops,
		"a stopped attempt never starts":     stopBeforeStart,
		"files and environment arrive":       environment,
		"what cannot start says why":         cannotStart,
		"unknown attempts are absent":        unknown,
		"logs are read from any offset":      logs,
		"progress is read by whole lines":    progress,
		"what ended can be trimmed":          trims,
		"what lives cannot be removed":       removes,
		"list names every job's newest":      lists,
		"nothing of an attempt stays behind": leavesNothing,
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			f(t, suite{open: fresh(t), ids: id.Default()})
		})
	}
}

func (s suite) task(deeds ...string) job.Task {
	return job.Task{Job: s.ids.New("job"), Attempt: 1, Command: Command(deeds...), Grace: time.Second}
}

func start(t *testing.T, x job.Executor, task job.Task) {
	t.Helper()
	if err := x.Start(t.Context(), task); err != nil {
		t.Fatalf("start: %v", err)
	}
	// Nothing may outlive the test, even one that fails.
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		x.Stop(ctx, task.Job, task.Attempt, 0, "end of test")
		for ctx.Err() == nil {
			st, err := x.Status(ctx, task.Job, task.Attempt)
			if err != nil || st.Phase == job.PhaseEnded || st.Phase == job.PhaseAbsent {
				return
			}
			if st.Phase == job.PhaseOrphaned {
				x.Stop(ctx, task.Job, task.Attempt, 0, "end of test")
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// Await polls an attempt until it is in one of the phases, and returns its status.
func Await(t *testing.T, x job.Executor, id string, attempt int, want ...job.Phase) job.Status {
	t.Helper()
	var st job.Status
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(3 * time.Millisecond) {
		var err error
		if st, err = x.Status(t.Context(), id, attempt); err != nil {
			t.Fatalf("status: %v", err)
		}
		if slices.Contains(want, st.Phase) {
			return st
		}
	}
	t.Fatalf("attempt %d of %s is %q, want one of %q", attempt, id, st.Phase, want)
	return st
}

// AwaitLog polls an attempt's output until it holds text, and returns it.
func AwaitLog(t *testing.T, x job.Executor, id string, attempt int, text string) string {
	t.Helper()
	var got string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(3 * time.Millisecond) {
		c, err := x.Logs(t.Context(), id, attempt, 0, 1<<20)
		if err != nil {
			t.Fatalf("logs: %v", err)
		}
		if got = string(c.Data); strings.Contains(got, text) {
			return got
		}
	}
	t.Fatalf("the log of attempt %d of %s is %q, want %q in it", attempt, id, got, text)
	return got
}

func runsToEnd(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("print:hello", "warn:careful", "hang")
	start(t, x, task)
	AwaitLog(t, x, task.Job, 1, "ready")
	st := Await(t, s.open(t), task.Job, 1, job.PhaseRunning)
	if st.StartedAt.IsZero() || st.Limits == "" || st.Exit != nil {
		t.Errorf("running status lacks start or limits, or has an exit: %+v", st)
	}
	if err := s.open(t).Stop(t.Context(), task.Job, 1, patience, "enough"); err != nil {
		t.Fatal(err)
	}
	st = Await(t, s.open(t), task.Job, 1, job.PhaseEnded)
	if e := st.Exit; e.Code != job.ExitStopped || !e.Stopped || e.StopReason != "enough" || e.Killed || e.EndedAt.IsZero() {
		t.Errorf("exit %+v, want code %d, stopped with the reason given", e, job.ExitStopped)
	}
	if got := AwaitLog(t, x, task.Job, 1, "asked to end"); !strings.HasPrefix(got, "hello\ncareful\n") {
		t.Errorf("log %q does not begin with what was printed", got)
	}
}

func exits(t *testing.T, s suite) {
	x := s.open(t)
	for _, c := range []struct {
		deed   string
		code   int
		signal string
	}{{"exit:0", 0, ""}, {"exit:3", 3, ""}, {"crash:11", 0, "SIGSEGV"}, {"crash:9", -1, "SIGKILL"}} {
		task := s.task(c.deed)
		start(t, x, task)
		e := Await(t, x, task.Job, 1, job.PhaseEnded).Exit
		// The Go runtime turns a SIGSEGV sent from outside into a panic with exit code 2.
		panicked := c.signal == "SIGSEGV" && e.Code == 2
		if !panicked && (e.Code != c.code || e.Signal != c.signal) || e.Stopped || e.Lost != "" || e.OOM {
			t.Errorf("%s: exit %+v", c.deed, e)
		}
	}
}

func idempotent(t *testing.T, s suite) {
	task := s.task("witness", "print:once", "hang")
	for range 5 {
		start(t, s.open(t), task)
	}
	x := s.open(t)
	AwaitLog(t, x, task.Job, 1, "ready")
	for range 5 {
		start(t, s.open(t), task)
	}
	if err := x.Stop(t.Context(), task.Job, 1, patience, "enough"); err != nil {
		t.Fatal(err)
	}
	Await(t, x, task.Job, 1, job.PhaseEnded)
	got := AwaitLog(t, x, task.Job, 1, "asked to end")
	if strings.Count(got, "once") != 1 {
		t.Errorf("the attempt ran more than once: %q", got)
	}
}

func spent(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("print:once")
	start(t, x, task)
	Await(t, x, task.Job, 1, job.PhaseEnded)
	y := s.open(t)
	start(t, y, task)
	time.Sleep(30 * time.Millisecond) // room for a wrong second run to show
	Await(t, y, task.Job, 1, job.PhaseEnded)
	if got := AwaitLog(t, y, task.Job, 1, "once"); strings.Count(got, "once") != 1 {
		t.Errorf("the attempt ran more than once: %q", got)
	}
}

func fenced(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("exit:0")
	task.Attempt = 3
	start(t, x, task)
	Await(t, x, task.Job, 3, job.PhaseEnded)
	task.Attempt = 2
	if err := s.open(t).Start(t.Context(), task); !fault.Is(err, fault.Conflict) {
		t.Errorf("attempt 2 after attempt 3: %v, want a conflict", err)
	}
	st, err := x.Status(t.Context(), task.Job, 2)
	if err != nil || st.Phase == job.PhaseRunning || st.Phase == job.PhaseStarting {
		t.Errorf("the refused attempt is %q, %v", st.Phase, err)
	}
}

func supersedes(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("witness", "stubborn")
	start(t, x, task)
	AwaitLog(t, x, task.Job, 1, "ready")
	task.Attempt, task.Command = 2, Command("witness", "print:second")
	start(t, s.open(t), task)
	if e := Await(t, x, task.Job, 2, job.PhaseEnded).Exit; e.Code != 0 {
		t.Errorf("the second attempt ended with %+v: it was not alone", e)
	}
	Await(t, x, task.Job, 1, job.PhaseEnded)
}

func stops(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("stubborn")
	start(t, x, task)
	AwaitLog(t, x, task.Job, 1, "ready")
	// A first, patient wish, and a second one that is not.
	if err := x.Stop(t.Context(), task.Job, 1, time.Hour, "first"); err != nil {
		t.Fatal(err)
	}
	if err := s.open(t).Stop(t.Context(), task.Job, 1, 20*time.Millisecond, "second"); err != nil {
		t.Fatal(err)
	}
	e := Await(t, x, task.Job, 1, job.PhaseEnded).Exit
	if e.Signal != "SIGKILL" || !e.Killed || !e.Stopped || e.StopReason != "first" || e.OOM {
		t.Errorf("exit %+v, want killed after its grace, with the first reason", e)
	}
	if err := x.Stop(t.Context(), task.Job, 1, 0, "third"); err != nil {
		t.Errorf("stopping what has ended: %v", err)
	}
}

func stopBeforeStart(t *testing.T, s suite) {
	task := s.task("print:wrong")
	if err := s.open(t).Stop(t.Context(), task.Job, 1, time.Second, "never"); err != nil {
		t.Fatal(err)
	}
	x := s.open(t)
	start(t, x, task)
	e := Await(t, x, task.Job, 1, job.PhaseEnded).Exit
	if !e.Stopped || e.StopReason != "never" {
		t.Errorf("exit %+v, want stopped", e)
	}
	if c, err := x.Logs(t.Context(), task.Job, 1, 0, 100); err != nil || len(c.Data) > 0 || !c.Ended {
		t.Errorf("log %+v, %v, want an ended, empty one", c, err)
	}
}

func environment(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("env:"+job.EnvFence, "env:COLOUR", "env:PLACE", "env:TRIARCH_SECRET_TEST", "cat:in/put.txt")
	task.Attempt = 7
	task.Command.Env = []string{"COLOUR=red", "COLOUR=green", "PLACE=" + job.AttemptDir}
	task.Command.Files = map[string][]byte{"in/put.txt": []byte("content")}
	start(t, x, task)
	if e := Await(t, x, task.Job, 7, job.PhaseEnded).Exit; e.Code != 0 {
		t.Fatalf("exit %+v", e)
	}
	got := strings.Split(AwaitLog(t, x, task.Job, 7, "content"), "\n")
	if got[0] != "7" || got[1] != "green" || strings.Contains(got[2], job.AttemptDir) || got[2] == "" || got[3] != "" {
		t.Errorf("the process saw %q", got)
	}
	for _, name := range []string{"../out", "/etc/x", "a/../../b", "exit.json", "log", ""} {
		task := s.task("exit:0")
		task.Command.Files = map[string][]byte{name: nil}
		if err := x.Start(t.Context(), task); !fault.Is(err, fault.Invalid) {
			t.Errorf("a file named %q: %v, want invalid", name, err)
		}
	}
}

func cannotStart(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task()
	task.Command = job.Command{Argv: []string{"/nowhere/at/all"}}
	start(t, x, task)
	e := Await(t, x, task.Job, 1, job.PhaseEnded).Exit
	if !strings.Contains(e.NotStarted, "/nowhere/at/all") || e.Code != -1 {
		t.Errorf("exit %+v, want not started, naming the program", e)
	}
	for _, id := range []string{"", "..", "job_../../x", "run_01hzzzzzzzzzzzzzzzzzzzzzzz"} {
		task := s.task("exit:0")
		task.Job = id
		if err := x.Start(t.Context(), task); !fault.Is(err, fault.Invalid) {
			t.Errorf("a job named %q: %v, want invalid", id, err)
		}
	}
}

func unknown(t *testing.T, s suite) {
	x := s.open(t)
	st, err := x.Status(t.Context(), s.ids.New("job"), 1)
	if err != nil || st.Phase != job.PhaseAbsent {
		t.Errorf("an unknown attempt: %+v, %v", st, err)
	}
	if err := x.Remove(t.Context(), s.ids.New("job")); err != nil {
		t.Errorf("removing an unknown job: %v", err)
	}
	if data, next, err := x.Progress(t.Context(), s.ids.New("job"), 1, 0, 100); err != nil || len(data) > 0 || next != 0 {
		t.Errorf("progress of an unknown job: %q, %d, %v", data, next, err)
	}
}

func logs(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("lines:1000")
	start(t, x, task)
	Await(t, x, task.Job, 1, job.PhaseEnded)
	var all strings.Builder
	for off := int64(0); ; {
		c, err := x.Logs(t.Context(), task.Job, 1, off, 777)
		if err != nil || c.Offset != off || c.Next != off+int64(len(c.Data)) || len(c.Data) > 777 {
			t.Fatalf("chunk at %d: %+v, %v", off, c, err)
		}
		all.Write(c.Data)
		if off = c.Next; c.Ended {
			break
		}
	}
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&want, "line %08d\n", i)
	}
	if all.String() != want.String() {
		t.Errorf("read %d bytes that are not the %d written", all.Len(), want.Len())
	}
	if c, err := x.Logs(t.Context(), task.Job, 1, 1<<40, 100); err != nil || len(c.Data) > 0 || !c.Ended {
		t.Errorf("beyond the end: %+v, %v", c, err)
	}
}

func progress(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("steps:5:0s")
	start(t, x, task)
	Await(t, x, task.Job, 1, job.PhaseEnded)
	data, next, err := x.Progress(t.Context(), task.Job, 1, 0, 60)
	if err != nil || len(data) == 0 || len(data) > 60 || data[len(data)-1] != '\n' || int(next) != len(data) {
		t.Fatalf("first piece %q, next %d, %v", data, next, err)
	}
	rest, next, err := x.Progress(t.Context(), task.Job, 1, next, 1<<20)
	if err != nil || strings.Count(string(data)+string(rest), "\n") != 5 {
		t.Errorf("pieces %q and %q, %v; want five lines", data, rest, err)
	}
	if more, again, err := x.Progress(t.Context(), task.Job, 1, next, 10); err != nil || len(more) > 0 || again != next {
		t.Errorf("at the end: %q, %d, %v", more, again, err)
	}
	if one, _, err := x.Progress(t.Context(), task.Job, 1, 0, 1); err != nil || strings.Count(string(one), "\n") != 1 {
		t.Errorf("a tiny limit gives %q, %v; want one line", one, err)
	}
}

func trims(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("print:old", "steps:2:0s")
	for n := 1; n <= 3; n++ {
		task.Attempt = n
		start(t, x, task)
		Await(t, x, task.Job, n, job.PhaseEnded)
	}
	if err := x.Trim(t.Context(), task.Job, 3, false); err != nil {
		t.Fatal(err)
	}
	st := Await(t, x, task.Job, 1, job.PhaseEnded)
	if st.Exit.Code != 0 {
		t.Errorf("a trimmed attempt forgot how it ended: %+v", st.Exit)
	}
	if c, err := x.Logs(t.Context(), task.Job, 1, 0, 100); err != nil || len(c.Data) > 0 {
		t.Errorf("a trimmed attempt still has a log: %q, %v", c.Data, err)
	}
	if data, _, err := x.Progress(t.Context(), task.Job, 1, 0, 1000); err != nil || len(data) == 0 {
		t.Errorf("a trimmed attempt lost its progress: %q, %v", data, err)
	}
	if c, err := x.Logs(t.Context(), task.Job, 3, 0, 100); err != nil || string(c.Data) != "old\n" {
		t.Errorf("a kept attempt's log is %q, %v", c.Data, err)
	}
	// Attempts 2 and 3 found the steps done. Without its state a job begins anew.
	if err := errors.Join(x.Trim(t.Context(), task.Job, 3, true), x.Trim(t.Context(), task.Job, 3, true)); err != nil {
		t.Fatal(err)
	}
	task.Attempt = 4
	start(t, x, task)
	Await(t, x, task.Job, 4, job.PhaseEnded)
	before, _, err := x.Progress(t.Context(), task.Job, 3, 0, 1000)
	after, _, err2 := x.Progress(t.Context(), task.Job, 4, 0, 1000)
	if len(before) > 0 || strings.Count(string(after), "\n") != 2 || err != nil || err2 != nil {
		t.Errorf("steps done before %q and after %q the state was trimmed, %v, %v", before, after, err, err2)
	}
}

func removes(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("hang")
	start(t, x, task)
	AwaitLog(t, x, task.Job, 1, "ready")
	if err := s.open(t).Remove(t.Context(), task.Job); !fault.Is(err, fault.Conflict) {
		t.Fatalf("removing what lives: %v, want a conflict", err)
	}
	if err := x.Stop(t.Context(), task.Job, 1, 0, "enough"); err != nil {
		t.Fatal(err)
	}
	Await(t, x, task.Job, 1, job.PhaseEnded)
	if err := errors.Join(x.Remove(t.Context(), task.Job), x.Remove(t.Context(), task.Job)); err != nil {
		t.Fatal(err)
	}
	if st, err := x.Status(t.Context(), task.Job, 1); err != nil || st.Phase != job.PhaseAbsent {
		t.Errorf("after removal: %+v, %v", st, err)
	}
}

func lists(t *testing.T, s suite) {
	x := s.open(t)
	a, b := s.task("exit:0"), s.task("hang")
	start(t, x, a)
	Await(t, x, a.Job, 1, job.PhaseEnded)
	a.Attempt = 2
	start(t, x, a)
	start(t, x, b)
	Await(t, x, a.Job, 2, job.PhaseEnded)
	Await(t, x, b.Job, 1, job.PhaseRunning)
	all, err := s.open(t).List(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%d jobs, %v; want 2", len(all), err)
	}
	for _, st := range all {
		ok := st.Job == a.Job && st.Attempt == 2 && st.Phase == job.PhaseEnded ||
			st.Job == b.Job && st.Attempt == 1 && st.Phase == job.PhaseRunning
		if !ok || st.Touched.IsZero() {
			t.Errorf("listed %+v", st)
		}
	}
	if n, err := job.Down(t.Context(), s.open(t), time.Second); n != 1 || err != nil {
		t.Errorf("taking down: %d, %v; want 1 ended", n, err)
	}
	if e := Await(t, x, b.Job, 1, job.PhaseEnded).Exit; e.StopReason != job.StopDown {
		t.Errorf("exit %+v, want taken down", e)
	}
}

func leavesNothing(t *testing.T, s suite) {
	x := s.open(t)
	task := s.task("fork", "witness", "print:done")
	start(t, x, task)
	Await(t, x, task.Job, 1, job.PhaseEnded)
	task.Attempt, task.Command = 2, Command("witness")
	start(t, x, task)
	if e := Await(t, x, task.Job, 2, job.PhaseEnded).Exit; e.Code != 0 {
		t.Errorf("the next attempt ended with %+v: something of the first one was left", e)
	}
}
