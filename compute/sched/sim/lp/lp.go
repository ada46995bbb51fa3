// Package lp solves small linear programs exactly enough to judge schedulers by: maximise c.x where A x <= b, x >= 0
// and b >= 0, by the simplex method on a dense table.
//
// Rules for callers: a few hundred variables and rows at most; b must not be negative, so that x = 0 is allowed and no
// first phase is needed. The largest improvement is taken first and, after as many steps without one as there are
// rows, the lowest index (Bland's rule), which cannot cycle.
package lp

import (
	"math"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
)

const (
	tiny     = 1e-9
	maxCells = 4_000_000
)

// Maximize gives the best x and its value. It fails on shapes that do not match, on figures that are not finite, on a
// negative b and where there is no best because x may grow for ever.
func Maximize(c []float64, a [][]float64, b []float64) (x []float64, value float64, err error) {
	n, m := len(c), len(b)
	if err := check(c, a, b); err != nil {
		return nil, 0, err
	}
	t := newTableau(c, a, b)
	stalled := 0
	for {
		col := t.entering(stalled > m)
		if col < 0 {
			break
		}
		row := t.leaving(col)
		if row < 0 {
			return nil, 0, fault.New(fault.Invalid, "The linear program has no best solution: a variable may grow for ever.")
		}
		if t.cell[row][n+m] < tiny {
			stalled++
		} else {
			stalled = 0
		}
		t.pivot(row, col)
	}
	x = make([]float64, n)
	for i, v := range t.basis {
		if v < n {
			x[v] = t.cell[i][n+m]
		}
	}
	return x, t.cell[m][n+m], nil
}

func check(c []float64, a [][]float64, b []float64) error {
	if len(a) != len(b) || (len(c)+len(b)+1)*(len(b)+1) > maxCells {
		return fault.New(fault.Invalid, "The linear program's rows do not match, or it is too large.")
	}
	bad := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
	for i, row := range a {
		if len(row) != len(c) || bad(b[i]) || b[i] < 0 {
			return fault.New(fault.Invalid, "A row of the linear program has another length than c, or a bound that is negative or not finite.")
		}
		if slices.ContainsFunc(row, bad) {
			return fault.New(fault.Invalid, "A figure of the linear program is not finite.")
		}
	}
	if slices.ContainsFunc(c, bad) {
		return fault.New(fault.Invalid, "A figure of the linear program is not finite.")
	}
	return nil
}

// tableau has a row for each constraint and one for the value; columns for x, for the slack of each row, and b.
type tableau struct {
	cell  [][]float64
	basis []int
	n, m  int
}

func newTableau(c []float64, a [][]float64, b []float64) *tableau {
	n, m := len(c), len(b)
	t := &tableau{cell: make([][]float64, m+1), basis: make([]int, m), n: n, m: m}
	for i := range t.cell {
		t.cell[i] = make([]float64, n+m+1)
	}
	for i := range a {
		copy(t.cell[i], a[i])
		t.cell[i][n+i] = 1
		t.cell[i][n+m] = b[i]
		t.basis[i] = n + i
	}
	for j, v := range c {
		t.cell[m][j] = -v
	}
	return t
}

// entering is the column that improves the value most, or the first that does; -1 at the best.
func (t *tableau) entering(first bool) int {
	col, least := -1, -tiny
	for j, v := range t.cell[t.m][:t.n+t.m] {
		if v < least {
			col, least = j, v
			if first {
				break
			}
		}
	}
	return col
}

// leaving is the row that bounds the column first; of equals that with the lowest variable. -1 if none does.
func (t *tableau) leaving(col int) int {
	row, least := -1, math.Inf(1)
	for i := range t.m {
		if t.cell[i][col] <= tiny {
			continue
		}
		r := t.cell[i][t.n+t.m] / t.cell[i][col]
		if r < least-tiny || r <= least+tiny && row >= 0 && t.basis[i] < t.basis[row] {
			row, least = i, r
		}
	}
	return row
}

func (t *tableau) pivot(row, col int) {
	p := t.cell[row]
	by := 1 / p[col]
	for j := range p {
		p[j] *= by
	}
	p[col] = 1
	for i, r := range t.cell {
		if f := r[col]; i != row && f != 0 {
			for j, v := range p {
				r[j] -= f * v
			}
			r[col] = 0
		}
	}
	t.basis[row] = col
}
