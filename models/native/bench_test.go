//go:build unix

package native

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/triarch-ai/triarch/models/native/kernel"
)

// BenchmarkTrainStep is one forward and backward pass and AdamW of 8x256 tokens on one thread, for the model of the
// project's published figures (3.34 M parameters, each row one text) and for one of a starter's size on packed
// conversations. tok/cpu-s counts the processor time of the process, so that a busy machine does not lower it much.
func BenchmarkTrainStep(b *testing.B) {
	c := Config{VocabSize: 512, Dim: 256, Layers: 4, Heads: 4, KVHeads: 4, HeadDim: 64, FFN: 704, MaxContext: 256,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: -1, EOS: -1, PAD: -1}
	b.Run("figures", func(b *testing.B) { benchStep(b, c, false) })
	c.Dim, c.Layers, c.Heads, c.KVHeads, c.HeadDim, c.FFN, c.VocabSize = 96, 3, 3, 3, 32, 256, 1024
	b.Run("starter", func(b *testing.B) { benchStep(b, c, true) })
}

func benchStep(b *testing.B, c Config, chats bool) {
	const rows, length = 8, 256
	w := NewWeights(c, 1)
	pool := kernel.NewPool(1)
	defer pool.Close()
	s, err := NewStep(w, rows, length, pool)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	batch := NewBatch(rows, length)
	for i := range batch.Tokens {
		batch.Tokens[i], batch.Targets[i] = int32(r.IntN(c.VocabSize)), int32(r.IntN(c.VocabSize))
		if chats {
			batch.Segments[i] = int32(i % length / 40)
			if i%length%40 < 15 {
				batch.Targets[i] = Ignore
			}
		}
	}
	m, v := AllocWeights(c), AllocWeights(c)
	ws, gs, ms, vs := w.Tensors(), s.Grads.Tensors(), m.Tensors(), v.Tensors()
	begin := cpuSeconds(b)
	for b.Loop() {
		s.ZeroGrads()
		if _, _, err := s.Accumulate(batch); err != nil {
			b.Fatal(err)
		}
		for i := range ws {
			kernel.AdamW(ws[i].Data, gs[i].Data, ms[i].Data, vs[i].Data, 1e-4, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1./2048)
		}
	}
	tokens := float64(rows*length) * float64(b.N)
	b.ReportMetric(tokens/b.Elapsed().Seconds(), "tok/s")
	b.ReportMetric(tokens/(cpuSeconds(b)-begin), "tok/cpu-s")
}

func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
