package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

// limitOptions are the flags of limit set.
type limitOptions struct {
	rpm, tpm, concurrency int64
	budget                string
}

// bounds is what `limit` shows of one thing.
type bounds struct {
	api.Limit
	BudgetMicros *int64 `json:"budget_micros,omitempty"`
	SpentMicros  *int64 `json:"spent_micros,omitempty"`
}

const limitHelp = `A request must be allowed by all that it is charged to: its key and the keys that made it, the members these belong to,
its project, its organisation and its model. SCOPE is organisation, project, key, member or model; ID is its id, of a
member also the email, of a model also the name of its route.`

func (a *app) limitCommand() *cobra.Command {
	var org string
	ls := a.verb("ls", "List limits and budgets", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		return a.listLimits(ctx, c, org)
	})
	ls.Flags().StringVar(&org, "org", "", "another organisation: id or name; for operators")
	o := &limitOptions{}
	var set *cobra.Command
	set = a.verb("set SCOPE ID", "Bound requests, tokens, concurrency or spending; what is not named stays as it is", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		return a.setLimit(ctx, c, o, set.Flags().Changed, args[0], args[1])
	})
	set.Long = "Bounds how fast something may be used, and what it may spend in all.\n\n" + limitHelp
	f := set.Flags()
	f.Int64Var(&o.rpm, "rpm", 0, "requests a minute; 0 takes this bound away")
	f.Int64Var(&o.tpm, "tpm", 0, "tokens a minute; 0 takes this bound away")
	f.Int64Var(&o.concurrency, "concurrency", 0, "requests in flight; 0 takes this bound away")
	f.StringVar(&o.budget, "budget", "", "what it may spend in all: 1.50, or 120u in micro-units")
	rm := a.verb("rm SCOPE ID", "Take all bounds of something away, its budget as well", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		scope, err := scopeNamed(args[0])
		if err != nil {
			return err
		}
		if err := c.RemoveBudget(ctx, scope, args[1]); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if err := c.RemoveLimit(ctx, scope, args[1]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[1]}, func() { a.Printf("%s %s has no limits any more\n", scope, args[1]) })
	})
	rm.Long = "Takes all bounds of something away.\n\n" + limitHelp
	return noun("limit", "Limits: of requests, tokens, concurrency and spending", ls, set, rm)
}

// scopeNamed reads the name of a scope.
func scopeNamed(s string) (string, error) {
	scopes := []string{"organisation", "project", "key", "member", "model"}
	for _, x := range scopes {
		if s == x || s == "org" && x == "organisation" {
			return x, nil
		}
	}
	return "", fault.InvalidField("SCOPE", "%q is none of %s", s, strings.Join(scopes, ", "))
}

func (a *app) setLimit(ctx context.Context, c *api.Client, o *limitOptions, named func(string) bool, word, id string) error {
	scope, err := scopeNamed(word)
	if err != nil {
		return err
	}
	var change api.LimitChange
	for _, x := range []struct {
		flag string
		n    *int64
		to   **int64
	}{{"rpm", &o.rpm, &change.RPM}, {"tpm", &o.tpm, &change.TPM}, {"concurrency", &o.concurrency, &change.Concurrency}} {
		if named(x.flag) {
			*x.to = x.n
		}
	}
	if change == (api.LimitChange{}) && !named("budget") {
		return fault.New(fault.Invalid, "Nothing is to be set.", fault.Fix("Name --rpm, --tpm, --concurrency or --budget"))
	}
	var out bounds
	if named("budget") {
		micros, err := ui.ParseMoney(o.budget)
		if err != nil {
			return fault.New(fault.Invalid, err.Error(), fault.Field("budget"))
		}
		b, err := c.SetBudget(ctx, scope, id, micros)
		if err != nil {
			return err
		}
		out = bounds{Limit: api.Limit{Scope: b.Scope, ID: b.ID, SetFrom: b.SetFrom}, BudgetMicros: &b.LimitMicros, SpentMicros: &b.SpentMicros}
	}
	if change != (api.LimitChange{}) {
		if out.Limit, err = c.SetLimit(ctx, scope, id, change); err != nil {
			return err
		}
	}
	return a.Value(out, func() { a.Printf("%s %s is limited\n", scope, id) })
}

func (a *app) listLimits(ctx context.Context, c *api.Client, org string) error {
	limits, err := c.Limits(ctx, org)
	if err != nil {
		return err
	}
	budgets, err := c.Budgets(ctx, org)
	if err != nil {
		return err
	}
	all := []bounds{}
	for _, l := range limits {
		all = append(all, bounds{Limit: l})
	}
	for _, b := range budgets {
		i := slices.IndexFunc(all, func(x bounds) bool { return x.Scope == b.Scope && x.ID == b.ID })
		if i < 0 {
			i = len(all)
			all = append(all, bounds{Limit: api.Limit{Scope: b.Scope, ID: b.ID, SetFrom: b.SetFrom}})
		}
		all[i].BudgetMicros, all[i].SpentMicros = &b.LimitMicros, &b.SpentMicros
	}
	slices.SortFunc(all, func(x, y bounds) int {
		return strings.Compare(x.Scope+" "+x.ID, y.Scope+" "+y.ID)
	})
	return a.Value(all, func() {
		a.Table([]string{"scope", "id", "rpm", "tpm", "concurrency", "budget", "spent", "set from"}, rows(all, func(b bounds) []string {
			budget, spent := "-", "-"
			if b.BudgetMicros != nil {
				budget, spent = ui.Money(*b.BudgetMicros), ui.Money(*b.SpentMicros)
			}
			return []string{b.Scope, b.ID, orDash(b.RPM), orDash(b.TPM), orDash(b.Concurrency), budget, spent, b.SetFrom}
		}))
	})
}
