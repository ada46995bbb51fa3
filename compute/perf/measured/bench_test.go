package measured

import "testing"

// BenchmarkCorrect answers with more rows at hand than count.
func BenchmarkCorrect(b *testing.B) {
	book := newBook()
	for i := range near + 20 {
		q := question(b, "mistral-7b", 1<<(i%8), 1<<(i/8))
		if err := book.Add(told(b, q, 0.8, "run", today)); err != nil {
			b.Fatal(err)
		}
	}
	q := question(b, "llama-3-8b", 8, 1024)
	a := answer(b, q)
	b.ReportAllocs()
	for b.Loop() {
		book.Correct(q, a)
	}
}
