// Package measured corrects predictions by what was measured: a Book takes measurements in and puts them into the
// answers of package perf.
//
// Rules for callers: a cell is the same shape, task, precision, chip, engine and layout; inside a cell, batch and context
// fall into buckets of powers of two, and what varies inside a bucket is left to the roofline, for what is kept is the
// logarithm of measured over predicted. An answer is the prior times what package effects expects of these ratios: those of its
// bucket, drawn to those of its cell, drawn to those of its chip and of its shape on other chips, under the same task and
// engine, drawn to the prior. A measurement
// more than ten times off the prior is kept apart and corrects nothing until another source tells nearly the same.
// Evidence fades by half in HalfLife. The order in which measurements come does not matter. A Book is safe for use by
// many goroutines; it reads no clock: Now is the caller's.
package measured

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/effects"
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
const HalfLife = effects.HalfLife

const (
	nine = 1.645
	near = 24 // rows that an answer is made of at most: the nearest
	// The parts of the prior's variance that all work of a chip, task and engine shares, that a shape shares on all chips,
	// that a cell adds, and that a bucket adds.
	ofGroup, ofShape, ofCell, ofBucket = 0.4, 0.2, 0.25, 0.15
)

// Bounds of what a Book keeps; the longest unused rows make room. Rows of this installation and those that projects told have room of their own
// each, and where projects together told too many, whoever told most gives way: nobody's words push out another's.
const (
	Most          = 4096 // of this installation, and of all projects together
	MostOfProject = 512
)

// Book holds measurements. The zero value is empty; Now must be set before Correct is called, or nothing fades.
type Book struct {
	Now func() time.Time

	mu   sync.RWMutex
	rows map[string]*Row    // by key
	held map[string]int     // by scope: how many of them
	told int                // of them by projects
	of   map[string][]filed // of a task and engine, by key
}

// filed is a row with what it shares with others.
type filed struct {
	row  *Row
	keys []string // by level
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
		b.rows, b.of, b.held = map[string]*Row{}, map[string][]filed{}, map[string]int{}
	}
	b.remove(r.Key)
	b.rows[r.Key] = r
	b.count(r.Scope, 1)
	kin := kinOf(&r.Question)
	at, _ := find(b.of[kin], r.Key)
	b.of[kin] = slices.Insert(b.of[kin], at, filed{r, keysOf(&r.Question)})
	switch {
	case b.held[""] > Most:
		b.oldest("")
	case r.Scope != "" && b.held[r.Scope] > MostOfProject:
		b.oldest(r.Scope)
	case b.told > Most:
		most := ""
		for scope, n := range b.held {
			if scope != "" && (most == "" || n > b.held[most] || n == b.held[most] && scope < most) {
				most = scope
			}
		}
		b.oldest(most)
	}
}

// count keeps held and told.
func (b *Book) count(scope string, n int) {
	if b.held[scope] += n; b.held[scope] == 0 {
		delete(b.held, scope)
	}
	if scope != "" {
		b.told += n
	}
}

// oldest removes the row of a scope that was longest unused.
func (b *Book) oldest(scope string) {
	var last *Row
	for _, r := range b.rows {
		if r.Scope == scope && (last == nil || cmp.Or(r.Last.Compare(last.Last), cmp.Compare(r.Key, last.Key)) < 0) {
			last = r
		}
	}
	b.remove(last.Key)
}

func (b *Book) remove(key string) {
	old := b.rows[key]
	if old == nil {
		return
	}
	delete(b.rows, key)
	b.count(old.Scope, -1)
	kin := kinOf(&old.Question)
	if at, ok := find(b.of[kin], key); ok {
		b.of[kin] = slices.Delete(b.of[kin], at, at+1)
	}
}

func find(list []filed, key string) (int, bool) {
	return slices.BinarySearchFunc(list, key, func(f filed, key string) int { return strings.Compare(f.row.Key, key) })
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

// correct has package effects say what the rows that share anything with the question tell of it.
func (b *Book) correct(scope string, q perf.Question, a perf.Answer) perf.Answer {
	if !(a.Rate > 0) || a.Known != perf.Prior && a.Known != "" {
		return a
	}
	if q.Work.Batch == 0 {
		q.Work.Batch = a.Batch
	}
	prior := max(math.Log(max(a.High/a.Rate, a.Rate/max(a.Low, 1e-300)))/nine, effects.Noise)
	keys, levels := keysOf(&q), levelsOf(prior)
	var now time.Time
	if b.Now != nil {
		now = b.Now()
	}
	seen := perf.Evidence{}
	spread, owned := effects.Noise, false
	var views []effects.View
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, f := range b.of[kinOf(&q)] { // in an order of its own, so that rounding does not show
		if f.row.Scope != "" && f.row.Scope != scope || effects.Shared(levels, f.keys, keys) == 0 {
			continue
		}
		seen.Apart += f.row.Waiting()
		v, ok := f.row.View(f.keys, now)
		if !ok || f.row.Prior == 0 {
			continue
		}
		views = append(views, v)
		seen.Count += v.Count
		seen.Cells++
		if f.row.Last.After(seen.Last) {
			seen.Last = f.row.Last
		}
		if slices.Equal(f.keys, keys) {
			spread, owned = f.row.Spread(), true
		}
	}
	if seen.Cells == 0 {
		if seen.Apart > 0 {
			a.Evidence = &seen
		}
		return a
	}
	mean, variance := effects.Solve(levels, nearest(levels, views, keys)).At(keys)
	a.Known = perf.Corrected
	if owned {
		a.Known = perf.Measured
	}
	seen.Factor = math.Exp(mean)
	a.Evidence = &seen
	half := math.Exp(min(nine*math.Sqrt(variance+spread*spread), nine*prior))
	return a.Scaled(seen.Factor, half)
}

// levelsOf are what rows may share, with the deviations that make up that of the prior.
func levelsOf(prior float64) []effects.Level {
	return []effects.Level{{Name: "chip", SD: prior * math.Sqrt(ofGroup)}, {Name: "shape", SD: prior * math.Sqrt(ofShape)},
		{Name: "cell", SD: prior * math.Sqrt(ofCell)}, {Name: "bucket", SD: prior * math.Sqrt(ofBucket)}}
}

// nearest keeps the views that share most with a cell, and of those that share as much the ones of more measurements.
func nearest(levels []effects.Level, views []effects.View, keys []string) []effects.View {
	if len(views) > near {
		slices.SortStableFunc(views, func(x, y effects.View) int {
			return cmp.Or(cmp.Compare(effects.Shared(levels, y.Keys, keys), effects.Shared(levels, x.Keys, keys)), cmp.Compare(y.Count, x.Count))
		})
		views = views[:near]
	}
	return views
}

// String says what a row was measured at.
func (r *Row) String() string {
	return fmt.Sprintf("%s %s on %s by %s", r.Question.Shape.Name, r.Question.Work.Task, r.Question.Chip.ID, r.Question.Work.Engine)
}
