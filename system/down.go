package system

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

// DownResult says what Down ended.
type DownResult struct {
	ControlPlane int `json:"control_plane"` // pid of the control plane that was ended; 0: none ran
	Work         int `json:"work"`          // training runs and replicas that were ended
}

// Down ends everything of a data directory: the control plane, then all training and replicas, which get grace to
// save. The next `up` starts them again. A directory that does not exist is fault.NotFound.
func Down(ctx context.Context, path string, grace time.Duration, log *slog.Logger) (r DownResult, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return r, fault.Wrap(err, "finding the data directory")
	}
	if _, err := os.Stat(filepath.Join(abs, "format")); err != nil {
		return r, fault.New(fault.NotFound, "There is no data directory at "+abs+".", fault.Field("data"), fault.Fix("Name it with --data"))
	}
	r.ControlPlane, err = endHolder(ctx, abs)
	if err != nil {
		return r, err
	}
	d, err := OpenDataDir(abs)
	if err != nil {
		return r, err
	}
	defer d.Close()
	forgetEndpoint(d.Path)
	x, err := newExecutor(d.File("work"), log)
	if err != nil {
		return r, err
	}
	r.Work, err = job.Down(ctx, x, grace)
	return r, err
}

// endHolder asks the process that holds the directory to end and waits until it has.
func endHolder(ctx context.Context, path string) (pid int, err error) {
	asked := false
	for {
		pid2, held := Holder(path)
		if !held {
			return pid, nil
		}
		if !asked && pid2 > 0 {
			pid, asked = pid2, true
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return pid, fault.New(fault.Forbidden, "The control plane with pid "+strconv.Itoa(pid)+" cannot be ended: "+err.Error()+".",
					fault.Fix("Run this as the user who started it"))
			}
		}
		select {
		case <-ctx.Done():
			return pid, fault.New(fault.Timeout, "The control plane with pid "+strconv.Itoa(pid)+" has not ended yet.",
				fault.Fix("Try again, or end it with kill -9 %d: nothing is lost", pid))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Holder says whether a process holds the data directory, and its pid where it could be read.
func Holder(path string) (pid int, held bool) {
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR, 0)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return 0, false
	}
	var text [16]byte
	n, _ := f.ReadAt(text[:], 0)
	pid, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid, true
}

// AlreadyRuns is the refusal to start a second control plane on a data directory.
func AlreadyRuns(path string, pid int) error {
	where := ""
	if url, err := readLine(filepath.Join(path, "endpoint")); err == nil && url != "" {
		where = ", at " + url
	}
	who := "another process"
	if pid > 0 {
		who = "pid " + strconv.Itoa(pid)
	}
	return fault.New(fault.Conflict, "Triarch already runs on the data directory "+path+" ("+who+where+").", fault.Field("data"),
		fault.Fix("Use that one, stop it with `triarch down --data "+path+"`, or choose another folder with --data"))
}
