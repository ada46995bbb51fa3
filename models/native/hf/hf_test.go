package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

func shape(vocab int, tied bool) native.Config {
	return native.Config{VocabSize: vocab, Dim: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 48, MaxContext: 128,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: tied, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}
}

func model(t testing.TB, tied bool) *Model {
	t.Helper()
	tk, err := tokenizer.Train(slices.Values([]string{"the model reads the text, 模型读文字", "the text"}), 320, tokenizer.Specials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	chat, err := tokenizer.NewChat(tk)
	if err != nil {
		t.Fatal(err)
	}
	return &Model{Weights: native.NewWeights(shape(320, tied), 7), Tokenizer: tk, Chat: chat}
}

func TestWriteThenRead(t *testing.T) {
	for _, tied := range []bool{true, false} {
		for _, dtype := range []string{"f32", "bf16"} {
			t.Run(fmt.Sprintf("tied=%v %s", tied, dtype), func(t *testing.T) {
				m := model(t, tied)
				dir := filepath.Join(t.TempDir(), "deep", "m")
				if err := Write(dir, m, dtype); err != nil {
					t.Fatal(err)
				}
				got, err := Read(dir)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(m.Weights.Config, got.Weights.Config); d != "" {
					t.Fatal(d)
				}
				sameWeights(t, m.Weights, got.Weights, dtype)
				if a, b := m.Tokenizer.Encode("the text 模型"), got.Tokenizer.Encode("the text 模型"); !slices.Equal(a, b) {
					t.Fatalf("ids %v and %v", a, b)
				}
				if got.Chat.Jinja() != m.Chat.Jinja() || !got.Chat.CanRender() || !slices.Equal(got.Stop, []int32{3}) {
					t.Fatalf("chat lost, stop %v", got.Stop)
				}
				checkFolder(t, dir)
			})
		}
	}
}

func sameWeights(t *testing.T, want, got *native.Weights, dtype string) {
	t.Helper()
	w, g := want.Tensors(), got.Tensors()
	for i := range w {
		for j, x := range w[i].Data {
			if dtype == "bf16" {
				x = math.Float32frombits(uint32(floatToBrain(x)) << 16)
			}
			if g[i].Data[j] != x {
				t.Fatalf("%s[%d]: %g, want %g", w[i].Name, j, g[i].Data[j], x)
			}
		}
	}
}

// checkFolder: nothing temporary is left and the header is aligned.
func checkFolder(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Fatalf("beside the folder: %v %v", entries, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, fileWeights))
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(raw); n%8 != 0 || !bytes.Contains(raw[8:8+n], []byte(`"__metadata__":{"format":"pt"}`)) {
		t.Fatalf("header of %d bytes", n)
	}
}

func TestWriteRefuses(t *testing.T) {
	m := model(t, true)
	dir := filepath.Join(t.TempDir(), "m")
	if err := Write(dir, m, "f16"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("dtype: %v", err)
	}
	if err := Write(dir, m, "f32"); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, m, "f32"); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a second time: %v", err)
	}
	m.Weights = native.NewWeights(shape(261, true), 1)
	if err := Write(dir+"2", m, "f32"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a tokenizer larger than the model: %v", err)
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	broken := errors.New("disk full")
	err := writeDir(filepath.Join(parent, "m"), func(tmp string) error {
		if err := writeFile(filepath.Join(tmp, "a"), func(f *os.File) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return broken
	})
	entries, _ := os.ReadDir(parent)
	if !errors.Is(err, broken) || len(entries) != 0 {
		t.Fatalf("%v, left %v", err, entries)
	}
}

// TestReadShardsAndHalves writes a model as two shards in f16 and reads it.
func TestReadShardsAndHalves(t *testing.T) {
	m := model(t, false)
	dir := filepath.Join(t.TempDir(), "m")
	if err := Write(dir, m, "f32"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, fileWeights)); err != nil {
		t.Fatal(err)
	}
	ts := m.Weights.Tensors()
	index := map[string]string{}
	for i, part := range [][]native.Tensor{ts[:5], ts[5:]} {
		name := fmt.Sprintf("model-0000%d-of-00002.safetensors", i+1)
		writeHalves(t, filepath.Join(dir, name), part)
		for _, p := range part {
			index[p.Name] = name
		}
	}
	raw, _ := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": index})
	if err := os.WriteFile(filepath.Join(dir, fileIndex), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range got.Weights.Tensors() {
		for j, x := range g.Data {
			if d := math.Abs(float64(x - ts[i].Data[j])); d > 1e-4 {
				t.Fatalf("%s[%d] is %g away", g.Name, j, d)
			}
		}
	}
	for _, bad := range []string{"../x.safetensors", "sub/x.safetensors", "passwd", ".x.safetensors"} {
		raw, _ := json.Marshal(map[string]any{"weight_map": map[string]string{"a": bad}})
		if err := os.WriteFile(filepath.Join(dir, fileIndex), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); fault.KindOf(err) != fault.Invalid {
			t.Errorf("shard %q: %v", bad, err)
		}
	}
}

// writeHalves writes tensors truncated to f16.
func writeHalves(t *testing.T, path string, tensors []native.Tensor) {
	t.Helper()
	var data []byte
	header := map[string]any{}
	for _, ten := range tensors {
		begin := len(data)
		for _, x := range ten.Data {
			data = binary.LittleEndian.AppendUint16(data, truncateToHalf(x))
		}
		header[ten.Name] = map[string]any{"dtype": "F16", "shape": ten.Shape, "data_offsets": []int{begin, len(data)}}
	}
	raw, _ := json.Marshal(header)
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(raw)))
	if err := os.WriteFile(path, slices.Concat(out, raw, data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// truncateToHalf finds the half nearest below in magnitude by search: slow and plain.
func truncateToHalf(x float32) uint16 {
	lo, hi := uint16(0), uint16(0x7C00)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; halfToFloat(mid) <= float32(math.Abs(float64(x))) {
			lo = mid
		} else {
			hi = mid
		}
	}
	if math.Signbit(float64(x)) {
		lo |= 0x8000
	}
	return lo
}

func TestNumberFormats(t *testing.T) {
	for h, want := range map[uint16]float64{0: 0, 1: 0x1p-24, 0x3FF: 1023 * 0x1p-24, 0x400: 0x1p-14, 0x3C00: 1, 0xC000: -2, 0x7BFF: 65504,
		0x7C00: math.Inf(1), 0xFC00: math.Inf(-1), 0x3555: 0.333251953125} {
		if got := halfToFloat(h); float64(got) != want {
			t.Errorf("half %04x: %g, want %g", h, got, want)
		}
	}
	if x := halfToFloat(0x7E00); x == x {
		t.Error("the half not-a-number became a number")
	}
	rapid.Check(t, func(rt *rapid.T) {
		x := math.Float32frombits(rapid.Uint32().Draw(rt, "bits"))
		got := math.Float32frombits(uint32(floatToBrain(x)) << 16)
		if x != x {
			if got == got {
				rt.Fatal("not-a-number became a number")
			}
			return
		}
		// The neighbours of the result must not be nearer; a tie goes to the even one.
		bits := floatToBrain(x)
		for _, n := range []uint16{bits - 1, bits + 1} {
			near := float64(math.Float32frombits(uint32(n) << 16))
			d, dn := math.Abs(float64(got)-float64(x)), math.Abs(near-float64(x))
			if !math.IsInf(float64(got), 0) && !math.IsNaN(near) && (dn < d || dn == d && bits&1 == 1) {
				rt.Fatalf("%g became %g, %g is nearer", x, got, near)
			}
		}
	})
}

func TestReadRefusesByName(t *testing.T) {
	m := model(t, true)
	good := filepath.Join(t.TempDir(), "m")
	if err := Write(good, m, "f32"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key   string
		value any
		kind  fault.Kind
		word  string
	}{
		{"model_type", "qwen2", fault.Unsupported, "qwen2"},
		{"architectures", []string{"MixtralForCausalLM"}, fault.Unsupported, "Mixtral"},
		{"architectures", nil, fault.Unsupported, "architecture"},
		{"hidden_act", "gelu", fault.Unsupported, "gelu"},
		{"attention_bias", true, fault.Unsupported, "attention_bias"},
		{"mlp_bias", true, fault.Unsupported, "mlp_bias"},
		{"rope_scaling", map[string]any{"rope_type": "llama3", "factor": 8}, fault.Unsupported, "llama3"},
		{"rope_scaling", map[string]any{"factor": 8}, fault.Unsupported, "rope_scaling"},
		{"rope_parameters", map[string]any{"rope_type": "yarn", "rope_theta": 1e4}, fault.Unsupported, "yarn"},
		{"quantization_config", map[string]any{"quant_method": "gptq"}, fault.Unsupported, "quant"},
		{"partial_rotary_factor", 0.5, fault.Unsupported, "partial"},
		{"num_hidden_layers", 1 << 40, fault.Invalid, "layers"},
		{"num_attention_heads", 0, fault.Invalid, "heads"},
		{"num_hidden_layers", 3, fault.Invalid, "damaged"},
		{"num_hidden_layers", 1, fault.Unsupported, "layers.1"},
		{"intermediate_size", 64, fault.Invalid, "damaged"},
		{"vocab_size", 200, fault.Invalid, "outside"},
		{"hidden_size", "32", fault.Invalid, "damaged"},
		{"tie_word_embeddings", false, fault.Invalid, "damaged"},
	} {
		cfg := map[string]any{}
		raw, _ := os.ReadFile(filepath.Join(good, fileConfig))
		if err := json.Unmarshal(raw, &cfg); err != nil {
			t.Fatal(err)
		}
		cfg[c.key] = c.value
		if c.value == 200 {
			c.word = "tokenizer"
		}
		dir := copyOf(t, good)
		raw, _ = json.Marshal(cfg)
		if err := os.WriteFile(filepath.Join(dir, fileConfig), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s=%v: %v", c.key, c.value, err)
		}
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestReadNewRopeForm(t *testing.T) {
	var f configFile
	raw := `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":32,"intermediate_size":48,"num_hidden_layers":1,
		"num_attention_heads":2,"vocab_size":300,"rope_parameters":{"rope_type":"default","rope_theta":5e5},"eos_token_id":[5,6]}`
	if err := json.Unmarshal([]byte(raw), &f); err != nil {
		t.Fatal(err)
	}
	got, err := f.native()
	want := native.Config{VocabSize: 300, Dim: 32, Layers: 1, Heads: 2, KVHeads: 2, HeadDim: 16, FFN: 48, MaxContext: 2048, RopeTheta: 5e5,
		NormEps: 1e-6, BOS: -1, EOS: 5, PAD: -1, Arch: "llama"}
	if err != nil || got != want {
		t.Fatalf("%v\n%s", err, cmp.Diff(want, got))
	}
}

func TestMissingAndDamagedFiles(t *testing.T) {
	good := filepath.Join(t.TempDir(), "m")
	if err := Write(good, model(t, true), "f32"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fileConfig, fileTokenizer, fileWeights} {
		dir := copyOf(t, good)
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s as a folder: %v", name, err)
		}
	}
	for _, name := range []string{fileConfig, fileTokenizer, fileWeights, fileTokConfig, fileGeneration} {
		dir := copyOf(t, good)
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-3); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s cut short: %v", name, err)
		}
	}
}

func TestChatTemplateFiles(t *testing.T) {
	good := filepath.Join(t.TempDir(), "m")
	m := model(t, true)
	if err := Write(good, m, "f32"); err != nil {
		t.Fatal(err)
	}
	list := copyOf(t, good)
	raw, _ := json.Marshal(map[string]any{"chat_template": []map[string]string{{"name": "tool_use", "template": "x"}, {"name": "default", "template": m.Chat.Jinja()}}})
	if err := os.WriteFile(filepath.Join(list, fileTokConfig), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(list); err != nil || !got.Chat.CanRender() {
		t.Errorf("a list of templates: %v", err)
	}
	file := copyOf(t, good)
	if err := os.WriteFile(filepath.Join(file, fileTemplate), []byte("{{ other }}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(file); err != nil || got.Chat.CanRender() || got.Chat.Jinja() != "{{ other }}" {
		t.Errorf("a template of its own file: %v", err)
	}
}
