package kernel

import "math"

// Dot is the sum of a[i]*b[i]; b must be at least as long as a.
func Dot(a, b []float32) float32 {
	b = b[:len(a)]
	return dotGo(a, b)
}

// Axpy adds alpha*x to y; x must be at least as long as y.
func Axpy(y []float32, alpha float32, x []float32) {
	x = x[:len(y)]
	axpyGo(y, alpha, x)
}

// Add sets dst = a+b; dst may be a or b.
func Add(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	addGo(dst, a, b)
}

// Mul sets dst = a*b, element by element; dst may be a or b.
func Mul(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	mulGo(dst, a, b)
}

// Scale multiplies x by s.
func Scale(x []float32, s float32) {
	scaleGo(x, s)
}

// ExpInto sets dst = e^x with a relative error of about 1e-7; dst may be x. Results below the smallest subnormal are 0,
// above the largest float32 +Inf; NaN stays NaN.
func ExpInto(dst, x []float32) {
	x = x[:len(dst)]
	expGo(dst, x)
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
	siluMulGo(dst, gate, up)
}

// SiLUMulBackward sets the gradients of SiLUMul given dout: with s = 1/(1+e^-g), dup = dout*g*s and
// dgate = dout*up*s*(1+g*(1-s)). dgate may be gate or up and dup may be the other.
func SiLUMulBackward(dgate, dup, dout, gate, up []float32) {
	n := len(dgate)
	dup, dout, gate, up = dup[:n], dout[:n], gate[:n], up[:n]
	siluMulBackwardGo(dgate, dup, dout, gate, up)
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
	n := len(dx)
	if n == 0 {
		return
	}
	dw, dy, x, w = dw[:n], dy[:n], x[:n], w[:n]
	mean := dot3Go(dy, w, x) / float32(n)
	rmsNormBackwardGo(dx, dw, dy, x, w, invRMS, invRMS*invRMS*invRMS*mean)
}

// SumSquares is the sum of x[i]^2 in float64.
func SumSquares(x []float32) float64 {
	return sumSquaresGo(x)
}

// AdamW makes one step of torch.optim.AdamW on the weights w with gradient g*gscale, first moment m and second moment v:
//
//	w *= 1-lr*wd;  m = beta1*m + (1-beta1)*g;  v = beta2*v + (1-beta2)*g^2;  w -= lr/bc1 * m/(sqrt(v/bc2)+eps)
//
// with bc1 = 1-beta1^t and bc2 = 1-beta2^t at step t, counted from 1. g is not changed.
func AdamW(w, g, m, v []float32, lr, beta1, beta2, eps, wd, bc1, bc2, gscale float32) {
	n := len(w)
	g, m, v = g[:n], m[:n], v[:n]
	h := newAdam(lr, beta1, beta2, eps, wd, bc1, bc2, gscale)
	adamWGo(w, g, m, v, &h)
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

func softmaxExp(x []float32) float32 {
	return softmaxExpGo(x)
}

func mulScaled(dst, x, w []float32, s float32) {
	mulScaledGo(dst, x, w, s)
}
