package serve

import (
	"context"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// AddRoute makes a route to a deployment, by id or name. Prices ask for Who.Pricing, those below the usual ones of the
// deployment for Who.Lowering, too, and sharing for Who.Sharing; prices that are not named are the usual ones.
func (s *Service) AddRoute(ctx context.Context, who Who, spec RouteSpec) (Route, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	d, err := s.find(ctx, who.Project, spec.Deployment)
	if err != nil {
		return Route{}, err
	}
	if spec.Name == "" {
		spec.Name = d.Name
	}
	r, err := s.newRoute(ctx, who, spec, d)
	if err != nil {
		return Route{}, err
	}
	if err := s.Store.AddRoute(ctx, r); err != nil {
		return Route{}, err
	}
	s.reroute(ctx)
	return r, nil
}

// SetRoute changes deployment, prices and sharing of a route, by id or name, as far as c says so; its name stays.
// Prices ask for Who.Pricing, lower ones for Who.Lowering, sharing and the prices of a shared route for Who.Sharing;
// another deployment asks for what mayLead says.
func (s *Service) SetRoute(ctx context.Context, who Who, name string, c RouteChange) (Route, error) {
	s.changing.Lock() // of two changes at once neither puts back what the other changed
	defer s.changing.Unlock()
	old, err := s.Route(ctx, who.Project, name)
	if err != nil {
		return Route{}, err
	}
	r := c.over(old)
	if err := mayChange(who, old, r, c); err != nil {
		return Route{}, err
	}
	if c.Deployment != "" {
		d, err := s.find(ctx, who.Project, c.Deployment)
		if err != nil {
			return Route{}, err
		}
		if err := s.mayLead(ctx, who, old, d); err != nil {
			return Route{}, err
		}
		r.DeploymentID = d.ID
	}
	if err := checkPrices(r); err != nil {
		return Route{}, err
	}
	r = s.priced(who, r, old)
	if err := s.Store.SetRoute(ctx, r); err != nil {
		return Route{}, err
	}
	s.reroute(ctx)
	return r, nil
}

// over is the route as it is to be.
func (c RouteChange) over(r Route) Route {
	r.Prices = c.Price.Over(r.Prices)
	if c.Shared != nil {
		r.Shared = *c.Shared
	}
	return r
}

// mayChange says whether who may make r of the route old as c asks.
func mayChange(who Who, old, r Route, c RouteChange) error {
	prices := !c.Price.Empty()
	switch {
	case c.Shared != nil && !who.Sharing:
		return mayNotShare("Sharing of a route cannot be changed with this key.")
	case prices && !who.Pricing:
		return mayNotPrice("Prices of a route cannot be changed with this key.")
	case prices && old.Shared && !who.Sharing:
		return mayNotShare("The route is shared with the organisation: its prices cannot be changed with this key.")
	case prices && !who.Lowering && r.Prices.Below(old.Prices):
		return mayNotLower("Prices of a route cannot be lowered with this key.")
	}
	return nil
}

// mayLead keeps a model version from being had at another's price: whoever may not lower prices can move a route only
// to a deployment that usually costs no more than the route does.
func (s *Service) mayLead(ctx context.Context, who Who, r Route, d Deployment) error {
	if d.ID == r.DeploymentID {
		return nil
	}
	if r.Shared && !who.Pricing && !who.Sharing {
		return mayNotShare("The route is shared with the organisation and cannot be moved with this key.")
	}
	if who.Pricing && who.Lowering && (who.Sharing || !r.Shared) {
		return nil
	}
	usual, err := s.usual(ctx, d)
	if err != nil {
		return err
	}
	if r.Prices.Below(usual) {
		return mayNotPrice("The route costs less than " + ref.Quote(d.Name) + " usually does, and cannot be moved there with this key.")
	}
	old, err := s.Store.Deployment(ctx, who.Project, r.DeploymentID)
	if err != nil || old.ModelVersion == d.ModelVersion {
		return err
	}
	return s.mayLeave(ctx, who, old, []Route{r})
}

// mayEnd says whether who may take away those of d's routes that going names. Shared ones ask for Who.Pricing, and the
// last ones of a model version for what mayLeave says.
func (s *Service) mayEnd(ctx context.Context, who Who, d Deployment, going func(Route) bool) error {
	all, err := s.Store.Routes(ctx, who.Project, page.All)
	if err != nil {
		return err
	}
	var gone []Route
	for _, r := range all {
		if !going(r) {
			continue
		}
		if r.Shared && !who.Pricing {
			return mayNotPrice("The route " + ref.Quote(r.Name) + " is shared with the organisation and cannot be removed with this key.")
		}
		gone = append(gone, r)
	}
	return s.mayLeave(ctx, who, d, gone)
}

// mayLeave says whether who may take routes from the model version of d. The last ones keep its price: where that is
// above the installation's, a route made anew would cost less, so that they ask for Who.Pricing and Who.Lowering.
func (s *Service) mayLeave(ctx context.Context, who Who, d Deployment, gone []Route) error {
	base := s.base()
	dear := slices.IndexFunc(gone, func(r Route) bool { return base.Below(r.Prices) })
	if dear < 0 || who.Pricing && who.Lowering {
		return nil
	}
	all, err := s.Store.Routes(ctx, who.Project, page.All)
	if err != nil {
		return err
	}
	same, err := s.serving(ctx, d)
	if err != nil {
		return err
	}
	for _, r := range all {
		if same[r.DeploymentID] && !slices.ContainsFunc(gone, func(g Route) bool { return g.ID == r.ID }) {
			return nil
		}
	}
	return fault.New(fault.Forbidden, "The price of "+d.Model+" is that of its last route, "+ref.Quote(gone[dear].Name)+", and above the usual: without that a new one would cost less.",
		fault.Code("not_allowed"), fault.Fix("Make another route to it first, or use a key that may lower prices."))
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

// usual is the price of a deployment that nobody names one for: the highest that a route of the project to the same
// model version has, or else the installation's.
func (s *Service) usual(ctx context.Context, d Deployment) (meter.Prices, error) {
	routes, err := s.Store.Routes(ctx, d.Project, page.All)
	if err != nil {
		return meter.Prices{}, err
	}
	same, err := s.serving(ctx, d)
	if err != nil {
		return meter.Prices{}, err
	}
	var p meter.Prices
	found := false
	for _, r := range routes {
		if same[r.DeploymentID] {
			p, found = p.Highest(r.Prices), true
		}
	}
	if found {
		return p, nil
	}
	return s.base(), nil
}

// base is the price of a model version that nobody priced.
func (s *Service) base() meter.Prices {
	if s.Price != nil {
		return *s.Price
	}
	return DefaultPrice
}

// serving says which deployments of the project serve the same model version as d, by id.
func (s *Service) serving(ctx context.Context, d Deployment) (map[string]bool, error) {
	all, err := s.Store.Deployments(ctx, d.Project, page.All)
	same := map[string]bool{}
	for _, x := range all {
		same[x.ID] = x.ModelVersion == d.ModelVersion
	}
	return same, err
}

// newRoute makes a route to d, which need not be stored yet.
func (s *Service) newRoute(ctx context.Context, who Who, spec RouteSpec, d Deployment) (Route, error) {
	if err := ref.Check("route.name", spec.Name); err != nil {
		return Route{}, err
	}
	if len(spec.Name) > maxName {
		return Route{}, fault.InvalidField("route.name", "A public name has at most %d bytes.", maxName)
	}
	if !who.Pricing && !spec.Price.Empty() {
		return Route{}, mayNotPrice("Prices of a route cannot be set with this key.")
	}
	if !who.Sharing && spec.Shared {
		return Route{}, mayNotShare("A route cannot be shared with this key.")
	}
	r := Route{ID: s.IDs.New("rte"), Org: who.Org, Project: who.Project, Name: spec.Name, DeploymentID: d.ID,
		Shared: spec.Shared, CreatedAt: s.now()}
	usual, err := s.usual(ctx, d)
	if err != nil {
		return Route{}, err
	}
	r.Prices = spec.Price.Over(usual)
	if !who.Lowering && r.Prices.Below(usual) {
		return Route{}, mayNotLower("The route would cost less than " + ref.Quote(d.Name) + " usually does, which this key cannot ask for.")
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
