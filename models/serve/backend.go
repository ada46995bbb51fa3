package serve

import (
	"cmp"
	"context"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Bounds of what a route leads to.
const (
	MaxBackends = 32
	MaxTiers    = 8
	MaxWeight   = 1_000_000
	maxUpstream = 256 // bytes of a provider's name of a model
)

// Backend is one of the things that a route leads to: a deployment of this installation or a model of a provider.
type Backend struct {
	Tier       int    // 0 is asked first, the next one when nothing of it answers
	Weight     int    // parts of the tier's requests; 0 takes none, as when it is emptied
	Deployment string // dep_..., or empty
	Provider   string // prv_..., or empty
	Model      string // as the provider calls it
}

// key is what a backend is known by in records and explanations: dep_..., or prv_.../MODEL.
func (b Backend) key() string {
	if b.Deployment != "" {
		return b.Deployment
	}
	return b.Provider + "/" + b.Model
}

// BackendSpec is a request for a Backend.
type BackendSpec struct {
	Deployment string // id or name
	Provider   string // id or name
	Model      string
	Weight     *int // default 1
	Tier       int
}

// source is what a backend serves, whose price its routes share: a model version, or a provider's model.
type source struct {
	key  string
	name string // for people
}

func versionSource(d Deployment) source { return source{d.ModelVersion, d.Model} }

// resolve finds what specs name, in the order of their tiers.
func (s *Service) resolve(ctx context.Context, project string, specs []BackendSpec) ([]Backend, []source, error) {
	if len(specs) == 0 || len(specs) > MaxBackends {
		return nil, nil, fault.InvalidField("route.backends", "A route leads to 1 to %d backends.", MaxBackends)
	}
	var out []Backend
	var from []source
	for _, spec := range specs {
		b, src, err := s.backend(ctx, project, spec)
		if err != nil {
			return nil, nil, err
		}
		if slices.ContainsFunc(out, func(o Backend) bool { return o.key() == b.key() && o.Tier == b.Tier }) {
			return nil, nil, fault.InvalidField("route.backends", "The route leads to %s twice in one tier.", ref.Quote(src.name))
		}
		out, from = append(out, b), append(from, src)
	}
	slices.SortStableFunc(out, func(a, b Backend) int { return cmp.Compare(a.Tier, b.Tier) })
	tier := 0
	for i := range out { // without gaps, however they were named
		if i > 0 && out[i].Tier != tier {
			tier = out[i].Tier
			out[i].Tier = out[i-1].Tier + 1
		} else if i > 0 {
			out[i].Tier = out[i-1].Tier
		} else {
			tier, out[i].Tier = out[i].Tier, 0
		}
	}
	return out, from, nil
}

func (s *Service) backend(ctx context.Context, project string, spec BackendSpec) (Backend, source, error) {
	b := Backend{Tier: spec.Tier, Weight: 1}
	if spec.Weight != nil {
		b.Weight = *spec.Weight
	}
	switch {
	case b.Weight < 0 || b.Weight > MaxWeight:
		return b, source{}, fault.InvalidField("route.backends.weight", "A weight is 0 to %d.", MaxWeight)
	case b.Tier < 0 || b.Tier >= MaxTiers:
		return b, source{}, fault.InvalidField("route.backends.tier", "A tier is 0 to %d.", MaxTiers-1)
	case (spec.Deployment == "") == (spec.Provider == ""):
		return b, source{}, fault.InvalidField("route.backends", "A backend is either a deployment or a model of a provider.")
	case spec.Deployment != "":
		d, err := s.find(ctx, project, spec.Deployment)
		b.Deployment = d.ID
		return b, versionSource(d), err
	case s.Providers == nil:
		return b, source{}, fault.New(fault.Unsupported, "This installation has no outside providers.", fault.Field("route.backends.provider"))
	case spec.Model == "" || len(spec.Model) > maxUpstream || !printable(spec.Model):
		return b, source{}, fault.InvalidField("route.backends.model", "The provider's name of the model is 1 to %d printable characters.", maxUpstream)
	}
	p, err := s.Providers.Get(ctx, project, spec.Provider)
	b.Provider, b.Model = p.ID, spec.Model
	return b, source{b.key(), p.Name + "/" + b.Model}, err
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// sources says what each backend of the project's routes serves, by the key of the backend. Those of deployments that
// are gone, or not stored yet, are missing.
func (s *Service) sources(ctx context.Context, project string) (func(Backend) (source, bool), error) {
	all, err := s.Store.Deployments(ctx, project, page.All)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]source, len(all))
	for _, d := range all {
		byID[d.ID] = versionSource(d)
	}
	return func(b Backend) (source, bool) {
		if b.Deployment == "" {
			return source{b.key(), b.key()}, true
		}
		src, ok := byID[b.Deployment]
		return src, ok
	}, nil
}

// usual is the price of a route to these sources that nobody names one for: of each source the highest that a route of
// the project has which leads to it, or else the installation's; of several sources the highest of these.
func (s *Service) usual(ctx context.Context, project string, of []source) (meter.Prices, error) {
	routes, err := s.Store.Routes(ctx, project, page.All)
	if err != nil {
		return meter.Prices{}, err
	}
	sourceOf, err := s.sources(ctx, project)
	if err != nil {
		return meter.Prices{}, err
	}
	each := map[string]meter.Prices{}
	for _, r := range routes {
		for _, b := range r.Backends {
			src, ok := sourceOf(b)
			if !ok {
				continue
			}
			if p, seen := each[src.key]; seen {
				each[src.key] = p.Highest(r.Prices)
			} else {
				each[src.key] = r.Prices
			}
		}
	}
	var usual meter.Prices
	for i, src := range of {
		p, ok := each[src.key]
		if !ok {
			p = s.base()
		}
		if i > 0 {
			p = p.Highest(usual)
		}
		usual = p
	}
	return usual, nil
}

// leads says whether a backend of the route serves src.
func leads(r Route, src source, sourceOf func(Backend) (source, bool)) bool {
	return slices.ContainsFunc(r.Backends, func(b Backend) bool {
		x, ok := sourceOf(b)
		return ok && x.key == src.key
	})
}

// Deployment is the first deployment that a route leads to, by id; empty when it leads to providers alone.
func (r Route) Deployment() string {
	for _, b := range r.Backends {
		if b.Deployment != "" {
			return b.Deployment
		}
	}
	return ""
}

// on says whether a route leads to a deployment.
func (r Route) on(deployment string) bool {
	return slices.ContainsFunc(r.Backends, func(b Backend) bool { return b.Deployment == deployment })
}

// equal says whether two routes are alike in all that requests see.
func (r Route) equal(o Route) bool {
	return r.ID == o.ID && r.Org == o.Org && r.Project == o.Project && r.Name == o.Name && r.Prices == o.Prices && r.Shared == o.Shared && r.Priced == o.Priced && r.Policy == o.Policy && r.Canary.equal(o.Canary) &&
		slices.Equal(r.Backends, o.Backends) && slices.Equal(r.Aliases, o.Aliases)
}

// checkAliases keeps further names within the rules of names.
func checkAliases(name string, aliases []string) error {
	if len(aliases) > maxAliases {
		return fault.InvalidField("route.aliases", "A route has at most %d aliases.", maxAliases)
	}
	for i, a := range aliases {
		if err := ref.Check("route.aliases", a); err != nil {
			return err
		}
		if len(a) > maxName || a == name || slices.Contains(aliases[:i], a) || id.Valid("rte", a) {
			return fault.InvalidField("route.aliases", "The alias %s is too long, or named twice.", ref.Quote(a))
		}
	}
	return nil
}

const maxAliases = 16
