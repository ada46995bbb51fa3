package system

import "math"

// bodyMemory is how many bytes the bodies of requests in flight may have together: an eighth of the memory that the
// process was given (the Go runtime's limit; math.MaxInt64 where there is none), at most 512 MiB, but always room for
// a few of the largest ones.
func bodyMemory(limit, largest int64) int64 {
	const most = 512 << 20
	n := int64(most)
	if limit > 0 && limit < math.MaxInt64 {
		n = min(limit/8, most)
	}
	return max(n, 4*largest)
}
