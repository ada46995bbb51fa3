//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/gguf"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"github.com/triarch-ai/triarch/models/starter"
)

const rows, length = 8, 256 // of a training batch

// shape is the model that is measured: 3.3 million parameters.
func shape() native.Config {
	return native.Config{VocabSize: 512, Dim: 256, Layers: 4, Heads: 4, KVHeads: 4, HeadDim: 64, FFN: 704, MaxContext: 256,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}
}

// inputs is what every trainer reads: the same hyper-parameters and batches; the weights lie beside it.
type inputs struct {
	Rows        int         `json:"rows"`
	Length      int         `json:"length"`
	Layers      int         `json:"layers"`
	Heads       int         `json:"heads"`
	HeadDim     int         `json:"head_dim"`
	Theta       float64     `json:"theta"`
	EpsNorm     float64     `json:"eps_norm"`
	LR          float64     `json:"lr"`
	Beta1       float64     `json:"beta1"`
	Beta2       float64     `json:"beta2"`
	Eps         float64     `json:"eps"`
	WeightDecay float64     `json:"weight_decay"`
	Clip        float64     `json:"clip"`
	Batches     []trainData `json:"batches"`
}

type trainData struct {
	Tokens  []int32 `json:"tokens"`
	Targets []int32 `json:"targets"`
}

// writeInputs fills dir with inputs.json, the folder model and the file model.gguf, both in float32.
func writeInputs(dir string) error {
	c := shape()
	in := inputs{Rows: rows, Length: length, Layers: c.Layers, Heads: c.Heads, HeadDim: c.HeadDim, Theta: 10000, EpsNorm: 1e-5,
		LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1}
	r := rand.New(rand.NewPCG(1, 1))
	for range 8 {
		text := noisyRule(r, c.VocabSize, rows*length+1)
		in.Batches = append(in.Batches, trainData{text[:rows*length], text[1:]})
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "inputs.json"), raw, 0o644); err != nil {
		return err
	}
	var talk bytes.Buffer
	mix := starter.DefaultMix()
	mix.Conversations = 500
	if err := starter.Write(&talk, mix); err != nil {
		return err
	}
	tk, err := tokenizer.Train(slices.Values(strings.Split(talk.String(), "\n")), c.VocabSize, tokenizer.Specials(), nil)
	if err != nil {
		return err
	}
	chat, err := tokenizer.NewChat(tk)
	if err != nil {
		return err
	}
	m := &hf.Model{Weights: native.NewWeights(c, 1), Tokenizer: tk, Chat: chat}
	if err := hf.Write(filepath.Join(dir, "model"), m, "f32"); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "model.gguf"))
	if err != nil {
		return err
	}
	return errors.Join(gguf.Write(f, m), f.Close())
}

// noisyRule is text in which a token mostly decides the next one, so that there is something to learn.
func noisyRule(r *rand.Rand, vocab, n int) []int32 {
	text := []int32{int32(r.IntN(vocab))}
	for len(text) < n {
		next := (text[len(text)-1]*31 + 17) % int32(vocab)
		if r.IntN(5) == 0 {
			next = int32(r.IntN(vocab))
		}
		text = append(text, next)
	}
	return text
}

// job is one round of an engine; a reply is what it took.
type job struct {
	What    string    `json:"what"` // train, decode, together, prefill, form or free
	N       int       `json:"n"`    // steps to train, or tokens to decode after the first
	Prompts [][]int32 `json:"prompts,omitempty"`
	Flash   bool      `json:"flash"` // llama.cpp: with its flash attention
}

type reply struct {
	Ready   string    `json:"ready"`
	Seconds float64   `json:"cpu_seconds"`
	Tokens  int       `json:"tokens"`
	Losses  []float64 `json:"losses"`
}

// prompts are count random ones of n tokens, none like another's.
func prompts(r *rand.Rand, count, n int) [][]int32 {
	out := make([][]int32, count)
	for i := range out {
		for range n {
			out[i] = append(out[i], int32(4+r.IntN(500)))
		}
	}
	return out
}
