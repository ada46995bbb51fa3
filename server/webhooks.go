package server

import (
	"context"
	"net/http"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// WebhookPath names a webhook.
type WebhookPath struct {
	Webhook string `path:"webhook" maxLength:"64" doc:"id"`
}

func (s *Server) webhookOps() {
	op(s, "list-webhooks", "usage", "List addresses that are told of budgets", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Webhook]], error) {
		return paged(webhookList, *in, hook, func(q page.Page) ([]webhook.Hook, error) { return s.Webhooks.List(ctx, whoHooks(p), q) })
	})
	op(s, "add-webhook", "usage", "Have an address told when spending comes to a threshold of a budget", func(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewWebhook }) (*out[api.AddedWebhook], error) {
		b := in.Body
		h, secret, err := s.Webhooks.Add(ctx, whoHooks(p), webhook.Spec{URL: b.URL, Thresholds: b.Thresholds, Wide: b.Organisation, Private: b.AllowPrivate})
		return &out[api.AddedWebhook]{api.AddedWebhook{Secret: secret, Webhook: hook(h)}}, err
	}, status(http.StatusCreated))
	op(s, "test-webhook", "usage", "Send a webhook an event of type webhook.test", func(ctx context.Context, p *auth.Principal, in *WebhookPath) (*none, error) {
		return nil, s.Webhooks.Test(ctx, whoHooks(p), in.Webhook)
	}, status(http.StatusNoContent))
	op(s, "remove-webhook", "usage", "Tell an address no more", func(ctx context.Context, p *auth.Principal, in *WebhookPath) (*none, error) {
		return nil, s.Webhooks.Remove(ctx, whoHooks(p), in.Webhook)
	}, status(http.StatusNoContent))
}

func whoHooks(p *auth.Principal) webhook.Who {
	return webhook.Who{Org: p.OrgID, Project: p.ProjectID, Key: p.KeyID, Wide: tenancy.Height(p.Scopes) != tenancy.Admin, Private: may(p, tenancy.Platform)}
}

func hook(h webhook.Hook) api.Webhook {
	o := api.Webhook{ID: h.ID, URL: h.URL, ProjectID: h.Project, Thresholds: h.Thresholds, AllowPrivate: h.Private, LastError: h.LastError, CreatedBy: h.CreatedBy,
		CreatedAt: h.CreatedAt}
	if !h.LastAt.IsZero() {
		o.LastAt = &h.LastAt
	}
	return o
}
