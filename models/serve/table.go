package serve

import (
	"maps"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/models/engine"
)

// Table is what can be asked now: an immutable picture of routes and the replicas that answer.
type Table struct {
	own    map[key]*Target // project and name
	shared map[key]*Target // organisation and name
}

type key struct{ scope, name string }

// Target is one route with what stands behind it. It is shared by many requests and never changes.
type Target struct {
	Route      Route
	Deployment string // dep_...
	Version    string // mv_...
	Model      string // name@number of the version
	Context    int    // longest sequence, tokens
	Engine     engine.Engine
	Endpoints  []engine.Endpoint // of replicas that answer; empty when none does
}

// Lookup finds the route that a project means by a name: its own first, else one that a project of its organisation
// shares. A Target without Endpoints is a route that nothing serves at the moment.
func (t *Table) Lookup(project, org, name string) (*Target, bool) {
	if t == nil {
		return nil, false
	}
	if x, ok := t.own[key{project, name}]; ok {
		return x, true
	}
	x, ok := t.shared[key{org, name}]
	return x, ok
}

// List gives the routes a project can use that have a replica that answers, by name: what /v1/models shows.
func (t *Table) List(project, org string) []*Target {
	if t == nil {
		return nil
	}
	var out []*Target
	for k, x := range t.own {
		if k.scope == project && len(x.Endpoints) > 0 {
			out = append(out, x)
		}
	}
	for k, x := range t.shared {
		if _, hidden := t.own[key{project, k.name}]; k.scope == org && !hidden && len(x.Endpoints) > 0 {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b *Target) int { return strings.Compare(a.Route.Name, b.Route.Name) })
	return out
}

// makeTable joins routes with what serves them.
func makeTable(routes []Route, behind map[string]*Target) *Table {
	t := &Table{own: make(map[key]*Target, len(routes)), shared: map[key]*Target{}}
	for _, r := range routes {
		x := &Target{Route: r, Deployment: r.DeploymentID}
		if b := behind[r.DeploymentID]; b != nil {
			*x = *b
			x.Route = r
		}
		if x.Engine == nil {
			continue // its deployment went between two reads, or its engine is not part of this installation
		}
		t.own[key{r.Project, r.Name}] = x
		if r.Shared {
			t.shared[key{r.Org, r.Name}] = x
		}
	}
	return t
}

// equal says whether two tables answer every question alike.
func (t *Table) equal(u *Table) bool {
	same := func(a, b *Target) bool {
		return a.Route == b.Route && a.Deployment == b.Deployment && a.Version == b.Version && a.Model == b.Model &&
			a.Context == b.Context && a.Engine.Name() == b.Engine.Name() && slices.Equal(a.Endpoints, b.Endpoints)
	}
	return maps.EqualFunc(t.own, u.own, same) && maps.EqualFunc(t.shared, u.shared, same)
}

// without is the table with one replica's endpoint taken out.
func (t *Table) without(replica string) *Table {
	out := &Table{own: make(map[key]*Target, len(t.own)), shared: make(map[key]*Target, len(t.shared))}
	copied := map[*Target]*Target{}
	strip := func(x *Target) *Target {
		if c, ok := copied[x]; ok {
			return c
		}
		c := x.without(replica)
		copied[x] = c
		return c
	}
	for k, x := range t.own {
		out.own[k] = strip(x)
	}
	for k, x := range t.shared {
		out.shared[k] = strip(x)
	}
	return out
}

func (x *Target) without(replica string) *Target {
	c := *x
	c.Endpoints = slices.DeleteFunc(slices.Clone(x.Endpoints), func(e engine.Endpoint) bool { return e.Replica == replica })
	return &c
}
