package system

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"github.com/triarch-ai/triarch/storage/sql"
)

// CheckState is how a check came out.
type CheckState string

// The outcomes: Fine, Note (works, could be better) and Bad (does not work).
const (
	Fine CheckState = "ok"
	Note CheckState = "note"
	Bad  CheckState = "bad"
)

// Check is one finding of Doctor.
type Check struct {
	Name  string     `json:"name"`
	State CheckState `json:"state"`
	Says  string     `json:"says"`
	Fix   string     `json:"fix,omitempty"`
}

// Doctor checks the machine and the data directory at path, changing nothing.
func Doctor(ctx context.Context, path string) []Check {
	cfg, _, err := LoadConfig("", os.Environ(), map[string]string{"data": path})
	checks := []Check{fromError("configuration", "is sound", err)}
	checks = append(checks, dataCheck(path), logCheck(path), spaceCheck(path), kernelCheck(), chipCheck(ctx), memoryCheck(), filesCheck())
	if err == nil {
		checks = append(checks, databaseCheck(ctx, cfg), addressCheck(cfg))
	}
	return checks
}

func fromError(name, fine string, err error) Check {
	if err == nil {
		return Check{Name: name, State: Fine, Says: fine}
	}
	f := fault.As(err)
	return Check{Name: name, State: Bad, Says: f.Message, Fix: f.Fix}
}

func dataCheck(path string) Check {
	c := Check{Name: "data directory", State: Fine}
	if pid, held := Holder(path); held {
		c.Says = fmt.Sprintf("%s is in use by pid %d", path, pid)
		return c
	}
	if err := checkFormat(path); err != nil {
		return fromError(c.Name, "", err)
	}
	if fs := networkFileSystem(existing(path)); fs != "" {
		return Check{c.Name, Bad, path + " is on a network file system (" + fs + ")", "choose a folder on a local disk with --data"}
	}
	if unix.Access(existing(path), unix.W_OK) != nil {
		return Check{c.Name, Bad, existing(path) + " cannot be written", "make it writable or choose another with --data"}
	}
	c.Says = path + " can be used"
	return c
}

// logCheck says where to read what an `up` in the background said.
func logCheck(path string) Check {
	c := Check{Name: "log", State: Fine, Says: LogFile(path)}
	st, err := os.Stat(c.Says)
	switch {
	case err != nil:
		c.Says = "`up --detach` writes it to " + c.Says
	default:
		c.Says += ", last written " + st.ModTime().Format(time.DateTime)
	}
	return c
}

// existing is the nearest folder above path that exists.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func spaceCheck(path string) Check {
	var st unix.Statfs_t
	if err := unix.Statfs(existing(path), &st); err != nil {
		return Check{"disk", Note, "its free space cannot be read: " + err.Error(), ""}
	}
	free := int64(st.Bavail) * int64(st.Bsize) >> 20
	says := fmt.Sprintf("%d MiB free", free)
	switch {
	case free < 200:
		return Check{"disk", Bad, says, "free at least 200 MiB, or choose another disk with --data"}
	case free < 2048:
		return Check{"disk", Note, says, "models and checkpoints will want more"}
	}
	return Check{"disk", Fine, says, ""}
}

func kernelCheck() Check {
	says := fmt.Sprintf("%s kernels, %d threads", kernel.Name(), kernel.DefaultThreads())
	if kernel.Name() == "portable" {
		return Check{"processor", Note, says, "training is about 20 times slower than with AVX2; use a processor that has it"}
	}
	return Check{"processor", Fine, says, ""}
}

func memoryCheck() Check {
	n := memoryLimit() >> 20
	if n > 0 && n < 800 {
		return Check{"memory", Note, fmt.Sprintf("runs may take up to %d MiB", n), "the starter wants about 500 MiB"}
	}
	return Check{"memory", Fine, fmt.Sprintf("runs may take up to %d MiB", n), ""}
}

func filesCheck() Check {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return Check{"open files", Note, "the limit cannot be read: " + err.Error(), ""}
	}
	says := fmt.Sprintf("at most %d", r.Max)
	if r.Max < 4096 {
		return Check{"open files", Note, says, "raise it with `ulimit -n 65536` for more than a thousand streams"}
	}
	return Check{"open files", Fine, says, ""}
}

func databaseCheck(ctx context.Context, cfg Config) Check {
	if cfg.Database == "" {
		return Check{"database", Fine, "SQLite in the data directory", ""}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return fromError("database", "PostgreSQL answers", sql.Ping(ctx, cfg.Database))
}

func addressCheck(cfg Config) Check {
	if _, held := Holder(cfg.Data); held {
		return Check{"address", Fine, cfg.Listen + " is this Triarch's, or another was given", ""}
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return Check{"address", Bad, cfg.Listen + " cannot be listened on: " + listenReason(err), "choose another with --listen"}
	}
	l.Close()
	return Check{"address", Fine, cfg.Listen + " is free", ""}
}
