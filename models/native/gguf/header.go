package gguf

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
)

// Bounds on the header of a file from outside. Vocabularies make headers of ten megabytes; they are passed over, not kept.
const (
	maxHead    = 64 << 20 // bytes of all before the tensors
	maxKeys    = 1 << 14
	maxTensors = 1 << 17
	maxName    = 1 << 9  // bytes of a key's or a tensor's name
	maxText    = 1 << 20 // bytes of a value that is kept
	maxList    = 1 << 10 // numbers of a list that is kept
	maxNested  = 3       // lists within lists
	maxDims    = 4
	maxAlign   = 1 << 16
)

// block is how many numbers of a type lie together, and in how many bytes.
type block struct {
	name    string
	numbers int64
	bytes   int64
}

// blocks are the types of tensors by number: ggml-org/llama.cpp gguf-py/gguf/constants.py, GGML_QUANT_SIZES.
var blocks = map[uint32]block{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 40}, 10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74},
	18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82},
	23: {"IQ4_XS", 256, 136}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
	29: {"IQ1_M", 256, 56}, 30: {"BF16", 1, 2}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17},
	40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18},
}

// fileTypes are the values of general.file_type: ggml-org/llama.cpp gguf-py/gguf/constants.py, LlamaFileType.
var fileTypes = map[uint64]string{
	0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
	14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
	23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M",
	32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
}

// Tensor is one tensor of a header.
type Tensor struct {
	Name  string
	Type  string  // as ggml names it, "Q4_K"
	Shape []int64 // innermost first, as in the file
	Bytes int64

	begin int64
}

// Numbers is how many numbers the tensor has.
func (t Tensor) Numbers() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Header is what a file says before its tensors' numbers.
type Header struct {
	Version int
	Big     bool           // big-endian
	Values  map[string]any // uint64, int64, float64, bool, string and short lists of numbers or truths; lists of texts are counts, see Counts
	Counts  map[string]int64
	Tensors []Tensor // in the order of the file
	Start   int64    // where the numbers begin
}

// Uint is a value that is a number of none or more; false where it is not there or something else.
func (h *Header) Uint(key string) (uint64, bool) {
	switch v := h.Values[key].(type) {
	case uint64:
		return v, true
	case int64:
		return uint64(v), v >= 0
	}
	return 0, false
}

// Text is a value that is a text; empty where it is not there.
func (h *Header) Text(key string) string {
	s, _ := h.Values[key].(string)
	return s
}

// FileType is what the file says of its quantisation, "Q4_K_M"; empty where it says nothing that is known.
func (h *Header) FileType() string {
	n, ok := h.Uint("general.file_type")
	if !ok {
		return ""
	}
	return fileTypes[n]
}

// ErrType is of a file whose tensors have a type that is not known: newer than this list, or gone from ggml.
var ErrType = errors.New("a type of tensors that is not known")

// Read reads the header of a file of size bytes, versions 2 and 3, of either byte order (ggml-org/ggml docs/gguf.md): the
// memory it takes grows with names and small values alone. Tensors must lie in the file, in whole blocks, without overlap and
// without gaps but for alignment.
func Read(r io.ReaderAt, size int64) (*Header, error) {
	in := &input{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, min(size, maxHead)), 1<<16), left: min(size, maxHead), order: binary.LittleEndian}
	h := &Header{Values: map[string]any{}, Counts: map[string]int64{}}
	if string(in.bytes(4)) != magic || in.err != nil {
		return nil, errors.New("not a GGUF file")
	}
	n := in.u32()
	if n&0xffff == 0 && n != 0 { // the other byte order: versions are small
		in.order, h.Big = binary.BigEndian, true
		n = bits.ReverseBytes32(n)
	}
	if h.Version = int(n); h.Version != 2 && h.Version != 3 {
		return nil, fmt.Errorf("version %d of GGUF", n)
	}
	tensors, keys := in.u64(), in.u64()
	if in.err == nil && (tensors > maxTensors || keys > maxKeys) {
		return nil, fmt.Errorf("%d tensors and %d keys", tensors, keys)
	}
	for range keys {
		if in.pair(h); in.err != nil {
			return nil, in.err
		}
	}
	if err := in.infos(h, tensors); err != nil {
		return nil, err
	}
	return h, h.place(in.read, size)
}

// input reads what must be there and keeps the first error.
type input struct {
	r     *bufio.Reader
	order binary.ByteOrder
	left  int64 // bytes that may still be read
	read  int64
	err   error
}

func (in *input) fail(format string, args ...any) {
	if in.err == nil {
		in.err = fmt.Errorf(format, args...)
	}
}

// take says whether n more bytes are there.
func (in *input) take(n uint64) bool {
	if in.err == nil && n > uint64(in.left) {
		in.fail("the header ends early or is longer than %d bytes", maxHead)
	}
	if in.err != nil {
		return false
	}
	in.left -= int64(n)
	in.read += int64(n)
	return true
}

// bytes gives n bytes, whose number the caller bounds.
func (in *input) bytes(n uint64) []byte {
	if !in.take(n) {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in.r, b); err != nil {
		in.fail("the header ends early: %w", err)
	}
	return b
}

func (in *input) skip(n uint64) {
	for n > 0 && in.err == nil {
		part := min(n, 1<<30)
		if in.take(part) {
			if _, err := in.r.Discard(int(part)); err != nil {
				in.fail("the header ends early: %w", err)
			}
		}
		n -= part
	}
}

func (in *input) number(width uint64) uint64 {
	b := in.bytes(width)
	if in.err != nil {
		return 0
	}
	switch width {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(in.order.Uint16(b))
	case 4:
		return uint64(in.order.Uint32(b))
	}
	return in.order.Uint64(b)
}

func (in *input) u32() uint32 { return uint32(in.number(4)) }
func (in *input) u64() uint64 { return in.number(8) }

// name reads a text of bounded length.
func (in *input) name(most uint64) string {
	n := in.u64()
	if n > most {
		in.fail("a name of %d bytes", n)
		return ""
	}
	return string(in.bytes(n))
}

// widths are the bytes of the types of values, but for texts and lists.
var widths = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, typeU32: 4, typeI32: 4, typeF32: 4, typeBool: 1, 10: 8, 11: 8, 12: 8}

// pair reads a key and its value into the header.
func (in *input) pair(h *Header) {
	key := in.name(maxName)
	kind := in.u32()
	if in.err != nil {
		return
	}
	if _, twice := h.Values[key]; twice {
		in.fail("the key %.80q is there twice", key)
		return
	}
	h.Values[key] = in.value(kind, func(n uint64) { h.Counts[key] = int64(n) })
}

// value reads a value; count is told the length of a list.
func (in *input) value(kind uint32, count func(uint64)) any {
	switch kind {
	case typeString:
		return in.text()
	case typeArray:
		of, n := in.u32(), in.u64()
		if in.err != nil {
			return nil
		}
		count(n)
		return in.list(of, n, 0)
	}
	width, ok := widths[kind]
	if !ok {
		in.fail("a value of the type %d", kind)
		return nil
	}
	return in.scalar(kind, width)
}

// text reads a text, of which a long one is passed over and empty.
func (in *input) text() string {
	n := in.u64()
	if n > maxText {
		in.skip(n)
		return ""
	}
	return string(in.bytes(n))
}

func (in *input) scalar(kind uint32, width uint64) any {
	n := in.number(width)
	switch kind {
	case 1:
		return int64(int8(n))
	case 3:
		return int64(int16(n))
	case typeI32:
		return int64(int32(n))
	case 11:
		return int64(n)
	case typeF32:
		return float64(math.Float32frombits(uint32(n)))
	case 12:
		return math.Float64frombits(n)
	case typeBool:
		if n > 1 {
			in.fail("a truth of %d", n)
		}
		return n == 1
	}
	return n
}

// list reads a list of n values: short ones of numbers are kept, the others passed over and nil.
func (in *input) list(of uint32, n uint64, depth int) any {
	width, plain := widths[of]
	switch {
	case in.err != nil:
	case plain && n <= maxList:
		return in.numbers(of, width, n)
	case plain:
		over, all := bits.Mul64(width, n)
		if over != 0 {
			in.fail("a list of %d values", n)
		}
		in.skip(all)
	case of == typeString:
		for i := uint64(0); i < n && in.err == nil; i++ {
			in.skip(in.u64())
		}
	case of == typeArray && depth < maxNested:
		for i := uint64(0); i < n && in.err == nil; i++ {
			inner, m := in.u32(), in.u64()
			in.list(inner, m, depth+1)
		}
	default:
		in.fail("a list of values of the type %d", of)
	}
	return nil
}

func (in *input) numbers(of uint32, width, n uint64) any {
	var unsigned []uint64
	var signed []int64
	var real []float64
	var truths []bool
	for i := uint64(0); i < n && in.err == nil; i++ {
		switch v := in.scalar(of, width).(type) {
		case uint64:
			unsigned = append(unsigned, v)
		case int64:
			signed = append(signed, v)
		case float64:
			real = append(real, v)
		case bool:
			truths = append(truths, v)
		}
	}
	switch {
	case truths != nil:
		return truths
	case signed != nil:
		return signed
	case real != nil:
		return real
	}
	return unsigned
}

// infos reads the list of tensors.
func (in *input) infos(h *Header, n uint64) error {
	seen := map[string]bool{}
	for range n {
		t := Tensor{Name: in.name(maxName)}
		dims := in.u32()
		if in.err == nil && (dims > maxDims || seen[t.Name]) {
			return fmt.Errorf("the tensor %.80q has %d dimensions or is there twice", t.Name, dims)
		}
		seen[t.Name] = true
		numbers := uint64(1)
		for range dims {
			d := in.u64()
			over, low := bits.Mul64(numbers, d)
			if numbers = low; in.err == nil && (d == 0 || over != 0 || numbers > 1<<50) {
				return fmt.Errorf("the tensor %.80q has a dimension of %d", t.Name, d)
			}
			t.Shape = append(t.Shape, int64(d))
		}
		kind, begin := in.u32(), in.u64()
		if in.err != nil {
			return in.err
		}
		b, ok := blocks[kind]
		if !ok {
			return fmt.Errorf("the tensor %.80q is of the type %d: %w", t.Name, kind, ErrType)
		}
		row := int64(1)
		if len(t.Shape) > 0 {
			row = t.Shape[0]
		}
		if row%b.numbers != 0 || begin > 1<<62 {
			return fmt.Errorf("the tensor %.80q of %s has rows of %d numbers, at %d", t.Name, b.name, row, begin)
		}
		t.Type, t.Bytes, t.begin = b.name, int64(numbers)/b.numbers*b.bytes, int64(begin)
		h.Tensors = append(h.Tensors, t)
	}
	return in.err
}

// place checks where the tensors lie, with read bytes of header in a file of size.
func (h *Header) place(read, size int64) error {
	align := uint64(alignment)
	if _, told := h.Values["general.alignment"]; told {
		n, ok := h.Uint("general.alignment")
		if !ok || n == 0 || n > maxAlign || n%8 != 0 {
			return fmt.Errorf("an alignment of %v", h.Values["general.alignment"])
		}
		align = n
	}
	a := int64(align)
	h.Start = (read + a - 1) / a * a
	sorted := slices.SortedFunc(slices.Values(h.Tensors), func(x, y Tensor) int { return cmp.Compare(x.begin, y.begin) })
	at := int64(0)
	for _, t := range sorted {
		if t.begin != (at+a-1)/a*a {
			return fmt.Errorf("the tensor %.80q lies at %d, where %d was the end of the one before", t.Name, t.begin, at)
		}
		if at = t.begin + t.Bytes; at > size-h.Start {
			return fmt.Errorf("the tensor %.80q ends at %d in a file of %d bytes", t.Name, h.Start+at, size)
		}
	}
	return nil
}
