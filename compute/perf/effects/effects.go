// Package effects predicts how far work will be off its prior from measurements: of this work on other chips, of other
// work on this chip, and of work like it on chips like it. It is the one rule by which speeds are learnt, of running jobs
// in a live fleet and in replays.
//
// A figure is a natural log of measured over prior. A Tally sums up those of one cell. A cell's figure is taken to be a
// sum of effects, one of each level: cells with the same key at a level share its effect. An effect is zero unless
// measurements say otherwise, and how far apart a level's effects are (SD) says how much they must say: Solve gives the
// best linear prediction under random effects (BLUP; Henderson 1975, Robinson 1991), which is kriging with a sum of
// indicator kernels. So a cell that was never measured takes from its neighbours what they have in common with it, a measured
// one goes to its own measurements as their number grows, and both say how sure they are.
//
// Why crossed levels: work that is measured at half its prior on one chip is likely at half on the others, too. A rule that
// corrected the measured cell alone would make the others look twice as fast beside it, and a scheduler that goes by
// ratios would be led astray by the truth.
//
// Rules for callers: keys say what cells share, so the key of an inner level must hold those it lies in ("resnet|v100", not
// "v100" twice). Nothing here reads a clock. The same measurements give the same predictions to the last bit if views
// come in the same order.
package effects

import (
	"math"
)

// Level is one thing that cells may have in common.
type Level struct {
	Name string
	SD   float64 // of its effects, in natural logs
}

// View is what is known of a cell from its own measurements.
type View struct {
	Keys     []string // one for each level
	Mean     float64
	Variance float64 // of the mean, above 0
	Count    float64 // how many measurements it is of
}

// strange is how many times a view may be off what all others tell; what is further off, and by more than three standard
// deviations, is blurred by as much as it is too far, and the less so the more measurements it is of: one liar moves
// little, and many that agree win.
const strange = 3.0

// Posterior is what views tell of all cells.
type Posterior struct {
	levels  []Level
	views   []View
	factor  [][]float64 // Cholesky's of the views' covariance, row by row
	weights []float64
}

// Solve takes views together. It takes time with the third power of their number.
func Solve(levels []Level, views []View) *Posterior {
	p := &Posterior{levels: levels, views: views}
	extra := make([]float64, len(views))
	p.solve(extra)
	if p.blur(extra) {
		p.solve(extra)
	}
	return p
}

func (p *Posterior) solve(extra []float64) {
	n := len(p.views)
	p.factor, p.weights = make([][]float64, n), make([]float64, n)
	for i := range p.views {
		row := make([]float64, i+1)
		for j := range i {
			row[j] = (p.shared(p.views[i].Keys, p.views[j].Keys) - dot(row[:j], p.factor[j][:j])) / p.factor[j][j]
		}
		own := p.shared(p.views[i].Keys, p.views[i].Keys) + p.views[i].Variance + extra[i]
		row[i] = math.Sqrt(max(own-dot(row[:i], row[:i]), 1e-12))
		p.factor[i], p.weights[i] = row, p.views[i].Mean
	}
	p.forward(p.weights)
	for i := n - 1; i >= 0; i-- { // and backward
		p.weights[i] /= p.factor[i][i]
		for j, x := range p.factor[i][:i] {
			p.weights[j] -= float64(x * p.weights[i])
		}
	}
}

// blur finds the views that are far from what the others tell of them, by leaving each out in turn, which takes no more
// than the diagonal of the inverse.
func (p *Posterior) blur(extra []float64) (any bool) {
	n := len(p.views)
	column := make([]float64, n)
	for i := range p.views {
		clear(column)
		column[i] = 1
		p.forward(column)
		inverse := dot(column, column)
		d := p.weights[i] / inverse // off what the others predict, whose variance with the view's own is 1/inverse
		near := math.Log(strange)
		if far := d*d - max(near*near, 9/inverse); far > 0 {
			n := min(max(p.views[i].Count, 1), counted)
			extra[i] = far / (n * n)
			any = true
		}
	}
	return any
}

// At is what is expected of a cell, and its variance. Without views it is zero and as unsure as all levels together.
func (p *Posterior) At(keys []string) (mean, variance float64) {
	means, cov := p.Joint([][]string{keys})
	return means[0], max(0, cov[0][0])
}

// Joint is At for several cells with the covariances of their errors: what they are to each other is surer than what
// each is by itself, where they share effects.
func (p *Posterior) Joint(cells [][]string) (means []float64, cov [][]float64) {
	halves := make([][]float64, len(cells))
	for i, keys := range cells {
		k := make([]float64, len(p.views))
		for j := range p.views {
			k[j] = p.shared(keys, p.views[j].Keys)
		}
		means = append(means, dot(k, p.weights))
		p.forward(k)
		halves[i] = k
	}
	for i := range cells {
		row := make([]float64, len(cells))
		for j := range cells {
			row[j] = p.shared(cells[i], cells[j]) - dot(halves[i], halves[j])
		}
		cov = append(cov, row)
	}
	return means, cov
}

// Shared is the covariance of two cells: the variances of the effects that they share.
func Shared(levels []Level, x, y []string) (sum float64) {
	for i := range min(len(x), len(y), len(levels)) {
		if x[i] == y[i] {
			sum += float64(levels[i].SD * levels[i].SD)
		}
	}
	return sum
}

func (p *Posterior) shared(x, y []string) float64 { return Shared(p.levels, x, y) }

// forward solves L x = v in place.
func (p *Posterior) forward(v []float64) {
	for i, row := range p.factor {
		v[i] = (v[i] - dot(row[:i], v[:i])) / row[i]
	}
}

// dot rounds each product before it is added, so that all processors give the same sum.
func dot(a, b []float64) (sum float64) {
	for i, x := range a {
		sum += float64(x * b[i])
	}
	return sum
}
