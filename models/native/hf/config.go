package hf

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
)

// configFile is config.json of a Llama model, with what must be refused.
type configFile struct {
	Architectures      []string        `json:"architectures"`
	ModelType          string          `json:"model_type"`
	HiddenSize         int             `json:"hidden_size"`
	IntermediateSize   int             `json:"intermediate_size"`
	Layers             int             `json:"num_hidden_layers"`
	Heads              int             `json:"num_attention_heads"`
	KVHeads            *int            `json:"num_key_value_heads"`
	HeadDim            *int            `json:"head_dim"`
	VocabSize          int             `json:"vocab_size"`
	MaxContext         *int            `json:"max_position_embeddings"`
	NormEps            *float64        `json:"rms_norm_eps"`
	RopeTheta          *float64        `json:"rope_theta"`
	RopeScaling        json.RawMessage `json:"rope_scaling"`
	RopeParameters     json.RawMessage `json:"rope_parameters"`
	PartialRotary      *float64        `json:"partial_rotary_factor"`
	HiddenAct          string          `json:"hidden_act"`
	AttentionBias      bool            `json:"attention_bias"`
	MLPBias            bool            `json:"mlp_bias"`
	Tie                bool            `json:"tie_word_embeddings"`
	BOS                idList          `json:"bos_token_id"`
	EOS                idList          `json:"eos_token_id"`
	PAD                idList          `json:"pad_token_id"`
	QuantizationConfig json.RawMessage `json:"quantization_config"`
}

type generationFile struct {
	EOS idList `json:"eos_token_id"`
	Suggestion
}

// idList is a token id, several, or none.
type idList []int

func (l *idList) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(raw, []byte("[")) {
		var many []int
		if err := json.Unmarshal(raw, &many); err != nil {
			return err
		}
		*l = many
		return nil
	}
	var one *int
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	if *l = nil; one != nil {
		*l = idList{*one}
	}
	return nil
}

// first is the first id, -1 for none.
func (l idList) first() int {
	if len(l) == 0 {
		return -1
	}
	return l[0]
}

// ropeFile is rope_parameters (new) or rope_scaling (old).
type ropeFile struct {
	Type    string   `json:"rope_type"`
	OldType string   `json:"type"`
	Theta   *float64 `json:"rope_theta"`
	Partial *float64 `json:"partial_rotary_factor"`
}

func given[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// native turns the file into the engine's shape, with the defaults of Hugging Face's Llama for what is missing, and
// refuses what the engine cannot compute.
func (f *configFile) native() (native.Config, error) {
	if err := f.refuse(); err != nil {
		return native.Config{}, err
	}
	theta, err := f.rope()
	if err != nil {
		return native.Config{}, err
	}
	if f.Heads < 1 || f.HiddenSize < 1 {
		return native.Config{}, fault.InvalidField("config.json", "hidden_size %d and num_attention_heads %d must be positive", f.HiddenSize, f.Heads)
	}
	c := native.Config{
		VocabSize: f.VocabSize, Dim: f.HiddenSize, Layers: f.Layers, Heads: f.Heads, KVHeads: given(f.KVHeads, f.Heads),
		HeadDim: given(f.HeadDim, f.HiddenSize/f.Heads), FFN: f.IntermediateSize, MaxContext: given(f.MaxContext, 2048),
		RopeTheta: float32(theta), NormEps: float32(given(f.NormEps, 1e-6)), TieEmbeddings: f.Tie,
		BOS: f.BOS.first(), EOS: f.EOS.first(), PAD: f.PAD.first(), Arch: "llama",
	}
	return c, c.Validate()
}

func (f *configFile) refuse() error {
	arch := f.ModelType
	if len(f.Architectures) > 0 {
		arch = f.Architectures[0]
	}
	switch {
	case f.ModelType != "llama" || len(f.Architectures) != 1 || arch != "LlamaForCausalLM":
		return unsupported("the architecture %.60q (model_type %.40q)", arch, f.ModelType)
	case len(f.QuantizationConfig) > 0 && string(f.QuantizationConfig) != "null":
		return unsupported("quantised weights (quantization_config)")
	case f.HiddenAct != "silu" && f.HiddenAct != "":
		return unsupported("the activation %.40q (hidden_act)", f.HiddenAct)
	case f.AttentionBias:
		return unsupported("biases in attention (attention_bias)")
	case f.MLPBias:
		return unsupported("biases in the feed-forward block (mlp_bias)")
	case given(f.PartialRotary, 1) != 1:
		return unsupported("rotary positions on part of a head (partial_rotary_factor)")
	}
	return nil
}

// rope gives the base of the rotary positions and refuses every kind of scaling.
func (f *configFile) rope() (theta float64, err error) {
	theta = given(f.RopeTheta, 10000)
	for name, raw := range map[string]json.RawMessage{"rope_scaling": f.RopeScaling, "rope_parameters": f.RopeParameters} {
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		var r ropeFile
		if err := json.Unmarshal(raw, &r); err != nil {
			return 0, damaged(fileConfig, fmt.Errorf("%s: %w", name, err))
		}
		kind := r.Type
		if kind == "" {
			kind = r.OldType
		}
		if kind != "default" && (kind != "" || name == "rope_scaling") {
			return 0, unsupported("scaled rotary positions of type %.40q (%s)", kind, name)
		}
		if given(r.Partial, 1) != 1 {
			return 0, unsupported("rotary positions on part of a head (partial_rotary_factor)")
		}
		theta = given(r.Theta, theta)
	}
	return theta, nil
}

func unsupported(format string, args ...any) error {
	f := fault.Newf(fault.Unsupported, "The model has "+format+", which the embedded engine does not compute", args...)
	f.Code, f.Fix = "unsupported_model", "Use a plain Llama model, or another engine."
	return f
}

func damaged(file string, cause error) error {
	return fault.New(fault.Invalid, "The model's "+file+" is damaged.", fault.Field(file), fault.Fix("Fetch or export the model again."), fault.Cause(cause))
}

// configOf is config.json for a shape.
func configOf(c native.Config, dtype string) map[string]any {
	torch := "float32"
	if dtype == bf16 {
		torch = "bfloat16"
	}
	return map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama",
		"hidden_size": c.Dim, "intermediate_size": c.FFN, "num_hidden_layers": c.Layers,
		"num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim,
		"vocab_size": c.VocabSize, "max_position_embeddings": c.MaxContext,
		"rms_norm_eps": c.NormEps, "rope_theta": c.RopeTheta, "rope_scaling": nil,
		"hidden_act": "silu", "attention_bias": false, "mlp_bias": false, "attention_dropout": 0.0,
		"initializer_range": 0.02, "pretraining_tp": 1, "use_cache": true,
		"tie_word_embeddings": c.TieEmbeddings, "torch_dtype": torch,
		"bos_token_id": idOrNull(c.BOS), "eos_token_id": idOrNull(c.EOS), "pad_token_id": idOrNull(c.PAD),
	}
}

func idOrNull(id int) any {
	if id < 0 {
		return nil
	}
	return id
}

// generationOf is generation_config.json.
func generationOf(m *Model) map[string]any {
	c := m.Weights.Config
	g := map[string]any{"bos_token_id": idOrNull(c.BOS), "pad_token_id": idOrNull(c.PAD), "eos_token_id": idOrNull(c.EOS)}
	all := make([]int, 0, len(m.Stop)+1)
	if c.EOS >= 0 {
		all = append(all, c.EOS)
	}
	for _, id := range m.Stop {
		if int(id) != c.EOS {
			all = append(all, int(id))
		}
	}
	if len(all) > 1 {
		g["eos_token_id"] = all
	}
	m.Suggest.into(g)
	return g
}

// into adds the suggestion to generation_config.json. do_sample goes with it: without it transformers decodes
// greedily and calls a temperature a mistake.
func (s Suggestion) into(g map[string]any) {
	if s == (Suggestion{}) {
		return
	}
	g["do_sample"] = true
	if s.Temperature != nil {
		g["temperature"] = *s.Temperature
	}
	if s.TopP != nil {
		g["top_p"] = *s.TopP
	}
	if s.TopK != nil {
		g["top_k"] = *s.TopK
	}
	if s.RepetitionPenalty != nil {
		g["repetition_penalty"] = *s.RepetitionPenalty
	}
}
