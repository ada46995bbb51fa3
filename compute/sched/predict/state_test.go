package predict

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// world drives a book through a random history that makes sense.
type world struct {
	now     int64
	number  int
	waiting []string
	running []string
	age     map[string]int64
	since   map[string]int64
}

func newWorld() *world { return &world{age: map[string]int64{}, since: map[string]int64{}} }

type move struct {
	kind    int
	pick    int
	after   int64
	f       Features
	lasting int64
}

func someMoves(t *rapid.T, most int) []move {
	one := rapid.Custom(func(t *rapid.T) move {
		return move{
			kind:  rapid.IntRange(0, 9).Draw(t, "kind"),
			pick:  rapid.IntRange(0, 1<<20).Draw(t, "pick"),
			after: rapid.SampledFrom([]int64{0, second, 30 * second, 10 * minute, 31 * minute, 5 * hour, day}).Draw(t, "after"),
			f: Features{
				Queue: rapid.SampledFrom([]string{"", "a"}).Draw(t, "queue"),
				User:  rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "user"),
				Name:  rapid.SampledFrom([]string{"", "sweep"}).Draw(t, "name"),
				Chips: rapid.SampledFrom([]int{0, 1, 8, 64}).Draw(t, "chips"),
			},
			lasting: rapid.Int64Range(0, 2*day).Draw(t, "lasting"),
		}
	})
	return rapid.SliceOfN(one, 1, most).Draw(t, "moves")
}

// do makes one move in a book; the world's own state moves with it.
func (w *world) do(t *rapid.T, b *Book, m move) {
	w.now += m.after
	b.Advance(w.now)
	take := func(from *[]string) string {
		if len(*from) == 0 {
			return ""
		}
		i := m.pick % len(*from)
		id := (*from)[i]
		*from = append((*from)[:i:i], (*from)[i+1:]...)
		return id
	}
	age := func(id string) int64 { return w.age[id] + w.now - w.since[id] }
	var err error
	switch {
	case m.kind < 4:
		id := fmt.Sprint("job", w.number)
		w.number++
		w.waiting = append(w.waiting, id)
		err = b.Arrive(id, m.f, w.now)
	case m.kind < 6:
		if id := take(&w.waiting); id != "" {
			w.running = append(w.running, id)
			w.since[id] = w.now
			err = b.Start(id, w.age[id], 0, w.now)
		}
	case m.kind == 6:
		if id := take(&w.running); id != "" {
			w.waiting = append(w.waiting, id)
			w.age[id] = age(id)
			err = b.Stop(id, w.age[id], w.now)
		}
	case m.kind < 9:
		if id := take(&w.running); id != "" {
			err = b.Finish(id, age(id), w.now)
		}
	case m.pick%2 == 0:
		if id := take(&w.waiting); id != "" {
			err = b.Forget(id, w.now)
		}
	default:
		err = b.Observe(m.f, m.lasting, w.now)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func written(t *rapid.T, b *Book) []byte {
	data, err := b.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What a book answers follows from what happened: not from how often it was asked or told the time, nor from having been
// written and read, or copied, in between.
func TestSameHistorySameBook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moves := someMoves(t, 60)
		quiet, busy := New(Options{Contexts: 5}), New(Options{Contexts: 5})
		w, v := newWorld(), newWorld()
		for _, m := range moves {
			w.do(t, quiet, m)
			for at := v.now; at < v.now+m.after; at += 1 + m.after/7 {
				busy.Advance(at)
				for id := range busy.jobs {
					busy.Estimate(id, m.lasting/3)
				}
			}
			v.do(t, busy, m)
			switch m.pick % 5 {
			case 0:
				read, err := Read(written(t, busy))
				if err != nil {
					t.Fatal(err)
				}
				busy = read
			case 1:
				kept := busy
				busy = kept.Clone()
				kept.Advance(v.now + 3*day)
				for id := range kept.jobs {
					kept.Finish(id, hour, v.now+4*day)
				}
			}
			if !bytes.Equal(written(t, quiet), written(t, busy)) {
				t.Fatal("two books of one history differ")
			}
			for id := range quiet.jobs {
				x, _ := quiet.Estimate(id, m.lasting)
				y, _ := busy.Estimate(id, m.lasting)
				if x != y {
					t.Fatalf("%s: %+v and %+v", id, x, y)
				}
			}
		}
	})
}

func TestEstimatesMakeSense(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, w := New(Options{}), newWorld()
		for _, m := range someMoves(t, 60) {
			w.do(t, b, m)
			for id, j := range b.jobs {
				e, ok := b.Estimate(id, m.lasting)
				if !ok || e.P10 < 0 || e.P50 < e.P10 || e.P90 < e.P50 {
					t.Fatalf("%s: %+v", id, e)
				}
				if e.Index < 0 || e.Rank != e.Index*int64(max(j.chips, 1)) {
					t.Fatalf("%s of %d chips: %+v", id, j.chips, e)
				}
				if r, _ := b.Rank(id, m.lasting); r != e.Rank {
					t.Fatalf("%s: rank %d and %d", id, r, e.Rank)
				}
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	b := New(Options{})
	b.Arrive("a", Features{User: "u", Name: "n", Chips: 8}, hour)
	b.Arrive("b", Features{Chips: 1}, hour)
	b.Start("a", 0, 0, 2*hour)
	b.Finish("a", hour, 3*hour)
	b.Start("b", 0, 0, 4*hour)
	seed, _ := b.MarshalBinary()
	f.Add(seed)
	f.Add([]byte(format))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Read(data)
		if err != nil {
			return
		}
		once, _ := b.MarshalBinary()
		again, err := Read(once)
		if err != nil {
			t.Fatalf("a written book is refused: %v", err)
		}
		if twice, _ := again.MarshalBinary(); !bytes.Equal(once, twice) {
			t.Fatal("writing is not stable")
		}
		now := b.now
		for id := range b.jobs {
			b.Estimate(id, hour)
			b.Start(id, hour, 0, now+hour)
			b.Finish(id, 2*hour, now+2*hour)
		}
		b.Arrive("new", Features{Chips: 1}, now+3*hour)
		b.Estimate("new", 0)
	})
}

func TestReadRefuses(t *testing.T) {
	b, _ := told(t, 3, hour)
	data, _ := b.MarshalBinary()
	for i := range data {
		if _, err := Read(data[:i]); err == nil {
			t.Fatalf("the first %d of %d bytes are read", i, len(data))
		}
	}
	if _, err := Read(append(data, 0)); err == nil {
		t.Error("a byte too many is read")
	}
}
