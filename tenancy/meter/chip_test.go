package meter

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestChipCost(t *testing.T) {
	var none *ChipPrices
	c := &ChipPrices{}
	if none.Cost("x", 5) != 0 || c.Cost("x", 5) != 0 {
		t.Error("without prices something costs")
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.Int64Range(-5, 1_000_000), rapid.Int64())
		millis, price := n.Draw(t, "millis"), n.Draw(t, "price")
		c.Set([]ChipPrice{{"x", price}})
		want := new(big.Int).Mul(big.NewInt(max(millis, 0)), big.NewInt(max(price, 0)))
		want.Div(want, big.NewInt(3600))
		if most := big.NewInt(math.MaxInt64); want.Cmp(most) > 0 {
			want = most
		}
		if got := c.Cost("x", millis); big.NewInt(got).Cmp(want) != 0 {
			t.Fatalf("%d ms at %d cost %d, want %s", millis, price, got, want)
		}
	})
	c.Set([]ChipPrice{{"h100", 3_600_000}})
	if got := c.Cost("h100", 1000); got != 1_000_000 { // an hour costs 3.6 units, a second 1000 micro-units
		t.Errorf("a second costs %d", got)
	}
	if c.Cost("other", 1000) != 0 {
		t.Error("a class without a price costs")
	}
}
