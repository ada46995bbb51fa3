package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// The plots are drawn in this box; the page scales them.
const (
	plotWidth, plotHeight = 560.0, 300.0
	left, right           = 64.0, 12.0
	top, bottom           = 10.0, 40.0
)

// roundTimes are the ticks of a logarithmic axis of times, in seconds.
var roundTimes = []float64{1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400, 3650 * 86400}

// axis maps figures to a stretch of the plot.
type axis struct {
	from, to float64 // figures
	a, b     float64 // coordinates
	log      bool
}

func (x *axis) at(v float64) float64 {
	from, to := x.from, x.to
	if x.log {
		v, from, to = math.Log10(max(v, x.from)), math.Log10(from), math.Log10(to)
	}
	if to <= from {
		return x.a
	}
	return x.a + (min(max(v, from), to)-from)/(to-from)*(x.b-x.a)
}

// ticks are round figures along the axis, at most about seven.
func (x *axis) ticks() []float64 {
	var out []float64
	if x.log {
		for _, v := range roundTimes {
			if v >= x.from && v <= x.to {
				out = append(out, v)
			}
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10(max(x.to-x.from, 1e-9)/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (x.to-x.from)/(step*m) <= 6 {
			step *= m
			break
		}
	}
	for v := math.Ceil(x.from/step-1e-9) * step; v <= x.to+step/1e6; v += step {
		out = append(out, v+0) // -0 becomes 0
	}
	return out
}

// line is one policy's curve.
type line struct {
	x, y []float64
}

// plot is one figure of the page.
type plot struct {
	Title string
	Note  string
	SVG   template.HTML
}

// draw makes a plot of curves, the first policy's first. What goes into the text is made of numbers only.
func draw(title, note, xLabel, yLabel string, x, y axis, show func(float64) string, lines []line) plot {
	x.a, x.b, y.a, y.b = left, plotWidth-right, plotHeight-bottom, top
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img"><title>%s</title>`, plotWidth, plotHeight, template.HTMLEscapeString(title))
	for _, v := range x.ticks() {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`,
			x.at(v), x.at(v), y.a, y.b, x.at(v), y.a+16, template.HTMLEscapeString(show(v)))
	}
	for _, v := range y.ticks() {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
			x.a, x.b, y.at(v), y.at(v), x.a-6, y.at(v)+4, short(v))
	}
	fmt.Fprintf(&b, `<text class="label" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (x.a+x.b)/2, plotHeight-6, template.HTMLEscapeString(xLabel))
	fmt.Fprintf(&b, `<text class="label" transform="translate(14 %.1f) rotate(-90)" text-anchor="middle">%s</text>`, (y.a+y.b)/2, template.HTMLEscapeString(yLabel))
	for i, l := range lines {
		fmt.Fprintf(&b, `<polyline class="c%d" points="`, i%colours)
		for k := range l.x {
			fmt.Fprintf(&b, "%.1f,%.1f ", x.at(l.x[k]), y.at(l.y[k]))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString("</svg>")
	return plot{title, note, template.HTML(b.String())} //nolint:gosec // escaped above; the rest are numbers
}

// short is a figure in few letters: 12k, 0.5.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return fmt.Sprintf("%gM", math.Round(v/1e4)/100)
	case a >= 1e4:
		return fmt.Sprintf("%gk", math.Round(v/10)/100)
	}
	return fmt.Sprintf("%g", math.Round(v*1e4)/1e4)
}

// clock is a time on a logarithmic axis: 10 s, 6 h, 30 d.
func clock(s float64) string {
	switch {
	case s < 60:
		return fmt.Sprintf("%g s", s)
	case s < 3600:
		return fmt.Sprintf("%g min", s/60)
	case s < 86400:
		return fmt.Sprintf("%g h", s/3600)
	}
	return fmt.Sprintf("%g d", s/86400)
}

func day(d float64) string { return fmt.Sprintf("%g", math.Round(d*100)/100) }

// cumulative plots which part of the jobs had at most so much of something.
func cumulative(title, note, label string, runs []*Summary, of func(*Summary) []float64) plot {
	x, y := axis{from: 10, to: 100, log: true}, axis{from: 0, to: 100}
	var lines []line
	for _, r := range runs {
		var l line
		q := of(r)
		for i, v := range q {
			l.x, l.y = append(l.x, v), append(l.y, 100*float64(i)/float64(len(q)-1))
			x.to = max(x.to, v)
		}
		lines = append(lines, l)
	}
	return draw(title, note, label, "% of jobs", x, y, clock, lines)
}

// overTime plots a mean over stretches of time.
func overTime(title, note, label string, runs []*Summary, of func(r *Summary, i int) float64) plot {
	x, y := axis{}, axis{to: 1}
	var lines []line
	for _, r := range runs {
		var l line
		for i, s := range r.curves.series {
			v := of(r, i)
			l.x, l.y = append(l.x, s.At.Hours()/24), append(l.y, v)
			x.to, y.to = max(x.to, s.At.Hours()/24), max(y.to, v)
		}
		if len(l.x) > 0 && x.from == 0 {
			x.from = math.Floor(l.x[0])
		}
		lines = append(lines, l)
	}
	x.to = max(x.to, x.from+0.01)
	return draw(title, note, "days since the start of the trace", label, x, y, day, lines)
}
