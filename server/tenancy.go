package server

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

var problemType = reflect.TypeFor[api.Problem]()

func (s *Server) tenancyOps() {
	op(s, "status", "status", "Say who is asking and what goes on", s.status)
	op(s, "list-organisations", "tenancy", "List organisations", s.organisations)
	op(s, "create-organisation", "tenancy", "Make an organisation with a project and its owner key", s.createOrganisation, status(http.StatusCreated))
	op(s, "list-projects", "tenancy", "List projects", s.projects)
	op(s, "create-project", "tenancy", "Make a project", s.createProject, status(http.StatusCreated))
	s.memberOps()
	s.keyOps()
	s.budgetOps()
	s.limitOps()
}

func (s *Server) status(ctx context.Context, p *auth.Principal, _ *no) (*out[api.Status], error) {
	o, err := s.Tenancy.Store.Organisation(ctx, p.OrgID)
	if err != nil {
		return nil, err
	}
	prj, err := s.Tenancy.Store.Project(ctx, p.OrgID, p.ProjectID)
	if err != nil {
		return nil, err
	}
	runs, err := s.Train.Unended(ctx, p.ProjectID)
	if err != nil {
		return nil, err
	}
	deps, err := s.Serve.Deployments(ctx, p.ProjectID, page.Page{Limit: page.Usual})
	if err != nil {
		return nil, err
	}
	routes, err := s.Serve.Routes(ctx, p.ProjectID, page.Page{Limit: page.Usual})
	if err != nil {
		return nil, err
	}
	st := api.Status{Server: s.Info, Organisation: organisation(o), Project: project(prj),
		Key:  api.Identity{ID: p.KeyID, Role: string(p.Role), Scopes: words(p.Scopes)},
		Runs: list(runs, run).Body.Items, Deployments: list(deps, deployment).Body.Items, Routes: list(routes, route).Body.Items}
	return &out[api.Status]{st}, nil
}

func (s *Server) organisations(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Organisation]], error) {
	if may(p, tenancy.Platform) && p.Role.AtLeast(tenancy.Owner) {
		return paged(organisationList, *in, organisation, func(q page.Page) ([]tenancy.Organisation, error) { return s.Tenancy.Store.Organisations(ctx, q) })
	}
	own, err := s.Tenancy.Store.Organisation(ctx, p.OrgID)
	return list([]tenancy.Organisation{own}, organisation), err
}

func (s *Server) createOrganisation(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewOrganisation }) (*out[api.MadeOrganisation], error) {
	o, prj, k, secret, err := s.Tenancy.CreateOrganisation(ctx, p.Maker(), in.Body.Name)
	return &out[api.MadeOrganisation]{api.MadeOrganisation{Organisation: organisation(o), Project: project(prj),
		Key: api.MadeKey{Key: secret, Object: key(k)}}}, err
}

func (s *Server) projects(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Project]], error) {
	if may(p, tenancy.OrgWide) {
		return paged(projectList, *in, project, func(q page.Page) ([]tenancy.Project, error) { return s.Tenancy.Store.Projects(ctx, p.OrgID, q) })
	}
	own, err := s.Tenancy.Store.Project(ctx, p.OrgID, p.ProjectID)
	return list([]tenancy.Project{own}, project), err
}

func (s *Server) createProject(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewProject }) (*out[api.Project], error) {
	prj, err := s.Tenancy.CreateProject(ctx, p.OrgID, in.Body.Name)
	return &out[api.Project]{project(prj)}, err
}

// MemberPath names a member.
type MemberPath struct {
	ProjectParam
	Email string `path:"email" maxLength:"254"`
}

func (s *Server) memberOps() {
	op(s, "list-members", "tenancy", "List the members of a project", func(ctx context.Context, p *auth.Principal, in *struct {
		ProjectParam
		PageParam
	}) (*out[api.List[api.Member]], error) {
		prj, err := s.project(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		return paged(memberList, in.PageParam, member, func(q page.Page) ([]tenancy.Member, error) { return s.Tenancy.Store.Members(ctx, prj, q) })
	})
	op(s, "put-member", "tenancy", "Add a member or change the role", func(ctx context.Context, p *auth.Principal, in *struct {
		MemberPath
		Body api.MemberRole
	}) (*out[api.Member], error) {
		prj, err := s.project(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		m, err := s.Tenancy.PutMember(ctx, p.Maker(), prj, in.Email, tenancy.Role(in.Body.Role))
		return &out[api.Member]{member(m)}, err
	})
	op(s, "remove-member", "tenancy", "Remove a member and revoke the member's keys with those that they made", func(ctx context.Context, p *auth.Principal, in *struct {
		MemberPath
		KeepParam
	}) (*none, error) {
		prj, err := s.project(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		return nil, s.Tenancy.RemoveMember(ctx, p.Maker(), prj, in.Email, in.KeepChildren)
	}, status(http.StatusNoContent))
}

// KeyPath names a key.
type KeyPath struct {
	ProjectParam
	Key string `path:"key" maxLength:"64"`
}

func (s *Server) keyOps() {
	op(s, "list-keys", "tenancy", "List the keys of a project", func(ctx context.Context, p *auth.Principal, in *struct {
		ProjectParam
		PageParam
	}) (*out[api.List[api.Key]], error) {
		prj, err := s.reach(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		return paged(keyList, in.PageParam, key, func(q page.Page) ([]tenancy.Key, error) { return s.Tenancy.Store.Keys(ctx, prj, q) })
	})
	op(s, "create-key", "tenancy", "Make a key; its secret is in the answer and nowhere else", s.createKey, status(http.StatusCreated))
	op(s, "get-key", "tenancy", "Show a key", func(ctx context.Context, p *auth.Principal, in *KeyPath) (*out[api.Key], error) {
		prj, err := s.reach(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		k, err := s.Tenancy.Store.Key(ctx, prj, in.Key)
		return &out[api.Key]{key(k)}, err
	})
	op(s, "revoke-key", "tenancy", "Revoke a key for good, with those that it made", func(ctx context.Context, p *auth.Principal, in *struct {
		KeyPath
		KeepParam
	}) (*none, error) {
		prj, err := s.reach(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		return nil, s.Tenancy.RevokeKey(ctx, p.Maker(), prj, in.Key, in.KeepChildren)
	}, status(http.StatusNoContent))
}

func (s *Server) createKey(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewKey }) (*out[api.MadeKey], error) {
	b := in.Body
	n := tenancy.NewKey{ProjectID: b.Project, Name: b.Name, Role: tenancy.Role(b.Role), Member: b.Member,
		Limits: tenancy.Limits{RPM: b.RPM, TPM: b.TPM, Concurrency: b.Concurrency}, BudgetMicros: b.BudgetMicros, Models: b.Models, ExpiresAt: b.ExpiresAt}
	for _, x := range b.Scopes {
		n.Scopes = append(n.Scopes, tenancy.Scope(x))
	}
	k, secret, err := s.Tenancy.CreateKey(ctx, p.Maker(), n)
	return &out[api.MadeKey]{api.MadeKey{Key: secret, Object: key(k)}}, err
}

// OrgParam names an organisation.
type OrgParam struct {
	Org string `query:"org" maxLength:"200" doc:"id or name of an organisation; another than the key's needs the scope platform"`
}

func (s *Server) budgetOps() {
	op(s, "list-budgets", "tenancy", "List budgets with what was spent of them", func(ctx context.Context, p *auth.Principal, in *struct {
		PageParam
		OrgParam
	}) (*out[api.List[api.Budget]], error) {
		return paged(budgetList, in.PageParam, func(b tenancy.Budget) api.Budget { return s.budget(ctx, b) }, func(q page.Page) ([]tenancy.Budget, error) {
			bs, err := s.Tenancy.Budgets(ctx, p.Maker(), in.Org)
			return page.Cut(bs, q, budgetList.key), err
		})
	})
	op(s, "set-budget", "tenancy", "Bound what an organisation, project, key, member or model may spend in all", func(ctx context.Context, p *auth.Principal, in *struct {
		BoundPath
		Body api.BudgetLimit
	}) (*out[api.Budget], error) {
		of, err := s.bound(ctx, p, in.BoundPath)
		if err != nil {
			return nil, err
		}
		b, err := s.Tenancy.SetBudget(ctx, p.Maker(), tenancy.Budget{Scope: in.Scope, ID: of, LimitMicros: in.Body.LimitMicros})
		return &out[api.Budget]{s.budget(ctx, b)}, err
	})
	op(s, "remove-budget", "tenancy", "Take a bound on spending away", func(ctx context.Context, p *auth.Principal, in *BoundPath) (*none, error) {
		of, err := s.bound(ctx, p, *in)
		if err != nil {
			return nil, err
		}
		return nil, s.Tenancy.RemoveBudget(ctx, p.Maker(), in.Scope, of)
	}, status(http.StatusNoContent))
}

func (s *Server) budget(ctx context.Context, b tenancy.Budget) api.Budget {
	a := api.Budget{Scope: b.Scope, ID: b.ID, LimitMicros: b.LimitMicros, SetFrom: string(b.SetFrom)}
	if s.Spent != nil {
		a.SpentMicros = s.Spent(ctx, b.Scope, b.ID)
	}
	return a
}

func organisation(o tenancy.Organisation) api.Organisation {
	return api.Organisation{ID: o.ID, Name: o.Name, CreatedAt: o.CreatedAt}
}

func project(p tenancy.Project) api.Project {
	return api.Project{ID: p.ID, OrganisationID: p.OrgID, Name: p.Name, CreatedAt: p.CreatedAt}
}

func member(m tenancy.Member) api.Member {
	return api.Member{ProjectID: m.ProjectID, Email: m.Email, Role: string(m.Role), CreatedAt: m.CreatedAt}
}

func key(k tenancy.Key) api.Key {
	return api.Key{ID: k.ID, ProjectID: k.ProjectID, Name: k.Name, Role: string(k.Role), Scopes: words(k.Scopes), Member: k.Member,
		Hint: k.Hint, RPM: k.Limits.RPM, TPM: k.Limits.TPM, Concurrency: k.Limits.Concurrency, BudgetMicros: k.BudgetMicros, Models: k.Models,
		ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt, CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt}
}

func words[S ~string](in []S) []string {
	var out []string
	for _, x := range in {
		out = append(out, string(x))
	}
	return out
}

var _ huma.SchemaProvider = problemError{}
