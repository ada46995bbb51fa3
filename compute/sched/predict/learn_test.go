package predict

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Durations change their law twice; the quantiles given at arrival and at an age of one hour still hold as often as they
// say.
func TestQuantilesHoldThoughTheWorldChanges(t *testing.T) {
	b := New(Options{})
	r := rand.New(rand.NewPCG(1, 2))
	law := func(i int) int64 {
		switch {
		case i < 2000:
			return int64(10+r.ExpFloat64()*60) * minute
		case i < 4000:
			return int64(200+r.IntN(600)) * minute
		}
		return int64(10+r.IntN(90)+r.IntN(2)*600) * minute
	}
	var hit, aged [3]int
	var n, m int
	now := int64(0)
	for i := range 6000 {
		now += 10 * minute
		id := fmt.Sprint(i)
		must(t, b.Arrive(id, Features{Chips: 1}, now))
		must(t, b.Start(id, 0, 0, now))
		lasting := law(i)
		count := func(hit *[3]int, n *int, age int64) {
			e := estimate(t, b, id, age)
			*n++
			for k, q := range []int64{e.P10, e.P50, e.P90} {
				if lasting-age <= q {
					hit[k]++
				}
			}
		}
		count(&hit, &n, 0)
		if lasting > 61*minute {
			b.Advance(now + 61*minute)
			count(&aged, &m, 61*minute)
		}
		must(t, b.Finish(id, lasting, now+lasting))
		now += lasting
	}
	for name, c := range map[string][3]float64{
		"arrival":  {share(hit[0], n), share(hit[1], n), share(hit[2], n)},
		"one hour": {share(aged[0], m), share(aged[1], m), share(aged[2], m)},
	} {
		if c[0] < 5 || c[0] > 15 || c[1] < 45 || c[1] > 55 || c[2] < 85 || c[2] > 95 {
			t.Errorf("at %s P10, P50 and P90 cover %.1f, %.1f and %.1f %%", name, c[0], c[1], c[2])
		}
	}
}

func share(part, all int) float64 { return 100 * float64(part) / float64(all) }

func TestUserAndNameTellMoreThanSize(t *testing.T) {
	b := New(Options{})
	now := int64(0)
	lasting := map[string]int64{"ann": 10 * minute, "bob": 20 * hour}
	for i := range 60 {
		for _, user := range []string{"ann", "bob"} {
			for _, name := range []string{"train", "tune"} {
				d := lasting[user]
				if name == "tune" {
					d *= 3
				}
				now += hour
				must(t, b.Observe(Features{User: user, Name: name, Chips: 1}, d+int64(i)*second, now))
			}
		}
	}
	near := func(f Features, want int64) {
		t.Helper()
		id := fmt.Sprint(f)
		must(t, b.Arrive(id, f, now))
		if e := estimate(t, b, id, 0); e.P50 < want*2/3 || e.P50 > want*3/2 {
			t.Errorf("%+v: the median is %d min, not about %d", f, e.P50/minute, want/minute)
		}
	}
	near(Features{User: "ann", Name: "train", Chips: 1}, 10*minute)
	near(Features{User: "bob", Name: "train", Chips: 1}, 20*hour)
	near(Features{User: "ann", Name: "tune", Chips: 8}, 30*minute) // of a size never seen
	must(t, b.Arrive("who", Features{User: "ann", Chips: 1}, now))
	if e := estimate(t, b, "who", 0); e.P90 > 2*hour {
		t.Errorf("ann has run for half an hour at most, and the next is given %d min", e.P90/minute)
	}
}

func TestOldDurationsFade(t *testing.T) {
	b, now := told(t, 100, hour)
	b.Advance(now + 300*day)
	now += 300 * day
	for i := range 10 {
		id := fmt.Sprint("new", i)
		now += hour
		must(t, b.Arrive(id, Features{Chips: 1}, now))
		must(t, b.Start(id, 0, 0, now))
		must(t, b.Finish(id, 8*hour, now+8*hour))
		now += 8 * hour
	}
	must(t, b.Arrive("next", Features{Chips: 1}, now+hour))
	if e := estimate(t, b, "next", 0); e.P50 < 6*hour {
		t.Errorf("ten jobs of eight hours lately, a hundred of one a year ago: the median is %d min", e.P50/minute)
	}
}

func TestHistoriesAreBounded(t *testing.T) {
	b := New(Options{Contexts: 50})
	now := int64(0)
	for i := range 5000 {
		now += minute
		must(t, b.Observe(Features{User: fmt.Sprint("user", i), Name: fmt.Sprint("name", i%700), Chips: 1}, hour, now))
	}
	now += day
	b.Advance(now)
	if n := len(b.histories); n > 50 {
		t.Errorf("%d histories are kept", n)
	}
	if n := len(b.kinds); n > 1 {
		t.Errorf("%d kinds are kept though no job is there", n)
	}
	must(t, b.Arrive("next", Features{Chips: 1}, now))
	if e := estimate(t, b, "next", 0); e.P50 < 50*minute || e.P50 > 70*minute {
		t.Errorf("what all jobs have in common was forgotten: the median is %d min", e.P50/minute)
	}
}

func TestRuleKeepsSmallDifferencesAndLongWaits(t *testing.T) {
	r := Rule{Margin: 300, Aging: 10 * day}
	e := Estimate{Rank: 13_000}
	if got := r.Running(e, 0); got != 10_000 {
		t.Errorf("a running job of rank 13,000 has key %d", got)
	}
	if got := r.Waiting(e, 8, 30, 0); got != 13_240 {
		t.Errorf("eight chips that lose 30 ms each have key %d", got)
	}
	if got := r.Waiting(e, 1, 0, 10*day); got != 6_500 {
		t.Errorf("after ten days of waiting the key is %d", got)
	}
	if got := (Rule{}).Waiting(e, 1, 0, day); got != e.Rank {
		t.Errorf("without ageing the key is %d", got)
	}
	huge := Rule{Margin: 1 << 62, Aging: 1 << 62}
	if got := huge.Waiting(Estimate{Rank: 1 << 55}, mostChips, 1<<62, 1<<62); got < 0 {
		t.Errorf("great figures give the key %d", got)
	}
	if got := huge.Running(e, 1<<62); got != 0 {
		t.Errorf("a margin beyond all bounds gives the key %d", got)
	}
}

func TestWrongTellingIsRefused(t *testing.T) {
	b := New(Options{})
	must(t, b.Arrive("a", Features{Chips: 1}, hour))
	for what, err := range map[string]error{
		"twice":      b.Arrive("a", Features{Chips: 1}, hour),
		"chips":      b.Arrive("b", Features{Chips: -1}, hour),
		"many chips": b.Arrive("b", Features{Chips: mostChips + 1}, hour),
		"long name":  b.Arrive("b", Features{Name: strings.Repeat("x", 300)}, hour),
		"start":      b.Start("c", 0, 0, hour),
		"stop":       b.Stop("c", 0, hour),
		"finish":     b.Finish("c", 0, hour),
		"forget":     b.Forget("c", hour),
		"observe":    b.Observe(Features{Chips: -1}, hour, hour),
	} {
		if fault.As(err) == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, ok := b.Estimate("c", 0); ok {
		t.Error("a job that never came has an estimate")
	}
	if _, ok := b.Rank("c", 0); ok {
		t.Error("a job that never came has a rank")
	}
	if b.Jobs() != 1 {
		t.Errorf("%d jobs", b.Jobs())
	}
	must(t, b.Forget("a", 0)) // an earlier time counts as the latest told
	if b.Jobs() != 0 || b.now != hour {
		t.Errorf("%d jobs at %d", b.Jobs(), b.now)
	}
}

func TestGreatTimesDoNoHarm(t *testing.T) {
	b := New(Options{Gap: 1 << 62, HalfLife: 1 << 62, Contexts: 1 << 62})
	const huge = 1<<63 - 1
	must(t, b.Arrive("a", Features{Chips: mostChips}, huge))
	must(t, b.Start("a", huge, huge, huge))
	must(t, b.Arrive("b", Features{Chips: mostChips}, -huge))
	for _, age := range []int64{-huge, 0, longest, huge} {
		if e := estimate(t, b, "b", age); e.P10 < 0 || e.P90 < e.P10 || e.Rank < 0 {
			t.Errorf("at %d: %+v", age, e)
		}
	}
	must(t, b.Stop("a", -huge, huge))
	must(t, b.Finish("a", huge, huge))
	data, _ := b.MarshalBinary()
	if _, err := Read(data); err != nil {
		t.Error(err)
	}
}
