package native

import "math"

// RopeTable gives cosine and sine of every rotary angle, [positions, headDim/2] each: position p and pair j turn by
// p * theta^(-2j/headDim) (Su et al., RoFormer). Pair j of a head is its elements j and j+headDim/2.
func RopeTable(c Config, positions int) (cos, sin []float32) {
	half := c.HeadDim / 2
	cos, sin = make([]float32, positions*half), make([]float32, positions*half)
	for j := range half {
		freq := math.Pow(float64(c.RopeTheta), -2*float64(j)/float64(c.HeadDim))
		for p := range positions {
			s, k := math.Sincos(float64(p) * freq)
			cos[p*half+j], sin[p*half+j] = float32(k), float32(s)
		}
	}
	return cos, sin
}

// Rotate turns every head of one row in place by the angles of one position; cos and sin are that position's
// half-head rows of RopeTable. x holds whole heads of twice that width.
func Rotate(x, cos, sin []float32) {
	half := len(cos)
	sin = sin[:half]
	for ; len(x) >= 2*half; x = x[2*half:] {
		a, b := x[:half], x[half:2*half]
		for j, c := range cos {
			s := sin[j]
			p, q := a[j], b[j]
			a[j] = p*c - q*s
			b[j] = q*c + p*s
		}
	}
}

// rotateBack turns a gradient the other way: the transpose of Rotate.
func rotateBack(x, cos, sin []float32) {
	half := len(cos)
	sin = sin[:half]
	for ; len(x) >= 2*half; x = x[2*half:] {
		a, b := x[:half], x[half:2*half]
		for j, c := range cos {
			s := sin[j]
			p, q := a[j], b[j]
			a[j] = p*c + q*s
			b[j] = q*c - p*s
		}
	}
}
