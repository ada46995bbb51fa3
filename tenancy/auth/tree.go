package auth

import "github.com/triarch-ai/triarch/tenancy"

// tree is all keys by id: which made which.
type tree map[string]*tenancy.Entry

func newTree(keys []tenancy.Entry) tree {
	t := make(tree, len(keys))
	for i := range keys {
		t[keys[i].ID] = &keys[i]
	}
	return t
}

// makers lists who made a key, the nearest first. It ends at the organisation's first key: the key of an operator that
// made an organisation is not above it.
func (t tree) makers(e *tenancy.Entry) (out []*tenancy.Entry) {
	for range len(t) { // no chain is longer, were it even a ring
		m, ok := t[e.CreatedBy]
		if !ok || m.OrgID != e.OrgID {
			break
		}
		out = append(out, m)
		e = m
	}
	return out
}

// role is what a key may do now: no more than the member that it belongs to, nor than any key that made it may do now.
// A maker that was revoked while this key was kept says nothing any more itself; its member, if still one, does: else a
// revocation would be a way around a demotion.
func (t tree) role(e *tenancy.Entry) tenancy.Role {
	r := own(e)
	for _, m := range t.makers(e) {
		switch {
		case m.RevokedAt == nil:
			r = tenancy.Lesser(r, own(m))
		case m.MemberRole != "":
			r = tenancy.Lesser(r, m.MemberRole)
		}
	}
	return r
}

// lowers is tenancy.MayLower of a key with the roles of now; around are the budgets of all but keys, by id.
func (t tree) lowers(e *tenancy.Entry, around map[string]tenancy.Budget) bool {
	if role := t.role(e); !tenancy.MayPrice(role, e.Scopes) {
		return false // most keys: nothing to go through
	}
	var line []tenancy.Key
	for _, x := range append([]*tenancy.Entry{e}, t.makers(e)...) {
		k := x.Key
		k.Role = t.role(x)
		_, k.MemberBound = around[tenancy.MemberID(x.ProjectID, x.Member)]
		line = append(line, k)
	}
	return tenancy.MayLower(line, around[e.ProjectID], around[e.OrgID])
}

func own(e *tenancy.Entry) tenancy.Role {
	if e.Member == "" {
		return e.Role
	}
	return tenancy.Lesser(e.Role, e.MemberRole)
}
