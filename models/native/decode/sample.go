package decode

import (
	"math"
	"math/rand/v2"

	"github.com/triarch-ai/triarch/models/native/grammar"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

// greedyBelow is the temperature under which the likeliest token is taken: dividing by less would overflow.
const greedyBelow = 1e-5

// Sampling says how the next token is drawn. The zero value is greedy.
//
// The order is fixed: logit bias; repetition, frequency and presence penalty; then greedy choice, or temperature,
// min-p, top-k and top-p (each over what the one before left), and one draw from the choice's own generator.
type Sampling struct {
	Temperature       float64           // 0 takes the likeliest token; of equals the lowest id
	TopK              int               // keep the K likeliest; 0 keeps all
	TopP              float64           // keep the likeliest until their sum reaches P; 0 or 1 keeps all
	MinP              float64           // keep tokens at least MinP times as likely as the likeliest; 0 keeps all
	PresencePenalty   float64           // taken from the logit of each token generated so far
	FrequencyPenalty  float64           // the same, times the number of its occurrences
	RepetitionPenalty float64           // divides positive and multiplies negative logits of tokens in prompt or output; 0 or 1 is off
	LogitBias         map[int32]float64 // added to logits
	Seed              *uint64           // the same seed gives the same tokens; nil draws one
}

// TokenLogprob is a token and the natural logarithm of its probability under the model itself, before bias,
// penalties and temperature.
type TokenLogprob struct {
	Token   int32
	Logprob float32
}

// sampler draws the tokens of one choice.
type sampler struct {
	Sampling
	rng    *rand.Rand
	bias   []TokenLogprob // LogitBias as a list, Logprob holding the bias
	counts []int32        // occurrences of each token in the output; nil without penalties
	seen   []int32        // the tokens with counts or in the prompt, each once
	inSeen []bool

	allowed grammar.Allowed // what may come; all if it has no bits
	ends    []int32         // tokens that may come besides when allowed.End
}

func newSampler(s Sampling, vocab int, seed, choice uint64, prompt []int32) sampler {
	p := sampler{Sampling: s, rng: rand.New(rand.NewPCG(seed, choice))}
	for id, b := range s.LogitBias {
		p.bias = append(p.bias, TokenLogprob{id, float32(b)})
	}
	if s.PresencePenalty == 0 && s.FrequencyPenalty == 0 && !p.repeats() {
		return p
	}
	p.counts, p.inSeen = make([]int32, vocab), make([]bool, vocab)
	p.seen = make([]int32, 0, vocab)
	if p.repeats() {
		for _, t := range prompt {
			p.see(t)
		}
	}
	return p
}

func (p *sampler) repeats() bool { return p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1 }

func (p *sampler) see(t int32) {
	if !p.inSeen[t] {
		p.inSeen[t] = true
		p.seen = append(p.seen, t)
	}
}

// pick draws a token from logits, which it overwrites; order is scratch of the same length. It returns -1 when the
// logits hold no finite maximum: the model is broken.
func (p *sampler) pick(logits []float32, order []int32) int32 {
	p.penalise(logits)
	if p.allowed.Bits != nil {
		p.restrict(logits)
	}
	best := argmax(logits)
	if best < 0 {
		return -1
	}
	if p.Temperature >= greedyBelow {
		best = p.draw(logits, order, logits[best])
	}
	if p.counts != nil {
		p.see(best)
		p.counts[best]++
	}
	return best
}

// restrict makes impossible what is not allowed.
func (p *sampler) restrict(logits []float32) {
	never := float32(math.Inf(-1))
	var kept [8]float32
	ends := kept[:0]
	if p.allowed.End {
		for _, id := range p.ends {
			ends = append(ends, logits[id])
		}
	}
	for i, word := range p.allowed.Bits {
		part := logits[64*i : min(64*(i+1), len(logits))]
		switch word {
		case math.MaxUint64:
		case 0:
			for j := range part {
				part[j] = never
			}
		default:
			for j := range part {
				if word>>j&1 == 0 {
					part[j] = never
				}
			}
		}
	}
	for i, v := range ends {
		logits[p.ends[i]] = v
	}
}

func (p *sampler) penalise(logits []float32) {
	for _, b := range p.bias {
		logits[b.Token] += b.Logprob
	}
	for _, t := range p.seen {
		l := logits[t]
		if p.repeats() {
			if l > 0 {
				l /= float32(p.RepetitionPenalty)
			} else {
				l *= float32(p.RepetitionPenalty)
			}
		}
		if n := p.counts[t]; n > 0 {
			l -= float32(float64(n)*p.FrequencyPenalty + p.PresencePenalty)
		}
		logits[t] = l
	}
}

// argmax is the lowest index of the greatest value, or -1 when that is not finite or any value is NaN.
func argmax(x []float32) int32 {
	best := int32(-1)
	m := float32(math.Inf(-1))
	for i, v := range x {
		if v > m {
			m, best = v, int32(i)
		} else if v != v {
			return -1
		}
	}
	if m > math.MaxFloat32 {
		return -1
	}
	return best
}

// draw samples by temperature and filters. Probabilities are relative to the likeliest token's, which is 1.
func (p *sampler) draw(x []float32, order []int32, top float32) int32 {
	inv := float32(1 / p.Temperature)
	for i, v := range x {
		x[i] = max((v-top)*inv, -200) // below any weight that counts, and never an infinity
	}
	kernel.ExpInto(x, x)
	floor := max(float32(p.MinP), math.SmallestNonzeroFloat32) // what weighs nothing is never drawn
	ranked := (p.TopK > 0 && p.TopK < len(x)) || (p.TopP > 0 && p.TopP < 1)
	kept, total := order[:0], 0.0
	for i, v := range x {
		if v >= floor {
			total += float64(v)
			kept = append(kept, int32(i))
		}
	}
	if ranked {
		kept, total = p.filter(x, kept, total)
	}
	u := p.rng.Float64() * total
	for _, id := range kept {
		if u -= float64(x[id]); u < 0 {
			return id
		}
	}
	return kept[len(kept)-1] // rounding
}

// filter keeps the top-k, then the top-p of them, likeliest first, and returns them with the sum of their weights.
// It pops a heap, so its cost grows with what is kept, not with a full sort.
func (p *sampler) filter(x []float32, ids []int32, total float64) ([]int32, float64) {
	h := ranking{x, ids}
	for i := len(ids)/2 - 1; i >= 0; i-- {
		h.down(i, len(ids))
	}
	k := len(ids)
	if p.TopK > 0 {
		k = min(k, p.TopK)
	}
	limit := 2.0
	if p.TopP > 0 && p.TopP < 1 {
		limit = p.TopP
	}
	if p.TopK <= 0 || limit > 1 { // one pass: the sum to compare with is known, or not needed
		return h.popUntil(k, limit*total)
	}
	best, sum := h.popUntil(k, math.Inf(1))
	kept := 0.0
	for i, id := range best {
		if kept += float64(x[id]); kept >= limit*sum {
			return best[:i+1], kept
		}
	}
	return best, kept
}

// ranking is a heap of token ids, likeliest first; of equals the lowest id.
type ranking struct {
	x   []float32
	ids []int32
}

func (h ranking) before(a, b int32) bool {
	return h.x[a] > h.x[b] || (h.x[a] == h.x[b] && a < b)
}

func (h ranking) down(i, n int) {
	for {
		c := 2*i + 1
		if c >= n {
			return
		}
		if c+1 < n && h.before(h.ids[c+1], h.ids[c]) {
			c++
		}
		if !h.before(h.ids[c], h.ids[i]) {
			return
		}
		h.ids[i], h.ids[c] = h.ids[c], h.ids[i]
		i = c
	}
}

// popUntil pops until k ids are out or their weights reach limit, and returns them in order, held at the front of
// the heap's own array, with the sum of their weights.
func (h ranking) popUntil(k int, limit float64) ([]int32, float64) {
	n, sum, out := len(h.ids), 0.0, 0
	for out < k && sum < limit {
		n--
		h.ids[0], h.ids[n] = h.ids[n], h.ids[0]
		h.down(0, n)
		sum += float64(h.x[h.ids[n]])
		out++
	}
	best := h.ids[n:] // popped ids lie at the end, last popped first
	for i, j := 0, len(best)-1; i < j; i, j = i+1, j-1 {
		best[i], best[j] = best[j], best[i]
	}
	return best, sum
}

// logprobs returns the log probability of token under raw logits and fills top with the likeliest, best first.
// scratch has the length of logits; top is not longer.
func logprobs(logits, scratch []float32, token int32, top []TokenLogprob) float32 {
	m := float32(math.Inf(-1))
	for _, v := range logits {
		m = max(m, v)
	}
	for i, v := range logits {
		scratch[i] = max(v-m, -200)
	}
	kernel.ExpInto(scratch, scratch)
	sum := 0.0
	for _, v := range scratch {
		sum += float64(v)
	}
	norm := m + float32(math.Log(sum))
	n := 0
	for i, v := range logits {
		if n == len(top) && (n == 0 || v <= top[n-1].Logprob) {
			continue
		}
		if n < len(top) {
			n++
		}
		j := n - 1
		for ; j > 0 && top[j-1].Logprob < v; j-- {
			top[j] = top[j-1]
		}
		top[j] = TokenLogprob{int32(i), v}
	}
	for i := range top {
		top[i].Logprob -= norm
	}
	return logits[token] - norm
}
