package serve_test

import (
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Each change of a price is a version of its own, which stays when the route goes; nothing else makes one.
func TestEveryPriceHasAVersion(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		s, ctx := w.service(nil), t.Context()
		if _, err := s.Deploy(ctx, who, spec(1)); err != nil {
			t.Fatal(err)
		}
		route := func() serve.Route {
			r, err := s.Route(ctx, project, "m")
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		first := route()
		set := func(c serve.RouteChange) {
			if _, err := s.SetRoute(ctx, who, "m", c); err != nil {
				t.Fatal(err)
			}
		}
		set(serve.RouteChange{Shared: new(true)})
		set(serve.RouteChange{Price: meter.Card{CachedInput: new(first.Prices.Input)}}) // as it followed already
		if got := route(); got.Priced != first.Priced {
			t.Errorf("nothing changed, and the version did: %+v", got)
		}
		set(serve.RouteChange{Price: meter.Card{Request: new(int64(7))}})
		second := route()
		all, err := s.PriceVersions(ctx, project, "m", page.All)
		if err != nil || len(all) != 2 || all[0].Priced != second.Priced || all[1].Priced != first.Priced || all[0].Prices.Request != 7 ||
			all[1].Prices != first.Prices.Resolved() || all[0].By != who.Key || all[0].RouteID != first.ID {
			t.Errorf("%+v, %v", all, err)
		}
		if v, err := s.PriceVersion(ctx, "prj_other", org, first.Priced.ID); err != nil || v.Prices != first.Prices.Resolved() {
			t.Errorf("who shares the route cannot see what it cost: %+v, %v", v, err)
		}
		if err := s.RemoveRoute(ctx, who, "m"); err != nil {
			t.Fatal(err)
		}
		if v, err := s.PriceVersion(ctx, project, org, second.Priced.ID); err != nil || v.Route != "m" {
			t.Errorf("after the route has gone: %+v, %v", v, err)
		}
		for _, stranger := range [][2]string{{"prj_other", org}, {"prj_other", "org_other"}} {
			if _, err := s.PriceVersion(ctx, stranger[0], stranger[1], second.Priced.ID); !fault.Is(err, fault.NotFound) {
				t.Errorf("%v sees it: %v", stranger, err)
			}
		}
	})
}
