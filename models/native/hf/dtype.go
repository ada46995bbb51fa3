package hf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/triarch-ai/triarch/models/safetensors"
)

// The number formats weights are written in.
const (
	f32  = "f32"
	bf16 = "bf16"
)

func readable(dtype string) bool { return dtype == "F32" || dtype == "BF16" || dtype == "F16" }

const block = 1 << 16 // numbers converted at a time

// blocks hold bytes on their way to numbers of at most 4 bytes each.
var blocks = sync.Pool{New: func() any { return new([4 * block]byte) }}

// readTensor fills data from r.
func readTensor(r io.Reader, data []float32, dtype string) error {
	size := int(safetensors.Bits(dtype) / 8)
	pooled := blocks.Get().(*[4 * block]byte)
	defer blocks.Put(pooled)
	buf := pooled[:]
	if size > 4 {
		return fmt.Errorf("dtype %s", dtype)
	}
	for len(data) > 0 {
		n := min(block, len(data))
		raw := buf[:n*size]
		if _, err := io.ReadFull(r, raw); err != nil {
			return err
		}
		switch dtype {
		case "F32":
			for i := range n {
				data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
			}
		case "BF16":
			for i := range n {
				data[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
			}
		case "F16":
			for i := range n {
				data[i] = halfToFloat(binary.LittleEndian.Uint16(raw[2*i:]))
			}
		default:
			return fmt.Errorf("dtype %s", dtype)
		}
		data = data[n:]
	}
	return nil
}

// writeTensor writes data to w.
func writeTensor(w io.Writer, data []float32, dtype string) error {
	buf := make([]byte, 0, min(block, len(data))*4)
	for len(data) > 0 {
		n := min(block, len(data))
		buf = buf[:0]
		for _, x := range data[:n] {
			if dtype == bf16 {
				buf = binary.LittleEndian.AppendUint16(buf, floatToBrain(x))
			} else {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// floatToBrain rounds to bfloat16, to nearest with ties to even; not-a-number stays one.
func floatToBrain(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}

// halfToFloat widens an IEEE 754 half exactly.
func halfToFloat(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 0:
		// A subnormal half is frac times 2^-24, which float32 holds exactly.
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0xFF<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
