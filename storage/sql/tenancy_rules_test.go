package sql_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// Whatever a key makes, and whatever these make, and however all of them spend, together they never exceed its budget;
// nor after a restart.
func TestNobodyExceedsTheBudgetOfAMaker(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		r := rand.New(rand.NewPCG(1, 2))
		owner, _ := h.owner(t)
		keys := []*auth.Principal{owner}
		for len(keys) < 14 {
			by := keys[r.IntN(len(keys))]
			n := tenancy.NewKey{Name: fmt.Sprint(len(keys)), Role: tenancy.Owner, Scopes: tenancy.Ordinary}
			if r.IntN(3) > 0 {
				n.BudgetMicros = new(int64(50 + r.IntN(200)))
			}
			_, secret, err := h.CreateKey(t.Context(), by.Maker(), n)
			if fault.Is(err, fault.Forbidden) {
				continue // wider than the maker, or too deep
			}
			must(t, err)
			p, err := h.ring.Authenticate(secret)
			must(t, err)
			keys = append(keys, p)
		}
		spent := map[id.Raw]int64{} // by key alone, as the usage records tell
		served, refused := 0, 0
		for range 3 { // two restarts
			book := quota.NewBook(h.ring, time.Now)
			book.Load(spent, h.ring.Charged)
			var open []*quota.Reservation
			var whose []*auth.Principal
			settle := func(i int) {
				prompt, completion := open[i].Bounds()
				completion = min(completion, 50)
				cost := int64(min(prompt, 5) + completion)
				open[i].Settle(cost, prompt, completion)
				spent[whose[i].Key] += cost
				open, whose = append(open[:i], open[i+1:]...), append(whose[:i], whose[i+1:]...)
			}
			for range 200 {
				if p := keys[1+r.IntN(len(keys)-1)]; len(open) < 5 {
					x, err := book.Reserve(t.Context(), quota.Ask{Who: p, Prices: meter.Flat(1_000_000, 1_000_000), Prompt: 5, Output: 1 + r.IntN(20)})
					if err == nil {
						open, whose, served = append(open, x), append(whose, p), served+1
					} else if refused++; !fault.Is(err, fault.NoMoney) {
						t.Fatal(err)
					}
				}
				if len(open) > 0 && r.IntN(2) == 0 {
					settle(r.IntN(len(open)))
				}
			}
			for len(open) > 0 {
				settle(0)
			}
			for _, p := range keys {
				sum := spent[p.Key]
				for _, q := range keys {
					for _, a := range q.Above {
						if a.Key == p.Key {
							sum += spent[q.Key]
						}
					}
				}
				if limit, ok := h.ring.Budget(tenancy.OfKey, p.KeyID); ok && sum > limit || book.Spent(p.Key) != sum {
					t.Errorf("%s with those it made spent %d of %d, the book says %d", p.KeyID, sum, limit, book.Spent(p.Key))
				}
			}
		}
		if served < 20 || refused < 20 {
			t.Errorf("%d were served and %d refused: this proves little", served, refused)
		}
	})
}

func TestChainsOfMakersEnd(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		p, _ := h.owner(t)
		for range tenancy.MaxDepth - 1 {
			p = h.key(t, p, tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary})
		}
		if len(p.Above) != tenancy.MaxDepth-1 {
			t.Errorf("%d keys above", len(p.Above))
		}
		_, _, err := h.CreateKey(t.Context(), p.Maker(), tenancy.NewKey{Name: "x"})
		wantKind(t, err, fault.Forbidden, "")
	})
}

// A key has its list of models from its maker or narrows it, and no key of the line gets out of it.
func TestModelsAreHandedDown(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		owner, _ := h.owner(t)
		n := tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: append(slices.Clone(tenancy.Ordinary), tenancy.OrgWide, tenancy.Platform)}
		if k := h.key(t, owner, n); len(k.Models) != 0 || !k.Calls("whatever", nil) {
			t.Errorf("a key without a list has %v", k.Models)
		}
		listed := n
		listed.Models = []string{"a", "b"}
		two := h.key(t, owner, listed)
		heir := h.key(t, two, n)
		listed.Models = []string{"b"}
		one := h.key(t, heir, listed)
		for _, x := range []struct {
			k    *auth.Principal
			want []string
		}{{two, []string{"a", "b"}}, {heir, []string{"a", "b"}}, {one, []string{"b"}}, {h.key(t, one, n), []string{"b"}}} {
			stored, err := h.Store.Key(t.Context(), x.k.ProjectID, x.k.KeyID)
			must(t, err)
			if !slices.Equal(x.k.Models, x.want) || !slices.Equal(stored.Models, x.want) {
				t.Errorf("authenticated with %v, stored %v, want %v", x.k.Models, stored.Models, x.want)
			}
		}
		if !one.Calls("b", nil) || !one.Calls("x", []string{"y", "b"}) || one.Calls("a", []string{"x"}) {
			t.Error("the list is not kept")
		}
		listed.Models = []string{"b", "c"}
		wantKind(t, only2(h.CreateKey(t.Context(), two.Maker(), listed)), fault.Forbidden, "models")
		_, _, _, _, err := h.CreateOrganisation(t.Context(), one.Maker(), "away")
		wantKind(t, err, fault.Forbidden, "")
	})
}

func only2[A, B any](_ A, _ B, err error) error { return err }

// A revoked key ends with all that it made, wherever that is, unless this is to be kept.
func TestRevokingEndsWhatAKeyMade(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, _ := h.owner(t)
		_, err := h.CreateProject(ctx, owner.OrgID, "second")
		must(t, err)
		n := tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Inference, tenancy.Admin, tenancy.OrgWide}}
		there := n
		there.ProjectID = "second"
		a := h.key(t, owner, n)
		b, elsewhere := h.key(t, a, n), h.key(t, a, there)
		c := h.key(t, b, n)
		sister := h.key(t, owner, n)

		for _, keep := range []bool{false, true} { // not from below
			wantKind(t, h.RevokeKey(ctx, c.Maker(), a.ProjectID, a.KeyID, keep), fault.Forbidden, "")
			wantKind(t, h.RevokeKey(ctx, b.Maker(), a.ProjectID, a.KeyID, keep), fault.Forbidden, "")
		}
		narrow := h.key(t, owner, tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary})
		wantKind(t, h.RevokeKey(ctx, narrow.Maker(), a.ProjectID, a.KeyID, true), fault.Forbidden, "") // nor from beside with less
		must(t, h.RevokeKey(ctx, owner.Maker(), a.ProjectID, a.KeyID, true))
		if h.alive(t, a) || !h.alive(t, b) || !h.alive(t, elsewhere) || !h.alive(t, c) {
			t.Fatal("keep_children did not keep them, or kept the key itself")
		}
		if x, err := h.ring.Authenticate(""); err == nil || x != nil {
			t.Fatal("the empty secret authenticates")
		}
		must(t, h.RevokeKey(ctx, owner.Maker(), b.ProjectID, b.KeyID, false))
		if h.alive(t, b) || h.alive(t, c) || !h.alive(t, elsewhere) || !h.alive(t, sister) {
			t.Fatal("revoking b ended too little or too much")
		}
		must(t, h.RevokeKey(ctx, owner.Maker(), a.ProjectID, a.KeyID, false)) // again, thoroughly
		if h.alive(t, elsewhere) || !h.alive(t, sister) || !h.alive(t, owner) {
			t.Fatal("revoking a again ended too little or too much")
		}
		_, _, err = h.CreateKey(ctx, a.Maker(), n) // it was authenticated before
		wantKind(t, err, fault.Conflict, "")
	})
}

// What a member's keys make is the member's, and can at no time do more than the member.
func TestMembersKeysMakeMembersKeys(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, _ := h.owner(t)
		prj := owner.ProjectID
		for _, email := range []string{"ann@example.org", "bob@example.org", "cleo@example.org"} {
			_, err := h.PutMember(ctx, owner.Maker(), prj, email, tenancy.Owner)
			must(t, err)
		}
		_, err := h.CreateProject(ctx, owner.OrgID, "second")
		must(t, err)
		n := tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Inference, tenancy.Admin, tenancy.OrgWide}}
		of := func(email string) tenancy.NewKey { m := n; m.Member = email; return m }
		ann := h.key(t, owner, of("ann@example.org"))
		made := h.key(t, ann, n)
		bobs := h.key(t, made, of("bob@example.org"))
		if k, err := h.Store.Key(ctx, prj, made.KeyID); err != nil || k.Member != "ann@example.org" {
			t.Fatalf("made %+v, %v", k, err)
		}
		there := n
		there.ProjectID = "second"
		_, _, err = h.CreateKey(ctx, ann.Maker(), there) // where she is no member
		wantKind(t, err, fault.Invalid, "member")

		role := func(p *auth.Principal) tenancy.Role {
			now, err := h.ring.Authenticate(h.secrets[p.KeyID])
			must(t, err)
			return now.Role
		}
		_, err = h.PutMember(ctx, owner.Maker(), prj, "ann@example.org", tenancy.Viewer)
		must(t, err)
		for name, p := range map[string]*auth.Principal{"hers": ann, "made by hers": made, "made for another": bobs} {
			if r := role(p); r != tenancy.Viewer {
				t.Errorf("after her demotion the key %s is %s", name, r)
			}
		}
		_, err = h.PutMember(ctx, owner.Maker(), prj, "ann@example.org", tenancy.Owner)
		must(t, err)
		if r := role(bobs); r != tenancy.Owner {
			t.Errorf("after her promotion the key made for another is %s", r)
		}

		for _, keep := range []bool{false, true} {
			wantKind(t, h.RemoveMember(ctx, bobs.Maker(), prj, "ann@example.org", keep), fault.Forbidden, "")
		}
		wantKind(t, only(h.PutMember(ctx, bobs.Maker(), prj, "ann@example.org", tenancy.Viewer)), fault.Forbidden, "")
		must(t, h.RevokeKey(ctx, owner.Maker(), prj, made.KeyID, true)) // what is kept stays under her role
		for _, r := range []tenancy.Role{tenancy.Viewer, tenancy.Owner} {
			must(t, only(h.PutMember(ctx, owner.Maker(), prj, "ann@example.org", r)))
			must(t, h.RevokeKey(ctx, owner.Maker(), prj, ann.KeyID, true))
			if got := role(bobs); got != r {
				t.Errorf("kept under a member who is %s it is %s", r, got)
			}
		}
		wide := h.key(t, owner, tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Admin, tenancy.OrgWide}, Member: "cleo@example.org"})
		narrow := h.key(t, owner, tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary})
		wantKind(t, h.RemoveMember(ctx, narrow.Maker(), prj, "cleo@example.org", true), fault.Forbidden, "")
		wantKind(t, only(h.PutMember(ctx, narrow.Maker(), prj, "cleo@example.org", tenancy.Developer)), fault.Forbidden, "")
		must(t, only(h.PutMember(ctx, narrow.Maker(), prj, "cleo@example.org", tenancy.Owner))) // which takes nothing
		must(t, h.RevokeKey(ctx, wide.Maker(), prj, wide.KeyID, false))                         // its own
		must(t, only(h.PutMember(ctx, narrow.Maker(), prj, "cleo@example.org", tenancy.Developer)))
		must(t, only(h.PutMember(ctx, narrow.Maker(), prj, "cleo@example.org", tenancy.Owner)))
		must(t, h.RemoveMember(ctx, owner.Maker(), prj, "ann@example.org", true))
		if h.alive(t, ann) || h.alive(t, made) || !h.alive(t, bobs) || role(bobs) != tenancy.Owner {
			t.Errorf("kept: hers %v, made by hers %v, made for another %v as %s", h.alive(t, ann), h.alive(t, made), h.alive(t, bobs), role(bobs))
		}
		apps := h.key(t, bobs, tenancy.NewKey{Name: "app"})
		cleos := h.key(t, bobs, of("cleo@example.org"))
		must(t, h.RemoveMember(ctx, owner.Maker(), prj, "bob@example.org", false))
		if h.alive(t, bobs) || h.alive(t, apps) || h.alive(t, cleos) || !h.alive(t, owner) {
			t.Error("bob's removal ended too little or too much")
		}
	})
}

// The only owner can be removed or demoted, but not by whoever depends on that.
func TestTheOnlyOwnerCanGo(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		owner, _ := h.owner(t)
		prj := owner.ProjectID
		n := tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary, Member: "ann@example.org"}
		for _, end := range []func(by tenancy.Maker) error{
			func(by tenancy.Maker) error {
				return only(h.PutMember(ctx, by, prj, "ann@example.org", tenancy.Viewer))
			},
			func(by tenancy.Maker) error { return h.RemoveMember(ctx, by, prj, "Ann@example.org", true) },
		} {
			_, err := h.PutMember(ctx, owner.Maker(), prj, "ann@example.org", tenancy.Owner)
			must(t, err)
			ann := h.key(t, owner, n)
			below := h.key(t, ann, n)
			wantKind(t, end(below.Maker()), fault.Forbidden, "")
			for _, by := range []tenancy.Maker{ann.Maker(), {OrgID: owner.OrgID, ProjectID: prj}} {
				if err := end(by); fault.As(err).Code != "last_owner" {
					t.Errorf("by %q: %v", by.KeyID, err)
				}
			}
			must(t, end(owner.Maker()))
		}
	})
}

// An operator reaches budgets, keys and projects of every organisation, and whoever is no operator none of another.
func TestOperatorsReachEveryOrganisation(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		operator, _ := h.owner(t)
		o, prj, k, secret, err := h.CreateOrganisation(ctx, operator.Maker(), "other")
		must(t, err)
		root, err := h.ring.Authenticate(secret)
		must(t, err)
		if len(root.Above) != 0 {
			t.Errorf("above another organisation's first key stand %+v", root.Above)
		}
		mine := h.key(t, root, tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary})
		wide := h.key(t, operator, tenancy.NewKey{Name: "wide", Role: tenancy.Owner, Scopes: append([]tenancy.Scope{tenancy.OrgWide}, tenancy.Ordinary...)})

		for _, b := range []tenancy.Budget{{Scope: tenancy.OfOrganisation, ID: o.ID}, {Scope: tenancy.OfProject, ID: prj.ID}, {Scope: tenancy.OfKey, ID: k.ID}, {Scope: tenancy.OfKey, ID: mine.KeyID}} {
			set := func(by *auth.Principal, limit int64) error {
				b.LimitMicros = limit
				return only(h.SetBudget(ctx, by.Maker(), b))
			}
			wantKind(t, set(wide, 10), fault.NotFound, "")
			wantKind(t, h.RemoveBudget(ctx, wide.Maker(), b.Scope, b.ID), fault.NotFound, "")
			must(t, set(operator, 100))
			for _, by := range []*auth.Principal{root, mine} { // from below it can be lowered, and stays from above
				if b.ID == mine.KeyID && by == mine || by == mine && b.Scope != tenancy.OfKey || b.ID == k.ID && by == mine {
					continue // not theirs at all
				}
				if err := set(by, 101); fault.As(err).Code != "set_from_above" {
					t.Errorf("%s raised: %v", b.Scope, err)
				}
				if err := h.RemoveBudget(ctx, by.Maker(), b.Scope, b.ID); fault.As(err).Code != "set_from_above" {
					t.Errorf("%s removed: %v", b.Scope, err)
				}
				must(t, set(by, 50))
				if err := set(by, 100); fault.As(err).Code != "set_from_above" {
					t.Errorf("%s raised after lowering: %v", b.Scope, err)
				}
			}
			must(t, set(operator, 200))
			if limit, ok := h.ring.Budget(b.Scope, b.ID); !ok || limit != 200 {
				t.Errorf("%s: %d %v", b.Scope, limit, ok)
			}
			must(t, h.RemoveBudget(ctx, operator.Maker(), b.Scope, b.ID))
		}
		wantKind(t, only(h.SetBudget(ctx, operator.Maker(), tenancy.Budget{Scope: tenancy.OfKey, ID: "key_no"})), fault.NotFound, "")

		for _, c := range []struct {
			by           *auth.Principal
			org, project string
			wantOrg      string
			wantProject  string
			kind         fault.Kind
		}{
			{operator, "", "", operator.OrgID, operator.ProjectID, ""},
			{operator, "", prj.ID, o.ID, prj.ID, ""},
			{operator, "other", "", o.ID, "", ""},
			{operator, o.ID, "default", o.ID, prj.ID, ""},
			{operator, o.ID, operator.ProjectID, "", "", fault.NotFound},
			{operator, "", "prj_no", "", "", fault.NotFound},
			{operator, "nothing", "", "", "", fault.NotFound},
			{wide, "", prj.ID, "", "", fault.NotFound},
			{wide, "other", "", "", "", fault.NotFound},
			{wide, "default", "", operator.OrgID, "", ""},
			{root, "", operator.ProjectID, "", "", fault.NotFound},
			{root, operator.OrgID, "", "", "", fault.NotFound},
			{root, "other", "", o.ID, "", ""},
			{mine, "other", "", "", "", fault.Forbidden},
			{mine, "other", "default", o.ID, prj.ID, ""},
		} {
			org, project, err := h.Reach(ctx, c.by.Maker(), c.org, c.project)
			if c.kind != "" && !fault.Is(err, c.kind) || c.kind == "" && (err != nil || org != c.wantOrg || project != c.wantProject) {
				t.Errorf("%s reaches %q %q: %s %s, %v", c.by.KeyID, c.org, c.project, org, project, err)
			}
		}
		bounded := h.key(t, operator, tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Platform}, BudgetMicros: new(int64(5))})
		_, _, _, _, err = h.CreateOrganisation(ctx, bounded.Maker(), "free")
		wantKind(t, err, fault.Forbidden, "")
		_, err = h.PutMember(ctx, operator.Maker(), operator.ProjectID, "ann@example.org", tenancy.Owner)
		must(t, err)
		soon := h.now.Add(time.Hour)
		for name, n := range map[string]tenancy.NewKey{"expires": {ExpiresAt: &soon}, "is a member's": {Member: "ann@example.org"}} {
			n.Name, n.Role, n.Scopes = "x", tenancy.Owner, []tenancy.Scope{tenancy.Admin, tenancy.Platform}
			ends := h.key(t, operator, n)
			n.ExpiresAt, n.Member = nil, ""
			for by, p := range map[string]*auth.Principal{"a key that": ends, "one made by a key that": h.key(t, ends, n)} {
				if _, _, _, _, err := h.CreateOrganisation(ctx, p.Maker(), "lasting"); !fault.Is(err, fault.Forbidden) {
					t.Errorf("%s %s made an organisation: %v", by, name, err)
				}
			}
		}
		must(t, h.RevokeKey(ctx, operator.Maker(), operator.ProjectID, operator.KeyID, false))
		if !h.alive(t, root) || h.alive(t, wide) {
			t.Error("the operator's end ended another organisation, or not its own keys")
		}
	})
}

// A budget from above takes the right to lower prices from an owner at once, with all that it can make.
func TestABudgetTakesTheRightToLowerPrices(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		h := newHouse(t, db)
		ctx := t.Context()
		operator, _ := h.owner(t)
		n := tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary}
		pricing := tenancy.NewKey{Name: "x", Scopes: []tenancy.Scope{tenancy.Write, tenancy.Pricing}}
		owner := h.key(t, operator, n)
		before, given := h.key(t, owner, pricing), h.key(t, operator, pricing)
		lowers := func(p *auth.Principal) bool {
			now, err := h.ring.Authenticate(h.secrets[p.KeyID])
			must(t, err)
			return now.Lowers
		}
		if !lowers(owner) || !lowers(before) || !lowers(given) {
			t.Fatal("without a budget they may not")
		}
		for _, b := range []tenancy.Budget{{Scope: tenancy.OfProject, ID: owner.ProjectID}, {Scope: tenancy.OfOrganisation, ID: owner.OrgID}, {Scope: tenancy.OfKey, ID: owner.KeyID}} {
			must(t, only(h.SetBudget(ctx, operator.Maker(), b)))
			if lowers(owner) || lowers(before) || !lowers(given) {
				t.Errorf("bounded by its %s: %v, by the key it made before %v, by one given the scope %v", b.Scope, lowers(owner), lowers(before), lowers(given))
			}
			now, err := h.ring.Authenticate(h.secrets[owner.KeyID])
			must(t, err)
			_, _, err = h.CreateKey(ctx, now.Maker(), pricing)
			wantKind(t, err, fault.Forbidden, "scopes")
			must(t, h.RemoveBudget(ctx, operator.Maker(), b.Scope, b.ID))
			if !lowers(owner) || !lowers(before) {
				t.Errorf("without the budget of its %s they may not again", b.Scope)
			}
		}
	})
}
