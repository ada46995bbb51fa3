package hf_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

// golden is what Hugging Face transformers answered for the model in testdata/tiny (test/parity/export.py).
type golden struct {
	Text     string
	Messages []tokenizer.Message
	IDs      []int32
	Greedy   []int32
	Logprobs []float64
}

// TestAnswersAsTransformersDoes reads the recorded folder and expects the recorded ids, greedy tokens and log
// probabilities: it guards layout, number formats, rotary positions, norms, grouped heads and the chat form at once.
// TRIARCH_IMPORT names another folder with a model that transformers saved and its answers.
func TestAnswersAsTransformersDoes(t *testing.T) {
	dir := "testdata"
	if other := os.Getenv("TRIARCH_IMPORT"); other != "" {
		dir = other
	}
	m, err := hf.Read(filepath.Join(dir, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "tiny-golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	e, err := decode.New(m.Weights, decode.Options{Threads: 1, TokenBytes: m.Tokenizer.TokenBytes, EndIDs: m.Stop})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	compared := 0
	for _, c := range cases {
		ids := m.Tokenizer.Encode(c.Text)
		if c.Messages != nil {
			if ids, _, err = m.Chat.Render(c.Messages, true); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(ids, c.IDs) {
			t.Errorf("%q %q: ids %v, want %v", c.Text, c.Messages, ids, c.IDs)
			continue
		}
		tokens, logprobs := greedy(t, e, ids, len(c.Greedy))
		if !slices.Equal(tokens, c.Greedy) {
			t.Errorf("%q %q: tokens %v, want %v", c.Text, c.Messages, tokens, c.Greedy)
			continue
		}
		for i, want := range c.Logprobs {
			if compared++; math.Abs(float64(logprobs[i])-want) > 1e-4 {
				t.Errorf("%q token %d: log probability %g, want %g", c.Text, i, logprobs[i], want)
			}
		}
	}
	if compared < 60 {
		t.Fatalf("only %d tokens compared", compared)
	}
}

func greedy(t *testing.T, e *decode.Engine, ids []int32, n int) (tokens []int32, logprobs []float32) {
	t.Helper()
	s, err := e.Submit(context.Background(), &decode.Request{Prompts: [][]int32{ids}, MaxTokens: n, IgnoreEOS: true, Logprobs: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		var ev decode.Event
		switch err := s.Next(&ev); {
		case err == nil:
			tokens, logprobs = append(tokens, ev.Token), append(logprobs, ev.Logprob)
		case errors.Is(err, io.EOF):
			return tokens, logprobs
		default:
			t.Fatal(err)
		}
	}
}
