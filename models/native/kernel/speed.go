package kernel

import "time"

// Speed measures what products in single precision reach on so many threads, in operations a second: square matrices
// of 768, a multiplication and an addition each counted as one, the best of a few within a third of a second. It is
// what work of this engine can reach at most, not what the processor's sheet says.
func Speed(threads int, now func() time.Time) float64 {
	const n = 768
	p := NewPool(threads)
	defer p.Close()
	a, b, c := make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
	for i := range a {
		a[i], b[i] = 1+float32(i%7), 1-float32(i%5)
	}
	best := 0.0
	for start, i := now(), 0; i < 3 || i < 24 && now().Sub(start) < time.Second/3; i++ {
		from := now()
		MatMulNT(p, c, a, b, n, n, n, false)
		if took := now().Sub(from).Seconds(); took > 0 {
			best = max(best, 2*n*n*n/took)
		}
	}
	return best
}
