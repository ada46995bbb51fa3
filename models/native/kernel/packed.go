package kernel

import "fmt"

// Packed is a weight W[n,k] rearranged once for serving: panels of a few rows of W, interleaved by depth, so that a
// product streams through memory. It is immutable and safe for concurrent use, and keeps the path it was packed for.
type Packed struct {
	path *path
	n, k int
	data []float32 // ceil(n/nr) panels of k x nr, the last padded with zeros
}

// Pack copies W[n,k]. The copy takes n*k floats, n rounded up to the panel width (at most 32).
func Pack(w []float32, n, k int) *Packed {
	checkMatrix("W", w, k, n, k)
	pa := selected.Load()
	nr := pa.nr
	panels := (n + nr - 1) / nr
	x := &Packed{path: pa, n: n, k: k, data: alignedFloats(panels * nr * k)}
	if k == 0 {
		return x
	}
	for i := range panels {
		pa.packTrans(x.data[i*nr*k:(i+1)*nr*k], nr, w[i*nr*k:], k, min(nr, n-i*nr), k)
	}
	return x
}

// Rows is n, the outputs of the layer.
func (w *Packed) Rows() int { return w.n }

// Cols is k, the inputs of the layer.
func (w *Packed) Cols() int { return w.k }

// MatMul sets C[m,n] = A[m,k] W^T. A row of C has the same bits whatever m is and wherever the row stands, for every m:
// each element is one chain of multiply-adds over k in ascending order, in all the micro-kernels.
func (w *Packed) MatMul(p *Pool, c, a []float32, m int) {
	checkMatrix("A", a, w.k, m, w.k)
	checkMatrix("C", c, w.n, m, w.n)
	if m == 0 || w.n == 0 {
		return
	}
	if w.k == 0 {
		clear(c[:m*w.n])
		return
	}
	if m*w.n*w.k < serialWork {
		p = nil
	}
	s := takeScratch()
	defer putScratch(s)
	s.gemm = gemm{path: w.path, c: c, ldc: w.n, a: a, rs: w.k, cs: 1, m: m, n: w.n, k: w.k, packed: w.data, nb: w.n, kb: w.k}
	s.share(p)
}

// String names the shape and the path.
func (w *Packed) String() string { return fmt.Sprintf("packed %dx%d (%s)", w.n, w.k, w.path.name) }
