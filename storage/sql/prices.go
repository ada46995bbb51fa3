package sql

import (
	"context"

	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/serve"
)

const priceColumns = `id, org, project, route_id, route, price_in, price_cached, price_out, price_reasoning, price_embedding, price_request, created_by, created_at`

// keepPrices stores the version of a route's prices, unless it is stored already.
func keepPrices(ctx context.Context, tx *Tx, r serve.Route) error {
	args := []any{r.Priced.ID, r.Org, r.Project, r.ID, r.Name}
	for _, p := range r.Prices.Each() {
		args = append(args, p)
	}
	_, err := tx.Exec(ctx, "INSERT INTO price_versions ("+priceColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
		append(args, r.Priced.By, micros(r.Priced.At))...)
	return err
}

func scanPrices(s Scanner) (serve.PriceVersion, error) {
	var v serve.PriceVersion
	var at int64
	p := &v.Prices
	err := s.Scan(&v.ID, &v.Org, &v.Project, &v.RouteID, &v.Route, &p.Input, &p.CachedInput, &p.Output, &p.Reasoning, &p.Embedding, &p.Request, &v.By, &at)
	v.At = fromMicros(at)
	return v, err
}

// PriceVersions implements serve.Store.
func (s *Serve) PriceVersions(ctx context.Context, project, route string, p page.Page) (vs []serve.PriceVersion, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		where, args := "project = ?", []any{project}
		if route != "" {
			where, args = "project = ? AND (route_id = ? OR route = ?)", []any{project, route, route}
		}
		vs, err = paged(ctx, tx, scanPrices, p, order{"created_at, id", "nt", true}, "SELECT "+priceColumns+" FROM price_versions WHERE "+where, args...)
		return err
	})
	return vs, err
}

// PriceVersion implements serve.Store.
func (s *Serve) PriceVersion(ctx context.Context, project, org, id string) (v serve.PriceVersion, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		v, err = scanPrices(tx.QueryRow(ctx, "SELECT "+priceColumns+` FROM price_versions WHERE id = ? AND (project = ? OR org = ? AND EXISTS
 (SELECT 1 FROM routes WHERE routes.id = price_versions.route_id AND routes.org = price_versions.org AND routes.shared_name IS NOT NULL))`, id, project, org))
		return missing(err, "There is no version %s of prices.", id)
	})
	return v, err
}
