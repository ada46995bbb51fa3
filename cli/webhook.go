package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
)

func (a *app) webhookCommand() *cobra.Command {
	ls := a.verb("ls", "List addresses that are told of budgets", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Webhooks(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"id", "url", "of", "at", "last error", "age"}, rows(list, func(h api.Webhook) []string {
				of := h.ProjectID
				if of == "" {
					of = "the organisation"
				}
				return []string{h.ID, h.URL, of, percents(h.Thresholds), h.LastError, a.ago(h.CreatedAt)}
			}))
		})
	})
	var n api.NewWebhook
	add := a.verb("add URL", "Have an address told when spending comes to a threshold of a budget", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n.URL = args[0]
		h, err := c.AddWebhook(ctx, n)
		if err != nil {
			return err
		}
		return a.Value(h, func() {
			a.Printf("%s is told at %s of budgets\nrequests are signed with this secret, which is shown only now:\n%s\n", h.Webhook.ID, percents(h.Webhook.Thresholds), h.Secret)
			a.Next("%s", a.command("webhook test %s", h.Webhook.ID))
		})
	})
	f := add.Flags()
	f.IntSliceVar(&n.Thresholds, "threshold", nil, "percent of a budget, from 1 to 100; repeatable (default 50, 80 and 100)")
	f.BoolVar(&n.Organisation, "organisation", false, "of all budgets of the organisation; needs the scope organisation")
	f.BoolVar(&n.AllowPrivate, "allow-private", false, "it may have an address inside the network, and plain http; for operators")
	test := a.verb("test ID", "Send an event of type webhook.test", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.TestWebhook(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"tested": args[0]}, func() { a.Printf("%s took the test\n", args[0]) })
	})
	rm := a.verb("rm ID", "Tell an address no more", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveWebhook(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s is removed\n", args[0]) })
	})
	return noun("webhook", "Webhooks: addresses that are told when budgets run out", ls, add, test, rm)
}

func percents(list []int) string {
	var out []string
	for _, n := range list {
		out = append(out, fmt.Sprintf("%d %%", n))
	}
	return strings.Join(out, ", ")
}
