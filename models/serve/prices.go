package serve

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Priced says which version of a route's prices is in force, who set it and when.
type Priced struct {
	ID string // pv_...
	By string // id of a key; empty for prices older than their versions
	At time.Time
}

// PriceVersion is what a route cost from a moment on. It never changes, and outlives the route: usage records name it.
type PriceVersion struct {
	Priced
	Org     string
	Project string
	RouteID string
	Route   string       // its name
	Prices  meter.Prices // Resolved
}

// priced gives a route that is to be stored the version of its prices: that of old where nothing changed.
func (s *Service) priced(who Who, r, old Route) Route {
	if old.Priced.ID == "" || r.Prices.Resolved() != old.Prices.Resolved() {
		r.Priced = Priced{ID: s.IDs.New("pv"), By: who.Key, At: s.now()}
	}
	return r
}

// PriceVersions lists versions of prices, newest first: those of a route, by id or name, or of all routes of the
// project where none is named, also of those that are gone.
func (s *Service) PriceVersions(ctx context.Context, project, route string, p page.Page) ([]PriceVersion, error) {
	return s.Store.PriceVersions(ctx, project, route, p)
}

// PriceVersion is one of them; of other projects those of routes that are shared with the organisation.
func (s *Service) PriceVersion(ctx context.Context, project, org, id string) (PriceVersion, error) {
	return s.Store.PriceVersion(ctx, project, org, id)
}
