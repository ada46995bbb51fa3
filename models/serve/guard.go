package serve

import (
	"context"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/ref"
)

// guarded gives a route the guard that a change asks for, and keeps guards from guarding each other. Inner addresses ask
// for Who.Private.
func (s *Service) guarded(ctx context.Context, who Who, r *Route, change *guard.Change) error {
	old := r.Policy.Guard
	p, key, err := change.Over(old)
	if err != nil {
		return err
	}
	if p.Private && (!old.Private || p.URL != old.URL) && !who.Private {
		return fault.New(fault.Forbidden, "Inner addresses cannot be allowed with this key.", fault.Code("not_allowed"),
			fault.Field("route.policy.guard.allow_private"), fault.Fix("Ask whoever operates this installation: it takes the scope platform."))
	}
	if key != "" {
		if s.Box == nil {
			return fault.New(fault.Unsupported, "This installation keeps no keys.", fault.Field("route.policy.guard.key"))
		}
		if p.Sealed, err = s.Box.Seal(guard.Purpose(r.ID), []byte(key)); err != nil {
			return err
		}
	}
	r.Policy.Guard = p
	return s.checkGuards(ctx, *r)
}

// checkGuards refuses a route with which a model that judges would itself be judged: such a judgement might never end.
func (s *Service) checkGuards(ctx context.Context, r Route) error {
	all, err := s.Store.AllRoutes(ctx)
	if err != nil {
		return err
	}
	all = append(slices.DeleteFunc(all, func(x Route) bool { return x.ID == r.ID || x.Org != r.Org }), r)
	for i := range all {
		x := &all[i]
		if x.Policy.Guard.Model == "" {
			continue
		}
		switch judge := meant(all, x, x.Policy.Guard.Model); {
		case judge == nil && x.ID == r.ID:
			return fault.New(fault.Invalid, "There is no model "+ref.Quote(x.Policy.Guard.Model)+" that could judge.", fault.Field("route.policy.guard.model"),
				fault.Fix("See `triarch route ls`."))
		case judge == nil:
		case judge.ID == x.ID, judge.Policy.Guard.On():
			return fault.New(fault.Conflict, "The model "+ref.Quote(judge.Name)+" judges "+ref.Quote(x.Name)+" and would be judged itself.",
				fault.Code("guard_loop"), fault.Field("route.policy.guard"), fault.Fix("Let a model judge whose route has no guard."))
		}
	}
	return nil
}

// meant is the route that a name means to the project of another route, as Table.Lookup finds it.
func meant(all []Route, from *Route, name string) *Route {
	var best *Route
	rank := 0
	for i := range all {
		r := &all[i]
		own, named := r.Project == from.Project, r.Name == name
		if !named && !slices.Contains(r.Aliases, name) || !own && !r.Shared {
			continue
		}
		n := 1
		if own {
			n += 2
		}
		if named {
			n++
		}
		if n > rank {
			best, rank = r, n
		}
	}
	return best
}
