package kernel

import (
	"testing"
	"time"
)

func TestSpeedCountsTheOperationsOfItsProducts(t *testing.T) {
	at, calls := time.Unix(0, 0), 0
	now := func() time.Time { calls++; at = at.Add(time.Second); return at }
	if v := Speed(2, now); v != 2*768*768*768 {
		t.Errorf("a product in a second: %g operations a second", v)
	}
	if calls > 16 {
		t.Errorf("it went on for %d seconds", calls)
	}
}
