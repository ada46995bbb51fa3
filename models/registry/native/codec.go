// Package native reads and writes the registry's model folders with the embedded engine's library.
//
// Rules for callers: nothing in a folder is trusted. The headers of the files prove that the weights are there in the
// shapes that config.json tells; their numbers are never all in memory, which holds the vocabulary and one part of a tensor.
package native

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/gguf"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/registry/shape"
)

// Codec is registry.Codec on Hugging Face folders and GGUF files; what it writes is of the Llama family.
type Codec struct{}

var (
	_ registry.Codec      = Codec{}
	_ registry.GGUFWriter = Codec{}
)

// Inspect implements registry.Codec: the shape is read from whatever family there is, and of a Llama folder the engine's
// library says whether it can run it.
func (Codec) Inspect(ctx context.Context, dir string) (registry.Shape, error) {
	if err := ctx.Err(); err != nil {
		return registry.Shape{}, err
	}
	r, err := shape.Read(shape.Dir(dir))
	if err != nil {
		return registry.Shape{}, err
	}
	s := registry.Shape{Arch: r.Arch, Params: r.Params, Vocab: r.Vocab, Context: r.Context, DType: r.DType(), Chat: r.Chat, Class: r.Class, Form: r.Form,
		Quantisation: r.Quantisation, WeightBytes: r.Bytes, Kinds: r.Kinds, Transformer: r.Transformer, Unknown: r.Unknown, Notes: r.Notes}
	switch {
	case r.Form != shape.Safetensors:
		s.Foreign = "The embedded engine reads Hugging Face folders, not " + strings.ToUpper(r.Form) + " files."
	case r.Arch != "llama":
		s.Foreign = fmt.Sprintf("The embedded engine computes models of the Llama family, not of %.64q.", r.Arch)
	default:
		err = runs(dir, &s)
	}
	return s, err
}

// runs asks the engine's library. What it does not compute is the reason that the version keeps; what is missing or
// damaged is an error.
func runs(dir string, s *registry.Shape) error {
	m, err := hf.Open(dir)
	switch {
	case fault.Is(err, fault.Unsupported):
		s.Foreign = fault.As(err).Sentence()
		return nil
	case fault.Is(err, fault.NotFound): // the folder is what is wrong, nothing in the project is missing
		f := *fault.As(err)
		f.Kind = fault.Invalid
		return &f
	case err != nil:
		return err
	}
	s.Chat, s.Context, s.Vocab = m.Chat.CanRender(), m.Weights.Config.MaxContext, m.Weights.Config.VocabSize
	return m.Close()
}

// GGUF implements registry.GGUFWriter.
func (Codec) GGUF(ctx context.Context, dir string) (registry.GGUFFile, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := hf.Open(dir)
	if err != nil {
		return nil, err
	}
	f, err := gguf.New(&m.Model, m.Numbers)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.Tokenizer, m.Chat = nil, nil // the file has what it needs of them
	return &ggufFile{File: f, from: m}, nil
}

// ggufFile is a GGUF file with the folder it reads from.
type ggufFile struct {
	*gguf.File
	from *hf.Folder
}

// Close closes the folder.
func (f *ggufFile) Close() error { return f.from.Close() }
