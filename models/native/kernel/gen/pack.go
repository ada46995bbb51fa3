package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// packing writes the transpose of four rows, eight depths at a time; both instruction sets use it.
func packing() {
	text("transpose4AVX2", "func(dst []float32, w int, src []float32, ld, k int)",
		"transpose4AVX2 sets dst[p*w+i] = src[i*ld+p] for i < 4 and p < k, a multiple of 8.")
	dst := Load(Param("dst").Base(), GP64())
	w := bytesOf("w")
	src := Load(Param("src").Base(), GP64())
	ld := bytesOf("ld")
	k := Load(Param("k"), GP64())
	w3, ld3, dst4 := GP64(), GP64(), GP64()
	LEAQ(operand.Mem{Base: w, Index: w, Scale: 2}, w3)
	LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	LEAQ(operand.Mem{Base: dst, Index: w, Scale: 4}, dst4)
	SHRQ(operand.U8(3), k)
	loop(k, 1, func(int) {
		transpose4x8(dst, dst4, w, w3, src, ld, ld3)
		ADDQ(operand.I32(32), src)
		LEAQ(operand.Mem{Base: dst, Index: w, Scale: 8}, dst)
		LEAQ(operand.Mem{Base: dst4, Index: w, Scale: 8}, dst4)
	})
	VZEROUPPER()
	RET()
	for _, width := range []int{6, 12, 16, 32} {
		copyRows(width)
	}
}

// copyRows writes the copy of rows of a fixed width, moved two at a time.
func copyRows(width int) {
	name := fmt.Sprintf("copyRows%dAVX2", width)
	text(name, "func(dst, src []float32, ld, k int)", fmt.Sprintf("%s sets dst[p*%d+j] = src[p*ld+j] for j < %d and p < k.", name, width, width))
	dst, src := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64())
	ld := bytesOf("ld")
	k := Load(Param("k"), GP64())
	loop(k, 2, func(int) {
		move := func(at int, r reg.VecVirtual) {
			VMOVUPS(operand.Mem{Base: src, Disp: 4 * at}, r)
			VMOVUPS(r, operand.Mem{Base: dst, Disp: 4 * at})
		}
		at := 0
		for ; at+8 <= width; at += 8 {
			move(at, YMM())
		}
		for ; at+4 <= width; at += 4 {
			move(at, XMM())
		}
		if at < width {
			pair := XMM()
			VMOVSD(operand.Mem{Base: src, Disp: 4 * at}, pair)
			VMOVSD(pair, operand.Mem{Base: dst, Disp: 4 * at})
		}
		ADDQ(ld, src)
		ADDQ(operand.I32(4*width), dst)
	})
	VZEROUPPER()
	RET()
}

func transpose4x8(dst, dst4, w, w3, src, ld, ld3 reg.Register) {
	r := []reg.VecVirtual{
		avx2.load(operand.Mem{Base: src}),
		avx2.load(operand.Mem{Base: src, Index: ld, Scale: 1}),
		avx2.load(operand.Mem{Base: src, Index: ld, Scale: 2}),
		avx2.load(operand.Mem{Base: src, Index: ld3, Scale: 1}),
	}
	t := []reg.VecVirtual{YMM(), YMM(), YMM(), YMM()}
	VUNPCKLPS(r[1], r[0], t[0])
	VUNPCKHPS(r[1], r[0], t[1])
	VUNPCKLPS(r[3], r[2], t[2])
	VUNPCKHPS(r[3], r[2], t[3])
	VUNPCKLPD(t[2], t[0], r[0])
	VUNPCKHPD(t[2], t[0], r[1])
	VUNPCKLPD(t[3], t[1], r[2])
	VUNPCKHPD(t[3], t[1], r[3])
	for i, m := range []operand.Mem{{}, {Index: w, Scale: 1}, {Index: w, Scale: 2}, {Index: w3, Scale: 1}} {
		m.Base = dst
		VMOVUPS(r[i].AsX(), m)
		m.Base = dst4
		VEXTRACTF128(operand.U8(1), r[i], m)
	}
}
