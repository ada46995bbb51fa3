// Command gen writes the AVX2 and AVX-512 assembly of package kernel and its Go declarations. It is a module of its own so
// that the program itself does not depend on the assembler library. Run it through go generate in the folder above.
package main

import (
	"fmt"
	"math"
	"os"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is one vector instruction set: its name as a suffix of functions, and how many float32 a register holds.
type isa struct {
	suffix string
	width  int
}

var (
	avx2   = isa{"AVX2", 8}
	avx512 = isa{"AVX512", 16}
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "sums" {
		if err := writeSums(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ConstraintExpr("!noasm")
	microKernels()
	packing()
	for _, s := range []isa{avx2, avx512} {
		vectors(s)
	}
	Generate()
}

// bytes is the size of one register.
func (s isa) bytes() int { return 4 * s.width }

func (s isa) reg() reg.VecVirtual {
	if s.width == 16 {
		return ZMM()
	}
	return YMM()
}

func (s isa) zero() reg.VecVirtual {
	r := s.reg()
	if s.width == 16 {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}

func (s isa) load(m operand.Mem) reg.VecVirtual {
	r := s.reg()
	VMOVUPS(m, r)
	return r
}

// broadcast fills a register with one float32 from memory.
func (s isa) broadcast(m operand.Mem) reg.VecVirtual {
	r := s.reg()
	VBROADCASTSS(m, r)
	return r
}

// param loads a float32 argument into every lane.
func (s isa) param(name string) reg.VecVirtual {
	x := Load(Param(name), XMM())
	r := s.reg()
	VBROADCASTSS(x, r)
	return r
}

var constants = map[uint32]operand.Mem{}

// constMem is a read-only vector of eight copies of a bit pattern.
func constMem(bits uint32) operand.Mem {
	if m, ok := constants[bits]; ok {
		return m
	}
	m := GLOBL(fmt.Sprintf("const%08x", bits), 8|16) // RODATA|NOPTR
	for i := range 8 {
		DATA(4*i, operand.U32(bits))
	}
	constants[bits] = m
	return m
}

// constant gives an operand with v in every lane: a register where there are many, else memory. It must stand first.
func (s isa) constant(v float64) operand.Op { return s.bits(math.Float32bits(float32(v))) }

func (s isa) bits(b uint32) operand.Op {
	m := constMem(b)
	if s.width == 16 {
		return s.broadcast(m)
	}
	return m
}

// constReg is constant in a register on both.
func (s isa) constReg(v float64) reg.VecVirtual {
	return s.broadcast(constMem(math.Float32bits(float32(v))))
}

// text opens an assembly function that keeps no pointer.
func text(name, signature, doc string) {
	TEXT(name, 4, signature) // NOSPLIT
	Pragma("noescape")
	Doc(doc)
}

// sum folds a register into its lowest lane.
func (s isa) fold(x reg.VecVirtual, op func(ops ...operand.Op)) reg.Register {
	if s.width == 16 {
		t := YMM()
		VEXTRACTF64X4(operand.U8(1), x, t)
		op(t, x.AsY(), t)
		return fold256(t, op)
	}
	return fold256(x, op)
}

func fold256(x reg.VecVirtual, op func(ops ...operand.Op)) reg.Register {
	t, u := XMM(), XMM()
	VEXTRACTF128(operand.U8(1), x, t)
	op(t, x.AsX(), t)
	VPERMILPS(operand.U8(0b01_00_11_10), t, u)
	op(t, u, t)
	VPERMILPS(operand.U8(0b10_11_00_01), t, u)
	op(t, u, t)
	return t
}
