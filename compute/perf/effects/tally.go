package effects

import (
	"math"
	"slices"
	"time"
)

// HalfLife is the age at which a measurement counts half.
const HalfLife = 90 * 24 * time.Hour

// The rules of a Tally.
const (
	Outlier = 10.0 // times off what is expected: kept apart
	Agree   = 1.5  // times off each other: two that were kept apart agree
	Noise   = 0.08 // standard deviation of the logarithm of one measurement, until a tally knows better

	believed  = 4.0  // measurements as many as which that stands
	counted   = 64.0 // measurements of a cell count as no more than so many: they share their errors
	KeptApart = 16   // of a cell
)

// Single is a measurement, or several of one source: the logarithm of measured over expected.
type Single struct {
	Ratio    float64   `json:"ratio"`
	Count    float64   `json:"count"`             // of how many it is the mean
	Squares  float64   `json:"squares,omitempty"` // sum of their squared distances from it
	At       time.Time `json:"at"`
	By       string    `json:"by"`       // its source: two that agree must differ in it
	Admitted bool      `json:"admitted"` // of one that was kept apart: another source told nearly the same, so it counts
}

// Tally is what is kept of the measurements of one cell. Weights are as of Last and fade by half in HalfLife; the order in which
// measurements come does not matter, unless more than KeptApart are far off.
type Tally struct {
	Count   float64   `json:"count"`   // weight at Last
	Mean    float64   `json:"mean"`    // of the logarithms
	Squares float64   `json:"squares"` // weighted sum of squared distances from Mean
	Last    time.Time `json:"last"`
	Apart   []Single  `json:"apart,omitempty"` // far from what is expected
}

// Add takes a measurement in. One that is far from what is expected is kept apart and counts nothing until another source
// tells nearly the same; then both are let in.
func (t *Tally) Add(x Single, far bool) {
	if far {
		t.keepApart(x)
	} else {
		t.fold(x)
	}
}

// keepApart keeps what is far off, and lets it in with all that another source agrees to.
func (t *Tally) keepApart(x Single) {
	for i := range t.Apart {
		y := &t.Apart[i]
		if y.By == x.By || math.Abs(y.Ratio-x.Ratio) > math.Log(Agree) {
			continue
		}
		if !y.Admitted {
			y.Admitted = true
			t.fold(*y)
		}
		if !x.Admitted {
			x.Admitted = true
			t.fold(x)
		}
	}
	t.Apart = append(t.Apart, x)
	slices.SortStableFunc(t.Apart, func(a, b Single) int { return b.At.Compare(a.At) })
	if len(t.Apart) > KeptApart { // who says most loses the oldest, so that nobody pushes out the words of others
		said, most := map[string]int{}, ""
		for _, y := range t.Apart {
			said[y.By]++
		}
		for by, n := range said {
			if n > said[most] || n == said[most] && by < most {
				most = by
			}
		}
		for i, y := range slices.Backward(t.Apart) {
			if y.By == most {
				t.Apart = slices.Delete(t.Apart, i, i+1)
				break
			}
		}
	}
	t.age(x.At)
}

// age makes a later time the one that weights are as of.
func (t *Tally) age(at time.Time) {
	if at.After(t.Last) {
		f := faded(at.Sub(t.Last))
		t.Count, t.Squares, t.Last = t.Count*f, t.Squares*f, at
	}
}

// fold adds to the weighted mean. Weights are as of the newest measurement, so that an older one that comes later
// counts as if it had come in time.
func (t *Tally) fold(x Single) {
	t.age(x.At)
	f := faded(t.Last.Sub(x.At))
	x.Count, x.Squares = x.Count*f, x.Squares*f
	all := t.Count + x.Count
	if all <= 0 {
		return
	}
	d := x.Ratio - t.Mean
	if t.Count == 0 {
		d, t.Mean = 0, x.Ratio
	}
	t.Mean += d * x.Count / all
	t.Squares += x.Squares + d*d*t.Count*x.Count/all
	t.Count = all
}

func faded(age time.Duration) float64 { return math.Exp2(-float64(age) / float64(HalfLife)) }

// Weight is how many measurements the tally counts as at a time; 0: it says nothing.
func (t *Tally) Weight(now time.Time) float64 {
	n := t.Count
	if now.After(t.Last) {
		n *= faded(now.Sub(t.Last))
	}
	if n < 0.05 {
		return 0
	}
	return n
}

// Spread is the standard deviation of one measurement's logarithm.
func (t *Tally) Spread() float64 {
	return math.Sqrt((believed*Noise*Noise + max(0, t.Squares)) / (believed + t.Count))
}

// View is the tally at a time as Solve wants it; false if it says nothing.
func (t *Tally) View(keys []string, now time.Time) (View, bool) {
	n := t.Weight(now)
	if n == 0 {
		return View{}, false
	}
	return View{Keys: keys, Mean: t.Mean, Variance: t.Spread() * t.Spread() / min(n, counted), Count: n}, true
}

// Waiting counts the sources of whose words some are kept apart and wait for another source that agrees.
func (t *Tally) Waiting() int {
	by := map[string]bool{}
	for _, x := range t.Apart {
		if !x.Admitted {
			by[x.By] = true
		}
	}
	return len(by)
}
