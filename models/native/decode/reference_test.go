package decode

import (
	"math"

	"github.com/triarch-ai/triarch/models/native"
)

// referenceLogits is the whole forward pass over all tokens in float64, written from the formulas without blocks,
// cache or kernels: the logits of the last position.
func referenceLogits(w *native.Weights, tokens []int32) []float64 {
	head := w.Head
	if head == nil {
		head = w.Embed
	}
	return refLinear(head, referenceHidden(w, tokens)[len(tokens)-1])
}

// referenceHidden is the last hidden state of every position, behind the last norm.
func referenceHidden(w *native.Weights, tokens []int32) [][]float64 {
	c := w.Config
	T, D, hd := len(tokens), c.Dim, c.HeadDim
	x := make([][]float64, T)
	for t, id := range tokens {
		x[t] = widen(w.Embed[int(id)*D : (int(id)+1)*D])
	}
	for _, l := range w.Layers {
		q, k, v := make([][]float64, T), make([][]float64, T), make([][]float64, T)
		for t := range x {
			h := refNorm(x[t], l.AttnNorm, c.NormEps)
			q[t], k[t], v[t] = refLinear(l.Q, h), refLinear(l.K, h), refLinear(l.V, h)
			refRotate(q[t], t, hd, c.RopeTheta)
			refRotate(k[t], t, hd, c.RopeTheta)
		}
		for t := range x {
			att := make([]float64, c.Heads*hd)
			for h := range c.Heads {
				g := h / (c.Heads / c.KVHeads)
				refAttend(att[h*hd:(h+1)*hd], q[t][h*hd:], k[:t+1], v[:t+1], g*hd)
			}
			refAdd(x[t], refLinear(l.O, att))
			h := refNorm(x[t], l.FFNNorm, c.NormEps)
			gate, up := refLinear(l.Gate, h), refLinear(l.Up, h)
			for i, z := range gate {
				gate[i] = z / (1 + math.Exp(-z)) * up[i]
			}
			refAdd(x[t], refLinear(l.Down, gate))
		}
	}
	for t := range x {
		x[t] = refNorm(x[t], w.Norm, c.NormEps)
	}
	return x
}

func refAttend(out, q []float64, k, v [][]float64, at int) {
	weights, sum := make([]float64, len(k)), 0.0
	for t := range k {
		for i := range out {
			weights[t] += q[i] * k[t][at+i]
		}
		weights[t] = math.Exp(weights[t] / math.Sqrt(float64(len(out))))
		sum += weights[t]
	}
	for t, p := range weights {
		for i := range out {
			out[i] += p / sum * v[t][at+i]
		}
	}
}

func refRotate(x []float64, pos, hd int, theta float32) {
	for ; len(x) > 0; x = x[hd:] {
		for j := range hd / 2 {
			s, c := math.Sincos(float64(pos) * math.Pow(float64(theta), -2*float64(j)/float64(hd)))
			a, b := x[j], x[j+hd/2]
			x[j], x[j+hd/2] = a*c-b*s, b*c+a*s
		}
	}
}

func refNorm(x []float64, w []float32, eps float32) []float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	r := 1 / math.Sqrt(sum/float64(len(x))+float64(eps))
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v * r * float64(w[i])
	}
	return y
}

func refLinear(w []float32, x []float64) []float64 {
	y := make([]float64, len(w)/len(x))
	for i := range y {
		for j, v := range x {
			y[i] += float64(w[i*len(x)+j]) * v
		}
	}
	return y
}

func refAdd(x, y []float64) {
	for i := range x {
		x[i] += y[i]
	}
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}
