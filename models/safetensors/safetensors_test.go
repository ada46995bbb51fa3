package safetensors

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name, header string
		dataLen      int64
		word         string // of the error; empty for a good header
	}{
		{"good", `{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[24,26]}}  `, 26, ""},
		{"empty tensor", `{"a":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]}}`, 0, ""},
		{"scalar", `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4, ""},
		{"none", `{}`, 0, ""},
		{"half bytes", `{"a":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}}`, 3, ""},
		{"half a byte", `{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}`, 1, "larger"},
		{"not an object", `[]`, 0, "object"},
		{"nothing", ``, 0, "object"},
		{"twice", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, "two"},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, "two"},
		{"metadata of numbers", `{"__metadata__":{"a":1}}`, 0, "cannot"},
		{"overlap", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3, "overlap"},
		{"same place", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2, "overlap"},
		{"gap", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}`, 5, "gap"},
		{"gap at the start", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3, "gap"},
		{"left over", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 3, "after the last"},
		{"beyond the file", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 3, "larger"},
		{"wrong size", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 8, "offsets"},
		{"overflow", `{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, 8, "larger"},
		{"overflow to zero", `{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0, "larger"},
		{"negative shape", `{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}`, 4, "negative"},
		{"negative offsets", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 4, "offsets"},
		{"backwards", `{"a":{"dtype":"U8","shape":[0],"data_offsets":[2,1]}}`, 4, "offsets"},
		{"fraction", `{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1, "cannot"},
		{"three offsets", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, 1, "offsets"},
		{"a long name", `{"` + strings.Repeat("a", maxName+1) + `":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, "name of 513"},
		{"rank", `{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}`, 1, "rank"},
		{"dtype", `{"a":{"dtype":"F5","shape":[1],"data_offsets":[0,1]}}`, 1, "dtype"},
		{"trailing", `{} {}`, 0, "after the header"},
		{"cut", `{"a":{"dtype":"U8"`, 1, "EOF"},
	} {
		_, err := Parse([]byte(c.header), c.dataLen)
		if c.word == "" && err != nil || c.word != "" && (err == nil || !strings.Contains(err.Error(), c.word)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestHeaderLengths(t *testing.T) {
	for name, raw := range map[string][]byte{
		"empty":        {},
		"short":        {1, 2, 3},
		"huge":         binary.LittleEndian.AppendUint64(nil, math.MaxUint64),
		"above limit":  append(binary.LittleEndian.AppendUint64(nil, maxHeader+1), make([]byte, 100)...),
		"past the end": append(binary.LittleEndian.AppendUint64(nil, 10), "{}"...),
	} {
		if _, err := Read(bytes.NewReader(raw), int64(len(raw))); err == nil {
			t.Errorf("%s was read", name)
		}
		if _, err := Read(bytes.NewReader(raw), 1<<40); err == nil {
			t.Errorf("%s was read though the file is not as long as it was said to be", name)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}`), int64(24))
	f.Add([]byte(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`), int64(8))
	f.Add([]byte(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}`), int64(2))
	f.Fuzz(func(t *testing.T, raw []byte, dataLen int64) {
		if dataLen < 0 {
			return
		}
		h, err := Parse(raw, dataLen)
		if err != nil {
			return
		}
		total := int64(0)
		for name, e := range h.Tensors {
			if e.Offsets[0] < 0 || e.Offsets[1] > dataLen || e.Offsets[1] < e.Offsets[0] {
				t.Fatalf("%q lies at %v in %d bytes", name, e.Offsets, dataLen)
			}
			total += e.Offsets[1] - e.Offsets[0]
		}
		if total != dataLen {
			t.Fatalf("tensors of %d bytes in %d", total, dataLen)
		}
	})
}
