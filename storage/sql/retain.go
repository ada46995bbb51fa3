package sql

import (
	"context"
	"slices"

	"github.com/triarch-ai/triarch/tenancy/meter"
)

const deleteRows = 5000 // of one transaction

// Retain drops the records of days before floor, "2006-01-02", and the sums by tag of those days; the sums by day stay.
// What a ledger may send again is remembered, so that it is not booked twice. It goes on where an earlier call was ended.
func (m *Meter) Retain(ctx context.Context, floor string) error {
	err := m.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "UPDATE usage_retention SET floor = ? WHERE id = 1 AND floor < ?", floor, floor)
		return err
	})
	if err != nil {
		return err
	}
	days, err := m.daysBefore(ctx, floor)
	if err != nil {
		return err
	}
	for _, day := range days {
		if err := m.dropDay(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

func (m *Meter) daysBefore(ctx context.Context, floor string) (days []string, err error) {
	err = m.db.Read(ctx, func(tx *Tx) error {
		days, err = All(ctx, tx, func(s Scanner) (d string, err error) { return d, s.Scan(&d) },
			"SELECT day FROM usage_records WHERE day < ? UNION SELECT day FROM usage_bundles WHERE day < ? UNION SELECT day FROM usage_tags WHERE day < ?", floor, floor, floor)
		return err
	})
	slices.Sort(days)
	return days, err
}

// markDay remembers a day's records that a ledger may still hold.
const markDay = `INSERT INTO usage_marks (node, segment, slot) SELECT r.node, r.segment, r.slot FROM usage_records r
 LEFT JOIN usage_nodes n ON n.node = r.node WHERE r.day = ? AND (n.oldest IS NULL OR r.segment >= n.oldest) ON CONFLICT DO NOTHING`

func (m *Meter) dropDay(ctx context.Context, day string) error {
	if err := m.dropBundles(ctx, day); err != nil {
		return err
	}
	err := m.db.Write(ctx, func(tx *Tx) error {
		var floor string // its lock comes before those of tables, as for whoever stores records
		if err := tx.QueryRow(ctx, "SELECT floor FROM usage_retention WHERE id = 1"+tx.ForUpdate()).Scan(&floor); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, markDay, day); err != nil {
			return err
		}
		if table := partitionOf(day); tx.dialect == Postgres && table != "" {
			if _, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "DELETE FROM usage_tags WHERE day = ?", day)
		return err
	})
	m.db.partitions.Delete(day)
	if err != nil || m.db.dialect == Postgres {
		return err
	}
	for { // in pieces, between which others write
		var n int64
		err := m.db.Write(ctx, func(tx *Tx) error {
			n, err = tx.Exec(ctx, "DELETE FROM usage_records WHERE rowid IN (SELECT rowid FROM usage_records WHERE day = ? LIMIT ?)", day, deleteRows)
			return err
		})
		if err != nil || n < deleteRows {
			return err
		}
	}
}

// Oldest implements meter.Store.
func (m *Meter) Oldest(ctx context.Context, node string, segment int64) error {
	return m.db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO usage_nodes (node, oldest) VALUES (?, ?)
 ON CONFLICT (node) DO UPDATE SET oldest = excluded.oldest WHERE usage_nodes.oldest < excluded.oldest`, node, segment); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM usage_marks WHERE node = ? AND segment < ?", node, segment)
		return err
	})
}

// floorOf reads the floor and keeps it where it is until the transaction ends.
func floorOf(ctx context.Context, tx *Tx) (floor string, err error) {
	lock := ""
	if tx.dialect == Postgres {
		lock = " FOR SHARE"
	}
	return floor, tx.QueryRow(ctx, "SELECT floor FROM usage_retention WHERE id = 1"+lock).Scan(&floor)
}

// late books a record of a day whose records are gone: in the sums, once.
func (b *bill) late(ctx context.Context, tx *Tx, r *meter.Record) error {
	n, err := tx.Exec(ctx, `INSERT INTO usage_marks (node, segment, slot) SELECT CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT)
 WHERE NOT EXISTS (SELECT 1 FROM usage_records WHERE node = ? AND segment = ? AND slot = ?) ON CONFLICT DO NOTHING`,
		r.Node, r.Segment, r.Slot, r.Node, r.Segment, r.Slot)
	if err == nil && n > 0 {
		b.add(r)
	}
	return err
}
