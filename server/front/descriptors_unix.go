//go:build unix

package front

import (
	"math"
	"syscall"
)

// descriptors is how many file descriptors this process may have.
func descriptors() uint64 {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return math.MaxUint64
	}
	return uint64(r.Cur)
}
