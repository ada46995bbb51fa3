//go:build unix

package decode

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/grammar"
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

// benchForm decodes with and without a form in turns on one engine, the same number of tokens each time, and reports the
// time with it over the time without (median over the rounds).
func benchForm(b *testing.B, streams int) {
	e := newEngine(b, tiny(), Options{TokenBytes: jsonPieces})
	g, err := grammar.JSONSchema([]byte(listing))
	if err != nil {
		b.Fatal(err)
	}
	form, err := grammar.New(g, e.Vocab())
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	lengths := slices.Repeat([]int{240}, streams) // of the documents last written
	round := func(form *grammar.Automaton, seed uint64) float64 {
		all := make([]*Stream, streams)
		begin, tokens := spent(), 0
		for i := range all {
			own, most := seed*64+uint64(i), 240
			if form == nil {
				most = lengths[i]
			}
			if all[i], err = e.Submit(context.Background(), &Request{Prompts: [][]int32{prompt(rng, 8)}, MaxTokens: most, IgnoreEOS: true, Form: form,
				Sampling: Sampling{Temperature: 1, Seed: &own}}); err != nil {
				b.Fatal(err)
			}
		}
		for i, s := range all {
			out, err := collect(s, 1)
			if err != nil {
				b.Fatal(err)
			}
			lengths[i] = len(out[0].Tokens)
			tokens += lengths[i]
		}
		return (spent() - begin).Seconds() / float64(tokens)
	}
	var ratios, rates []float64
	for i := range b.N + 1 {
		before := 0.0
		if i%2 == 1 {
			before = round(nil, uint64(i))
		}
		with := round(form, uint64(i))
		if i%2 == 0 {
			before = round(nil, uint64(i))
		}
		if i > 0 { // the first warms up
			ratios, rates = append(ratios, with/before), append(rates, 1/with)
		}
	}
	slices.Sort(ratios)
	slices.Sort(rates)
	b.ReportMetric(ratios[len(ratios)/2], "with/without")
	b.ReportMetric(rates[len(rates)/2], "tok/CPU-s")
}

func BenchmarkForm1(b *testing.B) { benchForm(b, 1) }
func BenchmarkForm8(b *testing.B) { benchForm(b, 8) }
