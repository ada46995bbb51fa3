package report

import (
	"maps"
	"slices"

	"github.com/triarch-ai/triarch/compute/sched/sim"
)

// curves are what the page plots, at most a few hundred points each.
type curves struct {
	completion, queue []float64 // quantiles, in seconds, at equal steps from 0 to 1
	series            []sim.Sample
	chips             int64
}

const steps = 200

// curves needs the sample sorted by figures.
func (s *sample) curves(r *sim.Result) curves {
	return curves{quantiles(s.completion), quantiles(s.queue), slices.Clone(r.Series), r.Chips}
}

func quantiles(sorted []float64) []float64 {
	if len(sorted) == 0 {
		return nil
	}
	out := make([]float64, steps+1)
	for i := range out {
		out[i] = quantile(sorted, float64(i)/steps)
	}
	return out
}

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }
