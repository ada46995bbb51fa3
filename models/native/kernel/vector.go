package kernel

import "math"

// callLength is the most elements one call of the assembly works on, so that no call holds up the scheduler for long: a
// goroutine inside one cannot be stopped. Rows, as norms and softmax take them, are shorter.
const callLength = 1 << 14

// Dot is the sum of a[i]*b[i]; b must be at least as long as a.
func Dot(a, b []float32) float32 {
	w := width()
	b = b[:len(a)]
	var sum float32
	for len(a) > callLength {
		sum += dotVec(w, a[:callLength], b[:callLength])
		a, b = a[callLength:], b[callLength:]
	}
	n := len(a) &^ (w - 1)
	sum += dotVec(w, a[:n], b[:n])
	if n < len(a) {
		var s, t pad
		sum += dotVec(w, s.of(w, a[n:]), t.of(w, b[n:]))
	}
	return sum
}

// Axpy adds alpha*x to y; x must be at least as long as y.
func Axpy(y []float32, alpha float32, x []float32) {
	x = x[:len(y)]
	w := width()
	for len(y) > callLength {
		axpyVec(w, y[:callLength], alpha, x[:callLength])
		y, x = y[callLength:], x[callLength:]
	}
	n := len(y) &^ (w - 1)
	axpyVec(w, y[:n], alpha, x[:n])
	if n < len(y) {
		var s, t pad
		d := s.of(w, y[n:])
		axpyVec(w, d, alpha, t.of(w, x[n:]))
		copy(y[n:], d)
	}
}

// Add sets dst = a+b; dst may be a or b.
func Add(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	w := width()
	for len(dst) > callLength {
		addVec(w, dst[:callLength], a[:callLength], b[:callLength])
		dst, a, b = dst[callLength:], a[callLength:], b[callLength:]
	}
	n := len(dst) &^ (w - 1)
	addVec(w, dst[:n], a[:n], b[:n])
	if n < len(dst) {
		var s, t pad
		d := s.of(w, a[n:])
		addVec(w, d, d, t.of(w, b[n:]))
		copy(dst[n:], d)
	}
}

// Mul sets dst = a*b, element by element; dst may be a or b.
func Mul(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	w := width()
	for len(dst) > callLength {
		mulVec(w, dst[:callLength], a[:callLength], b[:callLength])
		dst, a, b = dst[callLength:], a[callLength:], b[callLength:]
	}
	n := len(dst) &^ (w - 1)
	mulVec(w, dst[:n], a[:n], b[:n])
	if n < len(dst) {
		var s, t pad
		d := s.of(w, a[n:])
		mulVec(w, d, d, t.of(w, b[n:]))
		copy(dst[n:], d)
	}
}

// Scale multiplies x by s.
func Scale(x []float32, s float32) {
	w := width()
	for len(x) > callLength {
		scaleVec(w, x[:callLength], s)
		x = x[callLength:]
	}
	n := len(x) &^ (w - 1)
	scaleVec(w, x[:n], s)
	if n < len(x) {
		var t pad
		d := t.of(w, x[n:])
		scaleVec(w, d, s)
		copy(x[n:], d)
	}
}

// ExpInto sets dst = e^x with a relative error of about 1e-7; dst may be x. Results below the smallest subnormal are 0,
// above the largest float32 +Inf; NaN stays NaN.
func ExpInto(dst, x []float32) {
	x = x[:len(dst)]
	w := width()
	for len(dst) > callLength {
		expVec(w, dst[:callLength], x[:callLength])
		dst, x = dst[callLength:], x[callLength:]
	}
	n := len(dst) &^ (w - 1)
	expVec(w, dst[:n], x[:n])
	if n < len(dst) {
		var s pad
		d := s.of(w, x[n:])
		expVec(w, d, d)
		copy(dst[n:], d)
	}
}

// SoftmaxRow replaces x[:n] by its softmax and sets the rest of x to 0. An element of -Inf gets 0, unless all are; that,
// a NaN, or a +Inf makes the whole row NaN.
func SoftmaxRow(x []float32, n int) {
	clear(x[n:])
	x = x[:n]
	if n == 0 {
		return
	}
	Scale(x, 1/softmaxExp(x))
}

// SiLUMul sets dst = silu(gate)*up with silu(g) = g/(1+e^-g); dst may be gate or up. silu(-Inf) is NaN.
func SiLUMul(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	w := width()
	for len(dst) > callLength {
		siluMulVec(w, dst[:callLength], gate[:callLength], up[:callLength])
		dst, gate, up = dst[callLength:], gate[callLength:], up[callLength:]
	}
	n := len(dst) &^ (w - 1)
	siluMulVec(w, dst[:n], gate[:n], up[:n])
	if n < len(dst) {
		var s, t pad
		d := s.of(w, gate[n:])
		siluMulVec(w, d, d, t.of(w, up[n:]))
		copy(dst[n:], d)
	}
}

// SiLUMulBackward sets the gradients of SiLUMul given dout: with s = 1/(1+e^-g), dup = dout*g*s and
// dgate = dout*up*s*(1+g*(1-s)). dgate may be gate or up and dup may be the other.
func SiLUMulBackward(dgate, dup, dout, gate, up []float32) {
	all := len(dgate)
	dup, dout, gate, up = dup[:all], dout[:all], gate[:all], up[:all]
	w := width()
	n := all &^ (w - 1)
	for at := 0; at < n; at += callLength {
		end := min(at+callLength, n)
		siluMulBackwardVec(w, dgate[at:end], dup[at:end], dout[at:end], gate[at:end], up[at:end])
	}
	if n < all {
		var s, t, u pad
		g, x := s.of(w, gate[n:]), t.of(w, up[n:])
		siluMulBackwardVec(w, g, x, u.of(w, dout[n:]), g, x)
		copy(dgate[n:], g)
		copy(dup[n:], x)
	}
}

// RMSNorm sets dst = x*w*invRMS with invRMS = 1/sqrt(mean(x^2)+eps), and returns invRMS for the backward pass. dst may be x.
func RMSNorm(dst []float32, x, w []float32, eps float32) (invRMS float32) {
	x, w = x[:len(dst)], w[:len(dst)]
	if len(dst) == 0 {
		return 0
	}
	mean := Dot(x, x) / float32(len(x))
	invRMS = float32(1 / math.Sqrt(float64(mean)+float64(eps)))
	mulScaled(dst, x, w, invRMS)
	return invRMS
}

// RMSNormBackward adds the gradients of RMSNorm to dx and dw, given the gradient dy of its output:
// dw += dy*x*r and dx += r*(dy*w - x*r^2*mean(dy*w*x)), with r = invRMS.
func RMSNormBackward(dx, dw []float32, dy, x, w []float32, invRMS float32) {
	all := len(dx)
	if all == 0 {
		return
	}
	dw, dy, x, w = dw[:all], dy[:all], x[:all], w[:all]
	q := invRMS * invRMS * invRMS * dot3(dy, w, x) / float32(all)
	width := width()
	n := all &^ (width - 1)
	rmsBackwardVec(width, dx[:n], dw[:n], dy[:n], x[:n], w[:n], invRMS, q)
	if n < all {
		var s [5]pad
		d, e := s[0].of(width, dx[n:]), s[1].of(width, dw[n:])
		rmsBackwardVec(width, d, e, s[2].of(width, dy[n:]), s[3].of(width, x[n:]), s[4].of(width, w[n:]), invRMS, q)
		copy(dx[n:], d)
		copy(dw[n:], e)
	}
}

// SumSquares is the sum of x[i]^2 in float64.
func SumSquares(x []float32) float64 {
	w := width()
	sum := 0.0
	for len(x) > callLength {
		sum += sumSquaresVec(w, x[:callLength])
		x = x[callLength:]
	}
	n := len(x) &^ (w - 1)
	sum += sumSquaresVec(w, x[:n])
	if n < len(x) {
		var s pad
		sum += sumSquaresVec(w, s.of(w, x[n:]))
	}
	return sum
}

// AdamW makes one step of torch.optim.AdamW on the weights w with gradient g*gscale, first moment m and second moment v:
//
//	w *= 1-lr*wd;  m = beta1*m + (1-beta1)*g;  v = beta2*v + (1-beta2)*g^2;  w -= lr/bc1 * m/(sqrt(v/bc2)+eps)
//
// with bc1 = 1-beta1^t and bc2 = 1-beta2^t at step t, counted from 1. g is not changed.
func AdamW(w, g, m, v []float32, lr, beta1, beta2, eps, wd, bc1, bc2, gscale float32) {
	all := len(w)
	g, m, v = g[:all], m[:all], v[:all]
	h := newAdam(lr, beta1, beta2, eps, wd, bc1, bc2, gscale)
	width := width()
	n := all &^ (width - 1)
	for at := 0; at < n; at += callLength {
		end := min(at+callLength, n)
		adamWVec(width, w[at:end], g[at:end], m[at:end], v[at:end], &h)
	}
	if n < all {
		var s [4]pad
		x, y, z := s[0].of(width, w[n:]), s[1].of(width, m[n:]), s[2].of(width, v[n:])
		adamWVec(width, x, s[3].of(width, g[n:]), y, z, &h)
		copy(w[n:], x)
		copy(m[n:], y)
		copy(v[n:], z)
	}
}

// adam is what every element of one AdamW step shares, in the order in which the assembly reads it.
type adam struct {
	gscale, beta1, grow1, beta2, grow2 float32
	decay, step, rootBC2, eps          float32 // w*decay; step = lr/bc1; rootBC2 = 1/sqrt(bc2)
}

func newAdam(lr, beta1, beta2, eps, wd, bc1, bc2, gscale float32) adam {
	return adam{
		gscale: gscale,
		beta1:  beta1, grow1: float32(1 - float64(beta1)),
		beta2: beta2, grow2: float32(1 - float64(beta2)),
		decay: float32(1 - float64(lr)*float64(wd)), step: float32(float64(lr) / float64(bc1)),
		rootBC2: float32(1 / math.Sqrt(float64(bc2))), eps: eps,
	}
}

// pad is room for the last few elements of a row, filled up to a whole register.
type pad [16]float32

// of copies x and fills up with zeros.
func (p *pad) of(w int, x []float32) []float32 {
	copy(p[:w], x)
	return p[:w]
}

// lowest is like of, but fills up with -Inf.
func (p *pad) lowest(w int, x []float32) []float32 {
	for i := copy(p[:w], x); i < w; i++ {
		p[i] = float32(math.Inf(-1))
	}
	return p[:w]
}

// width is the number of floats in a register of the selected path, a power of two.
func width() int { return selected.Load().width }

// softmaxExp replaces x by e^(x-max) and returns the sum.
func softmaxExp(x []float32) float32 {
	w := width()
	n := len(x) &^ (w - 1)
	rest := x[n:]
	top := float32(math.Inf(-1))
	if n > 0 {
		top = maxVec(w, x[:n])
	}
	var p pad
	last := p.lowest(w, rest)
	if len(rest) > 0 {
		top = max(top, maxVec(w, last))
	}
	sum := expSumVec(w, x[:n], top)
	if len(rest) > 0 {
		sum += expSumVec(w, last, top)
		copy(rest, last)
	}
	return sum
}

func mulScaled(dst, x, w []float32, f float32) {
	width := width()
	n := len(dst) &^ (width - 1)
	mulScaledVec(width, dst[:n], x[:n], w[:n], f)
	if n < len(dst) {
		var s, t pad
		d := s.of(width, x[n:])
		mulScaledVec(width, d, d, t.of(width, w[n:]), f)
		copy(dst[n:], d)
	}
}

func dot3(a, b, c []float32) float32 {
	w := width()
	n := len(a) &^ (w - 1)
	sum := dot3Vec(w, a[:n], b[:n], c[:n])
	if n < len(a) {
		var s, t, u pad
		sum += dot3Vec(w, s.of(w, a[n:]), t.of(w, b[n:]), u.of(w, c[n:]))
	}
	return sum
}
