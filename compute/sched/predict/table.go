package predict

import "math/bits"

// counts are weights of durations by bucket; one observation has the weight unit.
type counts [buckets]uint64

// unit is the weight of one observation. No sum of weights passes heaviest.
const (
	unit     = 1 << 24
	heaviest = 1 << 50
)

// spread is how an observation is laid on its bucket and its neighbours on either side, in 1024ths: of two jobs sent off
// together, the later runs about as long as the earlier, not to the second.
var spread = [...]uint64{614, 128, 41, 20, 10, 6}

// add counts one duration as the n-th part of an observation.
func (h *counts) add(ms, n int64) {
	b := bucketOf(ms)
	for i, part := range spread {
		w := part * (unit / 1024) / uint64(n)
		if i == 0 {
			h[b] += w
			continue
		}
		h[max(b-i, 0)] += w
		h[min(b+i, buckets-1)] += w
	}
}

// fade takes away the given part of all weights, in 65536ths.
func (h *counts) fade(part uint64) {
	for i, w := range h {
		h[i] = w - w>>16*part - w&0xffff*part>>16
	}
}

// total is the sum of the weights.
func (h *counts) total() (t uint64) {
	for _, w := range h {
		t += w
	}
	return t
}

// table is a distribution of durations: tail[i] is the mass of bucket i and all above. tail[0] lies between
// fullMass/2 and fullMass.
type table struct{ tail [buckets + 1]uint32 }

const fullMass = 1 << 28

// flat is the distribution of who knows nothing: every bucket alike.
var flat = func() (t table) {
	for i := range t.tail {
		t.tail[i] = uint32(buckets-i) * ((fullMass - 1) / buckets)
	}
	return t
}()

// fold mixes what was observed with a prior of the given weight: the mean of the posterior of a Dirichlet process.
// open counts jobs that still run, by the bucket of their age: the mass of each is spread over what is longer, in
// proportion, from the shortest up (Efron 1967; Susarla and Van Ryzin 1976). The prior may be the table itself.
func (t *table) fold(h *counts, open *[buckets]uint32, prior *table, weight uint64) {
	var w counts
	prior.weigh(&w, weight)
	t.mix(h, open, &w)
}

// weigh gives the weights that stand for a table as a prior of the given weight.
func (t *table) weigh(w *counts, weight uint64) {
	scale, above := (weight<<30)/uint64(t.tail[0]), t.tail[0]
	for i := range w {
		below := t.tail[i+1]
		w[i], above = uint64(above-below)*scale>>30, below
	}
}

// mix is fold with the prior's weights; nil for h or open: there are none.
func (t *table) mix(h *counts, open *[buckets]uint32, prior *counts) {
	raw, total := *prior, uint64(0)
	if h != nil {
		for i, w := range h {
			raw[i] += w
		}
	}
	for _, w := range raw {
		total += w
	}
	if open != nil {
		total = raw.redistribute(open, total)
	}
	t.set(&raw, total)
}

// oneFold is 1 in the fixed point of the factor by which redistribute stretches the tail; mostFold bounds it.
const (
	oneFold  = 1 << 24
	mostFold = 1 << 44
)

// redistribute adds the mass of jobs that have not ended to the buckets above their ages. It is told the sum of the
// weights and gives what that becomes.
func (h *counts) redistribute(open *[buckets]uint32, total uint64) uint64 {
	sum, factor, from := uint64(0), uint64(oneFold), 0
	for ; from < buckets && open[from] == 0; from++ {
		sum += h[from]
	}
	rest := total - sum
	for i := from; i < buckets; i++ {
		w := h[i]
		rest -= w
		if factor != oneFold {
			w = stretch(w, factor)
			h[i] = w
		}
		sum += w
		if open[i] == 0 {
			continue
		}
		above := stretch(rest, factor)
		if above == 0 {
			continue
		}
		hi, lo := bits.Mul64(factor, above+uint64(open[i])*unit)
		if hi >= above {
			factor = mostFold
			continue
		}
		factor, _ = bits.Div64(hi, lo, above)
		factor = min(factor, mostFold)
	}
	return sum
}

// stretch is w times factor, at most heaviest.
func stretch(w, factor uint64) uint64 {
	hi, lo := bits.Mul64(w, factor)
	if hi >= 1<<10 {
		return heaviest
	}
	return min(hi<<40|lo>>24, heaviest)
}

// set makes the table of weights, of which one at least is not 0, and their sum.
func (t *table) set(raw *counts, total uint64) {
	shift := bits.Len64(total) - bits.Len64(fullMass-1)
	right, left := uint(max(shift, 0))&63, uint(max(-shift, 0))&63
	tail := uint64(0)
	for i := buckets - 1; i >= 0; i-- {
		tail += raw[i]
		t.tail[i] = uint32(tail >> right << left)
	}
}

// within is the mass of bucket b that lies above age, taken as even inside the bucket.
func (t *table) within(b int, age int64) uint64 {
	m := uint64(t.tail[b] - t.tail[b+1])
	return m * uint64(max(edges[b+1]-age, 0)) / uint64(edges[b+1]-edges[b])
}

// index is the Gittins index of a job of this age as a time, in milliseconds: the least, over all bounds, of the time it
// is expected to take up to the bound, divided by the chance that it ends before.
//
// The time expected up to a bound grows with the bound, and no chance is above that of all bounds: where the two make a
// ratio that is not below the least so far, no later bound does.
func (t *table) index(age int64) int64 {
	b := bucketOf(age)
	first := t.within(b, age)
	all := first + uint64(t.tail[b+1])
	if all == 0 || age >= longest {
		return 2 * min(age, longest)
	}
	ended, spent := first, first*uint64((age+edges[b+1])/2-age)
	best, per := ^uint64(0), uint64(1)
	if first > 0 {
		best, per = spent+(all-ended)*uint64(edges[b+1]-age), ended
	}
	above := t.tail[b+1]
	for i := b + 1; i < buckets; i++ {
		below := t.tail[i+1]
		m := uint64(above - below)
		above = below
		if m == 0 {
			continue
		}
		ended += m
		spent += m * uint64(middles[i]-age)
		took := spent + (all-ended)*uint64(edges[i+1]-age)
		hi, lo := bits.Mul64(took, per)
		if less128(hi, lo, best, ended) {
			best, per = took, ended
		} else if !less128(hi, lo, best, all) {
			break
		}
	}
	return int64(best / per)
}

// less128 says whether a 128-bit number is less than a product.
func less128(hi, lo, x, y uint64) bool {
	h, l := bits.Mul64(x, y)
	return hi < h || hi == h && lo < l
}

// quantile is how long a job of this age still runs at the given level, in 65536ths: that part of the jobs that reached
// the age had ended by then. Inside a bucket it is even.
func (t *table) quantile(age int64, level uint64) int64 {
	b := bucketOf(age)
	all := t.within(b, age) + uint64(t.tail[b+1])
	if all == 0 || age >= longest {
		age = min(age, longest) // as if durations had no scale: half of all last as long again
		return int64(uint64(age) * level / max(65536-level, 1))
	}
	left := all - all*level>>16 // the mass above the quantile
	lo, hi := b, buckets        // tail[lo] >= left, tail[hi] < left or hi is the end
	for lo+1 < hi {
		mid := (lo + hi) / 2
		if uint64(t.tail[mid]) >= left {
			lo = mid
		} else {
			hi = mid
		}
	}
	top := int64(edges[lo+1])
	m := uint64(t.tail[lo] - t.tail[lo+1])
	if m == 0 {
		return top - age
	}
	over := left - min(left, uint64(t.tail[lo+1]))
	at := top - int64(over*uint64(top-edges[lo])/m)
	return max(at-age, 0)
}
