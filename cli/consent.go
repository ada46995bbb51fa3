package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) consentCommand() *cobra.Command {
	show := a.verb("show", "Show what is kept of what is asked and answered", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		x, err := c.Consent(ctx)
		if err != nil {
			return err
		}
		return a.Value(x, func() { a.consent(x) })
	})
	var forget bool
	withdraw := a.verb("withdraw", "Keep nothing more of what is asked and answered", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		if err := c.WithdrawConsent(ctx, forget); err != nil {
			return err
		}
		return a.Value(map[string]bool{"withdrawn": true, "forgotten": forget}, func() {
			a.Printf("nothing more is kept of what is asked and answered\n")
			if !forget {
				a.Next("%s", a.command("consent withdraw --forget"))
			}
		})
	})
	withdraw.Flags().BoolVar(&forget, "forget", false, "delete what was kept, too")
	return noun("consent", "Consents: leave to keep what is asked of models and answered", show, a.consentGive(), withdraw)
}

func (a *app) consentGive() *cobra.Command {
	var n api.NewConsent
	var keep time.Duration
	give := a.verb("give", "Consent to keeping what is asked and answered", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		if len(n.Redact) == 1 && n.Redact[0] == "none" {
			n.Redact, n.Plain = nil, true
		}
		if keep < time.Hour || keep%time.Hour != 0 {
			return fault.InvalidField("keep", "--keep is %s; it must be whole hours", keep)
		}
		if n.Share <= 0 || n.Share > 1 {
			return fault.InvalidField("share", "--share is %g; it must be above 0 and at most 1", n.Share)
		}
		n.Hours = int(keep / time.Hour)
		x, err := c.GiveConsent(ctx, n)
		if err != nil {
			return err
		}
		return a.Value(x, func() {
			a.consent(x)
			a.Next("%s", a.command("request bodies --jsonl"))
		})
	})
	f := give.Flags()
	f.Float64Var(&n.Share, "share", 1, "of the requests, above 0 and at most 1")
	f.IntVar(&n.Most, "most", 64<<10, "bytes of a request or an answer, from 1024 to 1048576; longer ones are left out")
	f.DurationVar(&keep, "keep", 720*time.Hour, "how long, in whole hours")
	f.StringSliceVar(&n.Redact, "redact", nil, "what is taken out before: email, phone, card, iban, person, ip, secret, media, or none; repeatable (default all of them)")
	return give
}

func (a *app) consent(x api.Consent) {
	a.Printf("of %g %% of the requests what is asked and answered is kept for %d hours, up to %d bytes each\n", x.Share*100, x.Hours, x.Most)
	if len(x.Redact) == 0 {
		a.Printf("nothing is taken out of it\n")
	} else {
		a.Printf("taken out before: %s\n", strings.Join(x.Redact, ", "))
	}
	a.Printf("given by %s at %s\n", x.CreatedBy, x.CreatedAt.UTC().Format(time.RFC3339))
}

func (a *app) requestBodies() *cobra.Command {
	var since, until string
	var limit int
	var lines bool
	c := a.verb("bodies", "List what was kept of requests by consent, newest first", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		from, err := a.moment("since", since)
		if err != nil {
			return err
		}
		to, err := a.moment("until", until)
		if err != nil {
			return err
		}
		list, err := c.RequestBodies(ctx, from, to, limit)
		if err != nil {
			return err
		}
		if lines {
			return jsonLines(a, list)
		}
		return a.Value(list, func() {
			a.Table([]string{"request", "at", "model", "dialect", "outcome", "asked", "answered", "taken out"}, rows(list, func(b api.RequestBody) []string {
				n := 0
				for _, x := range b.Redacted {
					n += x
				}
				return []string{b.Request, b.At.UTC().Format(time.RFC3339), b.Model, b.Dialect, b.Outcome, bytesText(b.Prompt), bytesText(b.Answer), strconv.Itoa(n)}
			}))
		})
	})
	tabular(c)
	f := c.Flags()
	f.StringVar(&since, "since", "", "from this time, such as 2026-01-31T12:00:00Z, or so long ago, such as 2h")
	f.StringVar(&until, "until", "", "before this time, written alike")
	f.IntVar(&limit, "limit", 100, "most requests, up to 1000; 0: all")
	f.BoolVar(&lines, "jsonl", false, "one JSON object in each line")
	return c
}

func bytesText(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d bytes", len(b))
}

func (a *app) requestBody() *cobra.Command {
	return a.verb("body ID", "Show what was kept of a request by consent, by its x-request-id", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		b, err := c.RequestBody(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(b, func() {
			a.Printf("%s asked %s at %s: %s\n", b.Request, b.Model, b.At.UTC().Format(time.RFC3339), b.Outcome)
			if b.Missing != "" {
				a.Printf("missing: %s\n", b.Missing)
			}
			a.Printf("\n%s\n\n%s\n", b.Prompt, b.Answer)
		})
	})
}
