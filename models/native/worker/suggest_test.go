package worker

import (
	"os"
	"path/filepath"
	"testing"
)

// What generation_config.json suggests holds where a request says nothing, and not where it does.
func TestTheModelsSuggestionsHold(t *testing.T) {
	dir := folder(t, 128)
	config := []byte(`{"bos_token_id":1,"pad_token_id":0,"eos_token_id":3,"do_sample":true,"top_k":1}`)
	if err := os.WriteFile(filepath.Join(dir, "generation_config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, Options{Dir: dir})
	const text = "/v1/completions"
	greedy, _, _ := r.complete(text, `{"prompt":"fox","temperature":0,"ignore_eos":true,"max_tokens":30}`)
	if got, _, _ := r.complete(text, `{"prompt":"fox","temperature":2,"ignore_eos":true,"max_tokens":30}`); got != greedy {
		t.Errorf("the suggested top_k of 1 did not hold: %q, not %q", got, greedy)
	}
	if got, _, _ := r.complete(text, `{"prompt":"fox","temperature":2,"top_k":0,"ignore_eos":true,"max_tokens":30,"seed":1}`); got == greedy {
		t.Error("the request's own top_k did not hold")
	}
}
