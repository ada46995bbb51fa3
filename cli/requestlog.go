package cli

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) requestList() *cobra.Command {
	var q api.RequestQuery
	var since, until string
	var limit int
	var lines bool
	c := a.verb("ls", "List requests, newest first", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) (err error) {
		if q.Since, err = a.moment("since", since); err != nil {
			return err
		}
		if q.Until, err = a.moment("until", until); err != nil {
			return err
		}
		list, err := c.Requests(ctx, q, limit)
		if err != nil {
			return err
		}
		if lines {
			return jsonLines(a, list)
		}
		return a.Value(list, func() { a.requestTable(list) })
	})
	tabular(c)
	f := c.Flags()
	f.StringVar(&since, "since", "", "from this time, such as 2026-01-31T12:00:00Z, or so long ago, such as 2h")
	f.StringVar(&until, "until", "", "before this time, written alike")
	f.StringVar(&q.Model, "model", "", "of one model, as callers name it")
	f.StringVar(&q.Outcome, "outcome", "", "finished, hung_up, broke, out_of_money, refused or failed")
	f.StringVar(&q.Key, "of-key", "", "of one key, by its id")
	f.IntVar(&q.Status, "status", 0, "with this HTTP status")
	f.IntVar(&limit, "limit", 100, "most requests, up to 1000; 0: all")
	f.BoolVar(&lines, "jsonl", false, "one JSON object in each line")
	return c
}

func (a *app) requestShow() *cobra.Command {
	return a.verb("show ID", "Show a request, by its x-request-id", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := c.Request(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(r, func() {
			a.requestTable([]api.RequestRow{r})
			a.Printf("\nkey %s, dialect %s, backend %s, tries %d", r.Key, r.Dialect, r.Backend, r.Tries)
			if r.Code != "" {
				a.Printf(", code %s", r.Code)
			}
			a.Printf("\n%d tokens in (%d cached), %d out (%d reasoning)\n", r.Input+r.Embedding, r.Cached, r.Output, r.Reasoning)
		})
	})
}

func (a *app) requestTable(list []api.RequestRow) {
	a.Table([]string{"request", "at", "model", "outcome", "status", "in", "out", "cost", "first", "took", "tag"}, rows(list, func(r api.RequestRow) []string {
		return []string{r.Request, r.At.UTC().Format(time.RFC3339), r.Model, r.Outcome, strconv.Itoa(r.Status), num(r.Input + r.Embedding), num(r.Output), ui.Money(r.CostMicros),
			seconds(r.FirstByte), seconds(r.Took), r.Tag}
	}))
}

func jsonLines[T any](a *app, list []T) error {
	for i := range list {
		text, err := json.Marshal(&list[i])
		if err != nil {
			return fault.Wrap(err, "writing a request")
		}
		a.Printf("%s\n", text)
	}
	return nil
}

// moment reads a time, or how long ago it was.
func (a *app) moment(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.InvalidField(flag, "--%s is %q; it must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as 2h", flag, s)
}
