package hf

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestSuggestionsAreKept(t *testing.T) {
	temperature, topP, topK, repetition := 0.3, 0.9, 40, 1.1
	for _, want := range []Suggestion{{}, {Temperature: &temperature}, {&temperature, &topP, &topK, &repetition}} {
		m := model(t, true)
		m.Suggest = want
		dir := filepath.Join(t.TempDir(), "m")
		if err := Write(dir, m, "f32"); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got.Suggest); d != "" {
			t.Error(d)
		}
	}
}

func TestWildSuggestionsAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	if err := Write(dir, model(t, true), "f32"); err != nil {
		t.Fatal(err)
	}
	for field, text := range map[string]string{"temperature": "-1", "top_p": "1.5", "top_k": "-3", "repetition_penalty": "0"} {
		if err := os.WriteFile(filepath.Join(dir, fileGeneration), fmt.Appendf(nil, `{"eos_token_id":3,%q:%s}`, field, text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); !fault.Is(err, fault.Invalid) || fault.As(err).Field != field {
			t.Errorf("%s %s: %v", field, text, err)
		}
	}
}
