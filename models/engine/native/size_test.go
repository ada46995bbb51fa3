package native

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/triarch-ai/triarch/models/engine"
)

func TestCacheBytes(t *testing.T) {
	dir := t.TempDir()
	text := `{"model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":64,"hidden_size":1024,"num_hidden_layers":16,
		"num_attention_heads":8,"num_key_value_heads":4,"intermediate_size":64,"max_position_embeddings":%d,"rms_norm_eps":1e-5}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, text, 131072), 0o600); err != nil {
		t.Fatal(err)
	}
	const position = 4 * 2 * 16 * 4 * 128
	for _, c := range []struct {
		spec engine.Spec
		want int64
	}{
		{engine.Spec{}, 1 << 30},
		{engine.Spec{MemoryBytes: 5}, 5},
		{engine.Spec{MaxContext: 10}, 256 << 20},
		{engine.Spec{MaxContext: 99999}, 100000 * position},
	} {
		c.spec.ModelDir = dir
		if got, err := new(Driver).CacheBytes(c.spec); err != nil || got != c.want {
			t.Errorf("%+v: %d, %v, want %d", c.spec, got, err, c.want)
		}
	}
	if _, err := new(Driver).CacheBytes(engine.Spec{ModelDir: t.TempDir()}); err == nil {
		t.Error("a folder without a model has a size")
	}
}
