package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) orgCommand() *cobra.Command {
	ls := a.verb("ls", "List the organisations you can see", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Organisations(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"name", "id", "age"}, rows(list, func(o api.Organisation) []string { return []string{o.Name, o.ID, a.ago(o.CreatedAt)} }))
		})
	})
	create := a.verb("create NAME", "Make an organisation with its first project and an owner key, shown once", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		made, err := c.CreateOrganisation(ctx, api.NewOrganisation{Name: args[0]})
		if err != nil {
			return err
		}
		return a.Value(made, func() {
			a.Printf("organisation %s (%s), project %s (%s)\nowner key, shown this once: %s\n", made.Organisation.Name, made.Organisation.ID, made.Project.Name, made.Project.ID, made.Key.Key)
		})
	})
	return noun("org", "Organisations: the top of tenancy", ls, create)
}

func (a *app) projectCommand() *cobra.Command {
	ls := a.verb("ls", "List the organisation's projects you can see", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Projects(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"name", "id", "age"}, rows(list, func(p api.Project) []string { return []string{p.Name, p.ID, a.ago(p.CreatedAt)} }))
		})
	})
	create := a.verb("create NAME", "Make a project in your organisation", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		p, err := c.CreateProject(ctx, api.NewProject{Name: args[0]})
		if err != nil {
			return err
		}
		return a.Value(p, func() {
			a.Printf("project %s (%s)\n", p.Name, p.ID)
			a.Next("%s", a.command("key create --project %s --name first --scope inference,read,write", shellQuote(p.Name)))
		})
	})
	return noun("project", "Projects: where work, data, models and keys belong", ls, create)
}

func (a *app) memberCommand() *cobra.Command {
	var project, role string
	ls := a.verb("ls", "List the project's members", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Members(ctx, project)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"email", "role", "age"}, rows(list, func(m api.Member) []string { return []string{m.Email, m.Role, a.ago(m.CreatedAt)} }))
		})
	})
	put := a.verb("add EMAIL", "Make somebody a member, or change the role", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		m, err := c.PutMember(ctx, project, args[0], role)
		if err != nil {
			return err
		}
		return a.Value(m, func() { a.Printf("%s is %s\n", m.Email, m.Role) })
	})
	put.Flags().StringVar(&role, "role", "developer", "owner, developer or viewer")
	var keep bool
	rm := a.verb("rm EMAIL", "End a membership; the member's keys are revoked, with those that they made", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveMember(ctx, project, args[0], keep); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s is no member any more\n", args[0]) })
	})
	rm.Flags().BoolVar(&keep, "keep-children", false, "do not revoke what the member's keys made for others")
	n := noun("member", "Members: people who hold a role in a project", ls, put, rm)
	n.PersistentFlags().StringVar(&project, "project", "", "id or name (default: the key's project)")
	return n
}

// keyOptions are the flags of key create.
type keyOptions struct {
	name, project, role, member, budget, expires string
	scopes, models                               []string
	rpm, tpm, concurrency                        int64
}

func (a *app) keyCommand() *cobra.Command {
	var project string
	ls := a.verb("ls", "List the project's keys", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Keys(ctx, project)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"name", "id", "role", "ends in", "rpm", "tpm", "budget", "models", "state", "age"}, rows(list, a.keyRow))
		})
	})
	var keep bool
	rm := a.verb("revoke KEY", "Revoke a key by its id, with those that it made", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RevokeKey(ctx, project, args[0], keep); err != nil {
			return err
		}
		return a.Value(map[string]string{"revoked": args[0]}, func() { a.Printf("%s is revoked\n", args[0]) })
	})
	rm.Aliases = []string{"rm"}
	rm.Flags().BoolVar(&keep, "keep-children", false, "do not revoke the keys that it made; its limits and budget go on to bind them")
	o := &keyOptions{}
	create := a.verb("create", "Make a key; its secret is shown this once", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		o.project = project
		return a.createKey(ctx, c, o)
	})
	f := create.Flags()
	f.StringVar(&o.name, "name", "", "what it is for (default: key and the date)")
	f.StringVar(&o.role, "role", "", "owner, developer or viewer; at most your own (default developer)")
	f.StringVar(&o.member, "member", "", "email of the member it belongs to (default: the member that your key belongs to)")
	f.StringSliceVar(&o.scopes, "scope", nil, "inference, read, write, admin, flex, priority, pricing, organisation, platform; repeatable (default: inference alone)")
	f.StringVar(&o.budget, "budget", "", "what it may spend in all: 1.50, or 120u in micro-units")
	f.StringVar(&o.expires, "expires", "", "when it ends: 30d, 12h, or a date such as 2027-01-31")
	f.Int64Var(&o.rpm, "rpm", 0, "requests a minute")
	f.Int64Var(&o.tpm, "tpm", 0, "tokens a minute")
	f.Int64Var(&o.concurrency, "concurrency", 0, "requests in flight")
	f.StringSliceVar(&o.models, "models", nil, "the models that it may call, by any of their names: A,B; repeatable (default: all that your key may)")
	n := noun("key", "API keys", ls, create, rm)
	n.PersistentFlags().StringVar(&project, "project", "", "id or name (default: the key's project); operators reach any for ls and revoke, by its id")
	return n
}

func (a *app) keyRow(k api.Key) []string {
	state := "active"
	switch {
	case k.RevokedAt != nil:
		state = "revoked"
	case k.ExpiresAt != nil && k.ExpiresAt.Before(a.Now()):
		state = "expired"
	case k.ExpiresAt != nil:
		state = "until " + k.ExpiresAt.Format("2006-01-02 15:04")
	}
	models := "all"
	if n := len(k.Models); n > 0 {
		models = k.Models[0]
		if n > 1 {
			models += " +" + strconv.Itoa(n-1)
		}
	}
	budget := "-"
	if k.BudgetMicros != nil {
		budget = ui.Money(*k.BudgetMicros)
	}
	return []string{k.Name, k.ID, k.Role, k.Hint, orDash(k.RPM), orDash(k.TPM), budget, models, state, a.ago(k.CreatedAt)}
}

func (a *app) createKey(ctx context.Context, c *api.Client, o *keyOptions) error {
	n := api.NewKey{Name: o.name, Project: o.project, Role: o.role, Scopes: o.scopes, Member: o.member, RPM: o.rpm, TPM: o.tpm, Concurrency: o.concurrency, Models: o.models}
	if n.Name == "" {
		n.Name = "key " + a.Now().Format("2006-01-02 15:04:05")
	}
	if o.budget != "" {
		micros, err := ui.ParseMoney(o.budget)
		if err != nil {
			return fault.New(fault.Invalid, err.Error(), fault.Field("budget"))
		}
		n.BudgetMicros = &micros
	}
	if o.expires != "" {
		at, err := parseExpiry(o.expires, a.Now())
		if err != nil {
			return err
		}
		n.ExpiresAt = &at
	}
	made, err := c.CreateKey(ctx, n)
	if err != nil {
		return err
	}
	return a.Value(made, func() {
		a.Printf("%s\n", made.Key)
		a.Printf("\nThis is the secret of %s (%s); it is shown this once.\n", made.Object.Name, made.Object.ID)
	})
}

// parseExpiry reads "30d", a Go duration or a day, which ends at its end in UTC.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 36500 {
			return now.UTC().AddDate(0, 0, n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.UTC().Add(d), nil
	}
	if t, err := time.Parse("2006-01-02", s); err == nil {
		return t.AddDate(0, 0, 1), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, fault.InvalidField("expires", "%q is not a time; write 30d, 12h or 2027-01-31", s)
}

func (a *app) budgetCommand() *cobra.Command {
	var org string
	ls := a.verb("ls", "List budgets and what is spent of them", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Budgets(ctx, org)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"scope", "id", "limit", "spent", "left", "set from"}, rows(list, func(b api.Budget) []string {
				return []string{b.Scope, b.ID, ui.Money(b.LimitMicros), ui.Money(b.SpentMicros), ui.Money(b.LimitMicros - b.SpentMicros), b.SetFrom}
			}))
		})
	})
	ls.Flags().StringVar(&org, "org", "", "another organisation: id or name; for operators")
	set := a.verb("set ID AMOUNT", "Bound what an organisation, a project, a key, a member or a route may spend in all: 1.50, or 120u in micro-units", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		scope, err := scopeOf(args[0])
		if err != nil {
			return err
		}
		micros, err := ui.ParseMoney(args[1])
		if err != nil {
			return fault.New(fault.Invalid, err.Error(), fault.Field("AMOUNT"))
		}
		b, err := c.SetBudget(ctx, scope, args[0], micros)
		if err != nil {
			return err
		}
		return a.Value(b, func() { a.Printf("%s %s may spend %s\n", scope, args[0], ui.Money(micros)) })
	})
	rm := a.verb("rm ID", "Take a budget's limit away", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		scope, err := scopeOf(args[0])
		if err != nil {
			return err
		}
		if err := c.RemoveBudget(ctx, scope, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s has no budget any more\n", args[0]) })
	})
	return noun("budget", "Budgets: limits on spending", ls, set, rm)
}

// scopeOf is what kind of thing an id names.
func scopeOf(id string) (string, error) {
	if strings.Contains(id, "@") {
		return "member", nil
	}
	for prefix, scope := range map[string]string{"org_": "organisation", "prj_": "project", "key_": "key", "rte_": "model"} {
		if strings.HasPrefix(id, prefix) {
			return scope, nil
		}
	}
	return "", fault.InvalidField("ID", "%q is not the id of an organisation, a project, a key or a route, nor a member's email", id)
}

func rows[T any](list []T, row func(T) []string) [][]string {
	out := make([][]string, len(list))
	for i := range list {
		out[i] = row(list[i])
	}
	return out
}

func (a *app) ago(t time.Time) string { return ui.Ago(a.Now(), t) }

func num(n int64) string { return strconv.FormatInt(n, 10) }

func orDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return num(n)
}
