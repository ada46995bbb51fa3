package local

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/exec/exectest"
	"github.com/triarch-ai/triarch/compute/job"
)

// superviseArg makes the test binary a supervisor.
const superviseArg = "test-supervisor"

// TestMain lets the test binary be supervisor and worker, as the real program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case superviseArg:
			os.Exit(Supervise(context.Background(), os.Args[2]))
		case keeperArg:
			os.Exit(keep(os.Args[2]))
		case exectest.WorkerArg:
			os.Exit(exectest.Worker(os.Args[2:]))
		}
	}
	os.Setenv("TRIARCH_SECRET_TEST", "must not reach a worker") // a plain name
	os.Exit(m.Run())
}

func testSelf(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

func open(t *testing.T, root string, change ...func(*Options)) *Executor {
	t.Helper()
	opt := Options{Root: root, Supervise: []string{testSelf(t), superviseArg}}
	for _, f := range change {
		f(&opt)
	}
	x, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestSuite(t *testing.T) {
	exectest.Run(t, func(t *testing.T) exectest.Open {
		root := place(t)
		return func(t *testing.T) job.Executor { return open(t, root) }
	})
}

// place makes a folder for one test's jobs, in memory where that can be had: what is written durably a thousand times
// need not wait for a disk. A supervisor that came too late and found its attempt taken may still
// be on its way out when the test ends, so deleting it may take more than one try.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "triarch-local-")
	if err != nil {
		dir, err = os.MkdirTemp("", "triarch-local-")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 {
			if err = os.RemoveAll(dir); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error(err)
	})
	return dir
}
