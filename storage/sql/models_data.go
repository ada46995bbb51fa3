package sql

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Data is data.Store on the database.
type Data struct{ db *DB }

// Data returns the store of data sets.
func (db *DB) Data() *Data { return &Data{db} }

var _ data.Store = (*Data)(nil)

const dataColumns = "id, project, name, number, format, ref, bytes, records, chars, bad, bad_lines, created_by, created_at, removed_at"

func scanData(s Scanner) (data.Version, error) { return scanDataAnd(s) }

// scanDataAnd reads a version and the columns after it.
func scanDataAnd(s Scanner, more ...any) (data.Version, error) {
	var v data.Version
	var bad string
	var at, removed int64
	err := s.Scan(append([]any{&v.ID, &v.Project, &v.DataSet, &v.Number, &v.Format, &v.Ref, &v.Bytes, &v.Records, &v.Chars, &v.Bad, &bad, &v.CreatedBy, &at, &removed}, more...)...)
	if err != nil {
		return v, err
	}
	v.CreatedAt, v.RemovedAt = fromMicros(at), fromMicros(removed)
	return v, fromJSON(bad, &v.BadLines)
}

// Add implements data.Store. The data set's row is the lock that keeps numbers without gaps or doubles.
func (s *Data) Add(ctx context.Context, v data.Version) (data.Version, error) {
	bad, err := toJSON(v.BadLines)
	if err != nil {
		return data.Version{}, err
	}
	var out data.Version
	err = s.db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO data_sets (project, name, next, created_at) VALUES (?, ?, 1, ?) ON CONFLICT (project, name) DO NOTHING",
			v.Project, v.DataSet, micros(v.CreatedAt)); err != nil {
			return err
		}
		out = v
		if err := tx.QueryRow(ctx, "SELECT next FROM data_sets WHERE project = ? AND name = ?"+tx.ForUpdate(), v.Project, v.DataSet).Scan(&out.Number); err != nil {
			return err
		}
		have, err := scanData(tx.QueryRow(ctx, "SELECT "+dataColumns+" FROM data_versions WHERE project = ? AND name = ? AND format = ? AND ref = ?",
			v.Project, v.DataSet, v.Format, v.Ref))
		if !fault.Is(err, fault.NotFound) {
			out = have
			if err != nil || have.RemovedAt.IsZero() {
				return err
			}
			out.RemovedAt = time.Time{}
			_, err = tx.Exec(ctx, "UPDATE data_versions SET removed_at = 0 WHERE id = ?", have.ID)
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE data_sets SET next = next + 1 WHERE project = ? AND name = ?", v.Project, v.DataSet); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO data_versions ("+dataColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
			out.ID, out.Project, out.DataSet, out.Number, out.Format, out.Ref, out.Bytes, out.Records, out.Chars, out.Bad, bad, out.CreatedBy, micros(out.CreatedAt))
		return err
	})
	return out, err
}

// Get implements data.Store.
func (s *Data) Get(ctx context.Context, project, id string) (v data.Version, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		v, err = scanData(tx.QueryRow(ctx, "SELECT "+dataColumns+" FROM data_versions WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no data version %s.", id)
	})
	return v, err
}

// Find implements data.Store.
func (s *Data) Find(ctx context.Context, project, name string, number int) (v data.Version, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		q := "SELECT " + dataColumns + " FROM data_versions WHERE project = ? AND name = ? "
		if number == 0 {
			v, err = scanData(tx.QueryRow(ctx, q+"AND removed_at = 0 ORDER BY number DESC LIMIT 1", project, name))
			return missing(err, "There is no data set %s.", name)
		}
		v, err = scanData(tx.QueryRow(ctx, q+"AND number = ?", project, name, number))
		return missing(err, "There is no data version %s@%d.", name, number)
	})
	return v, err
}

// Sets implements data.Store.
func (s *Data) Sets(ctx context.Context, project string, p page.Page) (sets []data.Set, err error) {
	scan := func(r Scanner) (d data.Set, err error) {
		d.Latest, err = scanDataAnd(r, &d.Versions)
		d.Name = d.Latest.DataSet
		return d, err
	}
	err = s.db.Read(ctx, func(tx *Tx) error {
		sets, err = paged(ctx, tx, scan, p, order{"name", "t", false}, "SELECT "+dataColumns+
			", (SELECT COUNT(*) FROM data_versions o WHERE o.project = v.project AND o.name = v.name AND o.removed_at = 0) FROM data_versions v WHERE v.project = ?"+
			" AND v.number = (SELECT MAX(o.number) FROM data_versions o WHERE o.project = v.project AND o.name = v.name AND o.removed_at = 0)", project)
		return err
	})
	return sets, err
}

// Versions implements data.Store.
func (s *Data) Versions(ctx context.Context, project, name string, p page.Page) (vs []data.Version, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		vs, err = paged(ctx, tx, scanData, p, order{"number", "n", true}, "SELECT "+dataColumns+" FROM data_versions WHERE project = ? AND name = ? AND removed_at = 0", project, name)
		return err
	})
	return vs, err
}

// Remove implements data.Store. The version's row is locked before the runs are looked at, as Runs.Create locks it
// before it inserts one. What an ended run used stays as a row, but for the reasons of its broken lines.
func (s *Data) Remove(ctx context.Context, project, id string, at time.Time) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		var got string
		err := tx.QueryRow(ctx, "SELECT id FROM data_versions WHERE project = ? AND id = ? AND removed_at = 0"+tx.ForUpdate(), project, id).Scan(&got)
		if err != nil {
			return missing(err, "There is no data version %s.", id)
		}
		var run string
		err = tx.QueryRow(ctx, "SELECT id FROM runs WHERE ended = 0 AND data_version = ? LIMIT 1", id).Scan(&run)
		if err == nil {
			return fault.New(fault.Conflict, "The run "+run+" trains on it.", fault.Code("in_use"), fault.Fix("Wait for the run to end, or stop it."))
		}
		if !fault.Is(err, fault.NotFound) {
			return err
		}
		var used int64
		if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM runs WHERE data_version = ?", id).Scan(&used); err != nil {
			return err
		}
		if used > 0 {
			_, err = tx.Exec(ctx, "UPDATE data_versions SET removed_at = ?, bad_lines = 'null' WHERE project = ? AND id = ?", micros(at), project, id)
			return err
		}
		_, err = tx.Exec(ctx, "DELETE FROM data_versions WHERE project = ? AND id = ?", project, id)
		return err
	})
}

// Refs implements data.Store.
func (s *Data) Refs(ctx context.Context, yield func(blob.Ref) bool) error {
	return s.db.Read(ctx, func(tx *Tx) error {
		rows, err := tx.Query(ctx, "SELECT ref FROM data_versions WHERE removed_at = 0")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r blob.Ref
			if err := rows.Scan(&r); err != nil {
				return mapErr(err)
			}
			if !yield(r) {
				return nil
			}
		}
		return mapErr(rows.Err())
	})
}
