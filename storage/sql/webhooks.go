package sql

import (
	"context"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// Webhooks is webhook.Store on the database.
type Webhooks struct{ db *DB }

// Webhooks returns the store of webhooks.
func (db *DB) Webhooks() *Webhooks { return &Webhooks{db} }

var _ webhook.Store = (*Webhooks)(nil)

const hookColumns = "id, org, project, url, thresholds, private, sealed, created_by, created_at, last_error, last_at"

func scanHook(s Scanner) (h webhook.Hook, err error) {
	var thresholds string
	var private, at, last int64
	if err := s.Scan(&h.ID, &h.Org, &h.Project, &h.URL, &thresholds, &private, &h.Sealed, &h.CreatedBy, &at, &h.LastError, &last); err != nil {
		return h, err
	}
	h.Private, h.CreatedAt, h.LastAt = private != 0, fromMicros(at), fromMicros(last)
	return h, fromJSON(thresholds, &h.Thresholds)
}

// Add implements webhook.Store.
func (s *Webhooks) Add(ctx context.Context, h webhook.Hook, most int) error {
	thresholds, err := toJSON(h.Thresholds)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		var n int // the organisation's row makes two at once wait for each other
		if err := tx.QueryRow(ctx, "SELECT 1 FROM organisations WHERE id = ?"+tx.ForUpdate(), h.Org).Scan(&n); err != nil {
			return missing(err, "There is no organisation %s.", h.Org)
		}
		if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM webhooks WHERE org = ?", h.Org).Scan(&n); err != nil {
			return err
		}
		if n >= most {
			return fault.Newf(fault.Conflict, "The organisation has %d webhooks already, which is the most.", most)
		}
		_, err := tx.Exec(ctx, "INSERT INTO webhooks ("+hookColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			h.ID, h.Org, h.Project, h.URL, thresholds, bit(h.Private), h.Sealed, h.CreatedBy, micros(h.CreatedAt), "", 0)
		return err
	})
}

// visible narrows hooks to what a project, or the organisation where it is empty, may see.
func visible(org, project string) (string, []any) {
	if project == "" {
		return "org = ?", []any{org}
	}
	return "org = ? AND project = ?", []any{org, project}
}

// List implements webhook.Store.
func (s *Webhooks) List(ctx context.Context, org, project string, p page.Page) (hs []webhook.Hook, err error) {
	where, args := visible(org, project)
	err = s.db.Read(ctx, func(tx *Tx) error {
		hs, err = paged(ctx, tx, scanHook, p, order{"created_at, id", "nt", false}, "SELECT "+hookColumns+" FROM webhooks WHERE "+where, args...)
		return err
	})
	return hs, err
}

// Get implements webhook.Store.
func (s *Webhooks) Get(ctx context.Context, org, project, id string) (h webhook.Hook, err error) {
	where, args := visible(org, project)
	err = s.db.Read(ctx, func(tx *Tx) error {
		h, err = scanHook(tx.QueryRow(ctx, "SELECT "+hookColumns+" FROM webhooks WHERE "+where+" AND id = ?", append(args, id)...))
		return missing(err, "There is no webhook %s.", id)
	})
	return h, err
}

// Remove implements webhook.Store.
func (s *Webhooks) Remove(ctx context.Context, org, project, id string) error {
	where, args := visible(org, project)
	return s.db.Write(ctx, func(tx *Tx) error {
		if _, err := scanHook(tx.QueryRow(ctx, "SELECT "+hookColumns+" FROM webhooks WHERE "+where+" AND id = ?"+tx.ForUpdate(), append(args, id)...)); err != nil {
			return missing(err, "There is no webhook %s.", id)
		}
		for _, text := range []string{"DELETE FROM webhook_events WHERE hook_id = ?", "DELETE FROM webhook_warnings WHERE hook_id = ?", "DELETE FROM webhooks WHERE id = ?"} {
			if _, err := tx.Exec(ctx, text, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// Watched implements webhook.Store. A hook of a project is told of the project's budget, of those of its keys and of its
// routes.
func (s *Webhooks) Watched(ctx context.Context) (ws []webhook.Watched, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		hooks, err := All(ctx, tx, scanHook, "SELECT "+hookColumns+" FROM webhooks ORDER BY created_at, id")
		if err != nil || len(hooks) == 0 {
			ws = nil
			return err
		}
		type bound struct {
			org, project string
			b            tenancy.Budget
		}
		budgets, err := All(ctx, tx, func(s Scanner) (b bound, err error) {
			return b, s.Scan(&b.b.Scope, &b.b.ID, &b.b.LimitMicros, &b.org, &b.project)
		}, `SELECT b.scope, b.id, b.limit_micros, b.org_id, COALESCE(k.project_id, r.project, CASE WHEN b.scope = 'project' THEN b.id ELSE '' END)
 FROM budgets b LEFT JOIN api_keys k ON b.scope = 'key' AND k.id = b.id LEFT JOIN routes r ON b.scope = 'model' AND r.id = b.id
 WHERE b.org_id IN (SELECT org FROM webhooks) ORDER BY b.scope, b.id`)
		if err != nil {
			return err
		}
		type told struct {
			hook, scope, id string
			limit           int64
		}
		warned := map[told][]int{}
		if _, err := All(ctx, tx, func(s Scanner) (struct{}, error) {
			var t told
			var threshold int
			err := s.Scan(&t.hook, &t.scope, &t.id, &t.limit, &threshold)
			warned[t] = append(warned[t], threshold)
			return struct{}{}, err
		}, "SELECT hook_id, scope, id, limit_micros, threshold FROM webhook_warnings"); err != nil {
			return err
		}
		ws = nil
		for _, h := range hooks {
			for _, b := range budgets {
				if b.org == h.Org && (h.Project == "" || b.project == h.Project) {
					ws = append(ws, webhook.Watched{Hook: h, Budget: b.b, Warned: warned[told{h.ID, b.b.Scope, b.b.ID, b.b.LimitMicros}]})
				}
			}
		}
		return nil
	})
	return ws, err
}

// Warn implements webhook.Store.
func (s *Webhooks) Warn(ctx context.Context, w webhook.Watched, thresholds []int, e webhook.Event) (fresh bool, err error) {
	err = s.db.Write(ctx, func(tx *Tx) error {
		fresh = false
		if _, err := scanHook(tx.QueryRow(ctx, "SELECT "+hookColumns+" FROM webhooks WHERE id = ?"+tx.ForUpdate(), w.Hook.ID)); err != nil {
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		}
		for _, t := range slices.Backward(thresholds) {
			n, err := tx.Exec(ctx, "INSERT INTO webhook_warnings (hook_id, scope, id, limit_micros, threshold) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
				w.Hook.ID, w.Budget.Scope, w.Budget.ID, w.Budget.LimitMicros, t)
			if err != nil || !fresh && n == 0 {
				return err
			}
			fresh = true
		}
		_, err := tx.Exec(ctx, "INSERT INTO webhook_events (id, hook_id, body, attempts, created_at, next_at) VALUES (?, ?, ?, 0, ?, ?)",
			e.ID, w.Hook.ID, e.Body, micros(e.CreatedAt), micros(e.CreatedAt))
		return err
	})
	return fresh, err
}

// Due implements webhook.Store.
func (s *Webhooks) Due(ctx context.Context, now time.Time, limit int) (ds []webhook.Delivery, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		events, err := All(ctx, tx, func(s Scanner) (d webhook.Delivery, err error) {
			var at int64
			err = s.Scan(&d.ID, &d.Hook, &d.Body, &d.Attempts, &at)
			d.CreatedAt = fromMicros(at)
			return d, err
		}, "SELECT id, hook_id, body, attempts, created_at FROM webhook_events WHERE done_at IS NULL AND next_at <= ? ORDER BY next_at, created_at, id LIMIT ?", micros(now), limit)
		if err != nil {
			return err
		}
		for i, d := range events {
			if events[i].To, err = scanHook(tx.QueryRow(ctx, "SELECT "+hookColumns+" FROM webhooks WHERE id = ?", d.Hook)); err != nil {
				return err
			}
		}
		ds = events
		return nil
	})
	return ds, err
}

// Answered implements webhook.Store.
func (s *Webhooks) Answered(ctx context.Context, e webhook.Event, at time.Time) error {
	return s.attempted(ctx, e, at, "", "UPDATE webhook_events SET attempts = attempts + 1, done_at = ? WHERE id = ?", micros(at), e.ID)
}

// Failed implements webhook.Store.
func (s *Webhooks) Failed(ctx context.Context, e webhook.Event, at, next time.Time, reason string) error {
	if next.IsZero() {
		return s.attempted(ctx, e, at, reason, "UPDATE webhook_events SET attempts = attempts + 1, done_at = ? WHERE id = ?", micros(at), e.ID)
	}
	return s.attempted(ctx, e, at, reason, "UPDATE webhook_events SET attempts = attempts + 1, next_at = ? WHERE id = ?", micros(next), e.ID)
}

func (s *Webhooks) attempted(ctx context.Context, e webhook.Event, at time.Time, reason, text string, args ...any) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE webhooks SET last_error = ?, last_at = ? WHERE id = ?", reason, micros(at), e.Hook); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, text, args...)
		return err
	})
}

// Forget implements webhook.Store.
func (s *Webhooks) Forget(ctx context.Context, before time.Time) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM webhook_events WHERE done_at < ?", micros(before))
		return err
	})
}
