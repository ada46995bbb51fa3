package gguf

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample writes files by hand, in either order of bytes.
type sample struct {
	bytes.Buffer
	order binary.AppendByteOrder
}

func (s *sample) u32(v uint32) { s.Write(s.order.AppendUint32(nil, v)) }
func (s *sample) u64(v uint64) { s.Write(s.order.AppendUint64(nil, v)) }
func (s *sample) text(t string) {
	s.u64(uint64(len(t)))
	s.WriteString(t)
}

func (s *sample) begin(version uint32, tensors, keys uint64) {
	s.WriteString("GGUF")
	s.u32(version)
	s.u64(tensors)
	s.u64(keys)
}

func (s *sample) key(name string, kind uint32) {
	s.text(name)
	s.u32(kind)
}

func (s *sample) tensor(name string, kind uint32, at uint64, dims ...uint64) {
	s.text(name)
	s.u32(uint32(len(dims)))
	for _, d := range dims {
		s.u64(d)
	}
	s.u32(kind)
	s.u64(at)
}

func (s *sample) pad() { s.Write(make([]byte, (alignment-s.Len()%alignment)%alignment)) }

func read(b []byte) (*Header, error) { return Read(bytes.NewReader(b), int64(len(b))) }

// whole is a file with a value of each type and two tensors.
func whole(version uint32, order binary.AppendByteOrder) *sample {
	s := &sample{order: order}
	s.begin(version, 2, 14)
	s.key("u8", 0)
	s.WriteByte(200)
	s.key("i8", 1)
	s.WriteByte(0xfe)
	s.key("u16", 2)
	s.Write(order.AppendUint16(nil, 65535))
	s.key("i16", 3)
	s.Write(order.AppendUint16(nil, 65535))
	s.key("u32", 4)
	s.u32(1 << 31)
	s.key("i32", 5)
	s.u32(math.MaxUint32)
	s.key("f32", 6)
	s.u32(math.Float32bits(0.5))
	s.key("yes", 7)
	s.WriteByte(1)
	s.key("general.file_type", 4)
	s.u32(15)
	s.key("general.architecture", 8)
	s.text("llama")
	s.key("words", 9)
	s.u32(8)
	s.u64(2)
	s.text("a")
	s.text("bc")
	s.key("numbers", 9)
	s.u32(5)
	s.u64(2)
	s.u32(1)
	s.u32(math.MaxUint32)
	s.key("lists", 9)
	s.u32(9)
	s.u64(1)
	s.u32(0)
	s.u64(3)
	s.WriteString("abc")
	s.key("f64", 12)
	s.u64(math.Float64bits(-2))
	s.tensor("a", 12, 0, 256, 3) // Q4_K: three blocks of 144 bytes
	s.tensor("b", 1, 448, 5)     // F16: ten bytes, behind 432 padded to 448
	s.pad()
	s.Write(make([]byte, 448+10))
	return s
}

func TestHeader(t *testing.T) {
	for name, x := range map[string]struct {
		version uint32
		order   binary.AppendByteOrder
	}{"2": {2, binary.LittleEndian}, "3": {3, binary.LittleEndian}, "3, big": {3, binary.BigEndian}} {
		h, err := read(whole(x.version, x.order).Bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := map[string]any{"u8": uint64(200), "i8": int64(-2), "u16": uint64(65535), "i16": int64(-1), "u32": uint64(1 << 31), "i32": int64(-1), "f32": 0.5, "yes": true,
			"general.file_type": uint64(15), "general.architecture": "llama", "words": nil, "numbers": []int64{1, -1}, "lists": nil, "f64": -2.0}
		if d := cmp.Diff(want, h.Values); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if len(h.Tensors) != 2 || h.Tensors[0].Type != "Q4_K" || h.Tensors[0].Bytes != 432 || h.Tensors[0].Numbers() != 768 || h.Tensors[1].Bytes != 10 ||
			h.FileType() != "Q4_K_M" || h.Counts["words"] != 2 || h.Big != (x.order == binary.BigEndian) || h.Version != int(x.version) {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestHostileHeaders(t *testing.T) {
	short := func(change func(s *sample)) []byte {
		s := &sample{order: binary.LittleEndian}
		change(s)
		return s.Bytes()
	}
	one := func(kind uint32, at uint64, data int, dims ...uint64) []byte {
		return short(func(s *sample) {
			s.begin(3, 1, 0)
			s.tensor("a", kind, at, dims...)
			s.pad()
			s.Write(make([]byte, data))
		})
	}
	list := func(of uint32, n uint64) []byte {
		return short(func(s *sample) { s.begin(3, 0, 1); s.key("a", 9); s.u32(of); s.u64(n) })
	}
	for name, x := range map[string]struct {
		raw  []byte
		word string
	}{
		"nothing":              {nil, "not a GGUF"},
		"another file":         {[]byte("PK\x03\x04 and more"), "not a GGUF"},
		"version 1":            {short(func(s *sample) { s.begin(1, 0, 0) }), "version"},
		"version 4":            {short(func(s *sample) { s.begin(4, 0, 0) }), "version"},
		"cut":                  {short(func(s *sample) { s.begin(3, 1, 1) }), "ends early"},
		"many tensors":         {short(func(s *sample) { s.begin(3, math.MaxUint64, 0) }), "tensors"},
		"many keys":            {short(func(s *sample) { s.begin(3, 0, math.MaxUint64) }), "keys"},
		"a long key":           {short(func(s *sample) { s.begin(3, 0, 1); s.u64(math.MaxUint64) }), "name"},
		"a long text":          {short(func(s *sample) { s.begin(3, 0, 1); s.key("a", 8); s.u64(math.MaxUint64) }), "early"},
		"a long list":          {list(4, math.MaxUint64), "list"},
		"a long list of bytes": {list(0, 1<<62), "early"},
		"a long list of texts": {list(8, math.MaxUint64), "early"},
		"a long list of lists": {list(9, math.MaxUint64), "early"},
		"a list of what":       {list(77, 1), "type"},
		"a value of what":      {short(func(s *sample) { s.begin(3, 0, 1); s.key("a", 99) }), "type 99"},
		"half a truth":         {short(func(s *sample) { s.begin(3, 0, 1); s.key("a", 7); s.WriteByte(2) }), "truth"},
		"a key twice":          {short(func(s *sample) { s.begin(3, 0, 2); s.key("a", 0); s.WriteByte(1); s.key("a", 0); s.WriteByte(1) }), "twice"},
		"deep lists": {short(func(s *sample) {
			s.begin(3, 0, 1)
			s.key("a", 9)
			for range 10 {
				s.u32(9)
				s.u64(1)
			}
		}), "type 9"},
		"dimensions":             {one(0, 0, 4, 1, 1, 1, 1, 1), "dimensions"},
		"no numbers":             {one(0, 0, 4, 0), "dimension of 0"},
		"more than there can be": {one(0, 0, 4, 1<<40, 1<<40), "dimension"},
		"a type that is gone":    {one(4, 0, 4, 32), "type 4"},
		"half a block":           {one(12, 0, 144, 255), "rows"},
		"half a block in a row":  {one(12, 0, 144, 128, 2), "rows"},
		"past the end":           {one(0, 0, 3, 1), "ends at"},
		"not at the start":       {one(0, 32, 36, 1), "lies at"},
		"far away":               {one(0, math.MaxUint64, 4, 1), "rows of"},
		"a tensor twice":         {short(func(s *sample) { s.begin(3, 2, 0); s.tensor("a", 0, 0, 1); s.tensor("a", 0, 32, 1) }), "twice"},
		"one over another": {short(func(s *sample) {
			s.begin(3, 2, 0)
			s.tensor("a", 0, 0, 9)
			s.tensor("b", 0, 32, 1)
			s.pad()
			s.Write(make([]byte, 99))
		}), "lies at"},
		"a gap": {short(func(s *sample) {
			s.begin(3, 2, 0)
			s.tensor("a", 0, 0, 1)
			s.tensor("b", 0, 64, 1)
			s.pad()
			s.Write(make([]byte, 99))
		}), "lies at"},
		"an alignment of nothing": {short(func(s *sample) { s.begin(3, 0, 1); s.key("general.alignment", 4); s.u32(0) }), "alignment"},
		"an alignment of text":    {short(func(s *sample) { s.begin(3, 0, 1); s.key("general.alignment", 8); s.text("x") }), "alignment"},
		"a huge alignment":        {short(func(s *sample) { s.begin(3, 0, 1); s.key("general.alignment", 10); s.u64(1 << 63) }), "alignment"},
	} {
		h, err := read(x.raw)
		if err == nil || !strings.Contains(err.Error(), x.word) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	good := whole(3, binary.LittleEndian).Bytes()
	for n := range good {
		if _, err := read(good[:n]); err == nil {
			t.Fatalf("the first %d bytes were read as a file", n)
		}
	}
	if testing.AllocsPerRun(5, func() { read(list(0, 1<<62)) }) > 100 {
		t.Error("a lie about a length takes memory")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(whole(3, binary.LittleEndian).Bytes())
	f.Add(whole(2, binary.LittleEndian).Bytes())
	f.Add(whole(3, binary.BigEndian).Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := read(raw)
		if err != nil {
			return
		}
		at := int64(0)
		for _, x := range h.Tensors {
			if x.Bytes < 1 || x.Numbers() < 1 || len(x.Name) > maxName {
				t.Fatalf("%+v", x)
			}
			at += x.Bytes
		}
		if at > 0 && h.Start+at > int64(len(raw)) {
			t.Fatalf("tensors of %d bytes behind %d in %d", at, h.Start, len(raw))
		}
	})
}
