package sql

import (
	"context"
	stdsql "database/sql"

	"github.com/triarch-ai/triarch/compute/queue"
)

// Queue is queue.Store on the database.
type Queue struct{ db *DB }

// Queue returns the store of quotas, marks of nodes and windows.
func (db *DB) Queue() *Queue { return &Queue{db} }

var _ queue.Store = (*Queue)(nil)

func scanRow(s Scanner) (queue.Row, error) {
	var r queue.Row
	var weight, orgWeight stdsql.NullInt64
	var guarantee, ceiling stdsql.NullString
	err := s.Scan(&r.Project, &r.Name, &r.Org, &r.OrgName, &weight, &guarantee, &ceiling, &orgWeight)
	if err != nil {
		return r, err
	}
	r.Set, r.Weight, r.OrgWeight = weight.Valid, max(1, weight.Int64), max(1, orgWeight.Int64)
	if !r.Set {
		return r, nil
	}
	if err := fromJSON(guarantee.String, &r.Guarantee); err != nil {
		return r, err
	}
	return r, fromJSON(ceiling.String, &r.Ceiling)
}

// Queues implements queue.Store.
func (s *Queue) Queues(ctx context.Context) (rows []queue.Row, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rows, err = All(ctx, tx, scanRow, "SELECT p.id, p.name, p.org_id, o.name, q.weight, q.guarantee, q.ceiling, w.weight FROM projects p"+
			" JOIN organisations o ON o.id = p.org_id LEFT JOIN quotas q ON q.project = p.id LEFT JOIN organisation_weights w ON w.org = p.org_id ORDER BY p.id")
		return err
	})
	return rows, err
}

// SetQuota implements queue.Store.
func (s *Queue) SetQuota(ctx context.Context, q queue.Quota) error {
	guarantee, err := toJSON(q.Guarantee)
	if err != nil {
		return err
	}
	ceiling, err := toJSON(q.Ceiling)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		var got string
		if err := tx.QueryRow(ctx, "SELECT id FROM projects WHERE id = ?", q.Project).Scan(&got); err != nil {
			return missing(err, "There is no project %s.", q.Project)
		}
		_, err := tx.Exec(ctx, "INSERT INTO quotas (project, weight, guarantee, ceiling) VALUES (?, ?, ?, ?)"+
			" ON CONFLICT (project) DO UPDATE SET weight = excluded.weight, guarantee = excluded.guarantee, ceiling = excluded.ceiling",
			q.Project, q.Weight, guarantee, ceiling)
		return err
	})
}

// RemoveQuota implements queue.Store.
func (s *Queue) RemoveQuota(ctx context.Context, project string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM quotas WHERE project = ?", project)
		return err
	})
}

// SetOrgWeight implements queue.Store.
func (s *Queue) SetOrgWeight(ctx context.Context, org string, weight int64) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		var got string
		if err := tx.QueryRow(ctx, "SELECT id FROM organisations WHERE id = ?", org).Scan(&got); err != nil {
			return missing(err, "There is no organisation %s.", org)
		}
		_, err := tx.Exec(ctx, "INSERT INTO organisation_weights (org, weight) VALUES (?, ?)"+
			" ON CONFLICT (org) DO UPDATE SET weight = excluded.weight", org, weight)
		return err
	})
}

// Marks implements queue.Store.
func (s *Queue) Marks(ctx context.Context) (marks []queue.NodeMark, err error) {
	scan := func(s Scanner) (queue.NodeMark, error) {
		var m queue.NodeMark
		var draining, since int64
		err := s.Scan(&m.Node, &draining, &m.Reason, &since)
		m.Draining, m.Since = draining != 0, fromMicros(since)
		return m, err
	}
	err = s.db.Read(ctx, func(tx *Tx) error {
		marks, err = All(ctx, tx, scan, "SELECT node, draining, reason, since FROM node_marks ORDER BY "+tx.bytes("node"))
		return err
	})
	return marks, err
}

// SetMark implements queue.Store.
func (s *Queue) SetMark(ctx context.Context, m queue.NodeMark) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO node_marks (node, draining, reason, since) VALUES (?, ?, ?, ?)"+
			" ON CONFLICT (node) DO UPDATE SET draining = excluded.draining, reason = excluded.reason, since = excluded.since",
			m.Node, bit(m.Draining), m.Reason, micros(m.Since))
		return err
	})
}

// Windows implements queue.Store.
func (s *Queue) Windows(ctx context.Context) (list []queue.Window, err error) {
	scan := func(s Scanner) (queue.Window, error) {
		var w queue.Window
		var nodes string
		var begins, ends, created int64
		if err := s.Scan(&w.Name, &nodes, &begins, &ends, &w.Project, &w.Reason, &created); err != nil {
			return w, err
		}
		w.From, w.Until, w.CreatedAt = fromMicros(begins), fromMicros(ends), fromMicros(created)
		return w, fromJSON(nodes, &w.Nodes)
	}
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = All(ctx, tx, scan, "SELECT name, nodes, begins, ends, project, reason, created_at FROM node_windows ORDER BY "+tx.bytes("name"))
		return err
	})
	return list, err
}

// AddWindow implements queue.Store.
func (s *Queue) AddWindow(ctx context.Context, w queue.Window) error {
	nodes, err := toJSON(w.Nodes)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO node_windows (name, nodes, begins, ends, project, reason, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			w.Name, nodes, micros(w.From), micros(w.Until), w.Project, w.Reason, micros(w.CreatedAt))
		return exists(err, "There is a window named %s already.", w.Name)
	})
}

// RemoveWindow implements queue.Store.
func (s *Queue) RemoveWindow(ctx context.Context, name string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		var got string
		if err := tx.QueryRow(ctx, "SELECT name FROM node_windows WHERE name = ?", name).Scan(&got); err != nil {
			return missing(err, "There is no window named %s.", name)
		}
		_, err := tx.Exec(ctx, "DELETE FROM node_windows WHERE name = ?", name)
		return err
	})
}
