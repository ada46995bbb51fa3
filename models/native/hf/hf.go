// Package hf reads and writes models as Hugging Face folders: config.json, generation_config.json, safetensors
// weights, tokenizer.json, tokenizer_config.json and special_tokens_map.json.
//
// Rules for callers:
//   - A folder appears whole or not at all: Write fills a folder beside it, syncs it to disk and renames it.
//   - Read trusts nothing in the folder. It allocates weights only after the headers of the files prove that the
//     files hold them, so memory is bounded by a small multiple of the files' size.
//   - What this engine would compute wrongly is refused by name with fault.Unsupported, never ignored: other
//     architectures, scaled rotary positions, biases, quantised weights, unknown tensors.
package hf

import (
	"os"
	"path/filepath"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

// Model is what a folder holds.
type Model struct {
	Weights   *native.Weights
	Tokenizer *tokenizer.Tokenizer
	Chat      *tokenizer.Chat // never nil from Read; it may be one that cannot render
	Stop      []int32         // ids on which generation ends; from Read: all that the files and the chat form name
	Suggest   Suggestion      // how to sample where a request does not say
}

// Suggestion is what generation_config.json says of sampling; a nil field says nothing. Temperature is above 0
// to 2, top_p above 0 to 1, top_k from 0 (off), repetition_penalty above 0 to 10.
type Suggestion struct {
	Temperature       *float64 `json:"temperature,omitempty"`
	TopP              *float64 `json:"top_p,omitempty"`
	TopK              *int     `json:"top_k,omitempty"`
	RepetitionPenalty *float64 `json:"repetition_penalty,omitempty"`
}

func (s Suggestion) check() error {
	for _, f := range []struct {
		name  string
		value *float64
		most  float64
	}{
		{"temperature", s.Temperature, 2}, {"top_p", s.TopP, 1}, {"repetition_penalty", s.RepetitionPenalty, 10},
	} {
		if v := f.value; v != nil && !(*v > 0 && *v <= f.most) { // catches NaN too
			return fault.InvalidField(f.name, "%s suggests %s %g, it must be above 0 and at most %g", fileGeneration, f.name, *v, f.most)
		}
	}
	if s.TopK != nil && *s.TopK < 0 {
		return fault.InvalidField("top_k", "%s suggests top_k %d, it must be 0 or more", fileGeneration, *s.TopK)
	}
	return nil
}

// Files of a folder.
const (
	fileConfig     = "config.json"
	fileGeneration = "generation_config.json"
	fileWeights    = "model.safetensors"
	fileIndex      = "model.safetensors.index.json"
	fileTokenizer  = "tokenizer.json"
	fileTokConfig  = "tokenizer_config.json"
	fileSpecials   = "special_tokens_map.json"
	fileTemplate   = "chat_template.jinja"
)

// Write writes m as the folder dir with weights of dtype "f32" or "bf16" (rounded to nearest, ties to even). It
// fails with fault.Conflict if dir exists and is not empty: a model is immutable.
func Write(dir string, m *Model, dtype string) error {
	if dtype != f32 && dtype != bf16 {
		return fault.InvalidField("dtype", "weights are written as f32 or bf16, not %.20q", dtype)
	}
	if err := m.check(); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fault.New(fault.Conflict, "The folder of the model exists already.", fault.Field("dir"), fault.Fix("Name a new one."))
	}
	return writeDir(dir, func(tmp string) error {
		files := []struct {
			name  string
			write func(*os.File) error
		}{
			{fileWeights, func(f *os.File) error { return writeSafetensors(f, m.Weights.Tensors(), dtype) }},
			{fileTokenizer, func(f *os.File) error { return m.Tokenizer.WriteJSON(f) }},
			{fileConfig, func(f *os.File) error { return writeJSON(f, configOf(m.Weights.Config, dtype)) }},
			{fileGeneration, func(f *os.File) error { return writeJSON(f, generationOf(m)) }},
			{fileTokConfig, func(f *os.File) error { return writeJSON(f, tokenizerConfigOf(m)) }},
			{fileSpecials, func(f *os.File) error { return writeJSON(f, specialsOf(m)) }},
		}
		for _, file := range files {
			if err := writeFile(filepath.Join(tmp, file.name), file.write); err != nil {
				return fault.Wrap(err, "writing "+file.name)
			}
		}
		return nil
	})
}

// check refuses models whose parts do not belong together.
func (m *Model) check() error {
	c := m.Weights.Config
	if err := c.Validate(); err != nil {
		return err
	}
	if n := m.Tokenizer.VocabSize(); n > c.VocabSize {
		return fault.InvalidField("vocab_size", "the tokenizer has %d tokens and the model only %d", n, c.VocabSize)
	}
	return nil
}

// Read reads the folder dir: weights in f32, bf16 or f16, in one file or sharded with an index. Errors:
// fault.NotFound for a missing file, fault.Invalid for a damaged one, fault.TooLarge for a metadata file above its
// limit, fault.Unsupported for a model this engine cannot run.
func Read(dir string) (*Model, error) {
	f, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w := native.AllocWeights(f.Weights.Config)
	for _, t := range w.Tensors() {
		if err := f.Numbers(t.Name, 0, t.Data); err != nil {
			return nil, err
		}
	}
	m := f.Model
	m.Weights = w
	return &m, nil
}

// Open reads all of the folder dir but the weights' numbers, which it proves to be there in the right shapes: its memory
// does not grow with them. Errors: as Read.
func Open(dir string) (*Folder, error) {
	var cfg configFile
	if err := readJSON(dir, fileConfig, true, &cfg); err != nil {
		return nil, err
	}
	c, err := cfg.native()
	if err != nil {
		return nil, err
	}
	f := &Folder{Model: Model{Weights: outline(c)}}
	if f.Tokenizer, err = readTokenizer(dir); err != nil {
		return nil, err
	}
	if n := f.Tokenizer.VocabSize(); n > c.VocabSize {
		return nil, fault.InvalidField("vocab_size", "the tokenizer has %d tokens and the model only %d", n, c.VocabSize)
	}
	if f.Chat, err = readChat(dir, f.Tokenizer); err != nil {
		return nil, err
	}
	var gen generationFile
	if err := readJSON(dir, fileGeneration, false, &gen); err != nil {
		return nil, err
	}
	f.Stop, f.Suggest = stopIDs(&f.Model, cfg.EOS, gen.EOS), gen.Suggestion
	if err := f.Suggest.check(); err != nil {
		return nil, err
	}
	if f.shards, err = openShards(dir); err != nil {
		return nil, err
	}
	if f.where, err = locate(f.shards); err == nil {
		err = compare(f.where, f.Weights)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadConfig reads the shape of the model in dir and nothing else: what planning memory needs.
func ReadConfig(dir string) (native.Config, error) {
	var cfg configFile
	if err := readJSON(dir, fileConfig, true, &cfg); err != nil {
		return native.Config{}, err
	}
	return cfg.native()
}

func stopIDs(m *Model, lists ...idList) []int32 {
	var stop []int32
	seen := map[int32]bool{}
	add := func(id int) {
		if id >= 0 && id < m.Weights.Config.VocabSize && !seen[int32(id)] {
			seen[int32(id)] = true
			stop = append(stop, int32(id))
		}
	}
	for _, l := range lists {
		for _, id := range l {
			add(id)
		}
	}
	if id, ok := m.Chat.EndTurn(); ok {
		add(int(id))
	}
	return stop
}
