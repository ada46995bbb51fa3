package meter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// shelf is a Store in memory with the same rules as the database's.
type shelf struct {
	mu   sync.Mutex
	rows map[[2]int64]Record
	fail error
}

func newShelf() *shelf { return &shelf{rows: map[[2]int64]Record{}} }

func (s *shelf) Ship(_ context.Context, rs []Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, r := range rs {
		k := [2]int64{r.Segment, r.Slot}
		if _, ok := s.rows[k]; !ok {
			s.rows[k] = r
		}
	}
	return nil
}

func (s *shelf) Records(_ context.Context, _ string, segment int64) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Record
	for k, r := range s.rows {
		if k[0] == segment {
			out = append(out, r)
		}
	}
	return out, nil
}
func (s *shelf) Spent(context.Context) (map[id.Raw]int64, error)      { return nil, nil }
func (s *shelf) Usage(context.Context, Filter) (Totals, []Row, error) { return Totals{}, nil, nil }
func (s *shelf) Check(context.Context) (Books, error)                 { return Books{Records: int64(len(s.rows))}, nil }
func (s *shelf) Rebuild(context.Context) error                        { return nil }
func (s *shelf) Oldest(context.Context, string, int64) error          { return nil }
func (s *shelf) byRequest() map[id.Raw]Record {
	out := map[id.Raw]Record{}
	for _, r := range s.rows {
		out[r.Request] = r
	}
	return out
}

func raw(n uint64) id.Raw {
	var r id.Raw
	for i := range 8 {
		r[i] = byte(n >> (8 * i))
	}
	return r
}

func identity(n uint64) Identity {
	return Identity{
		Request: raw(n), Org: raw(1), Project: raw(2), Key: raw(3), Route: raw(4), Version: raw(5), Model: "starter",
		Prices: Flat(1_000_000, 2_000_000).Resolved(), PriceVer: raw(6), Tag: "team-a", Start: time.UnixMicro(1_800_000_000_000_000).UTC(), Kind: Chat, Stream: n%2 == 0,
	}
}

func tokens(in, out int) Usage { return Usage{Input: int64(in), Output: int64(out)} }

func open(t testing.TB, dir string, slots int) *Ledger {
	t.Helper()
	l, err := Open(dir, "node", Options{Slots: slots, SyncEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func shut(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func ship(t testing.TB, l *Ledger, s Store) {
	t.Helper()
	if err := (&Shipper{Ledger: l, Store: s}).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRecordSurvives(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 8)
	want := identity(7)
	e, err := l.Begin(&want)
	if err != nil {
		t.Fatal(err)
	}
	used := Usage{Input: 10, Cached: 4, Output: 5, Reasoning: 2}
	work := Work{Chip: "nvidia-h100-sxm", ChipMillis: 1 << 40, ChipNanos: 1 << 50, FirstToken: 1234 * time.Microsecond}
	e.Asked("prv_longer_than_the_next")
	e.Asked("dep_9")
	e.Live(tokens(10, 3))
	if cost := e.Settle(Finished, used, work); cost != 20 {
		t.Errorf("cost %d, want 20", cost)
	}
	if e.Settle(Finished, tokens(99, 99), Work{}) != 0 {
		t.Error("a second Settle had an effect")
	}
	shut(t, l)
	l = open(t, dir, 8)
	defer shut(t, l)
	s := newShelf()
	ship(t, l, s)
	got := s.byRequest()[want.Request]
	if diff := cmp.Diff(want, got.Identity); diff != "" {
		t.Error(diff)
	}
	if got.Usage != used || got.Work != work || got.Backend != "dep_9" || got.CostMicros != 20 || got.Outcome != Finished || got.Node != "node" {
		t.Errorf("got %+v", got)
	}
}

func TestLongModelIsCut(t *testing.T) {
	b := make([]byte, recordSize)
	i := identity(1)
	for range 100 {
		i.Model, i.Tag = i.Model+"x", i.Tag+"y"
	}
	putIdentity(b, &i)
	var got Identity
	if !getIdentity(b, &got) || got.Model != i.Model[:MaxModel] || got.Tag != i.Tag[:MaxTag] {
		t.Errorf("model %q, tag %q", got.Model, got.Tag)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 8)
	defer shut(t, l)
	if _, err := Open(dir, "node", Options{}); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v, want a conflict", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := createSegment(dir, "node", 5, 8)
	if err != nil {
		t.Fatal(err)
	}
	i := identity(1)
	putIdentity(s.slot(0), &i)
	order.PutUint32(s.data[8:], version+1)
	resum(s.data)
	s.unmap()
	if _, err := Open(dir, "node", Options{}); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v, want a conflict", err)
	}
}

func TestRotationShipsOnceAndDrops(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 4)
	s := newShelf()
	var held []Entry
	for n := range uint64(50) {
		i := identity(n)
		e, err := l.Begin(&i)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case n == 3: // stays open across rotations and keeps its segment
			held = append(held, e)
		case n%10 == 5:
			e.Void()
		default:
			e.Settle(Finished, tokens(int(n), 1), Work{})
		}
		if n%7 == 0 {
			ship(t, l, s)
		}
	}
	ship(t, l, s)
	if n := len(s.rows); n != 44 {
		t.Errorf("%d rows, want 44", n)
	}
	if st := l.Stats(); st.Open != 1 || st.Unshipped != 0 || st.Segments != 2 {
		t.Errorf("stats %+v, want the held segment and the active one", st)
	}
	held[0].Settle(HungUp, tokens(1, 1), Work{})
	ship(t, l, s)
	if st := l.Stats(); st.Open != 0 || st.Segments != 1 {
		t.Errorf("stats %+v, want the active segment alone", st)
	}
	books, err := (&Shipper{Ledger: l, Store: s}).Verify(t.Context())
	if err != nil || len(books.Faults) != 0 || books.Ledger == 0 {
		t.Errorf("verify: %+v, %v", books, err)
	}
	shut(t, l)
	if files, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(files) > 2 {
		t.Errorf("%d files left", len(files))
	}
}

func TestVerifyFindsALie(t *testing.T) {
	l := open(t, t.TempDir(), 8)
	defer shut(t, l)
	s := newShelf()
	for n := range uint64(2) {
		i := identity(n)
		e, _ := l.Begin(&i)
		e.Settle(Finished, tokens(1, 1), Work{})
	}
	ship(t, l, s)
	for k, r := range s.rows {
		if k[1] == 0 {
			delete(s.rows, k)
		} else {
			r.Usage.Output++
			s.rows[k] = r
		}
	}
	books, err := (&Shipper{Ledger: l, Store: s}).Verify(t.Context())
	if err != nil || len(books.Faults) != 2 {
		t.Errorf("verify: %+v, %v; want a missing and a changed record", books, err)
	}
}

func TestStoreDownLosesNothing(t *testing.T) {
	l, err := Open(t.TempDir(), "node", Options{Slots: 4, MaxSegments: 2, SyncEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, l)
	s := newShelf()
	s.fail = errors.New("down")
	sh := &Shipper{Ledger: l, Store: s}
	n := uint64(0)
	for ; ; n++ {
		i := identity(n)
		e, err := l.Begin(&i)
		if err != nil {
			if !fault.Is(err, fault.Unavailable) {
				t.Fatalf("got %v, want unavailable", err)
			}
			break
		}
		e.Settle(Finished, tokens(1, 1), Work{})
		if sh.Flush(t.Context()) == nil {
			t.Fatal("the store was down")
		}
	}
	if n != 8 {
		t.Errorf("refused after %d records, want 8", n)
	}
	s.fail = nil
	ship(t, l, s)
	if len(s.rows) != 8 {
		t.Errorf("%d rows, want 8", len(s.rows))
	}
	i := identity(n)
	e, err := l.Begin(&i)
	if err != nil {
		t.Fatalf("after the store came back: %v", err)
	}
	e.Void()
}

func TestNoRoomRefusesAndRecovers(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "ledger")
	l := open(t, dir, 2)
	away := filepath.Join(parent, "away")
	if err := os.Rename(dir, away); err != nil { // no file can be made now
		t.Fatal(err)
	}
	served := 0
	for n := range uint64(10) {
		i := identity(n)
		e, err := l.Begin(&i)
		if err != nil {
			if !fault.Is(err, fault.Unavailable) {
				t.Fatalf("got %v, want unavailable", err)
			}
			continue
		}
		e.Settle(Finished, tokens(1, 1), Work{})
		served++
	}
	if served != 2 {
		t.Errorf("%d served, want what the segment holds: 2", served)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	i := identity(99)
	e, err := l.Begin(&i)
	if err != nil {
		t.Fatal(err)
	}
	e.Settle(Finished, tokens(1, 1), Work{})
	s := newShelf()
	ship(t, l, s)
	if len(s.rows) != 3 {
		t.Errorf("%d rows, want 3", len(s.rows))
	}
	shut(t, l)
}

func TestConcurrentRequestsAllBooked(t *testing.T) {
	l := open(t, t.TempDir(), 16)
	defer shut(t, l)
	s := newShelf()
	sh := &Shipper{Ledger: l, Store: s}
	var work sync.WaitGroup
	for g := range 8 {
		work.Go(func() {
			for n := range 50 {
				i := identity(uint64(g*50 + n))
				e, err := l.Begin(&i)
				if err != nil {
					t.Error(err)
					return
				}
				for c := range 3 {
					e.Live(tokens(g, c))
				}
				e.Settle(Finished, tokens(g, 3), Work{})
				if n%9 == 0 {
					if err := sh.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	work.Wait()
	ship(t, l, s)
	if got := s.byRequest(); len(got) != 400 || len(s.rows) != 400 {
		t.Errorf("%d requests in %d rows, want 400", len(got), len(s.rows))
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := Open(b.TempDir(), "node", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	s := &Shipper{Ledger: l, Store: discard{}}
	i := identity(1)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		e, err := l.Begin(&i)
		if err != nil {
			b.Fatal(err)
		}
		e.Live(tokens(10, 1))
		e.Settle(Finished, tokens(10, 1), Work{})
		if n%10000 == 0 {
			if err := s.Flush(b.Context()); err != nil {
				b.Fatal(fmt.Sprint(err))
			}
		}
	}
}

type discard struct{ *shelf }

func (discard) Ship(context.Context, []Record) error { return nil }

// Under another name the records of before would have other keys, and each would be booked a second time.
func TestALedgerOfAnotherNameIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 8)
	i := identity(1)
	e, err := l.Begin(&i)
	if err != nil {
		t.Fatal(err)
	}
	e.Settle(Finished, tokens(1, 1), Work{})
	shut(t, l)
	if _, err := Open(dir, "other", Options{SyncEvery: -1}); !fault.Is(err, fault.Conflict) {
		t.Fatalf("opened under another name: %v", err)
	}
	again := open(t, dir, 8)
	if got := again.Recovered(); got.Settled != 1 {
		t.Errorf("the refusal changed the ledger: %+v", got)
	}
	shut(t, again)
}

// What is stored reaches the disk within the 20 ms that are promised, of which the pause takes at most 15.
func TestTheGroupCommitKeepsItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(t.TempDir(), "node", Options{Slots: 512})
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, l)
		i := identity(1)
		e, err := l.Begin(&i)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 40 { // at every phase of the period
			time.Sleep(time.Duration(n) * 700 * time.Microsecond)
			synctest.Wait()
			e.Live(tokens(10, n))
			if !e.seg.dirty.Load() {
				t.Fatal("a count that was stored is not waiting for the disk")
			}
			time.Sleep(15 * time.Millisecond)
			synctest.Wait()
			if e.seg.dirty.Load() {
				t.Fatalf("count %d is not on the disk after 15 ms", n)
			}
		}
		e.Settle(Finished, tokens(10, 40), Work{})
	})
}

// That tokens were estimated is kept with them, by a process that lives and by one that is killed, until they are told.
func TestEstimatesSurvive(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 8)
	guess := Usage{Input: 10, Output: 2, Estimated: true}
	want := map[id.Raw]bool{}
	for n, settle := range []func(*Entry){
		func(e *Entry) { e.Live(guess) },
		func(e *Entry) { e.Live(guess); e.Live(tokens(9, 2)) },
		func(e *Entry) { e.Live(guess); e.Settle(HungUp, guess, Work{}) },
		func(e *Entry) { e.Live(guess); e.Settle(Finished, tokens(9, 2), Work{}) },
		func(e *Entry) { e.Settle(Finished, guess, Work{}) },
	} {
		i := identity(uint64(n + 1))
		e, err := l.Begin(&i)
		if err != nil {
			t.Fatal(err)
		}
		settle(&e)
		want[i.Request] = n%2 == 0
	}
	shut(t, l)
	l = open(t, dir, 8)
	defer shut(t, l)
	s := newShelf()
	ship(t, l, s)
	var sum Totals
	for request, estimated := range want {
		r := s.byRequest()[request]
		if sum.Add(&r); r.Usage.Estimated != estimated || r.Usage.Output != 2 {
			t.Errorf("%v: %+v, want estimated %v", request, r.Usage, estimated)
		}
	}
	if sum.Estimated != 3 || sum.Requests != 5 {
		t.Errorf("%+v", sum)
	}
}

// telling is a store that tells how it was given records, and can lose its answers.
type telling struct {
	*shelf
	fresh, again int
	deaf         bool
}

func (s *telling) Ship(ctx context.Context, r []Record) error {
	s.again += len(r)
	return s.shelf.Ship(ctx, r)
}

func (s *telling) ShipFresh(ctx context.Context, r []Record) error {
	s.fresh += len(r)
	if err := s.shelf.Ship(ctx, r); err != nil || !s.deaf {
		return err
	}
	return errors.New("the answer is lost")
}

// Records are called fresh only where no store can have them: not after a failure in their file, and not after a restart.
func TestWhatIsFresh(t *testing.T) {
	dir, store := t.TempDir(), &telling{shelf: newShelf()}
	open := func() (*Ledger, *Shipper, func(n int)) {
		l, err := Open(dir, "node", Options{Slots: 8, SyncEvery: -1})
		if err != nil {
			t.Fatal(err)
		}
		return l, &Shipper{Ledger: l, Store: store}, func(n int) {
			for range n {
				e, err := l.Begin(&Identity{Start: time.Unix(1, 0)})
				if err != nil {
					t.Fatal(err)
				}
				e.Settle(Finished, Usage{Input: 1}, Work{})
			}
		}
	}
	given := func(fresh, again int) {
		t.Helper()
		if store.fresh != fresh || store.again != again {
			t.Fatalf("%d were fresh and %d not, want %d and %d", store.fresh, store.again, fresh, again)
		}
	}
	flush := func(s *Shipper, fails bool) {
		t.Helper()
		if err := s.Flush(t.Context()); (err != nil) != fails {
			t.Fatal(err)
		}
	}
	l, s, serve := open()
	serve(3)
	flush(s, false)
	given(3, 0)
	serve(2)
	store.deaf = true
	flush(s, true)
	given(5, 0)
	serve(1) // in the same file
	flush(s, false)
	given(5, 3)
	serve(2) // its last ones
	flush(s, false)
	given(5, 5)
	store.deaf = false
	serve(4) // of the next file
	flush(s, false)
	given(9, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, s, _ = open()
	flush(s, false)
	given(9, 9) // the files with records that a killed process may have sent
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
