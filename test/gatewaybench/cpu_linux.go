package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// used is the CPU time that a process has used: all of it from its CPU clock, and how that divides into its own and the
// kernel's in the ticks of its stat, which are coarse.
func used(pid int) (s spent, err error) {
	const schedClock = 2 // of the kernel's numbering of per-process clocks: ^pid << 3 | clock
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
		return s, err
	}
	s.all = time.Duration(ts.Nano())
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // from the third field on
	if len(f) < 13 {
		return s, fmt.Errorf("/proc/%d/stat holds %q", pid, b)
	}
	const tick = 10 * time.Millisecond // of all of Linux's interfaces
	for i, to := range map[int]*time.Duration{11: &s.user, 12: &s.system} {
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return s, err
		}
		*to = time.Duration(n) * tick
	}
	return s, nil
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
