package sql

import (
	"context"
	stdsql "database/sql"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Registry is registry.Store on the database.
type Registry struct{ db *DB }

// Registry returns the store of models.
func (db *DB) Registry() *Registry { return &Registry{db} }

var _ registry.Store = (*Registry)(nil)

const (
	versionColumns = "v.id, v.project, v.model_id, m.name, v.number, v.files, v.shape, v.card, v.lineage, v.metrics, v.created_by, v.created_at"
	versionTables  = " FROM model_versions v JOIN models m ON m.id = v.model_id "
)

// scanVersion reads a version without its loss curve.
func scanVersion(s Scanner) (registry.Version, error) { return scanVersionAnd(s) }

// scanWhole reads a version with its loss curve, the last column.
func scanWhole(s Scanner) (registry.Version, error) {
	var curve string
	v, err := scanVersionAnd(s, &curve)
	if err != nil {
		return v, err
	}
	return v, fromJSON(curve, &v.LossCurve)
}

func scanVersionAnd(s Scanner, more ...any) (registry.Version, error) {
	var v registry.Version
	var files, shape, lineage, metrics string
	var at int64
	err := s.Scan(append([]any{&v.ID, &v.Project, &v.ModelID, &v.Model, &v.Number, &files, &shape, &v.Card, &lineage, &metrics, &v.CreatedBy, &at}, more...)...)
	if err != nil {
		return v, err
	}
	v.CreatedAt = fromMicros(at)
	for _, f := range []struct {
		text string
		into any
	}{{files, &v.Files}, {shape, &v.Shape}, {lineage, &v.Lineage}, {metrics, &v.Metrics}} {
		if err := fromJSON(f.text, f.into); err != nil {
			return v, err
		}
	}
	return v, nil
}

// Add implements registry.Store. The model's row is the lock that keeps numbers without doubles and a run's version
// single.
func (s *Registry) Add(ctx context.Context, m registry.Model, v registry.Version) (registry.Version, error) {
	var text [5]string
	for i, part := range []any{v.Files, v.Shape, v.Lineage, v.Metrics, v.LossCurve} {
		var err error
		if text[i], err = toJSON(part); err != nil {
			return registry.Version{}, err
		}
	}
	run := stdsql.NullString{String: v.Lineage.Once(), Valid: v.Lineage.Once() != ""} // a pull stands where a run does
	var out registry.Version
	err := s.db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO models (id, project, name, next, created_at) VALUES (?, ?, ?, 1, ?) ON CONFLICT (project, name) DO NOTHING",
			m.ID, m.Project, m.Name, micros(m.CreatedAt)); err != nil {
			return err
		}
		out = v
		if err := tx.QueryRow(ctx, "SELECT id, next FROM models WHERE project = ? AND name = ?"+tx.ForUpdate(), m.Project, m.Name).Scan(&out.ModelID, &out.Number); err != nil {
			return err
		}
		if run.Valid {
			have, err := byRun(ctx, tx, v.Project, run.String)
			if !fault.Is(err, fault.NotFound) {
				out = have
				return err
			}
		}
		if _, err := tx.Exec(ctx, "UPDATE models SET next = next + 1 WHERE id = ?", out.ModelID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO model_versions (id, project, model_id, number, run_id, files, shape, lineage, metrics, curve, card, created_by, created_at)"+
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			out.ID, out.Project, out.ModelID, out.Number, run, text[0], text[1], text[2], text[3], text[4], out.Card, out.CreatedBy, micros(out.CreatedAt))
		return err
	})
	return out, err
}

func byRun(ctx context.Context, tx *Tx, project, run string) (registry.Version, error) {
	return scanWhole(tx.QueryRow(ctx, "SELECT "+versionColumns+", v.curve"+versionTables+"WHERE v.project = ? AND v.run_id = ?", project, run))
}

// Get implements registry.Store.
func (s *Registry) Get(ctx context.Context, project, id string) (v registry.Version, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		v, err = scanWhole(tx.QueryRow(ctx, "SELECT "+versionColumns+", v.curve"+versionTables+"WHERE v.project = ? AND v.id = ?", project, id))
		return missing(err, "There is no model version %s.", id)
	})
	return v, err
}

// ByRun implements registry.Store.
func (s *Registry) ByRun(ctx context.Context, project, run string) (v registry.Version, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		v, err = byRun(ctx, tx, project, run)
		return missing(err, "The run %s has made no model version.", run)
	})
	return v, err
}

// Find implements registry.Store.
func (s *Registry) Find(ctx context.Context, project, model string, number int) (v registry.Version, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		q := "SELECT " + versionColumns + ", v.curve" + versionTables + "WHERE v.project = ? AND m.project = ? AND m.name = ? "
		if number == 0 {
			v, err = scanWhole(tx.QueryRow(ctx, q+"ORDER BY v.number DESC LIMIT 1", project, project, model))
			return missing(err, "There is no model %s.", model)
		}
		v, err = scanWhole(tx.QueryRow(ctx, q+"AND v.number = ?", project, project, model, number))
		return missing(err, "There is no model version %s@%d.", model, number)
	})
	return v, err
}

// Models implements registry.Store.
func (s *Registry) Models(ctx context.Context, project string, p page.Page) (ms []registry.Model, err error) {
	scan := func(r Scanner) (registry.Model, error) {
		var m registry.Model
		var at int64
		err := r.Scan(&m.ID, &m.Project, &m.Name, &m.Versions, &m.Latest, &at)
		m.CreatedAt = fromMicros(at)
		return m, err
	}
	err = s.db.Read(ctx, func(tx *Tx) error {
		ms, err = paged(ctx, tx, scan, p, order{"m.name", "t", false}, "SELECT m.id, m.project, m.name, v.versions, v.latest, m.created_at FROM models m JOIN"+
			" (SELECT model_id, COUNT(*) AS versions, MAX(number) AS latest FROM model_versions WHERE project = ? GROUP BY model_id) v ON v.model_id = m.id"+
			" WHERE m.project = ?", project, project)
		return err
	})
	return ms, err
}

// Versions implements registry.Store.
func (s *Registry) Versions(ctx context.Context, project, model string, p page.Page) (vs []registry.Version, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		vs, err = paged(ctx, tx, scanVersion, p, order{"v.number", "n", true}, "SELECT "+versionColumns+versionTables+"WHERE v.project = ? AND m.project = ? AND m.name = ?",
			project, project, model)
		return err
	})
	return vs, err
}

// Remove implements registry.Store. The version's row is locked before its users are looked at, as Runs.Create and
// Serve.AddDeployment lock it before they insert one.
func (s *Registry) Remove(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		var got string
		err := tx.QueryRow(ctx, "SELECT id FROM model_versions WHERE project = ? AND id = ?"+tx.ForUpdate(), project, id).Scan(&got)
		if err != nil {
			return missing(err, "There is no model version %s.", id)
		}
		for _, use := range []struct{ query, sentence, fix string }{
			{"SELECT name FROM deployments WHERE model_version = ? LIMIT 1", "The deployment %s serves it.", "Remove the deployment first."},
			{"SELECT id FROM runs WHERE ended = 0 AND base = ? LIMIT 1", "The run %s starts from it.", "Wait for the run to end, or stop it."},
		} {
			var user string
			err := tx.QueryRow(ctx, use.query, id).Scan(&user)
			if err == nil {
				f := fault.Newf(fault.Conflict, use.sentence, user)
				f.Code, f.Fix = "in_use", use.fix
				return f
			}
			if !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		_, err = tx.Exec(ctx, "DELETE FROM model_versions WHERE project = ? AND id = ?", project, id)
		return err
	})
}

// Exists implements registry.Store.
func (s *Registry) Exists(ctx context.Context, ids []string) (map[string]bool, error) {
	have := make(map[string]bool, len(ids))
	err := s.db.Read(ctx, func(tx *Tx) error {
		for _, id := range ids {
			var n int64
			if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM model_versions WHERE id = ?", id).Scan(&n); err != nil {
				return err
			}
			have[id] = n > 0
		}
		return nil
	})
	return have, err
}

// Refs implements registry.Store.
func (s *Registry) Refs(ctx context.Context, yield func(blob.Ref) bool) error {
	return s.db.Read(ctx, func(tx *Tx) error {
		rows, err := tx.Query(ctx, "SELECT files FROM model_versions")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return mapErr(err)
			}
			var files map[string]registry.File
			if err := fromJSON(text, &files); err != nil {
				return err
			}
			for _, f := range files {
				if !yield(f.Ref) {
					return nil
				}
			}
		}
		return mapErr(rows.Err())
	})
}
