//go:build unix

package decode

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/native"
)

// tiny is the model the speed targets are stated for: 3.3 million parameters.
func tiny() *native.Weights {
	return native.NewWeights(native.Config{VocabSize: 512, Dim: 256, Layers: 4, Heads: 4, KVHeads: 4, HeadDim: 64, FFN: 704,
		MaxContext: 256, RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: 1, EOS: 3, PAD: 0}, 1)
}

// spent is the processor time of this process so far: on a shared machine it says more than the wall clock.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(b *testing.B, begin time.Duration, tokens int) {
	b.ReportMetric(float64(tokens)/(spent()-begin).Seconds(), "tok/CPU-s")
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tok/s")
}

func benchDecode(b *testing.B, streams int) {
	e := newEngine(b, tiny(), Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	b.ResetTimer()
	begin := spent()
	events := make([]Event, streams)
	for done := 0; done < b.N; {
		take := min(240, (b.N-done+streams-1)/streams)
		all := make([]*Stream, streams)
		for i := range all {
			s, err := e.Submit(context.Background(), &Request{Prompts: [][]int32{prompt(rng, 8)}, MaxTokens: take, IgnoreEOS: true})
			if err != nil {
				b.Fatal(err)
			}
			all[i] = s
		}
		for range take {
			for i, s := range all {
				if err := s.Next(&events[i]); err != nil {
					b.Fatal(err)
				}
			}
		}
		done += take * streams
	}
	report(b, begin, b.N)
}

// One sequence, one thread; readers included.
func BenchmarkDecode1(b *testing.B) { benchDecode(b, 1) }

// Eight sequences together: the sum of their tokens.
func BenchmarkDecode8(b *testing.B) { benchDecode(b, 8) }

// Prompts of 240 tokens, none alike, one token generated for each.
func BenchmarkPrefill(b *testing.B) {
	e := newEngine(b, tiny(), Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	b.ResetTimer()
	begin := spent()
	for range b.N {
		s, err := e.Submit(context.Background(), &Request{Prompts: [][]int32{prompt(rng, 240)}, MaxTokens: 1})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := collect(s, 1); err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
	report(b, begin, 240*b.N)
}
