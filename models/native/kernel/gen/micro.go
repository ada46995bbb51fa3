package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tile is the shape of one micro-kernel: rows of A by panels of B of two registers each.
type tile struct {
	isa
	rows, panels int
	tallest      bool
}

const unroll = 4

// prefetchAhead is how many bytes before their use the lines of B are asked for. The tallest tile does without: it works on
// panels that are in the cache already.
const prefetchAhead = 2048

// microKernels writes all tiles: those of one panel for products, and for few rows the wide ones, which keep enough sums and
// enough streams of B in flight to run at the speed of memory.
func microKernels() {
	for _, s := range []struct {
		isa
		rows, wide int
	}{{avx2, 6, 3}, {avx512, 12, 6}} {
		for r := 1; r <= s.rows; r++ {
			tile{s.isa, r, 1, r == s.rows}.write()
		}
		tile{s.isa, 1, 4, false}.write()
		for r := 2; r <= s.wide; r++ {
			tile{s.isa, r, 2, false}.write()
		}
	}
}

func (t tile) name() string {
	if t.panels > 1 {
		return fmt.Sprintf("wide%d%s", t.rows, t.suffix)
	}
	return fmt.Sprintf("micro%d%s", t.rows, t.suffix)
}

func (t tile) write() {
	sig := "func(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)"
	if t.panels > 1 {
		sig = "func(k int, a []float32, rs, cs int, b []float32, bs, ps int, c []float32, ldc int, load bool)"
	}
	text(t.name(), sig, fmt.Sprintf("%s is the micro-kernel of %d rows by %d columns.", t.name(), t.rows, t.panels*2*t.width))
	k := Load(Param("k"), GP64())
	a := t.rowPointers()
	rs, cs, bs := bytesOf("rs"), bytesOf("cs"), bytesOf("bs")
	_ = rs
	b := t.panelPointers()
	acc := t.start()
	step := func(u int) { t.step(acc, a, rs, cs, b, bs) }
	loop(k, unroll, step)
	t.store(acc)
	VZEROUPPER()
	RET()
}

// bytesOf loads a stride given in floats and turns it into bytes.
func bytesOf(name string) reg.Register {
	r := Load(Param(name), GP64())
	SHLQ(operand.U8(2), r)
	return r
}

// loop runs body n times: first in groups of size, then one by one. It destroys n. size is a power of two.
func loop(n reg.Register, size int, body func(u int)) {
	id := labels
	labels++
	rest, one, done, many := fmt.Sprintf("rest%d", id), fmt.Sprintf("one%d", id), fmt.Sprintf("done%d", id), fmt.Sprintf("many%d", id)
	SUBQ(operand.I32(size), n)
	JLT(operand.LabelRef(rest))
	Label(many)
	for u := range size {
		body(u)
	}
	SUBQ(operand.I32(size), n)
	JGE(operand.LabelRef(many))
	Label(rest)
	ADDQ(operand.I32(size), n)
	JLE(operand.LabelRef(done))
	Label(one)
	body(0)
	SUBQ(operand.I32(1), n)
	JNZ(operand.LabelRef(one))
	Label(done)
}

var labels int

// rowPointers gives one pointer for every three rows; the rows between are reached by the row stride as an index.
func (t tile) rowPointers() []reg.Register {
	first := Load(Param("a").Base(), GP64())
	p := []reg.Register{first}
	if t.rows <= 3 {
		return p
	}
	three := bytesOf("rs")
	LEAQ(operand.Mem{Base: three, Index: three, Scale: 2}, three)
	for i := 3; i < t.rows; i += 3 {
		q := GP64()
		LEAQ(operand.Mem{Base: p[len(p)-1], Index: three, Scale: 1}, q)
		p = append(p, q)
	}
	return p
}

func (t tile) panelPointers() []reg.Register {
	p := []reg.Register{Load(Param("b").Base(), GP64())}
	if t.panels == 1 {
		return p
	}
	ps := bytesOf("ps")
	for len(p) < t.panels {
		q := GP64()
		LEAQ(operand.Mem{Base: p[len(p)-1], Index: ps, Scale: 1}, q)
		p = append(p, q)
	}
	return p
}

// start makes the sums: zeros, or what c holds.
func (t tile) start() [][]reg.VecVirtual {
	acc := make([][]reg.VecVirtual, t.rows)
	for i := range acc {
		for range 2 * t.panels {
			acc[i] = append(acc[i], t.zero())
		}
	}
	load := Load(Param("load"), GP8())
	c := Load(Param("c").Base(), GP64())
	ldc := bytesOf("ldc")
	TESTB(load, load)
	id := labels
	labels++
	skip, ready := fmt.Sprintf("fresh%d", id), fmt.Sprintf("ready%d", id)
	JEQ(operand.LabelRef(skip))
	for i := range acc {
		for v, x := range acc[i] {
			VMOVUPS(operand.Mem{Base: c, Disp: v * t.bytes()}, x)
		}
		if i < t.rows-1 {
			ADDQ(ldc, c)
		}
	}
	JMP(operand.LabelRef(ready))
	Label(skip)
	for i := range acc {
		for d := 0; d < 2*t.panels*t.bytes(); d += 64 {
			PREFETCHT0(operand.Mem{Base: c, Disp: d})
		}
		if i < t.rows-1 {
			ADDQ(ldc, c)
		}
	}
	Label(ready)
	return acc
}

// step multiplies one depth and moves on to the next.
func (t tile) step(acc [][]reg.VecVirtual, a []reg.Register, rs, cs reg.Register, b []reg.Register, bs reg.Register) {
	at := func(i int) operand.Mem {
		m := operand.Mem{Base: a[i/3]}
		if i%3 > 0 {
			m.Index, m.Scale = rs, uint8(i%3)
		}
		return m
	}
	if t.panels > 1 {
		t.wideStep(acc, at, b)
	} else {
		b0 := t.load(operand.Mem{Base: b[0]})
		b1 := t.load(operand.Mem{Base: b[0], Disp: t.bytes()})
		if !t.tallest {
			t.prefetch(b[0])
		}
		for i := range t.rows {
			x := t.broadcast(at(i))
			VFMADD231PS(b0, x, acc[i][0])
			VFMADD231PS(b1, x, acc[i][1])
		}
	}
	for _, p := range b {
		ADDQ(bs, p)
	}
	for _, p := range a {
		ADDQ(cs, p)
	}
}

// prefetch asks for what comes prefetchAhead bytes later in a panel of B.
func (t tile) prefetch(b reg.Register) {
	for d := 0; d < 2*t.bytes(); d += 64 {
		PREFETCHT0(operand.Mem{Base: b, Disp: prefetchAhead + d})
	}
}

// wideStep holds the rows of A in registers and passes B through one at a time, from memory when there is one row only.
func (t tile) wideStep(acc [][]reg.VecVirtual, at func(int) operand.Mem, b []reg.Register) {
	var x []reg.VecVirtual
	for i := range t.rows {
		x = append(x, t.broadcast(at(i)))
	}
	for v := range 2 * t.panels {
		if v%2 == 0 {
			t.prefetch(b[v/2])
		}
		m := operand.Mem{Base: b[v/2], Disp: v % 2 * t.bytes()}
		if t.rows == 1 {
			VFMADD231PS(m, x[0], acc[0][v])
			continue
		}
		y := t.load(m)
		for i := range t.rows {
			VFMADD231PS(y, x[i], acc[i][v])
		}
	}
}

func (t tile) store(acc [][]reg.VecVirtual) {
	c := Load(Param("c").Base(), GP64())
	ldc := bytesOf("ldc")
	for i := range acc {
		for v, x := range acc[i] {
			VMOVUPS(x, operand.Mem{Base: c, Disp: v * t.bytes()})
		}
		if i < t.rows-1 {
			ADDQ(ldc, c)
		}
	}
}
