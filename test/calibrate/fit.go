package main

import (
	"cmp"
	"encoding/json"
	"math"
	"os"
	"slices"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

// Row is a case as it was measured in a task.
type Row struct {
	Case string    `json:"case"`
	Task perf.Task `json:"task"`
	Rate float64   `json:"rate"` // tokens per processor second
}

// Machine is what one thread of the machine reaches.
type Machine struct {
	FP32   float64           `json:"fp32"` // operations a second of large products
	Levels []chip.CacheLevel `json:"levels"`
}

// Data is what was measured on a machine.
type Data struct {
	Machine Machine `json:"machine"`
	Rows    []Row   `json:"rows"`
}

func read(file string) (d Data, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(b, &d)
}

func (m Machine) chip() chip.Chip {
	f := func(v float64, u chip.Unit) *chip.Figure {
		return &chip.Figure{Value: v, Unit: u, Confidence: chip.Measured, Source: "here"}
	}
	return chip.Chip{ID: chip.ProcessorID, Kind: chip.CPU, Memory: f(1e12, chip.Bytes), Bandwidth: f(m.Levels[len(m.Levels)-1].Bandwidth, chip.BytesPerSecond),
		Levels: m.Levels, Flops: map[chip.Precision]*chip.Figure{chip.FP32: f(m.FP32, chip.OpsPerSecond)}}
}

func (c Case) question(t perf.Task, m Machine) perf.Question {
	return perf.Question{Shape: c.shape(), Chip: m.chip(), Work: perf.Work{Task: t, Engine: perf.Native, Precision: chip.FP32, CacheBytes: 4,
		Batch: c.Batch, Micro: c.Batch, Context: c.Context}}
}

// tokens of the step that perf.Counts counts.
func (c Case) tokens(t perf.Task) float64 {
	if t == perf.Decode {
		return float64(c.Batch)
	}
	return float64(c.Batch * c.Context)
}

// pull is how strongly a cost is drawn to where it begins: of a few the one that predicts each of the six best from the other five.
const pull = 0.03

// begin is where a part costs what the machine's figures say, and a start and a drawn token a few microseconds.
var begin = perf.Cost{Products: 1.1, Attention: 2, Weights: 1, Passing: 1, Starts: 2e-6, Drawn: 1.5e-6}

// parts of a cost, to be fitted one by one.
func parts(c *perf.Cost) []*float64 {
	return []*float64{&c.Products, &c.Attention, &c.Weights, &c.Passing, &c.Starts, &c.Drawn}
}

// fit finds the cost of a task that comes nearest to rows: the least sum of squared logarithms of predicted over measured,
// drawn a little to where it begins, for six rows alone do not tell all parts apart.
func fit(t perf.Task, rows []Row, m Machine) perf.Cost {
	type line struct {
		c     Case
		parts perf.Parts
		rate  float64
	}
	var all []line
	for _, r := range rows {
		if c := find(r.Case); r.Task == t && c.Fit {
			all = append(all, line{c, c.question(t, m).Counts(c.Batch), r.Rate})
		}
	}
	on := m.chip()
	at := begin
	loss := func() (sum float64) {
		for _, l := range all {
			seconds, _ := at.Seconds(l.parts, on)
			e := math.Log(l.c.tokens(t) / seconds / l.rate)
			sum += e * e
		}
		first := begin
		for i, x := range parts(&at) {
			e := math.Log(*x / *parts(&first)[i])
			sum += pull * e * e
		}
		return sum
	}
	for step, least := 1.5, loss(); step > 1.0005; {
		better := false
		for _, x := range parts(&at) {
			for _, by := range []float64{step, 1 / step} {
				old := *x
				*x *= by
				if l := loss(); l < least {
					least, better = l, true
				} else {
					*x = old
				}
			}
		}
		if !better {
			step = math.Sqrt(step)
		}
	}
	return at
}

// rate is what a cost predicts.
func rate(c Case, t perf.Task, k perf.Cost, m Machine) float64 {
	seconds, _ := k.Seconds(c.question(t, m).Counts(c.Batch), m.chip())
	return c.tokens(t) / seconds
}

func find(name string) Case {
	return cases[slices.IndexFunc(cases, func(c Case) bool { return c.Name == name })]
}

// quantile of errors.
func quantile(v []float64, p float64) float64 {
	v = slices.Clone(v)
	slices.SortFunc(v, cmp.Compare[float64])
	return v[int(math.Ceil(p*float64(len(v))))-1]
}
