package tenancy_test

import (
	"testing"

	"github.com/triarch-ai/triarch/tenancy"
)

// What binds a key keeps it from lowering prices, unless the scope for it came from one who may.
func TestABoundedKeyCannotLowerPrices(t *testing.T) {
	owner := tenancy.Key{Role: tenancy.Owner}
	wide := tenancy.Key{Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Admin, tenancy.OrgWide}}
	pricing := tenancy.Key{Role: tenancy.Developer, Scopes: []tenancy.Scope{tenancy.Write, tenancy.Pricing}}
	bound := func(k tenancy.Key, from tenancy.Scope) tenancy.Key {
		k.BudgetMicros, k.BudgetFrom = new(int64(1)), from
		return k
	}
	line := func(ks ...tenancy.Key) []tenancy.Key { return ks }
	project := func(from tenancy.Scope) []tenancy.Budget {
		return []tenancy.Budget{{Scope: tenancy.OfProject, ID: "prj", SetFrom: from}, {}}
	}
	for name, c := range map[string]struct {
		line   []tenancy.Key
		around []tenancy.Budget
		want   bool
	}{
		"nobody":                                     {nil, nil, false},
		"an owner":                                   {line(owner), nil, true},
		"a developer":                                {line(tenancy.Key{Role: tenancy.Developer}, owner), nil, false},
		"an owner with a budget":                     {line(bound(owner, tenancy.Admin), owner), nil, false},
		"the first key with its own":                 {line(bound(wide, tenancy.OrgWide)), nil, true},
		"the first key with one from above":          {line(bound(wide, tenancy.Platform)), nil, false},
		"below a budget":                             {line(owner, bound(owner, tenancy.Admin), owner), nil, false},
		"below the first key's own":                  {line(owner, bound(owner, tenancy.Admin)), nil, false},
		"above a budget":                             {line(owner, wide), nil, true},
		"in a project bounded from above":            {line(owner, wide), project(tenancy.OrgWide), false},
		"in a project it bounded":                    {line(wide, wide), project(tenancy.OrgWide), true},
		"of width in one bounded by an operator":     {line(wide), project(tenancy.Platform), false},
		"pricing":                                    {line(pricing, owner), nil, true},
		"pricing with a budget":                      {line(bound(pricing, tenancy.Admin), owner), nil, true},
		"pricing in a bounded project":               {line(pricing, wide), project(tenancy.OrgWide), true},
		"pricing given by one who is bounded since":  {line(pricing, owner, wide), project(tenancy.OrgWide), false},
		"pricing below a budget on an owner":         {line(pricing, bound(owner, tenancy.Admin), owner), nil, false},
		"pricing below a budget on one with pricing": {line(pricing, bound(pricing, tenancy.Admin), owner), nil, true},
	} {
		if got := tenancy.MayLower(c.line, c.around...); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
