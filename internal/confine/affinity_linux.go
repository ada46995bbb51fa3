package confine

import "golang.org/x/sys/unix"

// affinity is the number of cores that the scheduler may put this process on; 0: unknown.
func affinity() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0
	}
	return set.Count()
}
