package sql

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/hub/pulls"
)

// Pulls is pulls.Store on the database.
type Pulls struct{ db *DB }

// Pulls returns the store of models on their way from hubs.
func (db *DB) Pulls() *Pulls { return &Pulls{db} }

var _ pulls.Store = (*Pulls)(nil)

const pullColumns = "id, project, model, state, spec, ended, progress, sealed, created_by, created_at, changed_at"

// pullEnd is the column ended.
type pullEnd struct {
	Reason  string     `json:"reason,omitempty"`
	Kind    fault.Kind `json:"kind,omitempty"`
	Code    string     `json:"code,omitempty"`
	Fix     string     `json:"fix,omitempty"`
	Commit  string     `json:"commit,omitempty"`
	Listed  string     `json:"listed,omitempty"`
	Hash    string     `json:"hash,omitempty"`
	Version string     `json:"version,omitempty"`
}

func scanPull(s Scanner) (p pulls.Pull, err error) {
	var spec, ended, progress string
	var created, changed int64
	if err := s.Scan(&p.ID, &p.Project, &p.Model, &p.State, &spec, &ended, &progress, &p.Sealed, &p.CreatedBy, &created, &changed); err != nil {
		return p, err
	}
	p.CreatedAt, p.ChangedAt = fromMicros(created), fromMicros(changed)
	var e pullEnd
	for _, f := range []struct {
		text string
		into any
	}{{spec, &p.Spec}, {ended, &e}, {progress, &p.Progress}} {
		if err := fromJSON(f.text, f.into); err != nil {
			return p, err
		}
	}
	p.Reason, p.Kind, p.Code, p.Fix, p.Commit, p.Listed, p.Hash, p.Version = e.Reason, e.Kind, e.Code, e.Fix, e.Commit, e.Listed, e.Hash, e.Version
	return p, nil
}

// Begin implements pulls.Store. The project's row makes two at once wait for each other.
func (s *Pulls) Begin(ctx context.Context, p pulls.Pull, most int) (out pulls.Pull, err error) {
	spec, err := toJSON(p.Spec)
	if err != nil {
		return out, err
	}
	live := p.Project + " " + p.Spec.Key() + " " + p.Model
	err = s.db.Write(ctx, func(tx *Tx) error {
		var n int
		if err := tx.QueryRow(ctx, "SELECT 1 FROM projects WHERE id = ?"+tx.ForUpdate(), p.Project).Scan(&n); err != nil {
			return missing(err, "There is no project %s.", p.Project)
		}
		if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM pulls WHERE project = ? AND state = ? AND (live IS NULL OR live <> ?)", p.Project, pulls.Running, live).Scan(&n); err != nil {
			return err
		}
		if n >= most {
			return fault.New(fault.Conflict, "The project has too many pulls running.", fault.Code("too_many"), fault.Fix("Wait for one to end, or remove one."))
		}
		changed, err := tx.Exec(ctx, "UPDATE pulls SET changed_at = CASE WHEN state = ? THEN changed_at ELSE ? END, state = ?, spec = ?, sealed = ?, ended = '{}' WHERE live = ?",
			pulls.Running, micros(p.ChangedAt), pulls.Running, spec, p.Sealed, live)
		if err != nil {
			return err
		}
		if changed == 0 {
			if _, err := tx.Exec(ctx, "INSERT INTO pulls ("+pullColumns+", live) VALUES (?, ?, ?, ?, ?, '{}', '{}', ?, ?, ?, ?, ?)",
				p.ID, p.Project, p.Model, pulls.Running, spec, p.Sealed, p.CreatedBy, micros(p.CreatedAt), micros(p.ChangedAt), live); err != nil {
				return err
			}
		}
		out, err = scanPull(tx.QueryRow(ctx, "SELECT "+pullColumns+" FROM pulls WHERE live = ?", live))
		return err
	})
	return out, err
}

// Get implements pulls.Store.
func (s *Pulls) Get(ctx context.Context, project, id string) (p pulls.Pull, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		p, err = scanPull(tx.QueryRow(ctx, "SELECT "+pullColumns+" FROM pulls WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no pull %s.", id)
	})
	return p, err
}

// List implements pulls.Store.
func (s *Pulls) List(ctx context.Context, project string, p page.Page) (list []pulls.Pull, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = paged(ctx, tx, scanPull, p, order{"created_at, id", "nt", true}, "SELECT "+pullColumns+" FROM pulls WHERE project = ?", project)
		return err
	})
	return list, err
}

// Running implements pulls.Store.
func (s *Pulls) Running(ctx context.Context) (list []pulls.Pull, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = All(ctx, tx, scanPull, "SELECT "+pullColumns+" FROM pulls WHERE state = ? ORDER BY created_at, id", pulls.Running)
		return err
	})
	return list, err
}

// End implements pulls.Store.
func (s *Pulls) End(ctx context.Context, p pulls.Pull) error {
	ended, err := toJSON(pullEnd{p.Reason, p.Kind, p.Code, p.Fix, p.Commit, p.Listed, p.Hash, p.Version})
	if err != nil {
		return err
	}
	progress, err := toJSON(p.Progress)
	if err != nil {
		return err
	}
	spec, err := toJSON(p.Spec)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		if p.State == pulls.Done {
			_, err := tx.Exec(ctx, "UPDATE pulls SET state = ?, ended = ?, progress = ?, sealed = '', changed_at = ?, live = NULL WHERE id = ? AND state = ?",
				p.State, ended, progress, micros(p.ChangedAt), p.ID, pulls.Running)
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE pulls SET state = ?, ended = ?, progress = ?, sealed = '', changed_at = ? WHERE id = ? AND state = ? AND spec = ? AND sealed = ?",
			p.State, ended, progress, micros(p.ChangedAt), p.ID, pulls.Running, spec, p.Sealed)
		return err
	})
}

// Tell implements pulls.Store.
func (s *Pulls) Tell(ctx context.Context, id string, g hub.Progress) error {
	progress, err := toJSON(g)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "UPDATE pulls SET progress = ? WHERE id = ? AND state = ? AND progress <> ?", progress, id, pulls.Running, progress)
		return err
	})
}

// Remove implements pulls.Store.
func (s *Pulls) Remove(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM pulls WHERE project = ? AND id = ?", project, id)
		if err == nil && n == 0 {
			return fault.Newf(fault.NotFound, "There is no pull %s.", id)
		}
		return err
	})
}

// Kept implements pulls.Store.
func (s *Pulls) Kept(ctx context.Context, ids []string, after time.Time) (map[string]bool, error) {
	kept := make(map[string]bool, len(ids))
	err := s.db.Read(ctx, func(tx *Tx) error {
		for _, id := range ids {
			var n int64
			if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM pulls WHERE id = ? AND (state = ? OR state = ? AND changed_at > ?)", id, pulls.Running, pulls.Failed, micros(after)).Scan(&n); err != nil {
				return err
			}
			kept[id] = n > 0
		}
		return nil
	})
	return kept, err
}
