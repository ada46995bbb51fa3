package plan

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Trial is how a forecaster did on the second half of the record, learning from the first alone: what the replays of its
// demands gave against what the replay of the real one gave, on the first fleet. A figure of the forecaster is the middle one of its demands.
type Trial struct {
	Forecast string  `json:"forecast"`
	Use      Spread  `json:"use_percent"`
	RealUse  float64 `json:"real_use_percent"`
	Wait     Spread  `json:"mean_wait_s"`
	RealWait float64 `json:"real_mean_wait_s"`
	P90      Spread  `json:"p90_wait_s"`
	RealP90  float64 `json:"real_p90_wait_s"`
	// Score is less where it did better: the continuous ranked probability score of use in tens of points plus that of the
	// logarithm of mean waiting, waits below ten minutes counted as that; half of it of the whole fleet, half of the sites by
	// their jobs. For a forecast without spread it is the plain error.
	Score  float64     `json:"score"`
	Held   float64     `json:"held"` // of the uses and mean waits of sites, the part that came to lie from P10 to P90; 0.8 is right
	Chosen bool        `json:"chosen,omitempty"`
	Sites  []TrialSite `json:"sites"`
}

// TrialSite is one site of a Trial.
type TrialSite struct {
	Name     string  `json:"name"`
	Jobs     float64 `json:"jobs"` // real ones
	Use      Spread  `json:"use_percent"`
	RealUse  float64 `json:"real_use_percent"`
	Wait     Spread  `json:"mean_wait_s"`
	RealWait float64 `json:"real_mean_wait_s"`
}

// Hindsight forecasts what followed the record, by the forecaster that is named or by all where none is, and holds it against
// what came: jobs submitted in [o.To, to). The record stays what precedes both. Only the first fleet is replayed.
func Hindsight(ctx context.Context, o Options, came []trace.Job, to time.Duration) ([]Trial, error) {
	only := o.Forecast
	p, err := newPlanner(ctx, o)
	if err != nil {
		return nil, err
	}
	list := forecasters
	if only != "" {
		list = []Forecaster{p.by}
	}
	p.all = len(list)*p.o.Replicas + 1
	all := append(slices.Clone(p.rec.jobs), within(came, p.rec.to, to)...)
	return p.trials(list, p.rec, &course{all, p.rec.to, to})
}

// backtest tries all forecasters and, where that is asked for, takes the best.
func (p *planner) backtest() error {
	middle := p.rec.from + p.rec.length()/2
	first, err := newRecord(p.rec.jobs, p.rec.from, middle)
	if err != nil {
		return fault.Wrap(err, "trying the forecasters on the record's halves")
	}
	p.all += len(forecasters)*p.o.Replicas + 1
	trials, err := p.trials(forecasters, first, &course{p.rec.jobs, middle, p.rec.to})
	if err != nil {
		return err
	}
	best := 0 // of those that have a spread: a plan without one tells less than it seems to
	for i := range trials {
		if forecasters[i].block > 0 && trials[i].Score < trials[best].Score {
			best = i
		}
	}
	trials[best].Chosen = true
	p.out.Backtest = trials
	if p.o.Forecast == "auto" {
		p.by = forecasters[best]
	}
	return nil
}

// trials forecasts what follows the record with every forecaster of a list and holds it against what came.
func (p *planner) trials(list []Forecaster, rec *record, came *course) ([]Trial, error) {
	fl := p.o.Fleets[0]
	real, err := p.run(came, fl.Fleet, p.o.Seed, "what came")
	if err != nil {
		return nil, err
	}
	var out []Trial
	for _, f := range list {
		var runs []*measured
		for r := range p.o.Replicas {
			if r > 0 && f.block == 0 { // it draws nothing
				p.all -= p.o.Replicas - 1
				break
			}
			jobs, err := f.draw(rec, came.to-came.from, 1, p.seed(r))
			if err != nil {
				return nil, err
			}
			m, err := p.run(&course{joined(rec.jobs, jobs), came.from, came.to}, fl.Fleet, p.seed(r), "forecast by "+f.Name)
			if err != nil {
				return nil, fmt.Errorf("forecast by %s: %w", f.Name, err)
			}
			runs = append(runs, m)
		}
		out = append(out, trial(f.Name, runs, real))
	}
	return out, nil
}

func trial(name string, runs []*measured, real *measured) Trial {
	over := func(of func(*measured) float64) Spread {
		var v []float64
		for _, m := range runs {
			v = append(v, of(m))
		}
		return spread(v)
	}
	use := func(m *measured) float64 { u := m.sum(); return percent(u.busy, u.up) }
	t := Trial{Forecast: name, Use: over(use), RealUse: use(real), Wait: over(func(m *measured) float64 { return m.mean }), RealWait: real.mean,
		P90: over(func(m *measured) float64 { return m.p90 }), RealP90: real.p90}
	all, sites, held := 0.0, 0.0, 0.0
	for i, s := range real.sites {
		if s.Jobs == 0 {
			continue
		}
		u, w := func(m *measured) float64 { return m.sites[i].UsePercent }, func(m *measured) float64 { return m.sites[i].MeanWaitS }
		site := TrialSite{Name: s.Name, Jobs: s.Jobs, Use: over(u), RealUse: s.UsePercent, Wait: over(w), RealWait: s.MeanWaitS}
		sites += s.Jobs * missed(runs, real, u, w)
		held += site.Use.holds(site.RealUse) + site.Wait.holds(site.RealWait)
		all += s.Jobs
		t.Sites = append(t.Sites, site)
	}
	t.Held = per(held, 2*float64(len(t.Sites)))
	t.Score = missed(runs, real, use, func(m *measured) float64 { return m.mean })/2 + per(sites, all)/2
	return t
}

// holds is 1 where a figure lies from P10 to P90, else 0.
func (s Spread) holds(v float64) float64 {
	if v >= s.P10 && v <= s.P90 {
		return 1
	}
	return 0
}

// missed is the score of forecasts of use in percent and of mean waiting in seconds.
func missed(runs []*measured, real *measured, use, wait func(*measured) float64) float64 {
	const least = 600
	var u, w []float64
	for _, m := range runs {
		u, w = append(u, use(m)/10), append(w, math.Log(max(wait(m), least)))
	}
	return crps(u, use(real)/10) + crps(w, math.Log(max(wait(real), least)))
}

// crps is the continuous ranked probability score of a sample for what came: the mean distance to it less half of the mean
// distance within the sample (Gneiting and Raftery, JASA 2007), in the form that is fair to small samples.
func crps(sample []float64, came float64) float64 {
	n := float64(len(sample))
	var to, within float64
	for i, x := range sample {
		to += math.Abs(x-came) / n
		for _, y := range sample[:i] {
			within += math.Abs(x - y)
		}
	}
	if n < 2 {
		return to
	}
	return to - within/(n*(n-1))
}
