package native

import "github.com/triarch-ai/triarch/models/native/kernel"

// Several linear layers that read the same input x [m, in] write side by side into the columns of one output y
// [m, out1+out2+...]. Where their weights follow each other in memory, as AllocWeights lays them, each pass is one
// product; elsewhere it is one product for each weight.

// joined is the one slice that covers all parts, or nil when they do not follow each other in memory.
func joined(parts [][]float32) []float32 {
	first, total := parts[0], 0
	for _, p := range parts {
		if cap(first) < total+len(p) || len(p) == 0 || &first[:total+1][total] != &p[0] {
			return nil
		}
		total += len(p)
	}
	return first[:total]
}

// eachLinear calls f for the joined weights, or for each with the column its output begins at; i is the number of
// the call.
func eachLinear(in int, ws [][]float32, f func(i int, w []float32, column, out int)) {
	if w := joined(ws); w != nil {
		f(0, w, 0, len(w)/in)
		return
	}
	column := 0
	for i, w := range ws {
		f(i, w, column, len(w)/in)
		column += len(w) / in
	}
}

// linear computes y = x W^T.
func (s *Step) linear(y, x []float32, in int, ws ...[]float32) {
	width := len(y) / s.m
	eachLinear(in, ws, func(_ int, w []float32, column, out int) {
		kernel.MatMulNTStrided(s.pool, y[column:], width, x, in, w, in, s.m, out, in, false, 1)
	})
}

// linearInput computes dx = dy W, the gradient of the input.
func (s *Step) linearInput(dx, dy []float32, in int, ws ...[]float32) {
	width := len(dy) / s.m
	eachLinear(in, ws, func(i int, w []float32, column, out int) {
		kernel.MatMulNNStrided(s.pool, dx, in, dy[column:], width, w, in, s.m, in, out, i > 0, 1)
	})
}

// linearWeights adds dy^T x, the gradient of the weights, to dws.
func (s *Step) linearWeights(dy, x []float32, in int, dws ...[]float32) {
	width := len(dy) / s.m
	eachLinear(in, dws, func(_ int, dw []float32, column, out int) {
		kernel.MatMulTNStrided(s.pool, dw, in, dy[column:], width, x, in, out, in, s.m, true, 1)
	})
}
