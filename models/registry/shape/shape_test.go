package shape_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/registry/shape"
	"github.com/triarch-ai/triarch/models/safetensors"
)

// tensors are names with shapes, the outermost dimension first; a type other than BF16 stands before the name with a
// colon.
type tensors map[string][]int64

// linear adds a product's weight and, if it has one, its bias.
func (t tensors) linear(name string, out, in int64, bias bool) {
	t[name+".weight"] = []int64{out, in}
	if bias {
		t[name+".bias"] = []int64{out}
	}
}

func (t tensors) norm(name string, width int64, bias bool) {
	t[name+".weight"] = []int64{width}
	if bias {
		t[name+".bias"] = []int64{width}
	}
}

// encode makes a safetensors file of zeros.
func (t tensors) encode() []byte {
	var head bytes.Buffer
	head.WriteString("{")
	at := int64(0)
	for i, key := range slices.Sorted(maps.Keys(t)) {
		dtype, name, ok := strings.Cut(key, ":")
		if !ok {
			dtype, name = "BF16", key
		}
		n := safetensors.Bits(dtype)
		for _, d := range t[key] {
			n *= d
		}
		dims, _ := json.Marshal(t[key])
		if i > 0 {
			head.WriteString(",")
		}
		fmt.Fprintf(&head, `%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, dtype, dims, at, at+n/8)
		at += n / 8
	}
	head.WriteString("}")
	out := binary.LittleEndian.AppendUint64(nil, uint64(head.Len()))
	return append(append(out, head.Bytes()...), make([]byte, at)...)
}

func folder(t testing.TB, files map[string]string) shape.Dir {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return shape.Dir(dir)
}

// block adds a layer as the Llama family lays it out.
func block(t tensors, at string, d, heads, kv, head, inner int64, bias bool) {
	t.linear(at+"self_attn.q_proj", heads*head, d, bias)
	t.linear(at+"self_attn.k_proj", kv*head, d, bias)
	t.linear(at+"self_attn.v_proj", kv*head, d, bias)
	t.linear(at+"self_attn.o_proj", d, heads*head, false)
	t.norm(at+"input_layernorm", d, false)
	t.norm(at+"post_attention_layernorm", d, false)
	mlp(t, at+"mlp.", d, inner)
}

func mlp(t tensors, at string, d, inner int64) {
	t.linear(at+"gate_proj", inner, d, false)
	t.linear(at+"up_proj", inner, d, false)
	t.linear(at+"down_proj", d, inner, false)
}

// decoder is the tables, the last norm and n layers, each changed by more.
func decoder(n int, d, vocab int64, head bool, layer func(t tensors, at string, i int)) tensors {
	t := tensors{}
	t["model.embed_tokens.weight"] = []int64{vocab, d}
	t.norm("model.norm", d, false)
	if head {
		t["lm_head.weight"] = []int64{vocab, d}
	}
	for i := range n {
		layer(t, fmt.Sprintf("model.layers.%d.", i), i)
	}
	return t
}

const usual = `"hidden_size":24,"num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,"intermediate_size":40,"vocab_size":50,"max_position_embeddings":4096,"tie_word_embeddings":false`

// The tensors of each case are written down as the family's modelling code in huggingface/transformers makes them, the
// shape is counted from its configuration: both must agree to the parameter.
func TestFamilies(t *testing.T) {
	plain := func(bias bool, more func(t tensors, at string, i int)) tensors {
		return decoder(3, 24, 50, true, func(t tensors, at string, i int) {
			block(t, at, 24, 4, 2, 8, 40, bias)
			if more != nil {
				more(t, at, i)
			}
		})
	}
	experts := func(t tensors, at, gate, list string, n int, inner int64) {
		for name := range t {
			if strings.HasPrefix(name, at+"mlp.") {
				delete(t, name)
			}
		}
		t.linear(at+gate, int64(n), 24, false)
		for e := range n {
			mlp(t, fmt.Sprintf("%s%s.%d.", at, list, e), 24, inner)
		}
	}
	latent := func(t tensors, at string, query bool) {
		for name := range t {
			if strings.HasPrefix(name, at+"self_attn.") {
				delete(t, name)
			}
		}
		if query {
			t.linear(at+"self_attn.q_a_proj", 12, 24, false)
			t.norm(at+"self_attn.q_a_layernorm", 12, false)
			t.linear(at+"self_attn.q_b_proj", 4*(8+4), 12, false)
		} else {
			t.linear(at+"self_attn.q_proj", 4*(8+4), 24, false)
		}
		t.linear(at+"self_attn.kv_a_proj_with_mqa", 16+4, 24, false)
		t.norm(at+"self_attn.kv_a_layernorm", 16, false)
		t.linear(at+"self_attn.kv_b_proj", 4*(8+6), 16, false)
		t.linear(at+"self_attn.o_proj", 24, 4*6, false)
	}
	tied := func(t tensors) tensors { delete(t, "lm_head.weight"); return t }
	gpt2 := tensors{"wte.weight": {50, 24}, "wpe.weight": {32, 24}}
	gpt2.norm("ln_f", 24, true)
	neox := tensors{"gpt_neox.embed_in.weight": {50, 24}, "embed_out.weight": {50, 24}}
	neox.norm("gpt_neox.final_layer_norm", 24, true)
	opt := tensors{"model.decoder.embed_tokens.weight": {50, 16}, "model.decoder.embed_positions.weight": {34, 24},
		"model.decoder.project_in.weight": {24, 16}, "model.decoder.project_out.weight": {16, 24}}
	falcon := tensors{"transformer.word_embeddings.weight": {50, 24}, "lm_head.weight": {50, 24}}
	falcon.norm("transformer.ln_f", 24, true)
	grouped := tensors{"transformer.word_embeddings.weight": {50, 24}}
	grouped.norm("transformer.ln_f", 24, true)
	bloom := tensors{"word_embeddings.weight": {50, 24}}
	bloom.norm("word_embeddings_layernorm", 24, true)
	bloom.norm("ln_f", 24, true)
	bert := tensors{"embeddings.word_embeddings.weight": {50, 24}, "embeddings.position_embeddings.weight": {32, 24}, "embeddings.token_type_embeddings.weight": {2, 24},
		"I64:embeddings.position_ids": {1, 32}}
	bert.norm("embeddings.LayerNorm", 24, true)
	bert.linear("pooler.dense", 24, 24, true)
	for i := range 3 {
		at := fmt.Sprintf("h.%d.", i)
		gpt2.norm(at+"ln_1", 24, true)
		gpt2.norm(at+"ln_2", 24, true)
		gpt2.linear(at+"attn.c_attn", 72, 24, true)
		gpt2.linear(at+"attn.c_proj", 24, 24, true)
		gpt2.linear(at+"mlp.c_fc", 96, 24, true)
		gpt2.linear(at+"mlp.c_proj", 24, 96, true)
		gpt2["U8:"+at+"attn.bias"] = []int64{1, 1, 32, 32}
		at = fmt.Sprintf("gpt_neox.layers.%d.", i)
		neox.norm(at+"input_layernorm", 24, true)
		neox.norm(at+"post_attention_layernorm", 24, true)
		neox.linear(at+"attention.query_key_value", 72, 24, true)
		neox.linear(at+"attention.dense", 24, 24, true)
		neox.linear(at+"mlp.dense_h_to_4h", 40, 24, true)
		neox.linear(at+"mlp.dense_4h_to_h", 24, 40, true)
		at = fmt.Sprintf("model.decoder.layers.%d.", i)
		for _, p := range []string{"q", "k", "v", "out"} {
			opt.linear(at+"self_attn."+p+"_proj", 24, 24, true)
		}
		opt.norm(at+"self_attn_layer_norm", 24, true)
		opt.norm(at+"final_layer_norm", 24, true)
		opt.linear(at+"fc1", 40, 24, true)
		opt.linear(at+"fc2", 24, 40, true)
		at = fmt.Sprintf("transformer.h.%d.", i)
		falcon.norm(at+"input_layernorm", 24, true)
		falcon.linear(at+"self_attention.query_key_value", 24+2*6, 24, false)
		grouped.norm(at+"ln_attn", 24, true)
		grouped.norm(at+"ln_mlp", 24, true)
		grouped.linear(at+"self_attention.query_key_value", 24+2*2*6, 24, false)
		for _, f := range []tensors{falcon, grouped} {
			f.linear(at+"self_attention.dense", 24, 24, false)
			f.linear(at+"mlp.dense_h_to_4h", 96, 24, false)
			f.linear(at+"mlp.dense_4h_to_h", 24, 96, false)
		}
		at = fmt.Sprintf("h.%d.", i)
		bloom.norm(at+"input_layernorm", 24, true)
		bloom.norm(at+"post_attention_layernorm", 24, true)
		bloom.linear(at+"self_attention.query_key_value", 72, 24, true)
		bloom.linear(at+"self_attention.dense", 24, 24, true)
		bloom.linear(at+"mlp.dense_h_to_4h", 96, 24, true)
		bloom.linear(at+"mlp.dense_4h_to_h", 24, 96, true)
		at = fmt.Sprintf("encoder.layer.%d.", i)
		for _, p := range []string{"self.query", "self.key", "self.value", "output.dense"} {
			bert.linear(at+"attention."+p, 24, 24, true)
		}
		bert.norm(at+"attention.output.LayerNorm", 24, true)
		bert.linear(at+"intermediate.dense", 40, 24, true)
		bert.linear(at+"output.dense", 24, 40, true)
		bert.norm(at+"output.LayerNorm", 24, true)
	}
	for _, c := range []struct {
		name, config string
		tensors      tensors
		note         string // a part of the one note there is; empty: none
		cache        float64
	}{
		{"llama", `{"model_type":"llama",` + usual + `}`, plain(false, nil), "", 3 * 2 * 2 * 8 * 1000},
		{"llama with biases", `{"model_type":"llama","attention_bias":true,"mlp_bias":true,` + usual + `}`, plain(true, func(t tensors, at string, _ int) {
			t[at+"self_attn.o_proj.bias"], t[at+"mlp.gate_proj.bias"], t[at+"mlp.up_proj.bias"], t[at+"mlp.down_proj.bias"] = []int64{24}, []int64{40}, []int64{40}, []int64{24}
			t["F32:"+at+"self_attn.rotary_emb.inv_freq"] = []int64{4}
		}), "", 3 * 2 * 2 * 8 * 1000},
		{"mistral with a window", `{"model_type":"mistral","sliding_window":100,` + usual + `}`, plain(false, nil), "", 3 * 2 * 2 * 8 * 100},
		{"phi3", `{"model_type":"phi3","sliding_window":null,` + usual + `}`, plain(false, nil), "", 3 * 2 * 2 * 8 * 1000},
		{"granite, tied", `{"model_type":"granite",` + strings.Replace(usual, "false", "true", 1) + `}`, tied(plain(false, nil)), "", 3 * 2 * 2 * 8 * 1000},
		{"tied with a copy of the table", `{"model_type":"llama",` + strings.Replace(usual, "false", "true", 1) + `}`, plain(false, nil), "", 3 * 2 * 2 * 8 * 1000},
		{"mixtral", `{"model_type":"mixtral","num_local_experts":4,"num_experts_per_tok":2,"sliding_window":null,` + usual + `}`, plain(false, func(t tensors, at string, _ int) {
			experts(t, at, "block_sparse_moe.gate", "block_sparse_moe.experts", 4, 40)
		}), "", 3 * 2 * 2 * 8 * 1000},
		{"qwen2", `{"model_type":"qwen2","use_sliding_window":false,"sliding_window":100,` + usual + `}`, plain(true, nil), "", 3 * 2 * 2 * 8 * 1000},
		{"qwen2 of vectors", `{"model_type":"qwen2","architectures":["Qwen2Model"],` + usual + `}`, tied(plain(true, nil)), "", 3 * 2 * 2 * 8 * 1000},
		{"qwen2_moe", `{"model_type":"qwen2_moe","num_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":8,"shared_expert_intermediate_size":20,` + usual + `}`,
			plain(true, func(t tensors, at string, _ int) {
				experts(t, at, "mlp.gate", "mlp.experts", 4, 8)
				mlp(t, at+"mlp.shared_expert.", 24, 20)
				t.linear(at+"mlp.shared_expert_gate", 1, 24, false)
			}), "", 3 * 2 * 2 * 8 * 1000},
		{"qwen3", `{"model_type":"qwen3",` + usual + `}`, plain(false, qknorm), "", 3 * 2 * 2 * 8 * 1000},
		{"qwen3_moe with a dense layer", `{"model_type":"qwen3_moe","num_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":8,"mlp_only_layers":[1],` + usual + `}`,
			plain(false, func(t tensors, at string, i int) {
				qknorm(t, at, i)
				if i != 1 {
					experts(t, at, "mlp.gate", "mlp.experts", 4, 8)
				}
			}), "", 3 * 2 * 2 * 8 * 1000},
		{"deepseek_v2 without ranks of queries", `{"model_type":"deepseek_v2","q_lora_rank":null,"kv_lora_rank":16,"qk_nope_head_dim":8,"qk_rope_head_dim":4,"v_head_dim":6,
			"n_routed_experts":4,"num_experts_per_tok":2,"n_shared_experts":2,"moe_intermediate_size":8,"first_k_dense_replace":1,"topk_method":"greedy",` + usual + `}`,
			plain(false, func(t tensors, at string, i int) {
				latent(t, at, false)
				if i > 0 {
					experts(t, at, "mlp.gate", "mlp.experts", 4, 8)
					mlp(t, at+"mlp.shared_experts.", 24, 16)
				}
			}), "", 3 * (16 + 4) * 1000},
		{"deepseek_v3 with a layer for further tokens", `{"model_type":"deepseek_v3","q_lora_rank":12,"kv_lora_rank":16,"qk_nope_head_dim":8,"qk_rope_head_dim":4,"v_head_dim":6,
			"n_routed_experts":4,"num_experts_per_tok":2,"n_shared_experts":1,"moe_intermediate_size":8,"first_k_dense_replace":1,` + usual + `}`,
			func() tensors {
				t := plain(false, func(t tensors, at string, i int) {
					latent(t, at, true)
					if i > 0 {
						experts(t, at, "mlp.gate", "mlp.experts", 4, 8)
						mlp(t, at+"mlp.shared_experts.", 24, 8)
						t["F32:"+at+"mlp.gate.e_score_correction_bias"] = []int64{4}
					}
				})
				t["model.layers.3.eh_proj.weight"] = []int64{24, 48}
				return t
			}(), "1152 parameters are layers that predict further tokens", 3 * (16 + 4) * 1000},
		{"gemma", `{"model_type":"gemma",` + strings.Replace(usual, `,"tie_word_embeddings":false`, "", 1) + `}`, tied(plain(false, nil)), "", 3 * 2 * 2 * 8 * 1000},
		{"gemma2", `{"model_type":"gemma2","sliding_window":100,` + strings.Replace(usual, `,"tie_word_embeddings":false`, "", 1) + `}`, tied(plain(false, gemmaNorms)), "",
			2 * 2 * 8 * (2*100 + 1000)},
		{"gemma3 with eyes", `{"model_type":"gemma3","architectures":["Gemma3ForConditionalGeneration"],"vision_config":{"hidden_size":12},"text_config":{"model_type":"gemma3_text","sliding_window":100,` +
			strings.Replace(usual, `,"tie_word_embeddings":false`, "", 1) + `}}`, func() tensors {
			out := tensors{"vision_tower.vision_model.post_layernorm.weight": {12}, "multi_modal_projector.mm_input_projection_weight": {12, 24}}
			for name, dims := range tied(plain(false, func(t tensors, at string, i int) { qknorm(t, at, i); gemmaNorms(t, at, i) })) {
				out["language_model."+name] = dims
			}
			return out
		}(), "multi_modal_projector", 2 * 2 * 8 * 3 * 100},
		{"gpt2", `{"model_type":"gpt2","n_layer":3,"n_embd":24,"n_head":4,"n_positions":32,"vocab_size":50}`, gpt2, "", 3 * 2 * 24 * 1000},
		{"gpt_neox", `{"model_type":"gpt_neox",` + usual + `}`, neox, "", 3 * 2 * 24 * 1000},
		{"opt with a narrow table", `{"model_type":"opt","num_hidden_layers":3,"hidden_size":24,"num_attention_heads":4,"ffn_dim":40,"vocab_size":50,"max_position_embeddings":32,
			"word_embed_proj_dim":16,"do_layer_norm_before":false}`, opt, "", 3 * 2 * 24 * 1000},
		{"falcon of one key", `{"model_type":"falcon","num_hidden_layers":3,"hidden_size":24,"num_attention_heads":4,"vocab_size":50,"multi_query":true,"parallel_attn":true,"bias":false}`, falcon, "",
			3 * 2 * 6 * 1000},
		{"falcon, the new one", `{"model_type":"falcon","num_hidden_layers":3,"hidden_size":24,"num_attention_heads":4,"num_kv_heads":2,"vocab_size":50,"new_decoder_architecture":true}`, grouped, "",
			3 * 2 * 2 * 6 * 1000},
		{"bloom", `{"model_type":"bloom","n_layer":3,"hidden_size":24,"n_head":4,"vocab_size":50}`, bloom, "", 3 * 2 * 24 * 1000},
		{"glm4", `{"model_type":"glm4","attention_bias":true,` + usual + `}`, plain(true, func(t tensors, at string, _ int) {
			t.norm(at+"post_self_attn_layernorm", 24, false)
			t.norm(at+"post_mlp_layernorm", 24, false)
		}), "", 3 * 2 * 2 * 8 * 1000},
		{"olmo2", `{"model_type":"olmo2",` + usual + `}`, plain(false, func(t tensors, at string, _ int) {
			t.norm(at+"self_attn.q_norm", 4*8, false)
			t.norm(at+"self_attn.k_norm", 2*8, false)
		}), "", 3 * 2 * 2 * 8 * 1000},
		{"gpt_oss", `{"model_type":"gpt_oss","num_local_experts":4,"num_experts_per_tok":2,"sliding_window":100,"quantization_config":{"quant_method":"mxfp4"},` + usual + `}`,
			plain(true, func(t tensors, at string, _ int) {
				for name := range t {
					if strings.HasPrefix(name, at+"mlp.") {
						delete(t, name)
					}
				}
				t[at+"self_attn.o_proj.bias"], t[at+"self_attn.sinks"] = []int64{24}, []int64{4}
				t.linear(at+"mlp.router", 4, 24, true)
				t[at+"mlp.experts.gate_up_proj_bias"], t[at+"mlp.experts.down_proj_bias"] = []int64{4, 80}, []int64{4, 24}
				t["U8:"+at+"mlp.experts.gate_up_proj_blocks"], t["U8:"+at+"mlp.experts.gate_up_proj_scales"] = []int64{4, 80, 1, 12}, []int64{4, 80, 1}
				t["U8:"+at+"mlp.experts.down_proj_blocks"], t["U8:"+at+"mlp.experts.down_proj_scales"] = []int64{4, 24, 2, 10}, []int64{4, 24, 2}
			}), "", 2 * 2 * 8 * (2*100 + 1000)},
		{"bert", `{"model_type":"bert","hidden_size":24,"num_hidden_layers":3,"num_attention_heads":4,"intermediate_size":40,"vocab_size":50,"max_position_embeddings":32}`, bert, "600 parameters are no part of the text model: pooler", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := shape.Read(folder(t, map[string]string{"config.json": c.config, "model.safetensors": string(c.tensors.encode())}))
			if err != nil {
				t.Fatal(err)
			}
			if r.Transformer == nil {
				t.Fatal(r.Unknown)
			}
			all := strings.Join(r.Notes, "\n")
			if c.note == "" && all != "" || !strings.Contains(all, c.note) || strings.Contains(all, "the files hold") {
				t.Errorf("notes %q", r.Notes)
			}
			if got := r.Transformer.Cached(1000); got != c.cache {
				t.Errorf("a cache of %g numbers, want %g", got, c.cache)
			}
			if r.Params < r.Transformer.Parameters() || r.PerWeight() <= 0 {
				t.Errorf("%d parameters, %d of text", r.Params, r.Transformer.Parameters())
			}
		})
	}
}

func qknorm(t tensors, at string, _ int) {
	t.norm(at+"self_attn.q_norm", 8, false)
	t.norm(at+"self_attn.k_norm", 8, false)
}

func gemmaNorms(t tensors, at string, _ int) {
	t.norm(at+"pre_feedforward_layernorm", 24, false)
	t.norm(at+"post_feedforward_layernorm", 24, false)
}

func TestQuantised(t *testing.T) {
	pack := func(suffix, dtype string, of func(out, in int64) []int64, more func(t tensors, base string, out, in int64)) tensors {
		t := decoder(3, 24, 50, true, func(t tensors, at string, _ int) { block(t, at, 24, 4, 2, 8, 40, false) })
		for name, dims := range maps.Clone(t) {
			if base, ok := strings.CutSuffix(name, "_proj.weight"); ok {
				delete(t, name)
				base += "_proj"
				t[dtype+":"+base+suffix] = of(dims[0], dims[1])
				more(t, base, dims[0], dims[1])
			}
		}
		return t
	}
	for _, c := range []struct {
		name, config, says string
		tensors            tensors
	}{
		{"gptq", `{"quant_method":"gptq","bits":4}`, "gptq, 4 bits", pack(".qweight", "I32", func(out, in int64) []int64 { return []int64{in / 8, out} }, func(t tensors, base string, out, in int64) {
			t["I32:"+base+".qzeros"], t["F16:"+base+".scales"], t["I32:"+base+".g_idx"] = []int64{1, out / 8}, []int64{1, out}, []int64{in}
		})},
		{"fp8", `{"quant_method":"fp8"}`, "fp8", pack(".weight", "F8_E4M3", func(out, in int64) []int64 { return []int64{out, in} }, func(t tensors, base string, _, _ int64) {
			t["F32:"+base+".weight_scale_inv"] = []int64{1, 1}
		})},
		{"bitsandbytes", `{"quant_method":"bitsandbytes","load_in_4bit":true}`, "bitsandbytes, 4 bits", pack(".weight", "U8", func(out, in int64) []int64 { return []int64{out * in / 2, 1} }, func(t tensors, base string, out, in int64) {
			t["F32:"+base+".weight.absmax"], t["F32:"+base+".weight.quant_map"], t["U8:"+base+".weight.quant_state.bitsandbytes__nf4"] = []int64{out * in / 8}, []int64{16}, []int64{80}
		})},
		{"compressed", `{"quant_method":"compressed-tensors","config_groups":{"group_0":{"weights":{"num_bits":8}}}}`, "compressed-tensors, 8 bits",
			pack(".weight_packed", "I32", func(out, in int64) []int64 { return []int64{out, in / 4} }, func(t tensors, base string, out, _ int64) {
				t["BF16:"+base+".weight_scale"], t["I64:"+base+".weight_shape"] = []int64{out, 1}, []int64{2}
			})},
	} {
		r, err := shape.Read(folder(t, map[string]string{"model.safetensors": string(c.tensors.encode()),
			"config.json": `{"model_type":"llama","quantization_config":` + c.config + `,` + usual + `}`}))
		if err != nil {
			t.Fatal(err)
		}
		if r.Quantisation != c.says || len(r.Notes) > 0 || r.Transformer == nil || r.Params != r.Transformer.Parameters() {
			t.Errorf("%s: %q, notes %q, %d parameters, %s", c.name, r.Quantisation, r.Notes, r.Params, r.Unknown)
		}
	}
	odd := pack(".weight", "I32", func(out, in int64) []int64 { return []int64{out, in / 8} }, func(tensors, string, int64, int64) {})
	r, err := shape.Read(folder(t, map[string]string{"model.safetensors": string(odd.encode()), "config.json": `{"model_type":"llama","quantization_config":{"quant_method":"odd"},` + usual + `}`}))
	if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "not known") || r.Params != r.Transformer.Parameters() {
		t.Errorf("%+v, %v", r, err)
	}
}

// What disagrees is told, what is not known is kept with its reason, what is damaged or no model is refused.
func TestOutcomes(t *testing.T) {
	good := string(decoder(3, 24, 50, true, func(t tensors, at string, _ int) { block(t, at, 24, 4, 2, 8, 40, false) }).encode())
	for _, c := range []struct {
		name, unknown, note, refused string
		files                        map[string]string
	}{
		{"disagreement", "", "the files hold", "", map[string]string{"config.json": `{"model_type":"llama",` + strings.Replace(usual, `"num_hidden_layers":3`, `"num_hidden_layers":4`, 1) + `}`, "model.safetensors": good}},
		{"another family", `"mamba2"`, "", "", map[string]string{"config.json": `{"model_type":"mamba2"}`, "model.safetensors": good}},
		{"no family", "model_type", "", "", map[string]string{"config.json": `{}`, "model.safetensors": good}},
		{"a missing field", "num_local_experts is missing", "", "", map[string]string{"config.json": `{"model_type":"mixtral",` + usual + `}`, "model.safetensors": good}},
		{"a field of text", "hidden_size is no whole number", "", "", map[string]string{"config.json": `{"model_type":"qwen2",` + strings.Replace(usual, `"hidden_size":24`, `"hidden_size":"wide"`, 1) + `}`, "model.safetensors": good}},
		{"a list of heads", "num_key_value_heads is no whole number", "", "", map[string]string{"config.json": `{"model_type":"llama","num_key_value_heads":[1,2]}`, "model.safetensors": good}},
		{"below zero", "hidden_size is -5", "", "", map[string]string{"config.json": `{"model_type":"qwen2",` + strings.Replace(usual, `"hidden_size":24`, `"hidden_size":-5`, 1) + `}`, "model.safetensors": good}},
		{"beyond all", "1000000000000", "", "", map[string]string{"config.json": `{"model_type":"qwen2","num_hidden_layers":1000000000000}`, "model.safetensors": good}},
		{"impossible heads", "kv_heads", "", "", map[string]string{"config.json": `{"model_type":"llama",` + strings.Replace(usual, `"num_key_value_heads":2`, `"num_key_value_heads":3`, 1) + `}`, "model.safetensors": good}},
		{"a broken configuration", "", "", "config.json", map[string]string{"config.json": `{"model_type":`, "model.safetensors": good}},
		{"broken weights", "", "", "model.safetensors", map[string]string{"config.json": `{"model_type":"llama"}`, "model.safetensors": good[:len(good)-1]}},
		{"an index that lies", "", "", "model.safetensors.index.json", map[string]string{"config.json": `{"model_type":"llama"}`, "model.safetensors": good,
			"model.safetensors.index.json": `{"weight_map":{"a":"../model.safetensors"}}`}},
		{"twice", "", "", "b.safetensors", map[string]string{"config.json": `{"model_type":"llama"}`, "a.safetensors": good, "b.safetensors": good}},
		{"no weights", "", "", "config.json", map[string]string{"config.json": `{"model_type":"llama"}`}},
		{"pickled", "", "", "config.json", map[string]string{"config.json": `{"model_type":"llama"}`, "pytorch_model.bin": "x"}},
		{"an adapter", "", "", "config.json", map[string]string{"adapter_config.json": `{}`, "adapter_model.safetensors": good}},
		{"nothing", "", "", "config.json", nil},
	} {
		r, err := shape.Read(folder(t, c.files))
		switch {
		case c.refused != "":
			if !fault.Is(err, fault.Invalid) || fault.As(err).Field != c.refused {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.unknown != "" && (r.Transformer != nil || !strings.Contains(r.Unknown, c.unknown) || r.Params == 0 || r.Bytes == 0):
			t.Errorf("%s: %+v", c.name, r)
		case c.note != "" && (len(r.Notes) != 1 || !strings.Contains(r.Notes[0], c.note)):
			t.Errorf("%s: %q", c.name, r.Notes)
		}
	}
}
