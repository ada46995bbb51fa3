package kernel

// Dots sets each dst[i] to the dot product of a with row i of b, whose rows begin ld floats apart. A result does not
// depend on how many rows there are or where its own stands.
func Dots(dst, a, b []float32, ld int) {
	checkMatrix("B", b, ld, len(dst), len(a))
	if w := width(); len(a) > 0 && len(a)%w == 0 && len(a) <= callLength {
		for len(dst) > 0 {
			n := min(len(dst), max(callLength/len(a), 1))
			dotRowsVec(w, dst[:n], a, b, ld)
			if dst = dst[n:]; len(dst) > 0 {
				b = b[n*ld:]
			}
		}
		return
	}
	for i := range dst {
		dst[i] = Dot(a, b[i*ld:i*ld+len(a)])
	}
}

// AddRows adds weights[i] times row i of x to y, for all rows in ascending order with one rounding each, as that many
// calls of Axpy would. Rows of x have the length of y and begin ld floats apart.
func AddRows(y, weights, x []float32, ld int) {
	checkMatrix("X", x, ld, len(weights), len(y))
	pa := selected.Load()
	nr, wide := pa.nr, 0
	if pa.wide[1] != nil {
		wide = pa.panels[1] * nr
	}
	whole := len(y) &^ (nr - 1) // nr is a power of two
	for len(weights) > 0 {
		k := min(len(weights), max(callLength/nr, 1))
		for j := 0; j < whole; {
			if wide > 0 && j+wide <= whole {
				pa.wide[1](k, weights, 0, 1, x[j:], ld, nr, y[j:], len(y), true)
				j += wide
				continue
			}
			pa.rows[1](k, weights, 0, 1, x[j:], ld, y[j:], len(y), true)
			j += nr
		}
		if whole < len(y) {
			for i, w := range weights[:k] {
				Axpy(y[whole:], w, x[i*ld+whole:i*ld+len(y)])
			}
		}
		if weights = weights[k:]; len(weights) > 0 {
			x = x[k*ld:]
		}
	}
}
