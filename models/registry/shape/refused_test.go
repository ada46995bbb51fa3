package shape_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/registry/shape"
)

// TestRefusalsSayWhatIsWrong has a type that nobody here knows, which is no damage, and damage, which is named.
func TestRefusalsSayWhatIsWrong(t *testing.T) {
	one := func(header string) string {
		return string([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}) + header + "1234"
	}
	old := described("llama")
	old.add("token_embd.weight", 31, 64, 8) // a form for one processor, gone from ggml
	for name, c := range map[string]struct {
		files map[string]string
		kind  fault.Kind
		says  string
	}{
		"a dtype of tomorrow": {map[string]string{"config.json": "{}", "model.safetensors": one(`{"x":{"dtype":"F2","shape":[16],"data_offsets":[0,4]}}`)}, fault.Unsupported, `"F2"`},
		"a type of yesterday": {map[string]string{"x.gguf": old.encode()}, fault.Unsupported, "type 31"},
		"a gap":               {map[string]string{"config.json": "{}", "model.safetensors": one(`{"x":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}}`)}, fault.Invalid, "gap at byte 0"},
		"no file of the disk": {map[string]string{"config.json": "{", "model.safetensors": "x"}, fault.Invalid, "config.json is damaged: unexpected end"},
	} {
		_, err := shape.Read(folder(t, c.files))
		if f := fault.As(err); err == nil || f.Kind != c.kind || !strings.Contains(f.Message, c.says) || strings.Contains(f.Message, t.TempDir()[:8]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestIndexOfAMixture has 250,000 tensors in its index, as one of 384 experts in 60 layers with packed weights has: 25 MiB.
func TestIndexOfAMixture(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"weight_map":{`)
	for i := range 250000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"language_model.model.layers.10.mlp.experts.%06d.down_proj.weight_packed":"model-00011-of-00062.safetensors"`, i)
	}
	b.WriteString("}}")
	_, err := shape.Read(folder(t, map[string]string{"config.json": "{}", "model.safetensors.index.json": b.String(), "model-00011-of-00062.safetensors": "x"}))
	if f := fault.As(err); err == nil || f.Field != "model-00011-of-00062.safetensors" {
		t.Errorf("%v", err)
	}
}
