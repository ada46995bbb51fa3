package sql_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func good[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func agree(t *testing.T, m *sql.Meter, floor string, records int64) {
	t.Helper()
	if b, err := m.Check(t.Context()); err != nil || len(b.Faults) > 0 || b.Floor != floor || b.Records != records {
		t.Fatalf("books %+v, %v; want %d records from %q on", b, err, records, floor)
	}
}

// Dropping records changes no sum by day; what is sent again afterwards, stored before or not, is booked once.
func TestDroppedRecordsAreNotBookedTwice(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		m, ctx := db.Meter(), t.Context()
		all := usageRecords(60) // of four days from 2026-01-01 on
		want := func(n int) (sum meter.Totals) {
			for i := range all[:n] {
				sum.Add(&all[i])
			}
			return sum
		}
		sums := func() meter.Totals {
			totals, _, err := m.Usage(ctx, meter.Filter{})
			return good(t, totals, err)
		}
		good(t, 0, m.Ship(ctx, all[:50]))
		for range 2 { // the second time there is nothing to do
			good(t, 0, m.Retain(ctx, "2026-01-03"))
			agree(t, m, "2026-01-03", 24)
		}
		good(t, 0, m.Retain(ctx, "2025-01-01")) // the floor does not go back
		for range 3 {
			good(t, 0, m.Ship(ctx, all)) // as a node that was killed before it knew that they are stored
			if d := cmp.Diff(want(60), sums()); d != "" {
				t.Fatal(d)
			}
			agree(t, m, "2026-01-03", 30)
		}
		if _, rows, err := m.Usage(ctx, meter.Filter{Group: meter.ByTag}); err != nil || len(rows) != 1 || rows[0].Requests != 30 {
			t.Errorf("by tag %+v, %v", rows, err)
		}
		good(t, 0, m.Rebuild(ctx)) // of what is there
		if d := cmp.Diff(want(60), sums()); d != "" {
			t.Fatal(d)
		}
		if n := count(t, db, "usage_marks"); n != 30 {
			t.Errorf("%d records are remembered, want 30", n)
		}
		good(t, 0, m.Oldest(ctx, "node", 6)) // its file is gone
		good(t, 0, m.Oldest(ctx, "node", 2))
		good(t, 0, m.Retain(ctx, "2026-01-09"))
		if n := count(t, db, "usage_marks"); n != 0 {
			t.Errorf("%d records are remembered of a file that is gone", n)
		}
		agree(t, m, "2026-01-09", 0)
		if d := cmp.Diff(want(60), sums()); d != "" {
			t.Fatal(d)
		}
	})
}

func count(t *testing.T, db *sql.DB, table string) (n int64) {
	t.Helper()
	good(t, 0, db.Read(t.Context(), func(tx *sql.Tx) error { return tx.QueryRow(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n) }))
	return n
}

// stubborn is a store that loses its answers: what it did, nobody learns.
type stubborn struct {
	*sql.Meter
	deaf bool
}

var errDeaf = errors.New("killed before the answer")

func (s *stubborn) Ship(ctx context.Context, r []meter.Record) error {
	if err := s.Meter.Ship(ctx, r); err != nil || !s.deaf {
		return err
	}
	return errDeaf
}

func (s *stubborn) ShipFresh(ctx context.Context, r []meter.Record) error {
	if err := s.Meter.ShipFresh(ctx, r); err != nil || !s.deaf {
		return err
	}
	return errDeaf
}

// A gateway is killed after its records were stored and before it knew, the records are dropped, and it comes back.
func TestALedgerThatComesBackLate(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		dir, ctx := filepath.Join(t.TempDir(), "ledger"), t.Context()
		day := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
		open := func() *meter.Ledger {
			l, err := meter.Open(dir, "node", meter.Options{Slots: 16, SyncEvery: -1})
			return good(t, l, err)
		}
		request := uint8(0)
		serve := func(l *meter.Ledger, n int) {
			for range n {
				request++
				i := usageRecord(1).Identity
				i.Request, i.Start = id.Raw{0: 9, 15: request}, day
				e, err := l.Begin(&i)
				e = good(t, e, err)
				e.Settle(meter.Finished, meter.Usage{Input: 1}, meter.Work{})
			}
		}
		l := open()
		serve(l, 20)
		if err := (&meter.Shipper{Ledger: l, Store: &stubborn{db.Meter(), true}}).Flush(ctx); !errors.Is(err, errDeaf) {
			t.Fatal(err)
		}
		serve(l, 5) // never sent
		good(t, 0, l.Close())
		good(t, 0, db.Meter().Retain(ctx, "2026-06-01"))
		for range 2 {
			l = open()
			s := &meter.Shipper{Ledger: l, Store: db.Meter()}
			books, err := s.Verify(ctx)
			if books = good(t, books, err); len(books.Faults) > 0 {
				t.Errorf("%+v", books)
			}
			if totals, _, err := db.Meter().Usage(ctx, meter.Filter{}); err != nil || totals.Requests != 25 {
				t.Errorf("%+v, %v", totals, err)
			}
			good(t, 0, l.Close())
		}
		files, err := os.ReadDir(dir)
		if good(t, files, err); count(t, db, "usage_marks") > 0 {
			t.Error("what was in files that are gone is still remembered")
		}
	})
}

// Nodes store, days are dropped and new ones begin, all at once: nothing is lost, nothing is twice.
func TestRetentionWhileNodesShip(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		var work sync.WaitGroup
		for node := range 4 {
			work.Go(func() {
				for n := range 30 {
					r := usageRecord(1)
					r.Node, r.Slot = string(rune('a'+node)), int64(n)
					r.Request = id.Raw{0: byte(node), 1: byte(n), 2: 7}
					r.Start = time.Date(2026, 1, 1+n, 1, 0, 0, 0, time.UTC)
					for range 2 {
						if err := db.Meter().Ship(ctx, []meter.Record{r}); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		work.Go(func() {
			for d := 2; d < 28; d += 3 {
				if err := db.Meter().Retain(ctx, time.Date(2026, 1, d, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)); err != nil {
					t.Error(err)
				}
			}
		})
		work.Wait()
		if totals, _, err := db.Meter().Usage(ctx, meter.Filter{}); err != nil || totals.Requests != 120 {
			t.Errorf("%+v, %v", totals, err)
		}
		agree(t, db.Meter(), "2026-01-26", 4*5)
	})
}
