package native

import (
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/registry/shape"
)

// Runs says whether the engine computes models of the shape, by what was found when the version was added.
func (d *Driver) Runs(s registry.Shape) error {
	if s.Foreign == "" {
		return nil
	}
	fix := "Serve it with an engine that runs it, which `triarch model show` names: add that as a provider, and route to it."
	if s.Form == shape.GGUF {
		fix = "Import the Hugging Face folder that the file was made from, or serve the file with llama.cpp: add that as a provider, and route to it."
	}
	return fault.New(fault.Unsupported, s.Foreign, fault.Field("engine"), fault.Code("unsupported_model"), fault.Fix("%s", fix))
}

// WeightBytes is the memory that the weights take.
func (d *Driver) WeightBytes(s registry.Shape) int64 { return fit.NativeBytes(s) }

// CacheBytes is the memory that a replica takes for keys and values: what the spec says, else what one longest
// sequence takes, at least 256 MiB and, unless the spec asks for that length, at most 1 GiB.
func (d *Driver) CacheBytes(s engine.Spec) (int64, error) {
	if s.MemoryBytes > 0 {
		return s.MemoryBytes, nil
	}
	c, err := hf.ReadConfig(s.ModelDir)
	if err != nil {
		return 0, err
	}
	longest := c.MaxContext
	if s.MaxContext > 0 {
		longest = s.MaxContext
	}
	const block = 32 // positions are kept in blocks of so many
	positions := int64((longest + block - 1) / block * block)
	one := 4 * 2 * int64(c.Layers) * int64(c.KVHeads) * int64(c.HeadDim) * positions
	if s.MaxContext == 0 {
		one = min(one, 1<<30)
	}
	return max(one, 256<<20), nil
}
