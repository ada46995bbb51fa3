package native

import (
	"math"
	"math/rand/v2"
	"strconv"
)

// Weights are the parameters of one model. The same type holds gradients and optimiser moments: anything with one
// float32 for each parameter.
type Weights struct {
	Config Config
	Embed  []float32 // [vocab, dim]
	Layers []LayerWeights
	Norm   []float32 // [dim], final RMSNorm
	Head   []float32 // [vocab, dim]; nil when the embeddings are tied
}

// LayerWeights are the parameters of one transformer block.
type LayerWeights struct {
	AttnNorm []float32 // [dim]
	Q        []float32 // [heads*headDim, dim]
	K        []float32 // [kvHeads*headDim, dim]
	V        []float32 // [kvHeads*headDim, dim]
	O        []float32 // [dim, heads*headDim]
	FFNNorm  []float32 // [dim]
	Gate     []float32 // [ffn, dim]
	Up       []float32 // [ffn, dim]
	Down     []float32 // [dim, ffn]
}

// Tensor is one named parameter array; Data shares memory with the Weights it comes from.
type Tensor struct {
	Name  string // the Hugging Face name, such as model.layers.0.self_attn.q_proj.weight
	Shape []int  // [out, in] for matrices, [n] for norms
	Data  []float32
}

// Matrix says whether the tensor has two dimensions; those decay during training, norms do not.
func (t Tensor) Matrix() bool { return len(t.Shape) == 2 }

// AllocWeights makes zeroed weights of the shape in one block of memory, where matrices that multiply the same input
// (Q, K, V; Gate, Up) follow each other so that training can take them as one. Don't append to any of them. It panics
// when c.Validate fails: shapes from outside are checked before they get here.
func AllocWeights(c Config) *Weights {
	if err := c.Validate(); err != nil {
		panic("native: AllocWeights of an invalid shape: " + err.Error())
	}
	block := make([]float32, c.Params())
	take := func(n int) []float32 {
		s := block[:n]
		block = block[n:]
		return s
	}
	d, q, kv := c.Dim, c.QDim(), c.KVDim()
	w := &Weights{Config: c, Embed: take(c.VocabSize * d), Layers: make([]LayerWeights, c.Layers)}
	for i := range w.Layers {
		w.Layers[i] = LayerWeights{
			AttnNorm: take(d), Q: take(q * d), K: take(kv * d), V: take(kv * d), O: take(d * q),
			FFNNorm: take(d), Gate: take(c.FFN * d), Up: take(c.FFN * d), Down: take(d * c.FFN),
		}
	}
	w.Norm = take(d)
	if !c.TieEmbeddings {
		w.Head = take(c.VocabSize * d)
	}
	return w
}

// initStd is the standard deviation of fresh weights, as in GPT-2 and Llama recipes.
const initStd = 0.02

// NewWeights makes fresh weights: norms one, matrices normal with deviation 0.02, the two projections that write
// into the residual stream (O and Down) scaled by 1/sqrt(2*layers) (GPT-2). The values depend on c and seed alone,
// not on the machine. It panics where AllocWeights does.
func NewWeights(c Config, seed uint64) *Weights {
	w := AllocWeights(c)
	residual := initStd / math.Sqrt(2*float64(c.Layers))
	stream := uint64(0)
	normal := func(x []float32, std float64) {
		stream++
		fillNormal(x, std, rand.NewPCG(seed, stream))
	}
	normal(w.Embed, initStd)
	for i := range w.Layers {
		l := &w.Layers[i]
		fill(l.AttnNorm, 1)
		fill(l.FFNNorm, 1)
		for _, m := range [][]float32{l.Q, l.K, l.V, l.Gate, l.Up} {
			normal(m, initStd)
		}
		normal(l.O, residual)
		normal(l.Down, residual)
	}
	fill(w.Norm, 1)
	if w.Head != nil {
		normal(w.Head, initStd)
	}
	return w
}

// fillNormal draws approximately normal values as the centred sum of twelve uniforms (Irwin-Hall), which has
// variance one. Sums of integers are exact, so every architecture gets the same bits; logarithms would differ.
func fillNormal(x []float32, std float64, src *rand.PCG) {
	const half = 6 * (1<<32 - 1)
	for i := range x {
		var sum int64
		for range 6 {
			u := src.Uint64()
			sum += int64(u>>32) + int64(u&(1<<32-1))
		}
		x[i] = float32(float64(sum-half) / (1 << 32) * std)
	}
}

func fill(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}

// Tensors lists every parameter in a fixed order (embedding, layers, final norm, head) under its Hugging Face name.
// A tied head is not listed: the embedding is it.
func (w *Weights) Tensors() []Tensor {
	c := w.Config
	d, q, kv := c.Dim, c.QDim(), c.KVDim()
	ts := make([]Tensor, 0, 9*len(w.Layers)+3)
	add := func(name string, data []float32, shape ...int) {
		ts = append(ts, Tensor{Name: name, Shape: shape, Data: data})
	}
	add("model.embed_tokens.weight", w.Embed, c.VocabSize, d)
	for i := range w.Layers {
		l, p := &w.Layers[i], "model.layers."+strconv.Itoa(i)+"."
		add(p+"input_layernorm.weight", l.AttnNorm, d)
		add(p+"self_attn.q_proj.weight", l.Q, q, d)
		add(p+"self_attn.k_proj.weight", l.K, kv, d)
		add(p+"self_attn.v_proj.weight", l.V, kv, d)
		add(p+"self_attn.o_proj.weight", l.O, d, q)
		add(p+"post_attention_layernorm.weight", l.FFNNorm, d)
		add(p+"mlp.gate_proj.weight", l.Gate, c.FFN, d)
		add(p+"mlp.up_proj.weight", l.Up, c.FFN, d)
		add(p+"mlp.down_proj.weight", l.Down, d, c.FFN)
	}
	add("model.norm.weight", w.Norm, d)
	if w.Head != nil {
		add("lm_head.weight", w.Head, c.VocabSize, d)
	}
	return ts
}

// Clone copies the weights into memory of their own.
func (w *Weights) Clone() *Weights {
	c := AllocWeights(w.Config)
	from, to := w.Tensors(), c.Tensors()
	for i := range from {
		copy(to[i].Data, from[i].Data)
	}
	return c
}

// Zero sets every parameter to zero.
func (w *Weights) Zero() {
	for _, t := range w.Tensors() {
		clear(t.Data)
	}
}

// HeadWeight is the matrix that makes logits, [vocab, dim]: Head, or Embed when tied.
func (w *Weights) HeadWeight() []float32 {
	if w.Head == nil {
		return w.Embed
	}
	return w.Head
}
