package plan

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Table is a heading for each column and the rows below.
type Table struct {
	Title string
	Heads []string
	Rows  [][]string
}

// Tables are the plan for people: the scenarios side by side, one table for each time of the growth, the pay-backs, the next
// purchases and the trials of the forecasters. A figure is the mean over the demands drawn; from P10 to P90 where that differs.
func (o *Output) Tables() []Table {
	var out []Table
	if len(o.Scenarios) > 0 {
		for i := range o.Scenarios[0].Points {
			out = append(out, o.sideBySide(i)...)
		}
	}
	for _, t := range []Table{o.payBacks(), o.purchases(), o.trials()} {
		if len(t.Rows) > 0 {
			out = append(out, t)
		}
	}
	return out
}

var rows = []struct {
	name string
	cell func(*Point) string
}{
	{"jobs in the window", func(p *Point) string { return nonzero(p.Jobs, count) }},
	{"refused", func(p *Point) string { return nonzero(p.Refused, count) }},
	{"unfinished", func(p *Point) string { return nonzero(p.Unfinished, count) }},
	{"chips asked for", func(p *Point) string { return points(100 * p.Load) }},
	{"chips used", func(p *Point) string { return p.UsePercent.text(points) }},
	{"of it useful", func(p *Point) string { return p.UsefulPercent.text(points) }},
	{"waiting, mean", func(p *Point) string { return p.wait(p.MeanWaitS) }},
	{"waiting, p50", func(p *Point) string { return p.wait(p.P50WaitS) }},
	{"waiting, p90", func(p *Point) string { return p.wait(p.P90WaitS) }},
	{"waiting, p99", func(p *Point) string { return p.wait(p.P99WaitS) }},
	{"cost a year", func(p *Point) string { return p.Cost.text(money) }},
	{"  capital", func(p *Point) string { return some(p.Parts.Capital) }},
	{"  energy", func(p *Point) string { return some(p.Parts.Energy) }},
	{"  staff", func(p *Point) string { return some(p.Parts.Staff) }},
	{"  space", func(p *Point) string { return some(p.Parts.Space) }},
	{"  rent", func(p *Point) string { return some(p.Parts.Rent) }},
	{"waiting at its price, a year", func(p *Point) string { return nonzero(p.WaitCost, money) }},
	{"cost of a chip-hour", func(p *Point) string { return p.ChipHour.text(cents) }},
	{"cost of a useful chip-hour", func(p *Point) string { return p.UsefulHour.text(cents) }},
	{"cost of a million tokens", func(p *Point) string {
		if p.MillionTokens == nil {
			return ""
		}
		return p.MillionTokens.text(cents)
	}},
	{"energy a year", func(p *Point) string {
		if p.EnergyKWh == nil {
			return "unknown"
		}
		return p.EnergyKWh.text(func(v float64) string { return fmt.Sprintf("%.0f MWh", v/1000) })
	}},
}

// sideBySide are the scenarios at a time of the growth: all in one table, or a table for each price set where they are many.
func (o *Output) sideBySide(i int) []Table {
	const most = 4
	if len(o.Scenarios) <= most {
		return []Table{o.scenarios(i, "scenarios", o.Scenarios, func(s *Scenario) string { return s.Name })}
	}
	var sets []string
	by := map[string][]Scenario{}
	for _, s := range o.Scenarios {
		if by[s.Prices] == nil {
			sets = append(sets, s.Prices)
		}
		by[s.Prices] = append(by[s.Prices], s)
	}
	var out []Table
	for _, set := range sets {
		out = append(out, o.scenarios(i, "prices "+set, by[set], func(s *Scenario) string { return s.Fleet }))
	}
	return out
}

func (o *Output) scenarios(i int, title string, list []Scenario, name func(*Scenario) string) Table {
	pt := &list[0].Points[i]
	t := Table{Title: title, Heads: []string{"scenario"}}
	if len(list[0].Points) > 1 {
		when := "now"
		if pt.Years > 0 {
			when = fmt.Sprintf("in %.3g years", pt.Years)
		}
		t.Title = fmt.Sprintf("%s, %s, demand times %.3g", title, when, pt.Factor)
	}
	size, outlay := []string{"chips"}, []string{"outlay"}
	for k := range list {
		t.Heads = append(t.Heads, name(&list[k]))
		size = append(size, fmt.Sprint(list[k].Chips))
		outlay = append(outlay, some(list[k].Outlay))
	}
	t.Rows = append(t.Rows, size, outlay)
	for _, r := range rows {
		row, any := []string{r.name}, false
		for k := range list {
			cell := r.cell(&list[k].Points[i])
			any = any || cell != ""
			row = append(row, cell)
		}
		if any {
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

func (o *Output) payBacks() Table {
	t := Table{Title: "pay-back", Heads: []string{"scenario", "against", "outlay more", "saves a year, now", "pays back, p50", "p10 to p90", "in its life of", "of the demands", "why not"}}
	for _, b := range o.PayBacks {
		t.Rows = append(t.Rows, []string{b.Scenario, b.Against, money(b.Outlay), b.Saving.text(money), term(b.P50), term(b.P10) + " to " + term(b.P90), life(b.Life),
			fmt.Sprintf("%.0f %%", 100*b.Within), b.Reason})
	}
	return t
}

// wait is a figure of waiting.
func (p *Point) wait(s Spread) string {
	if p.Overload {
		return "without end"
	}
	return s.text(span)
}

func life(years float64) string {
	if years == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g years", years)
}

func term(years *float64) string {
	switch {
	case years == nil:
		return "none"
	case *years == 0:
		return "at once"
	case *years < 1:
		return fmt.Sprintf("%.1f months", 12**years)
	}
	return fmt.Sprintf("%.1f years", *years)
}

func (o *Output) purchases() Table {
	t := Table{Title: "next purchase", Heads: []string{"prices", "step", "one more node", "hours of waiting saved a year", "costs a year", "gains a year", "worth it from an hour's price of", ""}}
	for i := range o.Next {
		b := &o.Next[i]
		even, gain, chosen := "never", "", ""
		if b.Even != nil {
			even = cents(*b.Even)
		}
		if o.WaitPrice > 0 {
			gain = b.Gain.text(money)
		}
		if b.Chosen {
			chosen = "chosen"
		}
		t.Rows = append(t.Rows, []string{b.Prices, fmt.Sprint(b.Step), b.Name(), b.Saved.text(count), money(b.Cost), gain, even, chosen})
	}
	return t
}

func (o *Output) trials() Table {
	t := Table{Title: "forecasters on the second half of the record", Heads: []string{"forecast", "chips used", "really", "waiting, mean", "really", "waiting, p90", "really", "score", "held", ""}}
	for _, x := range o.Backtest {
		chosen := ""
		if x.Chosen {
			chosen = "best"
		}
		t.Rows = append(t.Rows, []string{x.Forecast, x.Use.middle(points), points(x.RealUse), x.Wait.middle(span), span(x.RealWait), x.P90.middle(span), span(x.RealP90), fmt.Sprintf("%.3f", x.Score), fmt.Sprintf("%.0f %%", 100*x.Held), chosen})
	}
	return t
}

// text is the mean, and from P10 to P90 where they show as something else; what all three have in common as a unit is written once.
func (s Spread) text(show func(float64) string) string { return ranged(show, s.Mean, s.P10, s.P90) }

// middle is the same about the middle one.
func (s Spread) middle(show func(float64) string) string { return ranged(show, s.P50, s.P10, s.P90) }

func ranged(show func(float64) string, v, p10, p90 float64) string {
	mean, low, high := show(v), show(p10), show(p90)
	if low == high {
		return mean
	}
	if a, b, c := unit(mean), unit(low), unit(high); a == b && b == c {
		low, high = strings.TrimSuffix(low, a), strings.TrimSuffix(high, a)
	}
	return mean + " (" + low + " to " + high + ")"
}

// unit is what follows the number.
func unit(s string) string { return s[strings.LastIndexAny(s, "0123456789")+1:] }

func nonzero(s Spread, show func(float64) string) string {
	if s == (Spread{}) {
		return ""
	}
	return s.text(show)
}

func some(v float64) string {
	if v == 0 {
		return ""
	}
	return money(v)
}

func count(v float64) string  { return fmt.Sprintf("%.0f", v) }
func points(v float64) string { return fmt.Sprintf("%.1f %%", v) }

// money is an amount in few figures: 950, 12.3k, 4.56M.
func money(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e9:
		return fmt.Sprintf("%.2fG", v/1e9)
	case a >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v+0)
}

func cents(v float64) string {
	if v >= 100 || v == 0 {
		return money(v)
	}
	return fmt.Sprintf("%.3g", v)
}

// span is seconds for people.
func span(s float64) string {
	switch d := time.Duration(s * float64(time.Second)); {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", s)
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", s/60)
	case d < 10*day:
		return fmt.Sprintf("%.1f h", s/3600)
	}
	return fmt.Sprintf("%.0f d", s/86400)
}
