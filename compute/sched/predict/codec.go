package predict

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
)

// format names the form of a written book; another form is refused.
const format = "triarch-predict-1"

// largestBook bounds a written book, in bytes.
const largestBook = 1 << 28

func sorted[K cmp.Ordered](keys iter.Seq[K]) []K { return slices.Sorted(keys) }

// AppendBinary writes the whole state behind buf: a book read back from it answers as this one does. The same state
// gives the same bytes.
func (b *Book) AppendBinary(buf []byte) ([]byte, error) {
	w := writer{append(buf, format...)}
	w.ints(b.opt.Gap, b.opt.HalfLife, int64(b.opt.Contexts), b.now, b.refreshed, b.numbers)
	for _, c := range b.trust {
		w.ints(int64(c.levels[0]), int64(c.levels[1]), int64(c.levels[2]), c.seen)
	}
	numbered := map[*history]int64{}
	w.ints(int64(len(b.histories)))
	for _, key := range sorted(maps.Keys(b.histories)) {
		h := b.histories[key]
		numbered[h] = int64(len(numbered))
		w.text(key)
		w.ints(h.used)
		w.counts(&h.done)
		var open counts
		for i, n := range h.open {
			open[i] = uint64(n)
		}
		w.counts(&open)
	}
	runs := b.runs()
	at := map[*run]int64{}
	for i, r := range runs {
		at[r] = int64(i)
	}
	kindAt := w.kinds(b, numbered, at)
	w.ints(int64(len(runs)))
	for _, r := range runs {
		w.ints(kindAt[r.kind], r.number, r.last, r.ended)
		w.counts(&r.done)
	}
	w.jobs(b, at)
	return w.buf, nil
}

// MarshalBinary is AppendBinary into a new buffer.
func (b *Book) MarshalBinary() ([]byte, error) { return b.AppendBinary(nil) }

// writer appends signed numbers as varints, and texts with their length before them.
type writer struct{ buf []byte }

func (w *writer) ints(v ...int64) {
	for _, x := range v {
		w.buf = binary.AppendVarint(w.buf, x)
	}
}

func (w *writer) text(s string) {
	w.ints(int64(len(s)))
	w.buf = append(w.buf, s...)
}

// counts writes the buckets that are not empty.
func (w *writer) counts(h *counts) {
	n := int64(0)
	for _, x := range h {
		if x != 0 {
			n++
		}
	}
	w.ints(n)
	for i, x := range h {
		if x != 0 {
			w.ints(int64(i), int64(x))
		}
	}
}

func (w *writer) kinds(b *Book, numbered map[*history]int64, at map[*run]int64) map[*kind]int64 {
	kindAt := map[*kind]int64{}
	w.ints(int64(len(b.kinds)))
	for _, key := range sorted(maps.Keys(b.kinds)) {
		k := b.kinds[key]
		kindAt[k] = int64(len(kindAt))
		w.text(key)
		last := int64(-1)
		if k.last != nil {
			last = at[k.last]
		}
		w.ints(int64(k.chips), last, int64(len(k.chain)))
		for _, h := range k.chain {
			w.ints(numbered[h])
		}
		for i := range buckets {
			w.ints(int64(k.table.tail[i] - k.table.tail[i+1]))
		}
	}
	return kindAt
}

func (w *writer) jobs(b *Book, at map[*run]int64) {
	w.ints(int64(len(b.jobs)))
	for _, j := range b.order {
		if j.gone {
			continue
		}
		w.text(j.id)
		state := int64(0)
		if j.started {
			state |= 1
		}
		if j.running {
			state |= 2
		}
		w.ints(j.number, at[j.run], int64(j.chips), state, j.attained, j.since, int64(len(j.marks)))
		for _, m := range j.marks {
			open := int64(0)
			for i, o := range m.open {
				if o {
					open |= 1 << i
				}
			}
			w.ints(int64(m.cell), int64(m.band), m.bounds[0], m.bounds[1], m.bounds[2], open)
		}
	}
}

// Read makes the book that was written. What no book can have written is an error of kind Invalid.
func Read(data []byte) (*Book, error) {
	bad := fault.New(fault.Invalid, "the written history of durations cannot be read", fault.Fix("start with an empty one; it learns again"))
	if len(data) > largestBook || len(data) < len(format) || string(data[:len(format)]) != format {
		return nil, bad
	}
	r := reader{buf: data[len(format):]}
	b := r.book()
	if r.failed || len(r.buf) > 0 {
		return nil, bad
	}
	return b, nil
}

// reader takes apart what a writer wrote. After the first failure it gives zeros.
type reader struct {
	buf    []byte
	failed bool
}

// int reads a number and fails outside the bounds, both included.
func (r *reader) int(low, high int64) int64 {
	v, n := binary.Varint(r.buf)
	if r.failed || n <= 0 || v < low || v > high {
		r.failed, r.buf = true, nil
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// count reads how many things follow, each of at least one byte.
func (r *reader) count() int { return int(r.int(0, int64(len(r.buf)))) }

func (r *reader) text(most int64) string {
	n := r.int(0, min(most, int64(len(r.buf))))
	if r.failed || n > int64(len(r.buf)) {
		r.failed, r.buf = true, nil
		return ""
	}
	s := string(r.buf[:n])
	r.buf = r.buf[n:]
	return s
}

func (r *reader) counts(h *counts, most int64) {
	last := int64(-1)
	for range r.int(0, buckets) {
		if r.failed {
			return
		}
		i := r.int(last+1, buckets-1)
		h[i] = uint64(r.int(1, most))
		last = i
	}
}

// longestKey bounds the key of a history or a kind.
const longestKey = 6 * (longestFeature + 8)

func (r *reader) book() *Book {
	b := New(Options{})
	b.opt = Options{Gap: r.int(1, latest), HalfLife: r.int(1, longestHalfLife), Contexts: int(r.int(1, 1<<30))}
	b.now, b.refreshed, b.numbers = r.int(0, latest), r.int(-refresh, latest), r.int(0, latest)
	if b.refreshed > b.now || b.refreshed%refresh != 0 {
		r.failed = true
	}
	for i := range b.trust {
		c := &b.trust[i]
		for l := range c.levels {
			c.levels[l] = uint64(r.int(1, 65535))
		}
		c.seen = r.int(0, latest)
	}
	var histories []*history
	for range r.count() {
		h := &history{key: r.text(longestKey)}
		if n := len(histories); n > 0 && histories[n-1].key >= h.key {
			r.failed = true
			break
		}
		h.used = r.int(0, latest)
		r.counts(&h.done, heaviest)
		var open counts
		r.counts(&open, 1<<31)
		for i, n := range open {
			h.open[i] = uint32(n)
		}
		histories = append(histories, h)
		b.histories[h.key] = h
	}
	kinds, lasts := r.kinds(b, histories)
	runs := r.runs(kinds, b.numbers)
	for i, at := range lasts {
		if at < 0 {
			continue
		}
		if at >= int64(len(runs)) || runs[at].kind != kinds[i] {
			r.failed = true
			break
		}
		kinds[i].last = runs[at]
	}
	r.jobs(b, runs)
	return b
}

func (r *reader) kinds(b *Book, histories []*history) (kinds []*kind, lasts []int64) {
	for range r.count() {
		k := &kind{key: r.text(longestKey), version: 1, chips: int(r.int(0, mostChips))}
		lasts = append(lasts, r.int(-1, latest))
		for range r.int(1, 6) {
			if i := r.int(0, int64(len(histories))-1); !r.failed {
				k.chain = append(k.chain, histories[i])
			}
		}
		tail := int64(0)
		var mass [buckets]int64
		for i := range mass {
			mass[i] = r.int(0, fullMass)
		}
		for i := buckets - 1; i >= 0; i-- {
			tail += mass[i]
			k.table.tail[i] = uint32(min(tail, fullMass))
		}
		ordered := len(kinds) == 0 || kinds[len(kinds)-1].key < k.key
		if tail < fullMass/2 || tail >= fullMass || !ordered {
			r.failed = true
		}
		if r.failed {
			return nil, nil
		}
		kinds = append(kinds, k)
		b.kinds[k.key] = k
	}
	return kinds, lasts
}

func (r *reader) runs(kinds []*kind, numbers int64) (runs []*run) {
	before := int64(0)
	for range r.count() {
		at := r.int(0, int64(len(kinds))-1)
		u := &run{number: r.int(before+1, numbers), last: r.int(0, latest), ended: r.int(0, latest)}
		r.counts(&u.done, heaviest)
		if r.failed {
			return nil
		}
		before, u.kind = u.number, kinds[at]
		runs = append(runs, u)
	}
	return runs
}

func (r *reader) jobs(b *Book, runs []*run) {
	before := int64(0)
	for range r.count() {
		j := &job{id: r.text(longestFeature), number: r.int(before+1, b.numbers)}
		at := r.int(0, int64(len(runs))-1)
		j.chips = int(r.int(0, mostChips))
		state := r.int(0, 3)
		j.started, j.running = state&1 != 0, state&2 != 0
		j.attained, j.since = r.int(0, latest), r.int(0, 2*latest)
		last := -1
		for range r.int(0, int64(bandCount)) {
			m := mark{cell: int(r.int(0, int64(len(b.trust))-1)), band: int(r.int(int64(last+1), int64(bandCount-1)))}
			for i := range m.bounds {
				m.bounds[i] = r.int(0, 2*latest)
			}
			open := r.int(0, 7)
			for i := range m.open {
				m.open[i] = open>>i&1 != 0
			}
			last = m.band
			j.marks = append(j.marks, m)
		}
		if r.failed || b.jobs[j.id] != nil || j.running && !j.started {
			r.failed = true
			return
		}
		before, j.run = j.number, runs[at]
		j.run.kind.jobs++
		if j.started {
			j.run.jobs = append(j.run.jobs, j)
		}
		b.jobs[j.id] = j
		b.order = append(b.order, j)
	}
}
