package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/plan"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// The two months of the trace, from its beginning.
const month = 30 * 24 * time.Hour

// own and rent are two ways of having chips. Who says what: docs/plan.md.
const (
	own = `name: own
currency: USD
electricity: {price: 0.15, pue: 1.58}
staff: 400000
chips:
  nvidia-h100-sxm: {buy: {price: 38750, years: 4, residual: 0.1, financing: 0.06}, power: 1275, idle_power: 400, space: 900}
`
	rented = "name: rent\ncurrency: USD\nchips: {nvidia-h100-sxm: {rent: 2.5}}\n"
)

// plan learns from the first month, chooses a forecaster on it alone, forecasts the second, and compares three purchases.
func (r *rig) plan(ctx context.Context) error {
	o, all, err := r.planOptions()
	if err != nil {
		return err
	}
	began := time.Now()
	fleets := o.Fleets
	o.Fleets = fleets[:1]
	o.Backtest, o.Forecast = true, "auto"
	out, err := plan.Run(ctx, o)
	if err != nil {
		return err
	}
	r.trials("month one, its second half from its first", out.Backtest, out.Forecast)
	o.Backtest, o.Forecast = false, ""
	trials, err := plan.Hindsight(ctx, o, all, 2*month)
	if err != nil {
		return err
	}
	r.trials("month two from month one", trials, out.Forecast)
	chosen := trials[slices.IndexFunc(trials, func(t plan.Trial) bool { return t.Forecast == out.Forecast })]
	for _, s := range chosen.Sites {
		r.told("  "+s.Name, "%.0f jobs: use %.1f %% (%.1f to %.1f), really %.1f %%; mean waiting %.0f s (%.0f to %.0f), really %.0f s", s.Jobs, s.Use.P50, s.Use.P10, s.Use.P90, s.RealUse, s.Wait.P50, s.Wait.P10, s.Wait.P90, s.RealWait)
	}
	_ = r.out.Flush()
	return r.purchases(ctx, o, fleets, out.Forecast, all, began)
}

// purchases compares three with the fleet as it is, and each with what month two really brought.
func (r *rig) purchases(ctx context.Context, o plan.Options, fleets []plan.Fleet, forecast string, all []trace.Job, began time.Time) error {
	o.Fleets, o.Forecast, o.Next = fleets, forecast, 1
	out, err := plan.Run(ctx, o)
	if err != nil {
		return err
	}
	for _, t := range out.Tables() {
		fmt.Fprintf(r.out, "\n%s\n\n%s\n", t.Title, strings.Join(t.Heads, "\t"))
		for _, row := range t.Rows {
			fmt.Fprintln(r.out, strings.Join(row, "\t"))
		}
	}
	fmt.Fprintln(r.out)
	for _, s := range out.Assumed {
		fmt.Fprintln(r.out, s)
	}
	var waits []float64
	for _, f := range fleets {
		o.Fleets = []plan.Fleet{f}
		t, err := plan.Hindsight(ctx, o, all, 2*month)
		if err != nil {
			return err
		}
		waits = append(waits, t[0].RealWait)
		r.told(f.Name+" in month two", "mean waiting forecast %.0f s (%.0f to %.0f), really %.0f s", t[0].Wait.P50, t[0].Wait.P10, t[0].Wait.P90, t[0].RealWait)
	}
	best := slices.Index(waits, slices.Min(waits))
	told := slices.IndexFunc(out.Scenarios, func(s plan.Scenario) bool {
		return s.Points[0].MeanWaitS.Mean == slices.MinFunc(out.Scenarios, func(a, b plan.Scenario) int {
			return int(a.Points[0].MeanWaitS.Mean - b.Points[0].MeanWaitS.Mean)
		}).Points[0].MeanWaitS.Mean
	})
	r.row("the purchase that shortens waiting most is the one that really does", out.Scenarios[told].Fleet, fleets[best].Name, out.Scenarios[told].Fleet == fleets[best].Name)
	r.told("took", "%s", time.Since(began).Round(time.Second))
	if r.page == "" {
		return nil
	}
	f, err := os.Create(r.page)
	if err != nil {
		return err
	}
	if err := out.Page(f, "ITP: three purchases"); err != nil {
		return err
	}
	return f.Close()
}

// trials prints how forecasters did.
func (r *rig) trials(what string, trials []plan.Trial, chosen string) {
	for _, t := range trials {
		name := t.Forecast
		if name == chosen {
			name += " (chosen)"
		}
		r.told(what+": "+name, "use %.1f %% (%.1f to %.1f), really %.1f %%; mean waiting %.0f s (%.0f to %.0f), really %.0f s; p90 %.0f s, really %.0f s; score %.3f, held %.0f %%",
			t.Use.P50, t.Use.P10, t.Use.P90, t.RealUse, t.Wait.P50, t.Wait.P10, t.Wait.P90, t.RealWait, t.P90.P50, t.RealP90, t.Score, 100*t.Held)
	}
}

// planOptions are the first month of the trace, the fleet as it is with three purchases, and two price sets.
func (r *rig) planOptions() (o plan.Options, all []trace.Job, err error) {
	in, err := os.Open(filepath.Join(r.traces, "itp", "itp_jobs.csv.gz"))
	if err != nil {
		return o, nil, err
	}
	defer in.Close()
	if all, _, err = trace.Read(in, trace.Options{}); err != nil {
		return o, nil, err
	}
	first := slices.IndexFunc(all, func(j trace.Job) bool { return j.Submit >= month })
	o = plan.Options{Jobs: all[:first], To: month, Seed: 1, Replicas: r.replicas, WaitPrice: 5, Window: month, Warm: 7 * 24 * time.Hour}
	for _, text := range []string{own, rented} {
		p, err := plan.ReadPrices(strings.NewReader(text), "price set")
		if err != nil {
			return o, nil, err
		}
		o.Prices = append(o.Prices, p)
	}
	for _, f := range []struct {
		name string
		more map[int]int // nodes by cluster
	}{{"as is", nil}, {"4 at c5", map[int]int{5: 4}}, {"4 at c3", map[int]int{3: 4}}, {"1 each at c1, c2, c3, c7", map[int]int{1: 1, 2: 1, 3: 1, 7: 1}}} {
		sizes := slices.Clone(clusters)
		for c, n := range f.more {
			sizes[c-1] += n
		}
		made, err := itpSized(sizes)
		if err != nil {
			return o, nil, err
		}
		made.Chips[0].Name = "nvidia-h100-sxm"
		o.Fleets = append(o.Fleets, plan.Fleet{Name: f.name, Fleet: made})
	}
	return o, all, nil
}

func itpSized(sizes []int) (*fleet.Fleet, error) {
	var names []string
	for i := range sizes {
		names = append(names, fmt.Sprintf("cluster%02d", i+1))
	}
	return fleet.Isolated(names, sizes, 8)
}
