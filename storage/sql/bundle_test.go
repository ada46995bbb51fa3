package sql_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Whatever is shipped fresh or again, read, checked, made anew or dropped in between, the sums are those of each record
// once, and the rows those that were not dropped.
func TestBundlesAreRecords(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		m, ctx, of := db.Meter(), t.Context(), int64(0)
		rapid.Check(t, func(t *rapid.T) {
			of++ // each run has segments of its own
			ok := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			before, _, err := m.Usage(ctx, meter.Filter{})
			ok(err)
			all := usageRecords(60)
			for i := range all {
				all[i].Segment = 100 + of
				all[i].Request[14], all[i].Request[13] = byte(of), byte(of>>8)
				for day := range 4 {
					if i%4 == day {
						all[i].Start = all[i].Start.AddDate(0, 0, int(8*of))
					}
				}
			}
			floor := all[0].Start.AddDate(0, 0, 2).UTC().Format("2006-01-02")
			stored, dropped, next := before, false, 0
			have := map[int64]bool{}
			ship := func(part []meter.Record, put func([]meter.Record) error) {
				ok(put(part))
				for i := range part {
					if !have[part[i].Slot] {
						have[part[i].Slot] = true
						stored.Add(&part[i])
					}
				}
			}
			for range rapid.IntRange(1, 8).Draw(t, "steps") {
				switch rapid.SampledFrom([]string{"fresh", "fresh", "again", "check", "records", "rebuild", "drop"}).Draw(t, "step") {
				case "fresh":
					n := rapid.IntRange(0, len(all)-next).Draw(t, "n")
					ship(all[next:next+n], func(p []meter.Record) error { return m.ShipFresh(ctx, p) })
					next += n
				case "again":
					from := rapid.IntRange(0, next).Draw(t, "from")
					to := rapid.IntRange(from, len(all)).Draw(t, "to")
					ship(all[from:to], func(p []meter.Record) error { return m.Ship(ctx, p) })
					next = max(next, to)
				case "check":
					b, err := m.Check(ctx)
					ok(err)
					if len(b.Faults) > 0 {
						t.Fatalf("the books say %v", b.Faults)
					}
				case "records":
					got, err := m.Records(ctx, "node", 100+of)
					ok(err)
					want := slices.DeleteFunc(slices.Clone(all), func(r meter.Record) bool { return !have[r.Slot] || dropped && r.Day() < floor })
					if d := cmp.Diff(want, got); d != "" && len(want)+len(got) > 0 {
						t.Fatal(d)
					}
				case "rebuild":
					ok(m.Rebuild(ctx))
				case "drop":
					ok(m.Retain(ctx, floor))
					dropped = true
				}
				sums, _, err := m.Usage(ctx, meter.Filter{})
				ok(err)
				if d := cmp.Diff(stored, sums); d != "" {
					t.Fatal(d)
				}
			}
		})
	})
}

// Records that are said to be fresh and are not are booked once all the same where the same batch comes twice.
func TestAFreshBatchThatComesTwice(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		m, ctx, all := db.Meter(), t.Context(), usageRecords(30)
		good(t, 0, m.ShipFresh(ctx, all))
		good(t, 0, m.ShipFresh(ctx, all))
		agree(t, m, "", 30)
	})
}

// However many bundles there are, they are dropped, made rows and summed in pieces that end.
func TestManyBundles(t *testing.T) {
	db := sqltest.Open(t, sqltest.SQLite(t))
	m, ctx, all := db.Meter(), t.Context(), usageRecords(600)
	kept := int64(0)
	for i := range all { // one of each
		all[i].Request[12] = byte(i >> 8)
		if all[i].Day() >= "2026-01-03" {
			kept++
		}
		good(t, 0, m.ShipFresh(ctx, all[i:i+1]))
	}
	if n := count(t, db, "usage_bundles"); n != 600 {
		t.Fatalf("%d bundles", n)
	}
	good(t, 0, m.Oldest(ctx, "node", 6)) // nobody sends them again
	good(t, 0, m.Retain(ctx, "2026-01-03"))
	if n := count(t, db, "usage_bundles"); n != kept {
		t.Errorf("%d bundles are left, want %d", n, kept)
	}
	good(t, 0, m.Rebuild(ctx))
	if rows, bundles := count(t, db, "usage_records"), count(t, db, "usage_bundles"); rows != kept || bundles != 0 {
		t.Errorf("%d rows and %d bundles", rows, bundles)
	}
	agree(t, m, "2026-01-03", kept)
}

// On SQLite records stay bundles until somebody asks for them.
func TestBundlesStay(t *testing.T) {
	db := sqltest.Open(t, sqltest.SQLite(t))
	m, ctx, all := db.Meter(), t.Context(), usageRecords(30)
	good(t, 0, m.ShipFresh(ctx, all))
	if rows, bundles := count(t, db, "usage_records"), count(t, db, "usage_bundles"); rows != 0 || bundles == 0 || bundles > 4 {
		t.Errorf("%d rows and %d bundles of four days", rows, bundles)
	}
	good(t, 0, m.Oldest(ctx, "node", 6)) // nobody sends them again
	good(t, 0, m.Retain(ctx, "2026-01-03"))
	if rows, marks := count(t, db, "usage_records"), count(t, db, "usage_marks"); rows != 0 || marks != 0 {
		t.Errorf("%d rows and %d marks of days that were dropped as bundles", rows, marks)
	}
	agree(t, m, "2026-01-03", 14)
}
