// Package safetensors reads the headers of safetensors files, which tell each tensor's type, shape and place, without the
// numbers.
//
// Rules for callers: a file is believed only as far as it proves itself. Tensors fill the file's data exactly, names
// differ, and no size in a header decides how much memory is taken before it was compared with the file's length. The
// format is that of huggingface/safetensors, safetensors/src/tensor.rs; types of less than a byte fill whole bytes.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// Limits on a file.
const (
	maxHeader  = 16 << 20 // bytes of the JSON header
	maxTensors = 1 << 16
	maxRank    = 8
	maxName    = 1 << 9 // bytes of a tensor's name, so that many files' names together stay small
)

// bitsOf lists the types with the bits of a number.
var bitsOf = map[string]int64{
	"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8,
	"BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "C64": 64, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}

// ErrType is of a file whose tensors have a type that is not known.
var ErrType = errors.New("a type of tensors that is not known")

// Bits is how many bits a number of a type takes; 0 for a type that is not known.
func Bits(dtype string) int64 { return bitsOf[dtype] }

// Tensor is one entry of a header. Offsets are the bytes from Begin to End, counted from the end of the header.
type Tensor struct {
	DType   string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"`
}

// Bytes is how many bytes the tensor takes in the file.
func (t Tensor) Bytes() int64 { return t.Offsets[1] - t.Offsets[0] }

// Numbers is how many numbers the tensor has.
func (t Tensor) Numbers() int64 {
	n := int64(1)
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// Header is what stands before the numbers of a file.
type Header struct {
	Start   int64 // where in the file the tensors' bytes begin
	Tensors map[string]Tensor
	Meta    map[string]string // what the writer noted; nil where nothing
}

// Read reads the header of a file of size bytes.
func Read(r io.ReaderAt, size int64) (Header, error) {
	var length [8]byte
	if size < 8 {
		return Header{}, fmt.Errorf("shorter than its header: %d bytes", size)
	}
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return Header{}, fmt.Errorf("shorter than its header: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return Header{}, fmt.Errorf("a header of %d bytes in a file of %d", n, size)
	}
	raw := make([]byte, n)
	if _, err := r.ReadAt(raw, 8); err != nil && !(errors.Is(err, io.EOF) && int64(n) == size-8) {
		return Header{}, err
	}
	h, err := Parse(raw, size-8-int64(n))
	h.Start = 8 + int64(n)
	return h, err
}

// Parse reads the JSON of a header with data bytes of tensors after it, which they must fill exactly: no overlap, no gap,
// nothing left over.
func Parse(raw []byte, data int64) (Header, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return Header{}, errors.New("the header is not a JSON object")
	}
	h := Header{Tensors: map[string]Tensor{}}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return Header{}, err
		}
		name := key.(string) // a key of an object is a string, or Token had failed
		if seen[name] {
			return Header{}, fmt.Errorf("two entries %.80q", name)
		}
		if len(name) > maxName {
			return Header{}, fmt.Errorf("a name of %d bytes", len(name))
		}
		if seen[name] = true; len(seen) > maxTensors {
			return Header{}, fmt.Errorf("more than %d tensors", maxTensors)
		}
		if name == "__metadata__" {
			if err := d.Decode(&h.Meta); err != nil {
				return Header{}, err
			}
			continue
		}
		var t Tensor
		if err := d.Decode(&t); err != nil {
			return Header{}, err
		}
		if err := t.check(data); err != nil {
			return Header{}, fmt.Errorf("tensor %.80q: %w", name, err)
		}
		h.Tensors[name] = t
	}
	if _, err := d.Token(); err != nil {
		return Header{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return Header{}, errors.New("text after the header")
	}
	return h, filled(h.Tensors, data)
}

// check compares the entry's size with its offsets, all arithmetic within int64.
func (t *Tensor) check(data int64) error {
	width := bitsOf[t.DType]
	if width == 0 {
		return fmt.Errorf("unknown dtype %.20q: %w", t.DType, ErrType)
	}
	if len(t.Shape) > maxRank || len(t.Offsets) != 2 {
		return fmt.Errorf("shape of rank %d, %d offsets", len(t.Shape), len(t.Offsets))
	}
	n := uint64(width)
	for _, s := range t.Shape {
		if s < 0 {
			return fmt.Errorf("shape %v is negative or larger than the file", t.Shape)
		}
		over, low := bits.Mul64(n, uint64(s))
		if n = low; over != 0 || n > 8*uint64(data) {
			return fmt.Errorf("shape %v is negative or larger than the file", t.Shape)
		}
	}
	begin, end := t.Offsets[0], t.Offsets[1]
	if begin < 0 || end < begin || end > data || n%8 != 0 || end-begin != int64(n/8) {
		return fmt.Errorf("offsets %v for %d bits in a file of %d bytes", t.Offsets, n, data)
	}
	return nil
}

func filled(tensors map[string]Tensor, data int64) error {
	spans := make([][]int64, 0, len(tensors))
	for _, t := range tensors {
		spans = append(spans, t.Offsets)
	}
	slices.SortFunc(spans, func(a, b []int64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	at := int64(0)
	for _, s := range spans {
		if s[0] != at {
			return fmt.Errorf("tensors overlap or leave a gap at byte %d", at)
		}
		at = s[1]
	}
	if at != data {
		return fmt.Errorf("%d bytes after the last tensor", data-at)
	}
	return nil
}
