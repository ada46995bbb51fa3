//go:build !amd64 || noasm

package kernel

func paths() []*path { return []*path{portablePath} }

// Without assembly the vector functions are the portable ones at any width.

func dotVec(_ int, a, b []float32) float32                   { return dotGo(a, b) }
func dot3Vec(_ int, a, b, c []float32) float32               { return dot3Go(a, b, c) }
func axpyVec(_ int, y []float32, alpha float32, x []float32) { axpyGo(y, alpha, x) }
func addVec(_ int, dst, a, b []float32)                      { addGo(dst, a, b) }
func mulVec(_ int, dst, a, b []float32)                      { mulGo(dst, a, b) }
func scaleVec(_ int, x []float32, f float32)                 { scaleGo(x, f) }
func mulScaledVec(_ int, dst, x, w []float32, f float32)     { mulScaledGo(dst, x, w, f) }
func maxVec(_ int, x []float32) float32                      { return maxGo(x) }
func expVec(_ int, dst, x []float32)                         { expGo(dst, x) }
func expSumVec(_ int, x []float32, top float32) float32      { return expSumGo(x, top) }
func siluMulVec(_ int, dst, gate, up []float32)              { siluMulGo(dst, gate, up) }
func siluMulBackwardVec(_ int, dg, du, dout, g, u []float32) { siluMulBackwardGo(dg, du, dout, g, u) }
func rmsBackwardVec(_ int, dx, dw, dy, x, w []float32, f, q float32) {
	rmsNormBackwardGo(dx, dw, dy, x, w, f, q)
}
func sumSquaresVec(_ int, x []float32) float64      { return sumSquaresGo(x) }
func adamWVec(_ int, w, g, m, v []float32, h *adam) { adamWGo(w, g, m, v, h) }
func dotRowsVec(_ int, dst, a, b []float32, ld int) { dotRowsGo(dst, a, b, ld) }
