package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// ProviderPath names a provider.
type ProviderPath struct {
	Provider string `path:"provider" maxLength:"200" doc:"id or name"`
}

func (s *Server) providerOps() {
	op(s, "list-providers", "serving", "List outside providers", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Provider]], error) {
		return paged(providerList, *in, outside, func(q page.Page) ([]provider.Provider, error) { return s.Providers.List(ctx, p.ProjectID, q) })
	})
	op(s, "add-provider", "serving", "Add an outside provider", func(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewProvider }) (*out[api.Provider], error) {
		b := in.Body
		x, err := s.Providers.Add(ctx, whoProvides(p), provider.Spec{Name: b.Name, URL: b.URL, Dialect: engine.Dialect(b.Dialect), Private: b.AllowPrivate, Key: b.Key})
		return &out[api.Provider]{outside(x)}, err
	}, status(http.StatusCreated))
	op(s, "get-provider", "serving", "Show an outside provider", func(ctx context.Context, p *auth.Principal, in *ProviderPath) (*out[api.Provider], error) {
		x, err := s.Providers.Get(ctx, p.ProjectID, in.Provider)
		return &out[api.Provider]{outside(x)}, err
	})
	op(s, "remove-provider", "serving", "Remove an outside provider with its keys", func(ctx context.Context, p *auth.Principal, in *ProviderPath) (*none, error) {
		return nil, s.Providers.Remove(ctx, whoProvides(p), in.Provider)
	}, status(http.StatusNoContent))
	op(s, "test-provider", "serving", "Ask an outside provider for its models", func(ctx context.Context, p *auth.Principal, in *ProviderPath) (*out[api.ProviderTest], error) {
		r, err := s.Providers.Test(ctx, p.ProjectID, in.Provider)
		return &out[api.ProviderTest]{api.ProviderTest{OK: r.OK, Took: r.Took.Seconds(), Reason: r.Reason}}, err
	})
	op(s, "add-provider-key", "serving", "Give an outside provider another key", func(ctx context.Context, p *auth.Principal, in *struct {
		ProviderPath
		Body api.NewProviderKey
	}) (*out[api.ProviderKey], error) {
		k, err := s.Providers.AddKey(ctx, whoProvides(p), in.Provider, in.Body.Key)
		return &out[api.ProviderKey]{outsideKey(k)}, err
	}, status(http.StatusCreated))
	op(s, "remove-provider-key", "serving", "Take a key from an outside provider", func(ctx context.Context, p *auth.Principal, in *struct {
		ProviderPath
		Key string `path:"pkey" maxLength:"64" doc:"id"`
	}) (*none, error) {
		return nil, s.Providers.RemoveKey(ctx, whoProvides(p), in.Provider, in.Key)
	}, status(http.StatusNoContent))
}

func (s *Server) requestOps() {
	s.logOps()
	s.bodyOps()
	op(s, "explain-request", "serving", "Say what was decided on the way of a request of the model API", func(ctx context.Context, p *auth.Principal, in *struct {
		Request string `path:"request" maxLength:"64" doc:"its x-request-id"`
	}) (*out[api.RequestExplanation], error) {
		x, err := s.Explain.Get(ctx, p.ProjectID, in.Request)
		if err != nil {
			return nil, err
		}
		o := &out[api.RequestExplanation]{requestExplanation(x)}
		return o, s.nameTries(ctx, p.ProjectID, o.Body.Tries)
	})
}

func requestExplanation(x gateway.Explanation) api.RequestExplanation {
	return api.RequestExplanation{Request: x.Request, At: x.At, Key: x.Key, Path: x.Path, Model: x.Model, Route: x.Route, PriceVersion: x.PriceVersion,
		Stream: x.Stream, Canary: (*api.RequestCanary)(x.Drawn), ServiceTier: x.ServiceTier, Tries: list(x.Tries, requestTry).Body.Items, Blocks: x.Blocks, Matched: x.Matched, Cut: x.Cut, Outcome: x.Outcome,
		Code: x.Code, Reason: x.Reason, Input: x.Input, Output: x.Output, Estimated: x.Estimated, CostMicros: x.CostMicros, FirstByte: x.FirstByte.Seconds(), Took: x.Took.Seconds(),
		Judgements: judgements(x.Judgements), MoreJudged: x.MoreJudged}
}

// nameTries puts names beside the ids of what was asked. A gateway of its own knows none.
func (s *Server) nameTries(ctx context.Context, project string, tries []api.RequestTry) error {
	if len(tries) == 0 || s.Serve == nil {
		return nil
	}
	names, err := s.backendNames(ctx, project)
	for i := range tries {
		if err == nil {
			id, model, _ := strings.Cut(tries[i].Backend, "/")
			tries[i].Name = names(id, model)
		}
	}
	return err
}

func judgements(in []gateway.Judgement) (out []api.RequestJudgement) {
	for _, j := range in {
		out = append(out, api.RequestJudgement{When: string(j.When), Guard: j.By, Verdict: j.Verdict, Passed: j.Passed, Reason: j.Reason, Categories: j.Categories,
			Request: j.Request, After: j.After.Seconds(), Took: j.Took.Seconds(), Chars: j.Chars})
	}
	return out
}

func requestTry(t gateway.Tried) api.RequestTry {
	return api.RequestTry{Tier: t.Tier, Backend: t.Backend, Replica: t.Replica, After: t.After.Seconds(), Waited: t.Waited.Seconds(),
		Took: t.Took.Seconds(), Status: t.Status, Full: t.Full, Again: t.Again}
}

func whoProvides(p *auth.Principal) provider.Who {
	return provider.Who{Org: p.OrgID, Project: p.ProjectID, Key: p.KeyID, Private: may(p, tenancy.Platform)}
}

func outside(p provider.Provider) api.Provider {
	return api.Provider{ID: p.ID, Name: p.Name, URL: p.URL, Dialect: string(p.Dialect), AllowPrivate: p.Private,
		Keys: list(p.Keys, outsideKey).Body.Items, CreatedBy: p.CreatedBy, CreatedAt: p.CreatedAt}
}

func outsideKey(k provider.Key) api.ProviderKey {
	o := api.ProviderKey{ID: k.ID, Hint: k.Hint, CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt}
	if !k.Rests.IsZero() {
		o.Rests = &k.Rests
	}
	return o
}
