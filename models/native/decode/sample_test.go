package decode

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// lever is a source whose Float64 is set by the test.
type lever struct{ at float64 }

func (l *lever) Uint64() uint64 { return uint64(l.at * (1 << 53)) }

// refDistribution is the probability of each token under the sampling rules, from sorted lists in float64.
func refDistribution(logits []float32, s Sampling) []float64 {
	p := make([]float64, len(logits))
	top := math.Inf(-1)
	for i, v := range logits {
		p[i] = float64(v) / s.Temperature
		top = max(top, p[i])
	}
	ids := make([]int, 0, len(p))
	for i := range p {
		if p[i] = math.Exp(p[i] - top); p[i] >= s.MinP {
			ids = append(ids, i)
		}
	}
	slices.SortStableFunc(ids, func(a, b int) int {
		switch {
		case p[a] > p[b]:
			return -1
		case p[a] < p[b]:
			return 1
		}
		return a - b
	})
	if s.TopK > 0 {
		ids = ids[:min(s.TopK, len(ids))]
	}
	sum := 0.0
	for _, id := range ids {
		sum += p[id]
	}
	if s.TopP > 0 && s.TopP < 1 {
		run := 0.0
		for i, id := range ids {
			if run += p[id]; run >= s.TopP*sum {
				ids, sum = ids[:i+1], run
				break
			}
		}
	}
	out := make([]float64, len(p))
	for _, id := range ids {
		out[id] = p[id] / sum
	}
	return out
}

func TestDrawFollowsTheDistribution(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "rng"), 1))
		logits := make([]float32, rapid.IntRange(1, 40).Draw(rt, "vocab"))
		for i := range logits {
			logits[i] = float32(rng.NormFloat64() * 3)
		}
		s := Sampling{Temperature: rapid.Float64Range(0.1, 2).Draw(rt, "temperature"), TopK: rapid.IntRange(0, 45).Draw(rt, "k"),
			TopP: rapid.SampledFrom([]float64{0, 1e-9, 0.3, 0.7, 0.95, 0.999, 1}).Draw(rt, "p"),
			MinP: rapid.SampledFrom([]float64{0, 0.05, 0.5, 1}).Draw(rt, "min")}
		want := refDistribution(logits, s)
		l := &lever{}
		p := sampler{Sampling: s, rng: rand.New(l)}
		const n = 400
		got := make([]float64, len(logits))
		for i := range n {
			l.at = (float64(i) + 0.5) / n // all of the unit interval, evenly
			got[p.pick(slices.Clone(logits), make([]int32, len(logits)))] += 1.0 / n
		}
		for id := range want {
			if math.Abs(got[id]-want[id]) > 1.01/n+1e-5 || (want[id] == 0 && got[id] > 0) {
				rt.Fatalf("token %d: share %v, want %v (%+v)", id, got[id], want[id], s)
			}
		}
	})
}

func TestPenaltiesAndBias(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "rng"), 2))
		const vocab = 12
		prompt := []int32{1, 1, 2, 3}
		s := Sampling{PresencePenalty: rapid.Float64Range(-2, 2).Draw(rt, "presence"), FrequencyPenalty: rapid.Float64Range(-2, 2).Draw(rt, "frequency"),
			RepetitionPenalty: rapid.SampledFrom([]float64{0, 1, 1.3, 0.7}).Draw(rt, "repetition"), LogitBias: map[int32]float64{4: 2.5, 1: -1}}
		p := newSampler(s, vocab, 1, 0, prompt)
		count := map[int32]int{}
		for range 15 {
			logits := make([]float32, vocab)
			want := make([]float64, vocab)
			for i := range logits {
				logits[i] = float32(rng.NormFloat64())
				x := float64(logits[i]) + s.LogitBias[int32(i)]
				n := count[int32(i)]
				if r := s.RepetitionPenalty; r != 0 && (n > 0 || slices.Contains(prompt, int32(i))) {
					if x > 0 {
						x /= r
					} else {
						x *= r
					}
				}
				if n > 0 {
					x -= s.PresencePenalty + float64(n)*s.FrequencyPenalty
				}
				want[i] = x
			}
			got := p.pick(logits, make([]int32, vocab))
			for i := range want {
				if math.Abs(want[i]-float64(logits[i])) > 1e-5 {
					rt.Fatalf("token %d: logit %v, want %v after %v", i, logits[i], want[i], count)
				}
			}
			count[got]++
		}
	})
}

func TestPickTakesTheLowestOfEqualsAndRefusesNaN(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{1, 3, 3}, 1}, {[]float32{-inf, -5, -inf}, 1}, {[]float32{nan, 1}, -1}, {[]float32{1, nan}, -1},
		{[]float32{1, inf}, -1}, {[]float32{-inf, -inf}, -1},
	} {
		for _, temperature := range []float64{0, 1e-9, 1} {
			p := newSampler(Sampling{Temperature: temperature, TopK: 1}, len(c.logits), 1, 1, nil)
			if got := p.pick(slices.Clone(c.logits), make([]int32, len(c.logits))); got != c.want {
				t.Errorf("%v at %v: %d, want %d", c.logits, temperature, got, c.want)
			}
		}
	}
}

func TestLogprobs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		logits := rapid.SliceOfN(rapid.Float32Range(-30, 30), 1, 50).Draw(rt, "logits")
		token := rapid.IntRange(0, len(logits)-1).Draw(rt, "token")
		top := make([]TokenLogprob, rapid.IntRange(0, min(20, len(logits))).Draw(rt, "top"))
		got := logprobs(logits, make([]float32, len(logits)), int32(token), top)
		sum := 0.0
		for _, v := range logits {
			sum += math.Exp(float64(v))
		}
		if want := float64(logits[token]) - math.Log(sum); math.Abs(want-float64(got)) > 1e-4 {
			rt.Fatalf("%v, want %v", got, want)
		}
		sorted := slices.Clone(logits)
		slices.Sort(sorted)
		for i, a := range top {
			if logits[a.Token] != sorted[len(sorted)-1-i] || math.Abs(float64(a.Logprob)-float64(logits[a.Token])+math.Log(sum)) > 1e-4 {
				rt.Fatalf("place %d: %+v of %v", i, a, logits)
			}
		}
	})
}
