package perf

import "slices"

// llama is a model of the Llama family: heads of 128, three matrices in the feed-forward network, two tables.
func llama(name string, layers, width, heads, kv, inner, vocab int) Shape {
	return Shape{Name: name, Layers: layers, Width: width, Heads: heads, KVHeads: kv, Head: 128, Inner: inner, Vocab: vocab}
}

// gpt is a model of GPT's family: learnt positions, biases everywhere, one table, two matrices of four times the width.
func gpt(name string, layers, width, heads, vocab, positions int) Shape {
	return Shape{Name: name, Layers: layers, Width: width, Heads: heads, KVHeads: heads, Head: width / heads, Inner: 4 * width, Vocab: vocab,
		Positions: positions, Tied: true, Plain: true, Biases: true}
}

func qwen3moe(name string, layers, width, heads, expert int) Shape {
	s := llama(name, layers, width, heads, 4, 0, 151936)
	s.QKNorm, s.Experts = true, &Experts{Count: 128, Active: 8, Width: expert}
	return s
}

// known are the shapes by the names that published figures use.
var known = func() []Shape {
	mixtral := llama("mixtral-8x7b", 32, 4096, 32, 8, 0, 32000)
	mixtral.Experts = &Experts{Count: 8, Active: 2, Width: 14336}
	qwen := llama("qwen2.5-7b", 28, 3584, 28, 4, 18944, 152064)
	qwen.QKVBias = true
	deepseek := llama("deepseek-v3", 61, 7168, 128, 128, 18432, 129280)
	deepseek.Experts = &Experts{Count: 256, Active: 8, Shared: 1, Width: 2048, Dense: 3, Bias: true}
	deepseek.Latent = &Latent{Query: 1536, Keys: 512, Plain: 128, Rotor: 64, Value: 128}
	return []Shape{
		llama("llama-2-7b", 32, 4096, 32, 32, 11008, 32000),
		llama("llama-2-13b", 40, 5120, 40, 40, 13824, 32000),
		llama("llama-2-70b", 80, 8192, 64, 8, 28672, 32000),
		llama("llama-3-8b", 32, 4096, 32, 8, 14336, 128256),
		llama("llama-3-70b", 80, 8192, 64, 8, 28672, 128256),
		llama("llama-3-405b", 126, 16384, 128, 8, 53248, 128256),
		llama("mistral-7b", 32, 4096, 32, 8, 14336, 32000),
		mixtral, qwen, deepseek,
		qwen3moe("qwen3-30b-a3b", 48, 2048, 32, 768),
		qwen3moe("qwen3-235b-a22b", 94, 4096, 64, 1536),
		gpt("gpt3-175b", 96, 12288, 96, 51200, 2048),
		gpt("mpt-125m", 12, 768, 12, 50368, 2048),
		gpt("mpt-350m", 24, 1024, 16, 50368, 2048),
		gpt("mpt-760m", 24, 1536, 12, 50368, 2048),
		gpt("mpt-1b", 24, 2048, 16, 50368, 2048),
		gpt("mpt-3b", 32, 2560, 20, 50368, 2048),
		gpt("mpt-7b", 32, 4096, 32, 50368, 2048),
		gpt("mpt-13b", 40, 5120, 40, 50368, 2048),
		gpt("mpt-30b", 48, 7168, 56, 50368, 2048),
		gpt("mpt-70b", 80, 8192, 64, 50368, 2048),
	}
}()

// Shapes lists the shapes that have names here.
func Shapes() []Shape { return slices.Clone(known) }

// Named is the known shape of a name; false where there is none.
func Named(name string) (Shape, bool) {
	i := slices.IndexFunc(known, func(s Shape) bool { return s.Name == name })
	if i < 0 {
		return Shape{}, false
	}
	return known[i], true
}
