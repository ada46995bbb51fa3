package server

import (
	"context"
	"net/http"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// PullPath names a pull.
type PullPath struct {
	Pull string `path:"pull" maxLength:"64" doc:"id"`
}

func (s *Server) pullOps() {
	op(s, "list-pulls", "models", "List pulls of models, newest first", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Pull]], error) {
		return paged(pullList, *in, pull, func(q page.Page) ([]pulls.Pull, error) { return s.Pulls.List(ctx, p.ProjectID, q) })
	})
	op(s, "create-pull", "models", "Pull a model from a hub, or continue a pull that was asked for before", func(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewPull }) (*out[api.Pull], error) {
		b := in.Body
		r := pulls.Request{Model: b.Model, Token: b.Token, Endpoint: b.Endpoint, Private: b.AllowPrivate,
			Spec: hub.Spec{Source: hub.Source(b.Source), Repo: b.Repo, Revision: b.Revision, Include: b.Include, Exclude: b.Exclude, File: b.File}}
		for _, m := range b.Mirrors {
			r.Spec.Mirrors = append(r.Spec.Mirrors, hub.Mirror{URL: m})
		}
		x, err := s.Pulls.Begin(ctx, pulls.Who{Project: p.ProjectID, Key: p.KeyID, Private: may(p, tenancy.Platform)}, r)
		return &out[api.Pull]{pull(x)}, err
	}, status(http.StatusAccepted))
	op(s, "get-pull", "models", "Show how far a pull is", func(ctx context.Context, p *auth.Principal, in *PullPath) (*out[api.Pull], error) {
		x, err := s.Pulls.Get(ctx, p.ProjectID, in.Pull)
		return &out[api.Pull]{pull(x)}, err
	})
	op(s, "remove-pull", "models", "End a pull and throw away what came of it; the model of one that is done stays", func(ctx context.Context, p *auth.Principal, in *PullPath) (*none, error) {
		return nil, s.Pulls.Remove(ctx, p.ProjectID, in.Pull)
	}, status(http.StatusNoContent))
}

func pull(p pulls.Pull) api.Pull {
	g := p.Progress
	a := api.Pull{ID: p.ID, Model: p.Model, Source: string(p.Spec.Source), Repo: p.Spec.Repo, Revision: p.Spec.Revision, State: string(p.State),
		Reason: p.Reason, Kind: string(p.Kind), Code: p.Code, Fix: p.Fix, Commit: p.Commit, Listed: p.Listed, Hash: p.Hash, Version: p.Version,
		Phase: g.Phase, File: g.File, Files: g.Files, FilesDone: g.FilesDone, Bytes: g.Bytes, BytesDone: g.BytesDone, Note: g.Note,
		CreatedBy: p.CreatedBy, CreatedAt: p.CreatedAt}
	if p.State == pulls.Running {
		a.Rate, a.Left = g.Rate, g.Left.Seconds()
	} else {
		a.EndedAt = &p.ChangedAt
	}
	for _, m := range p.Spec.Mirrors {
		a.Mirrors = append(a.Mirrors, m.URL)
	}
	return a
}
