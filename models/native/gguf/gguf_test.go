package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

func model(t testing.TB, tied bool) *hf.Model {
	t.Helper()
	tk, err := tokenizer.Train(slices.Values([]string{"the model reads the text, 模型读文字", "the text"}), 290, tokenizer.Specials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	chat, err := tokenizer.NewChat(tk)
	if err != nil {
		t.Fatal(err)
	}
	c := native.Config{VocabSize: 300, Dim: 24, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 6, FFN: 40, MaxContext: 64,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: tied, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}
	return &hf.Model{Weights: native.NewWeights(c, 3), Tokenizer: tk, Chat: chat}
}

// parsed is a file read back by the plain reader below, which shares nothing with the writer.
type parsed struct {
	meta    map[string]any
	tensors map[string][]float32
	shapes  map[string][]uint64
}

type reader struct {
	t *testing.T
	b []byte
	i int
}

func (r *reader) take(n int) []byte {
	if r.i+n > len(r.b) {
		r.t.Fatalf("the file ends at %d, wanted %d more", len(r.b), n)
	}
	r.i += n
	return r.b[r.i-n : r.i]
}
func (r *reader) u32() uint32  { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64  { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) text() string { return string(r.take(int(r.u64()))) }
func (r *reader) value(kind uint32) any {
	switch kind {
	case 4:
		return r.u32()
	case 5:
		return int32(r.u32())
	case 6:
		return math.Float32frombits(r.u32())
	case 7:
		return r.take(1)[0] == 1
	case 8:
		return r.text()
	case 9:
		kind := r.u32()
		list := make([]any, r.u64())
		for i := range list {
			list[i] = r.value(kind)
		}
		return list
	}
	r.t.Fatalf("type %d", kind)
	return nil
}

func parse(t *testing.T, raw []byte) parsed {
	t.Helper()
	r := &reader{t: t, b: raw}
	if string(r.take(4)) != "GGUF" || r.u32() != 3 {
		t.Fatal("not GGUF 3")
	}
	nt, nk := r.u64(), r.u64()
	p := parsed{map[string]any{}, map[string][]float32{}, map[string][]uint64{}}
	for range nk {
		key := r.text()
		if _, twice := p.meta[key]; twice {
			t.Fatalf("key %s twice", key)
		}
		p.meta[key] = r.value(r.u32())
	}
	offsets := map[string]uint64{}
	for range nt {
		name := r.text()
		shape := make([]uint64, r.u32())
		for i := range shape {
			shape[i] = r.u64()
		}
		if r.u32() != 0 {
			t.Fatalf("%s is not float32", name)
		}
		p.shapes[name], offsets[name] = shape, r.u64()
	}
	start := (uint64(r.i) + 31) / 32 * 32
	for name, off := range offsets {
		n := uint64(1)
		for _, d := range p.shapes[name] {
			n *= d
		}
		if off%32 != 0 || start+off+4*n > uint64(len(raw)) {
			t.Fatalf("%s at %d of %d", name, off, len(raw))
		}
		data := make([]float32, n)
		for i := range data {
			data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[start+off+4*uint64(i):]))
		}
		p.tensors[name] = data
	}
	return p
}

func write(t *testing.T, m *hf.Model) parsed {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, m); err != nil {
		t.Fatal(err)
	}
	return parse(t, b.Bytes())
}

func TestMetadata(t *testing.T) {
	p := write(t, model(t, true))
	for key, want := range map[string]any{
		"general.architecture": "llama", "general.alignment": uint32(32), "llama.block_count": uint32(2),
		"llama.attention.head_count_kv": uint32(2), "llama.attention.key_length": uint32(6), "llama.rope.dimension_count": uint32(6),
		"llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.rope.freq_base": float32(10000), "llama.context_length": uint32(64),
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.bos_token_id": uint32(1),
		"tokenizer.ggml.eos_token_id": uint32(3), "tokenizer.ggml.padding_token_id": uint32(0), "tokenizer.ggml.add_bos_token": false,
		"tokenizer.ggml.eot_token_id": uint32(3),
	} {
		if p.meta[key] != want {
			t.Errorf("%s is %v, want %v", key, p.meta[key], want)
		}
	}
	tokens, types := p.meta["tokenizer.ggml.tokens"].([]any), p.meta["tokenizer.ggml.token_type"].([]any)
	if len(tokens) != 300 || len(types) != 300 || tokens[3] != "<|im_end|>" || types[3] != int32(3) || types[299] != int32(5) || types[70] != int32(1) {
		t.Fatalf("%d tokens, %d types", len(tokens), len(types))
	}
	known := map[any]bool{}
	for _, tok := range tokens {
		if known[tok] {
			t.Errorf("token %v twice", tok)
		}
		known[tok] = true
	}
	for _, m := range p.meta["tokenizer.ggml.merges"].([]any) {
		a, b, ok := strings.Cut(m.(string), " ")
		if !ok || !known[a] || !known[b] || !known[a+b] {
			t.Errorf("merge %v", m)
		}
	}
	if !strings.Contains(p.meta["tokenizer.chat_template"].(string), "im_start") {
		t.Error("no chat template")
	}
}

func TestTensors(t *testing.T) {
	for _, tied := range []bool{true, false} {
		m := model(t, tied)
		p := write(t, m)
		w := m.Weights
		if _, has := p.tensors["output.weight"]; has == tied || len(p.tensors) != len(w.Tensors()) {
			t.Fatalf("tied=%v: %d tensors", tied, len(p.tensors))
		}
		for name, want := range map[string][]float32{"token_embd.weight": w.Embed, "output_norm.weight": w.Norm,
			"blk.1.ffn_down.weight": w.Layers[1].Down, "blk.0.attn_v.weight": w.Layers[0].V, "blk.1.attn_output.weight": w.Layers[1].O} {
			if !slices.Equal(p.tensors[name], want) {
				t.Errorf("%s differs", name)
			}
		}
		if s := p.shapes["blk.0.ffn_down.weight"]; !slices.Equal(s, []uint64{40, 24}) {
			t.Errorf("shape %v", s)
		}
	}
}

// TestRotationIsTheSame rotates a query in both forms: halves with the weights in memory, pairs with those of the
// file. The products of queries with keys, all that attention sees, must agree.
func TestRotationIsTheSame(t *testing.T) {
	m := model(t, true)
	c := m.Weights.Config
	p := write(t, m)
	x := m.Weights.Embed[5*c.Dim : 6*c.Dim]
	angle := func(j, pos int) float64 {
		return float64(pos) * math.Pow(float64(c.RopeTheta), -2*float64(j)/float64(c.HeadDim))
	}
	project := func(w []float32, head, pos int, pairs bool) []float64 {
		v := make([]float64, c.HeadDim)
		for r := range v {
			for i, xi := range x {
				v[r] += float64(w[(head*c.HeadDim+r)*c.Dim+i]) * float64(xi)
			}
		}
		out := slices.Clone(v)
		for j := range c.HeadDim / 2 {
			a, b := j, j+c.HeadDim/2
			if pairs {
				a, b = 2*j, 2*j+1
			}
			sin, cos := math.Sincos(angle(j, pos))
			out[a], out[b] = v[a]*cos-v[b]*sin, v[b]*cos+v[a]*sin
		}
		return out
	}
	dot := func(a, b []float64) (s float64) {
		for i := range a {
			s += a[i] * b[i]
		}
		return s
	}
	l := m.Weights.Layers[1]
	for head := range c.Heads {
		kv := head * c.KVHeads / c.Heads
		halves := dot(project(l.Q, head, 9, false), project(l.K, kv, 4, false))
		pairs := dot(project(p.tensors["blk.1.attn_q.weight"], head, 9, true), project(p.tensors["blk.1.attn_k.weight"], kv, 4, true))
		if math.Abs(halves-pairs) > 1e-12 || math.Abs(halves) < 1e-12 {
			t.Errorf("head %d: %g in halves, %g in pairs", head, halves, pairs)
		}
	}
}

type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

func TestWriteRefuses(t *testing.T) {
	if err := Write(&full{1000}, model(t, true)); err == nil {
		t.Error("a full disk went unnoticed")
	}
	m := model(t, true)
	c := m.Weights.Config
	c.VocabSize = 261
	m.Weights = native.NewWeights(c, 1)
	if err := Write(&bytes.Buffer{}, m); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a tokenizer larger than the model: %v", err)
	}
}
