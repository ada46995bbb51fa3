//go:build !linux

package kernel

// affinity is the number of CPUs the scheduler may put this process on; 0 when unknown.
func affinity() int { return 0 }
