package plan

import (
	"fmt"
	"strconv"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
)

// scenario replays fleet f under price set s at every time of the growth.
func (p *planner) scenario(f, s int) error {
	fl, set := p.o.Fleets[f], p.o.Prices[s]
	fit, err := set.fit(fl.Fleet, p.known, p.assume)
	if err != nil {
		return err
	}
	sc := Scenario{Name: fl.Name + ", " + set.Name, Fleet: fl.Name, Prices: set.Name, Nodes: len(fl.Nodes), Chips: fl.TotalChips(), fleet: f, prices: s}
	sc.Outlay, sc.life, sc.interest = fit.outlay(fl.Fleet)
	runs := fit.interrupted(fl.Fleet)
	for _, at := range p.o.Growth.points() {
		point := Point{Years: years(at), Factor: p.o.Growth.at(at)}
		point.Load = p.load(point.Factor, fl.Fleet)
		point.Overload = point.Load > MaxLoad
		for r := range p.o.Replicas {
			if point.Overload {
				point.runs = append(point.runs, p.full(fl.Fleet))
				continue
			}
			m, err := p.replay(p.key(strconv.Itoa(f), fit), runs, at, r, fl.Name)
			if err != nil {
				return err
			}
			point.runs = append(point.runs, m)
		}
		p.figures(&point, fit, fl.Fleet)
		sc.Points = append(sc.Points, point)
	}
	p.out.Scenarios = append(p.out.Scenarios, sc)
	return nil
}

// load is what is asked of a fleet's chips, as a multiple of them.
func (p *planner) load(factor float64, f *fleet.Fleet) float64 {
	hours := 0.0
	for i := range p.rec.jobs {
		hours += float64(p.rec.jobs[i].Service()) / 3.6e6
	}
	return factor * per(hours, p.rec.length().Hours()*float64(f.TotalChips()))
}

// full stands for the replay of an overload: every chip is in use, and of waiting nothing is known but that it has no end.
func (p *planner) full(f *fleet.Fleet) *measured {
	p.assume(fmt.Sprintf("Where more than %g times its chips are asked of a fleet it is not replayed: all of it counts as used, and waiting has no end.", MaxLoad))
	return standing(f, p.o.Window, 1)
}

// rates are the tokens a second of each chip of a fleet, and whether all that it has are known.
func (p *planner) rates(f *fleet.Fleet) ([]float64, bool) {
	rates := make([]float64, len(f.Chips))
	all := len(p.o.Tokens) > 0
	for i := range f.Nodes {
		if c := f.Nodes[i].Chip; c >= 0 {
			rates[c] = p.o.Tokens[f.Chips[c].Name]
			all = all && rates[c] > 0
		}
	}
	return rates, all
}

// figures makes a point of its replays.
func (p *planner) figures(pt *Point, fit *priced, f *fleet.Fleet) {
	n := len(pt.runs)
	col := map[string][]float64{}
	add := func(name string, v float64) { col[name] = append(col[name], v) }
	rates, tokens := p.rates(f)
	energy := true
	for _, m := range pt.runs {
		u := m.sum()
		bill, kwh := fit.bill(m)
		part := m.window.Hours() / hoursOfYear // of a year
		wait := m.waited / part * p.o.WaitPrice
		cost := bill.Total()
		pt.bills, pt.waitCost = append(pt.bills, bill), append(pt.waitCost, wait)
		pt.Parts = pt.Parts.plus(bill, 1/float64(n))
		useful := u.busy * m.useful
		add("jobs", float64(m.jobs))
		add("refused", float64(m.refused))
		add("unfinished", float64(m.unfinished))
		add("use", percent(u.busy, u.up))
		add("useful", percent(useful, u.up))
		add("mean", m.mean)
		add("p50", m.p50)
		add("p90", m.p90)
		add("p99", m.p99)
		add("waited", m.waited/part)
		add("cost", cost)
		add("waitcost", wait)
		add("chiphour", per(cost*part, u.total))
		add("usefulhour", per(cost*part, useful))
		if energy = energy && kwh != nil; energy {
			add("energy", *kwh)
		}
		if tokens {
			made := 0.0
			for c := range m.chips {
				made += m.chips[c].busy * m.useful * 3600 * rates[c]
			}
			add("tokens", per(cost*part, made/1e6))
		}
	}
	pt.Jobs, pt.Refused, pt.Unfinished = spread(col["jobs"]), spread(col["refused"]), spread(col["unfinished"])
	pt.UsePercent, pt.UsefulPercent = spread(col["use"]), spread(col["useful"])
	pt.MeanWaitS, pt.P50WaitS, pt.P90WaitS, pt.P99WaitS = spread(col["mean"]), spread(col["p50"]), spread(col["p90"]), spread(col["p99"])
	pt.WaitYear, pt.Cost, pt.WaitCost = spread(col["waited"]), spread(col["cost"]), spread(col["waitcost"])
	pt.ChipHour, pt.UsefulHour = spread(col["chiphour"]), spread(col["usefulhour"])
	if energy {
		e := spread(col["energy"])
		pt.EnergyKWh = &e
	}
	if tokens {
		t := spread(col["tokens"])
		pt.MillionTokens = &t
	}
	pt.Sites = meanSites(pt.runs)
	if pt.Unfinished.Mean > 0 {
		p.assume(fmt.Sprintf("Where jobs had not ended %.0f days after the window they count as having waited until then, so the waiting told is the least it can be.",
			patience*p.o.Window.Hours()/24))
	}
	if pt.Refused.Mean > 0 {
		p.assume("Jobs that a fleet could never run are left out of its waiting.")
	}
}

func percent(part, whole float64) float64 { return 100 * per(part, whole) }

// per is a quotient, 0 where there is nothing to divide by.
func per(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// meanSites are the sites over all replicas.
func meanSites(runs []*measured) []Site {
	var out []Site
	n := float64(len(runs))
	for r, m := range runs {
		for i, s := range m.sites {
			if r == 0 {
				out = append(out, Site{Name: s.Name, Chips: s.Chips})
			}
			out[i].Jobs += s.Jobs / n
			out[i].UsePercent += s.UsePercent / n
			out[i].MeanWaitS += s.MeanWaitS / n
			out[i].P90WaitS += s.P90WaitS / n
		}
	}
	return out
}

func years(t time.Duration) float64 { return float64(t) / float64(year) }
