package plan

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

func theRecord(t *testing.T) *record {
	t.Helper()
	r, err := newRecord(record4(), 0, 28*day)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every way to draw gives jobs of the record, in order, in the time to come, the same for the same seed, and about as many as are
// expected of the factor.
func TestDrawsAreOfTheRecord(t *testing.T) {
	r := theRecord(t)
	kinds := map[[3]int64]bool{}
	for _, j := range r.jobs {
		kinds[[3]int64{int64(j.Chips), int64(j.Duration), int64(j.Cluster[0])}] = true
	}
	for _, f := range forecasters {
		for _, factor := range []float64{0.5, 1, 2.5} {
			n, seeds := 0, 6
			for seed := range seeds {
				jobs, err := f.draw(r, 14*day, factor, uint64(seed))
				if err != nil {
					t.Fatal(err)
				}
				again, _ := f.draw(r, 14*day, factor, uint64(seed))
				if diff := cmp.Diff(jobs, again); diff != "" {
					t.Fatalf("%s: %s", f.Name, diff)
				}
				last, ids := r.to, map[string]bool{}
				for _, j := range jobs {
					if j.Submit < last || j.Submit >= r.to+14*day || ids[j.ID] || !kinds[[3]int64{int64(j.Chips), int64(j.Duration), int64(j.Cluster[0])}] {
						t.Fatalf("%s: %+v after %s", f.Name, j, last)
					}
					last, ids[j.ID] = j.Submit, true
				}
				n += len(jobs)
			}
			got, want := float64(n)/float64(seeds), factor*float64(len(r.jobs))/2
			if f.level == levelMean && !f.shifts && math.Abs(got-want) > 0.25*want {
				t.Errorf("%s: %v jobs of factor %v, want about %v", f.Name, got, factor, want)
			}
		}
	}
}

// Days keep their weekday: what is never submitted on a weekend is not drawn there.
func TestDaysKeepTheirWeekday(t *testing.T) {
	r := theRecord(t)
	for _, name := range []string{"days", "weeks", "repeat", "days-by-cluster"} {
		f, err := forecasterNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(5) {
			jobs, err := f.draw(r, 21*day, 1, seed)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range jobs {
				if d, h := int(j.Submit/day)%7, j.Submit%day; d > 4 || h < 8*time.Hour || h > 20*time.Hour {
					t.Fatalf("%s: a job at %s on day %d of the week", name, h, d)
				}
			}
		}
	}
}

// A record whose weeks grow by a fifth each is expected to go on: by recent weeks above its mean, by the trend above these.
func TestLevelsFollowTheRecord(t *testing.T) {
	var jobs []trace.Job
	for h := range 28 * 24 {
		d := time.Duration(float64(time.Hour) * math.Pow(1.2, float64(h/168)))
		jobs = append(jobs, trace.Job{Spec: trace.Spec{ID: "j", Submit: time.Duration(h) * time.Hour, Chips: 1, Share: 1000}, Duration: d})
	}
	r := &record{jobs, 0, 28 * day}
	level := func(l level) float64 { return Forecaster{level: l}.levelOf(r, jobs, week) }
	mean := (1 + 1.2 + 1.44 + 1.728) / 4
	if got, want := level(levelRecent), (1+2*1.2+4*1.44+8*1.728)/15/mean; math.Abs(got-want) > 1e-6 {
		t.Errorf("recent weeks: %v, want %v", got, want)
	}
	if got, want := level(levelTrend), math.Pow(1.2, 0.5*2.5); math.Abs(got-want) > 1e-3 {
		t.Errorf("trend: %v, want %v", got, want)
	}
	if level(levelMean) != 1 {
		t.Error("the mean is not the mean")
	}
}

func TestGrowthReadsAndGrows(t *testing.T) {
	for text, want := range map[string]Growth{"10x/2y": {10, 2 * year}, "1.5x/6m": {1.5, year / 2}, "2x/10w": {2, 10 * week}, "0.5x/30d": {0.5, 30 * day}} {
		g, err := ParseGrowth(text)
		if err != nil || g != want {
			t.Errorf("%s: %+v, %v", text, g, err)
		}
		if again, err := ParseGrowth(g.String()); err != nil || again != g {
			t.Errorf("%s is written %s", text, g)
		}
	}
	for _, text := range []string{"", "10", "10x", "x/2y", "10x/", "10x/2", "-1x/2y", "nanx/2y", "infx/1y", "1e9x/2y", "2x/-1y", "2x/1d", "2x/900y", "0x/1y", "2x/NaNy"} {
		if g, err := ParseGrowth(text); err == nil {
			t.Errorf("%q is %+v", text, g)
		}
	}
	g := Growth{9, 2 * year}
	if math.Abs(g.at(year)-3) > 1e-9 || g.at(0) != 1 || g.at(5*year) != 9 || (Growth{}).at(year) != 1 {
		t.Error("growth is not by equal parts in equal times")
	}
}

// The score is that of the literature: the plain error of one value, and for a sample by hand.
func TestScoresByHand(t *testing.T) {
	for _, c := range []struct {
		sample []float64
		came   float64
		want   float64
	}{{[]float64{3}, 5, 2}, {[]float64{1, 3}, 2, 0}, {[]float64{1, 3}, 5, 3 - 1}, {[]float64{0, 1, 2}, 1, 2./3 - 4./6}} {
		if got := crps(c.sample, c.came); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v of %v: %v, want %v", c.sample, c.came, got, c.want)
		}
	}
}

// Levels shift by as much as the record's halves differ: by nothing where they are alike, in the mean not at all.
func TestLevelsShiftAsTheyDid(t *testing.T) {
	job := func(at time.Duration, chips int32) trace.Job {
		return trace.Job{Spec: trace.Spec{Submit: at, Chips: chips, Share: 1000}, Duration: time.Hour}
	}
	r := &record{nil, 0, 10 * day}
	for _, s := range shifts(r, [][]trace.Job{{job(0, 2), job(6*day, 2)}, {job(day, 1), job(9*day, 1)}}, 1) {
		if s != 1 {
			t.Errorf("a level that never changed shifts by %v", s)
		}
	}
	sum, squares, n := 0.0, 0.0, 4000.0
	for seed := range uint64(4000) {
		s := shifts(r, [][]trace.Job{{job(0, 2), job(6*day, 4)}}, seed)[0] // log 2
		sum, squares = sum+s/n, squares+math.Pow(math.Log(s), 2)/n
	}
	w := math.Log(2)
	if math.Abs(sum-1) > 0.05 || math.Abs(squares-(w*w+w*w*w*w/4)) > 0.06 {
		t.Errorf("mean %v, mean square of logarithms %v", sum, squares)
	}
}

// Auto takes the forecaster that did best on the second half, and says how all did.
func TestBacktestChoosesTheBest(t *testing.T) {
	out := planned(t, Options{Jobs: record4(), Fleets: []Fleet{sizedFleet(t, "now", 2, 2)}, Prices: []*Prices{prices(t, rentText)}, Forecast: "auto", Replicas: 2})
	if len(out.Backtest) != len(forecasters) {
		t.Fatalf("%d trials", len(out.Backtest))
	}
	for _, x := range out.Backtest {
		if x.Chosen != (x.Forecast == out.Forecast) || x.RealWait != out.Backtest[0].RealWait || x.Score < 0 || len(x.Sites) != 2 {
			t.Errorf("%+v", x)
		}
		for _, y := range out.Backtest {
			if x.Chosen && y.Score < x.Score && y.Forecast != "repeat" {
				t.Errorf("%s is chosen with %v, %s has %v", x.Forecast, x.Score, y.Forecast, y.Score)
			}
		}
	}
}

func TestTooMuchDemandIsRefused(t *testing.T) {
	if _, err := forecasters[0].draw(theRecord(t), 300*day, 1000, 1); !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}
