package predict

import "math/bits"

// Durations are counted in buckets of a constant ratio: eight to the doubling, from about a second to 198 days. What is
// shorter lies in the first, what is longer in the last.
const (
	perDoubling = 8
	firstBit    = 10 // the second bucket begins near 2^10 ms
	doublings   = 24
	buckets     = perDoubling * doublings
)

// longest is the end of the last bucket, in milliseconds; longer durations are cut to it.
const longest = int64(1) << (firstBit + doublings)

// eighths are the powers 2^(k/8), times 2^32.
var eighths = [perDoubling]uint64{
	4294967296, 4683695047, 5107605667, 5569883475, 6074000999, 6623745058, 7223245205, 7877004751,
}

// edges[i] is where bucket i begins, in milliseconds; bucket i ends where the next begins.
var edges = func() (e [buckets + 1]int64) {
	for i := range e {
		e[i] = int64(eighths[i%perDoubling] << (i / perDoubling) >> (32 - firstBit))
	}
	e[0] = 0
	return e
}()

// middles[i] is the time halfway through bucket i, in milliseconds.
var middles = func() (m [buckets]int64) {
	for i := range m {
		m[i] = (edges[i] + edges[i+1]) / 2
	}
	return m
}()

// bucketOf is the bucket of a duration in milliseconds.
func bucketOf(ms int64) int {
	if ms < edges[1] {
		return 0
	}
	if ms >= longest {
		return buckets - 1
	}
	i := (bits.Len64(uint64(ms))-1-firstBit)*perDoubling + perDoubling - 1
	for edges[i] > ms {
		i--
	}
	return i
}
