// Package effects predicts how far a measurement will be off its prior from those that were made: of this work on other
// chips, of other work on this chip, and of work like it on chips like it.
//
// A figure is a natural log of measured over prior. It is taken to be a sum of effects, one of each level: figures with
// the same key at a level share its effect. An effect is zero unless measurements say otherwise, and how far apart a
// level's effects are (SD) says how much they must say: the prediction is the best linear one under random effects (BLUP;
// Henderson 1975, Robinson 1991), which is kriging with a sum of indicator kernels. So a cell that was never measured
// takes from its neighbours what they have in common with it, a measured one goes to its own measurements as their
// number grows, and both say how sure they are.
//
// Why crossed levels: work that is measured at half its prior on one chip is likely at half on the others, too. A rule that
// corrected the measured cell alone would make the others look twice as fast beside it, and a scheduler that goes by
// ratios would be led astray by the truth.
//
// Rules for callers: keys say what figures share, so a key at an inner level must hold those it lies in ("resnet|v100", not "v100" twice). A
// Book is not safe for concurrent use. The same measurements in any order give the same predictions, but for those in doubt.
package effects

import (
	"math"
	"slices"
	"strings"
)

// Level is one thing that figures may have in common.
type Level struct {
	Name string
	SD   float64 // of its effects, in natural logs
}

// Model is what a Book goes by.
type Model struct {
	Levels []Level
	Noise  float64 // SD of one measurement around its cell's truth, in natural logs
}

// Bounds of a Book and the rules of doubt.
const (
	MaxCells = 512 // cells beyond push out the one that was measured least recently
	kept     = 32  // measurements of a cell: the last ones
)

// Doubt is how far off a figure must be to be kept apart, beside four times what the model thinks likely: ten times, in natural logs.
var Doubt = math.Log(10)

// agree is how near to another a doubted measurement must be for both to be believed, in natural logs.
var agree = math.Log(2)

// Verdict is what became of a measurement.
type Verdict string

// The verdicts.
const (
	Taken   Verdict = "taken"
	Doubted Verdict = "doubted" // kept apart: it corrects nothing until a second one agrees
	Refused Verdict = "refused" // no number, or not a key for each level
)

// Book holds measurements. Use New.
type Book struct {
	model Model
	ids   []map[string]int32
	cells map[string]*cell
	tick  int64
	fit   *fit // nil: something was added since
}

// cell is the measurements with one key at each level.
type cell struct {
	name    string
	keys    []int32
	last    []float64
	count   int
	doubted []float64
	at      int64
}

// New makes an empty book.
func New(m Model) *Book {
	b := &Book{model: m, cells: map[string]*cell{}}
	for range m.Levels {
		b.ids = append(b.ids, map[string]int32{})
	}
	return b
}

// Add tells of a measurement of the cell with these keys, one for each level.
func (b *Book) Add(keys []string, logRatio float64) Verdict {
	if len(keys) != len(b.model.Levels) || math.IsNaN(logRatio) || math.IsInf(logRatio, 0) {
		return Refused
	}
	c := b.cells[strings.Join(keys, "\x00")]
	if b.doubtful(keys, logRatio) {
		if c == nil {
			c = b.open(keys)
		}
		k := slices.IndexFunc(c.doubted, func(x float64) bool { return math.Abs(x-logRatio) <= agree })
		if k < 0 {
			if c.doubted = append(c.doubted, logRatio); len(c.doubted) > kept {
				c.doubted = c.doubted[1:]
			}
			return Doubted
		}
		c.take(c.doubted[k])
		c.doubted = slices.Delete(c.doubted, k, k+1)
	}
	if c == nil {
		c = b.open(keys)
	}
	c.take(logRatio)
	b.tick++
	c.at, b.fit = b.tick, nil
	return Taken
}

func (b *Book) doubtful(keys []string, y float64) bool {
	mean, sd := b.Predict(keys)
	noise := b.model.Noise
	return math.Abs(y-mean) > max(Doubt, 4*math.Sqrt(float64(sd*sd)+float64(noise*noise)))
}

func (c *cell) take(y float64) {
	c.count++
	if c.last = append(c.last, y); len(c.last) > kept {
		c.last = c.last[1:]
	}
}

// open adds a cell, in the place of the one that was measured least recently if there are too many.
func (b *Book) open(keys []string) *cell {
	if len(b.cells) >= MaxCells {
		var oldest *cell
		for _, c := range b.cells {
			if oldest == nil || c.at < oldest.at || c.at == oldest.at && c.name < oldest.name {
				oldest = c
			}
		}
		delete(b.cells, oldest.name)
		b.fit = nil
	}
	c := &cell{name: strings.Join(keys, "\x00"), at: b.tick}
	for i, k := range keys {
		id, ok := b.ids[i][k]
		if !ok {
			id = int32(len(b.ids[i]))
			b.ids[i][k] = id
		}
		c.keys = append(c.keys, id)
	}
	b.cells[c.name] = c
	return c
}

// Count is how many measurements a cell has had that were taken, and how many are kept apart.
func (b *Book) Count(keys []string) (taken, doubted int) {
	if c := b.cells[strings.Join(keys, "\x00")]; c != nil {
		return c.count, len(c.doubted)
	}
	return 0, 0
}

// Predict is the log ratio expected of a cell, and its standard deviation. Without measurements it is zero and as unsure as all
// levels together.
func (b *Book) Predict(keys []string) (mean, sd float64) {
	means, cov := b.Joint([][]string{keys})
	return means[0], math.Sqrt(max(0, cov[0][0]))
}

// Joint is Predict for several cells with the covariances of their errors: what they are to each other is surer than
// what each is by itself, where they share effects.
func (b *Book) Joint(cells [][]string) (means []float64, cov [][]float64) {
	if b.fit == nil {
		b.fit = b.solve()
	}
	f := b.fit
	at, halves := make([][]int32, len(cells)), make([][]float64, len(cells))
	for i, keys := range cells {
		at[i] = b.numbers(keys)
		k := make([]float64, len(f.cells))
		for j, c := range f.cells {
			k[j] = b.shared(at[i], c.keys)
		}
		means = append(means, dot(k, f.weights))
		f.forward(k)
		halves[i] = k
	}
	for i := range cells {
		row := make([]float64, len(cells))
		for j := range cells {
			row[j] = b.named(cells[i], cells[j]) - dot(halves[i], halves[j])
		}
		cov = append(cov, row)
	}
	return means, cov
}

// numbers are the ids of keys; -1 for one that no cell has.
func (b *Book) numbers(keys []string) []int32 {
	out := make([]int32, len(b.ids))
	for i := range b.ids {
		out[i] = -1
		if i < len(keys) {
			if id, ok := b.ids[i][keys[i]]; ok {
				out[i] = id
			}
		}
	}
	return out
}

// shared is the covariance of two figures: the variances of the effects that they share.
func (b *Book) shared(x, y []int32) (sum float64) {
	for i := range x {
		if x[i] == y[i] && x[i] >= 0 {
			sum += b.variance(i)
		}
	}
	return sum
}

// named is shared for keys that the book may never have seen.
func (b *Book) named(x, y []string) (sum float64) {
	for i := range min(len(x), len(y), len(b.model.Levels)) {
		if x[i] == y[i] {
			sum += b.variance(i)
		}
	}
	return sum
}

func (b *Book) all() (sum float64) {
	for i := range b.model.Levels {
		sum += b.variance(i)
	}
	return sum
}

func (b *Book) variance(i int) float64 {
	sd := b.model.Levels[i].SD
	return float64(sd * sd)
}

// fit is the solved system: Cholesky's factor of the cells' covariance with noise, row by row, and the weights that means are made of.
type fit struct {
	cells   []*cell
	factor  [][]float64
	weights []float64
}

// solve takes each cell for one figure, the median of its measurements, which one liar among three cannot move, with the
// noise of a median of so many.
func (b *Book) solve() *fit {
	f := &fit{}
	for _, c := range b.cells {
		if len(c.last) > 0 {
			f.cells = append(f.cells, c)
		}
	}
	slices.SortFunc(f.cells, func(x, y *cell) int { return strings.Compare(x.name, y.name) })
	noise := float64(b.model.Noise * b.model.Noise)
	f.weights = make([]float64, len(f.cells))
	for i, c := range f.cells {
		row := make([]float64, i+1)
		for j := range i {
			row[j] = b.shared(c.keys, f.cells[j].keys)
		}
		row[i] = b.all() + medianNoise(noise, len(c.last))
		for j := range row {
			sum := row[j] - dot(row[:j], f.rowOf(j, row)[:j])
			if j == i {
				row[i] = math.Sqrt(max(sum, 1e-12))
			} else {
				row[j] = sum / f.factor[j][j]
			}
		}
		f.factor = append(f.factor, row)
		f.weights[i] = median(c.last)
	}
	f.forward(f.weights)
	f.backward(f.weights)
	return f
}

func (f *fit) rowOf(j int, last []float64) []float64 {
	if j == len(f.factor) {
		return last
	}
	return f.factor[j]
}

// forward solves L x = v in place, backward L' x = v.
func (f *fit) forward(v []float64) {
	for i, row := range f.factor {
		v[i] = (v[i] - dot(row[:i], v[:i])) / row[i]
	}
}

func (f *fit) backward(v []float64) {
	for i := len(f.factor) - 1; i >= 0; i-- {
		v[i] /= f.factor[i][i]
		for j, x := range f.factor[i][:i] {
			v[j] -= float64(x * v[i])
		}
	}
}

// medianNoise is the variance of the median of n figures with normal noise: pi/2n for many, and 1/n for one and two.
func medianNoise(noise float64, n int) float64 {
	if n <= 2 {
		return noise / float64(n)
	}
	return noise * math.Pi / 2 / float64(n)
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	if n := len(s); n%2 == 1 {
		return s[n/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// dot rounds each product before it is added, so that all processors give the same sum.
func dot(a, b []float64) (sum float64) {
	for i, x := range a {
		sum += float64(x * b[i])
	}
	return sum
}
