package serve

import (
	"context"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// AddRoute makes a route. Prices ask for Who.Pricing, those below the usual ones of the backends for Who.Lowering, too,
// and sharing for Who.Sharing; prices that are not named are the usual ones.
func (s *Service) AddRoute(ctx context.Context, who Who, spec RouteSpec) (Route, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if len(spec.Backends) == 0 {
		d, err := s.find(ctx, who.Project, spec.Deployment)
		if err != nil {
			return Route{}, err
		}
		if spec.Name == "" {
			spec.Name = d.Name
		}
		spec.Backends = []BackendSpec{{Deployment: d.ID}}
	}
	to, from, err := s.resolve(ctx, who.Project, spec.Backends)
	if err != nil {
		return Route{}, err
	}
	r, err := s.newRoute(ctx, who, spec, to, from)
	if err != nil {
		return Route{}, err
	}
	if err := s.Store.AddRoute(ctx, r); err != nil {
		return Route{}, err
	}
	s.Reroute(ctx)
	return r, nil
}

// SetRoute changes backends, aliases, prices and sharing of a route, by id or name, as far as c says so; its name stays.
// Prices ask for Who.Pricing, lower ones for Who.Lowering, sharing and the prices of a shared route for Who.Sharing;
// other backends ask for what mayLead says.
func (s *Service) SetRoute(ctx context.Context, who Who, name string, c RouteChange) (Route, error) {
	s.changing.Lock() // of two changes at once neither puts back what the other changed
	defer s.changing.Unlock()
	old, err := s.Route(ctx, who.Project, name)
	if err != nil {
		return Route{}, err
	}
	if old.Canary != nil && (c.Deployment != "" || len(c.Backends) > 0) {
		return Route{}, canaryRuns(old)
	}
	r := c.over(old)
	if err := mayChange(who, old, r, c); err != nil {
		return Route{}, err
	}
	if c.Deployment != "" && len(c.Backends) == 0 {
		c.Backends = []BackendSpec{{Deployment: c.Deployment}}
	}
	if len(c.Backends) > 0 {
		to, from, err := s.resolve(ctx, who.Project, c.Backends)
		if err != nil {
			return Route{}, err
		}
		if err := s.mayLead(ctx, who, old, to, from); err != nil {
			return Route{}, err
		}
		r.Backends = to
	}
	if err := checkAliases(r.Name, r.Aliases); err != nil {
		return Route{}, err
	}
	if err := r.Policy.check(); err != nil {
		return Route{}, err
	}
	if err := s.guarded(ctx, who, &r, c.Policy.Guard); err != nil {
		return Route{}, err
	}
	if err := checkPrices(r); err != nil {
		return Route{}, err
	}
	r = s.priced(who, r, old)
	if err := s.Store.SetRoute(ctx, r); err != nil {
		return Route{}, err
	}
	s.Reroute(ctx)
	return r, nil
}

// over is the route as it is to be.
func (c RouteChange) over(r Route) Route {
	r.Prices = c.Price.Over(r.Prices)
	if c.Shared != nil {
		r.Shared = *c.Shared
	}
	r.Policy = c.Policy.over(r.Policy)
	if c.Aliases != nil {
		r.Aliases = *c.Aliases
	}
	return r
}

// mayChange says whether who may make r of the route old as c asks.
func mayChange(who Who, old, r Route, c RouteChange) error {
	tiers, cheaper := c.Policy.tiers(old.Policy)
	prices := !c.Price.Empty() || tiers
	switch {
	case c.Shared != nil && !who.Sharing:
		return mayNotShare("Sharing of a route cannot be changed with this key.")
	case prices && !who.Pricing:
		return mayNotPrice("Prices of a route cannot be changed with this key.")
	case prices && old.Shared && !who.Sharing:
		return mayNotShare("The route is shared with the organisation: its prices cannot be changed with this key.")
	case prices && !who.Lowering && (cheaper || r.Prices.Below(old.Prices)):
		return mayNotLower("Prices of a route cannot be lowered with this key.")
	}
	return nil
}

// mayLead keeps a model from being had at another's price: whoever may not lower prices can move a route only to
// backends that usually cost no more than the route does.
func (s *Service) mayLead(ctx context.Context, who Who, r Route, to []Backend, from []source) error {
	if slices.Equal(r.Backends, to) {
		return nil
	}
	if r.Shared && !who.Pricing && !who.Sharing {
		return mayNotShare("The route is shared with the organisation and cannot be moved with this key.")
	}
	if who.Pricing && who.Lowering && (who.Sharing || !r.Shared) {
		return nil
	}
	usual, err := s.usual(ctx, who.Project, from)
	if err != nil {
		return err
	}
	if r.Prices.Below(usual) {
		return mayNotPrice("The route costs less than what it is to lead to usually does, and cannot be moved there with this key.")
	}
	sourceOf, err := s.sources(ctx, who.Project)
	if err != nil {
		return err
	}
	var left []source
	for _, b := range r.Backends {
		if src, ok := sourceOf(b); ok && !slices.ContainsFunc(from, func(x source) bool { return x.key == src.key }) {
			left = append(left, src)
		}
	}
	return s.mayLeave(ctx, who, left, []Route{r})
}

// mayEnd says whether who may take away those of the project's routes that going names, or their way to what of names.
// Shared ones ask for Who.Pricing, and the last ones to a source for what mayLeave says.
func (s *Service) mayEnd(ctx context.Context, who Who, of func(Backend) bool, going func(Route) bool) error {
	all, err := s.Store.Routes(ctx, who.Project, page.All)
	if err != nil {
		return err
	}
	sourceOf, err := s.sources(ctx, who.Project)
	if err != nil {
		return err
	}
	var gone []Route
	var left []source
	for _, r := range all {
		if !going(r) {
			continue
		}
		if r.Shared && !who.Pricing {
			return mayNotPrice("The route " + ref.Quote(r.Name) + " is shared with the organisation and cannot be removed with this key.")
		}
		gone = append(gone, r)
		for _, b := range r.Backends {
			if src, ok := sourceOf(b); ok && of(b) && !slices.Contains(left, src) {
				left = append(left, src)
			}
		}
	}
	return s.mayLeave(ctx, who, left, gone)
}

// mayLeave says whether who may have the routes gone no longer lead to the sources left. The last ones to a source keep
// its price: where that is above the installation's, a route made anew would cost less, so that they ask for Who.Pricing
// and Who.Lowering.
func (s *Service) mayLeave(ctx context.Context, who Who, left []source, gone []Route) error {
	if len(left) == 0 || who.Pricing && who.Lowering {
		return nil
	}
	all, err := s.Store.Routes(ctx, who.Project, page.All)
	if err != nil {
		return err
	}
	sourceOf, err := s.sources(ctx, who.Project)
	if err != nil {
		return err
	}
	base := s.base()
	for _, src := range left {
		dear := slices.IndexFunc(gone, func(r Route) bool { return base.Below(r.Prices) && leads(r, src, sourceOf) })
		if dear < 0 || slices.ContainsFunc(all, func(r Route) bool {
			return leads(r, src, sourceOf) && !slices.ContainsFunc(gone, func(g Route) bool { return g.ID == r.ID })
		}) {
			continue
		}
		return fault.New(fault.Forbidden, "The price of "+src.name+" is that of its last route, "+ref.Quote(gone[dear].Name)+", and above the usual: without that a new one would cost less.",
			fault.Code("not_allowed"), fault.Fix("Make another route to it first, or use a key that may lower prices."))
	}
	return nil
}

func mayNotPrice(message string) error {
	return fault.New(fault.Forbidden, message, fault.Code("not_allowed"),
		fault.Fix("Ask an owner, or use a key with the scope pricing; without prices a new route gets the usual ones."))
}

func mayNotLower(message string) error {
	return fault.New(fault.Forbidden, message, fault.Code("not_allowed"),
		fault.Fix("Its spending is bounded from above: ask for a key with the scope pricing from whoever set the budget."))
}

func mayNotShare(message string) error {
	return fault.New(fault.Forbidden, message, fault.Code("not_allowed"), fault.Fix("Use a key with the scope organisation."))
}

// base is the price of a model version that nobody priced.
func (s *Service) base() meter.Prices {
	if s.Price != nil {
		return *s.Price
	}
	return DefaultPrice
}

// newRoute makes a route to backends, which need not be stored yet.
func (s *Service) newRoute(ctx context.Context, who Who, spec RouteSpec, to []Backend, from []source) (Route, error) {
	if err := ref.Check("route.name", spec.Name); err != nil {
		return Route{}, err
	}
	if len(spec.Name) > maxName {
		return Route{}, fault.InvalidField("route.name", "A public name has at most %d bytes.", maxName)
	}
	tiers, cheaper := spec.Policy.tiers(Policy{})
	if !who.Lowering && cheaper {
		return Route{}, mayNotLower("A service tier would cost less than the route, which this key cannot ask for.")
	}
	if !who.Pricing && (tiers || !spec.Price.Empty()) {
		return Route{}, mayNotPrice("Prices of a route cannot be set with this key.")
	}
	if !who.Sharing && spec.Shared {
		return Route{}, mayNotShare("A route cannot be shared with this key.")
	}
	if err := checkAliases(spec.Name, spec.Aliases); err != nil {
		return Route{}, err
	}
	policy := spec.Policy.over(Policy{})
	if err := policy.check(); err != nil {
		return Route{}, err
	}
	r := Route{ID: s.IDs.New("rte"), Org: who.Org, Project: who.Project, Name: spec.Name, Aliases: spec.Aliases, Backends: to, Policy: policy,
		Shared: spec.Shared, CreatedAt: s.now()}
	usual, err := s.usual(ctx, who.Project, from)
	if err != nil {
		return Route{}, err
	}
	r.Prices = spec.Price.Over(usual)
	if !who.Lowering && r.Prices.Below(usual) {
		return Route{}, mayNotLower("The route would cost less than " + ref.Quote(from[0].name) + " usually does, which this key cannot ask for.")
	}
	if err := s.guarded(ctx, who, &r, spec.Policy.Guard); err != nil {
		return Route{}, err
	}
	return s.priced(who, r, Route{}), checkPrices(r)
}

func checkPrices(r Route) error {
	for _, x := range []struct {
		field string
		price int64
		same  bool // may follow another price
	}{
		{"route.price_in", r.Prices.Input, false}, {"route.price_out", r.Prices.Output, false},
		{"route.prices.cached_input", r.Prices.CachedInput, true}, {"route.prices.reasoning", r.Prices.Reasoning, true},
		{"route.prices.embedding", r.Prices.Embedding, true}, {"route.prices.request", r.Prices.Request, false},
	} {
		if x.price < 0 && !(x.same && x.price == meter.Same) || x.price > MaxPrice {
			return fault.InvalidField(x.field, "A price is 0 to %d micro-units for 1,000,000 tokens, or for one request.", int64(MaxPrice))
		}
	}
	return nil
}
