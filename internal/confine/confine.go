// Package confine tells what of the machine this process may use: cores under the control groups' quotas (version 2 and 1)
// and the affinity, memory under their limits. What the system does not tell is left out.
package confine

import (
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/durable"
)

// Cores is the number of cores that this process may keep busy, at least 1: a quota counts rounded up to whole ones. More
// threads than that only wait for each other.
func Cores() int {
	n := runtime.NumCPU() // already under the affinity when the process started
	if a := affinity(); a > 0 {
		n = min(n, a)
	}
	if q := quota(readFile); q > 0 {
		n = min(n, q)
	}
	return max(n, 1)
}

// Memory is the least of the machine's memory and the limits of this process's control groups, in bytes; 0: unknown.
func Memory() int64 { return memory(readFile) }

func readFile(path string) string {
	b, err := durable.ReadSmall(path, 1<<20)
	if err != nil {
		return ""
	}
	return string(b)
}

// quota is the smallest CPU quota of the process's control groups up to the root, in whole cores rounded up; 0: none.
func quota(read func(string) string) int {
	least := 0
	note := func(quota, period string) {
		q, err1 := strconv.ParseInt(strings.TrimSpace(quota), 10, 64)
		p, err2 := strconv.ParseInt(strings.TrimSpace(period), 10, 64)
		if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
			return
		}
		if n := int((q-1)/p) + 1; least == 0 || n < least {
			least = n
		}
	}
	eachGroup(read, "cpu", func(dir string, v2 bool) {
		if v2 {
			if f := strings.Fields(read(dir + "/cpu.max")); len(f) == 2 {
				note(f[0], f[1])
			}
			return
		}
		note(read(dir+"/cpu.cfs_quota_us"), read(dir+"/cpu.cfs_period_us"))
	})
	return least
}

// memory is the least of the machine's memory and the limits of its control groups, in bytes; 0: unknown.
func memory(read func(string) string) int64 {
	least := int64(0)
	note := func(n int64) {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	for line := range strings.Lines(read("/proc/meminfo")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			if n, err := strconv.ParseInt(f[1], 10, 53); err == nil {
				note(n << 10)
			}
		}
	}
	eachGroup(read, "memory", func(dir string, v2 bool) {
		file := "/memory.limit_in_bytes"
		if v2 {
			file = "/memory.max"
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(read(dir+file)), 10, 64); err == nil {
			note(n)
		}
	})
	return least
}

// eachGroup calls do for the folders of the process's control group that have a controller, from its own up to the root.
func eachGroup(read func(string) string, controller string, do func(dir string, v2 bool)) {
	for line := range strings.Lines(read("/proc/self/cgroup")) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		var roots []string
		v2 := part[0] == "0" && part[1] == ""
		switch {
		case v2:
			roots = []string{"/sys/fs/cgroup"}
		case slices.Contains(strings.Split(part[1], ","), controller):
			roots = []string{"/sys/fs/cgroup/" + controller}
			if controller == "cpu" { // some systems mount the two together, without a link by one name
				roots = append(roots, "/sys/fs/cgroup/cpu,cpuacct")
			}
		}
		for _, root := range roots {
			for dir := filepath.Clean("/" + part[2]); ; dir = filepath.Dir(dir) {
				do(root+strings.TrimSuffix(dir, "/"), v2)
				if dir == "/" {
					break
				}
			}
		}
	}
}
