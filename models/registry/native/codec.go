// Package native reads and writes the registry's model folders with the embedded engine's library.
//
// Rules for callers: nothing in a folder is trusted. The headers of the files prove that the weights are there in the
// shapes that config.json tells; their numbers are never all in memory, which holds the vocabulary and one part of a tensor.
package native

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/gguf"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/registry"
)

// Codec is registry.Codec on Llama-family Hugging Face folders.
type Codec struct{}

var (
	_ registry.Codec      = Codec{}
	_ registry.GGUFWriter = Codec{}
)

// Inspect implements registry.Codec.
func (Codec) Inspect(ctx context.Context, dir string) (registry.Shape, error) {
	if err := ctx.Err(); err != nil {
		return registry.Shape{}, err
	}
	m, err := hf.Open(dir)
	if fault.Is(err, fault.NotFound) { // the folder is what is wrong, nothing in the project is missing
		f := *fault.As(err)
		f.Kind = fault.Invalid
		return registry.Shape{}, &f
	}
	if err != nil {
		return registry.Shape{}, err
	}
	defer m.Close()
	c := m.Weights.Config
	arch := c.Arch
	if arch == "" {
		arch = "llama"
	}
	return registry.Shape{Arch: arch, Params: c.Params(), Vocab: c.VocabSize, Context: c.MaxContext, DType: dtype(dir), Chat: m.Chat.CanRender()}, nil
}

// dtype is the type of the stored weights as config.json states it, in our short words; unknown ones as they are.
func dtype(dir string) string {
	f, err := os.Open(filepath.Join(dir, "config.json"))
	if err != nil {
		return ""
	}
	defer f.Close()
	var c struct {
		TorchDType string `json:"torch_dtype"`
		DType      string `json:"dtype"`
	}
	if json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(&c) != nil {
		return ""
	}
	if c.TorchDType == "" {
		c.TorchDType = c.DType
	}
	switch c.TorchDType {
	case "float32":
		return "f32"
	case "bfloat16":
		return "bf16"
	case "float16":
		return "f16"
	}
	if len(c.TorchDType) > 16 {
		return ""
	}
	return c.TorchDType
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
