package predict

import (
	"fmt"
	"testing"
)

// told is a book that has seen n jobs of one size last so long each, an hour apart.
func told(t testing.TB, n int, lasting int64) (*Book, int64) {
	t.Helper()
	b := New(Options{})
	now := int64(0)
	for i := range n {
		now += hour
		id := fmt.Sprint("past", i)
		must(t, b.Arrive(id, Features{Chips: 1}, now))
		must(t, b.Start(id, 0, 0, now))
		must(t, b.Finish(id, lasting, now+lasting))
		now += lasting
	}
	return b, now
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func estimate(t testing.TB, b *Book, id string, age int64) Estimate {
	t.Helper()
	e, ok := b.Estimate(id, age)
	if !ok {
		t.Fatalf("no estimate for %s", id)
	}
	return e
}

func TestPastJobsSpeakForTheNext(t *testing.T) {
	b, now := told(t, 100, hour)
	must(t, b.Arrive("next", Features{Chips: 1}, now+hour))
	e := estimate(t, b, "next", 0)
	if e.P50 < 50*minute || e.P50 > 70*minute {
		t.Errorf("after 100 jobs of one hour the median is %d min", e.P50/minute)
	}
	if e.P10 > e.P50 || e.P50 > e.P90 {
		t.Errorf("quantiles out of order: %+v", e)
	}
	if later := estimate(t, b, "next", 30*minute); later.Rank >= e.Rank {
		t.Errorf("half-way through, the rank is %d, not below %d", later.Rank, e.Rank)
	}
	if outrun := estimate(t, b, "next", 3*hour); outrun.Rank <= e.Rank {
		t.Errorf("a job that outran all before it has rank %d, not above %d", outrun.Rank, e.Rank)
	}
}

func TestRunningMatesSpeakForThoseThatWait(t *testing.T) {
	b, now := told(t, 100, hour)
	for i := range 10 {
		must(t, b.Arrive(fmt.Sprint("sweep", i), Features{Chips: 1}, now+hour))
	}
	must(t, b.Arrive("other", Features{Chips: 1}, now+2*hour))
	for i := range 5 {
		must(t, b.Start(fmt.Sprint("sweep", i), 0, 0, now+2*hour))
	}
	b.Advance(now + 12*hour)
	mate, other := estimate(t, b, "sweep9", 0), estimate(t, b, "other", 0)
	if mate.P50 < 5*hour || mate.P50 < 3*other.P50 {
		t.Errorf("five of the sweep run for ten hours; the median of a sixth is %d min, of another job %d min",
			mate.P50/minute, other.P50/minute)
	}
	must(t, b.Finish("sweep0", 11*hour, now+13*hour))
	mate = estimate(t, b, "sweep9", 0)
	if mate.P50 < 9*hour || mate.P50 > 14*hour {
		t.Errorf("one of the sweep lasted 11 hours; the median of the next is %d min", mate.P50/minute)
	}
}

func TestRankCountsChips(t *testing.T) {
	b := New(Options{})
	must(t, b.Arrive("one", Features{Chips: 1}, 0))
	must(t, b.Arrive("eight", Features{Chips: 8}, 0))
	one, eight := estimate(t, b, "one", 0), estimate(t, b, "eight", 0)
	if eight.Rank != 8*one.Rank || one.Index != eight.Index {
		t.Errorf("without any history eight chips rank %d, one %d", eight.Rank, one.Rank)
	}
}
