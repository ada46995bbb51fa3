package fit

import (
	"cmp"
	"context"
	"fmt"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/models/registry"
)

// Place is a class of the fleet for a model: on how many of its chips the model fits and how fast it is there, or why not.
type Place struct {
	Class   string
	Has     int    // chips of it; of processors: machines
	Count   int    // the smallest number that holds the model; 0: none does
	Engine  string // of the catalogue, that runs the model there
	Longest int    // tokens of the longest sequence that these chips hold, no longer than the model's own
	Whole   bool   // Longest is the model's own
	Task    perf.Task
	Context int           // tokens that Rate is for
	Rate    estimate.Span // tokens a second of one sequence; of vectors of the batch
	Known   perf.Known
	Assumed []string
	Why     string // it does not; empty: it does
}

// Footprint is what a model takes wherever it runs in the form that it is stored in, bytes.
type Footprint struct {
	Weights int64
	Cache   int64 // for each 1,000 tokens of a sequence of that length, of two bytes a number
}

// FootprintOf is a model's; false where its shape is not known.
func FootprintOf(s registry.Shape) (Footprint, bool) {
	if s.Transformer == nil {
		return Footprint{Weights: s.WeightBytes}, false
	}
	return Footprint{Weights: s.WeightBytes, Cache: int64(2 * s.Transformer.Cached(1000))}, true
}

// NativeBytes is the memory of a model's weights in the embedded engine, which keeps all as float32, and a table that serves
// as input and output in both forms; 0 where it does not run the model.
func NativeBytes(s registry.Shape) int64 {
	if s.Foreign != "" {
		return 0
	}
	n := s.Params
	if x := s.Transformer; x != nil && x.Tied {
		n += int64(x.Vocab) * int64(x.Width)
	}
	return 4 * n
}

// sample is the length of the sequences that speeds are told for, where the model's own is not shorter.
const sample = 2048

// Places lists the classes of the fleet for a model.
func (s *Service) Places(ctx context.Context, m registry.Shape) ([]Place, error) {
	market, err := s.Market()
	if err != nil {
		return nil, err
	}
	if market.Fleet, err = s.Stock(ctx); err != nil {
		return nil, err
	}
	out := []Place{}
	for _, x := range market.Fleet {
		out = append(out, place(&market, x, m))
	}
	return out, nil
}

func place(market *estimate.Market, of estimate.Stock, m registry.Shape) Place {
	p := Place{Class: of.Class, Has: of.Chips}
	c, ok := candidate(market, of.Class)
	switch {
	case m.Transformer == nil:
		p.Why = cmp.Or(m.Unknown, "The model was added before shapes were read: import it again.")
		return p
	case !ok:
		p.Why = fmt.Sprintf("Nobody has told the figures of %s: name it as the catalogue does, or tell them in %s.", of.Class, chip.OverlayName)
		return p
	}
	c.Has = of.Chips
	if of.Class == chip.ProcessorID { // models do not spread over machines' processors
		c.Has, c.Node = 1, 1
		c.Chip.Engines = append([]chip.Engine{{Name: Native}}, c.Chip.Engines...)
	}
	if p.Engine, p.Why = engineOn(&c.Chip, m); p.Why != "" {
		return p
	}
	w := p.work(m)
	row := ranked(w, c, 0, market.Corrector)
	if row == nil {
		p.Why = "The question could not be asked."
		return p
	}
	if row.Refused != nil {
		p.Why = row.Refused.Error()
		return p
	}
	p.Count, p.Rate, p.Known, p.Assumed = row.Count, row.Rate, row.Answer.Known, row.Answer.Assumed
	q := perf.Question{Shape: *w.Shape, Work: row.Work, Chip: c.Chip, Layout: row.Layout, Node: row.Node}
	q.Work.Precision = row.Precision
	p.Longest = longest(q, cmp.Or(m.Context, unbounded))
	p.Whole = p.Longest == m.Context
	return p
}

// engineOn is the first engine of a chip that runs the model, or why none is known to.
func engineOn(c *chip.Chip, m registry.Shape) (name, why string) {
	for _, e := range c.Engines {
		v, says := Runs(e.Name, m)
		if v == Yes {
			return e.Name, ""
		}
		if why == "" || v == Perhaps {
			why = e.Name + ": " + says
		}
	}
	if why == "" {
		return "", "The catalogue knows no engine for it."
	}
	return "", "No engine of the catalogue is known to run it there. " + why
}

// work is the work that speeds are told for: one sequence.
func (p *Place) work(m registry.Shape) Work {
	p.Task, p.Context = perf.Decode, min(cmp.Or(m.Context, sample), sample)
	if m.Transformer.Encoder {
		p.Task, p.Context = perf.Embed, min(p.Context, 512)
	}
	w := perf.Work{Task: p.Task, Engine: p.Engine, Batch: 1, Context: p.Context, WeightBytes: m.PerWeight()}
	if p.Engine == Native {
		w.Precision, w.WeightBytes, w.CacheBytes = chip.FP32, 4, 4
	}
	return Work{Shape: m.Transformer, Work: w}
}

// unbounded is the longest sequence looked for where the model tells none.
const unbounded = 1 << 20

// longest is the longest sequence of the question's work that its chips hold, no longer than most.
func longest(q perf.Question, most int) int {
	has, ok := perf.Room(q)
	if !ok {
		return 0
	}
	low, high := 0, most
	for low < high { // what is held grows with the length
		mid := low + (high-low+1)/2
		q.Work.Context = mid
		if m, r := perf.Hold(q); r == nil && m.Total() <= has {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}
