package sql

import (
	"context"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
)

// Jobs is job.Store on the database.
type Jobs struct{ db *DB }

// Jobs returns the store of jobs.
func (db *DB) Jobs() *Jobs { return &Jobs{db} }

var _ job.Store = (*Jobs)(nil)

const jobColumns = "id, spec, state, reason, fault, attempt, restarts, streak, exit_code, limits," +
	" created_at, started_at, attempt_at, ended_at, next_start_at, standing, discarded, revision"

func scanJob(s Scanner) (job.Job, error) {
	var j job.Job
	var spec, standing string
	var created, started, attempt, ended, next, discarded int64
	err := s.Scan(&j.ID, &spec, &j.State, &j.Reason, &j.Fault, &j.Attempt, &j.Restarts, &j.Streak, &j.ExitCode, &j.Limits,
		&created, &started, &attempt, &ended, &next, &standing, &discarded, &j.Revision)
	if err != nil {
		return j, err
	}
	j.CreatedAt, j.StartedAt, j.AttemptAt = fromMicros(created), fromMicros(started), fromMicros(attempt)
	j.EndedAt, j.NextStartAt, j.Discarded = fromMicros(ended), fromMicros(next), discarded != 0
	if err := fromJSON(standing, &j.Standing); err != nil {
		return j, err
	}
	return j, fromJSON(spec, &j.Spec)
}

// Create implements job.Store.
func (s *Jobs) Create(ctx context.Context, j job.Job) error {
	spec, err := toJSON(j.Spec)
	if err != nil {
		return err
	}
	standing, err := toJSON(j.Standing)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO jobs (project, kind, name, owner, ended, "+jobColumns+")"+
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			j.Project, j.Kind, j.Name, j.Owner, bit(j.State.Final()), j.ID, spec, j.State, j.Reason, j.Fault,
			j.Attempt, j.Restarts, j.Streak, j.ExitCode, j.Limits, micros(j.CreatedAt), micros(j.StartedAt),
			micros(j.AttemptAt), micros(j.EndedAt), micros(j.NextStartAt), standing, bit(j.Discarded), 1)
		return err
	})
}

// Get implements job.Store.
func (s *Jobs) Get(ctx context.Context, project, id string) (j job.Job, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		j, err = scanJob(tx.QueryRow(ctx, "SELECT "+jobColumns+" FROM jobs WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no job %s.", id)
	})
	return j, err
}

// List implements job.Store.
func (s *Jobs) List(ctx context.Context, project string, f job.Filter) (js []job.Job, err error) {
	where, args := []string{"project = ?"}, []any{project}
	for _, c := range []struct{ column, value string }{{"kind", f.Kind}, {"owner", f.Owner}, {"state", string(f.State)}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Open {
		where = append(where, "ended = 0")
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 1000
	}
	err = s.db.Read(ctx, func(tx *Tx) error {
		js, err = paged(ctx, tx, scanJob, page.Page{After: f.After, Limit: limit}, order{"created_at, id", "nt", true},
			"SELECT "+jobColumns+" FROM jobs WHERE "+strings.Join(where, " AND "), args...)
		return err
	})
	return js, err
}

// Open implements job.Store.
func (s *Jobs) Open(ctx context.Context) (js []job.Job, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		js, err = All(ctx, tx, scanJob, "SELECT "+jobColumns+" FROM jobs WHERE ended = 0 ORDER BY created_at, id")
		return err
	})
	return js, err
}

// Update implements job.Store. The spec of a job never changes.
func (s *Jobs) Update(ctx context.Context, j job.Job) error {
	standing, err := toJSON(j.Standing)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "UPDATE jobs SET state = ?, ended = ?, reason = ?, fault = ?, attempt = ?, restarts = ?, streak = ?,"+
			" exit_code = ?, limits = ?, started_at = ?, attempt_at = ?, ended_at = ?, next_start_at = ?, standing = ?, discarded = ?,"+
			" revision = revision + 1 WHERE project = ? AND id = ? AND revision = ?",
			j.State, bit(j.State.Final()), j.Reason, j.Fault, j.Attempt, j.Restarts, j.Streak, j.ExitCode, j.Limits,
			micros(j.StartedAt), micros(j.AttemptAt), micros(j.EndedAt), micros(j.NextStartAt), standing, bit(j.Discarded),
			j.Project, j.ID, j.Revision)
		if err != nil || n == 1 {
			return err
		}
		var revision int64
		err = tx.QueryRow(ctx, "SELECT revision FROM jobs WHERE project = ? AND id = ?", j.Project, j.ID).Scan(&revision)
		if err != nil {
			return missing(err, "There is no job %s.", j.ID)
		}
		return fault.New(fault.Conflict, "Job "+j.ID+" was changed meanwhile.", fault.Code("stale"))
	})
}

// Delete implements job.Store.
func (s *Jobs) Delete(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM jobs WHERE project = ? AND id = ?", project, id)
		if err == nil && n == 0 {
			err = fault.Newf(fault.NotFound, "There is no job %s.", id)
		}
		return err
	})
}

// Find implements job.Store.
func (s *Jobs) Find(ctx context.Context, ids []string) (map[string]job.Job, error) {
	const many = 500 // below every database's bound on placeholders
	out := map[string]job.Job{}
	err := s.db.Read(ctx, func(tx *Tx) error {
		for part := range slices.Chunk(ids, many) {
			args := make([]any, len(part))
			for i, id := range part {
				args[i] = id
			}
			js, err := All(ctx, tx, scanJob, "SELECT "+jobColumns+" FROM jobs WHERE id IN ("+
				strings.Repeat("?, ", len(part)-1)+"?)", args...)
			if err != nil {
				return err
			}
			for _, j := range js {
				out[j.ID] = j
			}
		}
		return nil
	})
	return out, err
}
