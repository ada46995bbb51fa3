package serve_test

import (
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Whoever may set prices but not lower them can raise them, and has a model at no less than usual by no way; whoever
// may not share leaves shared routes as they are.
func TestLoweringAndSharingAreRightsOfTheirOwn(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		s.Price = new(meter.Flat(3, 4))
		bounded, narrow := who, who
		bounded.Lowering, narrow.Sharing = false, false
		must(0, w.deployOnce(ctx, s, "a"))
		must(0, w.deployOnce(ctx, s, "b"))
		add := func(by serve.Who, r serve.RouteSpec) error {
			r.Deployment = "a"
			_, err := s.AddRoute(ctx, by, r)
			return err
		}
		set := func(by serve.Who, name string, c serve.RouteChange) error {
			_, err := s.SetRoute(ctx, by, name, c)
			return err
		}
		must(0, add(who, serve.RouteSpec{Name: "usual", Price: meter.Card{Input: new(int64(10)), Output: new(int64(10))}}))
		must(0, add(who, serve.RouteSpec{Name: "free", Price: meter.Card{Input: new(int64(0))}}))
		must(0, add(who, serve.RouteSpec{Name: "everybodys", Shared: true}))
		less, more, yes, no := new(int64(9)), new(int64(20)), new(true), new(false)
		deploy := spec(1)
		deploy.Name, deploy.Route = "c", &serve.RouteSpec{Price: meter.Card{Output: less}}
		_, deployed := s.Deploy(ctx, bounded, deploy)
		for name, err := range map[string]error{
			"deployed below the usual price":         deployed,
			"a price in below the usual":             add(bounded, serve.RouteSpec{Name: "x", Price: meter.Card{Input: less}}),
			"a price out below the usual":            add(bounded, serve.RouteSpec{Name: "x", Price: meter.Card{Output: less}}),
			"a price in lowered":                     set(bounded, "usual", serve.RouteChange{Price: meter.Card{Input: less, Output: more}}),
			"a price out lowered":                    set(bounded, "usual", serve.RouteChange{Price: meter.Card{Output: less}}),
			"a shared price lowered":                 set(bounded, "everybodys", serve.RouteChange{Price: meter.Card{Output: less}}),
			"a cheap route moved":                    set(bounded, "free", serve.RouteChange{Deployment: "b"}),
			"shared without the right":               add(narrow, serve.RouteSpec{Name: "x", Shared: true}),
			"made shared without the right":          set(narrow, "usual", serve.RouteChange{Shared: yes}),
			"no longer shared without the right":     set(narrow, "everybodys", serve.RouteChange{Shared: no}),
			"a shared price raised without":          set(narrow, "everybodys", serve.RouteChange{Price: meter.Card{Input: more}}),
			"a shared price lowered without":         set(narrow, "everybodys", serve.RouteChange{Price: meter.Card{Input: less}}),
			"unshared and lowered without the right": set(narrow, "everybodys", serve.RouteChange{Shared: no, Price: meter.Card{Input: less}}),
		} {
			if !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, err := range map[string]error{
			"the usual price":         add(bounded, serve.RouteSpec{Name: "same"}),
			"a higher one":            add(bounded, serve.RouteSpec{Name: "dear", Price: meter.Card{Input: more, Output: more}}),
			"raised":                  set(bounded, "usual", serve.RouteChange{Price: meter.Card{Input: more, Output: more}}),
			"a dear one moved":        set(bounded, "dear", serve.RouteChange{Deployment: "b"}),
			"shared at what it costs": set(bounded, "dear", serve.RouteChange{Shared: yes}),
			"lowered, not shared":     set(narrow, "same", serve.RouteChange{Price: meter.Card{Input: less}}),
			"moved, not shared":       set(narrow, "same", serve.RouteChange{Deployment: "b"}),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// The price of a model version does not fall because its routes go: the last dear one stays, whichever way it would be
// taken away, unless another route keeps the price or whoever asks may lower prices.
func TestTheLastRouteKeepsThePrice(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		s.Price = new(meter.Flat(3, 4))
		developer, bounded := who, who
		developer.Pricing, developer.Lowering, developer.Sharing = false, false, false
		bounded.Lowering = false
		other := w.version
		other.ID = id.Default().New("mv")
		other = must(db.Registry().Add(ctx, registry.Model{ID: id.Default().New("mdl"), Project: project, Name: "other"}, other))
		must(0, w.deployOnce(ctx, s, "a"))
		elsewhere := spec(1)
		elsewhere.Name, elsewhere.Model, elsewhere.Route = "elsewhere", other.ID, nil
		must(s.Deploy(ctx, who, elsewhere))
		add := func(name string, by serve.Who, out int64, shared bool) {
			must(s.AddRoute(ctx, by, serve.RouteSpec{Name: name, Deployment: "a", Price: meter.Card{Input: new(int64(3)), Output: &out}, Shared: shared}))
		}
		move := func(by serve.Who, to string) error {
			_, err := s.SetRoute(ctx, by, "dear", serve.RouteChange{Deployment: to})
			return err
		}
		remove := func(by serve.Who) error {
			_, err := s.Remove(ctx, by, "a")
			return err
		}
		add("dear", who, 5, false)
		for _, by := range []serve.Who{developer, bounded} {
			for way, err := range map[string]error{"removed": s.RemoveRoute(ctx, by, "dear"), "removed with its deployment": remove(by), "moved": move(by, "elsewhere")} {
				if !fault.Is(err, fault.Forbidden) {
					t.Errorf("the last dear route was %s: %v", way, err)
				}
			}
		}
		must(s.AddRoute(ctx, developer, serve.RouteSpec{Name: "keeps", Deployment: "a"}))
		must(0, move(developer, "elsewhere"))
		must(0, move(who, "a"))
		must(0, s.RemoveRoute(ctx, developer, "dear"))
		if err := s.RemoveRoute(ctx, developer, "keeps"); !fault.Is(err, fault.Forbidden) {
			t.Errorf("the next last one was removed: %v", err)
		}
		must(0, s.RemoveRoute(ctx, who, "keeps"))

		add("everybodys", who, 4, true)
		add("usual", who, 4, false)
		for way, err := range map[string]error{"by itself": s.RemoveRoute(ctx, developer, "everybodys"), "with its deployment": remove(developer)} {
			if !fault.Is(err, fault.Forbidden) {
				t.Errorf("a shared route was removed %s: %v", way, err)
			}
		}
		must(0, s.RemoveRoute(ctx, bounded, "everybodys"))
		must(0, remove(developer)) // at the usual price the last route keeps nothing
	})
}
