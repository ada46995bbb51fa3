//go:build !noasm

package kernel

// The vector functions by register width: 16 floats with AVX-512, 8 with AVX2, else portable. The slices of the first two
// hold a whole number of registers.

func dotVec(width int, a, b []float32) float32 {
	switch width {
	case 16:
		return dotAVX512(a, b)
	case 8:
		return dotAVX2(a, b)
	}
	return dotGo(a, b)
}

func dot3Vec(width int, a, b, c []float32) float32 {
	switch width {
	case 16:
		return dot3AVX512(a, b, c)
	case 8:
		return dot3AVX2(a, b, c)
	}
	return dot3Go(a, b, c)
}

func axpyVec(width int, y []float32, alpha float32, x []float32) {
	switch width {
	case 16:
		axpyAVX512(y, alpha, x)
	case 8:
		axpyAVX2(y, alpha, x)
	default:
		axpyGo(y, alpha, x)
	}
}

func addVec(width int, dst, a, b []float32) {
	switch width {
	case 16:
		addAVX512(dst, a, b)
	case 8:
		addAVX2(dst, a, b)
	default:
		addGo(dst, a, b)
	}
}

func mulVec(width int, dst, a, b []float32) {
	switch width {
	case 16:
		mulAVX512(dst, a, b)
	case 8:
		mulAVX2(dst, a, b)
	default:
		mulGo(dst, a, b)
	}
}

func scaleVec(width int, x []float32, f float32) {
	switch width {
	case 16:
		scaleAVX512(x, f)
	case 8:
		scaleAVX2(x, f)
	default:
		scaleGo(x, f)
	}
}

func mulScaledVec(width int, dst, x, w []float32, f float32) {
	switch width {
	case 16:
		mulScaledAVX512(dst, x, w, f)
	case 8:
		mulScaledAVX2(dst, x, w, f)
	default:
		mulScaledGo(dst, x, w, f)
	}
}

func maxVec(width int, x []float32) float32 {
	switch width {
	case 16:
		return maxAVX512(x)
	case 8:
		return maxAVX2(x)
	}
	return maxGo(x)
}

func expVec(width int, dst, x []float32) {
	switch width {
	case 16:
		expAVX512(dst, x)
	case 8:
		expAVX2(dst, x)
	default:
		expGo(dst, x)
	}
}

func expSumVec(width int, x []float32, top float32) float32 {
	switch width {
	case 16:
		return expSumAVX512(x, top)
	case 8:
		return expSumAVX2(x, top)
	}
	return expSumGo(x, top)
}

func siluMulVec(width int, dst, gate, up []float32) {
	switch width {
	case 16:
		siluMulAVX512(dst, gate, up)
	case 8:
		siluMulAVX2(dst, gate, up)
	default:
		siluMulGo(dst, gate, up)
	}
}

func siluMulBackwardVec(width int, dgate, dup, dout, gate, up []float32) {
	switch width {
	case 16:
		siluMulBackwardAVX512(dgate, dup, dout, gate, up)
	case 8:
		siluMulBackwardAVX2(dgate, dup, dout, gate, up)
	default:
		siluMulBackwardGo(dgate, dup, dout, gate, up)
	}
}

func rmsBackwardVec(width int, dx, dw, dy, x, w []float32, f, q float32) {
	switch width {
	case 16:
		rmsNormBackwardAVX512(dx, dw, dy, x, w, f, q)
	case 8:
		rmsNormBackwardAVX2(dx, dw, dy, x, w, f, q)
	default:
		rmsNormBackwardGo(dx, dw, dy, x, w, f, q)
	}
}

func sumSquaresVec(width int, x []float32) float64 {
	switch width {
	case 16:
		return sumSquaresAVX512(x)
	case 8:
		return sumSquaresAVX2(x)
	}
	return sumSquaresGo(x)
}

func adamWVec(width int, w, g, m, v []float32, h *adam) {
	switch width {
	case 16:
		adamWAVX512(w, g, m, v, &h.gscale)
	case 8:
		adamWAVX2(w, g, m, v, &h.gscale)
	default:
		adamWGo(w, g, m, v, h)
	}
}

func dotRowsVec(width int, dst, a, b []float32, ld int) {
	switch width {
	case 16:
		dotRowsAVX512(dst, a, b, ld)
	case 8:
		dotRowsAVX2(dst, a, b, ld)
	default:
		dotRowsGo(dst, a, b, ld)
	}
}
