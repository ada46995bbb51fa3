package cpu

import (
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Arrays of the triad: three of them, together above the caches of nearly every processor.
const (
	elements = 16 << 20 // of 8 bytes, in each array
	passes   = 4
)

// Sets are the sizes at which Levels measures, in bytes: from what a core's own cache holds to what no cache does.
var Sets = []int64{1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20}

// Levels measures the bandwidth of one core on sets of data of the sizes of Sets, up to small bytes where that is not 0: what fits
// into a cache is faster, and much of what an engine goes through again and again does.
func Levels(small int64) (all []chip.CacheLevel) {
	for _, size := range Sets {
		if small > 0 && size > small {
			break
		}
		best := 0.0
		for range 1 + int(min(20, 64<<20/size)) { // small sets are quickly done, and a glimpse of a busy machine misleads
			best = max(best, Triad(1, size))
		}
		if len(all) > 0 { // more data is never faster: where it seems so others were in the way before
			for i := range all {
				all[i].Bandwidth = max(all[i].Bandwidth, best)
			}
		}
		all = append(all, chip.CacheLevel{Bytes: float64(size), Bandwidth: best})
	}
	return all
}

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
