package lp

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestKnownPrograms(t *testing.T) {
	for _, k := range []struct {
		c     []float64
		a     [][]float64
		b     []float64
		value float64
	}{
		{[]float64{3, 5}, [][]float64{{1, 0}, {0, 2}, {3, 2}}, []float64{4, 12, 18}, 36},
		{[]float64{-1, -1}, [][]float64{{1, 1}}, []float64{5}, 0},
		// Beale's example, on which the plain rule of the largest improvement goes round in a circle.
		{[]float64{0.75, -150, 0.02, -6}, [][]float64{{0.25, -60, -1. / 25, 9}, {0.5, -90, -1. / 50, 3}, {0, 0, 1, 0}}, []float64{0, 0, 1}, 0.05},
	} {
		_, v, err := Maximize(k.c, k.a, k.b)
		if err != nil || math.Abs(v-k.value) > 1e-9 {
			t.Errorf("%v: value %v, %v; want %v", k.c, v, err, k.value)
		}
	}
}

func TestHopelessProgramsAreRefused(t *testing.T) {
	for name, run := range map[string]func() error{
		"unbounded": func() error { _, _, err := Maximize([]float64{1}, [][]float64{{-1}}, []float64{1}); return err },
		"negative":  func() error { _, _, err := Maximize([]float64{1}, [][]float64{{1}}, []float64{-1}); return err },
		"ragged":    func() error { _, _, err := Maximize([]float64{1, 2}, [][]float64{{1}}, []float64{1}); return err },
		"nan":       func() error { _, _, err := Maximize([]float64{math.NaN()}, [][]float64{{1}}, []float64{1}); return err },
	} {
		if err := run(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The answer is allowed, and no better one exists: weak duality. Prices y >= 0 with yA >= c bound every value by y.b, and
// the best prices of the dual program, solved by trying all corners of two rows, meet the value.
func TestBestAmongAllCorners(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		num := rapid.IntRange(1, 9)
		c := []float64{float64(num.Draw(t, "c")), float64(num.Draw(t, "c"))}
		var a [][]float64
		var b []float64
		for range rapid.IntRange(2, 5).Draw(t, "rows") {
			a = append(a, []float64{float64(num.Draw(t, "a")), float64(num.Draw(t, "a"))})
			b = append(b, float64(rapid.IntRange(0, 20).Draw(t, "b")))
		}
		x, v, err := Maximize(c, a, b)
		if err != nil {
			t.Fatal(err)
		}
		if !allowed(x, a, b) {
			t.Fatalf("%v breaks a bound", x)
		}
		if best := corners(c, a, b); math.Abs(best-v) > 1e-6 {
			t.Fatalf("value %v, the best corner has %v", v, best)
		}
	})
}

func allowed(x []float64, a [][]float64, b []float64) bool {
	for i, row := range a {
		if row[0]*x[0]+row[1]*x[1] > b[i]+1e-6 {
			return false
		}
	}
	return x[0] >= -1e-9 && x[1] >= -1e-9
}

// corners is the best value over the crossings of every two bounds, the axes among them.
func corners(c []float64, a [][]float64, b []float64) float64 {
	lines, at := append([][]float64{{1, 0}, {0, 1}}, a...), append([]float64{0, 0}, b...)
	best := 0.0
	for i := range lines {
		for j := range i {
			p, q := lines[i], lines[j]
			det := p[0]*q[1] - p[1]*q[0]
			if math.Abs(det) < 1e-12 {
				continue
			}
			x := []float64{(at[i]*q[1] - p[1]*at[j]) / det, (p[0]*at[j] - at[i]*q[0]) / det}
			if allowed(x, a, b) {
				best = max(best, c[0]*x[0]+c[1]*x[1])
			}
		}
	}
	return best
}
