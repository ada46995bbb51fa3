package exectest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
)

// WorkerArg is the first argument by which a test binary knows that it is to be a worker: its TestMain then calls
// Worker with the rest.
const WorkerArg = "exectest-worker"

// Command is the command that runs the test binary as a worker doing these deeds, see Worker.
func Command(deeds ...string) job.Command {
	return job.Command{Argv: append([]string{job.Self, WorkerArg}, deeds...)}
}

// Worker does what its arguments say, one after the other, and returns its exit code:
//
//	print:TEXT       write a line to the output
//	warn:TEXT        write a line to standard error
//	lines:N          write N numbered lines
//	env:NAME         print a variable
//	cat:FILE         print a file of the working directory
//	sleep:DURATION
//	exit:CODE
//	crash:SIGNAL     send itself a signal by number
//	hang             wait for SIGTERM, then exit with job.ExitStopped
//	stubborn         ignore SIGTERM and stay
//	fork             start a stubborn grandchild and leave it behind
//	escape           start a stubborn grandchild in a session of its own that is a witness, and leave it behind
//	alloc:MIB        use so much memory and hold it
//	witness          prove that no other attempt lives, see Witness
//	steps:N:DURATION do N steps with a checkpoint after each, going on from the last checkpoint
func Worker(deeds []string) int {
	for _, d := range deeds {
		verb, arg, _ := strings.Cut(d, ":")
		do, ok := verbs[verb]
		if !ok {
			fmt.Fprintln(os.Stderr, "unknown deed", d)
			return 64
		}
		code, err := do(arg)
		if err != nil {
			fmt.Fprintln(os.Stderr, d, err)
			return 70
		}
		if code >= 0 {
			return code
		}
	}
	return 0
}

const goOn = -1

var verbs = map[string]func(string) (int, error){
	"print": func(s string) (int, error) { fmt.Println(s); return goOn, nil },
	"warn":  func(s string) (int, error) { fmt.Fprintln(os.Stderr, s); return goOn, nil },
	"env":   func(s string) (int, error) { fmt.Println(os.Getenv(s)); return goOn, nil },
	"cat": func(s string) (int, error) {
		b, err := os.ReadFile(s)
		fmt.Println(string(b))
		return goOn, err
	},
	"lines": func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		for i := range n {
			fmt.Printf("line %08d\n", i)
		}
		return goOn, err
	},
	"sleep": func(s string) (int, error) {
		d, err := time.ParseDuration(s)
		time.Sleep(d)
		return goOn, err
	},
	"exit": func(s string) (int, error) { return strconv.Atoi(s) },
	"crash": func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err == nil {
			err = syscall.Kill(os.Getpid(), syscall.Signal(n))
		}
		time.Sleep(time.Minute) // the signal ends it
		return 65, err
	},
	"hang": func(string) (int, error) {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("asked to end")
		return job.ExitStopped, nil
	},
	"stubborn": func(string) (int, error) {
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Minute)
		return 66, nil
	},
	"fork": func(string) (int, error) { return goOn, leave(syscall.SysProcAttr{Setpgid: true}, "stubborn") },
	"escape": func(string) (int, error) {
		jobDir, _, _, err := job.Here()
		if err == nil {
			err = leave(syscall.SysProcAttr{Setsid: true}, "witness", "stubborn")
		}
		for err == nil { // until it has made itself known
			if _, serr := os.Stat(filepath.Join(jobDir, StartsFile)); serr == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return goOn, err
	},
	"alloc":   alloc,
	"witness": func(string) (int, error) { return goOn, Witness() },
	"steps":   steps,
}

// GrandchildFile is the name, in the attempt's folder, of the file with the process number of what fork or escape
// left behind.
const GrandchildFile = "grandchild"

func leave(attr syscall.SysProcAttr, deeds ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{WorkerArg}, deeds...)...)
	cmd.SysProcAttr = &attr
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	return os.WriteFile(GrandchildFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
}

func alloc(s string) (int, error) {
	mib, err := strconv.Atoi(s)
	var all [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println("holding", len(all))
	return goOn, err
}

// Files in the job's folder by which Witness keeps its account.
const (
	StartsFile     = "starts"     // one line per attempt that ran: its number
	ViolationsFile = "violations" // exists if two attempts ever lived at once
)

// Witness notes in the job's folder that this attempt runs, and that another lives if one does. It keeps a lock
// that no other process of this job can have until this one is dead.
func Witness() error {
	jobDir, _, n, err := job.Here()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(jobDir, "alive"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	held = f // open until the process ends
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if err := appendLine(filepath.Join(jobDir, ViolationsFile), strconv.Itoa(n)); err != nil {
			return err
		}
		return errors.New("another attempt lives")
	}
	return appendLine(filepath.Join(jobDir, StartsFile), strconv.Itoa(n))
}

var held *os.File //nolint:unused // held open for the life of the process

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// steps is the skeleton of a training worker: it goes on from the checkpoint, checks the fence before it writes
// the next, reports progress, and on SIGTERM ends after the step it is in.
func steps(s string) (int, error) {
	count, pause, _ := strings.Cut(s, ":")
	n, err := strconv.Atoi(count)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(pause)
	if err != nil {
		return 0, err
	}
	jobDir, _, attempt, err := job.Here()
	if err != nil {
		return 0, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	checkpoint := filepath.Join(jobDir, job.StateDir, "step")
	at := 0
	if b, err := os.ReadFile(checkpoint); err == nil {
		if at, err = strconv.Atoi(string(b)); err != nil {
			return 0, err
		}
	}
	for at < n {
		time.Sleep(d)
		at++
		if err := job.CheckFence(jobDir, attempt); err != nil {
			return 67, err
		}
		line, err := json.Marshal(map[string]any{"attempt": attempt, "step": at, "steps": n})
		if err == nil {
			err = appendLine(job.ProgressFile, string(line))
		}
		if err == nil {
			err = os.WriteFile(checkpoint+".new", []byte(strconv.Itoa(at)), 0o600)
		}
		if err == nil {
			err = os.Rename(checkpoint+".new", checkpoint)
		}
		if err != nil {
			return 0, err
		}
		if ctx.Err() != nil && at < n {
			return job.ExitStopped, nil
		}
	}
	return goOn, appendLine(filepath.Join(jobDir, job.OutDir, "finished"), strconv.Itoa(attempt))
}
