package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/triarch-ai/triarch/compute/perf"
)

// tasks are what is measured.
var tasks = []perf.Task{perf.Train, perf.Prefill, perf.Decode}

// errors are |predicted / measured - 1| of a task's rows, of those that were fitted to and of the others.
func (d Data) errors(t perf.Task, k perf.Cost) (fitted, others []float64) {
	for _, r := range d.Rows {
		if r.Task != t {
			continue
		}
		c := find(r.Case)
		e := math.Abs(rate(c, t, k, d.Machine)/r.Rate - 1)
		if c.Fit {
			fitted = append(fitted, e)
		} else {
			others = append(others, e)
		}
	}
	return fitted, others
}

// report is both tables, the costs, and how far predictions are off.
func report(d Data) string {
	var b strings.Builder
	fmt.Fprintf(&b, "one core: %.4g operations a second", d.Machine.FP32)
	for _, l := range d.Machine.Levels {
		fmt.Fprintf(&b, ", %.3g GB/s in %g MiB", l.Bandwidth/1e9, l.Bytes/(1<<20))
	}
	b.WriteString("\n")
	costs := map[perf.Task]perf.Cost{}
	for _, t := range tasks {
		costs[t] = fit(t, d.Rows, d.Machine)
	}
	for _, fitted := range []bool{true, false} {
		fmt.Fprintf(&b, "\n%s, tokens per processor second\n\n| shape | batch | context |", map[bool]string{true: "Fitted", false: "Predicted"}[fitted])
		for _, t := range tasks {
			fmt.Fprintf(&b, " %s | predicted | error |", t)
		}
		b.WriteString("\n|---|---|---|" + strings.Repeat("---|---|---|", len(tasks)) + "\n")
		for _, c := range cases {
			if c.Fit == fitted {
				b.WriteString(line(c, d, costs))
			}
		}
	}
	b.WriteString("\n| task | of the six: median | of the twelve: median | P90 | worst |\n|---|---|---|---|---|\n")
	var six, twelve []float64
	row := func(name string, f, o []float64) {
		fmt.Fprintf(&b, "| %s | %.0f %% | %.0f %% | %.0f %% | %.0f %% |\n", name, 100*quantile(f, 0.5), 100*quantile(o, 0.5), 100*quantile(o, 0.9), 100*quantile(o, 1))
	}
	for _, t := range tasks {
		f, o := d.errors(t, costs[t])
		six, twelve = append(six, f...), append(twelve, o...)
		row(string(t), f, o)
	}
	row("all", six, twelve)
	b.WriteString("\nfor compute/perf:\n")
	for _, t := range tasks {
		k := costs[t]
		fmt.Fprintf(&b, "%s: {%.3g, %.3g, %.3g, %.3g, %.3g, %.3g}\n", t, k.Products, k.Attention, k.Weights, k.Passing, k.Starts, k.Drawn)
	}
	return b.String()
}

func line(c Case, d Data, costs map[perf.Task]perf.Cost) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %d | %d |", c.Name[2:], c.Batch, c.Context)
	for _, t := range tasks {
		for _, r := range d.Rows {
			if r.Case == c.Name && r.Task == t {
				p := rate(c, t, costs[t], d.Machine)
				fmt.Fprintf(&b, " %.4g | %.4g | %+.0f %% |", r.Rate, p, 100*(p/r.Rate-1))
			}
		}
	}
	b.WriteByte('\n')
	return b.String()
}
