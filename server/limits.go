package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

func (s *Server) limitOps() {
	op(s, "list-limits", "tenancy", "List limits of requests, tokens and concurrency", func(ctx context.Context, p *auth.Principal, in *struct {
		PageParam
		OrgParam
	}) (*out[api.List[api.Limit]], error) {
		return paged(limitList, in.PageParam, limit, func(q page.Page) ([]tenancy.Limit, error) {
			ls, err := s.Tenancy.Limits(ctx, p.Maker(), in.Org)
			return page.Cut(ls, q, limitList.key), err
		})
	})
	op(s, "set-limit", "tenancy", "Bound how fast an organisation, project, key, member or model may be used", func(ctx context.Context, p *auth.Principal, in *struct {
		BoundPath
		Body api.LimitChange
	}) (*out[api.Limit], error) {
		c, err := s.change(ctx, p, in.BoundPath)
		if err != nil {
			return nil, err
		}
		c.RPM, c.TPM, c.Concurrency = in.Body.RPM, in.Body.TPM, in.Body.Concurrency
		l, err := s.Tenancy.SetLimit(ctx, p.Maker(), c)
		l.Scope, l.ID = c.Scope, c.ID
		return &out[api.Limit]{limit(l)}, err
	})
	op(s, "remove-limit", "tenancy", "Take the bounds on requests, tokens and concurrency away", func(ctx context.Context, p *auth.Principal, in *BoundPath) (*none, error) {
		c, err := s.change(ctx, p, *in)
		if err != nil {
			return nil, err
		}
		c.RPM, c.TPM, c.Concurrency = new(int64), new(int64), new(int64)
		_, err = s.Tenancy.SetLimit(ctx, p.Maker(), c)
		return nil, err
	}, status(http.StatusNoContent))
}

// BoundPath names what a budget or a limit bounds.
type BoundPath struct {
	Scope   string `path:"scope" enum:"organisation,project,key,member,model"`
	ID      string `path:"id" maxLength:"400" doc:"its id; of a member also the email, of a model also the route's name"`
	Project string `query:"project" maxLength:"200" doc:"id or name of the project of a member named by email, or of a model named by its route's name; another than the key's needs the scope organisation"`
}

// bound is the id of what a path names.
func (s *Server) bound(ctx context.Context, p *auth.Principal, in BoundPath) (string, error) {
	switch {
	case in.Scope == tenancy.OfMember && !strings.Contains(in.ID, ":"):
		prj, err := s.project(ctx, p, ProjectParam{in.Project})
		return tenancy.MemberID(prj, strings.ToLower(in.ID)), err
	case in.Scope == tenancy.OfModel && !strings.HasPrefix(in.ID, "rte_"):
		prj, err := s.project(ctx, p, ProjectParam{in.Project})
		if err != nil {
			return "", err
		}
		r, err := s.Serve.Route(ctx, prj, in.ID)
		return r.ID, err
	}
	return in.ID, nil
}

func (s *Server) change(ctx context.Context, p *auth.Principal, in BoundPath) (c tenancy.LimitChange, err error) {
	c.Scope = in.Scope
	c.ID, err = s.bound(ctx, p, in)
	return c, err
}

func limit(l tenancy.Limit) api.Limit {
	return api.Limit{Scope: l.Scope, ID: l.ID, RPM: l.RPM, TPM: l.TPM, Concurrency: l.Concurrency, SetFrom: string(l.SetFrom)}
}
