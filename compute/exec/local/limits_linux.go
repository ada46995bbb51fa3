package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dataLimit is the RLIMIT_DATA for a memory limit of n bytes. The kernel counts what is mapped for writing, not what
// is used: a Go program of ours maps about 110 MiB before it has allocated anything, and a tenth more than it uses
// from there on. A limit that is too tight kills programs within their memory; this one stops those well beyond it.
func dataLimit(n int64) uint64 { return uint64(n + n/8 + 192<<20) }

// group is the cgroup of one attempt. All methods may be called on nil, which is no group.
type group struct {
	dir    string
	v1     bool
	fd     *os.File // v2: the process starts inside
	memory bool     // whether it bounds memory
	cpu    bool
}

// cgroups is where the hierarchy (v2) is mounted.
const cgroups = "/sys/fs/cgroup"

// leaf is the cgroup, below one that was handed over, that this program itself is in.
const leaf = "triarch"

// delegatedCgroup is the cgroup (v2) that systemd handed over to this program, if it did, with the program in a leaf
// below it: only then may others be made beside that leaf. A unit with Delegate=yes and DelegateSubgroup=triarch has it
// so from the start; where systemd does not know the second word yet, the program makes the leaf and enters it.
func delegatedCgroup() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return handedOver(cgroups, string(b), delegated)
}

// delegated says whether a cgroup carries the mark that systemd sets on what it hands over.
func delegated(dir string) bool {
	var mark [8]byte
	for _, attr := range []string{"trusted.delegate", "user.delegate"} {
		if n, err := unix.Getxattr(dir, attr, mark[:]); err == nil && n == 1 && mark[0] == '1' {
			return true
		}
	}
	return false
}

// handedOver is delegatedCgroup for a hierarchy at root and the lines of /proc/self/cgroup.
func handedOver(root, self string, marked func(dir string) bool) string {
	for line := range strings.Lines(self) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		dir := filepath.Join(root, path)
		switch {
		case filepath.Base(path) == leaf && marked(filepath.Dir(dir)):
			return filepath.Dir(dir)
		case filepath.Ext(path) == ".service" && marked(dir) && enter(filepath.Join(dir, leaf)):
			return dir
		}
	}
	return ""
}

// enter moves this process into a cgroup, which it makes.
func enter(dir string) bool {
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return false
	}
	return (&group{dir: dir}).set("cgroup.procs", "0")
}

// makeGroup makes the cgroup of an attempt, if there is a parent for it. What it cannot bound, limit does.
func makeGroup(t task, attr *syscall.SysProcAttr) *group {
	if t.Cgroup == "" || t.MemoryBytes == 0 && t.CPUs == 0 {
		return nil
	}
	g := &group{dir: filepath.Join(t.Cgroup, fmt.Sprintf("triarch-%s-%d", t.Job, t.Attempt))}
	_, err := os.Stat(filepath.Join(t.Cgroup, "cgroup.controllers"))
	g.v1 = err != nil
	if !g.v1 {
		os.WriteFile(filepath.Join(t.Cgroup, "cgroup.subtree_control"), []byte("+memory +cpu"), 0o644) //nolint:errcheck // set tells for each file whether it took
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !os.IsExist(err) {
		return nil // limit falls back to what needs no permission
	}
	if t.MemoryBytes > 0 {
		g.memory = g.boundMemory(t.MemoryBytes)
	}
	if t.CPUs > 0 && !g.v1 {
		g.cpu = g.set("cpu.max", fmt.Sprintf("%d 100000", t.CPUs*100000))
	}
	if !g.v1 {
		if g.fd, err = os.Open(g.dir); err == nil {
			attr.UseCgroupFD, attr.CgroupFD = true, int(g.fd.Fd())
		}
	}
	return g
}

func (g *group) boundMemory(n int64) bool {
	if g.v1 {
		return g.set("memory.limit_in_bytes", strconv.FormatInt(n, 10))
	}
	g.set("memory.swap.max", "0")
	g.set("memory.oom.group", "1")
	return g.set("memory.max", strconv.FormatInt(n, 10))
}

func (g *group) set(file, value string) bool {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err == nil
}

// adopt puts a started process into a v1 group (v2 starts it inside) and says what the group bounds.
func (g *group) adopt(pid int) (how []string) {
	if g == nil {
		return nil
	}
	version := "v2"
	if g.v1 {
		version = "v1"
		if !g.set("cgroup.procs", strconv.Itoa(pid)) {
			g.memory, g.cpu = false, false
		}
	}
	if g.memory {
		how = append(how, "memory by cgroup "+version)
	}
	if g.cpu {
		how = append(how, "CPUs by cgroup "+version)
	}
	return how
}

// oom says whether the kernel killed something in the group for lack of memory.
func (g *group) oom() bool {
	if g == nil || !g.memory {
		return false
	}
	file := "memory.events"
	if g.v1 {
		file = "memory.oom_control"
	}
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	return err == nil && counter(bytes.TrimSpace(b), "oom_kill") > 0
}

// close removes the group; the kernel refuses while something lives in it.
func (g *group) close() {
	if g == nil {
		return
	}
	if g.fd != nil {
		g.fd.Close()
	}
	os.Remove(g.dir)
}

// limit bounds by means that need no permission what the group does not bound.
func limit(t task, pid int, g *group) (how []string) {
	if t.MemoryBytes > 0 && (g == nil || !g.memory) {
		n := dataLimit(t.MemoryBytes)
		if err := unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n}, nil); err == nil {
			how = append(how, "memory by rlimit and GOMEMLIMIT")
		} else {
			how = append(how, "memory by GOMEMLIMIT")
		}
	}
	if t.CPUs > 0 && (g == nil || !g.cpu) {
		how = append(how, "CPUs by GOMAXPROCS")
	}
	return how
}
