package hf

import (
	"errors"
	"fmt"
	"io"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/safetensors"
)

// Folder is an open folder of a model. Its Weights know their shapes and hold no numbers; Numbers reads those. Close it.
type Folder struct {
	Model
	shards []*shard
	where  map[string]*shard // by tensor
}

// Numbers fills into with the numbers of a tensor of Weights.Tensors, by its name, from its element number at on, row by
// row as they lie in the file. It is fault.Invalid if the file does not have them.
func (f *Folder) Numbers(name string, at int, into []float32) error {
	s := f.where[name]
	if s == nil {
		return damaged(fileWeights, fmt.Errorf("tensor %.80q is missing", name))
	}
	e := s.entries[name]
	size := safetensors.Bits(e.DType) / 8
	if begin := e.Offsets[0] + int64(at)*size; at < 0 || begin > e.Offsets[1] || int64(len(into)) > (e.Offsets[1]-begin)/size {
		return damaged(s.name, fmt.Errorf("tensor %s ends before number %d", name, at+len(into)))
	}
	if err := readTensor(io.NewSectionReader(s.f, s.start+e.Offsets[0]+int64(at)*size, int64(len(into))*size), into, e.DType); err != nil {
		return damaged(s.name, fmt.Errorf("tensor %s: %w", name, err))
	}
	return nil
}

// Close closes the files of the weights.
func (f *Folder) Close() error {
	var errs []error
	for _, s := range f.shards {
		errs = append(errs, s.f.Close())
	}
	f.shards, f.where = nil, nil
	return errors.Join(errs...)
}

// outline are weights that know their shapes and hold no numbers.
func outline(c native.Config) *native.Weights {
	w := &native.Weights{Config: c, Layers: make([]native.LayerWeights, c.Layers)}
	if !c.TieEmbeddings {
		w.Head = []float32{}
	}
	return w
}
