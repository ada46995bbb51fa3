package sql

import (
	"context"
	"math"
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

// manyIDs is how many ids are asked for at once, below every database's bound on placeholders.
const manyIDs = 500

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
func (s *Jobs) Create(ctx context.Context, j job.Job) error { return s.CreateAll(ctx, []job.Job{j}) }

// CreateAll implements job.Store.
func (s *Jobs) CreateAll(ctx context.Context, js []job.Job) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		for i := range js {
			if err := insertJob(ctx, tx, &js[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func insertJob(ctx context.Context, tx *Tx, j *job.Job) error {
	spec, err := toJSON(j.Spec)
	if err != nil {
		return err
	}
	standing, err := toJSON(j.Standing)
	if err != nil {
		return err
	}
	var m job.Member
	if j.Ask.Member != nil {
		m = *j.Ask.Member
	}
	_, err = tx.Exec(ctx, "INSERT INTO jobs (project, kind, name, owner, ended, array_id, element, leads, "+jobColumns+")"+
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		j.Project, j.Kind, j.Name, j.Owner, bit(j.State.Final()), m.Array, m.Index, bit(m.Array != "" && m.Index == m.First), j.ID, spec, j.State, j.Reason, j.Fault,
		j.Attempt, j.Restarts, j.Streak, j.ExitCode, j.Limits, micros(j.CreatedAt), micros(j.StartedAt),
		micros(j.AttemptAt), micros(j.EndedAt), micros(j.NextStartAt), standing, bit(j.Discarded), 1)
	return err
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
	for _, c := range []struct{ column, value string }{{"kind", f.Kind}, {"owner", f.Owner}, {"state", string(f.State)}, {"name", f.Name}, {"array_id", f.Array}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Element != nil {
		where, args = append(where, "element = ?"), append(args, *f.Element)
	}
	switch {
	case f.Fold && f.Open:
		where = append(where, "(array_id = '' AND ended = 0 OR leads = 1 AND EXISTS (SELECT 1 FROM jobs e WHERE e.array_id = jobs.array_id AND e.ended = 0))")
	case f.Fold:
		where = append(where, "(array_id = '' OR leads = 1)")
	case f.Open:
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
	return s.UpdateAll(ctx, []job.Job{j})
}

// UpdateAll implements job.Store.
func (s *Jobs) UpdateAll(ctx context.Context, js []job.Job) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		for i := range js {
			if err := updateJob(ctx, tx, &js[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func updateJob(ctx context.Context, tx *Tx, j *job.Job) error {
	standing, err := toJSON(j.Standing)
	if err != nil {
		return err
	}
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
}

// Tally implements job.Store.
func (s *Jobs) Tally(ctx context.Context, arrays []string) (out map[string]job.Tally, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		out, err = tally(ctx, tx, arrays, nil)
		return err
	})
	return out, err
}

// tally counts the elements of arrays, and notes their projects if it is asked to.
func tally(ctx context.Context, tx *Tx, arrays []string, projects map[string]string) (map[string]job.Tally, error) {
	type line struct {
		array, project string
		state          job.State
		n              int
		began, ended   int64
	}
	scan := func(s Scanner) (l line, err error) {
		return l, s.Scan(&l.array, &l.project, &l.state, &l.n, &l.began, &l.ended)
	}
	out := map[string]job.Tally{}
	for part := range slices.Chunk(arrays, manyIDs) {
		args := make([]any, len(part))
		for i, id := range part {
			args[i] = id
		}
		lines, err := All(ctx, tx, scan, "SELECT array_id, project, state, COUNT(*), MIN(CASE WHEN started_at = 0 THEN 9223372036854775807 ELSE started_at END), MAX(ended_at)"+
			" FROM jobs WHERE array_id IN ("+strings.Repeat("?, ", len(part)-1)+"?) GROUP BY array_id, project, state", args...)
		if err != nil {
			return nil, err
		}
		began, ended := map[string]int64{}, map[string]int64{}
		for _, l := range lines {
			t := out[l.array]
			if t.States == nil {
				t.States = map[job.State]int{}
				began[l.array] = math.MaxInt64
			}
			t.States[l.state] += l.n
			began[l.array], ended[l.array] = min(began[l.array], l.began), max(ended[l.array], l.ended)
			if began[l.array] < math.MaxInt64 {
				t.StartedAt = fromMicros(began[l.array])
			}
			out[l.array] = t
			if projects != nil {
				projects[l.array] = l.project
			}
		}
		for array, at := range ended {
			if t := out[array]; t.State().Final() {
				t.EndedAt = fromMicros(at)
				out[array] = t
			}
		}
	}
	return out, nil
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
	out := map[string]job.Job{}
	var arrays []string
	err := s.db.Read(ctx, func(tx *Tx) error {
		for part := range slices.Chunk(ids, manyIDs) {
			args := make([]any, len(part))
			for i, id := range part {
				args[i] = id
				if job.IsArray(id) {
					arrays = append(arrays, id)
				}
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
		if len(arrays) == 0 {
			return nil
		}
		projects := map[string]string{}
		tallies, err := tally(ctx, tx, arrays, projects)
		for id, t := range tallies {
			out[id] = job.Job{ID: id, Spec: job.Spec{Project: projects[id]}, State: t.Prospect()}
		}
		return err
	})
	return out, err
}
