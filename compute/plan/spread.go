package plan

import (
	"math"
	"slices"
)

// Spread is a figure over the demands drawn.
type Spread struct {
	Mean float64 `json:"mean"`
	P10  float64 `json:"p10"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
}

// spread of values, one for each demand. Quantiles lie between neighbours, for there are few values.
func spread(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(v))
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return Spread{sum / float64(len(v)), between(s, 0.1), between(s, 0.5), between(s, 0.9)}
}

// between is the quantile of sorted values, linear between neighbours; infinite where a neighbour it needs is.
func between(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if part := at - float64(i); part > 1e-9 {
		if math.IsInf(sorted[i+1], 1) {
			return math.Inf(1)
		}
		return sorted[i] + part*(sorted[i+1]-sorted[i])
	}
	return sorted[i]
}

// rank is the quantile of sorted values by nearest rank, as the report of a replay has it.
func rank(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))-1e-9))-1)]
}
