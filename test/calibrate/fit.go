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

func find(name string) Case {
	return cases[slices.IndexFunc(cases, func(c Case) bool { return c.Name == name })]
}

// quantile of errors.
func quantile(v []float64, p float64) float64 {
	v = slices.Clone(v)
	slices.SortFunc(v, cmp.Compare[float64])
	return v[int(math.Ceil(p*float64(len(v))))-1]
}
