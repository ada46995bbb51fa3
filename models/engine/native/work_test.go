package native_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	weights "github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
)

// model writes a small model with random weights.
func model(t *testing.T) string {
	tok, err := tokenizer.Train(slices.Values([]string{"a small model for a test", "水能载舟"}), 300, tokenizer.Specials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	chat, err := tokenizer.NewChat(tok)
	if err != nil {
		t.Fatal(err)
	}
	w := weights.NewWeights(weights.Config{VocabSize: max(300, tok.VocabSize()), Dim: 32, Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 16,
		FFN: 48, MaxContext: 256, RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: 1, EOS: 3, PAD: 0}, 5)
	dir := filepath.Join(t.TempDir(), "model")
	if err := hf.Write(dir, &hf.Model{Weights: w, Tokenizer: tok, Chat: chat}, "f32"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listen is where the worker is told to listen: not where it does by itself, where the machine has such an address.
var listen = map[bool]string{true: "127.0.0.2", false: ""}[runtime.GOOS == "linux"]

// attempt writes what Command renders into a folder, as an executor does.
func attempt(t *testing.T, d *native.Driver, modelDir string) string {
	c, err := d.Command(engine.Spec{ModelDir: modelDir, ModelName: "m", Threads: 1, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c.Files[engine.SecretFile] = []byte("a secret\n")
	for name, content := range c.Files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The real worker, started from what Command rendered, through the driver: counts of the wire are those of the usage,
// and a context that is cancelled ends it in peace.
func TestRealWorker(t *testing.T) {
	d := &native.Driver{}
	dir := attempt(t, d, model(t))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- native.Work(ctx, dir, slog.New(slog.DiscardHandler)) }()
	var a engine.Announcement
	for a.Addr == "" {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
		if b, err := os.ReadFile(filepath.Join(dir, engine.EndpointFile)); err == nil {
			if err := json.Unmarshal(b, &a); err != nil {
				t.Fatal(err)
			}
		}
	}
	if listen != "" && !strings.HasPrefix(a.Addr, listen+":") {
		t.Errorf("it listens on %s", a.Addr)
	}
	to := engine.Endpoint{Replica: "rep_1", Addr: a.Addr, Secret: "a secret"}
	if err := d.Health(t.Context(), to); err != nil {
		t.Error(err)
	}
	const path = "/v1/chat/completions"
	body := []byte(`{"model":"any","messages":[{"role":"user","content":"舟 model"}],"stream":true,"max_tokens":20,"n":2,"ignore_eos":true,"stream_options":{"include_usage":true}}`)
	prompt, err := d.Count(t.Context(), to, path, body)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Open(t.Context(), to, engine.Request{Path: path, Body: body, Stream: true, Usage: true})
	if err != nil {
		t.Fatal(err)
	}
	if l, err := d.Load(t.Context(), to); err != nil || l.Slots < 2 || l.Running+l.Waiting > 2 {
		t.Errorf("load %+v, %v", l, err)
	}
	var text []byte
	var last engine.Chunk
	for {
		c, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, last = append(text, c.Data...), c
	}
	s.Close()
	if last.Prompt != prompt || last.Completion != 40 || !last.Done || !bytes.Contains(text, []byte(`"completion_tokens":40,`)) {
		t.Errorf("counted %d, chunks say %+v\n%s", prompt, last, text)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

func TestWorkRefusesOtherProtocols(t *testing.T) {
	dir := t.TempDir()
	for content, kind := range map[string]fault.Kind{`{"protocol":99}`: fault.Conflict, `no JSON`: fault.Internal} {
		if err := os.WriteFile(filepath.Join(dir, "serve.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := native.Work(t.Context(), dir, slog.New(slog.DiscardHandler)); !fault.Is(err, kind) {
			t.Errorf("%s: %v", content, err)
		}
	}
}
