package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/compute/exec/exectest"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

const someJob = "job_01hzzzzzzzzzzzzzzzzzzzzzz0"

// fake writes what a supervisor would have left in an attempt's folder.
func fake(t *testing.T, x *Executor, sup process) string {
	t.Helper()
	if err := makeDirs(x.opt.Root, someJob, attemptsDir, "1"); err != nil {
		t.Fatal(err)
	}
	dir := x.AttemptDir(someJob, 1)
	if err := writeJSON(dir, supervisorFile, sup); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestIdentityIsMoreThanANumber(t *testing.T) {
	cmd := exec.Command(testSelf(t), exectest.WorkerArg, "stubborn")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()         // killed
	defer cmd.Process.Kill() // Wait tells
	p, err := identify(cmd.Process.Pid)
	if err != nil || !running(p) {
		t.Fatalf("%+v does not run, %v", p, err)
	}
	for name, c := range map[string]struct {
		who  process
		want string
	}{
		"a number given to another process": {process{p.Boot, p.PID, p.Start - 1}, job.LostSupervisor},
		"the same number before a restart":  {process{"another boot", p.PID, p.Start}, job.LostMachine},
	} {
		x := open(t, place(t))
		fake(t, x, c.who)
		for range 2 { // the second time from what the first wrote down
			st, err := x.Status(t.Context(), someJob, 1)
			if err != nil || st.Phase != job.PhaseEnded || st.Exit.Lost != c.want {
				t.Errorf("%s: %+v, %v", name, st, err)
			}
		}
		if err := os.Remove(filepath.Join(x.AttemptDir(someJob, 1), exitFile)); err != nil {
			t.Fatal(err)
		}
		if err := x.Stop(t.Context(), someJob, 1, 0, "not it"); err != nil {
			t.Fatal(err)
		}
		if !running(p) {
			t.Fatalf("%s: the wrong process was killed", name)
		}
	}
	cmd.Process.Kill() // Wait tells
	cmd.Wait()         // killed
	if running(p) {
		t.Error("a dead process runs")
	}
}

func TestZombiesAreDead(t *testing.T) {
	cmd := exec.Command(testSelf(t), exectest.WorkerArg, "exit:0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); running(p); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a process that ended and was not waited for still counts as running")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDamagedFolders(t *testing.T) {
	for _, name := range []string{supervisorFile, exitFile, childFile} {
		x := open(t, place(t))
		dir := fake(t, x, process{Boot: x.boot, PID: 1 << 30, Start: 1})
		for _, content := range []string{"", "{", "[]", `{"code":"x","ended_at":1,"started_at":2,"pid":[]}`} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if st, err := x.Status(t.Context(), someJob, 1); err == nil {
				t.Errorf("%s of %q gives %+v", name, content, st)
			}
		}
	}
	x := open(t, place(t))
	dir := fake(t, x, process{})
	if err := os.Remove(filepath.Join(dir, supervisorFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, supervisorFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if st, err := x.Status(t.Context(), someJob, 1); err == nil {
		t.Errorf("a folder for a file gives %+v", st)
	}
}

// TestOneDamagedFolder sees that a job whose folder cannot be read is named and holds up no other.
func TestOneDamagedFolder(t *testing.T) {
	x := open(t, place(t))
	dir := fake(t, x, process{Boot: x.boot, PID: 1 << 30, Start: 1})
	if err := os.WriteFile(filepath.Join(dir, exitFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	const other = "job_01hzzzzzzzzzzzzzzzzzzzzzz1"
	task := job.Task{Job: other, Attempt: 1, Command: exectest.Command("hang")}
	if err := x.Start(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	exectest.AwaitLog(t, x, other, 1, "ready")
	if all, err := x.List(t.Context()); err == nil || !strings.Contains(err.Error(), someJob) || len(all) != 1 || all[0].Job != other {
		t.Errorf("listed %+v, %v", all, err)
	}
	if n, err := job.Down(t.Context(), x, time.Minute); n != 1 || err == nil || !strings.Contains(err.Error(), someJob) {
		t.Errorf("taken down %d, %v", n, err)
	}
	exectest.Await(t, x, other, 1, job.PhaseEnded)
}

// TestSupervisorThatCannot sees that a supervisor that dies before it takes its attempt is named at the next Start.
func TestSupervisorThatCannot(t *testing.T) {
	x := open(t, place(t), func(o *Options) {
		o.Supervise = []string{testSelf(t), exectest.WorkerArg, "warn:no luck today", "exit:9"}
	})
	changed := make(chan struct{}, 10)
	x.Watch(func() { changed <- struct{}{} })
	task := job.Task{Job: someJob, Attempt: 1, Command: exectest.Command("exit:0")}
	if err := x.Start(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	<-changed
	<-changed
	if err := x.Start(t.Context(), task); err == nil || !strings.Contains(err.Error(), "no luck today") {
		t.Errorf("the second start says %v", err)
	}
	x.opt.Supervise = []string{"/nowhere"}
	if err := x.Start(t.Context(), task); err == nil {
		t.Error("a supervisor that does not exist was started")
	}
}

// TestSupervisorRefuses runs supervisors in this very process where they must not start anything.
func TestSupervisorRefuses(t *testing.T) {
	prepare := func(t *testing.T) (*Executor, string) {
		x := open(t, place(t))
		if err := makeDirs(x.opt.Root, someJob, attemptsDir, "2"); err != nil {
			t.Fatal(err)
		}
		if _, err := raiseFence(x.Dir(someJob), 2); err != nil {
			t.Fatal(err)
		}
		dir := x.AttemptDir(someJob, 2)
		cmd := exectest.Command("witness")
		cmd.Argv[0] = testSelf(t)
		err := writeJSON(dir, taskFile, task{Protocol: protocol, Job: someJob, Attempt: 2, Argv: cmd.Argv, LogBytes: 1 << 20, LogKeep: 1,
			Env: []string{job.EnvJobDir + "=" + x.Dir(someJob), job.EnvAttemptDir + "=" + dir, job.EnvFence + "=2"}})
		if err != nil {
			t.Fatal(err)
		}
		return x, dir
	}
	ran := func(x *Executor) bool { return exists(x.Dir(someJob), exectest.StartsFile) }
	t.Run("superseded", func(t *testing.T) {
		x, dir := prepare(t)
		if _, err := raiseFence(x.Dir(someJob), 3); err != nil {
			t.Fatal(err)
		}
		code := Supervise(t.Context(), dir)
		e, ok, err := readJSON[job.Exit](dir, exitFile)
		if code != 0 || !ok || err != nil || !strings.Contains(e.NotStarted, "newer attempt") || ran(x) {
			t.Errorf("code %d, exit %+v %v, ran %v", code, e, err, ran(x))
		}
	})
	t.Run("stopped before", func(t *testing.T) {
		x, dir := prepare(t)
		if err := x.Stop(t.Context(), someJob, 2, 0, "never"); err != nil {
			t.Fatal(err)
		}
		code := Supervise(t.Context(), dir)
		e, ok, err := readJSON[job.Exit](dir, exitFile)
		if code != 0 || !ok || err != nil || !e.Stopped || e.StopReason != "never" || ran(x) {
			t.Errorf("code %d, exit %+v %v, ran %v", code, e, err, ran(x))
		}
	})
	t.Run("spent", func(t *testing.T) {
		x, dir := prepare(t)
		for range 2 { // as when a keeper asked twice and the second supervisor came late
			if out, err := exec.Command(testSelf(t), superviseArg, dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		b, err := os.ReadFile(filepath.Join(x.Dir(someJob), exectest.StartsFile))
		if err != nil || string(b) != "2\n" {
			t.Errorf("attempts %q ran, %v; want 2, once", b, err)
		}
	})
	t.Run("one of many", func(t *testing.T) {
		x, dir := prepare(t)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if out, err := exec.Command(testSelf(t), superviseArg, dir).CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		wg.Wait()
		b, err := os.ReadFile(filepath.Join(x.Dir(someJob), exectest.StartsFile))
		if err != nil || string(b) != "2\n" {
			t.Errorf("attempts %q ran, %v; want 2, once", b, err)
		}
	})
	t.Run("of another format", func(t *testing.T) {
		x, dir := prepare(t)
		if err := writeJSON(dir, taskFile, task{Protocol: protocol + 1}); err != nil {
			t.Fatal(err)
		}
		if code := Supervise(t.Context(), dir); code != 1 || exists(dir, supervisorFile) || ran(x) {
			t.Errorf("code %d, ran %v", code, ran(x))
		}
	})
	t.Run("without a task", func(t *testing.T) {
		if code := Supervise(t.Context(), t.TempDir()); code != 1 {
			t.Errorf("code %d", code)
		}
	})
}

// TestEndIsNotLostOnAFullDisk has the last write of a supervisor fail for a while.
func TestEndIsNotLostOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		if err := os.Mkdir(filepath.Join(dir, exitFile), 0o700); err != nil { // no file can take this name
			t.Fatal(err)
		}
		done := make(chan error, 1)
		s := &supervisor{dir: dir, signals: make(chan os.Signal)}
		go func() { done <- s.conclude(t.Context(), &job.Exit{Code: 7}) }()
		time.Sleep(10 * time.Second)
		select {
		case err := <-done:
			t.Fatalf("it gave up: %v", err)
		default:
		}
		if err := os.Remove(filepath.Join(dir, exitFile)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if e, ok, err := readJSON[job.Exit](dir, exitFile); !ok || e.Code != 7 {
			t.Errorf("the end reads %+v, %v", e, err)
		}
	})
}

// TestToldToEndOnAFullDisk has a supervisor hear over and over that it is to end while it cannot write: it tries for
// some more seconds and then does end.
func TestToldToEndOnAFullDisk(t *testing.T) {
	for room, ok := range map[time.Duration]bool{3 * time.Second: true, time.Hour: false} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			if err := os.Mkdir(filepath.Join(dir, exitFile), 0o700); err != nil {
				t.Fatal(err)
			}
			signals := make(chan os.Signal, 4)
			for range cap(signals) { // what told the process to end, more than once
				signals <- syscall.SIGTERM
			}
			done := make(chan error, 1)
			s := &supervisor{dir: dir, signals: signals}
			go func() { done <- s.conclude(t.Context(), &job.Exit{Code: 7}) }()
			time.Sleep(10 * time.Second)
			for range cap(signals) {
				signals <- syscall.SIGTERM
			}
			time.Sleep(room)
			if err := os.Remove(filepath.Join(dir, exitFile)); err != nil {
				t.Fatal(err)
			}
			if err := <-done; (err == nil) != ok {
				t.Errorf("with room after %v: %v", room, err)
			}
		})
	}
}

func TestFullDiskIsNamed(t *testing.T) {
	err := wrap(&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, "writing")
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.As(err).Sentence(), "Free some space") {
		t.Errorf("a full disk is %v", err)
	}
	if err := wrap(os.ErrPermission, "writing"); !fault.Is(err, fault.Internal) {
		t.Errorf("another failure is %v", err)
	}
}
