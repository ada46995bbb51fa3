package kernel

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// path is one way to do the arithmetic. A path never changes after start.
type path struct {
	name string
	mr   int         // rows of the largest micro-kernel
	nr   int         // columns of a panel of packed B
	kc   int         // depth of one micro-kernel call: a B panel of kc x nr stays in the first-level cache
	rows []microFunc // rows[r] computes r rows by nr columns, r from 1 to mr

	packTrans func(dst []float32, w int, src []float32, ld, rows, k int)
	packCopy  func(dst []float32, w int, src []float32, ld, cols, k int)
	width     int // floats in a register, 1 when portable: selects the vector functions

	// wide[r] computes r rows by panels[r] panels at once, for products of so few rows that memory decides.
	wide   [7]wideFunc
	panels [7]int
}

// microFunc adds to (load) or sets (not load) a tile of c: c[i*ldc+j] = sum over p<k of a[i*rs+p*cs] * b[p*bs+j], one
// rounding chain per element in ascending p, started from c[i*ldc+j] when load is set.
type microFunc func(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

// wideFunc is a microFunc over several panels, ps floats apart; their columns lie side by side in c.
type wideFunc func(k int, a []float32, rs, cs int, b []float32, bs, ps int, c []float32, ldc int, load bool)

var portablePath = &path{
	name: "portable", mr: 4, nr: 4, kc: 256, width: 1,
	rows:      []microFunc{nil, micro1, micro2, micro3, micro4},
	packTrans: packTransGo, packCopy: packCopyGo,
}

var selected atomic.Pointer[path]

func init() {
	list := paths()
	selected.Store(list[0])
	if name := os.Getenv("TRIARCH_KERNEL"); name != "" {
		_ = Select(name) // an unknown or unsupported name keeps the default; Name tells which path runs
	}
}

// Name is the path in use: "avx512", "avx2" or "portable".
func Name() string { return selected.Load().name }

// Names lists the paths this machine can run, fastest first.
func Names() []string {
	var names []string
	for _, p := range paths() {
		names = append(names, p.name)
	}
	return names
}

// Select forces a path for the calls that follow; it fails when this machine or build cannot run it. Weights packed
// earlier keep the path they were packed for. Choose it before the work starts: products already running finish on the old one.
func Select(name string) error {
	for _, p := range paths() {
		if p.name == name {
			selected.Store(p)
			return nil
		}
	}
	return fmt.Errorf("kernel path %q is not available here; choose one of %s", name, strings.Join(Names(), ", "))
}
