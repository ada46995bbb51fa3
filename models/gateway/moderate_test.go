package gateway

import (
	"context"
	"errors"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// listed are routes that all can be seen.
type listed struct{ *table }

func (l listed) List(_, _ string) (out []*serve.Target) {
	for _, t := range l.targets {
		out = append(out, t)
	}
	return out
}

// Texts are moderated by the guard that the request means, as a request of the caller's key that is booked to it.
func TestModerate(t *testing.T) {
	e := &script{says: []said{{body: fine}}}
	r, _ := guardedRig(t, guard.Policy{Before: true}, own("one", 0, 1, 1, e))
	r.Routes = listed{r.routes}
	ask := func(body string) (string, error) {
		raw := id.Default().Raw()
		b, err := r.Moderate(context.Background(), &Call{Who: r.who, Path: openai.ModerationPath, Body: []byte(body), Request: raw, RequestID: "req_" + raw.String()})
		return string(b), err
	}
	for _, model := range []string{`"m"`, `"judge"`, `"omni-moderation-latest"`, `""`, `null`} {
		got, err := ask(`{"model":` + model + `,"input":["fine","wicked"]}`)
		if err != nil || gjson.Get(got, "results.#").Int() != 2 || gjson.Get(got, "results.0.flagged").Bool() || !gjson.Get(got, "results.1.flagged").Bool() ||
			!gjson.Get(got, "results.1.categories.hate").Bool() || !gjson.Get(got, "results.1.categories.S1").Bool() || gjson.Get(got, "model").Str != "judge" {
			t.Errorf("%s: %v %s", model, err, got)
		}
		if all := r.booked(); len(all) != 2 || all[0].Key != r.who.Key || all[0].Model != "judge" || all[0].CostMicros != 14 || all[0].Tag != "" {
			t.Errorf("%s: booked %+v", model, all)
		}
	}
	if _, err := ask(`{"model":"nothing","input":"x"}`); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, err := ask(`{"input":7}`); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	r.routes.targets["m"].Route.Policy.Guard = guard.Policy{}
	if _, err := ask(`{"input":"x"}`); !errors.Is(err, ErrNoGuard) {
		t.Error(err)
	}
}

// onePlace is a project with one place at once.
type onePlace struct{ project id.Raw }

func (onePlace) Generation() int64 { return 1 }
func (b onePlace) Bound(of id.Raw) tenancy.Bound {
	if of == b.project {
		return tenancy.Bound{Limits: tenancy.Limits{RPM: 1, TPM: 1 << 30, Concurrency: 1}}
	}
	return tenancy.Bound{}
}

// What a guard is asked within a request does not wait for the request's own place, nor take from its rates.
func TestGuardsTakeNoPlaces(t *testing.T) {
	e := &script{says: []said{{body: fine}}}
	r, j := guardedRig(t, both(), own("one", 0, 1, 1, e))
	r.Quota = quota.NewBook(onePlace{r.who.Project}, r.Now)
	if _, err := r.ask(t.Context(), `{"model":"m","messages":[{"role":"user","content":"hello"}]}`); err != nil || len(j.asked) != 2 {
		t.Errorf("%v, asked %q", err, j.asked)
	}
	if _, err := r.ask(t.Context(), ""); !fault.Is(err, fault.RateLimited) {
		t.Errorf("the second request of the minute: %v", err)
	}
}
