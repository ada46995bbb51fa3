package gguf_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/gguf"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

// exportCase is a prompt with what this engine made of it.
type exportCase struct {
	Text     string              `json:"text,omitempty"`
	Messages []map[string]string `json:"messages,omitempty"`
	IDs      []int32             `json:"ids"`
	Greedy   []int32             `json:"greedy"`
	Logprobs []float32           `json:"logprobs"`
}

// lively gives weights whose logits differ clearly, unlike fresh ones, and whose norms are not one.
func lively(c native.Config, seed uint64) *native.Weights {
	w := native.NewWeights(c, seed)
	r := rand.New(rand.NewPCG(seed, 99))
	for _, t := range w.Tensors() {
		scale := float32(12)
		if t.Name == "model.embed_tokens.weight" || t.Name == "lm_head.weight" {
			scale = 25
		}
		for i := range t.Data {
			if t.Matrix() {
				t.Data[i] *= scale
			} else {
				t.Data[i] += float32(r.NormFloat64() * 0.2)
			}
		}
	}
	return w
}

// TestExport writes models in every form with this engine's own answers into the folder that TRIARCH_EXPORT names,
// for test/parity/export.py to hold against other engines. Without it the test checks that what is written as a
// folder answers as the model in memory does.
func TestExport(t *testing.T) {
	dir := os.Getenv("TRIARCH_EXPORT")
	if dir == "" {
		dir = t.TempDir()
	}
	base := native.Config{VocabSize: 640, Dim: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 64, MaxContext: 256,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}
	untied := base
	untied.TieEmbeddings, untied.KVHeads, untied.RopeTheta, untied.NormEps = false, 4, 500000, 1e-6
	small := base
	small.VocabSize, small.BOS, small.EOS, small.PAD = 512, -1, 0, -1
	for _, v := range []struct {
		name, dtype, tokenizer string
		config                 native.Config
	}{{"tiny", "bf16", "tokenizer", base}, {"tied-f32", "f32", "tokenizer", base}, {"untied-f32", "f32", "tokenizer", untied},
		{"llama3", "bf16", "foreign-llama3", small}, {"qwen2", "bf16", "foreign-qwen2", small},
		{"digits", "bf16", "foreign-digits-gpt2", small}, {"gpt2", "bf16", "foreign-gpt2", small}} {
		tk := loadTokenizer(t, v.tokenizer)
		chat, err := tokenizer.NewChat(tk)
		if err != nil {
			chat = tokenizer.LoadChat(tk, "")
		}
		m := &hf.Model{Weights: lively(v.config, 5), Tokenizer: tk, Chat: chat}
		folder := filepath.Join(dir, v.name)
		if err := hf.Write(folder, m, v.dtype); err != nil {
			t.Fatal(err)
		}
		back, err := hf.Read(folder)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(dir, v.name+".gguf"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(gguf.Write(out, back), out.Close()); err != nil {
			t.Fatal(err)
		}
		answers := answer(t, back)
		raw, err := json.MarshalIndent(answers, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, v.name+".json"), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if len(answers) < 3 || len(answers[0].Greedy) != 24 {
			t.Fatalf("%d answers", len(answers))
		}
	}
}

func loadTokenizer(t *testing.T, name string) *tokenizer.Tokenizer {
	t.Helper()
	f, err := os.Open("../tokenizer/testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tk, err := tokenizer.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func answer(t *testing.T, m *hf.Model) []exportCase {
	t.Helper()
	e, err := decode.New(m.Weights, decode.Options{Threads: 1, TokenBytes: m.Tokenizer.TokenBytes, EndIDs: m.Stop})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	cases := []exportCase{{Text: "The river rises in the hills"}, {Text: "什么是调度器?"}, {Text: " x²+y² 12 🙂 it's"},
		{Messages: []map[string]string{{"role": "user", "content": "什么是账本?"}}},
		{Messages: []map[string]string{{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"},
			{"role": "assistant", "content": "\n\n  yes "}, {"role": "user", "content": " 12 中文\n"}}}}
	if !m.Chat.CanRender() {
		cases = cases[:3]
	}
	for i := range cases {
		c := &cases[i]
		c.IDs = m.Tokenizer.Encode(c.Text)
		if c.Messages != nil {
			var msgs []tokenizer.Message
			for _, m := range c.Messages {
				msgs = append(msgs, tokenizer.Message{Role: m["role"], Content: m["content"]})
			}
			if c.IDs, _, err = m.Chat.Render(msgs, true); err != nil {
				t.Fatal(err)
			}
		}
		s, err := e.Submit(context.Background(), &decode.Request{Prompts: [][]int32{c.IDs}, MaxTokens: 24, IgnoreEOS: true, Logprobs: true})
		if err != nil {
			t.Fatal(err)
		}
		for {
			var ev decode.Event
			err := s.Next(&ev)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Greedy, c.Logprobs = append(c.Greedy, ev.Token), append(c.Logprobs, ev.Logprob)
		}
	}
	return cases
}
