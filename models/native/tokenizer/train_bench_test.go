package tokenizer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// BenchmarkTrain learns 4,096 tokens from about 4 MB of words of both scripts, few of them frequent.
func BenchmarkTrain(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 60_000)
	for i := range words {
		var w strings.Builder
		for range 1 + r.IntN(4) {
			if i%3 == 0 {
				w.WriteRune(rune(0x4E00 + r.IntN(3000)))
			} else {
				w.WriteString([]string{"ka", "ti", "on", "re", "st", "in", "g", "th", "er", "s", "a", "mo", "del"}[r.IntN(13)])
			}
		}
		words[i] = w.String()
	}
	texts := make([]string, 4000)
	size := 0
	for i := range texts {
		var t strings.Builder
		for range 150 {
			x := r.Float64()
			t.WriteString(words[int(x*x*x*float64(len(words)))])
			t.WriteByte(' ')
		}
		texts[i] = t.String()
		size += t.Len()
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		if _, err := Train(slices.Values(texts), 4096, Specials(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
