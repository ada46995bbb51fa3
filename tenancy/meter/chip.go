package meter

import (
	"maps"
	"math"
	"math/bits"
	"sync/atomic"
)

// ChipPrice is what an hour of one chip of a class costs the operator.
type ChipPrice struct {
	Chip       string
	HourMicros int64 // micro-units
}

// ChipPrices is what chips cost now, for the gateway's hot path. The zero value knows no price: everything costs nothing.
// It is safe for concurrent use.
type ChipPrices struct {
	now atomic.Pointer[map[string]int64]
}

// Set replaces all prices and says whether any is another than before. What is booked already keeps its cost.
func (c *ChipPrices) Set(prices []ChipPrice) (changed bool) {
	m := make(map[string]int64, len(prices))
	for _, p := range prices {
		m[p.Chip] = p.HourMicros
	}
	old := c.now.Swap(&m)
	return old == nil && len(m) > 0 || old != nil && !maps.Equal(*old, m)
}

// Of is what an hour of one chip of a class costs; false where it has no price.
func (c *ChipPrices) Of(chip string) (micros int64, ok bool) {
	if m := c.now.Load(); m != nil {
		micros, ok = (*m)[chip]
	}
	return micros, ok
}

// Cost is what so many milliseconds of one chip of a class cost, in thousandths of a micro-unit, rounded down. A class
// without a price costs nothing.
func (c *ChipPrices) Cost(chip string, millis int64) int64 {
	if c == nil {
		return 0
	}
	m := c.now.Load()
	if m == nil {
		return 0
	}
	hi, lo := bits.Mul64(natural(millis), natural((*m)[chip]))
	const perMilli = 3600 // milliseconds of an hour, divided by the thousandths of a micro-unit
	if hi >= perMilli {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, perMilli)
	return int64(min(q, math.MaxInt64))
}
