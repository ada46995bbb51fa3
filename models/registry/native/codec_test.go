package native_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	engine "github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/gguf"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/registry/native"
)

// model writes a small folder of our own kind.
func model(t *testing.T, dtype string) string {
	t.Helper()
	return modelOf(t, dtype, engine.Config{Dim: 16, Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 8, FFN: 24, MaxContext: 32,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, PAD: 0, BOS: 1, EOS: 3, Arch: "llama"})
}

// modelOf writes a folder of a shape; its vocabulary is the tokenizer's where none is told.
func modelOf(t *testing.T, dtype string, c engine.Config) string {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"a model of models", "一个模型"}), 280, tokenizer.Specials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	chat, err := tokenizer.NewChat(tok)
	if err != nil {
		t.Fatal(err)
	}
	c.VocabSize = max(c.VocabSize, tok.VocabSize())
	dir := filepath.Join(t.TempDir(), "model")
	if err := hf.Write(dir, &hf.Model{Weights: engine.NewWeights(c, 1), Tokenizer: tok, Chat: chat}, dtype); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInspect(t *testing.T) {
	for _, dtype := range []string{"f32", "bf16"} {
		s, err := native.Codec{}.Inspect(t.Context(), model(t, dtype))
		if err != nil {
			t.Fatal(err)
		}
		if s.Transformer == nil || s.Transformer.Parameters() != s.Params || s.Foreign != "" || len(s.Notes) > 0 || s.Form != "safetensors" {
			t.Errorf("%s: %+v", dtype, s)
		}
		if s.Arch != "llama" || s.DType != dtype || s.Context != 32 || !s.Chat || s.Params < 5000 || s.Vocab < 260 {
			t.Errorf("%s: %+v", dtype, s)
		}
	}
}

func TestInspectRefusesByName(t *testing.T) {
	spoil := func(change func(map[string]any)) string {
		dir := model(t, "f32")
		path := filepath.Join(dir, "config.json")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]any
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		change(c)
		if text, err = json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	foreign := spoil(func(c map[string]any) { c["architectures"], c["model_type"] = []string{"MambaForCausalLM"}, "mamba" })
	if s, err := (native.Codec{}).Inspect(t.Context(), foreign); err != nil || !strings.Contains(s.Foreign, "mamba") || !strings.Contains(s.Unknown, "mamba") || s.Transformer != nil || s.Params == 0 {
		t.Errorf("a foreign architecture: %+v, %v", s, err)
	}
	scaled := spoil(func(c map[string]any) { c["rope_scaling"] = map[string]any{"rope_type": "llama3", "factor": 8.0} })
	if s, err := (native.Codec{}).Inspect(t.Context(), scaled); err != nil || !strings.Contains(s.Foreign, "llama3") || s.Unknown != "" || s.Transformer == nil {
		t.Errorf("what the engine does not compute: %+v, %v", s, err)
	}
	exported := filepath.Join(t.TempDir(), "g")
	if err := os.Mkdir(exported, 0o700); err != nil {
		t.Fatal(err)
	}
	whole, err := hf.Read(model(t, "f32"))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := gguf.Write(&file, whole); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(exported, "m.gguf"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := (native.Codec{}).Inspect(t.Context(), exported); err != nil || s.Foreign == "" || s.Form != "gguf" || s.Transformer == nil || s.Params != whole.Weights.Config.Params() ||
		s.Transformer.Parameters() != s.Params || s.Transformer.More != 0 || s.DType != "f32" || s.Quantisation != "F32" || !s.Chat || s.Context != 32 || len(s.Notes) > 0 {
		t.Errorf("a GGUF file: %+v, %v", s, err)
	}
	wrong := spoil(func(c map[string]any) { c["hidden_size"] = 24 })
	if _, err := (native.Codec{}).Inspect(t.Context(), wrong); err == nil || fault.KindOf(err) == fault.Internal {
		t.Errorf("shapes that do not fit: %v", err)
	}
	cut := model(t, "f32")
	if err := os.Truncate(filepath.Join(cut, "model.safetensors"), 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := (native.Codec{}).Inspect(t.Context(), cut); err == nil || fault.KindOf(err) == fault.Internal {
		t.Errorf("cut weights: %v", err)
	}
	if _, err := (native.Codec{}).Inspect(t.Context(), t.TempDir()); err == nil || fault.KindOf(err) == fault.Internal {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestGGUF(t *testing.T) {
	var codec registry.GGUFWriter = native.Codec{}
	for _, dtype := range []string{"f32", "bf16"} {
		dir := model(t, dtype)
		f, err := codec.GGUF(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		var streamed, whole bytes.Buffer
		if err := errors.Join(f.Write(&streamed), f.Close()); err != nil {
			t.Fatal(err)
		}
		if head := streamed.Bytes(); int64(len(head)) != f.Size() || string(head[:4]) != "GGUF" || binary.LittleEndian.Uint32(head[4:]) != 3 {
			t.Errorf("%d bytes of %d begin with % x", len(head), f.Size(), head[:min(8, len(head))])
		}
		m, err := hf.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := gguf.Write(&whole, m); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(streamed.Bytes(), whole.Bytes()) {
			t.Errorf("%s: what is read from the disk is not what is written from memory", dtype)
		}
	}
}

// Six exports of a model of 60 MB at once cost less than the weights of one.
func TestWeightsStayOnTheDisk(t *testing.T) {
	c := engine.Config{VocabSize: 20_000, Dim: 512, Layers: 2, Heads: 8, KVHeads: 8, HeadDim: 64, FFN: 1024, MaxContext: 32,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, PAD: 0, BOS: 1, EOS: 3, Arch: "llama"}
	dir := modelOf(t, "f32", c)
	weights := uint64(c.Params()) * 4
	if weights < 55<<20 {
		t.Fatalf("the model has only %d bytes", weights)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := (native.Codec{}).Inspect(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			f, err := native.Codec{}.GGUF(t.Context(), dir)
			if err == nil {
				err = errors.Join(f.Write(io.Discard), f.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&after)
	if all := after.TotalAlloc - before.TotalAlloc; all > weights { // all that was ever allocated, freed or not
		t.Errorf("%d bytes were allocated, the weights have %d", all, weights)
	}
}
