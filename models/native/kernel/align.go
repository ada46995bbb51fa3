package kernel

import "unsafe"

// lineFloats is the number of float32 in a cache line of 64 bytes.
const lineFloats = 16

// alignedFloats makes n zeroed floats that start on a cache line, so that no vector load crosses one.
func alignedFloats(n int) []float32 {
	b := make([]float32, n+lineFloats)
	at := 0
	if off := uintptr(unsafe.Pointer(unsafe.SliceData(b))) % 64; off != 0 {
		at = int(64-off) / 4
	}
	return b[at : at+n : at+n]
}

// grow returns n floats of b, or of a larger aligned slice; the contents are unspecified.
func grow(b []float32, n int) []float32 {
	if cap(b) < n {
		b = alignedFloats(n + n/4)
	}
	return b[:n]
}
