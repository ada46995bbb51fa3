// Package measured corrects predictions by what was measured: a Book takes measurements in and puts them into the
// answers of package perf.
//
// Rules for callers: a cell is the same shape, task, precision, chip, engine and layout; inside a cell, batch and context
// fall into buckets of powers of two, and what varies inside a bucket is left to the roofline, for what is kept is the
// logarithm of measured over predicted. An answer is the prior times the shrunken mean of these ratios: of its bucket,
// drawn to that of its cell, drawn to that of all cells of its chip, task and engine, drawn to the prior. A measurement
// more than ten times off the prior is kept apart and corrects nothing until another source tells nearly the same.
// Evidence fades by half in HalfLife. The order in which measurements come does not matter. A Book is safe for use by
// many goroutines; it reads no clock: Now is the caller's.
package measured

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Measurement is work that was done, and how fast.
type Measurement struct {
	Question perf.Question `json:"question"` // Batch is the one that ran, or its mean
	Rate     float64       `json:"rate"`     // tokens a second as perf.Answer counts them: of the whole layout
	Count    int           `json:"count"`    // of how many single measurements it is the mean; 0: one
	Spread   float64       `json:"spread"`   // standard deviation of their logarithms, as far as known
	At       time.Time     `json:"at"`
	By       string        `json:"by"`    // whose word it is, such as a run or a project: two that agree must differ in it
	Scope    string        `json:"scope"` // the project that alone is to be answered by it; empty: all
}

// HalfLife is the age at which a measurement counts half.
const HalfLife = 90 * 24 * time.Hour

const (
	outlier = 10.0 // times off the prior: kept apart
	agree   = 1.5  // times off each other: two that were kept apart agree
	strange = 3.0  // times off what is believed: doubted, and the less so the more there are
	noise   = 0.08 // standard deviation of the logarithm of one measurement, until a row knows better
	known   = 4.0  // measurements as many as which that stands
	counted = 64.0 // measurements of a bucket count as no more than so many: they share their errors
	nine    = 1.645
	// The parts of the prior's variance that chip, task and engine share, that a cell adds, and that a bucket adds.
	ofGroup, ofCell, ofBucket = 0.5, 0.35, 0.15
	keptApart                 = 16
)

// Most is how many rows a Book keeps; the longest unused makes room.
const Most = 4096

// Book holds measurements. The zero value is empty; Now must be set before Correct is called, or nothing fades.
type Book struct {
	Now func() time.Time

	mu   sync.RWMutex
	rows map[string]*Row            // by key
	of   map[string]map[string]*Row // of a group, by key
}

// Check says what is wrong with a measurement from outside; the error is a fault.Invalid with the field.
func (m Measurement) Check() error {
	w := m.Question.Work
	switch {
	case !(m.Rate > 0 && m.Rate < 1e12):
		return fault.InvalidField("rate", "rate is %g, it must be tokens a second.", m.Rate)
	case m.Count < 0 || m.Count > 1<<30:
		return fault.InvalidField("count", "count is %d, it must be 1 to %d.", m.Count, 1<<30)
	case !(m.Spread >= 0 && m.Spread < 10):
		return fault.InvalidField("spread", "spread is %g, it must be 0 to 10.", m.Spread)
	case w.Batch < 1:
		return fault.InvalidField("work.batch", "batch is %d, it must be the one that ran.", w.Batch)
	case m.Question.Chip.ID == "":
		return fault.InvalidField("chip", "The chip is missing.")
	case m.At.IsZero():
		return fault.InvalidField("at", "The time is missing.")
	case len(w.Engine) > 64 || len(m.Question.Chip.ID) > 64 || len(m.By) > 128 || len(m.Scope) > 64 || len(m.Question.Shape.Name) > 256:
		return fault.InvalidField("engine", "A name is too long.")
	}
	if _, r := perf.Hold(m.Question); r != nil {
		return fault.InvalidField(r.Field, "%s: %s.", r.Field, r.Detail)
	}
	return nil
}

// Add takes a measurement in. The error says what is wrong with it; then nothing was taken.
func (b *Book) Add(m Measurement) error {
	if err := m.Check(); err != nil {
		return err
	}
	key := keyOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	next := newRow(key, m)
	if r := b.rows[key]; r != nil {
		next = r.clone()
	}
	if err := next.add(m); err != nil {
		return err
	}
	b.put(next)
	return nil
}

// Put takes a row in as it was stored, in the place of the one it has; its prior is computed anew, for formulas change.
func (b *Book) Put(r Row) {
	n := r.clone()
	n.renew()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(n)
}

// put stores a row. The caller holds mu.
func (b *Book) put(r *Row) {
	if b.rows == nil {
		b.rows, b.of = map[string]*Row{}, map[string]map[string]*Row{}
	}
	b.rows[r.Key] = r
	g := groupOf(&r.Question)
	if b.of[g] == nil {
		b.of[g] = map[string]*Row{}
	}
	b.of[g][r.Key] = r
	for len(b.rows) > Most {
		old := slices.MinFunc(slices.Collect(maps.Values(b.rows)), func(x, y *Row) int { return x.Last.Compare(y.Last) })
		delete(b.rows, old.Key)
		delete(b.of[groupOf(&old.Question)], old.Key)
	}
}

// Rows are what the book holds, by key.
func (b *Book) Rows() []Row {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Row, 0, len(b.rows))
	for _, k := range slices.Sorted(maps.Keys(b.rows)) {
		out = append(out, *b.rows[k].clone())
	}
	return out
}

// Correct puts what was measured into an answer of perf to the question. What nobody measured anything near to stays as it is.
func (b *Book) Correct(q perf.Question, a perf.Answer) perf.Answer { return b.correct("", q, a) }

// Scoped is the book as a project sees it: with what its own programs measured.
func (b *Book) Scoped(project string) Scoped { return Scoped{b, project} }

// Scoped corrects for a project.
type Scoped struct {
	book    *Book
	project string
}

// Correct is Book.Correct with the project's own measurements.
func (s Scoped) Correct(q perf.Question, a perf.Answer) perf.Answer {
	return s.book.correct(s.project, q, a)
}

// normal is a mean and variance of what is believed.
type normal struct{ mean, variance float64 }

// meets is the belief after another independent view of the same number.
func (n normal) meets(o normal) normal {
	if math.IsInf(o.variance, 1) {
		return n
	}
	p, r := 1/n.variance, 1/o.variance
	return normal{(n.mean*p + o.mean*r) / (p + r), 1 / (p + r)}
}

// wider is the belief in something that differs from it by as much.
func (n normal) wider(variance float64) normal { return normal{n.mean, n.variance + variance} }

// doubted is a view of so many measurements as it counts against a belief: what is far off is blurred by as much as it is
// too far, so that one alone moves little and many win.
func (n normal) doubted(view normal, count float64) normal {
	d, near := view.mean-n.mean, math.Log(strange)
	if far := d*d - max(near*near, 9*(n.variance+view.variance)); far > 0 {
		view.variance += far / min(count, counted)
	}
	return view
}

// correct is message passing in a tree of normal beliefs: what is measured elsewhere tells of the group, the group of the
// cell, the cell of the bucket, each with what it may differ by; a row tells on only one of these ways.
func (b *Book) correct(scope string, q perf.Question, a perf.Answer) perf.Answer {
	if !(a.Rate > 0) || a.Known != perf.Prior && a.Known != "" {
		return a
	}
	if q.Work.Batch == 0 {
		q.Work.Batch = a.Batch
	}
	cell, bucket := cellOf(&q), bucketOf(&q.Work)
	prior := max(math.Log(max(a.High/a.Rate, a.Rate/max(a.Low, 1e-300)))/nine, noise)
	whole := prior * prior
	var now time.Time
	if b.Now != nil {
		now = b.Now()
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	group := normal{0, whole * ofGroup}
	own, owned := normal{0, math.Inf(1)}, 0.0
	cells := map[string]*normal{}
	var inside []normal
	seen := perf.Evidence{}
	spread := noise
	for _, k := range slices.Sorted(maps.Keys(b.of[groupOf(&q)])) { // in an order of its own, so that rounding does not show
		r := b.of[groupOf(&q)][k]
		if r.Scope != "" && r.Scope != scope {
			continue
		}
		seen.Apart += r.apart()
		n := r.weight(now)
		if n == 0 {
			continue
		}
		view := normal{r.Mean, r.noise() * r.noise() / min(n, counted)}
		seen.Count += n
		seen.Cells++
		if r.Last.After(seen.Last) {
			seen.Last = r.Last
		}
		switch {
		case r.Cell == cell && r.Bucket == bucket:
			if own = view.meets(own); owned == 0 {
				own = view
			}
			owned += n
			spread = r.noise()
		case r.Cell == cell:
			inside = append(inside, group.doubted(view, n).wider(whole*ofBucket))
		default:
			v := group.doubted(view, n).wider(whole * ofBucket)
			if c := cells[r.Cell]; c != nil {
				v = c.meets(v)
			}
			cells[r.Cell] = &v
		}
	}
	if seen.Cells == 0 {
		if seen.Apart > 0 {
			a.Evidence = &seen
		}
		return a
	}
	for _, k := range slices.Sorted(maps.Keys(cells)) {
		group = group.meets(cells[k].wider(whole * ofCell))
	}
	belief := group.wider(whole * ofCell)
	for _, v := range inside {
		belief = belief.meets(v)
	}
	belief = belief.wider(whole * ofBucket)
	a.Known = perf.Corrected
	if owned > 0 {
		a.Known = perf.Measured
		belief = belief.meets(belief.doubted(own, owned))
	}
	seen.Factor = math.Exp(belief.mean)
	a.Evidence = &seen
	half := math.Exp(min(nine*math.Sqrt(belief.variance+spread*spread), nine*prior))
	return a.Scaled(seen.Factor, half)
}

// String says what a row was measured at.
func (r *Row) String() string {
	return fmt.Sprintf("%s %s on %s by %s", r.Question.Shape.Name, r.Question.Work.Task, r.Question.Chip.ID, r.Question.Work.Engine)
}
