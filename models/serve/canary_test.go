package serve_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// counted is what one life of a gateway has counted of a step: so many answers on each side, of which so many failed.
func counted(r serve.Route, trial, trialFailed, stable, stableFailed int64) []canary.Count {
	arm := func(n, failed int64) canary.Arm {
		a := canary.Arm{Answers: n, Failed: failed}
		for range n - failed {
			a.First.Note(80 * time.Millisecond)
		}
		return a
	}
	return []canary.Count{{Key: canary.Key{Canary: r.Canary.ID, Step: r.Canary.Step}, Trial: arm(trial, trialFailed), Stable: arm(stable, stableFailed)}}
}

// trialWorld has a route "r" to the deployment a, a fallback to b, and a deployment c to try.
func trialWorld(t *testing.T, db *sql.DB) (*world, *serve.Service) {
	t.Helper()
	w := newWorld(t, db)
	s := w.service(nil)
	for _, name := range []string{"a", "b", "c"} {
		must(0, w.deployOnce(t.Context(), s, name))
	}
	must(s.AddRoute(t.Context(), who, serve.RouteSpec{Name: "r", Backends: []serve.BackendSpec{{Deployment: "a"}, {Deployment: "b", Tier: 1}, {Deployment: "c", Tier: 2}}}))
	w.settle(t, s)
	return w, s
}

func rule() canary.Rule { return canary.Rule{Steps: []int{10, 50, 100}, After: 40} }

// A canary that does well goes from step to step and in the end takes the place of what it was tried against, whatever
// gateways die and start again, and whenever the control plane does.
func TestACanaryIsPromoted(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		w, s := trialWorld(t, db)
		r := must(s.StartCanary(ctx, who, "r", serve.CanarySpec{Backend: serve.BackendSpec{Deployment: "c", Tier: 5, Weight: new(7)}, Rule: rule()}))
		b, c := must(s.Get(ctx, project, "b")), must(s.Get(ctx, project, "c"))
		x, _ := s.Snapshot().Lookup(project, org, "r")
		if x.Trial == nil || x.Trial.Percent != 10 || x.Trial.Via.ID != c.ID || len(x.Trial.Via.Endpoints) != 1 || x.Trial.Via.Weight != 1 || len(x.Backends) != 3 {
			t.Fatalf("%+v", x)
		}
		if y, _ := s.Snapshot().Lookup(project, org, "r"); y != x {
			t.Error("the table changes by itself")
		}
		store := db.Serve()
		// Two gateways, one of which dies after it told 15 and counts anew: 15 + 20 + 8 are 43, however often they are told.
		for range 3 {
			must(store.TellCounts(ctx, "one", counted(r, 15, 0, 100, 1)))
			must(store.TellCounts(ctx, "two", counted(r, 20, 0, 80, 0)))
		}
		must(0, s.JudgeCanaries(ctx))
		if got := must(s.Route(ctx, project, "r")); got.Canary.Step != 0 || got.Canary.Looks == 0 {
			t.Fatalf("after 35 answers it is at %+v", got.Canary)
		}
		must(store.TellCounts(ctx, "one again", counted(r, 8, 0, 10, 0)))
		trial, stable, err := store.CanaryCounts(ctx, r.Canary.ID, 0)
		if err != nil || trial.Answers != 43 || stable.Answers != 190 || stable.Failed != 1 {
			t.Fatalf("%+v, %+v, %v", trial, stable, err)
		}
		s = w.service(nil) // another control plane goes on
		must(0, s.Reconcile(ctx))
		must(0, s.JudgeCanaries(ctx))
		must(0, s.JudgeCanaries(ctx))
		old := r
		if r = must(s.Route(ctx, project, "r")); r.Canary == nil || r.Canary.Step != 1 || r.Canary.Looks != 0 || r.Canary.Percent() != 50 {
			t.Fatalf("%+v", r.Canary)
		}
		if gone := must(store.TellCounts(ctx, "two", counted(old, 30, 30, 90, 0))); len(gone) != 1 {
			t.Errorf("what is told of a step that is over: %v", gone)
		}
		must(store.TellCounts(ctx, "two", counted(r, 60, 0, 60, 0)))
		must(0, s.JudgeCanaries(ctx))
		if r = must(s.Route(ctx, project, "r")); r.Canary != nil || !slices.Equal(r.Backends, []serve.Backend{{Weight: 1, Deployment: c.ID}, {Tier: 1, Weight: 1, Deployment: b.ID}}) {
			t.Fatalf("%+v, %+v", r.Canary, r.Backends)
		}
		if x, _ := s.Snapshot().Lookup(project, org, "r"); x.Trial != nil || x.Backends[0].ID != c.ID {
			t.Errorf("%+v", x)
		}
		last, events, err := s.Canary(ctx, project, "r")
		if err != nil || last.State != serve.CanaryPromoted || last.Percent() != 100 {
			t.Errorf("%+v, %v", last, err)
		}
		var told []string
		for i, e := range events {
			if e.What != "held" {
				told = append(told, e.What)
			}
			if e.Number != i+1 || e.Why == "" || e.At.IsZero() {
				t.Errorf("%+v", e)
			}
		}
		if !slices.Equal(told, []string{"started", "promoted", "promoted"}) || events[len(events)-1].Trial.Answers != 60 || events[len(events)-1].To != 100 {
			t.Errorf("%v, %+v", told, events)
		}
	})
}

// One that does badly is taken back, and the route is what it was; a paused one as well, but it is not promoted.
func TestACanaryIsTakenBack(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		_, s := trialWorld(t, db)
		before := must(s.Route(ctx, project, "r"))
		start := func() serve.Route {
			t.Helper()
			return must(s.StartCanary(ctx, who, "r", serve.CanarySpec{Backend: serve.BackendSpec{Deployment: "c"}, Rule: rule()}))
		}
		r := start()
		must(s.SteerCanary(ctx, who, "r", serve.PauseCanary))
		// Looks are taken while it is paused, each once, whatever is counted between two of them.
		for _, n := range []struct{ answers, failed int64 }{{20, 0}, {25, 12}, {100, 0}, {110, 60}} {
			must(db.Serve().TellCounts(ctx, "one", counted(r, n.answers, n.failed, n.answers, 0)))
			must(0, s.JudgeCanaries(ctx))
			if got := must(s.Route(ctx, project, "r")); got.Canary == nil || got.Canary.State != serve.CanaryPaused || got.Canary.Step != 0 || got.Canary.Percent() != 10 {
				t.Fatalf("paused, after %d answers: %+v", n.answers, got.Canary)
			}
		}
		must(db.Serve().TellCounts(ctx, "one", counted(r, 200, 50, 200, 0)))
		must(0, s.JudgeCanaries(ctx))
		got := must(s.Route(ctx, project, "r"))
		if got.Canary != nil || !slices.Equal(got.Backends, before.Backends) {
			t.Errorf("%+v, %+v", got.Canary, got.Backends)
		}
		if x, _ := s.Snapshot().Lookup(project, org, "r"); x.Trial != nil {
			t.Errorf("%+v", x.Trial)
		}
		c, events, err := s.Canary(ctx, project, "r")
		if e := events[len(events)-1]; err != nil || c.State != serve.CanaryBack || e.What != "rolled_back" || e.To != 0 || e.Trial.Failed != 50 || e.By != "" {
			t.Errorf("%+v, %+v, %v", c, e, err)
		}
		// By hand: on to the next step whatever was counted, to the end, and away.
		start()
		if r = must(s.SteerCanary(ctx, who, "r", serve.PromoteCanary)); r.Canary.Percent() != 50 {
			t.Errorf("%+v", r.Canary)
		}
		if r = must(s.SteerCanary(ctx, who, "r", serve.AbortCanary)); r.Canary != nil || !slices.Equal(r.Backends, before.Backends) {
			t.Errorf("%+v", r)
		}
		for _, what := range []serve.Steer{serve.PauseCanary, serve.ResumeCanary, serve.PromoteCanary, serve.AbortCanary} {
			if _, err := s.SteerCanary(ctx, who, "r", what); !fault.Is(err, fault.Conflict) {
				t.Errorf("%s of nothing: %v", what, err)
			}
		}
		start()
		if _, err := s.SteerCanary(ctx, who, "r", serve.ResumeCanary); !fault.Is(err, fault.Conflict) {
			t.Errorf("resumed what runs: %v", err)
		}
		must(s.SteerCanary(ctx, who, "r", serve.PromoteCanary))
		if r = must(s.SteerCanary(ctx, who, "r", serve.PromoteCanary)); r.Canary != nil || r.Backends[0].Deployment == before.Backends[0].Deployment || len(r.Backends) != 2 {
			t.Errorf("%+v", r)
		}
	})
}

var errPower = errors.New("the power went")

// deafStore stores what it is given and says that it failed, or fails without.
type deafStore struct {
	serve.Store
	before, after bool
}

func (d *deafStore) MoveCanary(c context.Context, x serve.Canary, e serve.CanaryEvent) error {
	if d.before {
		d.before = false
		return errPower
	}
	err := d.Store.MoveCanary(c, x, e)
	if d.after {
		d.after = false
		return errPower
	}
	return err
}

// Whatever is lost around a decision, it is made once.
func TestADecisionIsMadeOnce(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		w, _ := trialWorld(t, db)
		for _, d := range []*deafStore{{before: true}, {after: true}} {
			s := w.service(nil)
			must(0, s.Reconcile(ctx))
			r := must(s.StartCanary(ctx, who, "r", serve.CanarySpec{Backend: serve.BackendSpec{Deployment: "c"}, Rule: rule()}))
			must(db.Serve().TellCounts(ctx, "one", counted(r, 50, 0, 50, 0)))
			d.Store = s.Store
			s.Store = d
			if err := s.JudgeCanaries(ctx); !errors.Is(err, errPower) {
				t.Errorf("%v", err)
			}
			s = w.service(nil)
			must(0, s.JudgeCanaries(ctx))
			must(0, s.JudgeCanaries(ctx))
			if r = must(s.Route(ctx, project, "r")); r.Canary.Step != 1 {
				t.Errorf("%+v is at %+v", d, r.Canary)
			}
			stale := *r.Canary
			stale.Version--
			if err := db.Serve().MoveCanary(ctx, stale, serve.CanaryEvent{What: "promoted"}); !fault.Is(err, fault.Conflict) {
				t.Errorf("an old decision: %v", err)
			}
			if _, events, _ := s.Canary(ctx, project, "r"); len(events) != 2 {
				t.Errorf("%+v", events)
			}
			must(s.SteerCanary(ctx, who, "r", serve.AbortCanary))
		}
	})
}

// What cannot be tried is refused, and what goes away ends its trial.
func TestCanariesAreChecked(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		w, s := trialWorld(t, db)
		far := abroad(t, w, s)
		start := func(who serve.Who, b serve.BackendSpec, r canary.Rule) error {
			_, err := s.StartCanary(ctx, who, "r", serve.CanarySpec{Backend: b, Rule: r})
			return err
		}
		for kind, errs := range map[fault.Kind][]error{
			fault.Invalid: {start(who, serve.BackendSpec{}, rule()), start(who, serve.BackendSpec{Deployment: "a"}, rule()),
				start(who, serve.BackendSpec{Deployment: "c"}, canary.Rule{Steps: []int{1}})},
			fault.NotFound: {start(who, serve.BackendSpec{Deployment: "z"}, rule())},
		} {
			for i, err := range errs {
				if !fault.Is(err, kind) {
					t.Errorf("%s %d: %v", kind, i, err)
				}
			}
		}
		must(s.Scale(ctx, project, "c", 0))
		w.settle(t, s)
		if err := start(who, serve.BackendSpec{Deployment: "c"}, rule()); !fault.Is(err, fault.Conflict) {
			t.Errorf("of what does not answer: %v", err)
		}
		must(s.Scale(ctx, project, "c", 1))
		w.settle(t, s)
		// Whoever may not lower prices cannot try what usually costs more.
		must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "dear", Backends: []serve.BackendSpec{{Provider: "far", Model: "m"}}, Price: meter.Card{Input: new(int64(9_000_000)), Output: new(int64(9_000_000))}}))
		plain := who
		plain.Pricing, plain.Lowering = false, false
		if err := start(plain, serve.BackendSpec{Provider: "far", Model: "m"}, rule()); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a dearer model: %v", err)
		}
		must(0, start(who, serve.BackendSpec{Provider: "far", Model: "m"}, rule()))
		if _, err := s.SteerCanary(ctx, plain, "r", serve.PromoteCanary); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a dearer model by hand: %v", err)
		}
		if err := start(who, serve.BackendSpec{Deployment: "c"}, rule()); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second one: %v", err)
		}
		if _, err := s.SetRoute(ctx, who, "r", serve.RouteChange{Deployment: "b"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("moved while it runs: %v", err)
		}
		must(s.SetRoute(ctx, who, "r", serve.RouteChange{Policy: serve.PolicyChange{Concurrency: new(3)}}))
		must(0, s.RemoveRoute(ctx, who, "dear"))
		if err := s.Providers.Remove(ctx, provider.Who{Project: project}, far.ID); !fault.Is(err, fault.Conflict) {
			t.Errorf("its provider went: %v", err)
		}
		must(s.SteerCanary(ctx, who, "r", serve.AbortCanary))
		r := must(s.StartCanary(ctx, who, "r", serve.CanarySpec{Backend: serve.BackendSpec{Deployment: "c"}, Rule: rule()}))
		must(db.Serve().TellCounts(ctx, "one", counted(r, 50, 0, 50, 0)))
		must(s.Remove(ctx, who, "c"))
		if r = must(s.Route(ctx, project, "r")); r.Canary != nil || len(r.Backends) != 2 {
			t.Errorf("%+v", r)
		}
		c, events, err := s.Canary(ctx, project, "r")
		if err != nil || c.State != serve.CanaryAborted || len(events) != 2 || events[1].At.IsZero() {
			t.Errorf("%+v, %+v, %v", c, events, err)
		}
		must(0, s.JudgeCanaries(ctx))
		must(0, s.RemoveRoute(ctx, who, "r"))
		if _, _, err := db.Serve().CanaryOf(ctx, project, r.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("of a route that is gone: %v", err)
		}
	})
}

// A gateway of its own knows the canary, and loses a replica of it that cannot be reached.
func TestFollowersKnowCanaries(t *testing.T) {
	db := sqltest.Open(t, sqltest.SQLite(t))
	ctx := t.Context()
	w, s := trialWorld(t, db)
	must(s.StartCanary(ctx, who, "r", serve.CanarySpec{Backend: serve.BackendSpec{Deployment: "c"}, Rule: rule()}))
	publication := must(s.Publication())
	f := &serve.Follower{Store: db.Serve(), Engines: map[string]engine.Engine{"fake": w.engine}, Now: time.Now, Read: func(context.Context, int64) (int64, []byte, error) { return 1, publication, nil }}
	must(0, f.Follow(ctx))
	x, ok := f.Snapshot().Lookup(project, org, "r")
	if !ok || x.Trial == nil || x.Trial.Percent != 10 || len(x.Trial.Via.Endpoints) != 1 {
		t.Fatalf("%+v", x)
	}
	f.Suspect(x.Trial.Via.Endpoints[0].Replica)
	if y, _ := f.Snapshot().Lookup(project, org, "r"); len(y.Trial.Via.Endpoints) != 0 || len(x.Trial.Via.Endpoints) != 1 {
		t.Errorf("%+v", y.Trial.Via)
	}
}

func TestReplaced(t *testing.T) {
	d := func(tier int, name string) serve.Backend {
		return serve.Backend{Tier: tier, Weight: 2, Deployment: name}
	}
	by := serve.Backend{Weight: 1, Deployment: "new"}
	for name, x := range map[string]struct{ old, want []serve.Backend }{
		"one":              {[]serve.Backend{d(0, "a")}, []serve.Backend{by}},
		"tiers":            {[]serve.Backend{d(0, "a"), d(0, "b"), d(1, "c"), d(2, "d"), d(2, "e")}, []serve.Backend{by, d(1, "c"), d(2, "d"), d(2, "e")}},
		"itself below":     {[]serve.Backend{d(0, "a"), d(1, "new"), d(2, "d")}, []serve.Backend{by, d(1, "d")}},
		"itself in a tier": {[]serve.Backend{d(0, "a"), d(1, "new"), d(1, "d"), d(3, "e")}, []serve.Backend{by, d(1, "d"), d(2, "e")}},
	} {
		if got := serve.Replaced(x.old, d(4, "new")); !slices.Equal(got, x.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
