package shape

import "testing"

// Parameters of published models, as programs that read their files quote them: the shape read from a model's
// configuration must count the same.
func TestPublishedCounts(t *testing.T) {
	for name, c := range map[string]struct {
		params int64
		config string
	}{
		"qwen1.5-moe-a2.7b": {14315784192, `{"model_type":"qwen2_moe","decoder_sparse_step":1,"hidden_size":2048,"intermediate_size":5632,"moe_intermediate_size":1408,"num_attention_heads":16,"num_experts":60,"num_experts_per_tok":4,"num_hidden_layers":24,"num_key_value_heads":16,"shared_expert_intermediate_size":5632,"tie_word_embeddings":false,"vocab_size":151936}`},
		"deepseek-v2-lite":  {15706484224, `{"model_type":"deepseek_v2","first_k_dense_replace":1,"hidden_size":2048,"intermediate_size":10944,"kv_lora_rank":512,"moe_intermediate_size":1408,"moe_layer_freq":1,"n_routed_experts":64,"n_shared_experts":2,"num_attention_heads":16,"num_experts_per_tok":6,"num_hidden_layers":27,"num_key_value_heads":16,"q_lora_rank":null,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"topk_method":"greedy","v_head_dim":128,"vocab_size":102400}`},
		"gemma-2-9b":        {9241705984, `{"model_type":"gemma2","head_dim":256,"hidden_size":3584,"intermediate_size":14336,"num_attention_heads":16,"num_hidden_layers":42,"num_key_value_heads":8,"sliding_window":4096,"vocab_size":256000}`},
		"gemma-3-1b":        {999885952, `{"model_type":"gemma3_text","head_dim":256,"hidden_size":1152,"intermediate_size":6912,"num_attention_heads":4,"num_hidden_layers":26,"num_key_value_heads":1,"sliding_window":512,"vocab_size":262144}`},
		"opt-350m":          {331196416, `{"model_type":"opt","ffn_dim":4096,"hidden_size":1024,"max_position_embeddings":2048,"num_attention_heads":16,"num_hidden_layers":24,"vocab_size":50272,"word_embed_proj_dim":512,"do_layer_norm_before":false}`},
		"bloom-560m":        {559214592, `{"model_type":"bloom","n_embed":1024,"n_layer":24,"num_attention_heads":16,"vocab_size":250880}`},
		"glm-4-9b-0414":     {9400279040, `{"model_type":"glm4","attention_bias":true,"head_dim":128,"hidden_size":4096,"intermediate_size":13696,"num_attention_heads":32,"num_hidden_layers":40,"num_key_value_heads":2,"vocab_size":151552}`},
		"gpt-oss-20b":       {20914757184, `{"model_type":"gpt_oss","attention_bias":true,"head_dim":64,"hidden_size":2880,"intermediate_size":2880,"num_attention_heads":64,"num_experts_per_tok":4,"num_hidden_layers":24,"num_key_value_heads":8,"num_local_experts":32,"sliding_window":128,"vocab_size":201088}`},
		"qwen3-30b-a3b":     {30532122624, `{"model_type":"qwen3_moe","decoder_sparse_step":1,"head_dim":128,"hidden_size":2048,"intermediate_size":6144,"mlp_only_layers":[],"moe_intermediate_size":768,"num_attention_heads":32,"num_experts":128,"num_experts_per_tok":8,"num_hidden_layers":48,"num_key_value_heads":4,"vocab_size":151936}`},
	} {
		f, err := parseFields([]byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		s, why := transformer(f)
		if s == nil {
			t.Errorf("%s: %s", name, why)
		} else if n := s.Parameters(); n != c.params {
			t.Errorf("%s: %d parameters, its files have %d", name, n, c.params)
		}
	}
}
