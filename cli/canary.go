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

const canaryLong = `A canary gets a share of a route's requests, which grows from step to step and in the end makes it the backend of the route.
A step is judged by at least so many answers on each side: the canary is taken back when it fails more often than is allowed or than
the other backends do, or when its first byte takes more than the allowed multiple of theirs, for certain: tests take one that is
as good as the others back in at most one of a hundred courses. A request that names its session (prompt_cache_key, session or user) stays where its session is. ` + "`triarch route show`" + ` tells what was counted and decided.`

// canaryFlags are those of route canary start.
type canaryFlags struct {
	to       string
	steps    []int
	after    int64
	least    time.Duration
	errors   float64
	slower   float64
	quantile int
}

func (a *app) canaryCommand() *cobra.Command {
	var o canaryFlags
	var start *cobra.Command
	start = a.verb("start ROUTE", "Try a new backend with a growing share of a route's requests", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n, err := o.named(start)
		if err != nil {
			return err
		}
		r, err := c.StartCanary(ctx, args[0], n)
		return a.moved(ctx, c, r, err)
	})
	f := start.Flags()
	f.StringVar(&o.to, "to", "", "the new backend: PROVIDER/MODEL, local/DEPLOYMENT or a deployment's name")
	f.IntSliceVar(&o.steps, "steps", nil, "percent of the route's requests, rising, the last is 100 (default 1,5,25,50,100)")
	f.Int64Var(&o.after, "after", 0, "answers on each side that a step is judged by (default 200)")
	f.DurationVar(&o.least, "least", 0, "a step takes at least so long")
	f.Float64Var(&o.errors, "max-errors", 0, "the share of answers that may fail (default 0.02)")
	f.Float64Var(&o.slower, "max-slower", 0, "how many times as long the first byte may take as on the other backends (default 1.25)")
	f.IntVar(&o.quantile, "quantile", 0, "of the time to the first byte that is compared: 50 or 90 (default 50)")
	all := []*cobra.Command{start}
	for _, x := range [][2]string{{"pause", "Keep the canary at its share; it is still taken back when it is worse"}, {"resume", "Let its rule go on"},
		{"promote", "Go on to the next step, whatever was counted"}, {"abort", "Take the canary back"}} {
		all = append(all, a.verb(x[0]+" ROUTE", x[1], cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
			r, err := c.SteerCanary(ctx, args[0], x[0])
			return a.moved(ctx, c, r, err)
		}))
	}
	c := noun("canary", "Canaries: new backends that get a share of a route until they have proven themselves", all...)
	c.Long = canaryLong
	start.Long = canaryLong
	return c
}

// named is what the flags that were given say.
func (o *canaryFlags) named(c *cobra.Command) (n api.NewCanary, err error) {
	b, err := parseBackend(o.to)
	if err == nil && b.Weight != nil {
		err = fault.New(fault.Invalid, "A canary has steps, no weight.", fault.Field("--to"))
	}
	if err != nil {
		return n, err
	}
	n = api.NewCanary{Deployment: b.Deployment, Provider: b.Provider, Model: b.Model, Steps: o.steps}
	given := c.Flags().Changed
	if given("after") {
		n.After = &o.after
	}
	if given("least") {
		n.LeastS = new(int(o.least / time.Second))
	}
	if given("max-errors") {
		n.MaxErrors = &o.errors
	}
	if given("max-slower") {
		n.MaxSlower = &o.slower
	}
	if given("quantile") {
		n.Quantile = &o.quantile
	}
	return n, nil
}

func (a *app) moved(ctx context.Context, c *api.Client, r api.Route, err error) error {
	if err != nil {
		return err
	}
	return a.Value(r, func() {
		if r.Canary != nil {
			a.Printf("%s\n", canaryText(r, backendNames(ctx, c, r)))
		}
	})
}

// canaryText says where a canary stands.
func canaryText(r api.Route, names map[string]string) string {
	x := r.Canary
	return fmt.Sprintf("the canary %s of %s is %s and gets %d %% of its requests", backendText(x.Backend, names), r.Name, strings.ReplaceAll(x.State, "_", " "), x.Percent)
}

// showCanary prints where the newest canary of a route stands, what was counted of it and what was decided.
func (a *app) showCanary(r api.Route, names map[string]string) {
	x := r.Canary
	if x == nil {
		return
	}
	a.Printf("\n%s\n", canaryText(r, names))
	steps := make([]string, len(x.Steps))
	for i, s := range x.Steps {
		steps[i] = strconv.Itoa(s)
	}
	a.Printf("steps of %s %%, each judged by at least %d answers on each side and %s: at most %.3g %% may fail, its first byte may take %.4g times as long (p%d)\n",
		strings.Join(steps, ", "), x.After, time.Duration(x.LeastS)*time.Second, 100*x.MaxErrors, x.MaxSlower, x.Quantile)
	if x.Trial != nil && x.Stable != nil {
		a.Printf("\n")
		a.Table([]string{"since " + x.Since.Format(time.RFC3339), "answers", "failed", "refused", "first byte p50", "p90"},
			[][]string{tallyRow("on the canary", *x.Trial), tallyRow("beside it", *x.Stable)})
	}
	a.Printf("\n")
	a.Table([]string{"at", "what", "percent", "why"}, rows(x.Events, func(e api.CanaryEvent) []string {
		return []string{e.At.Format(time.RFC3339), strings.ReplaceAll(e.What, "_", " "), fmt.Sprintf("%d to %d", e.From, e.To), e.Why}
	}))
}

func tallyRow(what string, t api.CanaryTally) []string {
	return []string{what, num(t.Answers), num(t.Failed), num(t.Refused), seconds(t.FirstP50), seconds(t.FirstP90)}
}
