package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// Names in an attempt's folder. Each JSON file has one writer and is written whole, by rename.
const (
	taskFile       = "task.json"       // executor: what to run
	supervisorFile = "supervisor.json" // supervisor: who it is; once it is there the attempt is spent
	childFile      = "child.json"      // supervisor: who the process is, and its limits
	stopFile       = "stop.json"       // executor: it shall end
	exitFile       = "exit.json"       // supervisor, or the executor for a lost one: how it ended
	lockFile       = "lock"            // held by the attempt's supervisor for life
	supervisorLog  = "supervisor.log"
	attemptsDir    = "attempts"
	fenceLock      = "fence.lock" // in the job's folder: held while the fence is read and raised
	protocol       = 1            // format number of these files
)

// task is the content of taskFile.
type task struct {
	Protocol    int      `json:"protocol"`
	Job         string   `json:"job"`
	Attempt     int      `json:"attempt"`
	Argv        []string `json:"argv"`
	Env         []string `json:"env"`
	Dir         string   `json:"dir,omitempty"` // working directory, absolute; empty: the attempt's folder
	CPUs        int      `json:"cpus,omitempty"`
	MemoryBytes int64    `json:"memory_bytes,omitempty"`
	GraceMillis int64    `json:"grace_ms"`
	LogBytes    int64    `json:"log_bytes"` // size at which the log is rotated
	LogKeep     int      `json:"log_keep"`  // rotated files kept
	Cgroup      string   `json:"cgroup,omitempty"`
}

// process tells one process of this machine from every other there ever was or will be.
type process struct {
	Boot  string `json:"boot"`  // id of the boot
	PID   int    `json:"pid"`   // process number
	Start int64  `json:"start"` // when it started, in the kernel's units since that boot
}

// childRecord is the content of childFile.
type childRecord struct {
	process
	StartedAt time.Time `json:"started_at"`
	Limits    string    `json:"limits"`
}

// stopRecord is the content of stopFile.
type stopRecord struct {
	Reason      string `json:"reason"`
	GraceMillis int64  `json:"grace_ms"`
}

func (x *Executor) checked(jobID string, attempt int) error {
	if !id.Valid("job", jobID) || attempt < 1 {
		return fault.Newf(fault.Invalid, "%q attempt %d is no attempt of a job.", jobID, attempt)
	}
	return nil
}

// Dir is the folder of a job.
func (x *Executor) Dir(jobID string) string { return filepath.Join(x.opt.Root, jobID) }

// AttemptDir is the folder of an attempt.
func (x *Executor) AttemptDir(jobID string, attempt int) string {
	return filepath.Join(x.opt.Root, jobID, attemptsDir, strconv.Itoa(attempt))
}

// makeDirs makes folders one inside the other below root, durably, also those that were made before and perhaps
// did not get so far.
func makeDirs(root string, names ...string) error {
	dir := root
	for _, name := range names {
		parent := dir
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := durable.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON makes v the durable content of a file: after a crash the file is the old one or the new one.
func writeJSON(dir, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o600)
}

// wrap is fault.Wrap that names a full disk, the one failure of a folder that a user can mend.
func wrap(err error, doing string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New(fault.Unavailable, "The disk of the data directory is full.", fault.Fix("Free some space on it."), fault.Cause(err))
	}
	return fault.Wrap(err, doing)
}

// maxFile is the most bytes that a file of a supervisor has.
const maxFile = 16 << 20

// readJSON reads a file of an attempt; found is false if there is none. Files of a supervisor are small: a larger
// one is damaged.
func readJSON[T any](dir, name string) (v T, found bool, err error) {
	path := filepath.Join(dir, name)
	b, err := durable.ReadSmall(path, maxFile)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return v, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		return v, false, fmt.Errorf("%s: %w", path, err)
	}
	return v, true, nil
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// errLocked is what lock returns when somebody else holds the lock and wait is false.
var errLocked = errors.New("locked")

// lock takes a lock that the kernel gives back when the last descriptor of it closes, however its holder ends.
func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, err
	}
	return f, nil
}

// raiseFence makes attempt the highest number of a job, durably, unless it is already higher.
func raiseFence(jobDir string, attempt int) (before int, err error) {
	l, err := lock(filepath.Join(jobDir, fenceLock), unix.LOCK_EX)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	before, err = job.ReadFence(jobDir)
	if err != nil || before >= attempt {
		return before, err
	}
	return before, durable.WriteFile(filepath.Join(jobDir, job.FenceFile), []byte(strconv.Itoa(attempt)+"\n"), 0o600)
}
