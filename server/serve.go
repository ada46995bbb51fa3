package server

import (
	"cmp"
	"context"
	"net/http"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// DeploymentPath names a deployment.
type DeploymentPath struct {
	Deployment string `path:"deployment" maxLength:"200" doc:"id or name"`
}

// RoutePath names a route.
type RoutePath struct {
	Route string `path:"route" maxLength:"200" doc:"id or name"`
}

func (s *Server) serveOps() {
	op(s, "list-deployments", "serving", "List deployments", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Deployment]], error) {
		return paged(deploymentList, *in, deployment, func(q page.Page) ([]serve.Deployment, error) { return s.Serve.Deployments(ctx, p.ProjectID, q) })
	})
	op(s, "create-deployment", "serving", "Serve a model version", s.deploy, status(http.StatusCreated))
	op(s, "get-deployment", "serving", "Show a deployment with its replicas", s.deployment)
	op(s, "scale-deployment", "serving", "Change how many replicas a deployment has", func(ctx context.Context, p *auth.Principal, in *struct {
		DeploymentPath
		Body api.Scale
	}) (*out[api.Deployment], error) {
		d, err := s.Serve.Scale(ctx, p.ProjectID, in.Deployment, in.Body.Replicas)
		return &out[api.Deployment]{deployment(d)}, err
	})
	op(s, "read-deployment-logs", "serving", "Read the output of a replica", func(ctx context.Context, p *auth.Principal, in *struct {
		DeploymentPath
		LogsParam
		Replica string `query:"replica" maxLength:"64" doc:"id; default: the oldest"`
	}) (*out[api.Logs], error) {
		l, err := s.Serve.Logs(ctx, p.ProjectID, in.Deployment, in.Replica, in.Attempt, in.Offset, in.Limit)
		return logs(l, err)
	})
	op(s, "remove-deployment", "serving", "End a deployment and take its routes away", func(ctx context.Context, p *auth.Principal, in *DeploymentPath) (*out[api.Deployment], error) {
		d, err := s.Serve.Remove(ctx, whoServes(p), in.Deployment)
		return &out[api.Deployment]{deployment(d)}, err
	})
	s.routeOps()
	s.canaryOps()
	s.priceOps()
}

func (s *Server) deploy(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewDeployment }) (*out[api.DeploymentDetail], error) {
	b := in.Body
	spec := serve.DeploySpec{Name: b.Name, Model: b.Model, Engine: b.Engine, Replicas: b.Replicas, Threads: b.Threads,
		MaxContext: b.MaxContext, MemoryBytes: b.MemoryBytes, Priority: b.Priority,
		Ask: job.Ask{Chips: b.Chips, ChipTypes: b.ChipTypes, GroupMin: b.MinReplicas}, Force: b.Force}
	if b.Route != nil {
		r := routeSpec(*b.Route)
		spec.Route = &r
	}
	d, err := s.Serve.Deploy(ctx, whoServes(p), spec)
	if err != nil || b.Route == nil {
		return &out[api.DeploymentDetail]{api.DeploymentDetail{Deployment: deployment(d)}}, err
	}
	name := b.Route.Name
	if name == "" {
		name = d.Name
	}
	r, err := s.Serve.Route(ctx, p.ProjectID, name)
	a := route(r)
	return &out[api.DeploymentDetail]{api.DeploymentDetail{Deployment: deployment(d), Route: &a}}, err
}

func (s *Server) deployment(ctx context.Context, p *auth.Principal, in *DeploymentPath) (*out[api.DeploymentDetail], error) {
	d, err := s.Serve.Get(ctx, p.ProjectID, in.Deployment)
	if err != nil {
		return nil, err
	}
	rs, err := s.Serve.Replicas(ctx, p.ProjectID, d.ID)
	if err != nil {
		return nil, err
	}
	return &out[api.DeploymentDetail]{api.DeploymentDetail{Deployment: deployment(d), Copies: list(rs, replica).Body.Items}}, nil
}

func (s *Server) routeOps() {
	op(s, "list-routes", "serving", "List routes", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Route]], error) {
		o, err := paged(routeList, *in, route, func(q page.Page) ([]serve.Route, error) { return s.Serve.Routes(ctx, p.ProjectID, q) })
		if err != nil {
			return nil, err
		}
		return o, s.name(ctx, p.ProjectID, o.Body.Items)
	})
	op(s, "create-route", "serving", "Make a public model name", func(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewRoute }) (*out[api.Route], error) {
		r, err := s.Serve.AddRoute(ctx, whoServes(p), routeSpec(in.Body))
		return s.withCanary(ctx, p, r, err)
	}, status(http.StatusCreated))
	op(s, "get-route", "serving", "Show a route", func(ctx context.Context, p *auth.Principal, in *RoutePath) (*out[api.Route], error) {
		r, err := s.Serve.Route(ctx, p.ProjectID, in.Route)
		return s.withCanary(ctx, p, r, err)
	})
	op(s, "set-route", "serving", "Change backends, aliases, prices and sharing of a route", func(ctx context.Context, p *auth.Principal, in *struct {
		RoutePath
		Body api.RouteChange
	}) (*out[api.Route], error) {
		r, err := s.Serve.SetRoute(ctx, whoServes(p), in.Route, routeChange(in.Body))
		return s.withCanary(ctx, p, r, err)
	})
	op(s, "remove-route", "serving", "Remove a route", func(ctx context.Context, p *auth.Principal, in *RoutePath) (*none, error) {
		return nil, s.Serve.RemoveRoute(ctx, whoServes(p), in.Route)
	}, status(http.StatusNoContent))
}

// name puts names beside the ids of what routes of a project lead to.
func (s *Server) name(ctx context.Context, project string, routes []api.Route) error {
	if len(routes) == 0 {
		return nil
	}
	names, err := s.backendNames(ctx, project)
	if err != nil {
		return err
	}
	for i := range routes {
		for j := range routes[i].Backends {
			b := &routes[i].Backends[j]
			b.Name = names(cmp.Or(b.Deployment, b.Provider), b.Model)
		}
		if c := routes[i].Canary; c != nil {
			c.Backend.Name = names(cmp.Or(c.Backend.Deployment, c.Backend.Provider), c.Backend.Model)
		}
	}
	return nil
}

// backendNames says what backends of a project are called: by the id of a deployment, or by that of a provider and its
// name of the model; empty of one that is gone.
func (s *Server) backendNames(ctx context.Context, project string) (func(id, model string) string, error) {
	names := map[string]string{}
	deployments, err := s.Serve.Deployments(ctx, project, page.All)
	if err != nil {
		return nil, err
	}
	for _, d := range deployments {
		names[d.ID] = "local/" + d.Name
	}
	if s.Providers != nil {
		providers, err := s.Providers.List(ctx, project, page.All)
		if err != nil {
			return nil, err
		}
		for _, p := range providers {
			names[p.ID] = p.Name
		}
	}
	return func(id, model string) string {
		name := names[id]
		if name != "" && model != "" {
			name += "/" + model
		}
		return name
	}, nil
}

// canaryOps are those that begin and steer the trial of a new backend.
func (s *Server) canaryOps() {
	op(s, "start-canary", "serving", "Try a new backend of a route with a growing share of its requests", func(ctx context.Context, p *auth.Principal, in *struct {
		RoutePath
		Body api.NewCanary
	}) (*out[api.Route], error) {
		n := in.Body
		spec := serve.CanarySpec{Backend: serve.BackendSpec{Deployment: n.Deployment, Provider: n.Provider, Model: n.Model}, Rule: canary.Rule{Steps: n.Steps}}
		into(&spec.Rule.After, n.After)
		into(&spec.Rule.LeastS, n.LeastS)
		into(&spec.Rule.MaxErrors, n.MaxErrors)
		into(&spec.Rule.MaxSlower, n.MaxSlower)
		into(&spec.Rule.Quantile, n.Quantile)
		r, err := s.Serve.StartCanary(ctx, whoServes(p), in.Route, spec)
		return s.withCanary(ctx, p, r, err)
	})
	op(s, "steer-canary", "serving", "Pause, resume, promote or abort the canary of a route", func(ctx context.Context, p *auth.Principal, in *struct {
		RoutePath
		What string `path:"what" enum:"pause,resume,promote,abort" doc:"promote goes on to the next step, whatever was counted"`
	}) (*out[api.Route], error) {
		r, err := s.Serve.SteerCanary(ctx, whoServes(p), in.Route, serve.Steer(in.What))
		return s.withCanary(ctx, p, r, err)
	})
}

// into sets what was named.
func into[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// withCanary is a route with its newest canary, what was counted of it and what was decided, or the error of finding it.
func (s *Server) withCanary(ctx context.Context, p *auth.Principal, r serve.Route, err error) (*out[api.Route], error) {
	if err != nil {
		return nil, err
	}
	x := route(r)
	if x.Canary, err = s.newestCanary(ctx, p.ProjectID, r.ID); err != nil {
		return nil, err
	}
	one := []api.Route{x}
	err = s.name(ctx, p.ProjectID, one)
	return &out[api.Route]{one[0]}, err
}

func (s *Server) newestCanary(ctx context.Context, project, route string) (*api.Canary, error) {
	c, events, err := s.Serve.Store.CanaryOf(ctx, project, route)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	x := canaryOf(&c)
	x.Events = list(events, func(e serve.CanaryEvent) api.CanaryEvent {
		return api.CanaryEvent{Number: e.Number, At: e.At, What: e.What, From: e.From, To: e.To, Why: e.Why, By: e.By, Trial: api.CanaryTally(e.Trial), Stable: api.CanaryTally(e.Stable)}
	}).Body.Items
	if c.State.Live() {
		trial, stable, err := s.Serve.Store.CanaryCounts(ctx, c.ID, c.Step)
		if err != nil {
			return nil, err
		}
		x.Trial, x.Stable = new(api.CanaryTally(serve.TallyOf(trial))), new(api.CanaryTally(serve.TallyOf(stable)))
	}
	return x, nil
}

func canaryOf(c *serve.Canary) *api.Canary {
	if c == nil {
		return nil
	}
	return &api.Canary{ID: c.ID, Backend: backend(c.Backend), State: string(c.State), Percent: c.Percent(), Steps: c.Rule.Steps, Step: c.Step, Since: c.Since, After: c.Rule.After,
		LeastS: c.Rule.LeastS, MaxErrors: c.Rule.MaxErrors, MaxSlower: c.Rule.MaxSlower, Quantile: c.Rule.Quantile, CreatedBy: c.CreatedBy, CreatedAt: c.CreatedAt}
}

func whoServes(p *auth.Principal) serve.Who {
	return serve.Who{Org: p.OrgID, Project: p.ProjectID, Key: p.KeyID, Pricing: tenancy.MayPrice(p.Role, p.Scopes),
		Lowering: p.Lowers, Private: may(p, tenancy.Platform), Machine: may(p, tenancy.Platform), Sharing: tenancy.Height(p.Scopes) != tenancy.Admin}
}

func routeSpec(n api.NewRoute) serve.RouteSpec {
	return serve.RouteSpec{Name: n.Name, Aliases: n.Aliases, Deployment: n.Deployment, Backends: backendSpecs(n.Backends), Policy: policyChange(n.Policy), Price: card(n.PriceIn, n.PriceOut, n.Prices), Shared: n.Shared}
}

func policyChange(n api.NewPolicy) serve.PolicyChange {
	c := serve.PolicyChange{Concurrency: n.Concurrency, Queue: n.Queue, QueueWaitMS: n.QueueWaitMS, SlowMS: n.SlowMS, WakeMS: n.WakeMS, CacheS: n.CacheS, Locality: n.Locality, Flex: n.Flex, Priority: n.Priority}
	if g := n.Guard; g != nil {
		c.Guard = &guard.Change{URL: g.URL, Model: g.Model, Form: g.Form, When: g.When, Open: g.Open, Private: g.AllowPrivate, Key: g.Key, WaitMS: g.TimeoutMS, Piece: g.Piece}
	}
	return c
}

func policy(p serve.Policy) api.Policy {
	out := api.Policy{Concurrency: p.Concurrency, Queue: p.Queue, QueueWaitMS: p.QueueWaitMS, SlowMS: p.SlowMS, WakeMS: p.WakeMS, CacheS: p.CacheS, Locality: p.Locality, Flex: p.Flex, Priority: p.Priority}
	if g := &p.Guard; g.On() {
		out.Guard = &api.Guard{URL: g.URL, Model: g.Model, Form: string(g.Form), When: string(g.When()), Open: g.Open, AllowPrivate: g.Private,
			KeyHint: g.Hint, HasKey: g.Sealed != "", TimeoutMS: int(g.Wait().Milliseconds()), Piece: g.Held()}
	}
	return out
}

func backendSpecs(in []api.NewBackend) []serve.BackendSpec {
	var out []serve.BackendSpec
	for _, b := range in {
		out = append(out, serve.BackendSpec(b))
	}
	return out
}

func backend(b serve.Backend) api.Backend {
	return api.Backend{Tier: b.Tier, Weight: b.Weight, Deployment: b.Deployment, Provider: b.Provider, Model: b.Model}
}

func (s *Server) priceOps() {
	op(s, "list-prices", "serving", "List what routes cost from when on, newest first", func(ctx context.Context, p *auth.Principal, in *struct {
		PageParam
		Route string `query:"route" maxLength:"200" doc:"id or name; default: all routes of the project, also those that are gone"`
	}) (*out[api.List[api.PriceVersion]], error) {
		return paged(priceList, in.PageParam, priceVersion, func(q page.Page) ([]serve.PriceVersion, error) {
			return s.Serve.PriceVersions(ctx, p.ProjectID, in.Route, q)
		})
	})
	op(s, "get-prices", "serving", "Show one version of prices, such as a usage record names", func(ctx context.Context, p *auth.Principal, in *struct {
		Version string `path:"version" maxLength:"64" doc:"id"`
	}) (*out[api.PriceVersion], error) {
		v, err := s.Serve.PriceVersion(ctx, p.ProjectID, p.OrgID, in.Version)
		return &out[api.PriceVersion]{priceVersion(v)}, err
	})
}

func priceVersion(v serve.PriceVersion) api.PriceVersion {
	return api.PriceVersion{ID: v.ID, RouteID: v.RouteID, Route: v.Route, Prices: prices(v.Prices), CreatedBy: v.By, CreatedAt: v.At}
}

func routeChange(c api.RouteChange) serve.RouteChange {
	return serve.RouteChange{Deployment: c.Deployment, Backends: backendSpecs(c.Backends), Policy: policyChange(c.Policy), Aliases: c.Aliases, Price: card(c.PriceIn, c.PriceOut, c.Prices), Shared: c.Shared}
}

// card joins the two prices that have fields of their own with the rest; the fields come first.
func card(in, out *int64, p *api.PriceCard) meter.Card {
	var c meter.Card
	if p != nil {
		c = meter.Card(*p)
	}
	if in != nil {
		c.Input = in
	}
	if out != nil {
		c.Output = out
	}
	return c
}

func prices(p meter.Prices) api.Prices { return api.Prices(p.Resolved()) }

func deployment(d serve.Deployment) api.Deployment {
	return api.Deployment{ID: d.ID, Name: d.Name, Model: d.Model, ModelVersion: d.ModelVersion, Engine: d.Engine, Replicas: d.Replicas,
		Ready: d.Ready, Threads: d.Threads, MaxContext: d.MaxContext, MemoryBytes: d.MemoryBytes, Chips: d.Ask.Chips, ChipTypes: d.Ask.ChipTypes, MinReplicas: d.Ask.GroupMin, Priority: d.Priority, State: string(d.State), Reason: d.Reason, Forced: d.Forced,
		CreatedBy: d.CreatedBy, CreatedAt: d.CreatedAt}
}

func replica(r serve.Replica) api.Replica {
	return api.Replica{ID: r.ID, JobID: r.JobID, Attempt: r.Attempt, Healthy: r.Healthy, Leaving: r.Leaving, Restarts: r.Restarts,
		Reason: r.Reason, CreatedAt: r.CreatedAt}
}

func route(r serve.Route) api.Route {
	return api.Route{ID: r.ID, Name: r.Name, Aliases: r.Aliases, DeploymentID: r.Deployment(), Backends: list(r.Backends, backend).Body.Items, Policy: policy(r.Policy), Canary: canaryOf(r.Canary), PriceIn: r.Prices.Input, PriceOut: r.Prices.Output, Prices: prices(r.Prices), PriceVersion: r.Priced.ID, Shared: r.Shared, CreatedAt: r.CreatedAt}
}
