package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vectors writes the functions on rows. Each takes slices of a whole number of registers; the Go side pads what is left.
func vectors(s isa) {
	dot(s)
	dot3(s)
	dotRows(s)
	axpy(s)
	binary(s, "add", "a+b", func(x reg.VecVirtual, y operand.Op) { VADDPS(y, x, x) })
	binary(s, "mul", "a*b", func(x reg.VecVirtual, y operand.Op) { VMULPS(y, x, x) })
	scale(s)
	mulScaled(s)
	top(s)
	exp(s)
	expSum(s)
	siluMul(s)
	siluMulBackward(s)
	rmsNormBackward(s)
	sumSquares(s)
	adamW(s)
}

// rows is a set of slices walked side by side, with one index register for all of them.
type rows struct {
	isa
	base map[string]reg.Register
	at   reg.Register // bytes from the start
	n    reg.Register // registers left
}

// walk loads the slice arguments named in list; the first one's length counts.
func (s isa) walk(list string) *rows {
	r := &rows{isa: s, base: map[string]reg.Register{}, at: GP64(), n: GP64()}
	names := strings.Fields(list)
	for _, n := range names {
		r.base[n] = Load(Param(n).Base(), GP64())
	}
	Load(Param(names[0]).Len(), r.n)
	SHRQ(operand.U8(map[int]uint8{8: 3, 16: 4}[s.width]), r.n)
	XORQ(r.at, r.at)
	return r
}

// mem is the current register of a slice, u further on.
func (r *rows) mem(name string, u int) operand.Mem {
	return operand.Mem{Base: r.base[name], Index: r.at, Scale: 1, Disp: u * r.bytes()}
}

func (r *rows) get(name string, u int) reg.VecVirtual { return r.load(r.mem(name, u)) }

func (r *rows) put(x reg.VecVirtual, name string, u int) { VMOVUPS(x, r.mem(name, u)) }

// each runs body for every register, in groups of size.
func (r *rows) each(size int, body func(u int)) {
	id := fmt.Sprintf("rows%d", labels)
	labels++
	SUBQ(operand.I32(size), r.n)
	JLT(operand.LabelRef(id + "rest"))
	Label(id + "many")
	for u := range size {
		body(u)
	}
	ADDQ(operand.I32(size*r.bytes()), r.at)
	SUBQ(operand.I32(size), r.n)
	JGE(operand.LabelRef(id + "many"))
	Label(id + "rest")
	if size > 1 {
		ADDQ(operand.I32(size), r.n)
		JLE(operand.LabelRef(id + "done"))
		Label(id + "one")
		body(0)
		ADDQ(operand.I32(r.bytes()), r.at)
		SUBQ(operand.I32(1), r.n)
		JNZ(operand.LabelRef(id + "one"))
		Label(id + "done")
	}
}

func done() {
	VZEROUPPER()
	RET()
}

// addUp adds the registers of x into the first.
func addUp(x []reg.VecVirtual) reg.VecVirtual {
	for gap := len(x) / 2; gap > 0; gap /= 2 {
		for i := range gap {
			VADDPS(x[i+gap], x[i], x[i])
		}
	}
	return x[0]
}

func (s isa) zeros(n int) []reg.VecVirtual {
	var x []reg.VecVirtual
	for range n {
		x = append(x, s.zero())
	}
	return x
}

func (s isa) foldSum(x reg.VecVirtual) reg.Register {
	return s.fold(x, func(o ...operand.Op) { VADDPS(o[0], o[1], o[2]) })
}

// finish folds the sum and returns it.
func (s isa) finish(x []reg.VecVirtual) {
	sum := s.foldSum(addUp(x))
	Store(sum, ReturnIndex(0))
	done()
}

func dot(s isa) {
	text("dot"+s.suffix, "func(a, b []float32) float32", "dot is the sum of a*b.")
	r, acc := s.walk("a b"), s.zeros(4)
	r.each(4, func(u int) { VFMADD231PS(r.mem("b", u), r.get("a", u), acc[u]) })
	s.finish(acc)
}

func dot3(s isa) {
	text("dot3"+s.suffix, "func(a, b, c []float32) float32", "dot3 is the sum of a*b*c.")
	r, acc := s.walk("a b c"), s.zeros(4)
	r.each(4, func(u int) {
		x := r.get("a", u)
		VMULPS(r.mem("b", u), x, x)
		VFMADD231PS(r.mem("c", u), x, acc[u])
	})
	s.finish(acc)
}

// dotRows multiplies one row by many, four at a time. Each result is added up in the same order, wherever its row stands.
func dotRows(s isa) {
	text("dotRows"+s.suffix, "func(dst, a, b []float32, ld int)",
		"dotRows sets dst[i] to the sum of a[p]*b[i*ld+p]; a is a whole number of registers long, and at least one.")
	dst, left := Load(Param("dst").Base(), GP64()), Load(Param("dst").Len(), GP64())
	a, size := Load(Param("a").Base(), GP64()), Load(Param("a").Len(), GP64())
	b, ld := Load(Param("b").Base(), GP64()), bytesOf("ld")
	ld3, at := GP64(), GP64()
	LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	SHLQ(operand.U8(2), size)
	group := func(rows int) []reg.Register {
		acc := s.zeros(rows)
		id := fmt.Sprintf("dots%d", labels)
		labels++
		XORQ(at, at)
		row := GP64()
		MOVQ(b, row)
		Label(id)
		x := s.load(operand.Mem{Base: a, Index: at, Scale: 1})
		for i, m := range []operand.Mem{{}, {Index: ld, Scale: 1}, {Index: ld, Scale: 2}, {Index: ld3, Scale: 1}}[:rows] {
			m.Base = row
			VFMADD231PS(m, x, acc[i])
		}
		ADDQ(operand.I32(s.bytes()), row)
		ADDQ(operand.I32(s.bytes()), at)
		CMPQ(at, size)
		JLT(operand.LabelRef(id))
		var low []reg.Register
		for _, r := range acc {
			low = append(low, s.quarter(r))
		}
		return low
	}
	SUBQ(operand.I32(4), left)
	JLT(operand.LabelRef("rest"))
	Label("four")
	q := group(4)
	VHADDPS(q[1], q[0], q[0])
	VHADDPS(q[3], q[2], q[2])
	VHADDPS(q[2], q[0], q[0])
	VMOVUPS(q[0], operand.Mem{Base: dst})
	LEAQ(operand.Mem{Base: b, Index: ld, Scale: 4}, b)
	ADDQ(operand.I32(16), dst)
	SUBQ(operand.I32(4), left)
	JGE(operand.LabelRef("four"))
	Label("rest")
	ADDQ(operand.I32(4), left)
	JLE(operand.LabelRef("done"))
	Label("one")
	q = group(1)
	VHADDPS(q[0], q[0], q[0])
	VHADDPS(q[0], q[0], q[0])
	VMOVSS(q[0], operand.Mem{Base: dst})
	ADDQ(ld, b)
	ADDQ(operand.I32(4), dst)
	SUBQ(operand.I32(1), left)
	JNZ(operand.LabelRef("one"))
	Label("done")
	done()
}

// quarter adds the quarters or halves of a register into four lanes.
func (s isa) quarter(x reg.VecVirtual) reg.Register {
	y := x.AsY()
	if s.width == 16 {
		t := YMM()
		VEXTRACTF64X4(operand.U8(1), x, t)
		VADDPS(t, y, t)
		y = t
	}
	h := XMM()
	VEXTRACTF128(operand.U8(1), y, h)
	VADDPS(h, y.(reg.VecVirtual).AsX(), h)
	return h
}

func axpy(s isa) {
	text("axpy"+s.suffix, "func(y []float32, alpha float32, x []float32)", "axpy adds alpha*x to y.")
	r, alpha := s.walk("y x"), s.param("alpha")
	r.each(4, func(u int) {
		y := r.get("y", u)
		VFMADD231PS(r.mem("x", u), alpha, y)
		r.put(y, "y", u)
	})
	done()
}

func binary(s isa, name, what string, op func(x reg.VecVirtual, y operand.Op)) {
	text(name+s.suffix, "func(dst, a, b []float32)", name+" sets dst = "+what+".")
	r := s.walk("dst a b")
	r.each(4, func(u int) {
		x := r.get("a", u)
		op(x, r.mem("b", u))
		r.put(x, "dst", u)
	})
	done()
}

func scale(s isa) {
	text("scale"+s.suffix, "func(x []float32, f float32)", "scale multiplies x by f.")
	r, f := s.walk("x"), s.param("f")
	r.each(4, func(u int) {
		x := s.reg()
		VMULPS(r.mem("x", u), f, x)
		r.put(x, "x", u)
	})
	done()
}

func mulScaled(s isa) {
	text("mulScaled"+s.suffix, "func(dst, x, w []float32, f float32)", "mulScaled sets dst = x*f*w.")
	r, f := s.walk("dst x w"), s.param("f")
	r.each(4, func(u int) {
		x := s.reg()
		VMULPS(r.mem("x", u), f, x)
		VMULPS(r.mem("w", u), x, x)
		r.put(x, "dst", u)
	})
	done()
}

func top(s isa) {
	text("max"+s.suffix, "func(x []float32) float32", "max is the largest of x, at least one register long; a NaN may be passed over.")
	r := s.walk("x")
	acc := []reg.VecVirtual{r.get("x", 0), r.get("x", 0), r.get("x", 0), r.get("x", 0)}
	r.each(4, func(u int) { VMAXPS(r.mem("x", u), acc[u], acc[u]) })
	VMAXPS(acc[1], acc[0], acc[0])
	VMAXPS(acc[3], acc[2], acc[2])
	VMAXPS(acc[2], acc[0], acc[0])
	Store(s.fold(acc[0], func(o ...operand.Op) { VMAXPS(o[0], o[1], o[2]) }), ReturnIndex(0))
	done()
}

// exponential holds the constants of e^x: x = n*ln2 + r with |r| <= ln2/2, e^r by a polynomial of degree 6 (Chebyshev
// interpolation, off by less than 1e-8), and the result times 2^n.
type exponential struct {
	isa
	low, high, log2e, ln2, ln2Low operand.Op
	coef                          []operand.Op // from r^6 down
	bias                          operand.Op
}

func newExponential(s isa) *exponential {
	e := &exponential{isa: s,
		low: s.constReg(-104.5), high: s.constReg(89),
		log2e: s.constant(1.4426950408889634), ln2: s.constant(0.6931471805599453), ln2Low: s.constant(-1.904654299957768e-09)}
	for _, c := range []float64{0.00139411607538, 0.00837516828895, 0.0416663522681, 0.166664150113, 0.500000004726, 1, 1} {
		e.coef = append(e.coef, s.constant(c))
	}
	if s.width == 8 {
		e.bias = s.bits(127)
	}
	return e
}

// of replaces x by e^x. NaN stays: the minimum and maximum hand on their first operand when it is NaN.
func (e *exponential) of(x reg.VecVirtual) {
	n, p := e.reg(), e.reg()
	VMINPS(x, e.high, x)
	VMAXPS(x, e.low, x)
	VMULPS(e.log2e, x, n)
	e.round(n)
	VFNMADD231PS(e.ln2, n, x)
	VFNMADD231PS(e.ln2Low, n, x)
	VMOVUPS(e.coef[0], p)
	for _, c := range e.coef[1:] {
		VFMADD213PS(c, x, p)
	}
	e.scale(p, n, x)
}

func (e *exponential) round(n reg.VecVirtual) {
	if e.width == 16 {
		VRNDSCALEPS(operand.U8(0), n, n)
	} else {
		VROUNDPS(operand.U8(0), n, n)
	}
}

// scale sets x = p*2^n. Without an instruction for it, 2^n is made as the product of two halves, so that results down to the
// subnormals and up to infinity come out right.
func (e *exponential) scale(p, n, x reg.VecVirtual) {
	if e.width == 16 {
		VSCALEFPS(n, p, x)
		return
	}
	half := e.reg()
	VCVTPS2DQ(n, n)
	VPSRAD(operand.U8(1), n, half)
	VPSUBD(half, n, n)
	for _, h := range []reg.VecVirtual{half, n} {
		VPADDD(e.bias, h, h)
		VPSLLD(operand.U8(23), h, h)
	}
	VMULPS(half, p, p)
	VMULPS(n, p, x)
}

func exp(s isa) {
	text("exp"+s.suffix, "func(dst, x []float32)", "exp sets dst = e^x.")
	r, e := s.walk("dst x"), newExponential(s)
	r.each(2, func(u int) {
		x := r.get("x", u)
		e.of(x)
		r.put(x, "dst", u)
	})
	done()
}

func expSum(s isa) {
	text("expSum"+s.suffix, "func(x []float32, top float32) float32", "expSum replaces x by e^(x-top) and returns the sum.")
	r, t, acc, e := s.walk("x"), s.param("top"), s.zeros(2), newExponential(s)
	r.each(2, func(u int) {
		x := r.get("x", u)
		VSUBPS(t, x, x)
		e.of(x)
		VADDPS(x, acc[u], acc[u])
		r.put(x, "x", u)
	})
	s.finish(acc)
}

// sigmoid gives 1/(1+e^-g).
func (e *exponential) sigmoid(g reg.VecVirtual, one reg.VecVirtual) reg.VecVirtual {
	x := e.reg()
	VSUBPS(g, e.zero(), x)
	e.of(x)
	VADDPS(one, x, x)
	VDIVPS(x, one, x)
	return x
}

func siluMul(s isa) {
	text("siluMul"+s.suffix, "func(dst, gate, up []float32)", "siluMul sets dst = gate/(1+e^-gate)*up.")
	r, e, one := s.walk("dst gate up"), newExponential(s), s.constReg(1)
	r.each(2, func(u int) {
		g := r.get("gate", u)
		x := e.sigmoid(g, one)
		VMULPS(g, x, x)
		VMULPS(r.mem("up", u), x, x)
		r.put(x, "dst", u)
	})
	done()
}

func siluMulBackward(s isa) {
	text("siluMulBackward"+s.suffix, "func(dgate, dup, dout, gate, up []float32)",
		"siluMulBackward sets dup = dout*g*s and dgate = dout*up*s*(1+g*(1-s)) with s = 1/(1+e^-g).")
	r, e, one := s.walk("dgate dup dout gate up"), newExponential(s), s.constReg(1)
	r.each(1, func(u int) {
		g, d := r.get("gate", u), r.get("dout", u)
		x := e.sigmoid(g, one)
		t := s.reg()
		VMULPS(x, d, d)
		VSUBPS(x, one, x)
		VMULPS(g, d, t)
		VFMADD213PS(one, g, x)
		VMULPS(r.mem("up", u), d, d)
		VMULPS(x, d, d)
		r.put(t, "dup", u)
		r.put(d, "dgate", u)
	})
	done()
}

func rmsNormBackward(s isa) {
	text("rmsNormBackward"+s.suffix, "func(dx, dw, dy, x, w []float32, f, q float32)",
		"rmsNormBackward adds dy*f*x to dw and dy*f*w - x*q to dx.")
	r, f, q := s.walk("dx dw dy x w"), s.param("f"), s.param("q")
	r.each(2, func(u int) {
		d, x, dw, dx := s.reg(), r.get("x", u), r.get("dw", u), r.get("dx", u)
		VMULPS(r.mem("dy", u), f, d)
		VFMADD231PS(d, x, dw)
		VFMADD231PS(r.mem("w", u), d, dx)
		VFNMADD231PS(q, x, dx)
		r.put(dw, "dw", u)
		r.put(dx, "dx", u)
	})
	done()
}

func sumSquares(s isa) {
	text("sumSquares"+s.suffix, "func(x []float32) float64", "sumSquares is the sum of x*x in float64.")
	r, acc := s.walk("x"), s.zeros(4)
	r.each(2, func(u int) {
		for half := range 2 {
			y, m := s.reg(), r.mem("x", u)
			m.Disp += half * s.bytes() / 2
			VCVTPS2PD(m, y)
			VFMADD231PD(y, y, acc[2*u+half])
		}
	})
	VADDPD(acc[1], acc[0], acc[0])
	VADDPD(acc[3], acc[2], acc[2])
	VADDPD(acc[2], acc[0], acc[0])
	x := acc[0].AsY()
	if s.width == 16 {
		t := YMM()
		VEXTRACTF64X4(operand.U8(1), acc[0], t)
		VADDPD(x, t, t)
		x = t
	}
	h, l := XMM(), XMM()
	VEXTRACTF128(operand.U8(1), x, h)
	VADDPD(x.(reg.VecVirtual).AsX(), h, h)
	VPERMILPD(operand.U8(1), h, l)
	VADDPD(l, h, h)
	Store(h, ReturnIndex(0))
	done()
}

// adamW reads its numbers from a struct of nine float32 in the order of type adam in package kernel.
func adamW(s isa) {
	text("adamW"+s.suffix, "func(w, g, m, v []float32, h *float32)", "adamW makes one step; h points at the numbers of type adam.")
	r := s.walk("w g m v")
	h := Load(Param("h"), GP64())
	var n []reg.VecVirtual
	for i := range 9 {
		n = append(n, s.broadcast(operand.Mem{Base: h, Disp: 4 * i}))
	}
	gscale, beta1, grow1, beta2, grow2, decay, step, root, eps := n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]
	r.each(1, func(u int) {
		g, m, v, w, x := r.get("g", u), r.get("m", u), r.get("v", u), r.get("w", u), s.reg()
		VMULPS(gscale, g, g)
		VMULPS(beta1, m, m)
		VFMADD231PS(grow1, g, m)
		VMULPS(g, g, g)
		VMULPS(beta2, v, v)
		VFMADD231PS(grow2, g, v)
		r.put(m, "m", u)
		r.put(v, "v", u)
		VSQRTPS(v, v)
		VFMADD213PS(eps, root, v)
		VMULPS(step, m, x)
		VDIVPS(v, x, x)
		VMULPS(decay, w, w)
		VSUBPS(x, w, w)
		r.put(w, "w", u)
	})
	done()
}
