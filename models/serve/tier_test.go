package serve_test

import (
	"testing"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// What a service tier costs is for whoever sets prices, and what costs less for whoever may lower them; it is kept.
func TestTiersAreForWhoSetsPrices(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		must(0, w.deployOnce(ctx, s, "a"))
		flex, priority := &api.Tier{Percent: 50, Weight: 25}, &api.Tier{Percent: 150, Weight: 400, Flagged: true}
		r := must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "r", Deployment: "a", Policy: serve.PolicyChange{Flex: flex, Priority: priority}}))
		if got := must(s.Route(ctx, project, "r")).Policy; got != r.Policy || got.Flex != *flex || got.Priority != *priority || !got.Tiered() {
			t.Errorf("%+v", got)
		}
		plain, pricing := who, who
		plain.Pricing, plain.Lowering = false, false
		pricing.Lowering = false
		set := func(who serve.Who, c serve.PolicyChange) error {
			_, err := s.SetRoute(ctx, who, "r", serve.RouteChange{Policy: c})
			return err
		}
		for name, x := range map[string]struct {
			who serve.Who
			c   serve.PolicyChange
			ok  bool
		}{
			"no prices":            {plain, serve.PolicyChange{Priority: &api.Tier{Percent: 160}}, false},
			"the same":             {plain, serve.PolicyChange{Priority: priority}, true},
			"cheaper":              {pricing, serve.PolicyChange{Flex: &api.Tier{Percent: 49}}, false},
			"a discount for all":   {pricing, serve.PolicyChange{Priority: &api.Tier{Percent: 99}}, false},
			"dearer":               {pricing, serve.PolicyChange{Flex: &api.Tier{Percent: 51, Weight: 25}}, true},
			"cheaper by who may":   {who, serve.PolicyChange{Flex: flex}, true},
			"taken away":           {pricing, serve.PolicyChange{Flex: &api.Tier{}}, true},
			"a new one that is it": {pricing, serve.PolicyChange{Flex: &api.Tier{Percent: 50}}, false},
		} {
			must(s.SetRoute(ctx, who, "r", serve.RouteChange{Policy: serve.PolicyChange{Flex: flex, Priority: priority}}))
			if name == "a new one that is it" {
				must(s.SetRoute(ctx, who, "r", serve.RouteChange{Policy: serve.PolicyChange{Flex: &api.Tier{}}}))
			}
			if err := set(x.who, x.c); (err == nil) != x.ok || err != nil && !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, bad := range []api.Tier{{Percent: -1}, {Percent: 10_001}, {Weight: 5}, {Flagged: true}, {Percent: 1, Weight: 10_001}, {Percent: 1, Weight: -1}} {
			if err := set(who, serve.PolicyChange{Flex: &bad}); !fault.Is(err, fault.Invalid) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		for name, policy := range map[string]serve.PolicyChange{"any": {Priority: priority}, "cheaper": {Flex: flex}} {
			for _, by := range []serve.Who{plain, pricing} {
				_, err := s.AddRoute(ctx, by, serve.RouteSpec{Name: "n-" + name, Deployment: "a", Policy: policy})
				if ok := by.Pricing && name == "any"; (err == nil) != ok {
					t.Errorf("a new route with %s: %v", name, err)
				}
			}
		}
	})
}
