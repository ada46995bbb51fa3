package cpu

import (
	"sync"
	"time"
)

// Arrays of the triad: three of them, together above the caches of nearly every processor.
const (
	elements = 16 << 20 // of 8 bytes, in each array
	passes   = 4
)

// Triad measures the bandwidth of the memory in bytes a second: a[i] = b[i] + 3c[i] over arrays that no cache holds,
// shared among the cores, the best of a few passes. As McCalpin's STREAM counts, each element is two reads and a write.
// Small is for machines with little memory: arrays that take at most that many bytes together; 0: no bound.
func Triad(cores int, small int64) float64 {
	n := elements
	if small > 0 {
		n = int(min(int64(n), small/24))
	}
	a, b, c := make([]float64, n), make([]float64, n), make([]float64, n)
	each := func(do func(a, b, c []float64)) time.Duration {
		start := time.Now()
		var all sync.WaitGroup
		for i := range cores {
			from, to := i*n/cores, (i+1)*n/cores
			all.Go(func() { do(a[from:to], b[from:to], c[from:to]) })
		}
		all.Wait()
		return time.Since(start)
	}
	each(func(a, b, c []float64) { // the pages come into being on the cores that use them
		for i := range a {
			a[i], b[i], c[i] = 0, 1, 2
		}
	})
	best := 0.0
	for range passes {
		took := each(func(a, b, c []float64) {
			b, c = b[:len(a)], c[:len(a)]
			for i := range a {
				a[i] = b[i] + 3*c[i]
			}
		})
		if took > 0 {
			best = max(best, float64(n)*24/took.Seconds())
		}
	}
	if len(a) == 0 || a[n-1] != 7 {
		return 0 // it did not compute what it was to compute
	}
	return best
}
