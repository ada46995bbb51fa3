// Package tenancy is who someone is and what belongs to whom: organisations, their projects, the members of a
// project, API keys and budgets.
//
// Rules for callers: work, data, models and keys belong to one project, and every Store method about a project's
// things takes the project, so that another project's object does not exist (fault.NotFound). A key's role, scopes,
// expiry, limits and budget never exceed those of the key that made it; what it uses counts against those of every key
// above it; and it ends with them. A key's secret is returned once, by the call that makes it; only its SHA-256 is
// stored. Changes go through Service, which tells the key ring.
package tenancy

import (
	"context"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
)

// Role is what a member or a key may do in its project.
type Role string

// The roles, each of which includes the ones after it.
const (
	Owner     Role = "owner"     // everything, with members, keys and budgets
	Developer Role = "developer" // makes and removes data, runs, models and deployments
	Viewer    Role = "viewer"    // looks at them and calls models
)

var rank = map[Role]int{Viewer: 1, Developer: 2, Owner: 3}

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	if rank[Role(s)] == 0 {
		return "", fault.New(fault.Invalid, "There is no role "+quote(s)+".", fault.Field("role"),
			fault.Fix("Use owner, developer or viewer."))
	}
	return Role(s), nil
}

// AtLeast says whether r includes min. An unknown role includes nothing.
func (r Role) AtLeast(min Role) bool { return rank[min] > 0 && rank[r] >= rank[min] }

// Lesser is the weaker of two roles.
func Lesser(a, b Role) Role {
	if rank[a] <= rank[b] {
		return a
	}
	return b
}

// Scope is one of the powers a key can be restricted to. A key without scopes has Ordinary, all that its role
// allows; the wider powers must be named.
type Scope string

// The scopes. Each endpoint asks for one of them together with a role.
const (
	Inference Scope = "inference"    // call models
	Read      Scope = "read"         // look at the project's things
	Write     Scope = "write"        // make, change and remove them
	Admin     Scope = "admin"        // members, keys and budgets of the project
	OrgWide   Scope = "organisation" // projects and budget of the organisation, keys and members of its projects
	Platform  Scope = "platform"     // operate the installation: organisations, and keys, budgets and usage of any
	FlexTier  Scope = "flex"         // ask for the service tier flex where a route keeps it for keys that have this
	Priority  Scope = "priority"     // likewise of the service tier priority
	Pricing   Scope = "pricing"      // set prices of routes and share them; owners with Admin may without it
)

// Ordinary are the scopes that a key without a list has.
var Ordinary = []Scope{Inference, Read, Write, Admin}

// ParseScope reads a scope's name.
func ParseScope(s string) (Scope, error) {
	if x := Scope(s); slices.Contains(Ordinary, x) || x == OrgWide || x == Platform || x == Pricing || x == FlexTier || x == Priority {
		return x, nil
	}
	return "", fault.New(fault.Invalid, "There is no scope "+quote(s)+".", fault.Field("scopes"),
		fault.Fix("Use inference, read, write, admin, flex, priority, pricing, organisation or platform."))
}

// MayPrice says whether a key of this role and these scopes may say what a token costs: with Pricing, or as an owner
// who has the project's money in hand anyway. Who is bounded by another's budget has it not in hand: see MayLower.
func MayPrice(role Role, scopes []Scope) bool {
	return Allows(scopes, Pricing) || role.AtLeast(Owner) && Allows(scopes, Admin)
}

// Height is the widest of the scopes that rule over money: Platform, OrgWide, or else Admin.
func Height(scopes []Scope) Scope {
	for _, x := range []Scope{Platform, OrgWide} {
		if Allows(scopes, x) {
			return x
		}
	}
	return Admin
}

var heights = map[Scope]int{Admin: 1, OrgWide: 2, Platform: 3}

// Allows says whether a list of scopes contains want; the empty list stands for Ordinary.
func Allows(scopes []Scope, want Scope) bool {
	if len(scopes) == 0 {
		scopes = Ordinary
	}
	return slices.Contains(scopes, want)
}

// Organisation owns projects.
type Organisation struct {
	ID        string // org_...
	Name      string // unique in the installation
	CreatedAt time.Time
}

// Project owns work, data, models and keys.
type Project struct {
	ID        string // prj_...
	OrgID     string
	Name      string // unique in the organisation
	CreatedAt time.Time
}

// Member is a person's role in a project.
type Member struct {
	ProjectID string
	Email     string // lower case
	Role      Role
	CreatedAt time.Time
}

// Limits bound the use of one thing. 0 means no limit.
type Limits struct {
	RPM         int64 // requests a minute
	TPM         int64 // tokens a minute, prompt and completion together
	Concurrency int64 // requests in flight
}

// Key is an API key without its secret.
type Key struct {
	ID           string // key_...
	OrgID        string
	ProjectID    string
	Name         string
	Role         Role
	Scopes       []Scope // empty: Ordinary
	Member       string  // email of the member it belongs to; empty: the project itself
	Hint         string  // last characters of the secret, to tell keys apart
	Limits       Limits
	BudgetMicros *int64     // the key's own Budget in micro-units; nil: none
	BudgetFrom   Scope      // its Budget.SetFrom; empty without one
	LimitsFrom   Scope      // its Limit.SetFrom; empty without one
	Models       []string   // the models that it may call, by any of their names; empty: all
	MemberBound  bool       // its member has a budget; told by whoever asks MayLower
	ExpiresAt    *time.Time // nil: never
	RevokedAt    *time.Time // nil: not revoked
	CreatedBy    string     // id of the key that made it; empty for the first
	CreatedAt    time.Time
}

// The things a Budget or a Limit can bound. Whatever is charged for a request is charged to all of them that it
// concerns, and each must allow it.
const (
	OfOrganisation = "organisation"
	OfProject      = "project"
	OfKey          = "key"    // with the keys that it made
	OfMember       = "member" // of a project; with what the member's keys made. The id is MemberID's
	OfModel        = "model"  // a route, by its id
)

// MemberID is the id by which budgets and limits name a member of a project.
func MemberID(project, email string) string { return project + ":" + email }

// Budget bounds what an organisation, project, key, member or model may spend in all, in micro-units of money.
type Budget struct {
	Scope       string // OfOrganisation and so on
	ID          string // of the thing it bounds
	LimitMicros int64  // at least 0
	SetFrom     Scope  // Height of the key that set it: Admin, OrgWide or Platform
	LowerOnly   bool   // of one to be set: it may only lower the one that there is; not stored
}

// Replace is the budget that takes the place of old: one that was set from above may be lowered from below, and stays
// set from above. Raising it is fault.Forbidden, and raising any with LowerOnly.
func (b Budget) Replace(old Budget) (Budget, error) {
	if b.LowerOnly && b.LimitMicros > old.LimitMicros {
		return b, lowerable()
	}
	b.LowerOnly = false
	if heights[b.SetFrom] < heights[old.SetFrom] {
		if b.LimitMicros > old.LimitMicros {
			return b, fromAbove(old)
		}
		b.SetFrom = old.SetFrom
	}
	return b, nil
}

// MayRemove says whether someone of a Height may take the budget away; fault.Forbidden if it was set from above.
func (b Budget) MayRemove(height Scope) error {
	if heights[height] < heights[b.SetFrom] {
		return fromAbove(b)
	}
	return nil
}

func fromAbove(b Budget) error {
	return fault.New(fault.Forbidden, "This budget was set with the scope "+string(b.SetFrom)+": without it, it can only be lowered.",
		fault.Field("limit_micros"), fault.Code("set_from_above"), fault.Fix("Ask whoever has a key with that scope."))
}

func lowerable() error {
	return fault.New(fault.Forbidden, "A key with a budget, or made by one, can only lower the budgets of keys that it did not make.",
		fault.Field("limit_micros"), fault.Fix("Ask whoever made the key."))
}

// above says whether whoever has this Height did not set the budget and cannot raise it.
func (b Budget) above(height Scope) bool { return heights[b.SetFrom] > heights[height] }

// MayLower says whether the first key of a line, those above it following, may lower prices: it may set them, and is
// bounded neither by a budget of one in the line nor by one of its project or organisation that was set from above it.
// The scope Pricing lets also a bounded one, if whoever made it may lower them: else a key could make, ahead of its
// being bounded, another to free it. Roles are those that the keys have now; around are the budgets of the project and
// the organisation.
func MayLower(line []Key, around ...Budget) bool {
	for i, k := range line {
		switch {
		case !MayPrice(k.Role, k.Scopes):
			return false
		case !bounded(line[i:], around):
			return true
		case !Allows(k.Scopes, Pricing):
			return false
		}
	}
	return len(line) > 0
}

// bounded says whether a budget that the first key of a line cannot raise bounds it. The one that the organisation's
// first key has is its own matter, unless it was set from above.
func bounded(line []Key, around []Budget) bool {
	height := Height(line[0].Scopes)
	for _, b := range around {
		if b.above(height) {
			return true
		}
	}
	for _, k := range line {
		if k.MemberBound {
			return true
		}
		if k.BudgetMicros != nil && (len(line) > 1 || Budget{SetFrom: k.BudgetFrom}.above(height)) {
			return true
		}
	}
	return false
}

// MaxDepth is how many keys a chain of makers can have, the first included.
const MaxDepth = 8

// Entry is a key as authentication needs it: with the hash of its secret, and the role that its member, if it has
// one, still has.
type Entry struct {
	Key
	Hash       [32]byte
	MemberRole Role // empty when Key.Member is
}

// Snapshot is all keys, budgets and limits at one moment. Generation grows with every change.
type Snapshot struct {
	Generation int64
	Keys       []Entry
	Budgets    []Budget
	Limits     []Limit
}

// Store keeps tenancy. Names taken are fault.Conflict, absent objects fault.NotFound.
type Store interface {
	// AddOrganisation inserts an organisation with its first project and that project's first key in one
	// transaction. With onlyIfFirst it does nothing and returns false when any organisation exists.
	AddOrganisation(ctx context.Context, o Organisation, p Project, k Key, hash [32]byte, onlyIfFirst bool) (bool, error)
	// Organisations lists all, oldest first; the key of a page is the id.
	Organisations(ctx context.Context, p page.Page) ([]Organisation, error)
	Organisation(ctx context.Context, id string) (Organisation, error)

	AddProject(ctx context.Context, p Project) error
	// Projects lists those of an organisation, oldest first; the key of a page is the id.
	Projects(ctx context.Context, org string, p page.Page) ([]Project, error)
	Project(ctx context.Context, org, id string) (Project, error)

	// PutMember inserts the member or changes the role; unless orphan, it refuses (fault.Conflict) to take the last
	// owner's role.
	PutMember(ctx context.Context, m Member, orphan bool) error
	// Members lists those of a project by email, which is the key of a page.
	Members(ctx context.Context, project string, p page.Page) ([]Member, error)
	Member(ctx context.Context, project, email string) (Member, error)
	// RemoveMember removes the member and revokes the member's keys, and unless keepChildren all that these made. The
	// last owner stays (fault.Conflict) unless orphan.
	RemoveMember(ctx context.Context, project, email string, at time.Time, keepChildren, orphan bool) error

	// AddKey inserts the key, with its budget if it has one; fault.Conflict if its maker was revoked meanwhile.
	AddKey(ctx context.Context, k Key, hash [32]byte) error
	// Keys lists those of a project, oldest first; the key of a page is the id.
	Keys(ctx context.Context, project string, p page.Page) ([]Key, error)
	Key(ctx context.Context, project, id string) (Key, error)
	// Line is a key of the organisation and the keys above it: its maker, the maker's, and so on.
	Line(ctx context.Context, org, id string) ([]Key, error)
	// RevokeKey revokes the key, and unless keepChildren all that it made, in whatever project of the organisation.
	// It is idempotent: the first time stands.
	RevokeKey(ctx context.Context, project, id string, at time.Time, keepChildren bool) error

	// Holder is the organisation and, of what has one, the project that a thing belongs to which a budget or a limit can
	// bound. It looks everywhere: the caller checks that the answer may be told.
	Holder(ctx context.Context, scope, id string) (org, project string, err error)
	// SetBudget inserts a budget of a thing that belongs to org, or replaces one by the rule of Budget.Replace, and
	// returns it as it now is.
	SetBudget(ctx context.Context, org string, b Budget) (Budget, error)
	// RemoveBudget removes one that someone of this Height may remove.
	RemoveBudget(ctx context.Context, org, scope, id string, height Scope) error
	// Budgets lists those of the organisation and all that belongs to it.
	Budgets(ctx context.Context, org string) ([]Budget, error)
	// SetLimit changes the limit of a thing that belongs to org by the rule of LimitChange.Apply, and returns it as it
	// now is. One that bounds nothing any more is gone.
	SetLimit(ctx context.Context, org string, c LimitChange) (Limit, error)
	// Limits lists those of the organisation and all that belongs to it.
	Limits(ctx context.Context, org string) ([]Limit, error)

	// Snapshot returns all keys, budgets and limits; if the generation is still `known` it returns false instead.
	Snapshot(ctx context.Context, known int64) (Snapshot, bool, error)
}

func quote(s string) string {
	r := []rune(s)
	if len(r) > 60 {
		s = string(r[:60]) + "..."
	}
	return `"` + s + `"`
}
