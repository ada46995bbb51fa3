package sql_test

import (
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// Limits follow the rules of budgets: what bounds a key is for those above it, what was set from above can be lowered
// alone, a member's keys do not raise what bounds the member, and the ring knows each bound at once.
func TestWhoMayRaiseLimits(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		h := newHouse(t, db)
		operator, _ := h.owner(t)
		must(t, only(h.PutMember(ctx, operator.Maker(), operator.ProjectID, "ann@example.org", tenancy.Owner)))
		own := tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary}
		boss := h.key(t, operator, own)
		below := h.key(t, boss, tenancy.NewKey{Name: "b", Role: tenancy.Owner, Scopes: tenancy.Ordinary, Limits: tenancy.Limits{RPM: 50}})
		under := h.key(t, below, own)
		sister := h.key(t, boss, own)
		hers := own
		hers.Member = "ann@example.org"
		anns := h.key(t, operator, hers)
		ann := tenancy.MemberID(operator.ProjectID, "ann@example.org")

		rpm := func(by *auth.Principal, scope, id string, n int64) error {
			return only(h.SetLimit(ctx, by.Maker(), tenancy.LimitChange{Scope: scope, ID: id, RPM: &n}))
		}
		forbidden := func(err error) {
			t.Helper()
			wantKind(t, err, fault.Forbidden, "rpm")
		}
		for _, c := range []struct {
			scope, id string
		}{{tenancy.OfMember, ann}, {tenancy.OfKey, sister.KeyID}} {
			must(t, rpm(operator, c.scope, c.id, 100)) // with the scope platform
			forbidden(rpm(boss, c.scope, c.id, 101))
			forbidden(rpm(boss, c.scope, c.id, 0))
			must(t, rpm(boss, c.scope, c.id, 90))
			forbidden(rpm(boss, c.scope, c.id, 91))
			must(t, rpm(operator, c.scope, c.id, 100))
			forbidden(rpm(below, c.scope, c.id, 0)) // bounded itself
		}
		if got := h.ring.Bound(auth.MemberRaw(ann)); got.RPM != 100 || len(anns.Members) != 1 || anns.Members[0].Raw != auth.MemberRaw(ann) {
			t.Errorf("the ring has %+v for %+v", got, anns.Members)
		}
		forbidden(rpm(anns, tenancy.OfMember, ann, 0))
		must(t, rpm(anns, tenancy.OfMember, ann, 80))
		wantKind(t, rpm(below, tenancy.OfKey, below.KeyID, 60), fault.Forbidden, "id")
		wantKind(t, rpm(below, tenancy.OfKey, boss.KeyID, 60), fault.Forbidden, "id")
		forbidden(rpm(below, tenancy.OfKey, under.KeyID, 51))
		must(t, rpm(below, tenancy.OfKey, under.KeyID, 40))
		wantKind(t, rpm(boss, tenancy.OfProject, boss.ProjectID, 5), fault.Forbidden, "scope")
		wantKind(t, rpm(operator, tenancy.OfMember, tenancy.MemberID(operator.ProjectID, "bob@example.org"), 5), fault.NotFound, "")
		wantKind(t, rpm(operator, tenancy.OfModel, "rte_no", 5), fault.NotFound, "")
		wantKind(t, rpm(operator, "planet", "x", 5), fault.Invalid, "scope")
		wantKind(t, rpm(operator, tenancy.OfKey, sister.KeyID, -1), fault.Invalid, "rpm")

		// A member with a budget cannot lower prices, nor free itself.
		must(t, only(h.SetBudget(ctx, operator.Maker(), tenancy.Budget{Scope: tenancy.OfMember, ID: ann, LimitMicros: 10})))
		wantKind(t, only(h.SetBudget(ctx, anns.Maker(), tenancy.Budget{Scope: tenancy.OfMember, ID: ann, LimitMicros: 11})), fault.Forbidden, "limit_micros")
		_, secret, err := h.CreateKey(ctx, operator.Maker(), hers)
		must(t, err)
		again, err := h.ring.Authenticate(secret)
		must(t, err)
		if again.Lowers {
			t.Error("a member with a budget may lower prices")
		}
		// What is set to nothing is gone.
		zero := new(int64)
		must(t, only(h.SetLimit(ctx, operator.Maker(), tenancy.LimitChange{Scope: tenancy.OfMember, ID: ann, RPM: zero, TPM: zero, Concurrency: zero})))
		all, err := h.Limits(ctx, operator.Maker(), "")
		must(t, err)
		for _, l := range all {
			if l.ID == ann {
				t.Errorf("%+v is still there", l)
			}
		}
	})
}
