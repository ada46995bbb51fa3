package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded gives n random floats that end right before a page nobody may touch: reading or writing one float too far kills
// the test.
func guarded(t *testing.T, r *rand.Rand, n int) []float32 {
	t.Helper()
	page := unix.Getpagesize()
	size := (4*n + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mprotect(mem[size:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		return nil
	}
	x := unsafe.Slice((*float32)(unsafe.Pointer(&mem[size-4*n])), n)
	copy(x, randoms(r, n))
	return x
}

// TestNothingBeyondTheSlicesIsTouched runs the products and the vector functions on operands in front of guard pages.
func TestNothingBeyondTheSlicesIsTouched(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := newRand(21)
		for _, s := range [][3]int{{1, 64, 9}, {2, 33, 17}, {5, 70, 31}, {12, 32, 16}, {13, 31, 8}, {26, 65, 40}, {31, 128, 7}} {
			m, n, k := s[0], s[1], s[2]
			for _, form := range forms {
				x := newProduct(r, form, m, n, k, 0)
				x.a, x.b, x.c = guarded(t, r, m*k), guarded(t, r, n*k), guarded(t, r, m*n)
				x.run(nil, x.c)
			}
			Pack(guarded(t, r, n*k), n, k).MatMul(nil, guarded(t, r, m*n), guarded(t, r, m*k), m)
		}
		for _, n := range []int{1, 8, 15, 16, 31, 100} {
			t.Run(fmt.Sprint(n), func(t *testing.T) { vectorsInFrontOfGuards(t, r, n) })
		}
	})
}

func vectorsInFrontOfGuards(t *testing.T, r *rand.Rand, n int) {
	a, b, c, d, e := guarded(t, r, n), guarded(t, r, n), guarded(t, r, n), guarded(t, r, n), guarded(t, r, n)
	Dot(a, b)
	Axpy(a, 1, b)
	Add(a, b, c)
	Mul(a, b, c)
	Scale(a, 2)
	ExpInto(a, b)
	SoftmaxRow(a, n)
	SiLUMul(a, b, c)
	SiLUMulBackward(a, b, c, d, e)
	RMSNorm(a, b, c, 1)
	RMSNormBackward(a, b, c, d, e, 1)
	SumSquares(a)
	AdamW(a, b, c, d, 1, .9, .9, 1, 0, 1, 1, 1)
}
