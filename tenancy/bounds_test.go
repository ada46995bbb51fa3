package tenancy_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A key that is bounded stays so, whatever it makes and changes.
func TestABoundedKeyCannotFreeItself(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		s := &tenancy.Service{Store: db.Tenancy(), IDs: id.Default(), Now: time.Now, Rand: rand.Reader}
		o, p, _, _, err := s.Bootstrap(ctx)
		must(0, err)
		owner := must(s.Store.Keys(ctx, p.ID, page.All))[0]
		as := func(k tenancy.Key) tenancy.Maker {
			return tenancy.Maker{KeyID: k.ID, OrgID: o.ID, ProjectID: k.ProjectID, Role: k.Role, Scopes: k.Scopes}
		}
		make := func(by tenancy.Key, n tenancy.NewKey) (tenancy.Key, error) {
			n.Name, n.Role = "x", tenancy.Owner
			k, _, err := s.CreateKey(ctx, as(by), n)
			return k, err
		}
		every := append(append([]tenancy.Scope{}, tenancy.Ordinary...), tenancy.OrgWide)
		bounded := must(make(owner, tenancy.NewKey{BudgetMicros: new(int64(10)), Limits: tenancy.Limits{RPM: 5, Concurrency: 2}, Scopes: every}))
		free := must(make(owner, tenancy.NewKey{}))
		wide := must(make(owner, tenancy.NewKey{Scopes: every}))
		sister := must(make(wide, tenancy.NewKey{BudgetMicros: new(int64(10)), Scopes: every}))
		niece := must(make(sister, tenancy.NewKey{Scopes: every}))

		for field, n := range map[string]tenancy.NewKey{
			"budget_micros": {BudgetMicros: new(int64(11))},
			"rpm":           {Limits: tenancy.Limits{RPM: 6}},
			"concurrency":   {Limits: tenancy.Limits{Concurrency: 3}},
		} {
			if k, err := make(bounded, n); !fault.Is(err, fault.Forbidden) || fault.As(err).Field != field {
				t.Errorf("%s: made %+v, %v", field, k, err)
			}
		}
		child := must(make(bounded, tenancy.NewKey{Limits: tenancy.Limits{RPM: 4, TPM: 9}, Scopes: every}))
		if stored := must(s.Store.Key(ctx, p.ID, child.ID)); *stored.BudgetMicros != 10 || stored.Limits != (tenancy.Limits{RPM: 4, TPM: 9, Concurrency: 2}) {
			t.Errorf("the child may use %d, %+v", *stored.BudgetMicros, stored.Limits)
		}

		for name, c := range map[string]struct {
			by, of  tenancy.Key
			limit   int64 // -1: none
			allowed bool
		}{
			"its own, more":              {bounded, bounded, 100, false},
			"its own, none":              {bounded, bounded, -1, false},
			"its maker's":                {child, bounded, 100, false},
			"its maker's maker's":        {child, owner, 5, false},
			"its maker's, none":          {free, owner, -1, false},
			"its own first":              {free, free, 5, false},
			"a child's, more":            {bounded, child, 11, false},
			"a child's, none":            {bounded, child, -1, false},
			"a child's, less":            {bounded, child, 3, true},
			"a sister's, more":           {bounded, sister, 11, false},
			"a sister's, as much":        {bounded, sister, 10, true},
			"a sister's, none":           {bounded, sister, -1, false},
			"a sister's, less":           {bounded, sister, 9, true},
			"a niece's, more":            {bounded, niece, 11, false},
			"a niece's, none":            {child, niece, -1, false},
			"one that has none, less":    {bounded, free, 5, true},
			"from one that is free":      {wide, sister, 11, true},
			"from above, more":           {owner, bounded, 20, true},
			"from far above":             {owner, child, 20, true},
			"one that no other made":     {owner, owner, 5, true},
			"one that no other made not": {owner, owner, -1, true},
		} {
			b := tenancy.Budget{Scope: tenancy.OfKey, ID: c.of.ID, LimitMicros: c.limit}
			err := error(nil)
			if c.limit < 0 {
				err = s.RemoveBudget(ctx, as(c.by), b.Scope, b.ID)
			} else {
				_, err = s.SetBudget(ctx, as(c.by), b)
			}
			if (err == nil) != c.allowed && !(c.allowed && fault.Is(err, fault.NotFound)) || err != nil && !c.allowed && !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s: %v", name, err)
			}
			for _, k := range []tenancy.Key{owner, free} { // as before, for the next one
				if err := s.RemoveBudget(ctx, as(owner), tenancy.OfKey, k.ID); err != nil && !fault.Is(err, fault.NotFound) {
					t.Fatal(err)
				}
			}
			for k, by := range map[*tenancy.Key]tenancy.Key{&bounded: owner, &sister: wide, &niece: wide} {
				must(s.SetBudget(ctx, as(by), tenancy.Budget{Scope: tenancy.OfKey, ID: k.ID, LimitMicros: 10}))
			}
		}
	})
}
