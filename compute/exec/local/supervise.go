package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

// readyEnv names the descriptor that a supervisor closes once its process runs.
const readyEnv = "TRIARCH_READY_FD"

// stopByMachine is the reason of a stop that no executor asked for.
const stopByMachine = "signal"

// Supervise is the body of a supervisor: it runs the attempt in a folder to its end and returns the exit code for
// the supervisor itself: 0 unless it could not do its duty, which it then says on standard error. It must be the
// only thing its process does. The context is there for tests; ending it is like SIGTERM.
func Supervise(ctx context.Context, attemptDir string) int {
	// The kernel's promise to kill the process with its supervisor is bound to the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	s := &supervisor{dir: attemptDir, jobDir: filepath.Dir(filepath.Dir(attemptDir)), signals: signals, ready: readyFile()}
	if err := s.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "supervisor of %s: %v\n", attemptDir, err)
		return 1
	}
	return 0
}

func readyFile() *os.File {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	if err != nil || fd < 3 {
		return nil
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}

// supervisor is one supervisor's state.
type supervisor struct {
	dir, jobDir string
	task        task
	signals     <-chan os.Signal
	ready       *os.File
	attemptLock *os.File
	jobLock     *os.File
	output      *os.File
	group       *group // nil without cgroups
	oomBefore   int64  // kernel's count of such kills before the start
}

func (s *supervisor) run(ctx context.Context) error {
	defer s.ready.Close() // a nil file only gives an error
	// 1 be the only supervisor of this attempt, ever
	taken, err := s.take()
	if err != nil || !taken {
		return err
	}
	// 2 wait until nothing of an earlier attempt lives; be told to end; or start
	exit, err := s.clear(ctx)
	if err != nil {
		exit = &job.Exit{Code: -1, NotStarted: err.Error()}
	}
	if exit == nil {
		exit = s.child(ctx)
	}
	// 3 how it ended
	exit.EndedAt = time.Now().UTC().Truncate(time.Microsecond)
	return s.conclude(ctx, exit)
}

// lastTries is how often a supervisor that is told to end still tries to write how its process ended.
const lastTries = 5

// conclude writes how the attempt ended. A disk that is full now may have room later, and what is not written is
// lost: it tries until it is told to end, and then a few times more. What told the process to end does not count.
func (s *supervisor) conclude(ctx context.Context, exit *job.Exit) error {
	for len(s.signals) > 0 {
		<-s.signals
	}
	told := s.signals
	ended := ctx.Done()
	for left := lastTries; ; {
		err := writeJSON(s.dir, exitFile, exit)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return err
		}
		if told == nil || ended == nil {
			if left--; left == 0 {
				return err
			}
		}
		select {
		case <-ended:
			ended = nil
		case <-told:
			told = nil
		case <-time.After(time.Second):
		}
	}
}

// take claims the attempt. It returns false if another supervisor has it or had it.
func (s *supervisor) take() (bool, error) {
	var err error
	s.attemptLock, err = lock(filepath.Join(s.dir, lockFile), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if exists(s.dir, supervisorFile) || exists(s.dir, exitFile) {
		return false, nil
	}
	t, ok, err := readJSON[task](s.dir, taskFile)
	if err != nil || !ok {
		return false, errors.Join(err, errors.New("no task to run"))
	}
	if t.Protocol != protocol {
		return false, fmt.Errorf("the task has format %d and this program knows %d", t.Protocol, protocol)
	}
	s.task = t
	self, err := identify(os.Getpid())
	if err != nil {
		return false, err
	}
	return true, writeJSON(s.dir, supervisorFile, self)
}

// lockPatience is how long a supervisor waits for the processes of earlier attempts to be gone.
const lockPatience = 30 * time.Second

// clear takes the job's lock and makes sure that this attempt may start. It returns an exit if it may not.
func (s *supervisor) clear(ctx context.Context) (*job.Exit, error) {
	deadline := time.Now().Add(lockPatience)
	for {
		if stop, asked := s.wish(); asked {
			return &job.Exit{Code: -1, Stopped: true, StopReason: stop.Reason}, nil
		}
		var err error
		s.jobLock, err = lock(filepath.Join(s.jobDir, lockFile), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, errors.New("a process of an earlier attempt still lives and holds the job's lock")
		}
		select {
		case <-ctx.Done():
			return &job.Exit{Code: -1, Stopped: true, StopReason: stopByMachine}, nil
		case <-s.signals:
			if _, asked := s.wish(); !asked {
				return &job.Exit{Code: -1, Stopped: true, StopReason: stopByMachine}, nil
			}
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := job.CheckFence(s.jobDir, s.task.Attempt); err != nil {
		return nil, err
	}
	if stop, asked := s.wish(); asked {
		return &job.Exit{Code: -1, Stopped: true, StopReason: stop.Reason}, nil
	}
	return nil, nil
}

// wish reads whether the executor asked for the end.
func (s *supervisor) wish() (stopRecord, bool) {
	r, ok, err := readJSON[stopRecord](s.dir, stopFile)
	return r, ok || err != nil // a wish that cannot be read is still one
}

// child starts the process and stays with it to its end.
func (s *supervisor) child(ctx context.Context) *job.Exit {
	cmd, err := s.start()
	if err != nil {
		return &job.Exit{Code: -1, NotStarted: plainStart(err)}
	}
	exit, err := s.tend(ctx, cmd)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
	}
	s.sweep()
	s.group.close()
	s.output.Close()
	return exit
}

// start brings the process up: in its own process group, on the log, with the job's lock as descriptor 3, to be
// killed with its supervisor.
func (s *supervisor) start() (*exec.Cmd, error) {
	var err error
	s.output, err = os.OpenFile(filepath.Join(s.dir, logFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s.oomBefore = oomKills()
	cmd := s.command()
	s.group = makeGroup(s.task, cmd.SysProcAttr)
	err = cmd.Start()
	if err != nil && s.group != nil { // perhaps only the group would not have it
		s.group.close()
		s.group = nil
		cmd = s.command()
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	how := s.group.adopt(cmd.Process.Pid)
	how = append(how, limit(s.task, cmd.Process.Pid, s.group)...)
	p, err := identify(cmd.Process.Pid)
	if err == nil {
		err = writeJSON(s.dir, childFile, childRecord{process: p,
			StartedAt: time.Now().UTC().Truncate(time.Microsecond), Limits: phrase(how)})
	}
	if err != nil { // a process nobody can find again must not run
		cmd.Process.Kill() //nolint:errcheck // Wait sees it
		cmd.Wait()         //nolint:errcheck // killed
		s.group.close()
		return nil, err
	}
	s.ready.Close()
	return cmd, nil
}

func (s *supervisor) command() *exec.Cmd {
	cmd := exec.Command(s.task.Argv[0], s.task.Argv[1:]...)
	cmd.Dir, cmd.Env = cmp.Or(s.task.Dir, s.dir), s.task.Env
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.ExtraFiles = []*os.File{s.jobLock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	return cmd
}

func plainStart(err error) string {
	var pe *os.PathError
	var xe *exec.Error
	switch {
	case errors.As(err, &xe):
		return fmt.Sprintf("%s: %v", xe.Name, xe.Err)
	case errors.As(err, &pe):
		return fmt.Sprintf("%s: %v", pe.Path, pe.Err)
	}
	return err.Error()
}

// tend waits for the process, rotates its log, and ends it when told to.
func (s *supervisor) tend(ctx context.Context, cmd *exec.Cmd) (*job.Exit, error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is asked of the process
	}()
	pgid := cmd.Process.Pid
	exit := &job.Exit{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var kill <-chan time.Time
	var deadline time.Time
	stop := func() {
		grace := time.Duration(s.task.GraceMillis) * time.Millisecond
		exit.StopReason = stopByMachine
		if r, ok := s.wish(); ok {
			exit.StopReason, grace = r.Reason, time.Duration(r.GraceMillis)*time.Millisecond
		}
		if !exit.Stopped {
			unix.Kill(-pgid, unix.SIGTERM) //nolint:errcheck // it may just have ended
			unix.Kill(-pgid, unix.SIGCONT) //nolint:errcheck // a halted process could not obey
		}
		if at := time.Now().Add(grace); !exit.Stopped || at.Before(deadline) {
			deadline, kill = at, time.After(grace)
		}
		exit.Stopped = true
	}
	if _, asked := s.wish(); asked { // it may have come while the process was being started
		stop()
	}
	cancelled := ctx.Done()
	var rotateErr error
	for {
		select {
		case <-done:
			s.describe(exit, cmd.ProcessState)
			return exit, rotateErr
		case <-s.signals:
			stop()
		case <-cancelled:
			cancelled = nil
			stop()
		case <-kill:
			exit.Killed = true
			unix.Kill(-pgid, unix.SIGKILL) //nolint:errcheck // it may just have ended
		case <-tick.C:
			if err := rotate(s.dir, s.output, s.task.LogBytes, s.task.LogKeep); err != nil && rotateErr == nil {
				rotateErr = fault.Wrap(err, "rotating the log")
			}
		}
	}
}

// describe puts down how the process ended.
func (s *supervisor) describe(exit *job.Exit, ps *os.ProcessState) {
	exit.Code = ps.ExitCode()
	ws, ok := ps.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		exit.Signal = unix.SignalName(ws.Signal())
	}
	if ru, ok := ps.SysUsage().(*syscall.Rusage); ok {
		exit.MaxRSS = ru.Maxrss * maxRSSUnit
	}
	if exit.Code == 0 || exit.Killed {
		return
	}
	kernel := exit.Signal == "SIGKILL" && oomKills() > s.oomBefore
	exit.OOM = s.group.oom() || kernel || outOfMemory(s.task, exit, s.output)
}

// sweep kills what the process left behind in this session, so that the attempt's end is the end of all of it.
func (s *supervisor) sweep() {
	self, err := identify(os.Getpid())
	if err != nil {
		return
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		left := sessionMembers(self.PID)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it may just have ended
		}
	}
}
