package plan

import (
	"math"
)

// PayBack is when a scenario has earned back what it takes more at the beginning than another, on the same demand: the
// first time at which what was saved since in running costs and waiting, discounted by the interest of the purchase, is
// that much. What it is sold for in the end does not count.
type PayBack struct {
	Scenario string   `json:"scenario"`
	Against  string   `json:"against"`
	Outlay   float64  `json:"outlay"`     // more than the other's
	Life     float64  `json:"life_years"` // the shortest of what is bought
	Saving   Spread   `json:"saving_year"`
	P10      *float64 `json:"p10_years"` // null: not within its life
	P50      *float64 `json:"p50_years"`
	P90      *float64 `json:"p90_years"`
	Within   float64  `json:"within_life"` // part of the demands with which it pays back
	Reason   string   `json:"reason,omitempty"`
}

// payBacks compares every fleet with the first under the same prices, and every purchase with renting the same fleet.
func (p *planner) payBacks() {
	sc := p.out.Scenarios
	for i := range sc {
		for k := range sc {
			other := sc[i].fleet != sc[k].fleet
			if other && sc[k].fleet == 0 && sc[i].prices == sc[k].prices || !other && sc[i].Outlay > sc[k].Outlay {
				p.out.PayBacks = append(p.out.PayBacks, payBack(&sc[i], &sc[k]))
			}
		}
	}
}

func payBack(b, a *Scenario) PayBack {
	out := PayBack{Scenario: b.Name, Against: a.Name, Outlay: b.Outlay - a.Outlay, Life: b.life}
	var at []float64
	var points []int // those of which both are known
	for i := range b.Points {
		if !a.Points[i].Overload && !b.Points[i].Overload {
			at, points = append(at, b.Points[i].Years), append(points, i)
		}
	}
	if len(points) == 0 || points[0] != 0 {
		out.Reason = "one of them is asked for more than it could ever do"
		return out
	}
	horizon := b.life
	if horizon == 0 {
		horizon = max(1, at[len(at)-1])
	}
	var first, found []float64
	for r := range b.Points[0].runs {
		var save []float64
		for _, i := range points {
			x, y := &a.Points[i], &b.Points[i]
			save = append(save, x.bills[r].running()-y.bills[r].running()+(x.waitCost[r]-y.waitCost[r])) // in this order nothing saved is exactly nothing
		}
		first = append(first, save[0])
		t := earned(out.Outlay, at, save, b.interest, horizon)
		found = append(found, t)
		if !math.IsInf(t, 1) {
			out.Within += 1 / float64(len(b.Points[0].runs))
		}
	}
	out.Saving = spread(first)
	if last := points[len(points)-1]; b.Points[last].Refused.Mean > a.Points[last].Refused.Mean {
		out.Within, out.Reason = 0, "it refuses jobs that the other runs"
		return out
	}
	s := spread(found)
	for _, q := range []struct {
		to **float64
		v  float64
	}{{&out.P10, s.P10}, {&out.P50, s.P50}, {&out.P90, s.P90}} {
		if !math.IsInf(q.v, 1) {
			*q.to = &q.v
		}
	}
	switch {
	case out.P50 != nil:
	case out.Saving.P90 <= 0 && out.Outlay > 0:
		out.Reason = "it saves nothing in a year"
	case out.Outlay <= 0:
		out.Reason = "it is not cheaper to run"
	default:
		out.Reason = "what it saves does not come to its price within its life"
	}
	return out
}

// earned is the time in years after which the savings, told at some times and taken as a straight line between them,
// discounted, come to the outlay; infinite if that is not within the horizon. Where nothing is paid it is when what was lost at first
// is earned back, at once if nothing was, and infinite if nothing is saved in all.
func earned(outlay float64, at, save []float64, interest, horizon float64) float64 {
	const steps = 24 // a year
	left, total, even := outlay, 0.0, 0.0
	for i := 0; float64(i)/steps < horizon-1e-9; i++ {
		t0 := float64(i) / steps
		t1 := min(horizon, float64(i+1)/steps)
		middle := (t0 + t1) / 2
		gain := saving(middle, at, save) * (t1 - t0) * math.Pow(1+interest, -middle)
		total += gain
		if left > 0 && gain > 0 && left-gain <= max(0, outlay)*1e-12 {
			even = t0 + (t1-t0)*left/gain
			if outlay > 0 {
				return even
			}
		}
		left -= gain
	}
	if outlay <= 0 && total > 0 {
		return even
	}
	return math.Inf(1)
}

// saving is what is saved in a year at a time, on straight lines between the times told and level after the last.
func saving(t float64, at, save []float64) float64 {
	for i := 1; i < len(at); i++ {
		if t < at[i] {
			part := (t - at[i-1]) / (at[i] - at[i-1])
			return save[i-1] + part*(save[i]-save[i-1])
		}
	}
	return save[len(save)-1]
}
