package native

import "math"

// refModel is the model once more, in float64 and as plain as possible: one token at a time, no blocks, no packing
// tricks, attention straight from its definition. Finite differences of it are the truth the gradients are held to.
type refModel struct {
	c Config
	t map[string][]float64
}

func newRef(w *Weights) *refModel {
	m := &refModel{c: w.Config, t: map[string][]float64{}}
	for _, x := range w.Tensors() {
		d := make([]float64, len(x.Data))
		for i, v := range x.Data {
			d[i] = float64(v)
		}
		m.t[x.Name] = d
	}
	return m
}

func (m *refModel) linear(name string, x []float64) []float64 {
	w := m.t[name]
	out := make([]float64, len(w)/len(x))
	for o := range out {
		for i, v := range x {
			out[o] += w[o*len(x)+i] * v
		}
	}
	return out
}

func (m *refModel) norm(name string, x []float64) []float64 {
	var ss float64
	for _, v := range x {
		ss += v * v
	}
	r := 1 / math.Sqrt(ss/float64(len(x))+float64(m.c.NormEps))
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v * r * m.t[name][i]
	}
	return out
}

func (m *refModel) rope(x []float64, pos int) {
	hd := m.c.HeadDim
	for h := 0; h < len(x); h += hd {
		for j := range hd / 2 {
			angle := float64(pos) / math.Pow(float64(m.c.RopeTheta), float64(2*j)/float64(hd))
			s, c := math.Sincos(angle)
			a, b := x[h+j], x[h+j+hd/2]
			x[h+j], x[h+j+hd/2] = a*c-b*s, a*s+b*c
		}
	}
}

// document computes the loss sum of one document standing alone.
func (m *refModel) document(tokens, targets []int32) float64 {
	c := m.c
	xs := make([][]float64, len(tokens))
	for i, id := range tokens {
		xs[i] = append([]float64(nil), m.t["model.embed_tokens.weight"][int(id)*c.Dim:(int(id)+1)*c.Dim]...)
	}
	for l := range c.Layers {
		m.layer(xs, l)
	}
	head := "lm_head.weight"
	if c.TieEmbeddings {
		head = "model.embed_tokens.weight"
	}
	var loss float64
	for i, x := range xs {
		if targets[i] == Ignore {
			continue
		}
		logits := m.linear(head, m.norm("model.norm.weight", x))
		var sum float64
		for _, v := range logits {
			sum += math.Exp(v)
		}
		loss += math.Log(sum) - logits[targets[i]]
	}
	return loss
}

func (m *refModel) layer(xs [][]float64, l int) {
	p := "model.layers." + string(rune('0'+l)) + "."
	var ks, vs [][]float64
	outs := make([][]float64, len(xs))
	for i, x := range xs {
		n := m.norm(p+"input_layernorm.weight", x)
		q, k := m.linear(p+"self_attn.q_proj.weight", n), m.linear(p+"self_attn.k_proj.weight", n)
		m.rope(q, i)
		m.rope(k, i)
		ks, vs = append(ks, k), append(vs, m.linear(p+"self_attn.v_proj.weight", n))
		outs[i] = m.linear(p+"self_attn.o_proj.weight", m.attend(q, ks, vs))
	}
	for i, x := range xs {
		add(x, outs[i])
		n := m.norm(p+"post_attention_layernorm.weight", x)
		g, u := m.linear(p+"mlp.gate_proj.weight", n), m.linear(p+"mlp.up_proj.weight", n)
		for j := range g {
			g[j] = g[j] / (1 + math.Exp(-g[j])) * u[j]
		}
		add(x, m.linear(p+"mlp.down_proj.weight", g))
	}
}

func (m *refModel) attend(q []float64, ks, vs [][]float64) []float64 {
	c := m.c
	out := make([]float64, c.QDim())
	for h := range c.Heads {
		kv := h / (c.Heads / c.KVHeads) * c.HeadDim
		p := make([]float64, len(ks))
		var sum float64
		for j, k := range ks {
			var dot float64
			for d := range c.HeadDim {
				dot += q[h*c.HeadDim+d] * k[kv+d]
			}
			p[j] = math.Exp(dot / math.Sqrt(float64(c.HeadDim)))
			sum += p[j]
		}
		for j, v := range vs {
			for d := range c.HeadDim {
				out[h*c.HeadDim+d] += p[j] / sum * v[kv+d]
			}
		}
	}
	return out
}

func add(x, y []float64) {
	for i := range x {
		x[i] += y[i]
	}
}

// loss splits a batch into its documents and adds up their losses.
func (m *refModel) loss(b *Batch) float64 {
	var sum float64
	for r := range b.B {
		for lo := r * b.T; lo < (r+1)*b.T; {
			hi := lo + 1
			for hi < (r+1)*b.T && (b.Segments == nil || b.Segments[hi] == b.Segments[lo]) {
				hi++
			}
			if b.Segments == nil || b.Segments[lo] != Padding {
				sum += m.document(b.Tokens[lo:hi], b.Targets[lo:hi])
			}
			lo = hi
		}
	}
	return sum
}
