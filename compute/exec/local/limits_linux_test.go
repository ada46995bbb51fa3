package local

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/triarch-ai/triarch/compute/job"
)

// hierarchy makes a folder that looks like a cgroup handed over; the files of an attempt's group, which a kernel
// would make with the folder, are made before.
func hierarchy(t *testing.T, files ...string) (parent string, tk task) {
	t.Helper()
	tk = task{Job: someJob, Attempt: 3, MemoryBytes: 64 << 20, CPUs: 2, Cgroup: t.TempDir()}
	dir := filepath.Join(tk.Cgroup, "triarch-"+someJob+"-3")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f)
		if strings.HasPrefix(f, "/") {
			path = filepath.Join(tk.Cgroup, f)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, tk
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGroupV2(t *testing.T) {
	dir, tk := hierarchy(t, "/cgroup.controllers", "/cgroup.subtree_control", "memory.max", "memory.swap.max", "memory.oom.group",
		"memory.events", "cpu.max", "cgroup.procs")
	var attr syscall.SysProcAttr
	g := makeGroup(tk, &attr)
	if g == nil || !attr.UseCgroupFD || attr.CgroupFD < 3 {
		t.Fatalf("no group: %+v", attr)
	}
	if got := phrase(append(g.adopt(1), limit(tk, os.Getpid(), g)...)); got != "memory by cgroup v2, CPUs by cgroup v2" {
		t.Errorf("limits are %q", got)
	}
	if content(t, tk.Cgroup, "cgroup.subtree_control") != "+memory +cpu" || content(t, dir, "memory.max") != "67108864" ||
		content(t, dir, "memory.swap.max") != "0" || content(t, dir, "memory.oom.group") != "1" || content(t, dir, "cpu.max") != "200000 100000" {
		t.Error("the group's files do not hold its limits")
	}
	if g.oom() {
		t.Error("nothing was killed, and it says so")
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte("low 0\noom 1\noom_kill 1\noom_group_kill 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !g.oom() {
		t.Error("the kernel's kill was not seen")
	}
	g.close()
}

func TestWhatSystemdHandsOver(t *testing.T) {
	const unit = "system.slice/triarch.service"
	for name, c := range map[string]struct {
		self, marked string
		want         bool // the unit's cgroup
		entered      bool
	}{
		"in the leaf already":     {"0::/" + unit + "/triarch\n", unit, true, false},
		"in the unit itself":      {"4:memory:/x\n0::/" + unit + "\n", unit, true, true},
		"not handed over":         {"0::/" + unit + "\n", "", false, false},
		"another's leaf":          {"0::/" + unit + "/other\n", unit, false, false},
		"a user's session":        {"0::/user.slice/session-1.scope\n", "user.slice/session-1.scope", false, false},
		"no unified hierarchy":    {"4:memory:/x\n", unit, false, false},
		"the root of a container": {"0::/\n", "", false, false},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, unit)
		if err := os.MkdirAll(filepath.Join(dir, leaf), 0o755); err != nil {
			t.Fatal(err)
		}
		procs := filepath.Join(dir, leaf, "cgroup.procs") // a kernel makes it with the folder
		if err := os.WriteFile(procs, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		got := handedOver(root, c.self, func(d string) bool { return c.marked != "" && d == filepath.Join(root, c.marked) })
		if want := map[bool]string{true: dir}[c.want]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if in := content(t, filepath.Dir(procs), "cgroup.procs") == "0"; in != c.entered {
			t.Errorf("%s: entered the leaf: %v", name, in)
		}
	}
	missing := t.TempDir() // a hierarchy that cannot be written: no leaf, no groups
	if got := handedOver(filepath.Join(missing, "none"), "0::/"+unit+"\n", func(string) bool { return true }); got != "" {
		t.Errorf("without a leaf: %q", got)
	}
}

func TestGroupV1(t *testing.T) {
	dir, tk := hierarchy(t, "memory.limit_in_bytes", "memory.oom_control", "cgroup.procs")
	var attr syscall.SysProcAttr
	g := makeGroup(tk, &attr)
	if g == nil || attr.UseCgroupFD {
		t.Fatalf("no v1 group: %+v", attr)
	}
	got := phrase(append(g.adopt(4711), limit(tk, os.Getpid(), g)...))
	if got != "memory by cgroup v1, CPUs by GOMAXPROCS" || content(t, dir, "cgroup.procs") != "4711" || content(t, dir, "memory.limit_in_bytes") != "67108864" {
		t.Errorf("limits are %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.oom_control"), []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !g.oom() {
		t.Error("the kernel's kill was not seen")
	}
}

func TestNoGroup(t *testing.T) {
	var attr syscall.SysProcAttr
	if g := makeGroup(task{Cgroup: "/nowhere/at/all", MemoryBytes: 1, Job: someJob, Attempt: 1}, &attr); g != nil || attr.UseCgroupFD {
		t.Errorf("a group in a folder that does not exist: %+v", g)
	}
	var none *group
	none.close()
	if none.oom() || none.adopt(1) != nil {
		t.Error("no group bounds something")
	}
	if got := phrase(limit(task{}, os.Getpid(), nil)); got != "no limits" {
		t.Errorf("no limits read %q", got)
	}
}

func TestOutOfMemoryIsTold(t *testing.T) {
	const limit = 100 << 20
	for name, c := range map[string]struct {
		limit int64
		exit  job.Exit
		log   string
		want  bool
	}{
		"last words":               {limit, job.Exit{Code: 1, MaxRSS: 1}, "Traceback\nMemoryError\n", true},
		"crash beyond the limit":   {limit, job.Exit{Code: 2, MaxRSS: limit}, "SIGSEGV: segmentation violation", true},
		"signal beyond the limit":  {limit, job.Exit{Code: -1, Signal: "SIGSEGV", MaxRSS: 2 * limit}, "", true},
		"crash within the limit":   {limit, job.Exit{Code: 2, MaxRSS: limit - 1}, "panic: index out of range", false},
		"failure beyond the limit": {limit, job.Exit{Code: 1, MaxRSS: 2 * limit}, "no such file", false},
		"no limit":                 {0, job.Exit{Code: 2, MaxRSS: 2 * limit}, "out of memory", false},
	} {
		f := openLog(t, t.TempDir())
		if _, err := f.WriteString(strings.Repeat("x", 300<<10) + c.log); err != nil {
			t.Fatal(err)
		}
		if got := outOfMemory(task{MemoryBytes: c.limit}, &c.exit, f); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCounter(t *testing.T) {
	text := []byte("oom 7\noom_kill 12\noom_kill_more 3\nbad x\n")
	for name, want := range map[string]int64{"oom": 7, "oom_kill": 12, "bad": -1, "none": -1} {
		if got := counter(text, name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if oomKills() < 0 {
		t.Error("this kernel's count of kills cannot be read")
	}
}
