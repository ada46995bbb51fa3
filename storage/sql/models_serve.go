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
	deploymentColumns = "id, project, name, model_version, model, engine, replicas, threads, max_context, memory_bytes, state, reason, ready, created_by, created_at, ask, priority"
	replicaColumns    = "id, project, deployment_id, job_id, leaving, created_at"
	routeColumns      = "id, org, project, name, shared_name, deployment_id, price_in, price_out, price_cached, price_reasoning, price_embedding, price_request, price_version, priced_by, priced_at, created_at"
)

func scanDeployment(s Scanner) (serve.Deployment, error) {
	var d serve.Deployment
	var at int64
	var ask string
	err := s.Scan(&d.ID, &d.Project, &d.Name, &d.ModelVersion, &d.Model, &d.Engine, &d.Replicas, &d.Threads, &d.MaxContext, &d.MemoryBytes,
		&d.State, &d.Reason, &d.Ready, &d.CreatedBy, &at, &ask, &d.Priority)
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
	err := s.Scan(&r.ID, &r.Org, &r.Project, &r.Name, &shared, &r.DeploymentID, &r.Prices.Input, &r.Prices.Output, &r.Prices.CachedInput, &r.Prices.Reasoning, &r.Prices.Embedding, &r.Prices.Request,
		&r.Priced.ID, &r.Priced.By, &pricedAt, &at)
	r.Priced.At = fromMicros(pricedAt)
	r.Shared, r.CreatedAt = shared.Valid, fromMicros(at)
	return r, err
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
		_, err := tx.Exec(ctx, "INSERT INTO deployments ("+deploymentColumns+", live_name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			d.ID, d.Project, d.Name, d.ModelVersion, d.Model, d.Engine, d.Replicas, d.Threads, d.MaxContext, d.MemoryBytes,
			d.State, d.Reason, d.Ready, d.CreatedBy, micros(d.CreatedAt), ask, d.Priority, d.Name)
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
	_, err := tx.Exec(ctx, "INSERT INTO routes ("+routeColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		r.ID, r.Org, r.Project, r.Name, sharedName(r), r.DeploymentID, r.Prices.Input, r.Prices.Output, r.Prices.CachedInput, r.Prices.Reasoning, r.Prices.Embedding, r.Prices.Request,
		r.Priced.ID, r.Priced.By, micros(r.Priced.At), micros(r.CreatedAt))
	if err == nil {
		return keepPrices(ctx, tx, r)
	}
	return exists(err, "There is a route %s already.", r.Name)
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
		_, err = tx.Exec(ctx, "DELETE FROM routes WHERE deployment_id = ?", id)
		return err
	})
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
		if _, err := lockLive(ctx, tx, r.Project, r.DeploymentID); err != nil {
			return err
		}
		return insertRoute(ctx, tx, r)
	})
}

// SetRoute implements serve.Store.
func (s *Serve) SetRoute(ctx context.Context, r serve.Route) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		if _, err := lockLive(ctx, tx, r.Project, r.DeploymentID); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, "UPDATE routes SET shared_name = ?, deployment_id = ?, price_in = ?, price_out = ?, price_cached = ?, price_reasoning = ?, price_embedding = ?, price_request = ?, price_version = ?, priced_by = ?, priced_at = ? WHERE project = ? AND id = ?",
			sharedName(r), r.DeploymentID, r.Prices.Input, r.Prices.Output, r.Prices.CachedInput, r.Prices.Reasoning, r.Prices.Embedding, r.Prices.Request, r.Priced.ID, r.Priced.By, micros(r.Priced.At), r.Project, r.ID)
		if err == nil && n == 0 {
			return fault.Newf(fault.NotFound, "There is no route %s.", r.ID)
		}
		if err == nil {
			return keepPrices(ctx, tx, r)
		}
		return exists(err, "Another project of the organisation shares a route %s already.", r.Name)
	})
}

// Route implements serve.Store.
func (s *Serve) Route(ctx context.Context, project, id string) (r serve.Route, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		r, err = scanRoute(tx.QueryRow(ctx, "SELECT "+routeColumns+" FROM routes WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no route %s.", id)
	})
	return r, err
}

// RouteByName implements serve.Store.
func (s *Serve) RouteByName(ctx context.Context, project, name string) (r serve.Route, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		r, err = scanRoute(tx.QueryRow(ctx, "SELECT "+routeColumns+" FROM routes WHERE project = ? AND name = ?", project, name))
		return missing(err, "There is no route %s.", name)
	})
	return r, err
}

// Routes implements serve.Store.
func (s *Serve) Routes(ctx context.Context, project string, p page.Page) (rs []serve.Route, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rs, err = paged(ctx, tx, scanRoute, p, order{"name", "t", false}, "SELECT "+routeColumns+" FROM routes WHERE project = ?", project)
		return err
	})
	return rs, err
}

// AllRoutes implements serve.Store.
func (s *Serve) AllRoutes(ctx context.Context) (rs []serve.Route, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		rs, err = All(ctx, tx, scanRoute, "SELECT "+routeColumns+" FROM routes ORDER BY created_at, id")
		return err
	})
	return rs, err
}

// RemoveRoute implements serve.Store.
func (s *Serve) RemoveRoute(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM routes WHERE project = ? AND id = ?", project, id)
		if err == nil && n == 0 {
			return fault.Newf(fault.NotFound, "There is no route %s.", id)
		}
		return err
	})
}
