package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/logfile"
	"github.com/triarch-ai/triarch/system"
)

// backgroundFlag marks the process that a detaching up leaves behind.
const backgroundFlag = "background"

// The log of an up in the background: files of at most logLimit bytes, logKeep older ones beside the newest.
const (
	logLimit = 8 << 20
	logKeep  = 4
)

// background is where an up in the background writes: to the log in the data directory from the moment there is one,
// before it to where the one who started it looks why it failed.
type background struct {
	path   string
	before io.Writer

	mu   sync.Mutex
	file *logfile.File
}

// Write implements io.Writer.
func (b *background) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil {
		f, err := logfile.Open(b.path, logLimit, logKeep)
		if err != nil {
			return b.before.Write(p)
		}
		b.file = f
		if err := f.Crashes(); err != nil {
			fmt.Fprintf(f, "a crash of this process will not be in this log: %v\n", err)
		}
	}
	return b.file.Write(p)
}

// detach starts the same command in a session of its own and returns when its API answers.
func (a *app) detach(ctx context.Context, cfg system.Config) error {
	self, err := os.Executable()
	if err != nil {
		return fault.Wrap(err, "finding the program's own path")
	}
	if pid, held := system.Holder(cfg.Data); held {
		return system.AlreadyRuns(cfg.Data, pid)
	}
	args := []string{}
	for _, arg := range os.Args[1:] {
		if arg == "--detach" || strings.HasPrefix(arg, "--detach=") {
			arg = "--" + backgroundFlag
		}
		args = append(args, arg)
	}
	out, err := os.CreateTemp("", "triarch-up-*")
	if err != nil {
		return fault.Wrap(err, "making a file for what is said while starting")
	}
	defer out.Close()
	os.Remove(out.Name()) // both processes have it open; once up, the log in the data directory takes its place
	os.Remove(filepath.Join(cfg.Data, "endpoint"))
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fault.Wrap(err, "starting in the background")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is asked of the process
	}()
	for {
		if url := a.file("endpoint"); url != "" {
			a.Printf("Triarch answers at %s (pid %d, log %s)\n", url, cmd.Process.Pid, system.LogFile(cfg.Data))
			a.Next("%s", a.command("status"))
			return cmd.Process.Release()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return whyNotStarted(cmd.ProcessState.ExitCode(), out)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// whyNotStarted is the failure of a start in the background, as its exit code and its output's last line tell it.
func whyNotStarted(code int, output io.ReaderAt) error {
	text, err := io.ReadAll(io.NewSectionReader(output, 0, 1<<20))
	if err != nil {
		return fault.Wrap(err, "reading why Triarch did not start")
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := lines[len(lines)-1]
	var told struct{ Error fault.Error } // under -o json
	if json.Unmarshal([]byte(last), &told) == nil && told.Error.Kind != "" {
		return &told.Error
	}
	f := fault.New(fault.Unavailable, "Triarch did not start: "+last)
	if said, ok := strings.CutPrefix(last, "error: "); ok {
		f.Message = said
	}
	for _, k := range []fault.Kind{fault.Invalid, fault.Conflict, fault.Internal} {
		if fault.ExitCode(fault.New(k, "")) == code {
			f.Kind = k
		}
	}
	return f
}
