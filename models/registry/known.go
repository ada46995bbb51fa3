package registry

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/triarch-ai/triarch/models/registry/shape"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Known is the shape of a version. Of one that was added before shapes were read it is read from the version's files, once
// in the life of the service; where they cannot be read it stays as it was stored.
func (s *Service) Known(_ context.Context, v Version) Shape {
	if v.Shape.Transformer != nil || v.Shape.Unknown != "" {
		return v.Shape
	}
	if x, ok := s.read.Load(v.ID); ok {
		return x.(Shape)
	}
	at, ok := s.Blobs.(blob.Pather)
	if !ok {
		return v.Shape
	}
	r, err := shape.Read(stored{v.Files, at})
	if err != nil {
		return v.Shape // it is served as before; whoever imports it again is told what is wrong
	}
	x := v.Shape
	x.Class, x.Form, x.Quantisation, x.WeightBytes, x.Kinds = r.Class, r.Form, r.Quantisation, r.Bytes, r.Kinds
	x.Transformer, x.Unknown, x.Notes = r.Transformer, r.Unknown, r.Notes
	s.read.Store(v.ID, x)
	return x
}

// stored are the files of a version where the blob store keeps them.
type stored struct {
	files map[string]File
	at    blob.Pather
}

// Names implements shape.Source.
func (s stored) Names() ([]string, error) { return slices.Sorted(maps.Keys(s.files)), nil }

// Open implements shape.Source.
func (s stored) Open(name string) (shape.File, int64, error) {
	f, ok := s.files[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	path, err := s.at.Path(f.Ref)
	if err != nil {
		return nil, 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	return file, f.Size, nil
}
