package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
)

// Limits on a safetensors file.
const (
	maxHeader  = 16 << 20 // bytes of the JSON header
	maxTensors = 1 << 16
	maxRank    = 8
	maxShards  = 1 << 10
)

// entry is one tensor of a safetensors header. Offsets count from the end of the header.
type entry struct {
	DType   string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"`
}

// parseHeader reads the JSON header of a file with dataLen bytes of tensors after it. The tensors must fill those
// bytes exactly: no overlap, no gap, nothing left over. Names must differ.
func parseHeader(raw []byte, dataLen int64) (map[string]entry, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("the header is not a JSON object")
	}
	entries := make(map[string]entry)
	seen := make(map[string]bool)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := key.(string) // a key of an object is a string, or Token had failed
		if seen[name] {
			return nil, fmt.Errorf("two entries %.80q", name)
		}
		if seen[name] = true; len(seen) > maxTensors {
			return nil, fmt.Errorf("more than %d tensors", maxTensors)
		}
		if name == "__metadata__" {
			var meta map[string]string
			if err := d.Decode(&meta); err != nil {
				return nil, err
			}
			continue
		}
		var e entry
		if err := d.Decode(&e); err != nil {
			return nil, err
		}
		if err := e.check(dataLen); err != nil {
			return nil, fmt.Errorf("tensor %.80q: %w", name, err)
		}
		entries[name] = e
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text after the header")
	}
	return entries, checkLayout(entries, dataLen)
}

// check compares the entry's size with its offsets, all arithmetic within int64.
func (e *entry) check(dataLen int64) error {
	size, known := dtypeSize[e.DType]
	if !known {
		return fmt.Errorf("unknown dtype %.20q", e.DType)
	}
	if len(e.Shape) > maxRank || len(e.Offsets) != 2 {
		return fmt.Errorf("shape of rank %d, %d offsets", len(e.Shape), len(e.Offsets))
	}
	n := size
	for _, s := range e.Shape {
		if s < 0 || s > 0 && n > dataLen/s {
			return fmt.Errorf("shape %v is negative or larger than the file", e.Shape)
		}
		n *= s
	}
	begin, end := e.Offsets[0], e.Offsets[1]
	if begin < 0 || end < begin || end > dataLen || end-begin != n {
		return fmt.Errorf("offsets %v for %d bytes in a file of %d", e.Offsets, n, dataLen)
	}
	return nil
}

func checkLayout(entries map[string]entry, dataLen int64) error {
	spans := make([][]int64, 0, len(entries))
	for _, e := range entries {
		spans = append(spans, e.Offsets)
	}
	sort.Slice(spans, func(i, j int) bool {
		return spans[i][0] < spans[j][0] || spans[i][0] == spans[j][0] && spans[i][1] < spans[j][1]
	})
	at := int64(0)
	for _, s := range spans {
		if s[0] != at {
			return fmt.Errorf("tensors overlap or leave a gap at byte %d", at)
		}
		at = s[1]
	}
	if at != dataLen {
		return fmt.Errorf("%d bytes after the last tensor", dataLen-at)
	}
	return nil
}

// shard is an open safetensors file.
type shard struct {
	name    string
	f       *os.File
	start   int64 // of the tensors' bytes
	entries map[string]entry
}

func openShard(dir, name string) (*shard, error) {
	f, err := openRegular(dir, name)
	if err != nil {
		return nil, err
	}
	s := &shard{name: name, f: f}
	if err := s.readHeader(); err != nil {
		f.Close()
		return nil, damaged(name, err)
	}
	return s, nil
}

func (s *shard) readHeader() error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	var length [8]byte
	if _, err := s.f.ReadAt(length[:], 0); err != nil {
		return fmt.Errorf("shorter than its header: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > info.Size()-8 {
		return fmt.Errorf("a header of %d bytes in a file of %d", n, info.Size())
	}
	raw := make([]byte, n)
	if _, err := s.f.ReadAt(raw, 8); err != nil {
		return err
	}
	s.start = 8 + int64(n)
	s.entries, err = parseHeader(raw, info.Size()-s.start)
	return err
}

// openShards opens model.safetensors, or every file its index names.
func openShards(dir string) ([]*shard, error) {
	one, err := openShard(dir, fileWeights)
	if err == nil {
		return []*shard{one}, nil
	}
	if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if missing := readJSON(dir, fileIndex, true, &index); missing != nil {
		if fault.Is(missing, fault.NotFound) {
			return nil, err
		}
		return nil, missing
	}
	names := map[string]bool{}
	for _, name := range index.WeightMap {
		if !strings.HasSuffix(name, ".safetensors") || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
			return nil, damaged(fileIndex, fmt.Errorf("the file name %.80q", name))
		}
		names[name] = true
	}
	if len(names) == 0 || len(names) > maxShards {
		return nil, damaged(fileIndex, fmt.Errorf("it names %d files", len(names)))
	}
	var shards []*shard
	for name := range names {
		s, err := openShard(dir, name)
		if err != nil {
			for _, open := range shards {
				open.f.Close()
			}
			return nil, err
		}
		shards = append(shards, s)
	}
	return shards, nil
}

// locate maps each tensor to its file.
func locate(shards []*shard) (map[string]*shard, error) {
	where := make(map[string]*shard)
	for _, s := range shards {
		for name := range s.entries {
			if twice := where[name]; twice != nil {
				return nil, damaged(s.name, fmt.Errorf("tensor %.80q is in %s too", name, twice.name))
			}
			where[name] = s
		}
	}
	return where, nil
}

// compare holds the files against the shape before anything is allocated. Tensors the engine would ignore are
// refused, but for those that carry nothing of their own.
func compare(where map[string]*shard, w *native.Weights) error {
	wanted := map[string]bool{}
	for _, t := range w.Tensors() {
		wanted[t.Name] = true
		s := where[t.Name]
		if s == nil {
			return damaged(fileWeights, fmt.Errorf("tensor %s is missing", t.Name))
		}
		e := s.entries[t.Name]
		if !sameShape(e.Shape, t.Shape) {
			return damaged(s.name, fmt.Errorf("tensor %s has the shape %v, config.json wants %v", t.Name, e.Shape, t.Shape))
		}
		if !readable(e.DType) {
			return unsupported("weights of dtype %s", e.DType)
		}
	}
	for name := range where {
		redundant := strings.HasSuffix(name, ".rotary_emb.inv_freq") || name == "lm_head.weight" && w.Config.TieEmbeddings
		if !wanted[name] && !redundant {
			return unsupported("the tensor %.80q", name)
		}
	}
	return nil
}

func sameShape(a []int64, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != int64(b[i]) {
			return false
		}
	}
	return true
}

// writeSafetensors writes tensors in their order. The header is padded with spaces so that data is aligned to 8.
func writeSafetensors(w io.Writer, tensors []native.Tensor, dtype string) error {
	var header bytes.Buffer
	header.WriteString(`{"__metadata__":{"format":"pt"}`)
	at, size := int64(0), dtypeSize[strings.ToUpper(dtype)]
	for _, t := range tensors {
		end := at + int64(len(t.Data))*size
		shape, _ := json.Marshal(t.Shape)
		fmt.Fprintf(&header, `,%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, t.Name, strings.ToUpper(dtype), shape, at, end)
		at = end
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(header.Len())); err != nil {
		return err
	}
	if _, err := w.Write(header.Bytes()); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := writeTensor(w, t.Data, dtype); err != nil {
			return err
		}
	}
	return nil
}
