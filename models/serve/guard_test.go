package serve_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// Guards are written down with their keys sealed, and no model that judges is judged itself, whichever route is written
// last.
func TestGuardsOfRoutes(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		s.Box = must(seal.New(bytes.Repeat([]byte{7}, seal.KeySize), rand.Reader))
		must(0, w.deployOnce(ctx, s, "a"))
		add := func(by serve.Who, name string, g *guard.Change) (serve.Route, error) {
			return s.AddRoute(ctx, by, serve.RouteSpec{Name: name, Deployment: "a", Policy: serve.PolicyChange{Guard: g}})
		}
		set := func(by serve.Who, name string, c serve.RouteChange) (serve.Route, error) {
			return s.SetRoute(ctx, by, name, c)
		}
		judged := func(model string) *guard.Change { return &guard.Change{Model: &model} }
		url, inner, secret, yes := "https://judge.example.org/v1", "http://10.0.0.1", "a-secret-of-many-bytes", true

		must(add(who, "judge", nil))
		must(add(who, "x", judged("judge")))
		must(add(who, "y", &guard.Change{URL: &url, Key: &secret}))
		got := must(s.Route(ctx, project, "y"))
		if g := got.Policy.Guard; g.URL != url || g.Hint != "ytes" || !g.Before || !g.After || g.Sealed == "" {
			t.Errorf("kept %+v", g)
		}
		if open, err := s.Box.Open(guard.Purpose(got.ID), got.Policy.Guard.Sealed); err != nil || string(open) != secret {
			t.Errorf("%q %v", open, err)
		}
		operator := who
		operator.Private = true
		must(set(operator, "y", serve.RouteChange{Policy: serve.PolicyChange{Guard: &guard.Change{URL: &inner, Private: &yes}}}))
		_, loop := set(who, "judge", serve.RouteChange{Policy: serve.PolicyChange{Guard: judged("x")}})
		_, guarded := set(who, "judge", serve.RouteChange{Policy: serve.PolicyChange{Guard: &guard.Change{URL: &url}}})
		_, self := set(who, "x", serve.RouteChange{Policy: serve.PolicyChange{Guard: judged("x")}})
		_, chain := add(who, "z", judged("x"))
		for name, err := range map[string]error{"a loop": loop, "a guard's guard": guarded, "itself": self, "a chain": chain} {
			if !fault.Is(err, fault.Conflict) || fault.As(err).Code != "guard_loop" {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, nobody := add(who, "z", judged("nobody"))
		_, moved := set(who, "y", serve.RouteChange{Policy: serve.PolicyChange{Guard: &guard.Change{URL: new("http://10.0.0.2")}}})
		_, private := add(who, "z", &guard.Change{URL: &inner, Private: &yes})
		if !fault.Is(nobody, fault.Invalid) || !fault.Is(moved, fault.Forbidden) || !fault.Is(private, fault.Forbidden) {
			t.Errorf("%v, %v, %v", nobody, moved, private)
		}
		none := ""
		must(set(who, "x", serve.RouteChange{Policy: serve.PolicyChange{Guard: &guard.Change{Model: &none}}}))
		must(set(who, "judge", serve.RouteChange{Policy: serve.PolicyChange{Guard: &guard.Change{URL: &url}}}))
	})
}
