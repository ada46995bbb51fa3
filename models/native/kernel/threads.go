package kernel

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// DefaultThreads is the number of threads that this process may keep busy: the least of GOMAXPROCS, the CPUs it may run
// on, and the CPU quota of its control group (version 2 or 1), and at least 1. More threads than that only wait for each other.
func DefaultThreads() int {
	n := min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	if a := affinity(); a > 0 {
		n = min(n, a)
	}
	if q := cgroupQuota(os.ReadFile); q > 0 {
		n = min(n, q)
	}
	return max(n, 1)
}

// cgroupQuota reads the smallest CPU quota from the process's group up to the root, rounded up to whole CPUs; 0 when none is set.
func cgroupQuota(read func(string) ([]byte, error)) int {
	groups, err := read("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := 0
	note := func(q int) {
		if q > 0 && (least == 0 || q < least) {
			least = q
		}
	}
	for line := range strings.Lines(string(groups)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		switch {
		case part[0] == "0" && part[1] == "":
			eachParent(part[2], func(dir string) { note(quotaV2(read, "/sys/fs/cgroup"+dir)) })
		case hasController(part[1], "cpu"):
			for _, root := range []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"} {
				eachParent(part[2], func(dir string) { note(quotaV1(read, root+dir)) })
			}
		}
	}
	return least
}

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

// eachParent calls f for dir and each folder above it; the root is the empty string.
func eachParent(dir string, f func(string)) {
	dir = strings.TrimRight(dir, "/")
	for dir != "" {
		f(dir)
		dir = dir[:max(strings.LastIndexByte(dir, '/'), 0)]
	}
	f("")
}

// quotaV2 reads cpu.max: "max 100000" or "QUOTA PERIOD".
func quotaV2(read func(string) ([]byte, error), dir string) int {
	b, err := read(dir + "/cpu.max")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return 0
	}
	return wholeCPUs(f[0], f[1])
}

func quotaV1(read func(string) ([]byte, error), dir string) int {
	q, err := read(dir + "/cpu.cfs_quota_us")
	if err != nil {
		return 0
	}
	p, err := read(dir + "/cpu.cfs_period_us")
	if err != nil {
		return 0
	}
	return wholeCPUs(strings.TrimSpace(string(q)), strings.TrimSpace(string(p)))
}

func wholeCPUs(quota, period string) int {
	q, err := strconv.ParseInt(quota, 10, 64)
	if err != nil || q <= 0 {
		return 0
	}
	p, err := strconv.ParseInt(period, 10, 64)
	if err != nil || p <= 0 {
		return 0
	}
	return int((q-1)/p) + 1
}
