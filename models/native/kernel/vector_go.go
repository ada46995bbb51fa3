package kernel

import "math"

// The portable vector functions; callers have made all slices equally long.

func dotGo(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		x, y := a[i:i+4:i+4], b[i:i+4:i+4]
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// dotRowsGo sets dst[i] to the product of a with the row of b at i*ld.
func dotRowsGo(dst, a, b []float32, ld int) {
	for i := range dst {
		dst[i] = dotGo(a, b[i*ld:i*ld+len(a)])
	}
}

func dot3Go(a, b, c []float32) float32 {
	var s0, s1 float32
	i := 0
	for ; i+2 <= len(a); i += 2 {
		s0 += a[i] * b[i] * c[i]
		s1 += a[i+1] * b[i+1] * c[i+1]
	}
	if i < len(a) {
		s0 += a[i] * b[i] * c[i]
	}
	return s0 + s1
}

func axpyGo(y []float32, alpha float32, x []float32) {
	for i := range y {
		y[i] += alpha * x[i]
	}
}

func addGo(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func mulGo(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func mulScaledGo(dst, x, w []float32, s float32) {
	for i := range dst {
		dst[i] = x[i] * s * w[i]
	}
}

func scaleGo(x []float32, s float32) {
	for i := range x {
		x[i] *= s
	}
}

// exp32 is e^x: x = n*ln2 + r with |r| <= ln2/2, e^r by a polynomial of degree 6 (Chebyshev interpolation, off by less than
// 1e-8), and the result times 2^n in two steps, so that subnormals and infinity come out right. The assembly does the same.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, -104.5), 89)
	n := int32(math.RoundToEven(float64(x * (1 / math.Ln2))))
	r := float32(float64(x) - float64(n)*math.Ln2)
	p := float32(0.00139411607538)
	p = p*r + 0.00837516828895
	p = p*r + 0.0416663522681
	p = p*r + 0.166664150113
	p = p*r + 0.500000004726
	p = p*r + 1
	p = p*r + 1
	half := n >> 1
	return p * math.Float32frombits(uint32(half+127)<<23) * math.Float32frombits(uint32(n-half+127)<<23)
}

func expGo(dst, x []float32) {
	for i, v := range x {
		dst[i] = exp32(v)
	}
}

func maxGo(x []float32) float32 {
	top := x[0]
	for _, v := range x[1:] {
		top = max(top, v)
	}
	return top
}

// expSumGo replaces x by e^(x-top) and returns the sum.
func expSumGo(x []float32, top float32) float32 {
	var sum float32
	for i, v := range x {
		e := exp32(v - top)
		x[i] = e
		sum += e
	}
	return sum
}

func sigmoid(g float32) float32 { return 1 / (1 + exp32(-g)) }

func siluMulGo(dst, gate, up []float32) {
	for i, g := range gate {
		dst[i] = g * sigmoid(g) * up[i]
	}
}

func siluMulBackwardGo(dgate, dup, dout, gate, up []float32) {
	for i, g := range gate {
		s, d, u := sigmoid(g), dout[i], up[i]
		dup[i] = d * g * s
		dgate[i] = d * u * s * (1 + g*(1-s))
	}
}

// rmsNormBackwardGo uses q = invRMS^3 * mean(dy*w*x).
func rmsNormBackwardGo(dx, dw, dy, x, w []float32, invRMS, q float32) {
	for i, xi := range x {
		d := dy[i] * invRMS
		dw[i] += d * xi
		dx[i] += d*w[i] - xi*q
	}
}

func sumSquaresGo(x []float32) float64 {
	var s0, s1 float64
	i := 0
	for ; i+2 <= len(x); i += 2 {
		a, b := float64(x[i]), float64(x[i+1])
		s0 += a * a
		s1 += b * b
	}
	if i < len(x) {
		a := float64(x[i])
		s0 += a * a
	}
	return s0 + s1
}

func adamWGo(w, g, m, v []float32, h *adam) {
	for i := range w {
		gi := g[i] * h.gscale
		mi := h.beta1*m[i] + h.grow1*gi
		vi := h.beta2*v[i] + h.grow2*gi*gi
		m[i], v[i] = mi, vi
		den := float32(math.Sqrt(float64(vi)))*h.rootBC2 + h.eps
		w[i] = w[i]*h.decay - h.step*mi/den
	}
}
