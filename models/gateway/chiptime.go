package gateway

import (
	"sync"
	"time"

	"github.com/triarch-ai/triarch/models/engine"
)

// chipTime shares out the time of one replica's chips among the requests it works on.
//
// At every moment the chips belong in equal parts to the requests that run there from here: of n requests each is given
// an nth of the replica's chips for as long as they are n. A request alone is given all of them, and when none runs the
// time is nobody's, so that the sum over all requests never exceeds wall time times chips. What equal parts leave over
// in nanoseconds is shared out in the next interval, and what is less than a millisecond goes to a later request.
//
// A replica that several gateways use is divided by their number first: none knows what the others run there. The
// sum over all gateways then stays below wall time times chips as well, and is too small while some of them are idle.
type chipTime struct {
	mu      sync.Mutex
	at      time.Time // of the last change
	running int64
	chips   int64
	each    int64 // nanoseconds of one chip that a request which ran from the beginning would have been given
	rest    int64 // nanoseconds that equal parts left over
	carry   int64 // nanoseconds less than a millisecond
}

// enter begins a request, and returns what leave needs.
func (c *chipTime) enter(now time.Time, chips, gateways int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass(now, gateways)
	c.running++
	c.chips = chips
	return c.each
}

// leave ends a request and returns the milliseconds of one chip that it was given.
func (c *chipTime) leave(now time.Time, entered, gateways int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass(now, gateways)
	c.running--
	got := c.each - entered + c.carry
	c.carry = got % int64(time.Millisecond)
	return got / int64(time.Millisecond)
}

// pass shares out the time since the last change.
func (c *chipTime) pass(now time.Time, gateways int64) {
	if d := int64(min(now.Sub(c.at), maxInterval)); d > 0 && c.running > 0 {
		c.rest += d * c.chips / gateways
		c.each += c.rest / c.running
		c.rest %= c.running
	}
	if c.running == 0 || now.After(c.at) { // a clock that goes back gives nothing twice
		c.at = now
	}
}

// spell is a request's time on a replica. The zero value is none.
type spell struct {
	of      *chipTime
	entered int64
	chip    string
	millis  int64
}

// Bounds that keep products of both within 63 bits.
const (
	maxInterval = 24 * time.Hour
	maxChips    = 1 << 16
)

// cpu is the class of a replica that was given no chips: its machine's processor counts as one.
const cpu = "cpu"

func (g *Gateway) begin(c *chipTime, to *engine.Endpoint) spell {
	chip := to.Chip
	if chip == "" {
		chip = cpu
	}
	return spell{of: c, entered: c.enter(g.Now(), int64(min(max(to.Chips, 1), maxChips)), g.gateways()), chip: chip}
}

// end ends the spell, once.
func (s *spell) end(f *flight) {
	if s.of != nil {
		s.millis = s.of.leave(f.clock(), s.entered, f.gateways())
		s.of = nil
	}
}

func (g *Gateway) gateways() int64 {
	if g.Gateways == nil {
		return 1
	}
	return max(g.Gateways(), 1)
}
