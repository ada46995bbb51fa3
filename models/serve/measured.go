package serve

import (
	"context"
	"fmt"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/models/engine"
)

// Measured takes in how fast replicas are; measured.Service is one. A report of the same name counts once.
type Measured interface {
	Report(ctx context.Context, report string, m measured.Measurement) (bool, error)
}

const (
	measureEvery = time.Minute
	leastDecode  = 200  // steps of a report: fewer tell nothing
	leastPrefill = 2000 // tokens
)

// worked is what a replica had done when it was asked last.
type worked struct {
	attempt int
	at      time.Time
	work    engine.Work
}

// measure reports what a replica did since it was asked last, where its engine tells. A new control plane begins with what the replica has
// done by then. What cannot be told holds nothing up.
func (s *Service) measure(ctx context.Context, d Deployment, r *Replica, eng engine.Engine, end engine.Endpoint) {
	by, ok := eng.(engine.Worker)
	if !ok || s.Measured == nil || s.Processor == nil || d.Ask.Work == nil || d.Ask.Chips > 0 {
		return
	}
	now := s.now()
	s.mu.Lock()
	last, known := s.worked[r.ID]
	s.mu.Unlock()
	if known && last.attempt == r.Attempt && now.Sub(last.at) < measureEvery {
		return
	}
	done, err := by.Work(ctx, end)
	if err != nil {
		return
	}
	next := worked{r.Attempt, now, done}
	if known && last.attempt == r.Attempt {
		if c, err := s.Processor(d.Threads); err == nil {
			next.work = s.tell(ctx, d, r, c, last.work, done)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worked == nil {
		s.worked = map[string]worked{}
	}
	s.worked[r.ID] = next
}

// tell reports the work between two answers, and returns up to where it was told: little work waits for more.
func (s *Service) tell(ctx context.Context, d Deployment, r *Replica, c chip.Chip, from, to engine.Work) engine.Work {
	at := from
	q := perf.Question{Shape: d.Ask.Work.Shape, Work: d.Ask.Work.Work, Chip: c}
	q.Work.Precision, q.Work.WeightBytes, q.Work.CacheBytes, q.Work.AtMost = chip.FP32, 0, 4, 0
	report := func(t perf.Task, rows, nanos, total uint64, batch, length float64) {
		q.Work.Task, q.Work.Batch, q.Work.Context = t, max(1, int(batch+0.5)), max(1, int(length+0.5))
		m := measured.Measurement{Question: q, Rate: float64(rows) / (float64(nanos) / 1e9), At: s.now(), By: r.ID}
		if _, err := s.Measured.Report(ctx, fmt.Sprintf("%s/%d/%s/%d", r.ID, r.Attempt, t, total), m); err != nil {
			s.Log.DebugContext(ctx, "what a replica reached was not taken", "replica", r.ID, "error", err)
		}
	}
	if x, ok := less(to.Decode, from.Decode); !ok {
		at.Decode = to.Decode
	} else if x.Steps >= leastDecode && x.Rows > 0 {
		report(perf.Decode, x.Rows, x.Nanos, to.Decode.Steps, float64(x.Rows)/float64(x.Steps), float64(x.Seen)/float64(x.Rows))
		at.Decode = to.Decode
	}
	if x, ok := less(to.Prefill, from.Prefill); !ok {
		at.Prefill = to.Prefill
	} else if x.Rows >= leastPrefill && x.Steps > 0 {
		// Tokens see half of their prompt in the mean; how many prompts shared a step is not told, and matters little.
		length := 2 * float64(x.Seen) / float64(x.Rows)
		report(perf.Prefill, x.Rows, x.Nanos, to.Prefill.Steps, float64(x.Rows)/float64(x.Steps)/length, length)
		at.Prefill = to.Prefill
	}
	return at
}

// less is what came to work; false where the count began anew or cannot be.
func less(to, from engine.Spent) (engine.Spent, bool) {
	d := engine.Spent{Nanos: to.Nanos - from.Nanos, Steps: to.Steps - from.Steps, Rows: to.Rows - from.Rows, Seen: to.Seen - from.Seen}
	ok := to.Nanos >= from.Nanos && to.Steps >= from.Steps && to.Rows >= from.Rows && to.Seen >= from.Seen
	return d, ok && d.Steps < 1<<40 && d.Rows < 1<<40 && d.Seen < 1<<50 && (d.Rows == 0 || d.Nanos > 0)
}
