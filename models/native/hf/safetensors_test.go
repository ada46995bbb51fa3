package hf

import (
	"os"
	"path/filepath"
	"testing"
)

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":32,"intermediate_size":48,"num_hidden_layers":1,
		"num_attention_heads":2,"vocab_size":300,"rope_parameters":{"rope_type":"default","rope_theta":5e5},"eos_token_id":[5,6]}`))
	f.Add([]byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","rope_scaling":{"type":"linear"},"bos_token_id":null}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(filepath.Join(dir, fileConfig), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := ReadConfig(dir); err == nil && c.Validate() != nil {
			t.Fatalf("an invalid shape was accepted: %+v", c)
		}
	})
}
