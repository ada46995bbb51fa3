// Package published holds throughput figures that others measured and published, each with the source that was read, and
// makes of each the question that package perf is asked. They are what the efficiencies of perf are fitted to, and
// what its errors are measured on.
//
// Rules: one file a source. A row that a hash of its content calls held out is never used for fitting. What a source does
// not say and the question needs stands in the file's `assumed`.
package published

import (
	"embed"
	"fmt"
	"hash/fnv"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

//go:embed *.yaml
var files embed.FS

// Figure is one published throughput.
type Figure struct {
	Source   string
	Model    string
	Make     string
	Question perf.Question
	Rate     float64 // tokens a second of the whole layout, as perf.Answer counts them
	HeldOut  bool    // not used for fitting
}

// Name tells the figure from others in a line.
func (f Figure) Name() string {
	w, l := f.Question.Work, f.Question.Layout
	return fmt.Sprintf("%s %s %s %s x%d batch %d context %d prompt %d answer %d", f.Model, w.Task, w.Engine, f.Question.Chip.ID, l.Chips(), w.Batch+w.AtMost, w.Context, w.Prompt, w.Output)
}

// file is the form of a file.
type file struct {
	Source   string      `yaml:"source"`
	Read     string      `yaml:"read"` // the day
	Says     string      `yaml:"says"` // what the source tells
	Assumed  string      `yaml:"assumed"`
	Defaults yaml.Node   `yaml:"defaults"`
	Rows     []yaml.Node `yaml:"rows"`
}

type row struct {
	Model       string         `yaml:"model"`
	Chip        string         `yaml:"chip"`
	Task        perf.Task      `yaml:"task"`
	Engine      string         `yaml:"engine"`
	Precision   chip.Precision `yaml:"precision"`
	WeightBytes float64        `yaml:"weight_bytes"`
	CacheBytes  float64        `yaml:"cache_bytes"`
	TP          int            `yaml:"tp"`
	PP          int            `yaml:"pp"`
	DP          int            `yaml:"dp"`
	CP          int            `yaml:"cp"`
	VP          int            `yaml:"vp"`
	Shard       perf.Shard     `yaml:"shard"`
	Node        int            `yaml:"node"`
	Net         string         `yaml:"net"`
	Batch       int            `yaml:"batch"`
	AtMost      int            `yaml:"at_most"`
	Micro       int            `yaml:"micro"`
	Context     int            `yaml:"context"`
	Prompt      int            `yaml:"prompt"`
	Output      int            `yaml:"output"`
	Recompute   perf.Recompute `yaml:"recompute"`
	Trained     float64        `yaml:"trained"`
	Figure      float64        `yaml:"figure"`
	Unit        string         `yaml:"unit"` // tok/s of the layout, tok/s/chip, or ms or s of the batch
}

// fields are the keys of a row.
var fields = strings.Fields("model chip task engine precision weight_bytes cache_bytes tp pp dp cp vp shard node net batch at_most micro context prompt output recompute trained figure unit")

// All reads the figures against the program's own catalogue of chips.
func All() ([]Figure, error) {
	chips, err := chip.Builtin()
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []Figure
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f, err := parse(text, chips)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, f...)
	}
	return all, nil
}

func parse(text []byte, chips *chip.Catalogue) ([]Figure, error) {
	var f file
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if f.Source == "" || f.Read == "" || f.Says == "" || len(f.Rows) == 0 {
		return nil, fmt.Errorf("source, read, says and rows must be there")
	}
	var all []Figure
	for _, n := range f.Rows {
		var r row
		for _, part := range []*yaml.Node{&f.Defaults, &n} {
			if err := strict(part); err != nil {
				return nil, err
			}
			if err := part.Decode(&r); err != nil {
				return nil, err
			}
		}
		figure, err := r.figure(f.Source, chips)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n.Line, err)
		}
		all = append(all, figure)
	}
	return all, nil
}

// strict refuses keys that a row does not have.
func strict(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: a row must be a mapping", n.Line)
	}
	for i := 0; i < len(n.Content); i += 2 {
		if !slices.Contains(fields, n.Content[i].Value) {
			return fmt.Errorf("line %d: %q is no field of a row", n.Line, n.Content[i].Value)
		}
	}
	return nil
}

func (r row) figure(source string, chips *chip.Catalogue) (Figure, error) {
	shape, ok := perf.Named(r.Model)
	if !ok {
		return Figure{}, fmt.Errorf("the model %q has no shape", r.Model)
	}
	if shape.Positions > 0 {
		shape.Positions = max(r.Context, r.Prompt+r.Output)
	}
	c, err := chips.Find(r.Chip)
	if err != nil {
		return Figure{}, err
	}
	q := perf.Question{Shape: shape, Chip: c, Node: r.Node,
		Work: perf.Work{Task: r.Task, Engine: r.Engine, Precision: r.Precision, WeightBytes: r.WeightBytes, CacheBytes: r.CacheBytes, Batch: r.Batch, AtMost: r.AtMost,
			Micro: r.Micro, Context: r.Context, Prompt: r.Prompt, Output: r.Output, Recompute: r.Recompute, Trained: r.Trained},
		Layout: perf.Layout{Tensor: r.TP, Pipeline: r.PP, Data: r.DP, Sequence: r.CP, Virtual: r.VP, Shard: r.Shard}}
	if r.Net != "" {
		if q.Net, err = chip.ParseQuantity(r.Net, chip.BytesPerSecond); err != nil {
			return Figure{}, err
		}
	}
	f := Figure{Source: source, Model: r.Model, Make: c.Make, Question: q}
	tokens := float64(r.Batch * max(r.Output, r.Context)) // of the batch
	switch r.Unit {
	case "tok/s":
		f.Rate = r.Figure
	case "tok/s/chip":
		f.Rate = r.Figure * float64(q.Layout.Chips())
	case "ms":
		f.Rate = tokens / r.Figure * 1000
	case "s":
		f.Rate = tokens / r.Figure
	default:
		return Figure{}, fmt.Errorf("%q is no unit of a figure", r.Unit)
	}
	if !(f.Rate > 0) || f.Rate > 1e12 {
		return Figure{}, fmt.Errorf("%v tokens a second are not possible", f.Rate)
	}
	h := fnv.New32a()
	fmt.Fprint(h, source, f.Name(), r.Precision, r.WeightBytes, r.Recompute, r.TP, r.PP)
	f.HeldOut = h.Sum32()>>7&1 == 1
	return f, nil
}
