package pack

import (
	"math/rand"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// arrivals is the stream of the protocol: the whole list shuffled, cut down or filled up with draws from the
// list until the requests come to stop times the capacity. The draws from rng are part of the protocol, in
// number and order. The answer holds indices into pods, which must be sorted by name. A list of such small
// requests that more than maxArrivals would have to come is refused.
func arrivals(rng *rand.Rand, pods []Pod, capacity int64, stop float64) ([]int32, error) {
	rng.Int() // the original logs one draw before it starts
	order := make([]int32, len(pods))
	for i := range order {
		order[i] = int32(i)
	}
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

	limit := stop * float64(capacity)
	var asked int64
	for i := range pods {
		asked += pods[i].GPU()
	}
	tooMuch := float64(asked) > limit
	for float64(asked) > limit {
		i := rng.Intn(len(order))
		asked -= pods[order[i]].GPU()
		order = slices.Delete(order, i, i+1)
	}
	// What was cut down is not filled up again, and a list that asks nothing would be drawn from for ever.
	if tooMuch || asked == 0 {
		return order, nil
	}
	for {
		i := rng.Intn(len(pods))
		// The original compares with the share of one device and adds that of all.
		if float64(asked+pods[i].Share) > limit {
			return order, nil
		}
		if len(order) == maxArrivals {
			return nil, fault.InvalidField("pods", "more than %d pods would have to come to ask for %.0f %% of the fleet", maxArrivals, 100*stop)
		}
		asked += pods[i].GPU()
		order = append(order, int32(i))
	}
}

// ranks sorts nodes by name and deals every node its rank: ties between nodes go to the smallest.
func ranks(rng *rand.Rand, nodes []Node) []int32 {
	for range 10 { // the watches of the original's cluster client
		rng.Float64()
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	out := make([]int32, len(nodes))
	for i, r := range rng.Perm(len(nodes)) {
		out[i] = int32(r)
	}
	return out
}
