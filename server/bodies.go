package server

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/gateway/capture"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

func (s *Server) bodyOps() {
	op(s, "get-consent", "serving", "Show what the project consented to keep of its requests", func(ctx context.Context, p *auth.Principal, _ *no) (*out[api.Consent], error) {
		c, err := s.Bodies.Store.Consent(ctx, p.ProjectID)
		return &out[api.Consent]{consent(c)}, err
	})
	op(s, "give-consent", "serving", "Consent to keeping what is asked and answered", func(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewConsent }) (*out[api.Consent], error) {
		c, err := wanted(p, in.Body)
		if err == nil {
			c, err = s.Bodies.Set(ctx, c)
		}
		return &out[api.Consent]{consent(c)}, err
	})
	op(s, "withdraw-consent", "serving", "Withdraw the consent to keeping what is asked and answered", func(ctx context.Context, p *auth.Principal, in *struct {
		Forget bool `query:"forget" doc:"delete what was kept, too"`
	}) (*none, error) {
		return nil, s.Bodies.Withdraw(ctx, p.ProjectID, in.Forget)
	}, status(http.StatusNoContent))
	op(s, "list-bodies", "serving", "List what was kept of requests, newest first", func(ctx context.Context, p *auth.Principal, in *struct {
		PageParam
		Since time.Time `query:"since" doc:"arrived at or after this time"`
		Until time.Time `query:"until" doc:"arrived before this time"`
	}) (*out[api.List[api.RequestBody]], error) {
		return paged(bodyList, in.PageParam, requestBody, func(q page.Page) ([]capture.Body, error) {
			return s.Bodies.List(ctx, p.ProjectID, in.Since, in.Until, q)
		})
	})
	op(s, "get-body", "serving", "Show what was kept of a request", func(ctx context.Context, p *auth.Principal, in *struct {
		Request string `path:"request" maxLength:"64" doc:"its x-request-id"`
	}) (*out[api.RequestBody], error) {
		b, err := s.Bodies.Get(ctx, p.ProjectID, in.Request)
		return &out[api.RequestBody]{requestBody(b)}, err
	})
}

func wanted(p *auth.Principal, n api.NewConsent) (c capture.Consent, err error) {
	c = capture.Consent{Project: p.ProjectID, Share: n.Share, Most: n.Most, By: p.KeyID}
	if c.Share == 0 {
		c.Share = 1
	}
	if n.Hours < 0 || n.Hours > int(capture.MaxKeep/time.Hour) {
		return c, fault.New(fault.Invalid, "Bodies are kept from an hour to five years.", fault.Field("keep_hours"), fault.Fix("Leave it out for 30 days."))
	}
	c.Keep = time.Duration(n.Hours) * time.Hour
	switch {
	case n.Plain && len(n.Redact) > 0:
		return c, fault.New(fault.Invalid, "A consent that takes nothing out names nothing to take out.", fault.Field("redact"), fault.Fix("Leave out redact or plain."))
	case n.Plain:
	case len(n.Redact) == 0:
		c.Redact = append(c.Redact, capture.Classes...)
	default:
		for _, r := range n.Redact {
			c.Redact = append(c.Redact, capture.Class(r))
		}
	}
	return c, nil
}

func consent(c capture.Consent) api.Consent {
	return api.Consent{Project: c.Project, Share: c.Share, Most: c.Most, Hours: int(math.Ceil(c.Keep.Hours())), Redact: words(c.Redact), CreatedBy: c.By, CreatedAt: c.At}
}

func requestBody(b capture.Body) api.RequestBody {
	o := api.RequestBody{Request: b.Request, At: b.At, Model: b.Model, Dialect: b.Dialect, Outcome: b.Outcome, Status: b.Status, Tag: b.Tag, Input: b.Input,
		Output: b.Output, Prompt: b.Prompt, Answer: b.Answer, Missing: b.Missing}
	for c, n := range b.Redacted {
		if o.Redacted == nil {
			o.Redacted = map[string]int{}
		}
		o.Redacted[string(c)] = n
	}
	return o
}
