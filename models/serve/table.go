package serve

import (
	"maps"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/provider"
)

// Table is what can be asked now: an immutable picture of routes and what answers behind them.
type Table struct {
	own    map[key]*Target // project and name
	shared map[key]*Target // organisation and name
}

type key struct{ scope, name string }

// Target is one route with what stands behind it. It is shared by many requests and never changes.
type Target struct {
	Route    Route
	Backends []*Upstream // in the order of their tiers; those of a deployment or provider that is gone are left out
	Trial    *Trial      // nil: no canary
}

// Trial is the canary of a route, as it can be asked.
type Trial struct {
	Canary  string // can_...
	Step    int
	Percent int // of the route's requests that are its to answer
	Via     *Upstream
}

// Upstream is one backend of a route, as it can be asked.
type Upstream struct {
	ID        string // dep_..., or prv_.../MODEL: what records and explanations know it by
	Tier      int
	Weight    int
	Dialect   engine.Dialect // one of them: what is translated goes there in this
	Responses bool           // it takes requests of OpenAI's responses as they are
	Version   string         // mv_...; empty of a provider's model
	Model     string         // for people: name@number of the version, or PROVIDER/MODEL
	Name      string         // what the request's model is to say; empty: whatever it says
	Context   int            // longest sequence, tokens; 0 = not known
	Engine    engine.Engine
	Endpoints []engine.Endpoint // of replicas that answer; a provider has one
}

// Outside says whether it is a provider's model.
func (u *Upstream) Outside() bool { return u.Version == "" }

// Serves says whether anything behind the route answers.
func (t *Target) Serves() bool {
	for _, b := range t.Backends {
		if len(b.Endpoints) > 0 {
			return true
		}
	}
	return false
}

// Context is the longest sequence that any of the backends takes, tokens; 0 = not known of all.
func (t *Target) Context() int {
	longest := 0
	for _, b := range t.Backends {
		if b.Context <= 0 {
			return 0
		}
		longest = max(longest, b.Context)
	}
	if t.Trial != nil {
		if t.Trial.Via.Context <= 0 {
			return 0
		}
		longest = max(longest, t.Trial.Via.Context)
	}
	return longest
}

// Lookup finds the route that a project means by a name: its own first, else one that a project of its organisation
// shares. A Target that does not serve is a route behind which nothing answers at the moment.
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

// List gives the routes a project can use behind which something answers, by name and without their aliases: what
// /v1/models shows.
func (t *Table) List(project, org string) []*Target {
	if t == nil {
		return nil
	}
	var out []*Target
	for k, x := range t.own {
		if k.scope == project && k.name == x.Route.Name && x.Serves() {
			out = append(out, x)
		}
	}
	for k, x := range t.shared {
		if _, hidden := t.own[key{project, k.name}]; k.scope == org && k.name == x.Route.Name && !hidden && x.Serves() {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b *Target) int { return strings.Compare(a.Route.Name, b.Route.Name) })
	return out
}

// makeTable joins routes with what serves them: deployments by id, and providers by id.
func makeTable(routes []Route, behind map[string]*Upstream, outside map[string]*provider.Live) *Table {
	t := &Table{own: make(map[key]*Target, len(routes)), shared: map[key]*Target{}}
	for _, r := range routes {
		x := &Target{Route: r}
		for _, b := range r.Backends {
			if u := upstream(b, behind, outside); u != nil {
				x.Backends = append(x.Backends, u)
			}
		}
		if len(x.Backends) == 0 {
			continue // what it leads to went between two reads, or is not part of this installation
		}
		if c := r.Canary; c != nil {
			if u := upstream(c.Backend, behind, outside); u != nil {
				x.Trial = &Trial{Canary: c.ID, Step: c.Step, Percent: c.Percent(), Via: u}
			}
		}
		t.add(r.Name, x, true)
	}
	for _, x := range slices.Collect(maps.Values(t.own)) {
		for _, alias := range x.Route.Aliases {
			t.add(alias, x, false)
		}
	}
	return t
}

// add gives a target a name; an alias does not take that of a route.
func (t *Table) add(name string, x *Target, always bool) {
	own, shared := key{x.Route.Project, name}, key{x.Route.Org, name}
	if _, taken := t.own[own]; always || !taken {
		t.own[own] = x
	}
	if _, taken := t.shared[shared]; x.Route.Shared && (always || !taken) {
		t.shared[shared] = x
	}
}

// upstream is what stands behind one backend; nil when nothing does.
func upstream(b Backend, behind map[string]*Upstream, outside map[string]*provider.Live) *Upstream {
	if b.Deployment != "" {
		d := behind[b.Deployment]
		if d == nil || d.Engine == nil {
			return nil
		}
		u := *d
		u.Tier, u.Weight = b.Tier, b.Weight
		return &u
	}
	p := outside[b.Provider]
	if p == nil {
		return nil
	}
	return &Upstream{ID: b.key(), Tier: b.Tier, Weight: b.Weight, Dialect: p.Dialect.Main(), Responses: p.Dialect.TakesResponses(), Model: p.Name + "/" + b.Model, Name: b.Model,
		Engine: p.Engine, Endpoints: []engine.Endpoint{{Replica: b.key()}}}
}

// equal says whether two tables answer every question alike.
func (t *Table) equal(u *Table) bool {
	same := func(a, b *Target) bool {
		return a.Route.equal(b.Route) && slices.EqualFunc(a.Backends, b.Backends, (*Upstream).equal) && a.Trial.equal(b.Trial)
	}
	return maps.EqualFunc(t.own, u.own, same) && maps.EqualFunc(t.shared, u.shared, same)
}

func (t *Trial) equal(o *Trial) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.Canary == o.Canary && t.Step == o.Step && t.Percent == o.Percent && t.Via.equal(o.Via)
}

func (u *Upstream) equal(o *Upstream) bool {
	return u.ID == o.ID && u.Tier == o.Tier && u.Weight == o.Weight && u.Dialect == o.Dialect && u.Responses == o.Responses && u.Version == o.Version && u.Model == o.Model &&
		u.Name == o.Name && u.Context == o.Context && u.Engine == o.Engine && slices.Equal(u.Endpoints, o.Endpoints)
}

// without is the table with one replica's endpoint taken out.
func (t *Table) without(replica string) *Table {
	out := &Table{own: make(map[key]*Target, len(t.own)), shared: make(map[key]*Target, len(t.shared))}
	copied := map[*Target]*Target{}
	strip := func(x *Target) *Target {
		if c, ok := copied[x]; ok {
			return c
		}
		c := *x
		c.Backends = make([]*Upstream, len(x.Backends))
		for i, b := range x.Backends {
			c.Backends[i] = b.without(replica)
		}
		if x.Trial != nil {
			trial := *x.Trial
			trial.Via = trial.Via.without(replica)
			c.Trial = &trial
		}
		copied[x] = &c
		return &c
	}
	for k, x := range t.own {
		out.own[k] = strip(x)
	}
	for k, x := range t.shared {
		out.shared[k] = strip(x)
	}
	return out
}

// without leaves out one replica. A provider stays: it is asked again and judged by its breaker.
func (u *Upstream) without(replica string) *Upstream {
	if u.Outside() || !slices.ContainsFunc(u.Endpoints, func(e engine.Endpoint) bool { return e.Replica == replica }) {
		return u
	}
	c := *u
	c.Endpoints = slices.DeleteFunc(slices.Clone(u.Endpoints), func(e engine.Endpoint) bool { return e.Replica == replica })
	return &c
}

// Counts are how many routes there are, how many of them something answers behind, and how many replicas of this
// installation answer.
func (t *Table) Counts() (routes, serving, replicas int) {
	if t == nil {
		return 0, 0, 0
	}
	seen := map[string]bool{}
	for k, x := range t.own {
		if k.name != x.Route.Name {
			continue // an alias
		}
		routes++
		if x.Serves() {
			serving++
		}
		for _, u := range x.Backends {
			for _, e := range u.Endpoints {
				if !u.Outside() && !seen[e.Replica] {
					seen[e.Replica] = true
					replicas++
				}
			}
		}
	}
	return routes, serving, replicas
}
