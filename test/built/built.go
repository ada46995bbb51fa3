// Package built builds the programs that tests drive, for as long as the tests of a package run.
//
// Rules for callers: TestMain calls Run and exits with what it returns; the paths are filled in before the first test.
package built

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Program is one to build.
type Program struct {
	From string  // the package, as `go build` takes it in the folder of the test
	Path *string // where its path is written
}

// Run builds the programs, runs the tests and gives their exit code; 1 when a program cannot be built.
func Run(m *testing.M, programs ...Program) int {
	dir, err := os.MkdirTemp("", "triarch-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for i, p := range programs {
		*p.Path = filepath.Join(dir, strconv.Itoa(i), "triarch")
		build := exec.Command("go", "build", "-o", *p.Path, p.From)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", p.From, err, text)
			return 1
		}
	}
	return m.Run()
}

// Environment is that of this process without what would configure Triarch, and more.
func Environment(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "TRIARCH_") {
			env = append(env, e)
		}
	}
	return append(env, more...)
}
