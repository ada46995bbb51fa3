// Command model makes the small trained model that greedy answers are compared on (test/parity/run).
//
//	model train FOLDER        train it and write it as a Hugging Face folder in float32
//	model gguf FOLDER FILE    write a folder's model as a GGUF file in float32
//
// Training is deterministic on processors of one kind: the same seeds, the same conversations.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/gguf"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"github.com/triarch-ai/triarch/models/native/trainer"
	"github.com/triarch-ai/triarch/models/starter"
)

func main() {
	err := errors.New("usage: model train FOLDER | model gguf FOLDER FILE")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "train":
		err = train(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "gguf":
		err = convert(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "model:", err)
		os.Exit(1)
	}
}

// train teaches a model of 140,000 parameters to write conversations like the starter's.
func train(folder string) error {
	talks, err := conversations()
	if err != nil {
		return err
	}
	var words []string
	for _, t := range talks {
		for _, m := range t {
			words = append(words, m.Content)
		}
	}
	tk, err := tokenizer.Train(slices.Values(words), 640, tokenizer.Specials(), nil)
	if err != nil {
		return err
	}
	chat, err := tokenizer.NewChat(tk)
	if err != nil {
		return err
	}
	var texts [][]int32 // questions are learned too and talks run on, so that there is something to say after an answer
	for _, t := range talks {
		ids, _, err := chat.Render(t, false)
		if err != nil {
			return err
		}
		texts = append(texts, ids)
	}
	opt := trainer.DefaultOptions()
	opt.Steps, opt.LR, opt.MinLR, opt.CheckpointEvery = 400, 4e-3, 4e-4, 0
	src, err := trainer.NewPretrainSource(texts, 1, true)
	if err != nil {
		return err
	}
	w := native.NewWeights(native.Config{VocabSize: 640, Dim: 64, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 192, MaxContext: 256,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}, 1)
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	res, err := trainer.Run(context.Background(), w, src, opt, trainer.Hooks{}, dir)
	if err != nil {
		return err
	}
	fmt.Printf("trained %d steps to a loss of %.3f\n", res.Steps, res.Loss)
	return hf.Write(folder, &hf.Model{Weights: w, Tokenizer: tk, Chat: chat}, "f32")
}

// conversations are the starter's, fewer.
func conversations() (talks [][]tokenizer.Message, err error) {
	var text bytes.Buffer
	mix := starter.DefaultMix()
	mix.Conversations = 4000
	if err := starter.Write(&text, mix); err != nil {
		return nil, err
	}
	for dec := json.NewDecoder(&text); dec.More(); {
		var line struct{ Messages []tokenizer.Message }
		if err := dec.Decode(&line); err != nil {
			return nil, err
		}
		talks = append(talks, line.Messages)
	}
	return talks, nil
}

func convert(folder, file string) error {
	m, err := hf.Read(folder)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(gguf.Write(f, m), f.Close())
}
