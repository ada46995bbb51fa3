package sql

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// A bundle is one row with the records of one segment and day that were shipped together. A row of its own for each
// record costs SQLite as much as a tenth of all that a gateway does, and hardly anybody reads them: sums answer what is asked
// of usage. So records that cannot have been stored before go into bundles, and become rows when somebody compares or
// lists them, or may send them again. In the sums they are from the beginning, by the same transaction.
//
// Who reads usage_records on SQLite unpacks first. PostgreSQL has no bundles.

var _ meter.FreshStore = (*Meter)(nil)

// ShipFresh implements meter.FreshStore.
func (m *Meter) ShipFresh(ctx context.Context, records []meter.Record) error {
	if m.db.dialect == Postgres {
		return m.Ship(ctx, records)
	}
	err := m.db.Write(ctx, func(tx *Tx) error {
		b := newBill()
		var err error
		if b.floor, err = floorOf(ctx, tx); err != nil {
			return err
		}
		sorted := b.sort(records)
		slices.SortStableFunc(sorted, func(r, s *meter.Record) int {
			return cmp.Or(cmp.Compare(r.Segment, s.Segment), cmp.Compare(b.day(r), b.day(s)))
		})
		for rest := sorted; len(rest) > 0; {
			if b.day(rest[0]) < b.floor {
				if err := b.late(ctx, tx, rest[0]); err != nil {
					return err
				}
				rest = rest[1:]
				continue
			}
			n := b.together(rest)
			if err := b.bundle(ctx, tx, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return b.close(ctx, tx, m, records)
	})
	if errors.Is(err, errSomeKnown) { // a first slot that is taken: these are not fresh
		return m.Ship(ctx, records)
	}
	return err
}

// together is how many of the first records go into one bundle.
func (b *bill) together(sorted []*meter.Record) int {
	first := sorted[0]
	for n, r := range sorted {
		if r.Node != first.Node || r.Segment != first.Segment || b.day(r) != b.day(first) {
			return n
		}
	}
	return len(sorted)
}

const addBundle = "INSERT INTO usage_bundles (node, segment, slot, day, records, data) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"

func (b *bill) bundle(ctx context.Context, tx *Tx, records []*meter.Record) error {
	r := records[0]
	n, err := tx.Exec(ctx, addBundle, r.Node, r.Segment, r.Slot, b.day(r), len(records), base64.StdEncoding.EncodeToString(b.pack(records)))
	if err != nil {
		return err
	}
	if n == 0 {
		return errSomeKnown
	}
	for _, r := range records {
		b.add(r)
	}
	return nil
}

// packed is a bundle as it is stored.
type packed struct {
	node          string
	segment, slot int64
	data          string
}

// unpack makes rows of the bundles of which where is true, up to so many, and says how many it did.
func (b *bill) unpack(ctx context.Context, tx *Tx, where string, limit int, args ...any) (int, error) {
	if tx.dialect == Postgres {
		return 0, nil
	}
	list, err := All(ctx, tx, func(s Scanner) (p packed, err error) {
		return p, s.Scan(&p.node, &p.segment, &p.slot, &p.data)
	}, "SELECT node, segment, slot, data FROM usage_bundles WHERE "+where+" LIMIT ?", append(args, limit)...)
	if err != nil {
		return 0, err
	}
	for _, p := range list {
		data, err := base64.StdEncoding.DecodeString(p.data)
		if err != nil {
			return 0, fault.Wrap(err, "reading a bundle of usage records")
		}
		records, err := unpackRecords(data, p.node, p.segment)
		if err != nil {
			return 0, err
		}
		if err := b.fill(ctx, tx, records); err != nil {
			return 0, err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM usage_bundles WHERE node = ? AND segment = ? AND slot = ?", p.node, p.segment, p.slot); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

// fill stores rows of records that are in the sums already.
func (b *bill) fill(ctx context.Context, tx *Tx, records []meter.Record) error {
	for rest := b.sort(records); len(rest) > 0; {
		n := b.group(rest, shipRows)
		if _, err := b.put(ctx, tx, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// unpackRow is how many bundles one transaction makes rows of, so that others can write in between.
const unpackRow = 4

// unpack makes rows of all bundles of which where is true.
func (m *Meter) unpack(ctx context.Context, where string, args ...any) error {
	if m.db.dialect == Postgres {
		return nil
	}
	for {
		n := 0
		err := m.db.Write(ctx, func(tx *Tx) (err error) {
			n, err = newBill().unpack(ctx, tx, where, unpackRow, args...)
			return err
		})
		if err != nil || n < unpackRow {
			return err
		}
	}
}

// unpackAll is unpack of all bundles of which where is true, a few in memory at a time.
func (b *bill) unpackAll(ctx context.Context, tx *Tx, where string, args ...any) error {
	for {
		if n, err := b.unpack(ctx, tx, where, unpackRow, args...); err != nil || n < unpackRow {
			return err
		}
	}
}

var errBundled = errors.New("sql: there are bundles of usage records")

// whole runs f on a state of the database in which every record is a row.
func (m *Meter) whole(ctx context.Context, f func(*Tx) error) error {
	if m.db.dialect == Postgres {
		return m.db.Read(ctx, f)
	}
	for range 5 { // a gateway may ship in between
		if err := m.unpack(ctx, "1 = 1"); err != nil {
			return err
		}
		err := m.db.Read(ctx, func(tx *Tx) error {
			var bundles int64
			if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM usage_bundles").Scan(&bundles); err != nil {
				return err
			}
			if bundles > 0 {
				return errBundled
			}
			return f(tx)
		})
		if !errors.Is(err, errBundled) {
			return err
		}
	}
	return m.db.Write(ctx, func(tx *Tx) error {
		if err := newBill().unpackAll(ctx, tx, "1 = 1"); err != nil {
			return err
		}
		return f(tx)
	})
}

// dropBundles drops the bundles of a day. Records that a ledger may still hold become rows first, which are remembered.
func (m *Meter) dropBundles(ctx context.Context, day string) error {
	err := m.unpack(ctx, "day = ? AND segment >= COALESCE((SELECT oldest FROM usage_nodes n WHERE n.node = usage_bundles.node), segment)", day)
	if err != nil || m.db.dialect == Postgres {
		return err
	}
	for { // in pieces, between which others write
		var n int64
		err := m.db.Write(ctx, func(tx *Tx) error {
			n, err = tx.Exec(ctx, "DELETE FROM usage_bundles WHERE rowid IN (SELECT rowid FROM usage_bundles WHERE day = ? LIMIT ?)", day, deleteBundles)
			return err
		})
		if err != nil || n < deleteBundles {
			return err
		}
	}
}

const deleteBundles = 64 // of one transaction; each has up to a megabyte
