package confine

import (
	"testing"
)

func files(m map[string]string) func(string) string { return func(p string) string { return m[p] } }

func TestQuota(t *testing.T) {
	for name, x := range map[string]struct {
		files map[string]string
		want  int
	}{
		"none":            {nil, 0},
		"v2":              {map[string]string{"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "/sys/fs/cgroup/a/cpu.max": "250000 100000\n"}, 3},
		"v2 in a root":    {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1},
		"v1":              {map[string]string{"/proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/d\n", "/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "150000", "/sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000"}, 2},
		"v1 unlimited":    {map[string]string{"/proc/self/cgroup": "4:cpu:/d\n", "/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000"}, 0},
		"the least":       {map[string]string{"/proc/self/cgroup": "4:cpu:/d\n0::/a\n", "/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "800000", "/sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000", "/sys/fs/cgroup/a/cpu.max": "400000 100000"}, 4},
		"garbage":         {map[string]string{"/proc/self/cgroup": "\x00:::\n0::../../..\n::", "/sys/fs/cgroup/cpu.max": "a b", "/sys/fs/cgroup/a/cpu.max": "9"}, 0},
		"nothing of time": {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "100 0"}, 0},
	} {
		if got := quota(files(x.files)); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
}

func TestMemoryUnderTheGroup(t *testing.T) {
	m := map[string]string{"/proc/meminfo": "MemTotal:       16384 kB\nMemFree: 1 kB\n", "/proc/self/cgroup": "0::/a\n"}
	if got := memory(files(m)); got != 16<<20 {
		t.Errorf("%d", got)
	}
	m["/sys/fs/cgroup/a/memory.max"] = "1048576\n"
	if got := memory(files(m)); got != 1<<20 {
		t.Errorf("%d", got)
	}
	m["/sys/fs/cgroup/a/memory.max"] = "max\n"
	if got := memory(files(m)); got != 16<<20 {
		t.Errorf("%d", got)
	}
}

func TestQuotaOfControlGroups(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int
	}{
		"no control groups": {nil, 0},
		"v2 at the root":    {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2},
		"v2 without limit":  {map[string]string{"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 0},
		"v2, parent is tighter": {map[string]string{"/proc/self/cgroup": "0::/a/b\n",
			"/sys/fs/cgroup/a/b/cpu.max": "800000 100000", "/sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3},
		"v1": {map[string]string{"/proc/self/cgroup": "5:cpu,cpuacct:/x\n0::/\n",
			"/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "400000\n", "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"}, 4},
		"v1 without limit": {map[string]string{"/proc/self/cgroup": "5:cpu:/\n",
			"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 0},
		"less than one CPU": {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "20000 100000"}, 1},
		"nonsense":          {map[string]string{"/proc/self/cgroup": "x\n0::/\n", "/sys/fs/cgroup/cpu.max": "a b c"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quota(files(c.files)); got != c.want {
				t.Errorf("quota %d, want %d", got, c.want)
			}
		})
	}
}
