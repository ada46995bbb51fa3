package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time, user and system, that a process has used, from its CPU clock.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // of the kernel's numbering of per-process clocks: ^pid << 3 | clock
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// resident is how many bytes of memory a process holds.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm holds %q", pid, b)
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// manyFiles lets this process have as many files open as 10,000 streams need on both sides, as far as that is allowed.
func manyFiles() error {
	const most = 32 << 10
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Cur >= most {
		return nil
	}
	l.Cur = min(most, l.Max)
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}

// fileLimit is how many files a process can be allowed to have open.
func fileLimit() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(l.Max, 1<<20))
}
