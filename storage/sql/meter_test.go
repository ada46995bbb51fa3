package sql_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func usageRecord(n int) meter.Record {
	p, c := int64(10+n), int64(n)
	r := meter.Record{
		Node: "node", Segment: 5, Slot: int64(n),
		Identity: meter.Identity{
			Request: id.Raw{0: 1, 15: byte(n)}, Org: id.Raw{1: 1}, Project: id.Raw{2: byte(n % 2)}, Key: id.Raw{3: byte(n % 3)},
			Route: id.Raw{4: 1}, Version: id.Raw{5: 1}, Model: "starter",
			Prices:   meter.Prices{Input: 1_000_001, CachedInput: 100_000, Output: 2_000_000, Reasoning: 3_000_000, Embedding: 10_000, Request: 3},
			PriceVer: id.Raw{6: 1}, Tag: "team-ä",
			Start: time.Date(2026, 1, 1+n%4, 23, 59, 59, 0, time.UTC), Kind: meter.Chat, Stream: n%2 == 0,
		},
		End: time.Date(2026, 1, 9, 0, 0, 0, 1000, time.UTC), Outcome: meter.Finished,
		Usage:   meter.Usage{Input: p, Cached: p / 2, Output: c, Reasoning: c / 3, Embedding: int64(n % 5), Estimated: n%4 == 1},
		Backend: "dep_1", Work: meter.Work{Chip: "cpu", ChipMillis: int64(n), ChipNanos: 7 * int64(n), FirstToken: time.Duration(n) * time.Millisecond},
	}
	if n%10 == 9 { // killed before anything was delivered
		r.Outcome, r.Usage, r.PriceVer, r.Backend = meter.Cut, meter.Usage{}, id.Raw{}, ""
	}
	r.CostMicros = meter.Bill(r.Outcome, r.Usage, r.Prices)
	return r
}

func usageRecords(n int) []meter.Record {
	var out []meter.Record
	for i := range n {
		out = append(out, usageRecord(i))
	}
	return out
}

func TestShipIsIdempotent(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		m, ctx := db.Meter(), t.Context()
		all := usageRecords(60)
		for _, part := range [][]meter.Record{all[:40], all[20:60], all, all[7:8]} {
			if err := m.Ship(ctx, part); err != nil {
				t.Fatal(err)
			}
		}
		got, err := m.Records(ctx, "node", 5)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Error(diff)
		}
		var want meter.Totals
		for _, r := range all {
			want.Add(&r)
		}
		totals, rows, err := m.Usage(ctx, meter.Filter{Group: meter.ByDay})
		if err != nil || totals != want || len(rows) != 4 || rows[0].Name != "2026-01-01" || rows[0].Requests != 15 {
			t.Errorf("totals %+v rows %+v, %v; want %+v in 4 rows", totals, rows, err, want)
		}
		books, err := m.Check(ctx)
		if err != nil || len(books.Faults) != 0 || books.Records != 60 {
			t.Errorf("books %+v, %v", books, err)
		}
	})
}

func TestUsageIsSeparated(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		m, ctx := db.Meter(), t.Context()
		all := usageRecords(12)
		if err := m.Ship(ctx, all); err != nil {
			t.Fatal(err)
		}
		project := "prj_" + all[1].Project.String()
		totals, rows, err := m.Usage(ctx, meter.Filter{Project: project, From: "2026-01-02", To: "2026-01-02", Group: meter.ByKey})
		if err != nil || totals.Requests != 3 || len(rows) != 3 {
			t.Errorf("%+v %+v %v", totals, rows, err)
		}
		totals, rows, err = m.Usage(ctx, meter.Filter{Project: "prj_" + id.Raw{9}.String()})
		if err != nil || totals != (meter.Totals{}) || len(rows) != 0 {
			t.Errorf("a stranger sees %+v %+v %v", totals, rows, err)
		}
		if _, _, err := m.Usage(ctx, meter.Filter{Group: "1; DROP TABLE usage_days"}); err == nil {
			t.Error("any text may be a group")
		}
		spent, err := m.Spent(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var want, org int64
		for _, r := range all {
			org += r.CostMicros
			if r.Project == all[1].Project {
				want += r.CostMicros
			}
		}
		if spent[all[1].Project] != want || spent[all[1].Org] != org {
			t.Errorf("spent %v, want %d of %d", spent, want, org)
		}
	})
}

func TestRebuildAndCheck(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		m, ctx := db.Meter(), t.Context()
		wrong := usageRecords(10)
		wrong[3].CostMicros++
		wrong[4].Prices.Input = 1_000_000_000_000_000 // no database can multiply this
		wrong[4].Usage.Input = 4_000_000_000
		wrong[4].CostMicros = meter.Cost(wrong[4].Usage, wrong[4].Prices)
		if err := m.Ship(ctx, wrong); err != nil {
			t.Fatal(err)
		}
		err := db.Write(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE usage_days SET requests = requests + 1 WHERE day = ?", "2026-01-02")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		books, err := m.Check(ctx)
		if err != nil || len(books.Faults) < 3 {
			t.Errorf("a wrong cost and a wrong roll-up: %+v, %v", books, err)
		}
		if err := m.Rebuild(ctx); err != nil {
			t.Fatal(err)
		}
		books, err = m.Check(ctx)
		if err != nil || len(books.Faults) != 1 {
			t.Errorf("after rebuilding only the wrong cost is left: %+v, %v", books, err)
		}
	})
}

func TestCheckFindsARequestBookedTwice(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		m, ctx := db.Meter(), t.Context()
		twice := usageRecords(4)
		twice[3].Request = twice[1].Request
		if err := m.Ship(ctx, twice); err != nil {
			t.Fatal(err)
		}
		books, err := m.Check(ctx)
		if err != nil || len(books.Faults) != 1 || !strings.Contains(books.Faults[0], "more than one record") {
			t.Errorf("%+v, %v", books, err)
		}
	})
}

func TestLedgerToDatabase(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		l, err := meter.Open(filepath.Join(t.TempDir(), "ledger"), "node", meter.Options{Slots: 16})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for n := range 100 {
			i := usageRecord(n).Identity
			e, err := l.Begin(&i)
			if err != nil {
				t.Fatal(err)
			}
			e.Settle(meter.Finished, meter.Usage{Input: int64(n), Output: int64(n)}, meter.Work{})
		}
		s := &meter.Shipper{Ledger: l, Store: db.Meter()}
		books, err := s.Verify(t.Context())
		if err != nil || len(books.Faults) != 0 || books.Records != 100 || books.Ledger != 4 {
			t.Errorf("books %+v, %v", books, err)
		}
	})
}
