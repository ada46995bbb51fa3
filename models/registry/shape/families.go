package shape

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/perf"
)

// family reads the shape of one family of models from its configuration.
type family func(f *fields) perf.Shape

// families are the families by model_type. What each has beyond a plain Llama block is in huggingface/transformers,
// src/transformers/models, in the folder of its name.
var families = map[string]family{
	"llama": llama, "mistral": plain, "phi3": plain, "ministral": plain, "granite": llama,
	"mixtral": mixtral,
	"qwen2":   qwen2, "qwen2_vl": qwen2, "qwen2_5_vl": qwen2, "qwen2_vl_text": qwen2, "qwen2_5_vl_text": qwen2,
	"qwen2_moe": qwen2moe,
	"qwen3":     qwen3, "qwen3_vl_text": qwen3,
	"qwen3_moe": qwen3moe, "qwen3_vl_moe_text": qwen3moe,
	"deepseek_v2": deepseek, "deepseek_v3": deepseek, "kimi_k2": deepseek,
	"gemma": gemma, "gemma2": gemma2, "gemma3_text": gemma3,
	"gpt2": gpt2, "gpt_neox": neox, "opt": opt, "falcon": falcon, "bloom": bloom,
	"glm": glm, "glm4": glm4, "olmo2": olmo2, "gpt_oss": gptOSS,
	"bert": bert, "roberta": bert, "xlm-roberta": bert, "camembert": bert,
}

// Families lists the families whose shapes are read.
func Families() []string { return slices.Sorted(maps.Keys(families)) }

// common is what nearly all families have under the same names.
func common(f *fields, tied bool) perf.Shape {
	s := perf.Shape{Layers: f.need("num_hidden_layers"), Width: f.need("hidden_size"), Heads: f.need("num_attention_heads"),
		Inner: f.need("intermediate_size"), Vocab: f.need("vocab_size"), Tied: f.flag(tied, "tie_word_embeddings")}
	s.KVHeads = f.or(s.Heads, "num_key_value_heads")
	s.Head = f.or(s.Width/s.Heads, "head_dim")
	return s
}

// fill puts in what a configuration leaves out because it is what its class has.
func fill(f *fields, defaults map[string]int) {
	for name, n := range defaults {
		if !f.has(name) {
			f.m[name] = fmt.Append(nil, n)
		}
	}
}

func layers(s *perf.Shape) int64 { return int64(s.Layers) }

// norms adds so many norms to each layer.
func norms(s *perf.Shape, n int) { s.More += int64(n) * layers(s) * int64(s.Width) }

// outBias adds a bias of attention's output to that of queries, keys and values.
func outBias(s *perf.Shape) {
	s.QKVBias = true
	s.More += layers(s) * int64(s.Width)
}

// window says which layers see a window alone: those that layer_types names, or else so many.
func window(f *fields, s *perf.Shape, local int) {
	n, told := f.sliding()
	if told {
		local = n
	}
	w, ok := f.number("sliding_window")
	if !ok || w == 0 || local == 0 || w >= f.or(most, "max_position_embeddings") {
		return
	}
	s.Window, s.Local = w, min(local, s.Layers)
}

// plain is a Llama block without biases, perhaps with a window.
func plain(f *fields) perf.Shape {
	s := common(f, false)
	window(f, &s, s.Layers)
	return s
}

func llama(f *fields) perf.Shape {
	fill(f, map[string]int{"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
	s := common(f, false)
	if f.flag(false, "attention_bias") {
		outBias(&s)
	}
	if f.flag(false, "mlp_bias") {
		s.More += layers(&s) * int64(2*s.Inner+s.Width)
	}
	return s
}

func mixtral(f *fields) perf.Shape {
	s := plain(f)
	s.Experts = &perf.Experts{Count: f.need("num_local_experts"), Active: f.need("num_experts_per_tok"), Width: s.Inner}
	s.Inner = 0
	return s
}

func qwen2(f *fields) perf.Shape {
	s := common(f, false)
	s.QKVBias = true
	if f.flag(false, "use_sliding_window") {
		window(f, &s, s.Layers-min(s.Layers, f.or(s.Layers, "max_window_layers")))
	}
	return s
}

// sparse are the experts of Qwen's mixtures; shared is the width of the expert that all tokens use, 0 for none.
func sparse(f *fields, s *perf.Shape, shared int) {
	e := &perf.Experts{Count: f.need("num_experts"), Active: f.need("num_experts_per_tok"), Width: f.need("moe_intermediate_size")}
	step := max(1, f.or(1, "decoder_sparse_step"))
	e.Dense = min(s.Layers, s.Layers-s.Layers/step+f.count("mlp_only_layers"))
	if e.Dense == 0 {
		s.Inner = 0
	}
	if shared > 0 { // it has a gate of its own
		with := layers(s) - int64(e.Dense)
		e.Shared = shared / e.Width
		s.More += with * int64(s.Width) * int64(1+3*(shared%e.Width))
	}
	s.Experts = e
}

func qwen2moe(f *fields) perf.Shape {
	s := common(f, false)
	s.QKVBias = f.flag(true, "qkv_bias")
	sparse(f, &s, f.need("shared_expert_intermediate_size"))
	return s
}

func qwen3(f *fields) perf.Shape {
	s := common(f, false)
	s.QKNorm = true
	if f.flag(false, "attention_bias") {
		outBias(&s)
	}
	if f.flag(false, "use_sliding_window") {
		window(f, &s, s.Layers-min(s.Layers, f.or(s.Layers, "max_window_layers")))
	}
	return s
}

func qwen3moe(f *fields) perf.Shape {
	s := qwen3(f)
	sparse(f, &s, 0)
	return s
}

// deepseek is DeepSeek-V2 and V3, whose second is Kimi K2's too: routers of the later have a bias for each expert.
func deepseek(f *fields) perf.Shape {
	s := common(f, false)
	l := &perf.Latent{Query: f.or(0, "q_lora_rank"), Keys: f.need("kv_lora_rank"), Plain: f.need("qk_nope_head_dim"), Rotor: f.need("qk_rope_head_dim"),
		Value: f.need("v_head_dim")}
	s.Latent, s.Head = l, l.Plain+l.Rotor
	if f.flag(false, "attention_bias") {
		s.More += layers(&s) * int64(l.Query+l.Keys+l.Rotor+s.Width)
	}
	if n := f.or(0, "n_routed_experts"); n > 0 {
		s.Experts = &perf.Experts{Count: n, Active: f.need("num_experts_per_tok"), Shared: f.or(0, "n_shared_experts"), Width: f.need("moe_intermediate_size"),
			Dense: min(s.Layers, f.or(0, "first_k_dense_replace")), Bias: f.text("topk_method") == "noaux_tc" || f.text("model_type") != "deepseek_v2"}
		if step := f.or(1, "moe_layer_freq"); step > 1 {
			f.fail("moe_layer_freq is %d", step)
		}
		if s.Experts.Dense == 0 {
			s.Inner = 0
		}
	}
	return s
}

func gemma(f *fields) perf.Shape {
	s := common(f, true)
	s.Head = f.or(256, "head_dim")
	if f.flag(false, "attention_bias") {
		outBias(&s)
	}
	return s
}

// gemma2 has norms after attention and feed-forward too, and a window in every other layer.
func gemma2(f *fields) perf.Shape {
	fill(f, map[string]int{"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
		"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192, "sliding_window": 4096})
	s := gemma(f)
	norms(&s, 2)
	window(f, &s, (s.Layers+1)/2)
	return s
}

// gemma3 is gemma2 with norms of queries and keys, and with a layer without a window after every five.
func gemma3(f *fields) perf.Shape {
	fill(f, map[string]int{"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
		"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072, "sliding_window": 4096})
	s := gemma(f)
	s.QKNorm = true
	norms(&s, 2)
	window(f, &s, s.Layers-s.Layers/max(1, f.or(6, "sliding_window_pattern", "_sliding_window_pattern")))
	return s
}

func gpt2(f *fields) perf.Shape {
	s := perf.Shape{Layers: f.need("n_layer", "num_hidden_layers"), Width: f.need("n_embd", "hidden_size"), Heads: f.need("n_head", "num_attention_heads"),
		Vocab: f.need("vocab_size"), Positions: f.need("n_positions", "n_ctx", "max_position_embeddings"), Tied: f.flag(true, "tie_word_embeddings"), Plain: true, Biases: true}
	s.KVHeads, s.Head, s.Inner = s.Heads, s.Width/s.Heads, f.or(4*s.Width, "n_inner")
	return s
}

func neox(f *fields) perf.Shape {
	s := common(f, false)
	s.KVHeads, s.Head, s.Plain, s.Biases = s.Heads, s.Width/s.Heads, true, true
	if !f.flag(true, "attention_bias") {
		s.More -= layers(&s) * int64(4*s.Width)
	}
	return s
}

func opt(f *fields) perf.Shape {
	s := perf.Shape{Layers: f.need("num_hidden_layers"), Width: f.need("hidden_size"), Heads: f.need("num_attention_heads"), Inner: f.need("ffn_dim"),
		Vocab: f.need("vocab_size"), Positions: f.need("max_position_embeddings") + 2, Tied: f.flag(true, "tie_word_embeddings"), Plain: true, Biases: true}
	s.KVHeads, s.Head = s.Heads, s.Width/s.Heads
	if !f.flag(true, "enable_bias") || !f.flag(true, "layer_norm_elementwise_affine") {
		f.fail("biases or norms are left out, which is not counted here")
	}
	if !f.flag(true, "do_layer_norm_before") || f.flag(false, "_remove_final_layer_norm") {
		s.More -= int64(2 * s.Width)
	}
	if p := f.or(s.Width, "word_embed_proj_dim"); p != s.Width { // a narrower table, and a product into and out of the model
		tables := int64(1)
		if !s.Tied {
			tables = 2
		}
		s.More += int64(2*s.Width)*int64(p) - tables*int64(s.Vocab)*int64(s.Width-p)
	}
	return s
}

func falcon(f *fields) perf.Shape {
	s := perf.Shape{Layers: f.need("num_hidden_layers", "n_layer"), Width: f.need("hidden_size"), Heads: f.need("num_attention_heads", "n_head"),
		Vocab: f.need("vocab_size"), Tied: f.flag(true, "tie_word_embeddings"), Plain: true, Biases: f.flag(false, "bias")}
	s.Head, s.Inner, s.KVHeads = s.Width/s.Heads, f.or(4*s.Width, "ffn_hidden_size"), s.Heads
	grouped := f.flag(false, "new_decoder_architecture")
	switch {
	case grouped:
		s.KVHeads = f.or(s.Heads, "num_kv_heads")
	case f.flag(true, "multi_query"):
		s.KVHeads = 1
	}
	each := 2
	if f.flag(true, "parallel_attn") && f.or(map[bool]int{true: 2, false: 1}[grouped], "num_ln_in_parallel_attn") != 2 {
		each = 1
	}
	counted, has := int64(1), int64(2) // numbers of a norm for each of the width: it always has biases
	if s.Biases {
		counted = 2
	}
	s.More = int64(s.Width) * (has - counted + layers(&s)*(int64(each)*has-2*counted))
	return s
}

// bloom has a norm after its table.
func bloom(f *fields) perf.Shape {
	s := perf.Shape{Layers: f.need("n_layer", "num_hidden_layers"), Width: f.need("hidden_size", "n_embed"), Heads: f.need("n_head", "num_attention_heads"),
		Vocab: f.need("vocab_size"), Tied: f.flag(true, "tie_word_embeddings"), Plain: true, Biases: true}
	s.KVHeads, s.Head, s.Inner, s.More = s.Heads, s.Width/s.Heads, 4*s.Width, int64(2*s.Width)
	return s
}

func glm(f *fields) perf.Shape {
	s := common(f, false)
	s.QKVBias = f.flag(true, "attention_bias")
	return s
}

// glm4 has norms after attention and feed-forward too.
func glm4(f *fields) perf.Shape {
	s := glm(f)
	norms(&s, 2)
	return s
}

// olmo2 norms queries and keys over all heads together.
func olmo2(f *fields) perf.Shape {
	s := common(f, false)
	s.More += layers(&s) * int64((s.Heads+s.KVHeads)*s.Head)
	if f.flag(false, "attention_bias") {
		outBias(&s)
	}
	return s
}

// gptOSS has biases in attention, router and experts, and a sink for each head.
func gptOSS(f *fields) perf.Shape {
	s := common(f, false)
	s.Experts = &perf.Experts{Count: f.need("num_local_experts", "num_experts"), Active: f.need("num_experts_per_tok", "experts_per_token"), Width: s.Inner, Bias: true}
	s.More += layers(&s) * (int64(s.Heads) + int64(s.Experts.Count)*int64(2*s.Inner+s.Width))
	s.Inner = 0
	if f.flag(true, "attention_bias") {
		outBias(&s)
	}
	window(f, &s, (s.Layers+1)/2)
	return s
}

// bert reads sequences from both sides; the norm after its tables counts as the one at the end, which it has not.
func bert(f *fields) perf.Shape {
	s := perf.Shape{Layers: f.need("num_hidden_layers"), Width: f.need("hidden_size"), Heads: f.need("num_attention_heads"), Inner: f.need("intermediate_size"),
		Vocab: f.need("vocab_size"), Positions: f.need("max_position_embeddings"), Tied: true, Plain: true, Biases: true, Encoder: true}
	s.KVHeads, s.Head = s.Heads, s.Width/s.Heads
	s.More = int64(f.or(2, "type_vocab_size")) * int64(s.Width)
	if f.flag(false, "is_decoder") || f.flag(false, "add_cross_attention") {
		f.fail("an encoder that decodes is not known here")
	}
	if kind := f.text("position_embedding_type"); kind != "" && kind != "absolute" {
		f.fail("position_embedding_type is %.40q", strings.TrimSpace(kind))
	}
	return s
}

// context is the longest sequence that a configuration tells of; 0: none.
func context(f *fields, s *perf.Shape) int {
	n, _ := f.number("max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "n_ctx")
	if s != nil && s.Encoder && f.text("model_type") != "bert" && n > 2 {
		n -= 2 // the positions of RoBERTa begin behind the padding's
	}
	return n
}
