// Package local runs attempts of jobs as processes of this machine, each under a supervisor that outlives the
// program that started it.
//
// The supervisor is the same binary in a session of its own. It starts the process, owns and rotates its log
// files (never a pipe, which would die with its reader), waits for it, and writes how it ended into the attempt's
// folder. Who comes later finds everything there: a process is known by boot id, pid and start time.
//
// Rules it keeps. The fence is durable before a supervisor is spawned. A supervisor takes the attempt's lock, and
// marks the attempt as spent before it starts the process: an attempt runs at most once, however often Start is
// called and whoever dies in between. It holds the job's lock, and so does its process, which inherits it: two
// attempts of a job never live at once, even if every record is lost. When a supervisor dies its process is
// killed (at once by the kernel on Linux, by the next Status and Stop otherwise): the attempt is lost, and said
// to be.
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// Options of the executor; defaults stand beside the fields.
type Options struct {
	Root string // folder of all jobs' folders; required, absolute; made if it is missing
	// Supervise is the command that calls Supervise with the path it gets as its last argument; required.
	Supervise []string
	Self      string // path that job.Self stands for; default the running program
	// Cgroup is a cgroup (v2 without processes of its own, or of v1's memory controller) that was handed over to
	// Triarch, in which attempts get groups of their own; empty = the one systemd handed over (Delegate=yes and
	// DelegateSubgroup=triarch in the unit), else none. Other cgroups have other owners and are left alone.
	Cgroup   string
	LogBytes int64 // a log is rotated beyond this size; default 16 MiB
	LogKeep  int   // rotated files kept of each log; default 4
	Now      func() time.Time
	Log      *slog.Logger
}

// Executor is the local executor. Its methods may be called from any goroutine and from several programs at once.
type Executor struct {
	opt  Options
	boot string

	mu      sync.Mutex
	spawned map[attemptKey]int   // supervisors this program started that have not ended, by process number
	failed  map[attemptKey]error // supervisors that ended before they took their attempt
	changed func()
}

type attemptKey struct {
	job     string
	attempt int
}

var (
	_ job.Executor = (*Executor)(nil)
	_ job.Watcher  = (*Executor)(nil)
	_ job.Folders  = (*Executor)(nil)
)

// New makes the executor of a folder.
func New(opt Options) (*Executor, error) {
	if !filepath.IsAbs(opt.Root) || len(opt.Supervise) == 0 {
		return nil, fault.Newf(fault.Internal, "The local executor needs an absolute folder and a supervisor.")
	}
	if err := os.MkdirAll(opt.Root, 0o700); err != nil {
		return nil, wrap(err, "making the folder of jobs")
	}
	boot, err := bootID()
	if err != nil {
		return nil, wrap(err, "reading the machine's boot id")
	}
	if opt.Self == "" {
		if opt.Self, err = os.Executable(); err != nil {
			return nil, wrap(err, "finding the program's own path")
		}
	}
	if opt.LogBytes <= 0 {
		opt.LogBytes = 16 << 20
	}
	if opt.LogKeep <= 0 {
		opt.LogKeep = 4
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Cgroup == "" {
		opt.Cgroup = delegatedCgroup()
	}
	return &Executor{opt: opt, boot: boot, spawned: map[attemptKey]int{}, failed: map[attemptKey]error{}}, nil
}

// Watch has changed called when a supervisor started by this program got its process going, and when it ended.
func (x *Executor) Watch(changed func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changed = changed
}

func (x *Executor) notify() {
	x.mu.Lock()
	f := x.changed
	x.mu.Unlock()
	if f != nil {
		f()
	}
}

// Start begins an attempt, see job.Executor.
func (x *Executor) Start(ctx context.Context, t job.Task) error {
	if err := errors.Join(x.checked(t.Job, t.Attempt), t.Command.Validate(), ctx.Err()); err != nil {
		return err
	}
	jobDir, dir := x.Dir(t.Job), x.AttemptDir(t.Job, t.Attempt)
	// 1 folders
	err := makeDirs(x.opt.Root, t.Job, attemptsDir, strconv.Itoa(t.Attempt))
	if err == nil {
		err = errors.Join(makeDirs(jobDir, job.StateDir), makeDirs(jobDir, job.OutDir))
	}
	if err != nil {
		return wrap(err, "making the folders of an attempt")
	}
	// 2 the fence, before anything can run
	before, err := raiseFence(jobDir, t.Attempt)
	if err != nil {
		return wrap(err, "raising the fence of a job")
	}
	if before > t.Attempt {
		return fault.Newf(fault.Conflict, "Attempt %d of job %s is not the newest: %d is.", t.Attempt, t.Job, before)
	}
	if before > 0 && before < t.Attempt { // as a rule ended long ago; a superseded one has no business living
		if err := x.Stop(ctx, t.Job, before, 0, "superseded"); err != nil {
			return err
		}
	}
	// 3 once only
	if exists(dir, supervisorFile) || exists(dir, stopFile) || exists(dir, exitFile) {
		return nil
	}
	key := attemptKey{t.Job, t.Attempt}
	x.mu.Lock()
	pid, failure := x.spawned[key], x.failed[key]
	delete(x.failed, key)
	x.mu.Unlock()
	if pid != 0 || failure != nil {
		return failure
	}
	// 4 what to run
	if err := x.render(t, jobDir, dir); err != nil {
		return wrap(err, "writing the files of an attempt")
	}
	// 5 the supervisor
	return wrap(x.spawn(key, dir), "starting a supervisor")
}

// render writes the command's files and the task.
func (x *Executor) render(t job.Task, jobDir, dir string) error {
	for _, name := range slices.Sorted(maps.Keys(t.Command.Files)) {
		sub := filepath.Dir(filepath.FromSlash(name))
		if sub != "." {
			if err := makeDirs(dir, strings.Split(sub, string(filepath.Separator))...); err != nil {
				return err
			}
		}
		if err := durable.WriteFile(filepath.Join(dir, name), t.Command.Files[name], 0o600); err != nil {
			return err
		}
	}
	r := strings.NewReplacer(job.Self, x.opt.Self, job.AttemptDir, dir, job.JobDir, jobDir)
	if t.Command.Literal {
		r = strings.NewReplacer()
	}
	argv := make([]string, len(t.Command.Argv))
	for i, a := range t.Command.Argv {
		argv[i] = r.Replace(a)
	}
	env := append(baseEnv(),
		job.EnvJobDir+"="+jobDir, job.EnvAttemptDir+"="+dir, job.EnvFence+"="+strconv.Itoa(t.Attempt))
	if t.CPUs > 0 {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(t.CPUs))
	}
	if t.MemoryBytes > 0 {
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(t.MemoryBytes/10*9, 10))
	}
	for _, e := range t.Command.Env {
		env = append(env, r.Replace(e)) // the last of equal names counts
	}
	at := ""
	if t.Command.Dir != "" {
		at = filepath.Join(jobDir, t.Command.Dir)
	}
	return writeJSON(dir, taskFile, task{Protocol: protocol, Job: t.Job, Attempt: t.Attempt, Argv: argv, Env: env, Dir: at,
		CPUs: t.CPUs, MemoryBytes: t.MemoryBytes, GraceMillis: t.Grace.Milliseconds(), LogBytes: x.opt.LogBytes,
		LogKeep: x.opt.LogKeep, Cgroup: x.opt.Cgroup})
}

// baseEnv is what every process gets of this program's environment: nothing that could be a secret.
func baseEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "TMPDIR", "LANG", "LC_ALL", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// spawn starts a supervisor in its own session. The pipe it inherits carries nothing: it closes when the process
// runs or the supervisor has died, so that nobody needs to poll for it.
func (x *Executor) spawn(key attemptKey, dir string) error {
	out, err := os.OpenFile(filepath.Join(dir, supervisorLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command(x.opt.Supervise[0], append(slices.Clone(x.opt.Supervise[1:]), dir)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = dir, out, out, []*os.File{theirs}
	cmd.Env = append(baseEnv(), readyEnv+"=3", "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ready.Close()
		return err
	}
	x.mu.Lock()
	x.spawned[key] = cmd.Process.Pid
	x.mu.Unlock()
	go x.await(key, dir, cmd, ready)
	return nil
}

// await reaps a supervisor, tells the watcher, and keeps why it failed if it never took its attempt.
func (x *Executor) await(key attemptKey, dir string, cmd *exec.Cmd, ready *os.File) {
	io.Copy(io.Discard, ready) //nolint:errcheck // only its end matters
	ready.Close()
	x.notify()
	err := cmd.Wait()
	x.mu.Lock()
	delete(x.spawned, key)
	if err != nil && !exists(dir, supervisorFile) {
		x.failed[key] = fault.New(fault.Unavailable, "The supervisor ended at once: "+lastLine(filepath.Join(dir, supervisorLog)),
			fault.Cause(err))
	}
	x.mu.Unlock()
	x.notify()
}

func lastLine(path string) string {
	b, _ := durable.ReadSmall(path, maxFile)
	b = bytes.TrimSpace(b)
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	if len(b) > 300 {
		b = b[:300]
	}
	return strings.ToValidUTF8(string(b), "?")
}

// Status says what is known of an attempt, see job.Executor. The answer is read from the folder and the kernel
// each time; the program remembers nothing that matters.
func (x *Executor) Status(_ context.Context, jobID string, attempt int) (job.Status, error) {
	st := job.Status{Job: jobID, Attempt: attempt, Phase: job.PhaseAbsent}
	if err := x.checked(jobID, attempt); err != nil {
		return st, err
	}
	st, err := x.look(st, x.AttemptDir(jobID, attempt))
	return st, wrap(err, "reading the folder of an attempt")
}

func (x *Executor) look(st job.Status, dir string) (job.Status, error) {
	st.Touched = touched(dir)
	child, hasChild, err := readJSON[childRecord](dir, childFile)
	if err != nil {
		return st, err
	}
	if hasChild {
		st.StartedAt, st.Limits = child.StartedAt, child.Limits
	}
	sup, taken, err := readJSON[process](dir, supervisorFile)
	if err != nil {
		return st, err
	}
	alive := taken && x.alive(sup)
	// A supervisor writes how it ended before it dies: this order misses nothing.
	exit, over, err := readJSON[job.Exit](dir, exitFile)
	switch {
	case err != nil:
		return st, err
	case over:
		st.Phase, st.Exit, st.Leaving = job.PhaseEnded, &exit, alive
	case !taken && exists(dir, stopFile):
		stop, _, err := readJSON[stopRecord](dir, stopFile)
		st.Phase = job.PhaseEnded
		st.Exit = &job.Exit{Code: -1, Stopped: true, StopReason: stop.Reason, EndedAt: st.Touched}
		return st, err
	case !taken:
		x.mu.Lock()
		// A removed attempt's supervisor may still be on its way out: without its folder it starts nothing.
		if x.spawned[attemptKey{st.Job, st.Attempt}] != 0 && exists(dir, taskFile) {
			st.Phase = job.PhaseStarting
		}
		x.mu.Unlock()
	case alive && hasChild:
		st.Phase, st.PID = job.PhaseRunning, child.PID
	case alive:
		st.Phase = job.PhaseStarting
	case sup.Boot != x.boot:
		return x.lost(st, dir, job.LostMachine)
	case len(x.survivors(dir, sup)) > 0:
		st.Phase = job.PhaseOrphaned
	default:
		return x.lost(st, dir, job.LostSupervisor)
	}
	return st, nil
}

// lost notes durably that nobody saw an attempt's end.
func (x *Executor) lost(st job.Status, dir, how string) (job.Status, error) {
	st.Phase = job.PhaseEnded
	st.Exit = &job.Exit{Code: -1, Lost: how, EndedAt: x.opt.Now().UTC().Truncate(time.Microsecond)}
	return st, writeJSON(dir, exitFile, st.Exit)
}

func (x *Executor) alive(p process) bool { return p.Boot == x.boot && running(p) }

// survivors are the living processes of an attempt whose supervisor is dead.
func (x *Executor) survivors(dir string, sup process) []int {
	pids := sessionOf(sup)
	child, ok, err := readJSON[childRecord](dir, childFile)
	if err == nil && ok && x.alive(child.process) && !slices.Contains(pids, child.PID) {
		pids = append(pids, child.PID)
	}
	return pids
}

func touched(dir string) time.Time {
	if st, err := os.Stat(dir); err == nil {
		return st.ModTime().UTC().Truncate(time.Microsecond)
	}
	return time.Time{}
}

// Stop asks an attempt to end, see job.Executor.
func (x *Executor) Stop(ctx context.Context, jobID string, attempt int, grace time.Duration, reason string) error {
	if err := x.checked(jobID, attempt); err != nil {
		return err
	}
	dir := x.AttemptDir(jobID, attempt)
	if exists(dir, exitFile) {
		return nil
	}
	// The wish is durable before anybody looks whether there is a supervisor; a supervisor makes itself known
	// before it looks for the wish. So one of the two sees the other.
	if err := makeDirs(x.opt.Root, jobID, attemptsDir, strconv.Itoa(attempt)); err != nil {
		return wrap(err, "making the folder of an attempt")
	}
	grace = max(0, grace)
	have, ok, err := readJSON[stopRecord](dir, stopFile)
	if err != nil || !ok || grace.Milliseconds() < have.GraceMillis {
		if !ok {
			have.Reason = reason
		}
		have.GraceMillis = grace.Milliseconds()
		if err := writeJSON(dir, stopFile, have); err != nil {
			return wrap(err, "writing the wish to stop an attempt")
		}
	}
	sup, taken, err := readJSON[process](dir, supervisorFile)
	if err != nil || !taken {
		return wrap(err, "reading who supervises an attempt")
	}
	if x.alive(sup) {
		return wrap(x.signal(sup, unix.SIGTERM), "asking a supervisor to stop its process")
	}
	if sup.Boot == x.boot {
		for _, pid := range x.survivors(dir, sup) {
			unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it may have ended meanwhile; Status sees what lives
		}
	}
	return ctx.Err()
}

// signal sends to exactly this process: the handle is taken first, then it is made sure whose it is.
func (x *Executor) signal(p process, s syscall.Signal) error {
	h, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer h.Release() //nolint:errcheck // nothing to be done about it
	if !x.alive(p) {
		return nil
	}
	if err := h.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// List gives the newest attempt of every job with a folder, see job.Executor.
func (x *Executor) List(ctx context.Context) ([]job.Status, error) {
	entries, err := os.ReadDir(x.opt.Root)
	if err != nil {
		return nil, wrap(err, "reading the folder of jobs")
	}
	var out []job.Status
	errs := []error{ctx.Err()}
	for _, e := range entries {
		if !e.IsDir() || !id.Valid("job", e.Name()) {
			continue
		}
		st := job.Status{Job: e.Name(), Phase: job.PhaseAbsent, Touched: touched(x.Dir(e.Name()))}
		if n := x.newest(e.Name()); n > 0 {
			if st, err = x.Status(ctx, e.Name(), n); err != nil {
				errs = append(errs, fmt.Errorf("job %s: %w", e.Name(), err))
				continue
			}
		}
		out = append(out, st)
	}
	return out, errors.Join(errs...)
}

// attempts are the numbers of a job's attempts that have a folder, ascending.
func (x *Executor) attempts(jobID string) []int {
	entries, _ := os.ReadDir(filepath.Join(x.Dir(jobID), attemptsDir))
	var out []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

func (x *Executor) newest(jobID string) int {
	all := x.attempts(jobID)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1]
}

// Trim gives back what old attempts took, see job.Executor.
func (x *Executor) Trim(ctx context.Context, jobID string, keepFrom int, all bool) error {
	if err := x.checked(jobID, 1); err != nil {
		return err
	}
	var errs []error
	for _, n := range x.attempts(jobID) {
		st, err := x.Status(ctx, jobID, n)
		errs = append(errs, err)
		dead := err == nil && (st.Phase == job.PhaseEnded || st.Phase == job.PhaseAbsent)
		all = all && dead
		if n < keepFrom && dead {
			errs = append(errs, trimAttempt(x.AttemptDir(jobID, n)))
		}
	}
	if all {
		errs = append(errs, os.RemoveAll(filepath.Join(x.Dir(jobID), job.StateDir)),
			os.RemoveAll(filepath.Join(x.Dir(jobID), job.OutDir)))
	}
	return wrap(errors.Join(errs...), "clearing the folder of a job")
}

func trimAttempt(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		switch e.Name() {
		case exitFile, supervisorFile, childFile, stopFile, job.ProgressFile:
		default:
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Remove deletes every trace of a job, see job.Executor.
func (x *Executor) Remove(ctx context.Context, jobID string) error {
	if err := x.checked(jobID, 1); err != nil {
		return err
	}
	dir := x.Dir(jobID)
	gone := filepath.Join(x.opt.Root, ".gone-"+jobID)
	if err := os.RemoveAll(gone); err != nil { // of an earlier call that was cut short
		return wrap(err, "deleting the folder of a job")
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, n := range x.attempts(jobID) {
		st, err := x.Status(ctx, jobID, n)
		if err != nil {
			return err
		}
		if st.Phase != job.PhaseEnded && st.Phase != job.PhaseAbsent {
			return living(jobID)
		}
	}
	// A supervisor that has said its last word may need a moment to be gone.
	l, err := lock(filepath.Join(dir, lockFile), unix.LOCK_EX|unix.LOCK_NB)
	for i := 0; i < 100 && errors.Is(err, errLocked) && ctx.Err() == nil; i++ {
		time.Sleep(10 * time.Millisecond)
		l, err = lock(filepath.Join(dir, lockFile), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, errLocked) {
		return living(jobID)
	}
	if err != nil {
		return wrap(err, "locking the folder of a job")
	}
	defer l.Close()
	if err := os.Rename(dir, gone); err != nil {
		return wrap(err, "deleting the folder of a job")
	}
	return wrap(os.RemoveAll(gone), "deleting the folder of a job")
}

func living(jobID string) error {
	return fault.New(fault.Conflict, fmt.Sprintf("Something of job %s still runs.", jobID), fault.Fix("Stop it first."))
}
