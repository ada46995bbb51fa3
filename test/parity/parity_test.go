// Package parity holds the embedded engine to what other engines gave for a model that was trained here
// (test/parity/run records it).
package parity_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

// golden is what transformers and llama.cpp agreed on, token for token (test/parity/greedy.py).
type golden struct {
	Cases []struct {
		Text     string
		Messages []tokenizer.Message
		IDs      []int32
		Greedy   []int32
	}
}

// TestGreedyTokensEqualOtherEngines expects 64 of 64 tokens after each of ten prompts, alone and all ten at once, on one
// thread and on two.
func TestGreedyTokensEqualOtherEngines(t *testing.T) {
	raw, err := os.ReadFile("testdata/greedy.json")
	if err != nil {
		t.Fatal(err)
	}
	var want golden
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Cases) != 10 {
		t.Fatalf("%d prompts recorded, not 10", len(want.Cases))
	}
	m, err := hf.Read("testdata/model")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]int32
	for _, c := range want.Cases {
		ids := m.Tokenizer.Encode(c.Text)
		if c.Messages != nil {
			if ids, _, err = m.Chat.Render(c.Messages, true); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(ids, c.IDs) {
			t.Errorf("%q %q: ids %v, the others have %v", c.Text, c.Messages, ids, c.IDs)
		}
		all = append(all, ids)
	}
	for _, threads := range []int{1, 2} {
		e, err := decode.New(m.Weights, decode.Options{Threads: threads, TokenBytes: m.Tokenizer.TokenBytes, EndIDs: m.Stop})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		together := greedy(t, e, all)
		for i, c := range want.Cases {
			if len(c.Greedy) != 64 {
				t.Fatalf("%d tokens recorded, not 64", len(c.Greedy))
			}
			if got := greedy(t, e, all[i:i+1])[0]; !slices.Equal(got, c.Greedy) {
				t.Errorf("%q %q alone, %d threads:\n got %v\nwant %v", c.Text, c.Messages, threads, got, c.Greedy)
			}
			if !slices.Equal(together[i], c.Greedy) {
				t.Errorf("%q %q among ten, %d threads:\n got %v\nwant %v", c.Text, c.Messages, threads, together[i], c.Greedy)
			}
		}
	}
}

func greedy(t *testing.T, e *decode.Engine, prompts [][]int32) [][]int32 {
	t.Helper()
	s, err := e.Submit(t.Context(), &decode.Request{Prompts: prompts, MaxTokens: 64, IgnoreEOS: true})
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]int32, len(prompts))
	for {
		var ev decode.Event
		err := s.Next(&ev)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[ev.Index] = append(out[ev.Index], ev.Token)
	}
}
