package fit

import (
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/registry/shape"
)

// Native is the name of the embedded engine.
const Native = perf.Native

// Verdict says whether an engine runs a model.
type Verdict string

// The verdicts. Perhaps is told where nothing about the engine and the family was read.
const (
	Yes     Verdict = "yes"
	No      Verdict = "no"
	Perhaps Verdict = "not known"
)

// Engine is an engine with its verdict about a model.
type Engine struct {
	Name  string
	Runs  Verdict
	Why   string   // a sentence
	Makes []string // of the chips that the catalogue knows it on; of the embedded engine none
}

// vllm are classes that vLLM runs: vllm-project/vllm, vllm/model_executor/models/registry.py.
var vllm = []string{
	"BertForSequenceClassification", "BertModel", "BloomForCausalLM", "ChatGLMModel", "Cohere2ForCausalLM", "CohereForCausalLM", "DbrxForCausalLM",
	"DeepseekForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV32ForCausalLM", "DeepseekV3ForCausalLM", "Ernie4_5ForCausalLM", "Ernie4_5_MoeForCausalLM",
	"FalconForCausalLM", "FalconMambaForCausalLM", "GPT2LMHeadModel", "GPTBigCodeForCausalLM", "GPTJForCausalLM", "GPTNeoXForCausalLM", "Gemma2ForCausalLM",
	"Gemma2Model", "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Gemma3TextModel", "GemmaForCausalLM", "Glm4ForCausalLM", "Glm4MoeForCausalLM",
	"GlmForCausalLM", "GptOssForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM", "InternLM2ForCausalLM", "InternLM3ForCausalLM", "JambaForCausalLM",
	"Llama4ForCausalLM", "LlamaForCausalLM", "LlamaModel", "Mamba2ForCausalLM", "MambaForCausalLM", "MiniCPM3ForCausalLM", "MiniCPMForCausalLM",
	"MistralForCausalLM", "MistralModel", "MixtralForCausalLM", "ModernBertModel", "MptForCausalLM", "OPTForCausalLM", "Olmo2ForCausalLM", "OlmoForCausalLM",
	"OlmoeForCausalLM", "Phi3ForCausalLM", "PhiForCausalLM", "PhiMoEForCausalLM", "Qwen2ForCausalLM", "Qwen2Model", "Qwen2MoeForCausalLM",
	"Qwen2VLForConditionalGeneration", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "Qwen3NextForCausalLM", "RobertaModel", "SeedOssForCausalLM",
	"StableLmForCausalLM", "Starcoder2ForCausalLM", "XLMRobertaForSequenceClassification", "XLMRobertaModel",
}

// sglang are families that SGLang runs: sgl-project/sglang, docs/supported_models/generative_models.md.
var sglang = []string{"deepseek_v2", "deepseek_v3", "gpt_oss", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "llama", "mistral", "mixtral", "gemma", "gemma2",
	"gemma3_text", "phi3", "olmoe", "granite", "granitemoe", "glm", "starcoder2"}

// llamacpp are architectures that llama.cpp runs: ggml-org/llama.cpp, src/llama-arch.cpp.
var llamacpp = []string{"llama", "llama4", "falcon", "gpt2", "gptj", "gptneox", "mpt", "baichuan", "starcoder", "bert", "modern-bert", "nomic-bert", "jina-bert-v2",
	"bloom", "stablelm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3next", "qwen3vl", "phi2", "phi3", "phimoe", "internlm2", "minicpm",
	"minicpm3", "gemma", "gemma2", "gemma3", "gemma3n", "starcoder2", "mamba", "mamba2", "jamba", "command-r", "cohere2", "dbrx", "olmo", "olmo2", "olmoe",
	"deepseek", "deepseek2", "chatglm", "glm4", "glm4moe", "t5", "nemotron", "exaone", "rwkv6", "rwkv7", "granite", "granitemoe", "granitehybrid", "ernie4_5",
	"smollm3", "gpt-oss", "seed_oss", "hunyuan-dense", "hunyuan-moe"}

// Runs says whether an engine runs models of a shape.
func Runs(engine string, s registry.Shape) (Verdict, string) {
	switch engine {
	case Native:
		if s.Foreign != "" {
			return No, s.Foreign
		}
		return Yes, "It is of the Llama family, as a Hugging Face folder."
	case "llama.cpp":
		if s.Form == shape.GGUF {
			return listed(llamacpp, s.Arch, "architecture", engine)
		}
		if s.Foreign == "" {
			return Yes, "Export it with --format gguf first."
		}
		return No, "It reads GGUF files, and the model is a Hugging Face folder."
	case "vllm", "sglang":
		if s.Form == shape.GGUF {
			return Perhaps, "Nothing was read about GGUF files in it."
		}
		if engine == "vllm" {
			return listed(vllm, class(s), "class", engine)
		}
		return listed(sglang, s.Arch, "family", engine)
	}
	return Perhaps, "Nothing was read about the models that it runs."
}

// class is the class of a model; that of versions added before it was read is what they could be then.
func class(s registry.Shape) string {
	if s.Class == "" && s.Foreign == "" {
		return "LlamaForCausalLM"
	}
	return s.Class
}

func listed(list []string, name, what, engine string) (Verdict, string) {
	if slices.Contains(list, name) {
		return Yes, fmt.Sprintf("The %s %s is in the list that %s publishes.", what, name, engine)
	}
	return Perhaps, fmt.Sprintf("The %s %.64q is not in the list of %s that was read.", what, name, engine)
}

// Engines are the embedded engine and those that the catalogue knows on chips, with their verdicts about a model.
func Engines(c *chip.Catalogue, s registry.Shape) []Engine {
	all := []Engine{{Name: Native}}
	for _, x := range c.All() {
		for _, e := range x.Engines {
			i := slices.IndexFunc(all, func(have Engine) bool { return have.Name == e.Name })
			if i < 0 {
				i = len(all)
				all = append(all, Engine{Name: e.Name})
			}
			if !slices.Contains(all[i].Makes, x.Make) {
				all[i].Makes = append(all[i].Makes, x.Make)
			}
		}
	}
	for i := range all {
		all[i].Runs, all[i].Why = Runs(all[i].Name, s)
	}
	slices.SortStableFunc(all[1:], func(a, b Engine) int { return rank(a.Runs) - rank(b.Runs) })
	return all
}

func rank(v Verdict) int { return slices.Index([]Verdict{Yes, Perhaps, No}, v) }
