package sql

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/compute/perf/measured"
)

// Measured is measured.Store on the database.
type Measured struct{ db *DB }

// Measured returns the store of measurements.
func (db *DB) Measured() *Measured { return &Measured{db} }

var _ measured.Store = (*Measured)(nil)

// Merge implements measured.Store.
func (s *Measured) Merge(ctx context.Context, report, project string, at time.Time, key string, merge func([]byte) (measured.Row, error)) (first bool, err error) {
	err = s.db.Write(ctx, func(tx *Tx) error {
		first = false
		n, err := tx.Exec(ctx, "INSERT INTO perf_reports (report, project, at) VALUES (?, ?, ?) ON CONFLICT (report) DO NOTHING", report, project, micros(at))
		if err != nil || n == 0 {
			return err
		}
		// The row exists before it is read, so that two that merge into it come one after the other.
		if _, err := tx.Exec(ctx, "INSERT INTO perf_rows (row_key, scope, last_at, body) VALUES (?, ?, 0, '') ON CONFLICT (row_key) DO NOTHING", key, project); err != nil {
			return err
		}
		var body string
		if err := tx.QueryRow(ctx, "SELECT body FROM perf_rows WHERE row_key = ?"+tx.ForUpdate(), key).Scan(&body); err != nil {
			return err
		}
		var old []byte
		if body != "" {
			old = []byte(body)
		}
		row, err := merge(old)
		if err != nil {
			return err
		}
		text, err := row.Encode()
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE perf_rows SET last_at = ?, body = ? WHERE row_key = ?", micros(row.Last), string(text), key)
		first = err == nil
		return err
	})
	return first && err == nil, err
}

// Rows implements measured.Store.
func (s *Measured) Rows(ctx context.Context) (all [][]byte, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		all, err = All(ctx, tx, func(s Scanner) ([]byte, error) {
			var body string
			err := s.Scan(&body)
			return []byte(body), err
		}, "SELECT body FROM perf_rows WHERE body <> '' ORDER BY row_key")
		return err
	})
	return all, err
}

// Expire implements measured.Store.
func (s *Measured) Expire(ctx context.Context, before time.Time, k measured.Keep) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		for _, x := range []struct {
			do  string
			arg any
		}{
			{"DELETE FROM perf_reports WHERE at < ?", micros(before)},
			{"DELETE FROM perf_reports WHERE report IN (SELECT report FROM" +
				" (SELECT report, ROW_NUMBER() OVER (PARTITION BY project ORDER BY at DESC, report) AS n FROM perf_reports) AS r WHERE n > ?)", k.Names},
			{"DELETE FROM perf_rows WHERE row_key IN (SELECT row_key FROM" +
				" (SELECT row_key, ROW_NUMBER() OVER (ORDER BY last_at DESC, row_key DESC) AS n FROM perf_rows WHERE scope = '') AS r WHERE n > ?)", k.Rows},
			{"DELETE FROM perf_rows WHERE row_key IN (SELECT row_key FROM (" + ofProjects + ") AS r WHERE n > ?)", k.Project},
			{"DELETE FROM perf_rows WHERE row_key IN (SELECT row_key FROM" + // the newest of each first, so that whoever has most gives way
				" (SELECT row_key, ROW_NUMBER() OVER (ORDER BY n, row_key) AS m FROM (" + ofProjects + ") AS r) AS o WHERE m > ?)", k.Rows},
		} {
			if _, err := tx.Exec(ctx, x.do, x.arg); err != nil {
				return err
			}
		}
		return nil
	})
}

// ofProjects numbers the rows of each project from the newest.
const ofProjects = "SELECT row_key, ROW_NUMBER() OVER (PARTITION BY scope ORDER BY last_at DESC, row_key DESC) AS n FROM perf_rows WHERE scope <> ''"

// Reported implements measured.Store.
func (s *Measured) Reported(ctx context.Context, project string, since time.Time) (n int, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		return tx.QueryRow(ctx, "SELECT COUNT(*) FROM perf_reports WHERE project = ? AND at >= ?", project, micros(since)).Scan(&n)
	})
	return n, err
}
