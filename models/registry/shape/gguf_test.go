package shape_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/registry/shape"
)

// packed writes GGUF files by hand.
type packed struct {
	values  [][2]any
	tensors []packedTensor
}

type packedTensor struct {
	name string
	kind uint32 // 0: F32, 12: Q4_K
	dims []uint64
}

func (p *packed) set(key string, v any) { p.values = append(p.values, [2]any{key, v}) }

func (p *packed) add(name string, kind uint32, dims ...uint64) {
	p.tensors = append(p.tensors, packedTensor{name, kind, dims})
}

func (p *packed) encode() string {
	var b bytes.Buffer
	u32 := func(v uint32) { b.Write(binary.LittleEndian.AppendUint32(nil, v)) }
	u64 := func(v uint64) { b.Write(binary.LittleEndian.AppendUint64(nil, v)) }
	text := func(s string) { u64(uint64(len(s))); b.WriteString(s) }
	b.WriteString("GGUF")
	u32(3)
	u64(uint64(len(p.tensors)))
	u64(uint64(len(p.values)))
	for _, kv := range p.values {
		text(kv[0].(string))
		switch v := kv[1].(type) {
		case int:
			u32(4)
			u32(uint32(v))
		case string:
			u32(8)
			text(v)
		case bool:
			u32(7)
			b.WriteByte(map[bool]byte{true: 1}[v])
		case []int:
			u32(9)
			u32(4)
			u64(uint64(len(v)))
			for _, n := range v {
				u32(uint32(n))
			}
		case []bool:
			u32(9)
			u32(7)
			u64(uint64(len(v)))
			for _, yes := range v {
				b.WriteByte(map[bool]byte{true: 1}[yes])
			}
		case []string:
			u32(9)
			u32(8)
			u64(uint64(len(v)))
			for _, s := range v {
				text(s)
			}
		default:
			panic(fmt.Sprintf("%T", v))
		}
	}
	at := uint64(0)
	for _, t := range p.tensors {
		text(t.name)
		u32(uint32(len(t.dims)))
		n := uint64(4)
		for _, d := range t.dims {
			u64(d)
			n *= d
		}
		if t.kind == 12 {
			n = n / 4 / 256 * 144
		}
		u32(t.kind)
		u64(at)
		at += (n + 31) / 32 * 32
	}
	b.Write(make([]byte, (32-b.Len()%32)%32))
	b.Write(make([]byte, at))
	return b.String()
}

// described is a file of an architecture with the usual values: 2 layers, width 256, 4 heads of 64 that share 2.
func described(arch string) *packed {
	p := &packed{}
	p.set("general.architecture", arch)
	p.set("general.file_type", 15)
	p.set("tokenizer.chat_template", "{{ messages }}")
	p.set("tokenizer.ggml.tokens", []string{"a", "b", "c", "d"})
	for key, v := range map[string]int{"block_count": 2, "embedding_length": 256, "feed_forward_length": 512, "attention.head_count": 4, "attention.head_count_kv": 2, "context_length": 4096} {
		p.set(arch+"."+key, v)
	}
	return p
}

func attention(p *packed, at string, bias bool) {
	p.add(at+"attn_norm.weight", 0, 256)
	p.add(at+"ffn_norm.weight", 0, 256)
	p.add(at+"attn_q.weight", 12, 256, 256)
	p.add(at+"attn_k.weight", 12, 256, 128)
	p.add(at+"attn_v.weight", 12, 256, 128)
	p.add(at+"attn_output.weight", 12, 256, 256)
	if bias {
		p.add(at+"attn_q.bias", 0, 256)
		p.add(at+"attn_k.bias", 0, 128)
		p.add(at+"attn_v.bias", 0, 128)
	}
}

func forward(p *packed, at string) {
	p.add(at+"ffn_gate.weight", 12, 256, 512)
	p.add(at+"ffn_up.weight", 12, 256, 512)
	p.add(at+"ffn_down.weight", 12, 512, 256)
}

func tables(p *packed, head bool) {
	p.add("token_embd.weight", 12, 256, 4)
	p.add("output_norm.weight", 0, 256)
	if head {
		p.add("output.weight", 12, 256, 4)
	}
}

func TestGGUF(t *testing.T) {
	type want struct {
		cache         float64
		tied, bias    bool
		experts       bool
		more          int64
		note, unknown string
	}
	for name, c := range map[string]struct {
		file func() *packed
		want want
	}{
		"llama": {func() *packed {
			p := described("llama")
			tables(p, true)
			for i := range 2 {
				attention(p, fmt.Sprintf("blk.%d.", i), false)
				forward(p, fmt.Sprintf("blk.%d.", i))
			}
			p.add("rope_freqs.weight", 0, 32)
			return p
		}, want{cache: 2 * 2 * 2 * 64 * 1000}},
		"qwen2, tied, with biases": {func() *packed {
			p := described("qwen2")
			tables(p, false)
			for i := range 2 {
				attention(p, fmt.Sprintf("blk.%d.", i), true)
				forward(p, fmt.Sprintf("blk.%d.", i))
			}
			return p
		}, want{cache: 2 * 2 * 2 * 64 * 1000, tied: true, bias: true}},
		"gemma3 with windows in a list": {func() *packed {
			p := described("gemma3")
			p.set("gemma3.attention.sliding_window", 100)
			p.set("gemma3.attention.sliding_window_pattern", []bool{true, false})
			tables(p, false)
			for i := range 2 {
				at := fmt.Sprintf("blk.%d.", i)
				attention(p, at, false)
				forward(p, at)
				p.add(at+"attn_q_norm.weight", 0, 64)
				p.add(at+"attn_k_norm.weight", 0, 64)
				p.add(at+"post_attention_norm.weight", 0, 256)
				p.add(at+"post_ffw_norm.weight", 0, 256)
			}
			return p
		}, want{cache: 2 * 2 * 64 * (1000 + 100), tied: true, more: 4 * 256}},
		"qwen3moe": {func() *packed {
			p := described("qwen3moe")
			p.set("qwen3moe.expert_count", 4)
			p.set("qwen3moe.expert_used_count", 2)
			p.set("qwen3moe.expert_feed_forward_length", 256)
			tables(p, true)
			for i := range 2 {
				at := fmt.Sprintf("blk.%d.", i)
				attention(p, at, false)
				p.add(at+"ffn_gate_inp.weight", 0, 256, 4)
				p.add(at+"ffn_gate_exps.weight", 12, 256, 256, 4)
				p.add(at+"ffn_up_exps.weight", 12, 256, 256, 4)
				p.add(at+"ffn_down_exps.weight", 12, 256, 256, 4)
			}
			return p
		}, want{cache: 2 * 2 * 2 * 64 * 1000, experts: true}},
		"a layer for further tokens": {func() *packed {
			p := described("glm4")
			p.set("glm4.nextn_predict_layers", 1)
			tables(p, true)
			attention(p, "blk.0.", false)
			forward(p, "blk.0.")
			attention(p, "blk.1.", false)
			forward(p, "blk.1.")
			return p
		}, want{cache: 2 * 2 * 64 * 1000, note: "predict further tokens"}},
		"another count than it tells": {func() *packed {
			p := described("llama")
			tables(p, true)
			attention(p, "blk.1.", false)
			forward(p, "blk.1.")
			return p
		}, want{cache: 2 * 2 * 2 * 64 * 1000, note: "the files hold"}},
		"state space": {func() *packed {
			p := described("mamba")
			p.set("mamba.ssm.state_size", 16)
			tables(p, true)
			return p
		}, want{unknown: "more than a transformer"}},
		"heads that differ": {func() *packed {
			p := described("openelm")
			p.values = p.values[:4]
			for key, v := range map[string]any{"block_count": 2, "embedding_length": 256, "attention.head_count": []int{2, 4}} {
				p.set("openelm."+key, v)
			}
			tables(p, true)
			return p
		}, want{unknown: "differs from layer to layer"}},
		"nothing said": {func() *packed {
			p := &packed{}
			tables(p, true)
			return p
		}, want{unknown: "no architecture"}},
		"sizes that cannot be": {func() *packed {
			p := described("llama")
			p.set("llama.expert_count", math.MaxInt32)
			tables(p, true)
			return p
		}, want{unknown: "expert_count is 2147483647"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := shape.Read(folder(t, map[string]string{"model.gguf": c.file().encode()}))
			if err != nil {
				t.Fatal(err)
			}
			if c.want.unknown != "" {
				if r.Transformer != nil || !strings.Contains(r.Unknown, c.want.unknown) || r.Bytes == 0 {
					t.Errorf("%+v", r)
				}
				return
			}
			if r.Transformer == nil {
				t.Fatal(r.Unknown)
			}
			s := *r.Transformer
			all := strings.Join(r.Notes, "\n")
			if c.want.note == "" && (all != "" || s.Parameters() != r.Params) || !strings.Contains(all, c.want.note) {
				t.Errorf("notes %q, %d parameters of %d", r.Notes, s.Parameters(), r.Params)
			}
			if s.Cached(1000) != c.want.cache || s.Tied != c.want.tied || s.QKVBias != c.want.bias || (s.Experts != nil) != c.want.experts || s.More != c.want.more && c.want.note == "" {
				t.Errorf("%+v, a cache of %g", s, s.Cached(1000))
			}
			if r.Quantisation != "Q4_K_M" || !r.Chat || r.Context != 4096 || r.Vocab != 4 || r.DType() != "q4_k" {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestSplitGGUF(t *testing.T) {
	part := func(no, count, all int, fill func(p *packed)) string {
		p := &packed{}
		if no == 0 {
			p = described("llama")
		}
		p.set("split.no", no)
		p.set("split.count", count)
		p.set("split.tensors.count", all)
		fill(p)
		return p.encode()
	}
	first := part(0, 2, 21, func(p *packed) { tables(p, true); attention(p, "blk.0.", false); forward(p, "blk.0.") })
	second := part(1, 2, 21, func(p *packed) { attention(p, "blk.1.", false); forward(p, "blk.1.") })
	name := func(i, n int) string { return fmt.Sprintf("m-%05d-of-%05d.gguf", i, n) }
	r, err := shape.Read(folder(t, map[string]string{name(1, 2): first, name(2, 2): second, "mmproj-m.gguf": "not read"}))
	if err != nil || r.Transformer == nil || r.Transformer.Parameters() != r.Params || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "mmproj") {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, files := range map[string]map[string]string{
		"one is missing":      {name(1, 2): first},
		"in the wrong order":  {name(1, 2): second, name(2, 2): first},
		"one twice":           {name(1, 2): first, name(2, 2): first},
		"fewer tensors":       {name(1, 2): part(0, 2, 30, func(p *packed) { tables(p, true) }), name(2, 2): second},
		"two models":          {"a.gguf": first, "b.gguf": first},
		"only what is beside": {"mmproj-a.gguf": first},
		"no tensor":           {"a.gguf": described("llama").encode()},
		"no such file":        {"a.gguf": "GGUF and no more"},
	} {
		if _, err := shape.Read(folder(t, files)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// memory is a folder in memory.
type memory map[string][]byte

func (m memory) Names() (names []string, err error) {
	for name := range m {
		names = append(names, name)
	}
	return names, nil
}

type open struct{ *bytes.Reader }

func (open) Close() error { return nil }

func (m memory) Open(name string) (shape.File, int64, error) {
	return open{bytes.NewReader(m[name])}, int64(len(m[name])), nil
}

// sane holds a report against itself.
func sane(t *testing.T, r *shape.Report) {
	if (r.Transformer == nil) != (r.Unknown != "") || r.Params < 0 || r.Bytes < 0 || r.Context < 0 || r.Vocab < 0 {
		t.Fatalf("%+v", r)
	}
	if s := r.Transformer; s != nil {
		if refused := s.Check(); refused != nil || s.Parameters() < 1 || !(s.Cached(1e6) >= 0) || s.Active() > s.Parameters() {
			t.Fatalf("%+v: %v", s, refused)
		}
	}
}

func FuzzConfig(f *testing.F) {
	weights := tensors{"model.embed_tokens.weight": {4, 8}, "model.layers.1.self_attn.q_proj.weight": {8, 8}}.encode()
	for _, kind := range shape.Families() {
		f.Add([]byte(`{"model_type":"` + kind + `",` + usual + `}`))
	}
	f.Add([]byte(`{"model_type":"deepseek_v3","kv_lora_rank":16,"qk_nope_head_dim":8,"qk_rope_head_dim":4,"v_head_dim":6,"n_routed_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":8,` + usual + `}`))
	f.Add([]byte(`{"model_type":"qwen3_moe","num_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":8,"mlp_only_layers":[1],"quantization_config":{"quant_method":"gptq","bits":4},` + usual + `}`))
	f.Add([]byte(`{"text_config":{"text_config":{"model_type":"gemma3_text","sliding_window":9,"layer_types":["sliding_attention"]}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := shape.Read(memory{"config.json": raw, "model.safetensors": weights}); err == nil {
			sane(t, r)
		}
	})
}

func FuzzGGUF(f *testing.F) {
	p := described("llama")
	tables(p, true)
	attention(p, "blk.1.", false)
	forward(p, "blk.1.")
	f.Add([]byte(p.encode()))
	p = described("deepseek2")
	for key, v := range map[string]int{"attention.kv_lora_rank": 32, "rope.dimension_count": 16, "attention.key_length": 48, "attention.value_length": 32, "expert_count": 4, "expert_used_count": 2,
		"expert_feed_forward_length": 64, "leading_dense_block_count": 1} {
		p.set("deepseek2."+key, v)
	}
	tables(p, true)
	f.Add([]byte(p.encode()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := shape.Read(memory{"a.gguf": raw}); err == nil {
			sane(t, r)
		}
	})
}
