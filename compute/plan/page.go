package plan

import (
	"fmt"
	"html/template"
	"io"
	"slices"

	"github.com/triarch-ai/triarch/compute/sched/sim/report"
)

// Page writes the plan as one HTML page that needs nothing else: plots as SVG, styles inside, no script.
func (o *Output) Page(w io.Writer, title string) error {
	plots := []plot{o.costPlot(), o.waitPlot(), o.usePlot()}
	if len(o.Scenarios) > 0 && len(o.Scenarios[0].Points) > 1 {
		plots = append(plots, o.overTime("Waiting as demand grows", "Mean over the demands; shaded from P10 to P90 where there are few.", "hours waited in the mean", func(p *Point) Spread { return p.MeanWaitS.times(1. / 3600) }),
			o.overTime("Chips used as demand grows", "Likewise, in percent of those that were up.", "% of chips", func(p *Point) Spread { return p.UsePercent }))
	}
	if len(o.Next) > 0 {
		plots = append(plots, o.nextPlots()...)
	}
	plots = append(plots, o.cashPlot())
	return page.Execute(w, map[string]any{"Style": template.CSS(report.Style + more), "Title": title, "About": o.About, "Currency": o.Currency, "Plots": plots, "Tables": o.Tables(), "Assumed": o.Assumed})
}

// more is what these pages have beside those of replays.
const more = `
.plots{display:block;columns:30rem 2;column-gap:1rem}figure{break-inside:avoid;margin-bottom:1rem}h2::first-letter{text-transform:uppercase}
rect.f0{fill:var(--c0)}rect.f1{fill:var(--c1)}rect.f2{fill:var(--c2)}rect.f3{fill:var(--c3)}rect.f4{fill:var(--c4)}rect.f5{fill:var(--c5)}rect.f6{fill:var(--c6)}rect.f7{fill:var(--c7)}rect.f8{fill:var(--c8)}
polygon{stroke:none;opacity:.14}polygon.c0{fill:var(--c0)}polygon.c1{fill:var(--c1)}polygon.c2{fill:var(--c2)}polygon.c3{fill:var(--c3)}polygon.c4{fill:var(--c4)}polygon.c5{fill:var(--c5)}polygon.c6{fill:var(--c6)}polygon.c7{fill:var(--c7)}polygon.c8{fill:var(--c8)}
polyline.dashed{stroke-dasharray:7 4}svg .name{fill:var(--fg)}svg .at{fill:var(--fg);font-size:11px}.whisker{stroke:var(--fg);stroke-width:1.5;fill:none}
figure .legend{margin:.25rem 0 .5rem;font-size:.85rem}.legend i.dashed{background-image:linear-gradient(90deg,var(--box) 25%,transparent 25%,transparent 75%,var(--box) 75%);background-size:.5em 100%}
ul{padding-left:1.2rem;color:var(--dim)}td:first-child{white-space:pre}.empty{color:var(--dim)}
`

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}}</title>
<style>
{{.Style}}
</style></head><body>
<h1>{{.Title}}</h1><p>{{.About}}{{if .Currency}}; money in {{.Currency}}{{end}}.</p>
<div class="plots" style="margin-top:1rem">{{range .Plots}}<figure><figcaption><b>{{.Title}}</b>{{.Note}}</figcaption>
{{if .Names}}<div class="legend">{{range .Names}}<span><i class="c{{.Colour}}{{if .Dashed}} dashed{{end}}"></i>{{.Name}}</span>{{end}}</div>{{end}}{{.SVG}}</figure>{{end}}</div>
{{range .Tables}}<h2>{{.Title}}</h2><div class="wide"><table><thead><tr>{{range .Heads}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody></table></div>
{{end}}{{if .Assumed}}<h2>Assumed</h2><ul>{{range .Assumed}}<li>{{.}}</li>{{end}}</ul>{{end}}
</body></html>
`))

func (s Spread) times(f float64) Spread { return Spread{s.Mean * f, s.P10 * f, s.P50 * f, s.P90 * f} }

// costPlot stacks what a year costs, with waiting at its price.
func (o *Output) costPlot() plot {
	parts := []string{"capital", "energy", "staff", "space", "rent", "waiting"}
	var bars []bar
	used := make([]bool, len(parts))
	for i := range o.Scenarios {
		p := &o.Scenarios[i].Points[0]
		b := bar{name: o.Scenarios[i].Name, parts: []float64{p.Parts.Capital, p.Parts.Energy, p.Parts.Staff, p.Parts.Space, p.Parts.Rent, p.WaitCost.Mean}}
		total := p.all()
		b.low, b.high = total.P10, total.P90
		for k, v := range b.parts {
			used[k] = used[k] || v > 0
		}
		bars = append(bars, b)
	}
	note := "What is bought as an annuity. The line is from P10 to P90 of all together."
	if o.WaitPrice > 0 {
		note = fmt.Sprintf("What is bought as an annuity; an hour of a waiting job at %s. The line is from P10 to P90 of all together.", cents(o.WaitPrice))
	}
	p := barPlot("Cost of a year", note, o.Currency+" a year", bars, money)
	for k, name := range parts {
		if used[k] {
			p.Names = append(p.Names, legendOf(name, k))
		}
	}
	return p
}

// all is the cost of a year with waiting at its price, over the demands.
func (p *Point) all() Spread {
	var v []float64
	for r := range p.bills {
		v = append(v, p.bills[r].Total()+p.waitCost[r])
	}
	return spread(v)
}

// fleets are the points of now, one for each fleet: waiting and use are the same whoever pays, but for interruptions.
func (o *Output) fleets() (names []string, points []*Point) {
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		p := &s.Points[0]
		name := s.Fleet
		if k := slices.Index(names, name); k >= 0 {
			if points[k].MeanWaitS == p.MeanWaitS && points[k].UsePercent == p.UsePercent {
				continue
			}
			name = s.Name
		}
		names, points = append(names, name), append(points, p)
	}
	return names, points
}

func (o *Output) waitPlot() plot {
	var bars []bar
	names, points := o.fleets()
	for i, p := range points {
		bars = append(bars, bar{name: names[i], parts: single(i, p.MeanWaitS.Mean/3600), low: p.MeanWaitS.P10 / 3600, high: p.MeanWaitS.P90 / 3600, none: p.Overload})
	}
	return barPlot("Waiting in the mean", "Of the jobs of the window, from P10 to P90 of the demands.", "hours", bars, short)
}

func (o *Output) usePlot() plot {
	var bars []bar
	names, points := o.fleets()
	for i, p := range points {
		bars = append(bars, bar{name: names[i], parts: single(i, p.UsePercent.Mean), low: p.UsePercent.P10, high: p.UsePercent.P90})
	}
	return barPlot("Chips used", "Held by jobs, of those that were up.", "% of chips", bars, short)
}

// single is a bar of one part in the colour of its number.
func single(colour int, v float64) []float64 {
	return append(make([]float64, colour%colours), v)
}

// cashPlot is what each scenario has paid by a time, from the beginning: where lines cross one has paid back.
func (o *Output) cashPlot() plot {
	horizon := 0.0
	for i := range o.Scenarios {
		horizon = max(horizon, o.Scenarios[i].life)
	}
	if horizon == 0 {
		horizon = 4
	}
	const steps = 60
	var lines []curve
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		c := curve{name: s.Name}
		paid := slices.Repeat([]float64{s.Outlay}, len(s.Points[0].bills))
		for k := 0; k <= steps; k++ {
			t := horizon * float64(k) / steps
			sp := spread(paid)
			c.x, c.y, c.low, c.high = append(c.x, t), append(c.y, sp.Mean), append(c.low, sp.P10), append(c.high, sp.P90)
			for r := range paid {
				paid[r] += s.spends(r, t) * horizon / steps
			}
		}
		lines = append(lines, c)
	}
	note := "Purchase, running costs"
	if o.WaitPrice > 0 {
		note += " and waiting"
	}
	return linePlot("Paid by then", note+" added up, without interest. Where two lines cross, one has paid back against the other.", "years from now", o.Currency, lines, money)
}

// spends is what goes out in a year at a time, in a replica.
func (s *Scenario) spends(r int, t float64) float64 {
	var at, v []float64
	for i := range s.Points {
		p := &s.Points[i]
		if !p.Overload {
			at, v = append(at, p.Years), append(v, p.bills[r].running()+p.waitCost[r])
		}
	}
	if len(at) == 0 {
		return s.Points[0].bills[r].running()
	}
	return saving(t, at, v)
}

// overTime is a figure of the fleets as demand grows.
func (o *Output) overTime(title, note, label string, of func(*Point) Spread) plot {
	var lines []curve
	seen := map[string]bool{}
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		if seen[s.Fleet] {
			continue
		}
		seen[s.Fleet] = true
		c := curve{name: s.Fleet}
		for k := range s.Points {
			p := &s.Points[k]
			if p.Overload {
				note = ending(note)
				break
			}
			v := of(p)
			c.x, c.y, c.low, c.high = append(c.x, p.Years), append(c.y, v.Mean), append(c.low, v.P10), append(c.high, v.P90)
		}
		lines = append(lines, c)
	}
	return linePlot(title, note, "years from now", label, lines, short)
}

// ending says why a line ends.
func ending(note string) string {
	const why = " A line ends before the time at which more than twice the chips are asked for."
	if len(note) > len(why) && note[len(note)-len(why):] == why {
		return note
	}
	return note + why
}

// nextPlots are the first purchases tried, under each price set.
func (o *Output) nextPlots() []plot {
	var sets []string
	by := map[string][]bar{}
	for i := range o.Next {
		b := &o.Next[i]
		if b.Step != 1 {
			continue
		}
		if by[b.Prices] == nil {
			sets = append(sets, b.Prices)
		}
		x := bar{name: b.Name(), parts: single(0, b.Gain.Mean), low: b.Gain.P10, high: b.Gain.P90}
		if o.WaitPrice == 0 {
			x.parts, x.low, x.high = single(0, b.Saved.Mean), b.Saved.P10, b.Saved.P90
		}
		by[b.Prices] = append(by[b.Prices], x)
	}
	var out []plot
	for _, s := range sets {
		if o.WaitPrice > 0 {
			out = append(out, barPlot("One more node, "+s, "What it gains in a year: waiting saved at its price, less its cost.", o.Currency+" a year", by[s], money))
		} else if len(out) == 0 {
			out = append(out, barPlot("One more node", "Hours of waiting that it saves in a year.", "hours a year", by[s], money))
		}
	}
	return out
}
