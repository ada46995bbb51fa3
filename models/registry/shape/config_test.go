package shape

import (
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
)

const llama70b = `{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":8192,"intermediate_size":28672,"num_hidden_layers":80,
"num_attention_heads":64,"num_key_value_heads":8,"vocab_size":128256,"max_position_embeddings":8192,"tie_word_embeddings":false}`

func TestConfigAlone(t *testing.T) {
	if !IsConfig([]byte(llama70b)) || IsConfig([]byte(`{"layers":80}`)) || IsConfig([]byte(`[1]`)) || IsConfig(nil) {
		t.Error("what is a config.json is mistaken")
	}
	s, err := Config([]byte(llama70b), "mine")
	known, _ := perf.Named("llama-3-70b")
	if err != nil || s.Name != "mine" || s.Parameters() != known.Parameters() {
		t.Errorf("%+v, %d parameters, %v", s, s.Parameters(), err)
	}
	for change, field := range map[string]string{`"hidden_size":8192`: `"hidden_size":-3`, `"vocab_size":128256`: `"vocab_size":"many"`, `"model_type":"llama"`: `"model_type":"unheard-of"`, `{"model`: `{{"model`} {
		if _, err := Config([]byte(strings.Replace(llama70b, change, field, 1)), ""); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
