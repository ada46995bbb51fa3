package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

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

// check compares got with the product in float64, and everything between the rows of C with what was there before. Of a
// large product it looks at some elements only.
func (x *product) check(t *testing.T, got []float32) {
	t.Helper()
	stride := 1 + x.m*x.n*x.k/(1<<20)
	tol := 6e-8 * (4 + 2*math.Sqrt(float64(x.k))) // k roundings of random sign
	for i, v := range x.c {
		row, j := i/x.ldc, i%x.ldc
		if j >= x.n {
			if got[i] != v {
				t.Fatalf("%v: c[%d] outside the product changed from %g to %g", x, i, v, got[i])
			}
			continue
		}
		if i%stride != 0 {
			continue
		}
		want, size := x.element(row, j)
		if d := math.Abs(want - float64(got[i])); !(d <= tol*size) {
			t.Fatalf("%v: c[%d,%d] = %g, want %g (off by %g of %g)", x, row, j, got[i], want, d, size)
		}
	}
}

// element is one element of the result in float64, and the sum of the magnitudes that went into it.
func (x *product) element(i, j int) (sum, size float64) {
	for p := range x.k {
		q := x.atA(i, p) * x.atB(p, j) * float64(x.alpha)
		sum += q
		size += math.Abs(q)
	}
	if x.acc {
		v := float64(x.c[i*x.ldc+j])
		sum += v
		size += math.Abs(v)
	}
	return sum, size
}

func (x *product) String() string {
	return fmt.Sprintf("%s m=%d n=%d k=%d lda=%d ldb=%d ldc=%d acc=%v alpha=%g",
		x.form, x.m, x.n, x.k, x.lda, x.ldb, x.ldc, x.acc, x.alpha)
}

var forms = []string{"NT", "NN", "TN"}

func (x *product) result(p *Pool) []float32 {
	c := slices.Clone(x.c)
	x.run(p, c)
	return c
}

func TestProductsAgainstFloat64(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		sizes := []int{1, 2, 3, 4, 5, 7, 11, 12, 13, 15, 16, 17, 25, 31, 32, 33, 63, 65, 97, 130, 257}
		for range 100 {
			for _, form := range forms {
				m, n, k := sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))]
				x := newProduct(r, form, m, n, k, 9)
				x.check(t, x.result(nil))
			}
		}
	})
}

// TestLargeProducts crosses the borders of the blocks: many rows, more depth than one call, more than one packed block of B.
func TestLargeProducts(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, s := range [][3]int{{500, 70, 300}, {13, 4200, 300}, {3, 4200, 300}, {1, 300, 5000}, {30, 60, 3000}} {
			for _, form := range forms {
				x := newProduct(r, form, s[0], s[1], s[2], 3)
				x.check(t, x.result(pool))
			}
		}
	})
}

func TestEmptyProducts(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		c := []float32{1, 2, 3, 4, 5, 6}
		MatMulNT(nil, c, nil, nil, 2, 3, 0, true)
		if !slices.Equal(c, []float32{1, 2, 3, 4, 5, 6}) {
			t.Errorf("adding a product of no depth changed c to %v", c)
		}
		MatMulTN(nil, c, nil, nil, 2, 2, 0, false)
		if !slices.Equal(c, []float32{0, 0, 0, 0, 5, 6}) {
			t.Errorf("a product of no depth left %v", c)
		}
		MatMulNN(nil, nil, nil, make([]float32, 6), 0, 3, 2, false)
		Pack(nil, 3, 0).MatMul(nil, c, nil, 2)
		if !slices.Equal(c, make([]float32, 6)) {
			t.Errorf("a packed weight without inputs left %v", c)
		}
	})
}

// TestPoolSizeDoesNotShow holds the results of every product to the same bits at one, two and three threads.
func TestPoolSizeDoesNotShow(t *testing.T) {
	pools := []*Pool{NewPool(1), NewPool(2), NewPool(3)}
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, s := range [][3]int{{300, 96, 80}, {2, 999, 900}, {17, 700, 130}, {130, 65, 520}} {
			for _, form := range forms {
				x := newProduct(r, form, s[0], s[1], s[2], 2)
				want := x.result(nil)
				for _, p := range pools {
					sameBits(t, fmt.Sprintf("%v, %d threads", x, p.Threads()), x.result(p), want)
				}
			}
		}
	})
	for _, p := range pools {
		p.Close()
	}
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d is %g, want exactly %g", what, i, got[i], want[i])
		}
	}
}

func TestPackedRowsDoNotDependOnTheBatch(t *testing.T) {
	pool := NewPool(3)
	defer pool.Close()
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, s := range [][2]int{{200, 300}, {33, 2500}, {5, 7}, {704, 256}} {
			n, k := s[0], s[1]
			const most = 130
			a, w := randoms(r, most*k), randoms(r, n*k)
			packed := Pack(w, n, k)
			want := make([]float32, most*n)
			for i := range most {
				packed.MatMul(nil, want[i*n:(i+1)*n], a[i*k:(i+1)*k], 1)
			}
			x := &product{form: "NT", m: most, n: n, k: k, lda: k, ldb: k, ldc: n, alpha: 1, a: a, b: w, c: make([]float32, most*n)}
			x.check(t, want)
			for m := 1; m <= most; m += 1 + m/20 {
				got := make([]float32, m*n)
				packed.MatMul(pool, got, a[(most-m)*k:], m)
				sameBits(t, fmt.Sprintf("%v, %d rows", packed, m), got, want[(most-m)*n:])
			}
		}
	})
}

// TestVectorPathsAgree holds AVX2 and AVX-512 to the same bits in products: both add up one element in one fused chain.
func TestVectorPathsAgree(t *testing.T) {
	if len(Names()) < 3 {
		t.Log("nothing to compare: this machine does not have both AVX2 and AVX-512") // no skip: nothing is missing that could be installed
		return
	}
	defer Select(Name())
	r := rand.New(rand.NewPCG(9, 10))
	for range 30 {
		x := newProduct(r, forms[r.IntN(3)], 4+r.IntN(90), 1+r.IntN(90), 1+r.IntN(400), 3)
		var results [][]float32
		for _, name := range []string{"avx512", "avx2"} {
			if err := Select(name); err != nil {
				t.Fatal(err)
			}
			results = append(results, x.result(nil))
		}
		sameBits(t, x.String(), results[1], results[0])
	}
}

func TestPackedKeepsItsPath(t *testing.T) {
	defer Select(Name())
	r := rand.New(rand.NewPCG(11, 12))
	a, w := randoms(r, 5*40), randoms(r, 50*40)
	for _, packedFor := range Names() {
		if err := Select(packedFor); err != nil {
			t.Fatal(err)
		}
		p, want := Pack(w, 50, 40), make([]float32, 5*50)
		p.MatMul(nil, want, a, 5)
		for _, name := range Names() {
			if err := Select(name); err != nil {
				t.Fatal(err)
			}
			got := make([]float32, 5*50)
			p.MatMul(nil, got, a, 5)
			sameBits(t, packedFor+" under "+name, got, want)
		}
	}
}

// TestNotANumberStaysInItsRow puts a NaN and an infinity into A and B and looks where they come out.
func TestNotANumberStaysInItsRow(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 14))
		for _, m := range []int{2, 9, 29} {
			const n, k = 37, 19
			x := &product{form: "NT", m: m, n: n, k: k, lda: k, ldb: k, ldc: n, alpha: 1, a: randoms(r, m*k), b: randoms(r, n*k), c: make([]float32, m*n)}
			x.a[1*k+3], x.b[5*k+2], x.b[36*k] = nan, inf, nan
			got := x.result(nil)
			for i := range m {
				for j := range n {
					want, _ := x.element(i, j)
					g := float64(got[i*n+j])
					if math.IsNaN(want) != math.IsNaN(g) || math.IsInf(want, 1) != math.IsInf(g, 1) || math.IsInf(want, -1) != math.IsInf(g, -1) {
						t.Fatalf("m=%d: c[%d,%d] = %g, want %g", m, i, j, g, want)
					}
				}
			}
		}
	})
}

func TestShortSlicesPanic(t *testing.T) {
	x := make([]float32, 100)
	for name, f := range map[string]func(){
		"A":              func() { MatMulNT(nil, x, x[:99], x, 10, 10, 10, false) },
		"B":              func() { MatMulNN(nil, x, x, x[:99], 10, 10, 10, false) },
		"C":              func() { MatMulTN(nil, x[:99], x, x, 10, 10, 10, false) },
		"stride":         func() { MatMulNTStrided(nil, x, 10, x, 9, x, 10, 10, 10, 10, false, 1) },
		"last row":       func() { MatMulNTStrided(nil, x, 10, x, 11, x, 10, 10, 10, 10, false, 1) },
		"negative":       func() { MatMulNT(nil, x, x, x, -1, 10, 10, false) },
		"overflow":       func() { MatMulNTStrided(nil, x, 10, x, math.MaxInt/4, x, 10, 10, 10, 10, false, 1) },
		"weight":         func() { Pack(x, 10, 11) },
		"packed, rows":   func() { Pack(x, 10, 10).MatMul(nil, x, x, 11) },
		"vector operand": func() { Dot(x, x[:99:99]) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// TestSteadyStateAllocatesNothing runs products after a first one has made the working memory.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	r := rand.New(rand.NewPCG(15, 16))
	x := newProduct(r, "TN", 130, 96, 80, 0)
	w := Pack(x.b, 96, 80)
	for name, p := range map[string]*Pool{"serial": nil, "pool": pool} {
		step := func() {
			x.run(p, x.c)
			MatMulNT(p, x.c, x.a, x.b, 130, 96, 80, false)
			w.MatMul(p, x.c, x.a, 130)
		}
		for range 20 {
			step()
		}
		if n := testing.AllocsPerRun(50, step); n > 0 {
			t.Errorf("%s: %v allocations a step", name, n)
		}
	}
}

func FuzzProducts(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint8(13), uint8(33), uint16(70))
	f.Add(uint64(2), uint8(1), uint8(1), uint8(64), uint16(300))
	f.Add(uint64(3), uint8(2), uint8(25), uint8(31), uint16(1))
	f.Fuzz(func(t *testing.T, seed uint64, form, m, n uint8, k uint16) {
		was := Name()
		defer Select(was)
		for _, name := range Names() {
			if err := Select(name); err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(seed, 0))
			x := newProduct(r, forms[form%3], int(m)+1, int(n)+1, int(k%700)+1, int(seed%7))
			x.check(t, x.result(nil))
		}
	})
}
