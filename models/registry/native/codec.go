// Package native reads and writes the registry's model folders with the embedded engine's library.
//
// Rules for callers: Inspect trusts nothing in a folder and loads its weights once to prove that they can be run;
// its memory is a small multiple of the files' size.
package native

import (
	"context"
	"encoding/json"
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
	m, err := hf.Read(dir)
	if fault.Is(err, fault.NotFound) { // the folder is what is wrong, nothing in the project is missing
		f := *fault.As(err)
		f.Kind = fault.Invalid
		return registry.Shape{}, &f
	}
	if err != nil {
		return registry.Shape{}, err
	}
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
func (Codec) GGUF(ctx context.Context, dir string, w io.Writer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m, err := hf.Read(dir)
	if err != nil {
		return err
	}
	return fault.Wrap(gguf.Write(w, m), "writing the GGUF file")
}
