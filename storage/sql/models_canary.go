package sql

import (
	"context"
	stdsql "database/sql"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/serve"
)

const canaryColumns = "id, project, route_id, deployment_id, provider_id, model, rule, state, step, looks, since, version, created_by, created_at"

func scanCanary(s Scanner) (serve.Canary, error) {
	c := serve.Canary{Backend: serve.Backend{Weight: 1}}
	var since, at int64
	var rule string
	err := s.Scan(&c.ID, &c.Project, &c.Route, &c.Backend.Deployment, &c.Backend.Provider, &c.Backend.Model, &rule, &c.State, &c.Step, &c.Looks, &since, &c.Version,
		&c.CreatedBy, &at)
	if err != nil {
		return c, err
	}
	c.Since, c.CreatedAt = fromMicros(since), fromMicros(at)
	return c, fromJSON(rule, &c.Rule)
}

// AddCanary implements serve.CanaryStore.
func (s *Serve) AddCanary(ctx context.Context, c serve.Canary, e serve.CanaryEvent) error {
	rule, err := toJSON(c.Rule)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		if err := lockWays(ctx, tx, serve.Route{Project: c.Project, Backends: []serve.Backend{c.Backend}}); err != nil {
			return err
		}
		if err := lockRoute(ctx, tx, c.Project, c.Route); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO route_canaries ("+canaryColumns+", live_route) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			c.ID, c.Project, c.Route, c.Backend.Deployment, c.Backend.Provider, c.Backend.Model, rule, c.State, c.Step, c.Looks, micros(c.Since), c.Version,
			c.CreatedBy, micros(c.CreatedAt), c.Route)
		if err != nil {
			return exists(err, "The route has a canary that runs.")
		}
		return addCanaryEvent(ctx, tx, c.ID, e)
	})
}

// lockRoute locks a route's row, which must be there.
func lockRoute(ctx context.Context, tx *Tx, project, id string) error {
	var name string
	err := tx.QueryRow(ctx, "SELECT name FROM routes WHERE project = ? AND id = ?"+tx.ForUpdate(), project, id).Scan(&name)
	return missing(err, "There is no route %s.", id)
}

// addCanaryEvent stores the next event of a canary whose row is locked.
func addCanaryEvent(ctx context.Context, tx *Tx, id string, e serve.CanaryEvent) error {
	if err := tx.QueryRow(ctx, "SELECT COUNT(*) + 1 FROM canary_events WHERE canary_id = ?", id).Scan(&e.Number); err != nil {
		return err
	}
	text, err := toJSON(e)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO canary_events (canary_id, number, event) VALUES (?, ?, ?)", id, e.Number, text)
	return err
}

// MoveCanary implements serve.CanaryStore. Rows are locked in the order that removing a deployment has: what is led to, the
// route, the canary.
func (s *Serve) MoveCanary(ctx context.Context, c serve.Canary, e serve.CanaryEvent) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		done := c.State == serve.CanaryPromoted
		if done {
			if err := lockWays(ctx, tx, serve.Route{Project: c.Project, Backends: []serve.Backend{c.Backend}}); err != nil {
				return err
			}
		}
		if err := lockRoute(ctx, tx, c.Project, c.Route); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, "UPDATE route_canaries SET state = ?, step = ?, looks = ?, since = ?, version = version + 1, live_route = ? WHERE id = ? AND version = ? AND live_route IS NOT NULL",
			c.State, c.Step, c.Looks, micros(c.Since), stdsql.NullString{String: c.Route, Valid: c.State.Live()}, c.ID, c.Version)
		if err != nil {
			return err
		}
		if n == 0 {
			return fault.New(fault.Conflict, "The canary was changed meanwhile.", fault.Code("canary"), fault.Fix("Look at it again: triarch route show."))
		}
		if err := addCanaryEvent(ctx, tx, c.ID, e); err != nil {
			return err
		}
		keep := -1 // the step whose counts are still needed
		if c.State.Live() {
			keep = c.Step
		}
		if _, err := tx.Exec(ctx, "DELETE FROM canary_counts WHERE canary_id = ? AND step <> ?", c.ID, keep); err != nil || !done {
			return err
		}
		return replaceWays(ctx, tx, c)
	})
}

// replaceWays has the route of a canary that was promoted lead to it.
func replaceWays(ctx context.Context, tx *Tx, c serve.Canary) error {
	ways, err := All(ctx, tx, scanWay, "SELECT route_id, "+backendColumns+" FROM route_backends WHERE route_id = ? ORDER BY place", c.Route)
	if err != nil {
		return err
	}
	old := make([]serve.Backend, len(ways))
	for i := range ways {
		old[i] = ways[i].Backend
	}
	if _, err := tx.Exec(ctx, "DELETE FROM route_backends WHERE route_id = ?", c.Route); err != nil {
		return err
	}
	return insertBackends(ctx, tx, serve.Route{ID: c.Route, Backends: serve.Replaced(old, c.Backend)})
}

// CanaryOf implements serve.CanaryStore.
func (s *Serve) CanaryOf(ctx context.Context, project, route string) (c serve.Canary, events []serve.CanaryEvent, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		c, err = scanCanary(tx.QueryRow(ctx, "SELECT "+canaryColumns+" FROM route_canaries WHERE project = ? AND route_id = ? ORDER BY created_at DESC, id DESC LIMIT 1", project, route))
		if err != nil {
			return missing(err, "The route %s never had a canary.", route)
		}
		events, err = All(ctx, tx, func(s Scanner) (e serve.CanaryEvent, err error) {
			var text string
			if err := s.Scan(&text); err != nil {
				return e, err
			}
			return e, fromJSON(text, &e)
		}, "SELECT event FROM canary_events WHERE canary_id = ? ORDER BY number", c.ID)
		return err
	})
	return c, events, err
}

// LiveCanaries implements serve.CanaryStore.
func (s *Serve) LiveCanaries(ctx context.Context) (list []serve.Canary, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = All(ctx, tx, scanCanary, "SELECT "+canaryColumns+" FROM route_canaries WHERE live_route IS NOT NULL ORDER BY created_at, id")
		return err
	})
	return list, err
}

// CanaryCounts implements serve.CanaryStore.
func (s *Serve) CanaryCounts(ctx context.Context, id string, step int) (trial, stable canary.Arm, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		trial, stable = canary.Arm{}, canary.Arm{}
		_, err := All(ctx, tx, func(s Scanner) (struct{}, error) {
			var mine, theirs string
			if err := s.Scan(&mine, &theirs); err != nil {
				return struct{}{}, err
			}
			for text, sum := range map[string]*canary.Arm{"t" + mine: &trial, "s" + theirs: &stable} {
				var a canary.Arm
				if err := fromJSON(text[1:], &a); err != nil {
					return struct{}{}, err
				}
				sum.Add(a)
			}
			return struct{}{}, nil
		}, "SELECT trial, stable FROM canary_counts WHERE canary_id = ? AND step = ?", id, step)
		return err
	})
	return trial, stable, err
}

// TellCounts implements canary.Teller. What is told of a step that is over is left out.
func (s *Serve) TellCounts(ctx context.Context, life string, list []canary.Count) (gone []canary.Key, err error) {
	err = s.db.Write(ctx, func(tx *Tx) error {
		gone = nil
		for _, c := range list {
			trial, err := toJSON(c.Trial)
			if err != nil {
				return err
			}
			stable, err := toJSON(c.Stable)
			if err != nil {
				return err
			}
			n, err := tx.Exec(ctx, `INSERT INTO canary_counts (canary_id, step, life, trial, stable)
 SELECT id, step, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT) FROM route_canaries WHERE id = ? AND step = ? AND live_route IS NOT NULL
 ON CONFLICT (canary_id, step, life) DO UPDATE SET trial = excluded.trial, stable = excluded.stable`, life, trial, stable, c.Canary, c.Step)
			if err != nil {
				return err
			}
			if n == 0 {
				gone = append(gone, c.Key)
			}
		}
		return nil
	})
	return gone, err
}

// endCanaries ends the canaries that lead to a deployment which is being removed.
func endCanaries(ctx context.Context, tx *Tx, deployment string) error {
	list, err := All(ctx, tx, scanCanary, "SELECT "+canaryColumns+" FROM route_canaries WHERE deployment_id = ? AND live_route IS NOT NULL"+tx.ForUpdate(), deployment)
	if err != nil {
		return err
	}
	for _, c := range list {
		was := c.Percent()
		if _, err := tx.Exec(ctx, "UPDATE route_canaries SET state = ?, version = version + 1, live_route = NULL WHERE id = ?", serve.CanaryAborted, c.ID); err != nil {
			return err
		}
		var now int64
		if err := tx.QueryRow(ctx, clockText(tx)).Scan(&now); err != nil {
			return err
		}
		if err := addCanaryEvent(ctx, tx, c.ID, serve.CanaryEvent{At: fromMicros(now), What: "aborted", From: was, Why: "Its deployment was removed."}); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM canary_counts WHERE canary_id = ?", c.ID); err != nil {
			return err
		}
	}
	return nil
}

// clockText asks for the database's time, microseconds.
func clockText(tx *Tx) string {
	if tx.dialect == Postgres {
		return "SELECT " + clock
	}
	return "SELECT CAST(strftime('%s', 'now') AS BIGINT) * 1000000"
}

// dropCanaries deletes what is known of the canaries of routes that go; routes is a query of their ids.
func dropCanaries(ctx context.Context, tx *Tx, routes string, args ...any) error {
	const of = "(SELECT id FROM route_canaries WHERE route_id IN ("
	for _, text := range []string{"DELETE FROM canary_counts WHERE canary_id IN " + of + routes + "))", "DELETE FROM canary_events WHERE canary_id IN " + of + routes + "))",
		"DELETE FROM route_canaries WHERE route_id IN (" + routes + ")"} {
		if _, err := tx.Exec(ctx, text, args...); err != nil {
			return err
		}
	}
	return nil
}

// withCanaries fills in the live canaries of routes; where narrows them by route_id.
func withCanaries(ctx context.Context, tx *Tx, at map[string]*serve.Route, where string, args ...any) error {
	list, err := All(ctx, tx, scanCanary, "SELECT "+canaryColumns+" FROM route_canaries WHERE live_route IS NOT NULL AND "+where, args...)
	for i := range list {
		if r := at[list[i].Route]; r != nil {
			r.Canary = &list[i]
		}
	}
	return err
}
