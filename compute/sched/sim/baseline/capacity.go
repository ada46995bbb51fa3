package baseline

import (
	"github.com/triarch-ai/triarch/compute/sched/sim/lp"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Capacity is the work that a mixed fleet can do for jobs whose types arrive equally often, each with the same work on
// the reference chip, in units of one reference chip: three numbers of which the first bounds every policy.
type Capacity struct {
	Best   float64 `json:"best"`   // each type where it is best, by linear programme: the most that any policy can sustain
	Shared float64 `json:"shared"` // blind to types: every job gets every chip in proportion to their numbers
	Random float64 `json:"random"` // blind to types: every job stays on the first chip that is free
}

// CapacityOf computes the three from speeds by type and chip (millionths of the reference) and the number of each chip.
func CapacityOf(ppm [][]int64, chips []int64) (Capacity, error) {
	types, k := len(ppm), len(chips)
	if types == 0 || k == 0 {
		return Capacity{}, fault.New(fault.Invalid, "A capacity needs types and chips.")
	}
	vars := 1 + types*k
	c := make([]float64, vars)
	c[0] = 1
	var a [][]float64
	var b []float64
	var all, shared float64
	slow := make([]float64, k) // mean time for one unit of work on each chip, over the types it can run
	able := make([]float64, k)
	for _, n := range chips {
		all += float64(n)
	}
	for t, speeds := range ppm {
		row := make([]float64, vars)
		row[0] = 1 / float64(types)
		mean := 0.0
		for i, s := range speeds {
			v := float64(s) / 1e6
			row[1+t*k+i] = -v
			mean += v * float64(chips[i]) / all
			if s > 0 {
				slow[i] += 1 / v
				able[i]++
			}
		}
		a, b = append(a, row), append(b, 0)
		shared += 1 / mean / float64(types)
	}
	random := 0.0
	for i, n := range chips {
		if able[i] > 0 {
			random += float64(n) * able[i] / slow[i]
		}
		row := make([]float64, vars)
		for t := range types {
			row[1+t*k+i] = 1
		}
		a, b = append(a, row), append(b, float64(n))
	}
	_, best, err := lp.Maximize(c, a, b)
	if err != nil {
		return Capacity{}, err
	}
	return Capacity{Best: best, Shared: all / shared, Random: random}, nil
}
