// Package auth says who is asking: it turns the secret of an API key into a Principal and carries that through a
// request's context.
//
// Rules for callers: a Principal is shared between requests and must not be changed. Authenticate reads memory
// only; the ring behind it is refreshed by changes in this process (Refresh) and by Loop for changes made in others,
// so a key revoked elsewhere stops working within a second. Secrets are never logged or stored. Requests from the
// network go through AuthenticateFrom, which bounds how often an address may send a wrong key.
package auth

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
)

// Principal is an authenticated key.
type Principal struct {
	KeyID, OrgID, ProjectID string // key_..., org_..., prj_...
	Key, Org, Project       id.Raw // the same ids as the ledger keeps them
	Role                    tenancy.Role
	Scopes                  []tenancy.Scope // empty: tenancy.Ordinary
	Limits                  tenancy.Limits
	Models                  []string  // that it may call; empty: all
	ExpiresAt               time.Time // zero: never
	Above                   []Above   // the keys that made this one, the nearest first
	Members                 []Member  // whom this key and those above it belong to, each once
	Lowers                  bool      // may lower prices: it may set them, and no budget of another's keeps it from that
}

// Above is a key that made another, or made its maker, and so on, within the organisation. What the other uses counts
// as used by it, too, whether it was revoked or not.
type Above struct {
	KeyID  string // key_...
	Key    id.Raw // the same id as the ledger keeps it
	Limits tenancy.Limits
}

// Member is a member of a project as what is used is charged to it.
type Member struct {
	ID  string // tenancy.MemberID
	Raw id.Raw // MemberRaw of it
}

// MemberRaw is a member's id in the form that keys and projects have in the ledger.
func MemberRaw(member string) id.Raw {
	sum := sha256.Sum256([]byte("member " + member))
	return id.Raw(sum[:16])
}

// Raw is the id of something that a budget or limit bounds in the form that the ledger has it.
func Raw(scope, of string) (id.Raw, error) {
	if scope == tenancy.OfMember {
		return MemberRaw(of), nil
	}
	return id.ParseRaw(of)
}

// May says whether the principal has the role and the scope.
func (p *Principal) May(role tenancy.Role, scope tenancy.Scope) bool {
	return p != nil && p.Role.AtLeast(role) && tenancy.Allows(p.Scopes, scope)
}

// Calls says whether the principal may call a model of this name, or that is also called by one of these.
func (p *Principal) Calls(name string, also []string) bool {
	if len(p.Models) == 0 || slices.Contains(p.Models, name) {
		return true
	}
	return slices.ContainsFunc(also, func(x string) bool { return slices.Contains(p.Models, x) })
}

type contextKey struct{}

// With returns a context that carries p.
func With(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns the principal that With put into ctx.
func From(ctx context.Context) (*Principal, bool) {
	p, ok := ctx.Value(contextKey{}).(*Principal)
	return p, ok && p != nil
}

// Maker is the principal as the one on whose behalf tenancy makes something.
func (p *Principal) Maker() tenancy.Maker {
	return tenancy.Maker{KeyID: p.KeyID, OrgID: p.OrgID, ProjectID: p.ProjectID, Role: p.Role, Scopes: p.Scopes, ExpiresAt: p.ExpiresAt, Lowers: p.Lowers}
}
