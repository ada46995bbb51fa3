package train

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/measured"
)

// Measured takes in how fast runs were; measured.Service is one. A report of the same name counts once.
type Measured interface {
	Report(ctx context.Context, report string, m measured.Measurement) (bool, error)
}

const (
	warmUp     = 2 // steps of an attempt that tell of its start
	leastSteps = 5 // fewer tell nothing
	stepsOfOne = 50
	mostCount  = 8 // steps of one attempt share their errors: they count as no more measurements than so many
)

// work is what a task computes, as perf asks of it; nil where the shape of its base is not known.
func work(r Run, t Task) *job.Work {
	shape := shapeOf(t)
	if shape == nil {
		return nil
	}
	c := r.Recipe
	w := job.Work{Shape: *shape, Work: perf.Work{Task: perf.Train, Engine: r.Trainer, Batch: c.Batch * c.Accumulate, Micro: c.Batch, Context: c.SeqLen}}
	if c.Method == SFT {
		w.Work.Task = perf.PostTrain
	}
	w.Shape.Name = r.Model // the shape's own is that of its architecture
	if w.Check() != nil {  // it can be trained all the same
		return nil
	}
	return &w
}

// tell reports how fast each attempt of a run was. It comes before the job's folder is given back, and again after a crash: a
// report counts once. What cannot be told holds nothing up.
func (s *Service) tell(ctx context.Context, r Run) {
	if s.Measured == nil || s.Processor == nil || r.JobID == "" || r.Ask.Work == nil || r.Ask.Chips > 0 {
		return
	}
	q := perf.Question{Shape: r.Ask.Work.Shape, Work: r.Ask.Work.Work}
	q.Work.Precision = chip.FP32 // of what trains on cores
	var err error
	if q.Chip, err = s.Processor(r.CPUs); err != nil {
		return
	}
	rates, err := s.rates(ctx, r)
	if err != nil {
		s.Log.DebugContext(ctx, "what a run reached cannot be read", "run", r.ID, "error", err)
		return
	}
	for _, attempt := range slices.Sorted(maps.Keys(rates)) { // in order, so that the last one's rate is the one that is shown
		all := rates[attempt]
		if len(all) < warmUp+leastSteps {
			continue
		}
		m := measured.Measurement{Question: q, At: s.now(), By: r.ID}
		m.Rate, m.Spread = middle(all[warmUp:])
		m.Count = min(mostCount, 1+len(all)/stepsOfOne)
		if _, err := s.Measured.Report(ctx, fmt.Sprintf("%s/%d", r.ID, attempt), m); err != nil {
			s.Log.DebugContext(ctx, "what a run reached was not taken", "run", r.ID, "error", err)
		}
	}
}

// rates are the tokens a second of the steps of each attempt, in order.
func (s *Service) rates(ctx context.Context, r Run) (map[int][]float64, error) {
	all := map[int][]float64{}
	err := s.told(ctx, r, func(p Progress) {
		if p.TokensPerSecond > 0 {
			all[p.Attempt] = append(all[p.Attempt], p.TokensPerSecond)
		}
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// middle is the median of rates, and the standard deviation of their logarithms as their middle half has it, so that a step
// that was put aside for a while does not count.
func middle(rates []float64) (median, spread float64) {
	v := slices.Clone(rates)
	slices.Sort(v)
	n := len(v)
	return v[n/2], math.Log(v[3*n/4]/v[n/4]) / 1.349
}
