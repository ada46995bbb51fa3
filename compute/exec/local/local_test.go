package local

import (
	"context"
	"os"
	"testing"

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
		case exectest.WorkerArg:
			os.Exit(exectest.Worker(os.Args[2:]))
		}
	}
	os.Setenv("TRIARCH_SECRET_TEST", "must not reach a worker") //nolint:errcheck // a plain name
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
		root := t.TempDir()
		return func(t *testing.T) job.Executor { return open(t, root) }
	})
}
