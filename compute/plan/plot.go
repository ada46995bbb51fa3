package plan

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// colours is how many there are; what comes after them begins anew, dashed.
const colours = 9

// Plots are drawn in a box of this width; the page scales them.
const plotWidth = 560.0

// plot is one figure of the page.
type plot struct {
	Title, Note string
	Names       []legend
	SVG         template.HTML
}

type legend struct {
	Name   string
	Colour int
	Dashed bool
}

func legendOf(name string, i int) legend { return legend{name, i % colours, i >= colours} }

// bar is one line of a plot of bars: parts one behind the other, part i in colour i, and a whisker from low to high.
type bar struct {
	name      string
	parts     []float64
	low, high float64
	none      bool // nothing can be said
}

func (b *bar) total() float64 {
	sum := 0.0
	for _, v := range b.parts {
		sum += v
	}
	return sum
}

// scale maps figures to a stretch of the plot.
type scale struct {
	from, to, a, b float64
}

func (s scale) at(v float64) float64 {
	if s.to <= s.from {
		return s.a
	}
	return s.a + (min(max(v, s.from), s.to)-s.from)/(s.to-s.from)*(s.b-s.a)
}

// round widens the ends to round figures and gives the ticks, about four.
func (s *scale) round() []float64 {
	if least := 1e-6 * max(math.Abs(s.from), math.Abs(s.to)); s.to-s.from <= least {
		s.to = s.from + max(1, least)
	}
	step := math.Pow(10, math.Floor(math.Log10((s.to-s.from)/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (s.to-s.from)/(step*m) <= 5 {
			step *= m
			break
		}
	}
	first, last := math.Floor(s.from/step+1e-9), math.Ceil(s.to/step-1e-9)
	s.from, s.to = first*step, last*step
	var ticks []float64
	for k := first; k <= last && len(ticks) < 20; k++ {
		ticks = append(ticks, k*step+0)
	}
	return ticks
}

// cut is a name in at most so many letters.
func cut(name string, most int) string {
	if r := []rune(name); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return name
}

func esc(s string) string { return template.HTMLEscapeString(s) }

// barPlot draws bars from left to right, each under the other.
func barPlot(title, note, label string, bars []bar, show func(float64) string) plot {
	const row, foot, most = 30.0, 40.0, 32
	s := scale{a: 20, b: plotWidth - 62}
	for i := range bars {
		b := &bars[i]
		b.name = cut(b.name, most)
		s.a = max(s.a, 14+6.7*float64(utf8.RuneCountInString(b.name)))
		s.from, s.to = min(s.from, b.total(), b.low), max(s.to, b.total(), b.high)
	}
	ticks := s.round()
	bottom := 6 + row*float64(len(bars))
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg viewBox="0 0 %g %g" role="img"><title>%s</title>`, plotWidth, bottom+foot, esc(title))
	for _, v := range ticks {
		fmt.Fprintf(&svg, `<line class="grid" x1="%.1f" x2="%.1f" y1="6" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, s.at(v), s.at(v), bottom, s.at(v), bottom+16, esc(tick(v, show)))
	}
	for i := range bars {
		b := &bars[i]
		y := 6 + row*float64(i)
		fmt.Fprintf(&svg, `<text class="name" x="%.1f" y="%.1f" text-anchor="end">%s</text>`, s.a-8, y+row/2+4, esc(b.name))
		if b.none {
			fmt.Fprintf(&svg, `<text x="%.1f" y="%.1f">without end</text>`, s.a+6, y+row/2+4)
			continue
		}
		done := 0.0
		for k, v := range b.parts {
			x0, x1 := s.at(min(done, done+v)), s.at(max(done, done+v))
			if x1 > x0 {
				fmt.Fprintf(&svg, `<rect class="f%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, k%colours, x0, y+6, x1-x0, row-12)
			}
			done += v
		}
		end := max(s.at(done), s.at(0))
		if lo, hi := s.at(b.low), s.at(b.high); hi-lo > 1 {
			fmt.Fprintf(&svg, `<path class="whisker" d="M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8"/>`, lo, y+row/2, hi, lo, y+row/2-4, hi, y+row/2-4)
			end = max(end, hi)
		}
		fmt.Fprintf(&svg, `<text class="at" x="%.1f" y="%.1f">%s</text>`, end+6, y+row/2+4, esc(show(done)))
	}
	fmt.Fprintf(&svg, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text></svg>`, (s.a+s.b)/2, bottom+34, esc(label))
	return plot{Title: title, Note: note, SVG: template.HTML(svg.String())} //nolint:gosec // escaped above; the rest are numbers
}

// curve is a line with the range around it.
type curve struct {
	name            string
	x, y, low, high []float64
}

// linePlot draws curves.
func linePlot(title, note, xLabel, yLabel string, curves []curve, show func(float64) string) plot {
	const height = 320.0
	x, y := scale{a: 64, b: plotWidth - 14}, scale{a: height - 40, b: 10}
	for _, c := range curves {
		for i := range c.x {
			x.to, y.to, y.from = max(x.to, c.x[i]), max(y.to, c.high[i], c.y[i]), min(y.from, c.low[i], c.y[i])
		}
	}
	yTicks := y.round()
	xEnd := x.to
	xTicks := x.round()
	x.to = xEnd
	p := plot{Title: title, Note: note}
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg viewBox="0 0 %g %g" role="img"><title>%s</title>`, plotWidth, height, esc(title))
	for _, v := range xTicks {
		if v <= xEnd+1e-9 {
			fmt.Fprintf(&svg, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x.at(v), x.at(v), y.a, y.b, x.at(v), y.a+16, esc(short(v)))
		}
	}
	for _, v := range yTicks {
		fmt.Fprintf(&svg, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`, x.a, x.b, y.at(v), y.at(v), x.a-6, y.at(v)+4, esc(tick(v, show)))
	}
	for i, c := range curves {
		p.Names = append(p.Names, legendOf(c.name, i))
		if len(curves) <= 4 { // more of them would be one shade
			svg.WriteString(c.shade(x, y, i))
		}
	}
	for i, c := range curves {
		dashed := ""
		if i >= colours {
			dashed = " dashed"
		}
		fmt.Fprintf(&svg, `<polyline class="c%d%s" points="`, i%colours, dashed)
		for k := range c.x {
			fmt.Fprintf(&svg, "%.1f,%.1f ", x.at(c.x[k]), y.at(c.y[k]))
		}
		svg.WriteString(`"/>`)
	}
	fmt.Fprintf(&svg, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text><text transform="translate(14 %.1f) rotate(-90)" text-anchor="middle">%s</text></svg>`,
		(x.a+x.b)/2, height-6, esc(xLabel), (y.a+y.b)/2, esc(yLabel))
	p.SVG = template.HTML(svg.String()) //nolint:gosec // escaped above; the rest are numbers
	return p
}

// shade is the range around a curve as one surface.
func (c *curve) shade(x, y scale, colour int) string {
	if len(c.x) < 2 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<polygon class="c%d" points="`, colour%colours)
	for k := range c.x {
		fmt.Fprintf(&b, "%.1f,%.1f ", x.at(c.x[k]), y.at(c.high[k]))
	}
	for k, at := range slices.Backward(c.x) {
		fmt.Fprintf(&b, "%.1f,%.1f ", x.at(at), y.at(c.low[k]))
	}
	b.WriteString(`"/>`)
	return b.String()
}

// short is a figure in few letters.
func short(v float64) string {
	if a := math.Abs(v); a >= 1e4 {
		return money(v)
	}
	return fmt.Sprintf("%.3g", v+0)
}

// tick is a figure beside an axis: without zeros that say nothing.
func tick(v float64, show func(float64) string) string {
	text := show(v)
	if n := len(text) - len(unit(text)); strings.Contains(text[:n], ".") {
		return strings.TrimRight(strings.TrimRight(text[:n], "0"), ".") + text[n:]
	}
	return text
}
