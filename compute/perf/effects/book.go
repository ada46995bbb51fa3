package effects

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Book holds the tallies of cells whose priors only their neighbours can tell. Use New. It is not safe for concurrent use.
type Book struct {
	levels []Level
	cells  map[string]*cell
	fit    *Posterior // nil: something was added since
	now    time.Time  // of the newest measurement
}

type cell struct {
	Tally
	name string
	keys []string
}

// MaxCells is how many cells a Book has; a further one takes the place of the one that was measured least recently.
const MaxCells = 512

// Verdict is what became of a measurement.
type Verdict string

// The verdicts.
const (
	Taken   Verdict = "taken"
	Doubted Verdict = "doubted" // kept apart: it corrects nothing until a second one agrees
	Refused Verdict = "refused" // no number, or not a key for each level
)

// New makes an empty book.
func New(levels ...Level) *Book { return &Book{levels: levels, cells: map[string]*cell{}} }

// Add tells of a measurement of the cell with these keys, one for each level. It is far from what is expected if it is
// off by more than Outlier from the cell's own, or, where that is of few, from what neighbours tell and by more than four
// standard deviations.
func (b *Book) Add(keys []string, x Single) Verdict {
	if len(keys) != len(b.levels) || math.IsNaN(x.Ratio) || math.IsInf(x.Ratio, 0) || !(x.Count > 0) {
		return Refused
	}
	name := strings.Join(keys, "\x00")
	c := b.cells[name]
	far := b.far(c, keys, x.Ratio)
	if c == nil {
		c = b.open(name, keys)
	}
	before := c.Count
	c.Add(x, far)
	if x.At.After(b.now) {
		b.now = x.At
	}
	if far && c.Count <= before { // time alone takes from it
		return Doubted
	}
	b.fit = nil
	return Taken
}

func (b *Book) far(c *cell, keys []string, ratio float64) bool {
	if c != nil && c.Count >= believed { // it is judged by its own: no need to ask the neighbours
		return math.Abs(ratio-c.Mean) > math.Log(Outlier)
	}
	mean, variance := b.solved().At(keys)
	return math.Abs(ratio-mean) > max(math.Log(Outlier), 4*math.Sqrt(variance+Noise*Noise))
}

// open adds a cell.
func (b *Book) open(name string, keys []string) *cell {
	if len(b.cells) >= MaxCells {
		var oldest *cell
		for _, c := range b.cells {
			if oldest == nil || c.Last.Before(oldest.Last) || c.Last.Equal(oldest.Last) && c.name < oldest.name {
				oldest = c
			}
		}
		delete(b.cells, oldest.name)
		b.fit = nil
	}
	c := &cell{name: name, keys: slices.Clone(keys)}
	b.cells[name] = c
	return c
}

// Of is the tally of a cell; the zero one if it was never measured.
func (b *Book) Of(keys []string) Tally {
	if c := b.cells[strings.Join(keys, "\x00")]; c != nil {
		return c.Tally
	}
	return Tally{}
}

// Predict is the figure expected of a cell, and its standard deviation.
func (b *Book) Predict(keys []string) (mean, sd float64) {
	mean, variance := b.solved().At(keys)
	return mean, math.Sqrt(variance)
}

// Joint is Posterior.Joint of all that was measured.
func (b *Book) Joint(cells [][]string) (means []float64, cov [][]float64) {
	return b.solved().Joint(cells)
}

func (b *Book) solved() *Posterior {
	if b.fit != nil {
		return b.fit
	}
	names := make([]string, 0, len(b.cells))
	for name := range b.cells {
		names = append(names, name)
	}
	slices.Sort(names) // in an order of its own, so that rounding does not show
	var views []View
	for _, name := range names {
		c := b.cells[name]
		if v, ok := c.View(c.keys, b.now); ok {
			views = append(views, v)
		}
	}
	b.fit = Solve(b.levels, views)
	return b.fit
}
