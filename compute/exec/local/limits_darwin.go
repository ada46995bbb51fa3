package local

import "syscall"

// group is a cgroup; there are none here.
type group struct{}

func delegatedCgroup() string { return "" }

func makeGroup(task, *syscall.SysProcAttr) *group { return nil }

func (g *group) adopt(int) []string { return nil }
func (g *group) oom() bool          { return false }
func (g *group) close()             {}

// limit names what the environment alone does: the Go runtime's own limits.
func limit(t task, _ int, _ *group) []string {
	var how []string
	if t.CPUs > 0 {
		how = append(how, "CPUs by GOMAXPROCS")
	}
	if t.MemoryBytes > 0 {
		how = append(how, "memory by GOMEMLIMIT")
	}
	return how
}
