package meter

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// A percentage of prices is each of them times it, rounded up, whatever they follow; 100 changes nothing, and what a request
// costs at it is never less than the percentage of what it costs.
func TestPercentOfPrices(t *testing.T) {
	price := rapid.OneOf(rapid.Int64Range(-1, 5), rapid.Int64Range(0, 1_000_000_000_000), rapid.Int64Range(math.MaxInt64-3, math.MaxInt64))
	rapid.Check(t, func(t *rapid.T) {
		p := Prices{Input: max(0, price.Draw(t, "input")), CachedInput: price.Draw(t, "cached"), Output: max(0, price.Draw(t, "output")),
			Reasoning: price.Draw(t, "reasoning"), Embedding: price.Draw(t, "embedding"), Request: max(0, price.Draw(t, "request"))}
		n := rapid.IntRange(1, 10_000).Draw(t, "percent")
		got, from := p.Percent(n).Each(), p.Each()
		for i := range got {
			want := new(big.Int).Mul(big.NewInt(from[i]), big.NewInt(int64(n)))
			want.Add(want, big.NewInt(99)).Div(want, big.NewInt(100))
			if !want.IsInt64() {
				want.SetInt64(math.MaxInt64)
			}
			if got[i] != want.Int64() {
				t.Fatalf("%d %% of %d is %d, want %v", n, from[i], got[i], want)
			}
		}
		if p.Percent(100).Each() != from {
			t.Fatalf("all of %+v is %+v", p, p.Percent(100))
		}
	})
}
