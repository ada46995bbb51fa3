package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestDots(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		rows, ld := r.IntN(40), n+r.IntN(3)
		a, b, dst := randoms(r, n), randoms(r, rows*ld+n), make([]float32, rows)
		Dots(dst, a, b, ld)
		for i, got := range dst {
			var want float64
			for j := range a {
				want += f64(a[j]) * f64(b[i*ld+j])
			}
			near(t, fmt.Sprintf("product %d of %d rows of %d", i, rows, n), got, want, float64(n), 1e-6)
			alone := make([]float32, 1)
			if Dots(alone, a, b[i*ld:], ld); alone[0] != got {
				t.Fatalf("row %d of %d gives %v among the others and %v alone", i, rows, got, alone[0])
			}
		}
	})
}

func TestAddRowsIsManyAxpys(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		rows, ld := r.IntN(40), n+r.IntN(3)
		weights, x, y := randoms(r, rows), randoms(r, rows*ld+n), randoms(r, n+1)
		want := slices.Clone(y)
		for i, w := range weights {
			Axpy(want[:n], w, x[i*ld:i*ld+n])
		}
		AddRows(y[:n], weights, x, ld)
		for j := range n {
			near(t, fmt.Sprintf("element %d of %d after %d rows", j, n, rows), y[j], f64(want[j]), 8, 1e-6)
		}
		if y[n] != want[n] {
			t.Fatal("the element behind the row changed")
		}
	})
}
