package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/safetensors"
)

const maxShards = 1 << 10

// shard is an open safetensors file.
type shard struct {
	name    string
	f       *os.File
	start   int64 // of the tensors' bytes
	entries map[string]safetensors.Tensor
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
	h, err := safetensors.Read(s.f, info.Size())
	s.start, s.entries = h.Start, h.Tensors
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
	at, size := int64(0), safetensors.Bits(strings.ToUpper(dtype))/8
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
