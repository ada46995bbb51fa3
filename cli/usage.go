package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) usageCommand() *cobra.Command {
	var q api.UsageQuery
	var csv bool
	c := a.verb("usage", "Show what was used and what it cost", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		if csv {
			a.CSV, a.JSON = true, false
		}
		u, err := c.Usage(ctx, q)
		if err != nil {
			return err
		}
		return a.Value(u, func() { a.usageTable(q.Group, u) })
	})
	tabular(c)
	f := c.Flags()
	f.StringVar(&q.From, "from", "", "first day, UTC, such as 2026-01-31")
	f.StringVar(&q.To, "to", "", "last day, included")
	f.StringVar(&q.Group, "by", "day", "group by day, model, key, project or tag")
	f.StringVar(&q.Project, "project", "", "another project of the organisation: id or name; for operators any, by its id")
	f.StringVar(&q.Org, "org", "", "another organisation: id or name; for operators")
	f.BoolVar(&q.Organisation, "organisation", false, "all projects of the organisation")
	f.StringVar(&q.Key, "of-key", "", "one key, by its id")
	f.BoolVar(&csv, "csv", false, "comma-separated values, as -o csv")
	c.AddCommand(a.reconcileCommand("verify"), a.marginCommand())
	return c
}

// usageTable shows usage; comma-separated values have no line for the whole, which a sum over the column would count twice.
func (a *app) usageTable(by string, u api.Usage) {
	if a.CSV {
		a.Table([]string{by, "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "embedding_tokens", "cost", "estimated_requests"}, rows(u.Rows, func(r api.UsageRow) []string {
			return []string{r.Name, num(r.Requests), num(r.PromptTokens), num(r.CachedTokens), num(r.CompletionTokens), num(r.ReasoningTokens), num(r.EmbeddingTokens), ui.Money(r.CostMicros), num(r.Estimated)}
		}))
		return
	}
	total := api.UsageRow{Name: "total", Totals: u.Totals}
	a.Table([]string{by, "requests", "prompt", "completion", "cost"}, rows(append(u.Rows, total), func(r api.UsageRow) []string {
		return []string{r.Name, num(r.Requests), num(r.PromptTokens + r.EmbeddingTokens), num(r.CompletionTokens), ui.Money(r.CostMicros)}
	}))
	if n := u.Totals.Estimated; n > 0 {
		a.Printf("the tokens of %s were estimated in part: who served told no counts\n", many(n, "request"))
	}
}

// many counts things by a word that takes an s.
func many(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// reconcileCommand is `triarch reconcile`, which is also `triarch usage verify`.
func (a *app) reconcileCommand(name string) *cobra.Command {
	return a.verb(name, "Prove that the ledger, its rows and every sum of them agree; exit code 5 when they do not", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		b, err := c.VerifyUsage(ctx)
		if err != nil {
			return err
		}
		if err := a.Value(b, func() {
			a.Printf("%s, %s, %s still in the ledger's files\n", many(b.Records, "record"), many(b.Rollups, "daily sum"),
				many(b.Ledger, "record"))
			for _, f := range b.Faults {
				a.Printf("  %s\n", f)
			}
		}); err != nil {
			return err
		}
		if len(b.Faults) > 0 {
			return fault.Newf(fault.Conflict, "The books do not agree: %d faults.", len(b.Faults))
		}
		a.Printf("every book agrees\n")
		return nil
	})
}

func (a *app) marginCommand() *cobra.Command {
	var q api.MarginQuery
	c := a.verb("margin", "Compare what was charged with what the chips cost that worked for it; for operators", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		m, err := c.Margin(ctx, q)
		if err != nil {
			return err
		}
		return a.Value(m, func() {
			if !a.CSV {
				m.Rows = append(m.Rows, api.MarginRow{Name: "total", MarginTotals: m.Totals})
			}
			a.Table([]string{q.By, "requests", "charged", "chip_seconds", "chip_cost", "margin"}, rows(m.Rows, func(r api.MarginRow) []string {
				return []string{r.Name, num(r.Requests), ui.Money(r.ChargedMicros), fmt.Sprintf("%.3f", float64(r.ChipMillis)/1000), ui.Money(r.ChipCostMicros), ui.Money(r.MarginMicros)}
			}))
		})
	})
	tabular(c)
	f := c.Flags()
	f.StringVar(&q.From, "from", "", "first day, UTC, such as 2026-01-31")
	f.StringVar(&q.To, "to", "", "last day, included")
	f.StringVar(&q.By, "by", "model", "group by model, project or day")
	f.StringVar(&q.Project, "project", "", "one project, by its id")
	f.StringVar(&q.Org, "org", "", "one organisation, by its id")
	return c
}

func (a *app) chipPriceCommand() *cobra.Command {
	table := func(list []api.ChipPrice) {
		a.Table([]string{"chip", "hour"}, rows(list, func(p api.ChipPrice) []string { return []string{p.Chip, ui.Money(p.HourMicros)} }))
	}
	ls := a.verb("ls", "List what an hour of one chip costs the operator", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.ChipPrices(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() { table(list) })
	})
	set := a.verb("set CHIP AMOUNT", "Set what an hour of one chip of a class costs from now on, such as 2.50; cpu is the class of replicas without chips", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		micros, err := ui.ParseMoney(args[1])
		if err != nil {
			return fault.New(fault.Invalid, err.Error(), fault.Field("AMOUNT"))
		}
		p, err := c.SetChipPrice(ctx, args[0], micros)
		if err != nil {
			return err
		}
		return a.Value(p, func() { table([]api.ChipPrice{p}) })
	})
	rm := a.verb("rm CHIP", "Have chips of a class cost nothing from now on", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveChipPrice(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("chips of the class %s have no price any more\n", args[0]) })
	})
	return noun("chip", "What chips cost the operator; for `usage margin`", ls, set, rm)
}
