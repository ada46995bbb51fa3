package predict

import (
	"fmt"
	"testing"
)

// busyBook holds jobs in sweeps of twenty, a third of them running, after a past of ten thousand.
func busyBook(b testing.TB, jobs int) (*Book, []string, int64) {
	book := New(Options{})
	now := int64(0)
	for i := range 10_000 {
		now += minute
		must(b, book.Observe(Features{Queue: fmt.Sprint(i % 7), Chips: 1 << (i % 4)}, int64(i%997+10)*minute, now))
	}
	ids := make([]string, jobs)
	for i := range ids {
		if i%20 == 0 {
			now += 2 * minute
		}
		ids[i] = fmt.Sprintf("job-%08d", i)
		must(b, book.Arrive(ids[i], Features{Queue: fmt.Sprint(i / 20 % 7), Chips: 1 << (i / 20 % 4)}, now))
		if i%3 == 0 {
			must(b, book.Start(ids[i], 0, 0, now))
		}
	}
	return book, ids, now
}

func BenchmarkEstimate(b *testing.B) {
	book, ids, now := busyBook(b, 1000)
	book.Advance(now + hour)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		book.Estimate(ids[i%len(ids)], int64(i%97)*minute)
	}
}

func BenchmarkRank(b *testing.B) {
	book, ids, now := busyBook(b, 1000)
	book.Advance(now + hour)
	b.Run("waiting", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			book.Rank(ids[i%len(ids)], 0)
		}
	})
	b.Run("aged", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			book.Rank(ids[i%len(ids)], int64(i%97)*minute)
		}
	})
}

// A round: a minute passes and every job is asked for.
func BenchmarkRound(b *testing.B) {
	book, ids, now := busyBook(b, 10_000)
	for b.Loop() {
		now += minute
		book.Advance(now)
		for _, id := range ids {
			book.Estimate(id, 0)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ids)), "ns/job")
}

func BenchmarkClone(b *testing.B) {
	book, _, _ := busyBook(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		book.Clone()
	}
}

func BenchmarkMarshal(b *testing.B) {
	book, _, _ := busyBook(b, 10_000)
	var n int
	for b.Loop() {
		data, _ := book.MarshalBinary()
		n = len(data)
	}
	b.ReportMetric(float64(n), "bytes")
}
