package tenancy

import (
	"context"
	"io"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
)

// Service makes and changes tenancy. It checks values and the rules between keys; whether the caller may call at all
// is decided before, by role and scope.
type Service struct {
	Store   Store
	IDs     *id.Maker
	Now     func() time.Time
	Rand    io.Reader             // source of secrets
	Changed func(context.Context) // called after each change is durable, so that key rings refresh; may be nil
}

// Maker is the key on whose behalf something is made.
type Maker struct {
	KeyID, OrgID, ProjectID string
	Role                    Role
	Scopes                  []Scope
	ExpiresAt               time.Time // zero: never
	Lowers                  bool      // may lower prices; what may not gives nobody the scope for it
}

// The names that an empty installation starts with.
const (
	FirstOrganisation = "default"
	FirstProject      = "default"
)

var everything = append(slices.Clone(Ordinary), OrgWide, Platform)

// Bootstrap makes the first organisation, its first project and the owner key of an empty installation. On any other
// it returns the first organisation and project, no secret, and false.
func (s *Service) Bootstrap(ctx context.Context) (Organisation, Project, string, bool, error) {
	o, p, _, secret, made, err := s.found(ctx, FirstOrganisation, FirstProject, everything, "", true)
	if err != nil || made {
		return o, p, secret, made, err
	}
	o, p, err = s.First(ctx)
	return o, p, "", false, err
}

// First returns the oldest organisation and its oldest project.
func (s *Service) First(ctx context.Context) (Organisation, Project, error) {
	os, err := s.Store.Organisations(ctx, page.Page{Limit: 1})
	if err != nil {
		return Organisation{}, Project{}, err
	}
	if len(os) == 0 {
		return Organisation{}, Project{}, fault.New(fault.NotFound, "This installation has no organisation yet.",
			fault.Fix("Start it with `triarch up`."))
	}
	ps, err := s.Store.Projects(ctx, os[0].ID, page.Page{Limit: 1})
	if err == nil && len(ps) == 0 {
		err = fault.Newf(fault.NotFound, "The organisation %s has no project.", quote(os[0].Name))
	}
	if err != nil {
		return Organisation{}, Project{}, err
	}
	return os[0], ps[0], nil
}

// RecoverOwner makes another owner key like Bootstrap's, for whoever owns the data directory and lost the file. It
// returns the secret and the keys of that kind that still work. They are left alone: whoever kept a copy goes on with
// it, and all other keys were made by them.
func (s *Service) RecoverOwner(ctx context.Context) (string, []Key, error) {
	o, p, err := s.First(ctx)
	if err != nil {
		return "", nil, err
	}
	former, err := s.Store.Keys(ctx, p.ID, page.All)
	if err != nil {
		return "", nil, err
	}
	former = slices.DeleteFunc(former, func(k Key) bool {
		return k.CreatedBy != "" || k.RevokedAt != nil || k.Role != Owner || !Allows(k.Scopes, Platform) || k.ExpiresAt != nil && !k.ExpiresAt.After(s.now())
	})
	k, secret, hash, err := s.newKey(Key{OrgID: o.ID, ProjectID: p.ID, Name: "owner", Role: Owner, Scopes: everything})
	if err != nil {
		return "", nil, err
	}
	return secret, former, s.done(ctx, s.Store.AddKey(ctx, k, hash))
}

// CreateOrganisation makes an organisation with its first project and that project's owner key, whose secret it
// returns. Nothing that the new organisation uses counts against the maker, and it ends with nothing of the maker's, so a
// maker is refused that is bounded, expires or is a member's, or was made by one of these.
func (s *Service) CreateOrganisation(ctx context.Context, by Maker, name string) (Organisation, Project, Key, string, error) {
	if err := checkName("name", name); err != nil {
		return Organisation{}, Project{}, Key{}, "", err
	}
	line, err := s.line(ctx, by)
	if err != nil {
		return Organisation{}, Project{}, Key{}, "", err
	}
	for _, k := range line {
		if k.BudgetMicros != nil || k.Limits != (Limits{}) {
			return Organisation{}, Project{}, Key{}, "", fault.New(fault.Forbidden, "A key with a budget or limits, or made by one, cannot make an organisation: that would be bound by neither.",
				fault.Fix("Use a key without them."))
		}
		if len(k.Models) > 0 {
			return Organisation{}, Project{}, Key{}, "", fault.New(fault.Forbidden, "A key that may call only some models, or was made by one, cannot make an organisation: that could call others.",
				fault.Fix("Use a key without such a list."))
		}
		if k.ExpiresAt != nil || k.Member != "" {
			return Organisation{}, Project{}, Key{}, "", fault.New(fault.Forbidden, "A key that expires or belongs to a member, or was made by one, cannot make an organisation: that would outlive both.",
				fault.Fix("Use a key of the project itself that never expires."))
		}
	}
	scopes := append(slices.Clone(Ordinary), OrgWide)
	o, p, k, secret, _, err := s.found(ctx, name, FirstProject, scopes, by.KeyID, false)
	return o, p, k, secret, err
}

func (s *Service) found(ctx context.Context, org, project string, scopes []Scope, by string, first bool) (o Organisation, p Project, k Key, secret string, made bool, err error) {
	now := s.now()
	o = Organisation{ID: s.IDs.New("org"), Name: org, CreatedAt: now}
	p = Project{ID: s.IDs.New("prj"), OrgID: o.ID, Name: project, CreatedAt: now}
	k, secret, hash, err := s.newKey(Key{OrgID: o.ID, ProjectID: p.ID, Name: "owner", Role: Owner, Scopes: scopes, CreatedBy: by})
	if err != nil {
		return o, p, k, "", false, err
	}
	made, err = s.Store.AddOrganisation(ctx, o, p, k, hash, first)
	return o, p, k, secret, made, s.done(ctx, err)
}

// CreateProject makes a project in the organisation.
func (s *Service) CreateProject(ctx context.Context, org, name string) (Project, error) {
	if err := checkName("name", name); err != nil {
		return Project{}, err
	}
	p := Project{ID: s.IDs.New("prj"), OrgID: org, Name: name, CreatedAt: s.now()}
	return p, s.done(ctx, s.Store.AddProject(ctx, p))
}

// NewKey is what CreateKey needs to know.
type NewKey struct {
	ProjectID    string // empty: the maker's
	Name         string
	Role         Role    // empty: developer, or the maker's where that is less
	Scopes       []Scope // empty: Inference
	Member       string  // email; empty: the maker's, if it has one
	Limits       Limits
	BudgetMicros *int64
	Models       []string   // empty: the maker's
	ExpiresAt    *time.Time // nil: when the maker expires
}

// CreateKey makes a key and returns it with its secret, which cannot be read again. Role, scopes, expiry, limits,
// budget and models are at most the maker's; a project other than the maker's must be of the same organisation and asks for OrgWide.
// A member's key makes keys of members alone: of this one, unless another is named.
func (s *Service) CreateKey(ctx context.Context, by Maker, n NewKey) (Key, string, error) {
	k, err := s.planKey(by, n)
	if err != nil {
		return Key{}, "", err
	}
	line, err := s.line(ctx, by)
	if err != nil {
		return Key{}, "", err
	}
	if err := s.under(line, &k); err != nil {
		return Key{}, "", err
	}
	if k.ProjectID, err = s.ProjectFor(ctx, by, n.ProjectID); err != nil {
		return Key{}, "", err
	}
	if k.Member != "" {
		if err := s.checkMember(ctx, k); err != nil {
			return Key{}, "", err
		}
	}
	k, secret, hash, err := s.newKey(k)
	if err != nil {
		return Key{}, "", err
	}
	if err := s.done(ctx, s.Store.AddKey(ctx, k, hash)); err != nil {
		return Key{}, "", err
	}
	return k, secret, nil
}

// ProjectFor returns the project that a request names: the maker's own for an empty name, else the one of that id or
// name in the maker's organisation, which asks for OrgWide unless it is the maker's own. A project the maker may not
// see does not exist.
func (s *Service) ProjectFor(ctx context.Context, by Maker, name string) (string, error) {
	if name == "" || name == by.ProjectID {
		return by.ProjectID, nil
	}
	ps, err := s.Store.Projects(ctx, by.OrgID, page.All)
	if err != nil {
		return "", err
	}
	for _, p := range ps {
		if (p.ID == name || p.Name == name) && (p.ID == by.ProjectID || Allows(by.Scopes, OrgWide)) {
			return p.ID, nil
		}
	}
	return "", fault.New(fault.NotFound, "There is no project "+quote(name)+".", fault.Field("project"))
}

func (s *Service) planKey(by Maker, n NewKey) (Key, error) {
	k := Key{OrgID: by.OrgID, Name: n.Name, Role: n.Role, Limits: n.Limits, BudgetMicros: n.BudgetMicros,
		ExpiresAt: n.ExpiresAt, Member: strings.ToLower(n.Member), CreatedBy: by.KeyID}
	if err := checkName("name", k.Name); err != nil {
		return k, err
	}
	if k.Role == "" {
		k.Role = Lesser(Developer, by.Role)
	}
	if _, err := ParseRole(string(k.Role)); err != nil {
		return k, err
	}
	if !by.Role.AtLeast(k.Role) {
		return k, fault.New(fault.Forbidden, "A key's role can be at most its maker's, "+string(by.Role)+".", fault.Field("role"))
	}
	var err error
	if k.Scopes, err = planScopes(by, n.Scopes); err != nil {
		return k, err
	}
	if err := checkAmounts(n); err != nil {
		return k, err
	}
	if k.Models, err = planModels(n.Models); err != nil {
		return k, err
	}
	k.BudgetFrom, k.LimitsFrom = Height(by.Scopes), Height(by.Scopes)
	k.ExpiresAt, err = planExpiry(s.now(), by.ExpiresAt, n.ExpiresAt)
	return k, err
}

// money says whether a scope is about what something costs: whoever rules over prices can give it.
func money(x Scope) bool { return x == Pricing || x == FlexTier || x == Priority }

// planScopes gives the least where nothing is asked for: most keys are for applications, which call models.
func planScopes(by Maker, want []Scope) ([]Scope, error) {
	if len(want) == 0 {
		want = []Scope{Inference}
	}
	var out []Scope
	for _, x := range want {
		if _, err := ParseScope(string(x)); err != nil {
			return nil, err
		}
		if !Allows(by.Scopes, x) && !(money(x) && by.Lowers && MayPrice(by.Role, by.Scopes)) {
			return nil, fault.New(fault.Forbidden, "A key can have only its maker's scopes, and "+quote(string(x))+" is none of them.", fault.Field("scopes"))
		}
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out, nil
}

// amountMax bounds limits and budgets far above any use and far below overflow.
const amountMax = 1_000_000_000_000_000

func checkAmounts(n NewKey) error {
	budget := int64(0)
	if n.BudgetMicros != nil {
		budget = *n.BudgetMicros
	}
	for _, x := range []struct {
		field string
		n     int64
	}{{"rpm", n.Limits.RPM}, {"tpm", n.Limits.TPM}, {"concurrency", n.Limits.Concurrency}, {"budget_micros", budget}} {
		if x.n < 0 || x.n > amountMax {
			return fault.InvalidField(x.field, "%s must be between 0 and %d, got %d.", x.field, int64(amountMax), x.n)
		}
	}
	return nil
}

func planExpiry(now, maker time.Time, want *time.Time) (*time.Time, error) {
	if want == nil {
		if maker.IsZero() {
			return nil, nil
		}
		return &maker, nil
	}
	at := want.UTC().Truncate(time.Microsecond)
	if !at.After(now) {
		return nil, fault.New(fault.Invalid, "The expiry lies in the past.", fault.Field("expires_at"))
	}
	if !maker.IsZero() && at.After(maker) {
		return nil, fault.New(fault.Forbidden, "A key can expire at most when its maker does, "+maker.Format(time.RFC3339)+".", fault.Field("expires_at"))
	}
	return &at, nil
}

func (s *Service) checkMember(ctx context.Context, k Key) error {
	m, err := s.Store.Member(ctx, k.ProjectID, k.Member)
	if fault.Is(err, fault.NotFound) {
		return fault.InvalidField("member", "%s is no member of the project.", quote(k.Member))
	}
	if err == nil && !m.Role.AtLeast(k.Role) {
		return fault.InvalidField("role", "The member is %s, the key cannot be %s.", m.Role, k.Role)
	}
	return err
}

func (s *Service) newKey(k Key) (Key, string, [32]byte, error) {
	secret, hash, err := NewSecret(s.Rand)
	if err != nil {
		return k, "", hash, err
	}
	k.ID, k.Hint, k.CreatedAt = s.IDs.New("key"), Hint(secret), s.now()
	if k.BudgetMicros == nil {
		k.BudgetFrom = ""
	}
	if k.Limits == (Limits{}) {
		k.LimitsFrom = ""
	}
	return k, secret, hash, nil
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

func (s *Service) done(ctx context.Context, err error) error {
	if err == nil && s.Changed != nil {
		s.Changed(ctx)
	}
	return err
}

// maxName is the longest name, in characters.
const maxName = 64

func checkName(field, name string) error {
	if name == "" || utf8.RuneCountInString(name) > maxName || !utf8.ValidString(name) || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fault.InvalidField(field, "%s must be 1 to %d printable characters without spaces around them, got %s.", field, maxName, quote(name))
	}
	return nil
}

func checkEmail(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 {
		return "", fault.InvalidField("email", "%s is no email address.", quote(s))
	}
	return strings.ToLower(s), nil
}
