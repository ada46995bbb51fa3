package gateway

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However requests come and go, what they are given never exceeds the time in which any ran times the chips, and is less
// by no more than what is not shared out yet.
func TestChipTimeIsSharedOutOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, now := new(chipTime), time.Unix(1_800_000_000, 0)
		chips, gateways := rapid.Int64Range(1, 9).Draw(t, "chips"), rapid.Int64Range(1, 4).Draw(t, "gateways")
		var open []int64
		var busy, given int64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			d := rapid.OneOf(rapid.Int64Range(0, 50), rapid.Int64Range(0, int64(time.Second))).Draw(t, "pause")
			if len(open) > 0 {
				busy += d
			}
			now = now.Add(time.Duration(d))
			if len(open) == 0 || rapid.Bool().Draw(t, "begin") {
				open = append(open, c.enter(now, chips, gateways))
				continue
			}
			i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			millis := c.leave(now, open[i], gateways)
			if millis < 0 {
				t.Fatal("less than nothing")
			}
			given += millis
			open = append(open[:i], open[i+1:]...)
		}
		for _, e := range open {
			given += c.leave(now, e, gateways)
		}
		whole := busy * chips / gateways
		if ns := given * int64(time.Millisecond); ns > whole || ns < whole-int64(2*time.Millisecond) {
			t.Fatalf("given %d ms of %d ns", given, whole)
		}
	})
}

func TestChipTimeOfRequestsAtOnce(t *testing.T) {
	c, now := new(chipTime), time.Unix(1_800_000_000, 0)
	after := func(ms int) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	a := c.enter(after(0), 8, 1)
	b := c.enter(after(100), 8, 1)
	if got := c.leave(after(300), a, 1); got != 8*100+8*200/2 {
		t.Errorf("the first was given %d", got)
	}
	if got := c.leave(after(350), b, 1); got != 8*200/2+8*50 {
		t.Errorf("the second was given %d", got)
	}
	d := c.enter(after(1000), 8, 1)
	if got := c.leave(after(900), d, 1); got != 0 { // the clock went back
		t.Errorf("nothing passed, and %d was given", got)
	}
}

func BenchmarkChipTime(b *testing.B) {
	c, now := new(chipTime), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		c.leave(now, c.enter(now, 8, 1), 1)
	}
}
