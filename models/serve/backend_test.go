package serve_test

import (
	"crypto/rand"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/engine/remote"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// abroad gives a service a provider "far".
func abroad(t *testing.T, w *world, s *serve.Service) provider.Provider {
	t.Helper()
	s.Providers = &provider.Service{Store: w.db.Providers(), Box: must(seal.New(make([]byte, seal.KeySize), rand.Reader)), IDs: id.Default(), Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Driver: func(u provider.Upstream) provider.Driver {
			return remote.New(remote.Options{URL: u.URL, Now: time.Now})
		}}
	return must(s.Providers.Add(t.Context(), provider.Who{Org: org, Project: project}, provider.Spec{Name: "far", URL: "https://api.example.org/v1", Key: "secret"}))
}

// A route leads to tiers of deployments and of providers' models, under all its names, and goes on with what is left.
func TestBackendsOfRoutes(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		far := abroad(t, w, s)
		must(0, w.deployOnce(ctx, s, "a"))
		must(0, w.deployOnce(ctx, s, "b"))
		r := must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "wide", Aliases: []string{"broad", "b/w"}, Policy: serve.PolicyChange{Concurrency: new(3)},
			Backends: []serve.BackendSpec{{Provider: "far", Model: "large", Weight: new(3)}, {Deployment: "b", Tier: 5}, {Deployment: "a", Weight: new(0)}, {Provider: far.ID, Model: "small", Tier: 5}}}))
		a, b := must(s.Get(ctx, project, "a")), must(s.Get(ctx, project, "b"))
		want := []serve.Backend{{Weight: 3, Provider: far.ID, Model: "large"}, {Deployment: a.ID}, {Tier: 1, Weight: 1, Deployment: b.ID}, {Tier: 1, Weight: 1, Provider: far.ID, Model: "small"}}
		if !slices.Equal(r.Backends, want) {
			t.Errorf("%+v", r.Backends)
		}
		must(0, s.Reconcile(ctx))
		for _, name := range []string{"wide", "broad", "b/w"} {
			x, ok := s.Snapshot().Lookup(project, org, name)
			if !ok || len(x.Backends) != 4 || x.Route.Policy.Concurrency != 3 || x.Context() != 0 || !x.Serves() {
				t.Fatalf("%s is %+v", name, x)
			}
			if u := x.Backends[0]; u.ID != far.ID+"/large" || u.Name != "large" || u.Model != "far/large" || !u.Outside() || len(u.Endpoints) != 1 {
				t.Errorf("%+v", u)
			}
			if got := must(s.Route(ctx, project, name)); got.ID != r.ID {
				t.Errorf("%s is %s", name, got.ID)
			}
		}
		listed := 0
		for _, x := range s.Snapshot().List(project, org) {
			if x.Route.ID == r.ID {
				listed++
			}
		}
		if listed != 1 {
			t.Errorf("it is listed %d times", listed)
		}
		must(s.Remove(ctx, who, "b"))
		if got := must(s.Route(ctx, project, "wide")); !slices.Equal(got.Backends, slices.Delete(slices.Clone(want), 2, 3)) {
			t.Errorf("without b it leads to %+v", got.Backends)
		}
		for name, spec := range map[string]serve.RouteSpec{
			"its name":          {Name: "wide", Deployment: "a"},
			"its alias":         {Name: "broad", Deployment: "a"},
			"a name as alias":   {Name: "new", Aliases: []string{"wide"}, Deployment: "a"},
			"an alias as alias": {Name: "new", Aliases: []string{"b/w"}, Deployment: "a"},
		} {
			if _, err := s.AddRoute(ctx, who, spec); !fault.Is(err, fault.Conflict) {
				t.Errorf("%s was taken: %v", name, err)
			}
		}
		if _, err := s.SetRoute(ctx, who, "broad", serve.RouteChange{Aliases: &[]string{"new"}}); err != nil {
			t.Error(err)
		}
		if _, ok := s.Snapshot().Lookup(project, org, "broad"); ok {
			t.Error("an alias that was taken away is known")
		}
		if _, ok := s.Snapshot().Lookup(project, org, "new"); !ok {
			t.Error("a new alias is not known")
		}
		must(0, s.RemoveRoute(ctx, who, "new"))
		must(0, s.Providers.Remove(ctx, provider.Who{Project: project}, "far"))
	})
}

func TestBackendsAreChecked(t *testing.T) {
	ctx, w := t.Context(), newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	must(0, w.deployOnce(ctx, s, "a"))
	if _, err := s.AddRoute(ctx, who, serve.RouteSpec{Name: "x", Backends: []serve.BackendSpec{{Provider: "far", Model: "m"}}}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("without providers: %v", err)
	}
	abroad(t, w, s)
	many := make([]serve.BackendSpec, serve.MaxBackends+1)
	for i := range many {
		many[i] = serve.BackendSpec{Provider: "far", Model: string(rune('a' + i))}
	}
	for name, list := range map[string][]serve.BackendSpec{
		"nothing named":  {{}},
		"two named":      {{Deployment: "a", Provider: "far", Model: "m"}},
		"no model":       {{Provider: "far"}},
		"an odd model":   {{Provider: "far", Model: "a\r\nb"}},
		"a weight below": {{Deployment: "a", Weight: new(-1)}},
		"a weight above": {{Deployment: "a", Weight: new(serve.MaxWeight + 1)}},
		"a tier below":   {{Deployment: "a", Tier: -1}},
		"a tier above":   {{Deployment: "a", Tier: serve.MaxTiers}},
		"twice":          {{Deployment: "a"}, {Deployment: "a"}},
		"too many":       many,
	} {
		if _, err := s.AddRoute(ctx, who, serve.RouteSpec{Name: "x", Backends: list}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, list := range [][]serve.BackendSpec{{{Deployment: "nothing"}}, {{Provider: "nothing", Model: "m"}}} {
		if _, err := s.AddRoute(ctx, who, serve.RouteSpec{Name: "x", Backends: list}); !fault.Is(err, fault.NotFound) {
			t.Errorf("%+v: %v", list, err)
		}
	}
	for _, p := range []serve.PolicyChange{{Concurrency: new(-1)}, {Queue: new(1 << 20)}, {WakeMS: new(1 << 30)}} {
		if _, err := s.AddRoute(ctx, who, serve.RouteSpec{Name: "x", Deployment: "a", Policy: p}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// A provider's model has its usual price as a model version has, and a mixed route costs no less than the dearest of them.
func TestPricesOfBackends(t *testing.T) {
	ctx, w := t.Context(), newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	s.Price = new(meter.Flat(3, 4))
	abroad(t, w, s)
	must(0, w.deployOnce(ctx, s, "a"))
	to := func(names ...string) (list []serve.BackendSpec) {
		for _, n := range names {
			if n == "a" {
				list = append(list, serve.BackendSpec{Deployment: n})
			} else {
				list = append(list, serve.BackendSpec{Provider: "far", Model: n})
			}
		}
		return list
	}
	dear := must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "dear", Backends: to("x"), Price: meter.Card{Input: new(int64(50)), Output: new(int64(60))}}))
	if r := must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "mixed", Backends: to("y", "x")})); r.Prices.Input != 50 || r.Prices.Output != 60 {
		t.Errorf("a mixed route costs %+v", r.Prices)
	}
	if r := must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "other", Backends: to("z")})); r.Prices.Input != 3 {
		t.Errorf("a model that nobody priced costs %+v", r.Prices)
	}
	developer := serve.Who{Org: org, Project: project}
	for name, err := range map[string]error{
		"moved to a dearer model": func() error {
			_, err := s.SetRoute(ctx, developer, "other", serve.RouteChange{Backends: to("x")})
			return err
		}(),
		"a dearer model added": func() error {
			_, err := s.SetRoute(ctx, developer, "other", serve.RouteChange{Backends: to("z", "x")})
			return err
		}(),
		"priced": func() error {
			_, err := s.AddRoute(ctx, developer, serve.RouteSpec{Name: "n", Backends: to("z"), Price: meter.Card{Input: new(int64(1))}})
			return err
		}(),
	} {
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(0, s.RemoveRoute(ctx, who, "mixed"))
	if err := s.RemoveRoute(ctx, developer, dear.Name); !fault.Is(err, fault.Forbidden) {
		t.Errorf("the last route that keeps the price was removed: %v", err)
	}
	if _, err := s.SetRoute(ctx, developer, dear.Name, serve.RouteChange{Backends: to("z")}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("the last route that keeps the price was moved: %v", err)
	}
}

func TestWakeGivesOneReplica(t *testing.T) {
	ctx, w := t.Context(), newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	must(0, w.deployOnce(ctx, s, "a"))
	d := must(s.Scale(ctx, project, "a", 0))
	told := 0
	s.Woken = func() { told++ }
	for range 3 {
		must(0, s.Wake(ctx, project, d.ID))
	}
	if got := must(s.Get(ctx, project, "a")); got.Replicas != 1 || told != 1 {
		t.Errorf("%d replicas, told %d times", got.Replicas, told)
	}
	must(s.Scale(ctx, project, "a", 3))
	must(0, s.Wake(ctx, project, d.ID))
	if got := must(s.Get(ctx, project, "a")); got.Replicas != 3 {
		t.Errorf("%d replicas", got.Replicas)
	}
	if err := s.Wake(ctx, "prj_b", d.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another project's: %v", err)
	}
}
