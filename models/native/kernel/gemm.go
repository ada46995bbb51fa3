package kernel

import (
	"fmt"
	"sync"
)

// MatMulNT sets C[m,n] = A[m,k] B[n,k]^T, or adds it to c when acc is set. It is the forward product of a linear layer.
func MatMulNT(p *Pool, c, a, b []float32, m, n, k int, acc bool) {
	MatMulNTStrided(p, c, n, a, k, b, k, m, n, k, acc, 1)
}

// MatMulNN sets C[m,n] = A[m,k] B[k,n], or adds it to c when acc is set. It gives a linear layer's input gradient.
func MatMulNN(p *Pool, c, a, b []float32, m, n, k int, acc bool) {
	MatMulNNStrided(p, c, n, a, k, b, n, m, n, k, acc, 1)
}

// MatMulTN sets C[m,n] = A[k,m]^T B[k,n], or adds it to c when acc is set. It gives a linear layer's weight gradient.
func MatMulTN(p *Pool, c, a, b []float32, m, n, k int, acc bool) {
	MatMulTNStrided(p, c, n, a, m, b, n, m, n, k, acc, 1)
}

// MatMulNTStrided sets C = alpha A B^T (adds it when acc is set) where A is m rows of k, B n rows of k and C m rows of n,
// with lda, ldb and ldc floats from one row to the next. alpha is rounded in once, on the elements of B or on their sums.
func MatMulNTStrided(p *Pool, c []float32, ldc int, a []float32, lda int, b []float32, ldb int, m, n, k int, acc bool, alpha float32) {
	checkMatrix("A", a, lda, m, k)
	checkMatrix("B", b, ldb, n, k)
	multiply(p, gemm{c: c, ldc: ldc, a: a, rs: lda, cs: 1, b: b, ldb: ldb, bt: true, m: m, n: n, k: k, acc: acc, alpha: alpha})
}

// MatMulNNStrided sets C = alpha A B (adds it when acc is set) where A is m rows of k, B k rows of n and C m rows of n.
// See MatMulNTStrided for strides and alpha.
func MatMulNNStrided(p *Pool, c []float32, ldc int, a []float32, lda int, b []float32, ldb int, m, n, k int, acc bool, alpha float32) {
	checkMatrix("A", a, lda, m, k)
	checkMatrix("B", b, ldb, k, n)
	multiply(p, gemm{c: c, ldc: ldc, a: a, rs: lda, cs: 1, b: b, ldb: ldb, m: m, n: n, k: k, acc: acc, alpha: alpha})
}

// MatMulTNStrided sets C = alpha A^T B (adds it when acc is set) where A is k rows of m, B k rows of n and C m rows of n.
// See MatMulNTStrided for strides and alpha.
func MatMulTNStrided(p *Pool, c []float32, ldc int, a []float32, lda int, b []float32, ldb int, m, n, k int, acc bool, alpha float32) {
	checkMatrix("A", a, lda, k, m)
	checkMatrix("B", b, ldb, k, n)
	multiply(p, gemm{c: c, ldc: ldc, a: a, rs: 1, cs: lda, b: b, ldb: ldb, m: m, n: n, k: k, acc: acc, alpha: alpha})
}

// checkMatrix panics when x cannot hold rows of cols floats, ld apart. The assembly relies on it.
func checkMatrix(name string, x []float32, ld, rows, cols int) {
	if rows < 0 || cols < 0 {
		panic(fmt.Sprintf("kernel: matrix %s has a negative size: %d x %d", name, rows, cols))
	}
	if rows == 0 || cols == 0 {
		return
	}
	if ld < cols && rows > 1 {
		panic(fmt.Sprintf("kernel: matrix %s has rows of %d floats but a stride of %d", name, cols, ld))
	}
	if len(x) < cols || (rows > 1 && (len(x)-cols)/(rows-1) < ld) {
		panic(fmt.Sprintf("kernel: matrix %s of %d x %d with stride %d does not fit in %d floats", name, rows, cols, ld, len(x)))
	}
}

// gemm is one product. Element (i,p) of A is a[i*rs+p*cs]; element (p,j) of B is b[p*ldb+j], or b[j*ldb+p] when bt is set.
type gemm struct {
	path    *path
	c, a, b []float32
	ldc     int
	rs, cs  int
	ldb     int
	bt      bool
	m, n, k int
	acc     bool
	alpha   float32

	// The block of B in work, packed: columns [j0,j0+nb), depths [k0,k0+kb), in panels of nr columns.
	// Panels before loose are read from b in place and have no place in packed.
	packed         []float32
	loose          int
	j0, nb, k0, kb int
	load           bool // the block continues sums that are already in c
	mc, chunk      int  // rows and panels of one task
	chunks         int  // tasks side by side in a block of rows
}

const (
	packFloats  = 1 << 20 // about how many floats of B are packed at once
	maxColumns  = 4096    // most columns of B packed at once
	packDepth   = 32      // depths packed before moving on to the next panel
	streamDepth = 2048    // depth of one call when the rows are few and B passes through the cache once
	rowBlock    = 240     // most rows of C in one task, a multiple of every mr
	thinRows    = 4       // rows of A up to which a transposed B is read in place, row by row
	thinColumns = 64      // rows of B in one task of such a product
	serialWork  = 1 << 20 // multiply-adds below which waking workers costs more than it saves
)

// multiply works one product off, block of B by block of B.
func multiply(p *Pool, work gemm) {
	checkMatrix("C", work.c, work.ldc, work.m, work.n)
	if work.m == 0 || work.n == 0 {
		return
	}
	if work.k == 0 {
		work.empty()
		return
	}
	if work.m*work.n*work.k < serialWork {
		p = nil
	}
	s := takeScratch()
	defer putScratch(s)
	s.gemm = work
	g := &s.gemm
	g.path = selected.Load()
	if g.bt && g.m <= thinRows {
		p.Run((g.n+thinColumns-1)/thinColumns, s.thin)
		return
	}
	inPlace := !g.bt && g.alpha == 1 && g.m <= 2*g.path.mr
	nb := evenStep(g.n, maxColumns)
	nb = (nb + g.path.nr - 1) / g.path.nr * g.path.nr
	kb := evenStep(g.k, max(packFloats/nb, g.path.kc))
	for g.j0 = 0; g.j0 < g.n; g.j0 += nb {
		g.nb = min(nb, g.n-g.j0)
		for g.k0 = 0; g.k0 < g.k; g.k0 += kb {
			g.kb = min(kb, g.k-g.k0)
			g.load = g.acc || g.k0 > 0
			g.loose = 0
			if inPlace {
				g.loose = g.nb / g.path.nr
			}
			s.b = grow(s.b, (g.allPanels()-g.loose)*g.path.nr*g.kb)
			g.packed = s.b
			p.Run(g.packTasks(), s.pack)
			s.share(p)
		}
	}
}

// thinTask multiplies so few rows that packing B would cost more than the product, by some rows of B.
func (g *gemm) thinTask(task int) {
	var room [thinColumns]float32
	j := task * thinColumns
	sums := room[:min(thinColumns, g.n-j)]
	b := g.b[j*g.ldb : (j+len(sums)-1)*g.ldb+g.k]
	for i := range g.m {
		g.dotRows(sums, g.a[i*g.rs:i*g.rs+g.k], b)
		if g.alpha != 1 {
			Scale(sums, g.alpha)
		}
		c := g.c[i*g.ldc+j:][:len(sums)]
		if g.acc {
			Add(c, c, sums)
		} else {
			copy(c, sums)
		}
	}
}

// dotRows sets each sum to the product of a with a row of b.
func (g *gemm) dotRows(sums, a, b []float32) {
	if w := g.path.width; g.k%w == 0 {
		dotRowsVec(w, sums, a, b, g.ldb)
		return
	}
	for i := range sums {
		sums[i] = Dot(a, b[i*g.ldb:i*g.ldb+g.k])
	}
}

// empty is a product over no depth at all: zeros, unless it adds to c.
func (g *gemm) empty() {
	if g.acc {
		return
	}
	for i := range g.m {
		clear(g.c[i*g.ldc : i*g.ldc+g.n])
	}
}

// allPanels is the number of panels in the block of B in work.
func (g *gemm) allPanels() int { return (g.nb + g.path.nr - 1) / g.path.nr }

// share splits C into tasks of some rows and some panels each. How it is split never shows in the result.
func (s *scratch) share(p *Pool) {
	g := &s.gemm
	panels := g.allPanels()
	g.mc = rowBlock
	if p.Threads() > 1 && g.m < 4*rowBlock*p.Threads() {
		g.mc = rowBlock / 2 // more tasks, to share them more evenly
	}
	blocks := (g.m + g.mc - 1) / g.mc
	g.chunks = 1
	if want := 2 * p.Threads(); p.Threads() > 1 && blocks < want {
		g.chunks = min((want+blocks-1)/blocks, panels)
	}
	g.chunk = (panels + g.chunks - 1) / g.chunks
	g.chunks = (panels + g.chunk - 1) / g.chunk
	p.Run(blocks*g.chunks, s.task)
}

// packTasks is the number of tasks that pack the block: one for each panel when B is transposed, since the panel's rows lie
// one after another; else one for some depths of all panels, since a row of B goes across them.
func (g *gemm) packTasks() int {
	if g.bt || g.loose == g.allPanels() {
		return g.allPanels() - g.loose
	}
	return (g.kb + packDepth - 1) / packDepth
}

func (g *gemm) packTask(i int) {
	if g.bt {
		g.packPanel(i, 0, g.kb)
		return
	}
	p := i * packDepth
	for q := g.loose; q < g.allPanels(); q++ {
		g.packPanel(q, p, min(packDepth, g.kb-p))
	}
}

// packPanel packs depths [p,p+depth) of panel q of the block.
func (g *gemm) packPanel(q, p, depth int) {
	nr := g.path.nr
	j := g.j0 + q*nr
	cols := min(nr, g.j0+g.nb-j)
	dst := g.packed[((q-g.loose)*g.kb+p)*nr:][:depth*nr]
	if g.bt {
		g.path.packTrans(dst, nr, g.b[j*g.ldb+g.k0+p:], g.ldb, cols, depth)
	} else {
		g.path.packCopy(dst, nr, g.b[(g.k0+p)*g.ldb+j:], g.ldb, cols, depth)
	}
	if g.alpha != 1 {
		Scale(dst, g.alpha)
	}
}

// task multiplies one block of rows by one chunk of panels, depth by depth.
func (g *gemm) task(i int) {
	s := takeScratch()
	defer putScratch(s)
	i0, first := i/g.chunks*g.mc, i%g.chunks*g.chunk
	rows := min(g.mc, g.m-i0)
	last := min(first+g.chunk, g.allPanels())
	step := evenStep(g.kb, g.path.kc)
	if rows <= g.path.mr {
		step = evenStep(g.kb, streamDepth)
	}
	for p0 := 0; p0 < g.kb; p0 += step {
		kc := min(step, g.kb-p0)
		a, rs, cs := g.rowsOfA(s, i0, rows, g.k0+p0, kc)
		t := tiles{gemm: g, s: s, i0: i0, rows: rows, kc: kc, a: a, rs: rs, cs: cs, load: g.load || p0 > 0}
		for q := first; q < last; {
			if q < g.loose {
				t.b, t.bs, t.ps = g.b[(g.k0+p0)*g.ldb+g.j0+q*g.path.nr:], g.ldb, g.path.nr
				q += t.panel(q, min(last, g.loose))
				continue
			}
			t.b, t.bs, t.ps = g.packed[((q-g.loose)*g.kb+p0)*g.path.nr:], g.path.nr, g.path.nr*g.kb
			q += t.panel(q, last)
		}
	}
}

// evenStep splits n into equal parts of at most most, so that no part is a short rest.
func evenStep(n, most int) int {
	parts := (n + most - 1) / most
	return (n + parts - 1) / parts
}

// rowsOfA gives the rows [i0,i0+rows) of A at depths [p0,p0+kc): in place where a row is contiguous, with the strides it
// has; else packed as blocks of mr rows one after another, each kc*mr floats with cs = mr.
func (g *gemm) rowsOfA(s *scratch, i0, rows, p0, kc int) (a []float32, rs, cs int) {
	if g.cs == 1 {
		return g.a[i0*g.rs+p0:], g.rs, 1
	}
	mr := g.path.mr
	s.a = grow(s.a, (rows+mr-1)/mr*mr*kc)
	for p := 0; p < kc; p += packDepth {
		depth := min(packDepth, kc-p)
		for i := 0; i < rows; i += mr {
			g.path.packCopy(s.a[i*kc+p*mr:][:mr*depth], mr, g.a[(p0+p)*g.cs+i0+i:], g.cs, min(mr, rows-i), depth)
		}
	}
	return s.a, 1, mr
}

// tiles is a block of rows of A at some depths, on its way across the panels of B.
type tiles struct {
	*gemm
	s        *scratch
	i0, rows int
	kc       int
	a        []float32
	rs, cs   int
	b        []float32 // the panel in work
	bs, ps   int       // floats from one depth to the next, from one panel to the next
	load     bool
}

// panel multiplies the block by the panel in work, the q-th, or by several at once when the rows are few, and returns how
// many panels it did.
func (t *tiles) panel(q, last int) int {
	mr, nr := t.path.mr, t.path.nr
	j := t.j0 + q*nr
	if t.rows < len(t.path.wide) && t.path.wide[t.rows] != nil {
		if w := t.path.panels[t.rows]; q+w <= last && j+w*nr <= t.n {
			t.path.wide[t.rows](t.kc, t.a, t.rs, t.cs, t.b, t.bs, t.ps, t.c[t.i0*t.ldc+j:], t.ldc, t.load)
			return w
		}
	}
	if t.cs == 1 {
		mr = evenStep(t.rows, mr) // two equal tiles rather than a tall one and a flat one
	}
	cols := min(nr, t.n-j)
	for i := 0; i < t.rows; i += mr {
		r := min(mr, t.rows-i)
		a := t.a[i*t.rs:]
		if t.cs != 1 {
			a = t.a[i*t.kc:]
		}
		c := t.c[(t.i0+i)*t.ldc+j:]
		if cols == nr {
			t.path.rows[r](t.kc, a, t.rs, t.cs, t.b, t.bs, c, t.ldc, t.load)
		} else {
			t.edge(r, cols, a, c)
		}
	}
	return 1
}

// edge computes a full tile in a buffer of its own and copies the columns that exist.
func (t *tiles) edge(r, cols int, a, c []float32) {
	nr := t.path.nr
	t.s.tile = grow(t.s.tile, t.path.mr*nr)
	x := t.s.tile
	if t.load {
		clear(x)
		for i := range r {
			copy(x[i*nr:], c[i*t.ldc:i*t.ldc+cols])
		}
	}
	t.path.rows[r](t.kc, a, t.rs, t.cs, t.b, t.bs, x, nr, t.load)
	for i := range r {
		copy(c[i*t.ldc:i*t.ldc+cols], x[i*nr:])
	}
}

// scratch is the working memory of one goroutine inside a product. It goes back to a list of our own rather than to a
// sync.Pool, which the collector may empty in the middle of a training step.
type scratch struct {
	a, b, tile       []float32
	gemm             gemm
	pack, task, thin func(int) // methods of gemm, bound once
}

var scratches struct {
	sync.Mutex
	free []*scratch
}

func takeScratch() *scratch {
	scratches.Lock()
	defer scratches.Unlock()
	if l := len(scratches.free); l > 0 {
		s := scratches.free[l-1]
		scratches.free = scratches.free[:l-1]
		return s
	}
	s := &scratch{}
	s.pack, s.task, s.thin = s.gemm.packTask, s.gemm.task, s.gemm.thinTask
	return s
}

func putScratch(s *scratch) {
	s.gemm = gemm{} // keep no one else's memory alive
	scratches.Lock()
	defer scratches.Unlock()
	scratches.free = append(scratches.free, s)
}
