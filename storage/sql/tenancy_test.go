package sql_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// house is a tenancy service with its key ring on one database, and a clock that stands still unless moved.
type house struct {
	*tenancy.Service
	ring    *auth.Keyring
	now     time.Time
	secrets map[string]string // of the keys that key made
}

func newHouse(t *testing.T, db *sql.DB) *house {
	h := &house{secrets: map[string]string{}, now: time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)}
	clock := func() time.Time { return h.now }
	h.ring = auth.NewKeyring(db.Tenancy(), clock)
	h.Service = &tenancy.Service{Store: db.Tenancy(), IDs: &id.Maker{Now: time.Now, Rand: rand.Reader}, Now: clock, Rand: rand.Reader,
		Changed: func(ctx context.Context) { must(t, h.ring.Refresh(ctx)) }}
	return h
}

func (h *house) owner(t *testing.T) (*auth.Principal, string) {
	t.Helper()
	_, _, secret, made, err := h.Bootstrap(t.Context())
	must(t, err)
	if !made {
		t.Fatal("bootstrap made nothing")
	}
	p, err := h.ring.Authenticate(secret)
	must(t, err)
	return p, secret
}

// key makes a key and returns it as it authenticates.
func (h *house) key(t *testing.T, by *auth.Principal, n tenancy.NewKey) *auth.Principal {
	t.Helper()
	_, secret, err := h.CreateKey(t.Context(), by.Maker(), n)
	must(t, err)
	p, err := h.ring.Authenticate(secret)
	must(t, err)
	h.secrets[p.KeyID] = secret
	return p
}

// alive says whether a key still works.
func (h *house) alive(t *testing.T, p *auth.Principal) bool {
	t.Helper()
	k, err := h.Store.Key(t.Context(), p.ProjectID, p.KeyID)
	must(t, err)
	return k.RevokedAt == nil
}

func only[T any](_ T, err error) error { return err }

func wantKind(t *testing.T, err error, kind fault.Kind, field string) {
	t.Helper()
	if !fault.Is(err, kind) || fault.As(err).Field != field {
		t.Errorf("got %v (field %q), want %s %q", err, fault.As(err).Field, kind, field)
	}
}

func TestBootstrapOnce(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		var made atomic.Int64
		var wg sync.WaitGroup
		for range 4 { // several starting at once make one organisation
			wg.Go(func() {
				_, _, secret, m, err := h.Bootstrap(t.Context())
				if err != nil {
					t.Error(err)
				}
				if m {
					made.Add(1)
				}
				if m != (secret != "") {
					t.Error("a secret that no key has")
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Fatalf("%d bootstraps made something", made.Load())
		}
		o, p, _, _, err := h.Bootstrap(t.Context())
		must(t, err)
		if o.Name != tenancy.FirstOrganisation || p.OrgID != o.ID || !id.Valid("org", o.ID) || !id.Valid("prj", p.ID) {
			t.Fatalf("found %+v %+v", o, p)
		}
		secret, former, err := h.RecoverOwner(t.Context())
		must(t, err)
		who, err := h.ring.Authenticate(secret)
		must(t, err)
		if len(former) != 1 || former[0].CreatedBy != "" || former[0].ID == who.KeyID {
			t.Errorf("former owner keys %+v", former)
		}
		if _, again, err := h.RecoverOwner(t.Context()); err != nil || len(again) != 2 {
			t.Errorf("the second time %+v, %v", again, err)
		}
		must(t, h.RevokeKey(t.Context(), who.Maker(), p.ID, former[0].ID, true))
		if _, again, err := h.RecoverOwner(t.Context()); err != nil || len(again) != 2 {
			t.Errorf("with one revoked %+v, %v", again, err)
		}
		if who.ProjectID != p.ID || !who.May(tenancy.Owner, tenancy.Platform) {
			t.Fatalf("recovered %+v", who)
		}
	})
}

func TestKeysAreAtMostTheirMaker(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, _ := h.owner(t)
		soon, later, past := h.now.Add(time.Hour), h.now.Add(2*time.Hour), h.now.Add(-time.Second)
		budget := int64(1_500_000)
		k, secret, err := h.CreateKey(ctx, owner.Maker(), tenancy.NewKey{Name: "dev", Role: tenancy.Developer,
			Scopes: []tenancy.Scope{tenancy.Inference, tenancy.Read, tenancy.Read}, ExpiresAt: &soon, BudgetMicros: &budget,
			Limits: tenancy.Limits{RPM: 1, TPM: 2, Concurrency: 3}})
		must(t, err)
		if len(secret) != 47 || !strings.HasSuffix(secret, strings.TrimPrefix(k.Hint, "...")) {
			t.Fatalf("secret of length %d, hint %q", len(secret), k.Hint)
		}
		stored, err := h.Store.Key(ctx, owner.ProjectID, k.ID)
		must(t, err)
		if d := cmp.Diff(k, stored); d != "" {
			t.Fatalf("stored differently: %s", d)
		}
		dev, err := h.ring.Authenticate(secret)
		must(t, err)
		if dev.KeyID != k.ID || dev.Limits != k.Limits || !dev.ExpiresAt.Equal(soon) || "key_"+dev.Key.String() != k.ID ||
			!dev.May(tenancy.Viewer, tenancy.Inference) || dev.May(tenancy.Developer, tenancy.Write) || dev.May(tenancy.Owner, tenancy.Read) {
			t.Fatalf("authenticated %+v", dev)
		}
		if m, ok := h.ring.Budget(tenancy.OfKey, k.ID); !ok || m != budget {
			t.Fatalf("budget %d %v", m, ok)
		}
		for _, c := range []struct {
			n     tenancy.NewKey
			kind  fault.Kind
			field string
		}{
			{tenancy.NewKey{Name: "x", Role: tenancy.Owner}, fault.Forbidden, "role"},
			{tenancy.NewKey{Name: "x", Role: "king"}, fault.Invalid, "role"},
			{tenancy.NewKey{Name: "x", Scopes: []tenancy.Scope{tenancy.Write}}, fault.Forbidden, "scopes"},
			{tenancy.NewKey{Name: "x", Scopes: []tenancy.Scope{tenancy.OrgWide}}, fault.Forbidden, "scopes"},
			{tenancy.NewKey{Name: "x", Scopes: []tenancy.Scope{"fly"}}, fault.Invalid, "scopes"},
			{tenancy.NewKey{Name: "x", ExpiresAt: &later}, fault.Forbidden, "expires_at"},
			{tenancy.NewKey{Name: "x", ExpiresAt: &past}, fault.Invalid, "expires_at"},
			{tenancy.NewKey{Name: "x", Limits: tenancy.Limits{RPM: -1}}, fault.Invalid, "rpm"},
			{tenancy.NewKey{Name: ""}, fault.Invalid, "name"},
			{tenancy.NewKey{Name: strings.Repeat("x", 65)}, fault.Invalid, "name"},
			{tenancy.NewKey{Name: "a\nb"}, fault.Invalid, "name"},
			{tenancy.NewKey{Name: "x", Member: "nobody@example.org"}, fault.Invalid, "member"},
			{tenancy.NewKey{Name: "x", ProjectID: "prj_00000000000000000000000000"}, fault.NotFound, "project"},
		} {
			_, _, err := h.CreateKey(ctx, dev.Maker(), c.n)
			wantKind(t, err, c.kind, c.field)
		}
		child, _, err := h.CreateKey(ctx, dev.Maker(), tenancy.NewKey{Name: "child"})
		must(t, err)
		if child.Role != tenancy.Developer || !cmp.Equal(child.Scopes, []tenancy.Scope{tenancy.Inference}) || !child.ExpiresAt.Equal(soon) {
			t.Fatalf("a child with defaults is %+v", child)
		}
		h.now = soon
		_, err = h.ring.Authenticate(secret)
		if fault.As(err).Code != "key_expired" {
			t.Fatalf("at its expiry: %v", err)
		}
	})
}

func TestRevokedKeyStopsAtOnceHereAndWithinARefreshElsewhere(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, ownerSecret := h.owner(t)
		k, secret, err := h.CreateKey(ctx, owner.Maker(), tenancy.NewKey{Name: "x"})
		must(t, err)
		elsewhere := auth.NewKeyring(db.Tenancy(), time.Now)
		must(t, elsewhere.Refresh(ctx))
		must(t, h.RevokeKey(ctx, owner.Maker(), owner.ProjectID, k.ID, false))
		if _, err := h.ring.Authenticate(secret); fault.As(err).Code != "key_revoked" {
			t.Fatalf("here: %v", err)
		}
		if _, err := elsewhere.Authenticate(secret); err != nil {
			t.Fatalf("before its refresh: %v", err)
		}
		must(t, elsewhere.Refresh(ctx))
		if _, err := elsewhere.Authenticate(secret); fault.As(err).Code != "key_revoked" {
			t.Fatalf("elsewhere: %v", err)
		}
		at := h.now
		h.now = h.now.Add(time.Hour)
		must(t, h.RevokeKey(ctx, owner.Maker(), owner.ProjectID, k.ID, false))
		if k, err := h.Store.Key(ctx, owner.ProjectID, k.ID); err != nil || !k.RevokedAt.Equal(at) {
			t.Fatalf("revoked again: %v, %v", k.RevokedAt, err)
		}
		for _, s := range []string{"", "tri_", "sk-abc", ownerSecret + "x", ownerSecret[:46] + "!", strings.ToUpper(ownerSecret)} {
			if _, err := h.ring.Authenticate(s); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%d characters: %v", len(s), err)
			}
		}
	})
}

func TestAnotherProjectsThingsDoNotExist(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, _ := h.owner(t)
		second, err := h.CreateProject(ctx, owner.OrgID, "second")
		must(t, err)
		_, err = h.CreateProject(ctx, owner.OrgID, "second")
		wantKind(t, err, fault.Conflict, "")
		k, secret, err := h.CreateKey(ctx, owner.Maker(), tenancy.NewKey{Name: "x", ProjectID: "second", Role: tenancy.Owner})
		must(t, err)
		if k.ProjectID != second.ID {
			t.Fatalf("made in %s", k.ProjectID)
		}
		stranger, err := h.ring.Authenticate(secret)
		must(t, err)
		_, foreign, fk, _, err := h.CreateOrganisation(ctx, owner.Maker(), "other")
		must(t, err)
		_, err = h.Store.Key(ctx, owner.ProjectID, k.ID)
		wantKind(t, err, fault.NotFound, "")
		wantKind(t, h.RevokeKey(ctx, owner.Maker(), owner.ProjectID, k.ID, false), fault.NotFound, "")
		_, err = h.Store.Project(ctx, owner.OrgID, foreign.ID)
		wantKind(t, err, fault.NotFound, "")
		_, err = h.ProjectFor(ctx, owner.Maker(), foreign.ID)
		wantKind(t, err, fault.NotFound, "project")
		_, err = h.ProjectFor(ctx, stranger.Maker(), owner.ProjectID)
		wantKind(t, err, fault.NotFound, "project")
		wide := h.key(t, owner, tenancy.NewKey{Name: "wide", Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Admin, tenancy.OrgWide}})
		for _, b := range []tenancy.Budget{{Scope: tenancy.OfKey, ID: fk.ID}, {Scope: tenancy.OfProject, ID: foreign.ID}, {Scope: tenancy.OfOrganisation, ID: foreign.OrgID}} {
			wantKind(t, only(h.SetBudget(ctx, wide.Maker(), b)), fault.NotFound, "")
		}
		wantKind(t, only(h.SetBudget(ctx, stranger.Maker(), tenancy.Budget{Scope: tenancy.OfKey, ID: owner.KeyID})), fault.NotFound, "")
		wantKind(t, only(h.SetBudget(ctx, stranger.Maker(), tenancy.Budget{Scope: tenancy.OfProject, ID: second.ID})), fault.Forbidden, "scope")
		wantKind(t, only(h.SetBudget(ctx, owner.Maker(), tenancy.Budget{Scope: "planet", ID: "x"})), fault.Invalid, "scope")
		wantKind(t, only(h.SetBudget(ctx, owner.Maker(), tenancy.Budget{Scope: tenancy.OfKey, ID: owner.KeyID, LimitMicros: -1})), fault.Invalid, "limit_micros")
	})
}

func TestBudgets(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, _ := h.owner(t)
		_, err := h.CreateProject(ctx, owner.OrgID, "second")
		must(t, err)
		_, secret, err := h.CreateKey(ctx, owner.Maker(), tenancy.NewKey{Name: "x", ProjectID: "second", Role: tenancy.Owner})
		must(t, err)
		stranger, err := h.ring.Authenticate(secret)
		must(t, err)
		all := []tenancy.Budget{{Scope: tenancy.OfKey, ID: owner.KeyID, LimitMicros: 7, SetFrom: tenancy.Platform}, {Scope: tenancy.OfOrganisation, ID: owner.OrgID, LimitMicros: 8, SetFrom: tenancy.Platform},
			{Scope: tenancy.OfProject, ID: owner.ProjectID, LimitMicros: 9, SetFrom: tenancy.Platform}}
		for _, b := range all {
			must(t, only(h.SetBudget(ctx, owner.Maker(), tenancy.Budget{Scope: b.Scope, ID: b.ID, LimitMicros: 1})))
			must(t, only(h.SetBudget(ctx, owner.Maker(), b)))
			if m, ok := h.ring.Budget(b.Scope, b.ID); !ok || m != b.LimitMicros {
				t.Errorf("ring has %d %v for %+v", m, ok, b)
			}
		}
		got, err := h.Budgets(ctx, owner.Maker(), "")
		must(t, err)
		if d := cmp.Diff(all, got); d != "" {
			t.Error(d)
		}
		got, err = h.Budgets(ctx, stranger.Maker(), "")
		must(t, err)
		if d := cmp.Diff(all[1:2], got); d != "" {
			t.Errorf("a stranger sees %s", d)
		}
		must(t, h.RemoveBudget(ctx, owner.Maker(), tenancy.OfKey, owner.KeyID))
		if _, ok := h.ring.Budget(tenancy.OfKey, owner.KeyID); ok {
			t.Error("still in the ring")
		}
		wantKind(t, h.RemoveBudget(ctx, owner.Maker(), tenancy.OfKey, owner.KeyID), fault.NotFound, "")
	})
}

func TestMembersRuleTheirKeys(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, _ := h.owner(t)
		prj := owner.ProjectID
		_, err := h.PutMember(ctx, owner.Maker(), prj, "Ann@Example.org", tenancy.Owner)
		must(t, err)
		by := h.key(t, owner, tenancy.NewKey{Name: "ann", Role: tenancy.Owner, Member: "ann@example.org", Scopes: tenancy.Ordinary}).Maker()
		_, err = h.PutMember(ctx, by, prj, "ann@example.org", tenancy.Viewer)
		wantKind(t, err, fault.Conflict, "")
		wantKind(t, h.RemoveMember(ctx, by, prj, "ann@example.org", false), fault.Conflict, "")
		_, err = h.PutMember(ctx, by, prj, "bob@example.org", tenancy.Developer)
		must(t, err)
		_, _, err = h.CreateKey(ctx, owner.Maker(), tenancy.NewKey{Name: "b", Member: "bob@example.org", Role: tenancy.Owner})
		wantKind(t, err, fault.Invalid, "role")
		_, secret, err := h.CreateKey(ctx, owner.Maker(), tenancy.NewKey{Name: "b", Member: "Bob@example.org"})
		must(t, err)
		bob, err := h.ring.Authenticate(secret)
		must(t, err)
		if bob.Role != tenancy.Developer {
			t.Fatalf("bob is %s", bob.Role)
		}
		_, err = h.PutMember(ctx, by, prj, "bob@example.org", tenancy.Viewer)
		must(t, err)
		if bob, err = h.ring.Authenticate(secret); err != nil || bob.Role != tenancy.Viewer {
			t.Fatalf("after the demotion bob is %v, %v", bob, err)
		}
		must(t, h.RemoveMember(ctx, by, prj, "BOB@example.org", false))
		if _, err = h.ring.Authenticate(secret); fault.As(err).Code != "key_revoked" {
			t.Fatalf("after the removal: %v", err)
		}
		wantKind(t, h.RemoveMember(ctx, by, prj, "bob@example.org", false), fault.NotFound, "")
		for _, bad := range []string{"", "bob", "Bob <bob@example.org>", "a@b\n", strings.Repeat("a", 250) + "@b.co"} {
			_, err = h.PutMember(ctx, by, prj, bad, tenancy.Viewer)
			wantKind(t, err, fault.Invalid, "email")
		}
		ms, err := h.Store.Members(ctx, prj, page.All)
		must(t, err)
		if len(ms) != 1 || ms[0].Email != "ann@example.org" || ms[0].Role != tenancy.Owner || !ms[0].CreatedAt.Equal(h.now) {
			t.Fatalf("members %+v", ms)
		}
	})
}
