package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachPath runs f once for every path of this machine.
func eachPath(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	was := Name()
	defer func() {
		if err := Select(was); err != nil {
			t.Error(err)
		}
	}()
	for _, name := range Names() {
		if err := Select(name); err != nil {
			t.Fatal(err)
		}
		t.Run(name, f)
	}
}

func randoms(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = r.Float32()*2 - 1
	}
	return x
}

// product is one strided product with its operands, as the tests try it on all three forms.
type product struct {
	form          string // "NT", "NN", "TN"
	m, n, k       int
	lda, ldb, ldc int
	acc           bool
	alpha         float32
	a, b, c       []float32
}

func newProduct(r *rand.Rand, form string, m, n, k, slack int) *product {
	x := &product{form: form, m: m, n: n, k: k, acc: r.IntN(2) == 0, alpha: 1}
	if r.IntN(3) == 0 {
		x.alpha = 0.3
	}
	ar, ac, br, bc := m, k, k, n
	switch form {
	case "NT":
		br, bc = n, k
	case "TN":
		ar, ac = k, m
	}
	pad := func() int { return r.IntN(slack + 1) }
	x.lda, x.ldb, x.ldc = ac+pad(), bc+pad(), n+pad()
	x.a, x.b, x.c = randoms(r, ar*x.lda), randoms(r, br*x.ldb), randoms(r, m*x.ldc)
	return x
}

func (x *product) run(p *Pool, c []float32) {
	f := MatMulNTStrided
	switch x.form {
	case "NN":
		f = MatMulNNStrided
	case "TN":
		f = MatMulTNStrided
	}
	f(p, c, x.ldc, x.a, x.lda, x.b, x.ldb, x.m, x.n, x.k, x.acc, x.alpha)
}

// at gives element (i,p) of A and (p,j) of B in the shape they multiply in.
func (x *product) atA(i, p int) float64 {
	if x.form == "TN" {
		return float64(x.a[p*x.lda+i])
	}
	return float64(x.a[i*x.lda+p])
}

func (x *product) atB(p, j int) float64 {
	if x.form == "NT" {
		return float64(x.b[j*x.ldb+p])
	}
	return float64(x.b[p*x.ldb+j])
}

// check compares got with the product in float64, and everything between the rows of C with what was there before.
func (x *product) check(t *testing.T, got []float32) {
	t.Helper()
	for i, v := range x.c {
		row, j := i/x.ldc, i%x.ldc
		if j >= x.n {
			if got[i] != v {
				t.Fatalf("%v: c[%d] outside the product changed from %g to %g", x, i, v, got[i])
			}
			continue
		}
		var sum, size float64
		for p := range x.k {
			q := x.atA(row, p) * x.atB(p, j) * float64(x.alpha)
			sum += q
			size += math.Abs(q)
		}
		if x.acc {
			sum += float64(v)
			size += math.Abs(float64(v))
		}
		if d := math.Abs(sum - float64(got[i])); !(d <= 3e-7*size+1e-30) {
			t.Fatalf("%v: c[%d,%d] = %g, want %g (off by %g of %g)", x, row, j, got[i], sum, d, size)
		}
	}
}

func (x *product) String() string {
	return fmt.Sprintf("%s m=%d n=%d k=%d lda=%d ldb=%d ldc=%d acc=%v alpha=%g",
		x.form, x.m, x.n, x.k, x.lda, x.ldb, x.ldc, x.acc, x.alpha)
}

func TestProductsAgainstFloat64(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		sizes := []int{1, 2, 3, 4, 5, 7, 11, 12, 13, 15, 16, 17, 25, 31, 32, 33, 63, 65, 97, 130, 257}
		for range 150 {
			for _, form := range []string{"NT", "NN", "TN"} {
				m, n, k := sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))]
				x := newProduct(r, form, m, n, k, 9)
				got := append([]float32(nil), x.c...)
				x.run(nil, got)
				x.check(t, got)
			}
		}
	})
}
