package grammar

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// large is a vocabulary of the size that large models have: all bytes and pieces drawn at random of words, numbers and JSON.
func large(size int) ([][]byte, *Vocab) {
	rng := rand.New(rand.NewPCG(1, 1))
	list := make([][]byte, 0, size)
	for c := range 256 {
		list = append(list, []byte{byte(c)})
	}
	seen := map[string]bool{}
	const letters = "etaoinshrdlucmfwypvbgkjqxz"
	for len(list) < size {
		var b strings.Builder
		if rng.IntN(2) == 0 {
			b.WriteByte(' ')
		}
		switch rng.IntN(12) {
		case 0:
			fmt.Fprint(&b, rng.IntN(1000))
		case 1:
			for range 1 + rng.IntN(3) {
				b.WriteString([]string{`"`, `{"`, `":`, `},`, `]`, "\n", `,`, `":"`, `"}`}[rng.IntN(9)])
			}
		case 2:
			for range 1 + rng.IntN(2) {
				b.WriteRune(rune(0x4e00 + rng.IntN(8000)))
			}
		}
		for range rng.IntN(8) {
			b.WriteByte(letters[min(rng.IntN(26), rng.IntN(26))])
		}
		if s := b.String(); s != "" && !seen[s] {
			seen[s] = true
			list = append(list, []byte(s))
		}
	}
	return list, NewVocab(list)
}

const person = `{"type":"object","properties":{"name":{"type":"string","maxLength":40},"email":{"type":"string","format":"email"},"age":{"type":"integer","minimum":0,"maximum":130},
	"tags":{"type":"array","items":{"type":"string"}},"friends":{"type":"array","items":{"$ref":"#"}}},"required":["name","age","friends"],"additionalProperties":false}`

// BenchmarkMasks151k draws tokens of documents over a vocabulary of 151,000: microseconds for each, found out for the first time
// and after that.
func BenchmarkMasks151k(b *testing.B) {
	list, v := large(151_000)
	g, err := JSONSchema([]byte(person))
	if err != nil {
		b.Fatal(err)
	}
	for _, warm := range []bool{false, true} {
		b.Run(fmt.Sprintf("warm=%v", warm), func(b *testing.B) {
			a, err := New(g, v)
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			tokens := 0
			write := func() {
				s := a.Begin(300)
				for {
					may := s.Allowed()
					id := rng.Int32N(int32(len(list)))
					for may.Bits[id>>6]>>(id&63)&1 == 0 {
						id = (id + 1) % int32(len(list))
					}
					tokens++
					if whole, err := s.Accept(id, list[id]); err != nil || whole {
						return
					}
				}
			}
			if warm {
				for range 30 {
					write()
				}
				tokens = 0
			}
			b.ResetTimer()
			for range b.N {
				write()
				if !warm {
					a.forget()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(tokens), "µs/token")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	_, v := large(151_000)
	for b.Loop() {
		g, err := JSONSchema([]byte(person))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := New(g, v); err != nil {
			b.Fatal(err)
		}
	}
}
