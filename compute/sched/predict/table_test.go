package predict

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestBuckets(t *testing.T) {
	for i := range buckets {
		if edges[i] >= edges[i+1] {
			t.Fatalf("bucket %d is empty: %d to %d", i, edges[i], edges[i+1])
		}
		if i > 0 {
			want := math.Exp2(firstBit + float64(i)/perDoubling)
			if got := float64(edges[i]); got > want || got < want-5 {
				t.Errorf("bucket %d begins at %v, not %v", i, got, want)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.OneOf(rapid.Int64Range(0, 1<<12), rapid.Int64Range(0, longest-1)).Draw(t, "ms")
		if b := bucketOf(ms); ms < edges[b] || ms >= edges[b+1] {
			t.Fatalf("%d lies in bucket %d, %d to %d", ms, b, edges[b], edges[b+1])
		}
	})
	if bucketOf(math.MaxInt64) != buckets-1 || bucketOf(longest) != buckets-1 {
		t.Error("the longest durations are not in the last bucket")
	}
}

// someCounts draws observations and jobs that still run.
func someCounts(t *rapid.T) (h counts, open [buckets]uint32) {
	for _, ms := range rapid.SliceOfN(rapid.Int64Range(0, longest), 0, 30).Draw(t, "ended") {
		h.add(ms>>rapid.IntRange(0, 20).Draw(t, "shift"), 1)
	}
	for _, ms := range rapid.SliceOfN(rapid.Int64Range(0, longest), 0, 10).Draw(t, "running") {
		open[bucketOf(ms>>rapid.IntRange(0, 20).Draw(t, "shift"))]++
	}
	return h, open
}

// slowFold is fold in floating point, one job that still runs after the other.
func slowFold(h *counts, open *[buckets]uint32, prior *table, weight float64) (p [buckets]float64) {
	for i := range p {
		p[i] = float64(h[i])/unit + weight*float64(prior.tail[i]-prior.tail[i+1])/float64(prior.tail[0])
	}
	for i, n := range open {
		rest := 0.0
		for _, x := range p[i+1:] {
			rest += x
		}
		if rest*unit < 1 {
			continue
		}
		for k := i + 1; k < buckets; k++ {
			p[k] *= 1 + float64(n)/rest
		}
	}
	total := 0.0
	for _, x := range p {
		total += x
	}
	for i := range p {
		p[i] /= total
	}
	return p
}

func TestFoldIsThePosteriorMean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, open := someCounts(t)
		var got table
		got.fold(&h, &open, &flat, levelWeight*unit/16)
		want := slowFold(&h, &open, &flat, levelWeight/16.0)
		for i, p := range want {
			have := float64(got.tail[i]-got.tail[i+1]) / float64(got.tail[0])
			if math.Abs(have-p) > 1e-4 {
				t.Fatalf("bucket %d has %.6f, not %.6f", i, have, p)
			}
		}
	})
}

// slowIndex is index in floating point.
func slowIndex(m *table, age int64) float64 {
	best := math.Inf(1)
	b := bucketOf(age)
	ended, spent := 0.0, 0.0
	all := float64(m.within(b, age)) + float64(m.tail[b+1])
	for i := b; i < buckets; i++ {
		begin, p := max(edges[i], age), float64(m.tail[i]-m.tail[i+1])
		if i == b {
			p = float64(m.within(b, age))
		}
		ended += p
		spent += p * (float64(begin+edges[i+1])/2 - float64(age))
		if ended > 0 {
			best = min(best, (spent+(all-ended)*float64(edges[i+1]-age))/ended)
		}
	}
	return best
}

func TestIndexIsTheLeastTimePerCompletion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, open := someCounts(t)
		var m table
		m.fold(&h, &open, &flat, runWeight*unit/16)
		age := rapid.Int64Range(0, longest).Draw(t, "age") >> rapid.IntRange(0, 30).Draw(t, "shift")
		got, want := float64(m.index(age)), slowIndex(&m, age)
		if math.IsInf(want, 1) {
			return // nothing is left above this age; the answer is a convention
		}
		if math.Abs(got-want) > 2+want*1e-6 {
			t.Fatalf("at %d ms the index is %v, not %v", age, got, want)
		}
	})
}

func TestQuantilesOfATable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, open := someCounts(t)
		var m table
		m.fold(&h, &open, &flat, runWeight*unit/16)
		age := rapid.Int64Range(0, longest).Draw(t, "age") >> rapid.IntRange(0, 30).Draw(t, "shift")
		before := int64(0)
		for _, level := range []uint64{1, 655, 6554, 32768, 58982, 65535} {
			q := m.quantile(age, level)
			if q < before {
				t.Fatalf("the quantile at %d/65536 is %d, below %d", level, q, before)
			}
			before = q
		}
		all := m.within(bucketOf(age), age) + uint64(m.tail[bucketOf(age)+1])
		if all < fullMass>>12 {
			return // too little mass to look at its parts
		}
		at := age + m.quantile(age, 32768)
		left := m.within(bucketOf(at), at) + uint64(m.tail[bucketOf(at)+1])
		if off := int64(left) - int64(all/2); off > int64(all>>6)+64 || off < -int64(all>>6)-64 {
			t.Fatalf("above the median lie %d of %d", left, all)
		}
	})
}

func TestCertainDurationRanksByWhatIsLeft(t *testing.T) {
	var h counts
	b := bucketOf(hour)
	h[b] = 1 << 40
	var m table
	m.set(&h, h.total())
	for _, age := range []int64{0, 10 * minute, 40 * minute, 50 * minute} {
		if got, want := m.index(age), (edges[b]+edges[b+1])/2-age; got != want {
			t.Errorf("at %d min the index is %d, not %d", age/minute, got, want)
		}
	}
}

// The index is the least over all bounds, though not all are looked at.
func TestIndexLooksFarEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, open := someCounts(t)
		var m table
		m.fold(&h, &open, &flat, runWeight*unit/16)
		age := rapid.Int64Range(0, longest-1).Draw(t, "age") >> rapid.IntRange(0, 30).Draw(t, "shift")
		b := bucketOf(age)
		first := m.within(b, age)
		all := first + uint64(m.tail[b+1])
		if all == 0 {
			return
		}
		ended, spent, least := uint64(0), uint64(0), new(big.Rat)
		for i := b; i < buckets; i++ {
			mass := uint64(m.tail[i] - m.tail[i+1])
			if i == b {
				mass = first
			}
			if mass == 0 {
				continue
			}
			ended += mass
			spent += mass * uint64((max(edges[i], age)+edges[i+1])/2-age)
			took := new(big.Int).SetUint64(spent + (all-ended)*uint64(edges[i+1]-age))
			if x := new(big.Rat).SetFrac(took, new(big.Int).SetUint64(ended)); least.Sign() == 0 || x.Cmp(least) < 0 {
				least = x
			}
		}
		want := new(big.Int).Div(least.Num(), least.Denom())
		if got := m.index(age); got != want.Int64() {
			t.Fatalf("the index at %d is %d, not %d", age, got, want)
		}
	})
}
