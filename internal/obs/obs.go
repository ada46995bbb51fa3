// Package obs counts what happens, without locks or allocation, and has Prometheus read the counts.
//
// Rules for callers: what many cores count at once lies in a Sharded, and each caller passes a spread key, such as a
// byte of a request's id; names end as Prometheus has it (_total for counters, _seconds, _bytes, _tokens); values of
// labels come from bounded sets, never from ids of keys or requests.
package obs

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
)

// maxParts bounds the memory of a Sharded.
const maxParts = 16

// Sharded is one T for about each core. Use NewSharded.
type Sharded[T any] struct {
	parts []*T
	mask  uint32
}

// NewSharded makes as many as there are cores, in a power of two of at most 16. each, if not nil, prepares one.
func NewSharded[T any](each func(*T)) *Sharded[T] {
	n := min(1<<bits.Len(uint(runtime.GOMAXPROCS(0)-1)), maxParts)
	s := &Sharded[T]{parts: make([]*T, n), mask: uint32(n - 1)}
	for i := range s.parts {
		p := new(struct { // a line of its own on both sides
			_ [64]byte
			v T
			_ [64]byte
		})
		if each != nil {
			each(&p.v)
		}
		s.parts[i] = &p.v
	}
	return s
}

// At is the part for a spread key.
func (s *Sharded[T]) At(spread uint32) *T { return s.parts[spread&s.mask] }

// Parts are all of them, to be added up.
func (s *Sharded[T]) Parts() []*T { return s.parts }

// maxBuckets is how many bounds a histogram can have.
const maxBuckets = 23

// Buckets are the upper bounds of a histogram of times, rising; at most 23.
type Buckets []time.Duration

// Histogram counts times by their length. The zero value is ready; the buckets are the caller's, the same at each call.
type Histogram struct {
	counts [maxBuckets + 1]atomic.Uint64
	nanos  atomic.Int64
}

// Observe counts one time. Negative ones, of a clock that was set back, count as zero.
func (h *Histogram) Observe(b Buckets, d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(b) && d > b[i] {
		i++
	}
	h.counts[i].Add(1)
	h.nanos.Add(int64(d))
}

// Sum is histograms of the same buckets added up.
type Sum struct {
	Counts [maxBuckets + 1]uint64 // not cumulative; the last one that is used is of what is above all bounds
	Nanos  int64
}

// Add adds what a histogram has counted.
func (s *Sum) Add(h *Histogram) {
	for i := range h.counts {
		s.Counts[i] += h.counts[i].Load()
	}
	s.Nanos += h.nanos.Load()
}

// Count is how many times were counted.
func (s *Sum) Count() (n uint64) {
	for _, c := range s.Counts {
		n += c
	}
	return n
}
