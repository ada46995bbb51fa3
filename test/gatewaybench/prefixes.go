package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"github.com/triarch-ai/triarch/models/starter"
)

// What is asked of the replicas: system prompts of prefixTokens, as many as prefixes, each followed by a question of its
// own, and an answer of answerTokens. A replica's cache holds cachedPrefixes of such conversations.
const (
	prefixes       = 16
	prefixTokens   = 1500
	answerTokens   = 32
	cachedPrefixes = 5
	questionWords  = 12
)

// prefixShape is the model: that of the other benchmarks (docs/bench.md), with the context that this needs. On one
// core a prompt of 1,500 tokens takes it several times as long as 32 tokens of answer, as models of billions of parameters
// on an accelerator whose batches are full.
func prefixShape() native.Config {
	return native.Config{VocabSize: 512, Dim: 256, Layers: 4, Heads: 4, KVHeads: 4, HeadDim: 64, FFN: 704, MaxContext: 2048,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}
}

// corpus is a model with random weights in a folder, and what to ask it.
type corpus struct {
	dir     string
	cache   int64 // bytes that a replica needs for cachedPrefixes
	words   []string
	systems [prefixes]string
}

func makeCorpus(dir string) (*corpus, error) {
	var talk bytes.Buffer
	mix := starter.DefaultMix()
	mix.Conversations = 500
	if err := starter.Write(&talk, mix); err != nil {
		return nil, err
	}
	shape := prefixShape()
	tok, err := tokenizer.Train(slices.Values(strings.Split(talk.String(), "\n")), shape.VocabSize, tokenizer.Specials(), nil)
	if err != nil {
		return nil, err
	}
	chat, err := tokenizer.NewChat(tok)
	if err != nil {
		return nil, err
	}
	c := &corpus{dir: filepath.Join(dir, "model"), words: plainWords(talk.String())}
	if err := hf.Write(c.dir, &hf.Model{Weights: native.NewWeights(shape, 1), Tokenizer: tok, Chat: chat}, "f32"); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	longest := 0
	for i := range c.systems {
		n := 0
		for n < prefixTokens { // grown until it is long enough
			c.systems[i] += c.text(rng, max(1, (prefixTokens-n)/12))
			ids, _, err := chat.Render([]tokenizer.Message{{Role: "system", Content: c.systems[i]}, {Role: "user", Content: "?"}}, false)
			if err != nil {
				return nil, err
			}
			n = len(ids)
		}
		longest = max(longest, n)
	}
	if longest > prefixTokens+50 {
		return nil, errors.New("a prompt came out too long")
	}
	const block = 32 // tokens of a block of the cache
	question := 12 * questionWords
	blocks := int64((longest + question + answerTokens + block - 1) / block)
	c.cache = cachedPrefixes * blocks * block * 4 * 2 * int64(shape.Layers*shape.KVHeads*shape.HeadDim)
	return c, nil
}

// plainWords are the different words of a text that JSON need not escape.
func plainWords(text string) []string {
	fields := strings.FieldsFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
	slices.Sort(fields)
	return slices.Compact(fields)
}

func (c *corpus) text(rng *rand.Rand, words int) string {
	var b strings.Builder
	for range words {
		b.WriteString(c.words[rng.IntN(len(c.words))] + " ")
	}
	return b.String()
}

// requests are n conversations, each with any of the prefixes. The same seed gives the same ones.
func (c *corpus) requests(seed uint64, n int) ([][]byte, error) {
	rng := rand.New(rand.NewPCG(seed, 3))
	all := make([][]byte, n)
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	for i := range all {
		messages, err := json.Marshal([]message{{"system", c.systems[rng.IntN(prefixes)]}, {"user", c.text(rng, questionWords)}})
		if err != nil {
			return nil, err
		}
		all[i] = fmt.Appendf(nil, `{"model":"bench","messages":%s,"max_tokens":%d,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`, messages, answerTokens)
	}
	return all, nil
}
