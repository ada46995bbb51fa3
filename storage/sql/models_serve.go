package sql

import (
	"context"
	stdsql "database/sql"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/serve"
)

// Serve is serve.Store on the database.
type Serve struct{ db *DB }

// Serve returns the store of deployments, replicas and routes.
func (db *DB) Serve() *Serve { return &Serve{db} }

var _ serve.Store = (*Serve)(nil)

const (
	deploymentColumns = "id, project, name, model_version, model, engine, replicas, threads, max_context, memory_bytes, state, reason, ready, created_by, created_at, ask, priority, forced"
	replicaColumns    = "id, project, deployment_id, job_id, leaving, created_at"
	routeColumns      = "id, org, project, name, shared_name, price_in, price_out, price_cached, price_reasoning, price_embedding, price_request, price_version, priced_by, priced_at, policy, created_at"
	backendColumns    = "tier, weight, deployment_id, provider_id, model"
)

func scanDeployment(s Scanner) (serve.Deployment, error) {
	var d serve.Deployment
	var at int64
	var ask string
	err := s.Scan(&d.ID, &d.Project, &d.Name, &d.ModelVersion, &d.Model, &d.Engine, &d.Replicas, &d.Threads, &d.MaxContext, &d.MemoryBytes,
		&d.State, &d.Reason, &d.Ready, &d.CreatedBy, &at, &ask, &d.Priority, &d.Forced)
	if err != nil {
		return d, err
	}
	d.CreatedAt = fromMicros(at)
	return d, fromJSON(ask, &d.Ask)
}

func scanReplica(s Scanner) (serve.Replica, error) {
	var r serve.Replica
	var leaving, at int64
	err := s.Scan(&r.ID, &r.Project, &r.DeploymentID, &r.JobID, &leaving, &at)
	r.Leaving, r.CreatedAt = leaving != 0, fromMicros(at)
	return r, err
}

func scanRoute(s Scanner) (serve.Route, error) {
	var r serve.Route
	var shared stdsql.NullString
	var at, pricedAt int64
	var policy string
	err := s.Scan(&r.ID, &r.Org, &r.Project, &r.Name, &shared, &r.Prices.Input, &r.Prices.Output, &r.Prices.CachedInput, &r.Prices.Reasoning, &r.Prices.Embedding, &r.Prices.Request,
		&r.Priced.ID, &r.Priced.By, &pricedAt, &policy, &at)
	if err != nil {
		return r, err
	}
	r.Priced.At = fromMicros(pricedAt)
	r.Shared, r.CreatedAt = shared.Valid, fromMicros(at)
	return r, fromJSON(policy, &r.Policy)
}

// sharedName is what makes the names of an organisation's shared routes unique.
func sharedName(r serve.Route) stdsql.NullString {
	return stdsql.NullString{String: r.Org + " " + r.Name, Valid: r.Shared}
}

// AddDeployment implements serve.Store.
func (s *Serve) AddDeployment(ctx context.Context, d serve.Deployment, r *serve.Route) error {
	ask, err := toJSON(d.Ask)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		if err := lockVersion(ctx, tx, d.Project, d.ModelVersion); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO deployments ("+deploymentColumns+", live_name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			d.ID, d.Project, d.Name, d.ModelVersion, d.Model, d.Engine, d.Replicas, d.Threads, d.MaxContext, d.MemoryBytes,
			d.State, d.Reason, d.Ready, d.CreatedBy, micros(d.CreatedAt), ask, d.Priority, d.Forced, d.Name)
		if err != nil {
			return exists(err, "There is a deployment %s already.", d.Name)
		}
		if r == nil {
			return nil
		}
		return insertRoute(ctx, tx, *r)
	})
}

func insertRoute(ctx context.Context, tx *Tx, r serve.Route) error {
	policy, err := toJSON(r.Policy)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO routes ("+routeColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		r.ID, r.Org, r.Project, r.Name, sharedName(r), r.Prices.Input, r.Prices.Output, r.Prices.CachedInput, r.Prices.Reasoning, r.Prices.Embedding, r.Prices.Request,
		r.Priced.ID, r.Priced.By, micros(r.Priced.At), policy, micros(r.CreatedAt))
	if err != nil {
		return exists(err, "There is a route %s already.", r.Name)
	}
	if err := keepPrices(ctx, tx, r); err != nil {
		return err
	}
	return insertWays(ctx, tx, r)
}

func insertBackends(ctx context.Context, tx *Tx, r serve.Route) error {
	for i, b := range r.Backends {
		if _, err := tx.Exec(ctx, "INSERT INTO route_backends (route_id, place, "+backendColumns+") VALUES (?, ?, ?, ?, ?, ?, ?)",
			r.ID, i, b.Tier, b.Weight, b.Deployment, b.Provider, b.Model); err != nil {
			return err
		}
	}
	return nil
}

// insertWays inserts the backends and aliases of a route.
func insertWays(ctx context.Context, tx *Tx, r serve.Route) error {
	if err := insertBackends(ctx, tx, r); err != nil {
		return err
	}
	for _, name := range append([]string{r.Name}, r.Aliases...) {
		if err := freeName(ctx, tx, r, name); err != nil {
			return err
		}
	}
	for _, a := range r.Aliases {
		_, err := tx.Exec(ctx, "INSERT INTO route_aliases (project, name, shared_name, route_id) VALUES (?, ?, ?, ?)",
			r.Project, a, stdsql.NullString{String: r.Org + " " + a, Valid: r.Shared}, r.ID)
		if err != nil {
			return exists(err, "There is a route %s already.", a)
		}
	}
	return nil
}

// freeName refuses a name that another route has, or has as an alias, in the project or shared in the organisation.
func freeName(ctx context.Context, tx *Tx, r serve.Route, name string) error {
	shared := ""
	if r.Shared {
		shared = r.Org + " " + name
	}
	var n int
	err := tx.QueryRow(ctx, "SELECT (SELECT COUNT(*) FROM routes WHERE id <> ? AND (project = ? AND name = ? OR shared_name = ?)) + "+
		"(SELECT COUNT(*) FROM route_aliases WHERE route_id <> ? AND (project = ? AND name = ? OR shared_name = ?))",
		r.ID, r.Project, name, shared, r.ID, r.Project, name, shared).Scan(&n)
	if err == nil && n > 0 {
		err = fault.New(fault.Conflict, "There is a route "+name+" already.", fault.Code("exists"))
	}
	return err
}

// lockWays locks what a route leads to, which must be there.
func lockWays(ctx context.Context, tx *Tx, r serve.Route) error {
	for _, b := range r.Backends {
		var err error
		if b.Deployment != "" {
			_, err = lockLive(ctx, tx, r.Project, b.Deployment)
		} else {
			_, err = lockProvider(ctx, tx, r.Project, b.Provider)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// way is a row of route_backends, alias one of route_aliases, each with the route it is of.
type way struct {
	of string
	serve.Backend
}

func scanWay(s Scanner) (w way, err error) {
	err = s.Scan(&w.of, &w.Tier, &w.Weight, &w.Deployment, &w.Provider, &w.Model)
	return w, err
}

type alias struct{ of, name string }

func scanAlias(s Scanner) (a alias, err error) {
	err = s.Scan(&a.of, &a.name)
	return a, err
}

// withWays fills in where routes lead and what else they are called; where narrows both tables, by route_id.
func withWays(ctx context.Context, tx *Tx, routes []serve.Route, where string, args ...any) error {
	if len(routes) == 0 {
		return nil
	}
	ways, err := All(ctx, tx, scanWay, "SELECT route_id, "+backendColumns+" FROM route_backends WHERE "+where+" ORDER BY route_id, place", args...)
	if err != nil {
		return err
	}
	aliases, err := All(ctx, tx, scanAlias, "SELECT route_id, name FROM route_aliases WHERE "+where+" ORDER BY "+tx.bytes("name"), args...)
	if err != nil {
		return err
	}
	at := make(map[string]*serve.Route, len(routes))
	for i := range routes {
		at[routes[i].ID] = &routes[i]
	}
	for _, w := range ways {
		if r := at[w.of]; r != nil {
			r.Backends = append(r.Backends, w.Backend)
		}
	}
	for _, a := range aliases {
		if r := at[a.of]; r != nil {
			r.Aliases = append(r.Aliases, a.name)
		}
	}
	return withCanaries(ctx, tx, at, where, args...)
}

// lockLive locks a deployment that is not being removed.
func lockLive(ctx context.Context, tx *Tx, project, id string) (serve.Deployment, error) {
	d, err := scanDeployment(tx.QueryRow(ctx, "SELECT "+deploymentColumns+" FROM deployments WHERE project = ? AND id = ?"+tx.ForUpdate(), project, id))
	if err != nil {
		return d, missing(err, "There is no deployment %s.", id)
	}
	if d.State == serve.Removing {
		return d, fault.Newf(fault.Conflict, "The deployment %s is being removed.", d.Name)
	}
	return d, nil
}

// Deployment implements serve.Store.
func (s *Serve) Deployment(ctx context.Context, project, id string) (d serve.Deployment, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		d, err = scanDeployment(tx.QueryRow(ctx, "SELECT "+deploymentColumns+" FROM deployments WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no deployment %s.", id)
	})
	return d, err
}

// DeploymentByName implements serve.Store. One that is being removed has no name any more.
func (s *Serve) DeploymentByName(ctx context.Context, project, name string) (d serve.Deployment, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		d, err = scanDeployment(tx.QueryRow(ctx, "SELECT "+deploymentColumns+" FROM deployments WHERE project = ? AND live_name = ?", project, name))
		return missing(err, "There is no deployment %s.", name)
	})
	return d, err
}

// Deployments implements serve.Store.
func (s *Serve) Deployments(ctx context.Context, project string, p page.Page) (ds []serve.Deployment, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		ds, err = paged(ctx, tx, scanDeployment, p, order{"name, id", "tt", false}, "SELECT "+deploymentColumns+" FROM deployments WHERE project = ?", project)
		return err
	})
	return ds, err
}

// AllDeployments implements serve.Store.
func (s *Serve) AllDeployments(ctx context.Context) (ds []serve.Deployment, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		ds, err = All(ctx, tx, scanDeployment, "SELECT "+deploymentColumns+" FROM deployments ORDER BY created_at, id")
		return err
	})
	return ds, err
}

// SetReplicas implements serve.Store.
func (s *Serve) SetReplicas(ctx context.Context, project, id string, n int) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		if _, err := lockLive(ctx, tx, project, id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE deployments SET replicas = ? WHERE id = ?", n, id)
		return err
	})
}

// BeginRemove implements serve.Store. Removing what is being removed already is no error.
func (s *Serve) BeginRemove(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "UPDATE deployments SET state = ?, live_name = NULL, reason = '', ready = 0 WHERE project = ? AND id = ?", serve.Removing, project, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return fault.Newf(fault.NotFound, "There is no deployment %s.", id)
		}
		return closeWays(ctx, tx, id)
	})
}

// closeWays takes a deployment out of the routes that lead to it, and deletes those that lead nowhere else.
func closeWays(ctx context.Context, tx *Tx, deployment string) error {
	const here, lost = "SELECT route_id FROM route_backends WHERE deployment_id = ?",
		"SELECT id FROM routes WHERE NOT EXISTS (SELECT 1 FROM route_backends b WHERE b.route_id = routes.id)"
	_, err := All(ctx, tx, func(s Scanner) (string, error) {
		var id string
		return id, s.Scan(&id)
	}, "SELECT id FROM routes WHERE id IN ("+here+")"+tx.ForUpdate(), deployment)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "DELETE FROM route_backends WHERE deployment_id = ?", deployment); err != nil {
		return err
	}
	if err := unbounded(ctx, tx, lost); err != nil {
		return err
	}
	if err := endCanaries(ctx, tx, deployment); err != nil {
		return err
	}
	if err := dropCanaries(ctx, tx, lost); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "DELETE FROM route_aliases WHERE route_id IN ("+lost+")"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DELETE FROM routes WHERE id IN ("+lost+")")
	return err
}

// unbounded refuses what would take a route away that has limits or a budget: made anew, it would have none, so only
// whoever may take these away may.
func unbounded(ctx context.Context, tx *Tx, routes string, args ...any) error {
	bound, err := All(ctx, tx, scanText, "SELECT name FROM routes WHERE id IN ("+routes+`) AND (EXISTS (SELECT 1 FROM limits l WHERE l.scope = 'model' AND l.id = routes.id)
 OR EXISTS (SELECT 1 FROM budgets b WHERE b.scope = 'model' AND b.id = routes.id))`, args...)
	if err != nil || len(bound) == 0 {
		return err
	}
	return fault.New(fault.Conflict, "The route "+bound[0]+" has limits or a budget.", fault.Code("bounded"), fault.Field("route"),
		fault.Fix("Take them away first: triarch limit rm model %s", bound[0]))
}

// SetState implements serve.Store.
func (s *Serve) SetState(ctx context.Context, id string, state serve.State, reason string, ready int) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "UPDATE deployments SET state = ?, reason = ?, ready = ? WHERE id = ? AND state <> ?", state, reason, ready, id, serve.Removing)
		return err
	})
}

// DeleteDeployment implements serve.Store.
func (s *Serve) DeleteDeployment(ctx context.Context, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM deployments WHERE id = ? AND state = ? AND NOT EXISTS (SELECT 1 FROM replicas WHERE deployment_id = ?)", id, serve.Removing, id)
		return err
	})
}

// AddReplica implements serve.Store. The deployment's row is the lock that keeps their number.
func (s *Serve) AddReplica(ctx context.Context, r serve.Replica) (added bool, err error) {
	err = s.db.Write(ctx, func(tx *Tx) error {
		added = false
		d, err := lockLive(ctx, tx, r.Project, r.DeploymentID)
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var have int
		if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM replicas WHERE deployment_id = ? AND leaving = 0", d.ID).Scan(&have); err != nil {
			return err
		}
		if have >= d.Replicas {
			return nil
		}
		_, err = tx.Exec(ctx, "INSERT INTO replicas ("+replicaColumns+") VALUES (?, ?, ?, ?, ?, ?)",
			r.ID, r.Project, r.DeploymentID, r.JobID, bit(r.Leaving), micros(r.CreatedAt))
		added = err == nil
		return err
	})
	return added, err
}

// Replicas implements serve.Store.
func (s *Serve) Replicas(ctx context.Context) (rs []serve.Replica, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rs, err = All(ctx, tx, scanReplica, "SELECT "+replicaColumns+" FROM replicas ORDER BY created_at, id")
		return err
	})
	return rs, err
}

// SetReplicaJob implements serve.Store.
func (s *Serve) SetReplicaJob(ctx context.Context, id, jobID string) error {
	return s.exec(ctx, "UPDATE replicas SET job_id = ? WHERE id = ?", jobID, id)
}

// SetLeaving implements serve.Store.
func (s *Serve) SetLeaving(ctx context.Context, id string) error {
	return s.exec(ctx, "UPDATE replicas SET leaving = 1 WHERE id = ?", id)
}

// DeleteReplica implements serve.Store.
func (s *Serve) DeleteReplica(ctx context.Context, id string) error {
	return s.exec(ctx, "DELETE FROM replicas WHERE id = ?", id)
}

func (s *Serve) exec(ctx context.Context, query string, args ...any) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}

// AddRoute implements serve.Store.
func (s *Serve) AddRoute(ctx context.Context, r serve.Route) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		if err := lockWays(ctx, tx, r); err != nil {
			return err
		}
		return insertRoute(ctx, tx, r)
	})
}

// SetRoute implements serve.Store.
func (s *Serve) SetRoute(ctx context.Context, r serve.Route) error {
	policy, err := toJSON(r.Policy)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		if err := lockWays(ctx, tx, r); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, "UPDATE routes SET shared_name = ?, price_in = ?, price_out = ?, price_cached = ?, price_reasoning = ?, price_embedding = ?, price_request = ?, price_version = ?, priced_by = ?, priced_at = ?, policy = ? WHERE project = ? AND id = ?",
			sharedName(r), r.Prices.Input, r.Prices.Output, r.Prices.CachedInput, r.Prices.Reasoning, r.Prices.Embedding, r.Prices.Request, r.Priced.ID, r.Priced.By, micros(r.Priced.At), policy, r.Project, r.ID)
		if err == nil && n == 0 {
			return fault.Newf(fault.NotFound, "There is no route %s.", r.ID)
		}
		if err != nil {
			return exists(err, "Another project of the organisation shares a route %s already.", r.Name)
		}
		if err := keepPrices(ctx, tx, r); err != nil {
			return err
		}
		if err := deleteWays(ctx, tx, r.ID); err != nil {
			return err
		}
		return insertWays(ctx, tx, r)
	})
}

func deleteWays(ctx context.Context, tx *Tx, route string) error {
	if _, err := tx.Exec(ctx, "DELETE FROM route_backends WHERE route_id = ?", route); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "DELETE FROM route_aliases WHERE route_id = ?", route)
	return err
}

// oneRoute reads a route by what ends its query.
func (s *Serve) oneRoute(ctx context.Context, name, where string, args ...any) (r serve.Route, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err := All(ctx, tx, scanRoute, "SELECT "+routeColumns+" FROM routes WHERE "+where, args...)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fault.Newf(fault.NotFound, "There is no route %s.", name)
		}
		err = withWays(ctx, tx, list, "route_id = ?", list[0].ID)
		r = list[0]
		return err
	})
	return r, err
}

// Route implements serve.Store.
func (s *Serve) Route(ctx context.Context, project, id string) (serve.Route, error) {
	return s.oneRoute(ctx, id, "project = ? AND id = ?", project, id)
}

// RouteByName implements serve.Store.
func (s *Serve) RouteByName(ctx context.Context, project, name string) (serve.Route, error) {
	return s.oneRoute(ctx, name, "project = ? AND (name = ? OR id IN (SELECT route_id FROM route_aliases WHERE project = ? AND name = ?))", project, name, project, name)
}

// Routes implements serve.Store.
func (s *Serve) Routes(ctx context.Context, project string, p page.Page) (rs []serve.Route, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rs, err = paged(ctx, tx, scanRoute, p, order{"name", "t", false}, "SELECT "+routeColumns+" FROM routes WHERE project = ?", project)
		if err != nil {
			return err
		}
		return withWays(ctx, tx, rs, "route_id IN (SELECT id FROM routes WHERE project = ?)", project)
	})
	return rs, err
}

// AllRoutes implements serve.Store.
func (s *Serve) AllRoutes(ctx context.Context) (rs []serve.Route, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		if rs, err = All(ctx, tx, scanRoute, "SELECT "+routeColumns+" FROM routes ORDER BY created_at, id"); err != nil {
			return err
		}
		return withWays(ctx, tx, rs, "1 = 1")
	})
	return rs, err
}

// RemoveRoute implements serve.Store.
func (s *Serve) RemoveRoute(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		var name string
		if err := tx.QueryRow(ctx, "SELECT name FROM routes WHERE project = ? AND id = ?"+tx.ForUpdate(), project, id).Scan(&name); err != nil {
			return missing(err, "There is no route %s.", id)
		}
		if err := unbounded(ctx, tx, "?", id); err != nil {
			return err
		}
		if err := deleteWays(ctx, tx, id); err != nil {
			return err
		}
		if err := dropCanaries(ctx, tx, "?", id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM routes WHERE id = ?", id)
		return err
	})
}
