package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var inf = float32(math.Inf(1))

// rowLengths covers every rest of a register, and rows of several registers.
func rowLengths() []int {
	var n []int
	for i := range 70 {
		n = append(n, i)
	}
	return append(n, 127, 128, 200, 256, 704, 1023)
}

// near fails unless got is within tol of want, relative to the larger of |want| and floor.
func near(t *testing.T, what string, got float32, want, floor, tol float64) {
	t.Helper()
	if d := math.Abs(float64(got) - want); !(d <= tol*math.Max(math.Abs(want), floor)) {
		t.Fatalf("%s = %g, want %g (off by %g)", what, got, want, d)
	}
}

// eachRow runs f on every path for every length.
func eachRow(t *testing.T, f func(t *testing.T, r *rand.Rand, n int)) {
	t.Helper()
	eachPath(t, func(t *testing.T) {
		for _, n := range rowLengths() {
			f(t, rand.New(rand.NewPCG(uint64(n), 1)), n)
		}
	})
}

func f64(x float32) float64 { return float64(x) }

func TestSums(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		a, b, c := randoms(r, n), randoms(r, n+3), randoms(r, n)
		var dot, tri, sq float64
		for i := range a {
			dot += f64(a[i]) * f64(b[i])
			tri += f64(a[i]) * f64(b[i]) * f64(c[i])
			sq += f64(a[i]) * f64(a[i])
		}
		near(t, fmt.Sprintf("dot of %d", n), Dot(a, b), dot, float64(n), 1e-6)
		near(t, fmt.Sprintf("dot3 of %d", n), dot3(a, b[:n], c), tri, float64(n), 1e-6)
		if got := SumSquares(a); math.Abs(got-sq) > 1e-13*sq {
			t.Fatalf("sum of %d squares = %.17g, want %.17g", n, got, sq)
		}
	})
}

func TestElementwise(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		a, b := randoms(r, n), randoms(r, n)
		check := func(name string, got []float32, want func(x, y float64) float64) {
			t.Helper()
			for i := range got {
				near(t, fmt.Sprintf("%s[%d] of %d", name, i, n), got[i], want(f64(a[i]), f64(b[i])), 1, 1e-7)
			}
		}
		dst := make([]float32, n)
		Add(dst, a, b)
		check("add", dst, func(x, y float64) float64 { return x + y })
		Mul(dst, a, b)
		check("mul", dst, func(x, y float64) float64 { return x * y })
		dst = slices.Clone(a)
		Add(dst, dst, b)
		check("add in place", dst, func(x, y float64) float64 { return x + y })
		dst = slices.Clone(b)
		Mul(dst, a, dst)
		check("mul in place", dst, func(x, y float64) float64 { return x * y })
		dst = slices.Clone(b)
		Axpy(dst, 0.75, a)
		check("axpy", dst, func(x, y float64) float64 { return y + 0.75*x })
		dst = slices.Clone(a)
		Scale(dst, -3)
		check("scale", dst, func(x, _ float64) float64 { return -3 * x })
	})
}

// TestNothingBeyondTheRowChanges surrounds every output with values that must stay.
func TestNothingBeyondTheRowChanges(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		in := randoms(r, n)
		for name, f := range map[string]func(x []float32){
			"add": func(x []float32) { Add(x, x, in) }, "mul": func(x []float32) { Mul(x, x, in) },
			"axpy": func(x []float32) { Axpy(x, 2, in) }, "scale": func(x []float32) { Scale(x, 2) },
			"exp": func(x []float32) { ExpInto(x, x) }, "softmax": func(x []float32) { SoftmaxRow(x, len(x)) },
			"silu": func(x []float32) { SiLUMul(x, x, in) }, "norm": func(x []float32) { RMSNorm(x, x, in, 1e-5) },
			"silu backward": func(x []float32) { SiLUMulBackward(x, slices.Clone(in), in, in, in) },
			"norm backward": func(x []float32) { RMSNormBackward(x, slices.Clone(in), in, in, in, 1) },
			"adamw":         func(x []float32) { AdamW(x, in, slices.Clone(in), make([]float32, n), 1, .9, .9, 1, 0, 1, 1, 1) },
		} {
			whole := randoms(r, n+40)
			want := slices.Clone(whole)
			f(whole[20 : 20+n])
			sameBits(t, name+" before", whole[:20], want[:20])
			sameBits(t, name+" behind", whole[20+n:], want[20+n:])
		}
	})
}

func TestExp(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		var x []float32
		for v := float32(-104.4); v < 89; v += 0.00317 {
			x = append(x, v)
		}
		y := make([]float32, len(x))
		ExpInto(y, x)
		worst := 0.0
		for i, v := range x {
			want := math.Exp(f64(v))
			switch {
			case want > math.MaxFloat32:
				if y[i] != inf {
					t.Fatalf("e^%g = %g, want +Inf", v, y[i])
				}
			case want < 1.17549435e-38: // subnormal: as close as the type allows
				if math.Abs(f64(y[i])-want) > 1.5e-45 {
					t.Fatalf("e^%g = %g, want %g", v, y[i], want)
				}
			default:
				worst = math.Max(worst, math.Abs(f64(y[i])/want-1))
			}
		}
		if worst > 1.5e-7 {
			t.Errorf("relative error up to %g", worst)
		}
		z := []float32{0, -inf, inf, -200, 1000, float32(math.NaN()), float32(math.Copysign(0, -1))}
		ExpInto(z, z)
		if z[0] != 1 || z[1] != 0 || z[2] != inf || z[3] != 0 || z[4] != inf || z[5] == z[5] || z[6] != 1 {
			t.Errorf("special values give %v", z)
		}
	})
}

func TestSoftmaxRow(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		x := randoms(r, n+9)
		for i := range x {
			x[i] *= 30
		}
		if n > 2 {
			x[r.IntN(n)] = -inf // a masked place
		}
		top, sum := math.Inf(-1), 0.0
		for _, v := range x[:n] {
			top = math.Max(top, f64(v))
		}
		want := make([]float64, n+9)
		for i := range n {
			want[i] = math.Exp(f64(x[i]) - top)
			sum += want[i]
		}
		SoftmaxRow(x, n)
		for i, v := range x {
			if i < n {
				near(t, fmt.Sprintf("softmax[%d] of %d", i, n), v, want[i]/sum, 1e-30, 4e-6)
			} else if v != 0 {
				t.Fatalf("place %d behind the row of %d is %g", i, n, v)
			}
		}
	})
}

func TestSoftmaxSpecialRows(t *testing.T) {
	nan := float32(math.NaN())
	eachPath(t, func(t *testing.T) {
		for _, n := range []int{3, 16, 21, 40} {
			for name, v := range map[string]float32{"NaN": nan, "+Inf": inf} {
				for at := range n {
					x := make([]float32, n)
					x[at] = v
					SoftmaxRow(x, n)
					if slices.ContainsFunc(x, func(v float32) bool { return v == v }) {
						t.Fatalf("a row of %d with %s at %d gives %v", n, name, at, x)
					}
				}
			}
			x := make([]float32, n)
			for i := range x {
				x[i] = -inf
			}
			SoftmaxRow(x, n)
			if x[0] == x[0] {
				t.Fatalf("a row of -Inf gives %v", x)
			}
			huge := make([]float32, n)
			for i := range huge {
				huge[i] = math.MaxFloat32
			}
			SoftmaxRow(huge, n)
			near(t, "softmax of the largest numbers", huge[n-1], 1/float64(n), 0, 1e-6)
		}
	})
}

func logistic(g float64) float64 { return 1 / (1 + math.Exp(-g)) }

func TestSiLU(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		g, u, d := randoms(r, n), randoms(r, n), randoms(r, n)
		for i := range g {
			g[i] *= 20
		}
		y, dg, du := make([]float32, n), make([]float32, n), make([]float32, n)
		SiLUMul(y, g, u)
		SiLUMulBackward(dg, du, d, g, u)
		for i := range g {
			x, s := f64(g[i]), logistic(f64(g[i]))
			near(t, "silu", y[i], x*s*f64(u[i]), 1e-30, 6e-7)
			near(t, "dup", du[i], f64(d[i])*x*s, 1e-30, 6e-7)
			// The slope of the forward function, by a difference in float64.
			const h = 1e-6
			slope := ((x+h)*logistic(x+h) - (x-h)*logistic(x-h)) / (2 * h)
			near(t, fmt.Sprintf("dgate at %g", x), dg[i], f64(d[i])*f64(u[i])*slope, 1, 2e-6)
		}
		sameDG, sameDU := slices.Clone(g), slices.Clone(u)
		SiLUMulBackward(sameDG, sameDU, d, sameDG, sameDU)
		sameBits(t, "dgate in place", sameDG, dg)
		sameBits(t, "dup in place", sameDU, du)
	})
	eachPath(t, func(t *testing.T) {
		y := make([]float32, 5)
		SiLUMul(y, []float32{-200, 200, inf, -inf, 0}, []float32{1, 1, 1, 1, 1})
		if y[0] != 0 || y[1] != 200 || y[2] != inf || y[3] == y[3] || y[4] != 0 {
			t.Errorf("special values give %v", y)
		}
	})
}

// normLoss is sum(d * rmsnorm(x)*w) in float64.
func normLoss(d, x, w []float64, eps float64) float64 {
	sq := 0.0
	for _, v := range x {
		sq += v * v
	}
	r, sum := 1/math.Sqrt(sq/float64(len(x))+eps), 0.0
	for i := range x {
		sum += d[i] * x[i] * w[i] * r
	}
	return sum
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = f64(v)
	}
	return y
}

func TestRMSNorm(t *testing.T) {
	const eps = 1e-3
	eachPath(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 2, 7, 16, 33, 64, 100} {
			r := rand.New(rand.NewPCG(uint64(n), 2))
			d, x, w := randoms(r, n), randoms(r, n), randoms(r, n)
			dx, dw, y := randoms(r, n), randoms(r, n), make([]float32, n)
			dx0, dw0 := slices.Clone(dx), slices.Clone(dw)
			inv := RMSNorm(y, x, w, eps)
			RMSNormBackward(dx, dw, d, x, w, inv)
			D, X, W := wide(d), wide(x), wide(w)
			for i := range n {
				unit := make([]float64, n)
				unit[i] = 1
				near(t, "norm", y[i], normLoss(unit, X, W, eps), 1e-3, 1e-6)
				slope := func(v []float64) float64 {
					const h = 1e-6
					was := v[i]
					v[i] = was + h
					up := normLoss(D, X, W, eps)
					v[i] = was - h
					down := normLoss(D, X, W, eps)
					v[i] = was
					return (up - down) / (2 * h)
				}
				near(t, fmt.Sprintf("dx[%d] of %d", i, n), dx[i], f64(dx0[i])+slope(X), 1, 3e-6)
				near(t, fmt.Sprintf("dw[%d] of %d", i, n), dw[i], f64(dw0[i])+slope(W), 1, 3e-6)
			}
		}
	})
}

// TestAdamW follows torch.optim.AdamW in float64 over several steps.
func TestAdamW(t *testing.T) {
	const lr, b1, b2, eps, wd, scale = 0.01, 0.9, 0.95, 1e-8, 0.1, 0.5
	eachRow(t, func(t *testing.T, r *rand.Rand, n int) {
		w, m, v := randoms(r, n), make([]float32, n), make([]float32, n)
		W, M, V := wide(w), make([]float64, n), make([]float64, n)
		for step := 1; step <= 4; step++ {
			g := randoms(r, n)
			kept := slices.Clone(g)
			c1, c2 := 1-math.Pow(b1, float64(step)), 1-math.Pow(b2, float64(step))
			AdamW(w, g, m, v, lr, b1, b2, eps, wd, float32(c1), float32(c2), scale)
			sameBits(t, "gradient", g, kept)
			for i := range n {
				x := f64(g[i]) * scale
				W[i] *= 1 - lr*wd
				M[i] = b1*M[i] + (1-b1)*x
				V[i] = b2*V[i] + (1-b2)*x*x
				W[i] -= lr / c1 * M[i] / (math.Sqrt(V[i])/math.Sqrt(c2) + eps)
				near(t, fmt.Sprintf("w[%d] of %d after step %d", i, n, step), w[i], W[i], 1, 1e-6)
				near(t, "m", m[i], M[i], 1, 1e-7)
				near(t, "v", v[i], V[i], 1, 1e-7)
			}
		}
	})
}

// TestAdamWInSeveralCalls crosses the length of one call.
func TestAdamWInSeveralCalls(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 3))
		n := callLength + 21
		w, g, m, v := randoms(r, n), randoms(r, n), make([]float32, n), make([]float32, n)
		one := []float32{w[n-30]}
		AdamW(one, g[n-30:n-29], []float32{0}, []float32{0}, .1, .9, .95, 1e-8, 0, .1, .05, 1)
		AdamW(w, g, m, v, .1, .9, .95, 1e-8, 0, .1, .05, 1)
		near(t, "weight in the second block", w[n-30], f64(one[0]), 1, 1e-7)
		for i, v := range m {
			if v == 0 && g[i] != 0 {
				t.Fatalf("element %d was left out", i)
			}
		}
	})
}

// TestLongRows crosses the length of one call with every function that takes whole tensors.
func TestLongRows(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := newRand(31)
		const n = 2*callLength + 19
		a, b, c := randoms(r, n), randoms(r, n), randoms(r, n)
		dot, sq := 0.0, 0.0
		for i := range a {
			dot += f64(a[i]) * f64(b[i])
			sq += f64(a[i]) * f64(a[i])
		}
		near(t, "dot", Dot(a, b), dot, n, 1e-7)
		if got := SumSquares(a); math.Abs(got-sq) > 1e-11*sq {
			t.Fatalf("sum of squares = %.17g, want %.17g", got, sq)
		}
		for name, f := range map[string]func(x, y, z []float32){
			"add": func(x, y, z []float32) { Add(x, y, z) }, "mul": func(x, y, z []float32) { Mul(x, y, z) },
			"axpy": func(x, y, _ []float32) { Axpy(x, 2, y) }, "scale": func(x, _, _ []float32) { Scale(x, 2) },
			"exp": func(x, y, _ []float32) { ExpInto(x, y) }, "silu": func(x, y, z []float32) { SiLUMul(x, y, z) },
			"silu backward": func(x, y, z []float32) { SiLUMulBackward(x, slices.Clone(z), y, z, y) },
		} {
			long := slices.Clone(c)
			f(long, a, b)
			want := slices.Clone(c)
			for at := 0; at < n; at += 1000 {
				end := min(at+1000, n)
				f(want[at:end], a[at:end], b[at:end])
			}
			for i := range want {
				near(t, fmt.Sprintf("%s[%d]", name, i), long[i], f64(want[i]), 1e-3, 1e-6)
			}
		}
	})
}
