package sql

import (
	"context"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/train"
)

// Runs is train.Store on the database.
type Runs struct{ db *DB }

// Runs returns the store of training runs.
func (db *DB) Runs() *Runs { return &Runs{db} }

var _ train.Store = (*Runs)(nil)

const runColumns = "id, project, name, model, trainer, data_version, base, recipe, cpus, priority, job_id, state, reason, fault, stop," +
	" estimate, progress, metrics, model_version, created_by, created_at, started_at, ended_at, ask, forced"

func scanRun(s Scanner) (train.Run, error) {
	var r train.Run
	var recipe, estimate, progress, metrics, ask string
	var stop, created, started, ended int64
	err := s.Scan(&r.ID, &r.Project, &r.Name, &r.Model, &r.Trainer, &r.DataVersion, &r.Base, &recipe, &r.CPUs, &r.Priority, &r.JobID,
		&r.State, &r.Reason, &r.Fault, &stop, &estimate, &progress, &metrics, &r.ModelVersion, &r.CreatedBy, &created, &started, &ended, &ask, &r.Forced)
	if err != nil {
		return r, err
	}
	r.Stop = stop != 0
	r.CreatedAt, r.StartedAt, r.EndedAt = fromMicros(created), fromMicros(started), fromMicros(ended)
	for _, f := range []struct {
		text string
		into any
	}{{recipe, &r.Recipe}, {estimate, &r.Estimate}, {progress, &r.Progress}, {metrics, &r.Metrics}, {ask, &r.Ask}} {
		if err := fromJSON(f.text, f.into); err != nil {
			return r, err
		}
	}
	return r, nil
}

// Create implements train.Store.
func (s *Runs) Create(ctx context.Context, rs ...train.Run) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		for i := range rs {
			if i == 0 {
				if err := pin(ctx, tx, &rs[i]); err != nil {
					return err
				}
			}
			if err := insertRun(ctx, tx, &rs[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// pin makes sure that what a run takes stays until the transaction ends.
func pin(ctx context.Context, tx *Tx, r *train.Run) error {
	var got string
	err := tx.QueryRow(ctx, "SELECT id FROM data_versions WHERE project = ? AND id = ? AND removed_at = 0"+tx.ForUpdate(), r.Project, r.DataVersion).Scan(&got)
	if err != nil {
		return missing(err, "There is no data version %s.", r.DataVersion)
	}
	if r.Base != "" {
		return lockVersion(ctx, tx, r.Project, r.Base)
	}
	return nil
}

func insertRun(ctx context.Context, tx *Tx, r *train.Run) error {
	var text [5]string
	for i, part := range []any{r.Recipe, r.Estimate, r.Progress, r.Metrics, r.Ask} {
		var err error
		if text[i], err = toJSON(part); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "INSERT INTO runs ("+runColumns+", ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		r.ID, r.Project, r.Name, r.Model, r.Trainer, r.DataVersion, r.Base, text[0], r.CPUs, r.Priority, r.JobID, r.State, r.Reason, r.Fault, bit(r.Stop),
		text[1], text[2], text[3], r.ModelVersion, r.CreatedBy, micros(r.CreatedAt), micros(r.StartedAt), micros(r.EndedAt), text[4], r.Forced, bit(r.State.Final()))
	return err
}

// lockVersion makes sure that a model version stays until the transaction ends.
func lockVersion(ctx context.Context, tx *Tx, project, id string) error {
	var got string
	err := tx.QueryRow(ctx, "SELECT id FROM model_versions WHERE project = ? AND id = ?"+tx.ForUpdate(), project, id).Scan(&got)
	return missing(err, "There is no model version %s.", id)
}

// Get implements train.Store.
func (s *Runs) Get(ctx context.Context, project, id string) (r train.Run, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		r, err = scanRun(tx.QueryRow(ctx, "SELECT "+runColumns+" FROM runs WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no run %s.", id)
	})
	return r, err
}

// List implements train.Store.
func (s *Runs) List(ctx context.Context, project string, p page.Page) (rs []train.Run, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rs, err = paged(ctx, tx, scanRun, p, order{"created_at, id", "nt", true}, "SELECT "+runColumns+" FROM runs WHERE project = ?", project)
		return err
	})
	return rs, err
}

// Open implements train.Store.
func (s *Runs) Open(ctx context.Context) (rs []train.Run, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rs, err = All(ctx, tx, scanRun, "SELECT "+runColumns+" FROM runs WHERE ended = 0 ORDER BY created_at, id")
		return err
	})
	return rs, err
}

// Unended implements train.Store.
func (s *Runs) Unended(ctx context.Context, project string) (rs []train.Run, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rs, err = All(ctx, tx, scanRun, "SELECT "+runColumns+" FROM runs WHERE project = ? AND ended = 0 ORDER BY created_at DESC, id DESC", project)
		return err
	})
	return rs, err
}

// Update implements train.Store.
func (s *Runs) Update(ctx context.Context, r train.Run) (bool, error) {
	progress, err := toJSON(r.Progress)
	if err != nil {
		return false, err
	}
	metrics, err := toJSON(r.Metrics)
	if err != nil {
		return false, err
	}
	var n int64
	err = s.db.Write(ctx, func(tx *Tx) error {
		n, err = tx.Exec(ctx, "UPDATE runs SET job_id = ?, state = ?, ended = ?, reason = ?, fault = ?, progress = ?, metrics = ?, model_version = ?,"+
			" started_at = ?, ended_at = ? WHERE project = ? AND id = ? AND ended = 0",
			r.JobID, r.State, bit(r.State.Final()), r.Reason, r.Fault, progress, metrics, r.ModelVersion, micros(r.StartedAt), micros(r.EndedAt), r.Project, r.ID)
		return err
	})
	return n > 0, err
}

// RequestStop implements train.Store.
func (s *Runs) RequestStop(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "UPDATE runs SET stop = 1 WHERE project = ? AND id = ? AND ended = 0", project, id)
		if err != nil || n > 0 {
			return err
		}
		var state string
		if err := tx.QueryRow(ctx, "SELECT state FROM runs WHERE project = ? AND id = ?", project, id).Scan(&state); err != nil {
			return missing(err, "There is no run %s.", id)
		}
		return fault.Newf(fault.Conflict, "The run %s has ended already: it is %s.", id, state)
	})
}
