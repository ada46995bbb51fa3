package tenancy

import (
	"context"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
)

// SetBudget bounds what an organisation, project, key, member or model may spend, and returns the budget as it now is.
// The budgets of projects and of the organisation ask for OrgWide; a key, member or model must be in the maker's project,
// or anywhere in the organisation with OrgWide. With Platform each can be of any organisation. A key changes neither its
// own budget, unless no other made it, nor that of one that made it, nor can it raise that of a member it or one that
// made it belongs to; and what was set from above it can only lower.
func (s *Service) SetBudget(ctx context.Context, by Maker, b Budget) (Budget, error) {
	if b.LimitMicros < 0 || b.LimitMicros > amountMax {
		return b, fault.InvalidField("limit_micros", "limit_micros must be between 0 and %d, got %d.", int64(amountMax), b.LimitMicros)
	}
	org, lowerOnly, err := s.mayBudget(ctx, by, b.Scope, b.ID, &b.LimitMicros)
	if err != nil {
		return b, err
	}
	b.LowerOnly = lowerOnly
	b.SetFrom = Height(by.Scopes)
	b, err = s.Store.SetBudget(ctx, org, b)
	b.LowerOnly = false
	return b, s.done(ctx, err)
}

// RemoveBudget takes a bound away, under the same rules as SetBudget.
func (s *Service) RemoveBudget(ctx context.Context, by Maker, scope, id string) error {
	org, _, err := s.mayBudget(ctx, by, scope, id, nil)
	if err != nil {
		return err
	}
	return s.done(ctx, s.Store.RemoveBudget(ctx, org, scope, id, Height(by.Scopes)))
}

// mayBudget says whether by may change a budget, in which organisation, and whether it may only lower it.
func (s *Service) mayBudget(ctx context.Context, by Maker, scope, id string, limit *int64) (org string, lowerOnly bool, err error) {
	if org, err = s.mayBound(ctx, by, scope, id); err != nil {
		return "", false, err
	}
	lowerOnly, err = s.mayRebound(ctx, by, org, scope, id, limit, ofBudget)
	return org, lowerOnly, err
}

// mayBound says whether by may change what bounds a thing at all, and in which organisation. What it may not see does
// not exist.
func (s *Service) mayBound(ctx context.Context, by Maker, scope, id string) (org string, err error) {
	height := Height(by.Scopes)
	switch scope {
	case OfOrganisation, OfProject:
		if height == Admin {
			return "", fault.New(fault.Forbidden, "What bounds an organisation or a project can be changed only with the scope organisation.", fault.Field("scope"))
		}
	case OfKey, OfMember, OfModel:
	default:
		return "", fault.InvalidField("scope", "A bound is of an organisation, a project, a key, a member or a model, not of %s.", quote(scope))
	}
	org, project, err := s.Store.Holder(ctx, scope, id)
	if err != nil {
		return "", err
	}
	if height != Platform && org != by.OrgID || height == Admin && project != by.ProjectID {
		return "", fault.New(fault.NotFound, "There is no "+scope+" "+quote(id)+".")
	}
	return org, nil
}

// Budgets lists what by may see of an organisation, by id or name, empty for its own: all of it with OrgWide, else
// those of its project, the project's keys, members and models, and the organisation's own. Another organisation asks for
// Platform.
func (s *Service) Budgets(ctx context.Context, by Maker, org string) ([]Budget, error) {
	org, err := s.OrganisationFor(ctx, by, org)
	if err != nil {
		return nil, err
	}
	all, err := s.Store.Budgets(ctx, org)
	if err != nil || Height(by.Scopes) != Admin {
		return all, err
	}
	mine, err := s.mine(ctx, by)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(b Budget) bool { return !mine(b.Scope, b.ID) }), nil
}

// mine says which things of an organisation somebody without OrgWide may look at.
func (s *Service) mine(ctx context.Context, by Maker) (func(scope, id string) bool, error) {
	keys, err := s.Store.Keys(ctx, by.ProjectID, page.All)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{by.OrgID: true, by.ProjectID: true}
	for _, k := range keys {
		ids[k.ID] = true
	}
	return func(scope, id string) bool {
		switch scope {
		case OfMember:
			return strings.HasPrefix(id, by.ProjectID+":")
		case OfModel:
			_, project, err := s.Store.Holder(ctx, OfModel, id)
			return err == nil && project == by.ProjectID
		}
		return ids[id]
	}, nil
}

// OrganisationFor returns the organisation that a request names: the maker's own for an empty name, else the one of
// that id or name, which asks for Platform unless it is the maker's own. One that the maker may not see does not exist.
func (s *Service) OrganisationFor(ctx context.Context, by Maker, name string) (string, error) {
	if name == "" || name == by.OrgID {
		return by.OrgID, nil
	}
	if Allows(by.Scopes, Platform) {
		os, err := s.Store.Organisations(ctx, page.All)
		if err != nil {
			return "", err
		}
		for _, o := range os {
			if o.ID == name || o.Name == name {
				return o.ID, nil
			}
		}
	} else if own, err := s.Store.Organisation(ctx, by.OrgID); err != nil {
		return "", err
	} else if own.Name == name {
		return own.ID, nil
	}
	return "", fault.New(fault.NotFound, "There is no organisation "+quote(name)+".", fault.Field("org"))
}

// Reach returns a project with its organisation for looking after it: like ProjectFor, and with Platform also a project
// of any organisation, by its id. An organisation that is named in place of its project is returned alone; it asks for
// OrgWide, or Platform where it is another's.
func (s *Service) Reach(ctx context.Context, by Maker, org, project string) (orgID, projectID string, err error) {
	if orgID, err = s.OrganisationFor(ctx, by, org); err != nil {
		return "", "", err
	}
	operator := Allows(by.Scopes, Platform)
	switch {
	case org != "" && project == "":
		if Height(by.Scopes) == Admin {
			err = fault.New(fault.Forbidden, "The whole organisation needs the scope organisation.", fault.Field("org"))
		}
		return orgID, "", err
	case orgID != by.OrgID: // an operator
		projectID, err = s.ProjectFor(ctx, Maker{OrgID: orgID, Scopes: []Scope{OrgWide}}, project)
		return orgID, projectID, err
	}
	projectID, err = s.ProjectFor(ctx, by, project)
	if err != nil && operator && org == "" && fault.Is(err, fault.NotFound) {
		if holder, _, e := s.Store.Holder(ctx, OfProject, project); e == nil {
			return holder, project, nil
		}
	}
	return orgID, projectID, err
}
