package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

const toHelp = "PROVIDER/MODEL[:WEIGHT], local/DEPLOYMENT[:WEIGHT] or a deployment's name; repeatable, shared by weight"

// way are the flags of where a route leads and what it costs.
type way struct {
	to, fallback, alias []string
	price               prices
	shared              bool
	most, queue         int
	wait, slow, wake    time.Duration
	cache               time.Duration
	tiers               []string
	locality            string
	guard               guardFlags
}

func (w *way) flags(c *cobra.Command) *cobra.Command {
	f := c.Flags()
	f.StringArrayVar(&w.to, "to", nil, toHelp)
	f.StringArrayVar(&w.fallback, "fallback", nil, "asked when nothing before it answers: as --to; each is a tier of its own, or several with commas between")
	f.StringArrayVar(&w.alias, "alias", nil, "a further name; repeatable")
	w.price.flags(f)
	f.BoolVar(&w.shared, "shared", false, sharedHelp)
	f.IntVar(&w.most, "concurrency", 0, "requests at once for each replica, or for a provider's model; 0: no bound")
	f.IntVar(&w.queue, "queue", 0, "requests of a project that wait where a backend is full; 0: 64")
	f.DurationVar(&w.wait, "queue-wait", 0, "the longest wait there; 0: 30s")
	f.DurationVar(&w.slow, "slow", 0, "an answer that begins later counts as a failure of what gave it; 0: none does")
	f.DurationVar(&w.wake, "wake", 0, "how long a request waits for a deployment without replicas, which it wakes; 0: not at all")
	f.DurationVar(&w.cache, "cache", 0, "how long an answer that is always the same (temperature 0 or a seed, no stream) is kept and given again for nothing; 0: not at all")
	f.StringVar(&w.locality, "locality", "", "how requests are dealt out to the replicas of a deployment: prefix (the default), to the one that has seen the prompt's beginning or the session; off, to each in turn")
	w.guard.flags(f)
	f.StringArrayVar(&w.tiers, "tier", nil, "a service tier: flex or priority=PERCENT[:WEIGHT][:flagged], hundredths of the prices and of the weight in queues; flagged: only for keys with the tier as scope; flex= takes it away; repeatable")
	return c
}

// policy is what the flags that were given say of it.
func (w *way) policy(f *pflag.FlagSet) (p api.NewPolicy, err error) {
	whole := func(name string, n int) *int {
		if f.Changed(name) {
			return &n
		}
		return nil
	}
	p.Concurrency, p.Queue = whole("concurrency", w.most), whole("queue", w.queue)
	p.QueueWaitMS, p.SlowMS, p.WakeMS = whole("queue-wait", millis(w.wait)), whole("slow", millis(w.slow)), whole("wake", millis(w.wake))
	p.CacheS = whole("cache", int(w.cache/time.Second))
	if f.Changed("locality") {
		p.Locality = &w.locality
	}
	if p.Guard, err = w.guard.change(f); err != nil {
		return p, err
	}
	err = takeTiers(&p, w.tiers)
	return p, err
}

func millis(d time.Duration) int { return int(d / time.Millisecond) }

// backends are what --to and --fallback name.
func (w *way) backends() ([]api.NewBackend, error) {
	var out []api.NewBackend
	for tier, group := range append([][]string{w.to}, groups(w.fallback)...) {
		for _, text := range group {
			b, err := parseBackend(text)
			if err != nil {
				return nil, err
			}
			b.Tier = tier
			out = append(out, b)
		}
	}
	if len(w.to) == 0 && len(out) > 0 {
		return nil, fault.New(fault.Invalid, "A fallback needs what it stands in for.", fault.Field("--fallback"), fault.Fix("Name it with --to."))
	}
	return out, nil
}

func groups(list []string) [][]string {
	var out [][]string
	for _, text := range list {
		out = append(out, strings.Split(text, ","))
	}
	return out
}

// parseBackend reads PROVIDER/MODEL[:WEIGHT], local/DEPLOYMENT[:WEIGHT] or DEPLOYMENT[:WEIGHT]. What follows the last
// colon is a weight if it is a number: a model whose name ends so takes a weight behind it.
func parseBackend(text string) (api.NewBackend, error) {
	var b api.NewBackend
	name := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		if n, err := strconv.Atoi(text[i+1:]); err == nil && text[i+1] >= '0' && text[i+1] <= '9' {
			name, b.Weight = text[:i], &n
		}
	}
	from, rest, has := strings.Cut(name, "/")
	switch {
	case name == "" || has && (from == "" || rest == ""):
		return b, fault.New(fault.Invalid, "A backend is named "+strconv.Quote(text)+".", fault.Field("--to"), fault.Fix("Write %s.", "PROVIDER/MODEL:WEIGHT or local/DEPLOYMENT:WEIGHT"))
	case !has:
		b.Deployment = name
	case from == "local":
		b.Deployment = rest
	default:
		b.Provider, b.Model = from, rest
	}
	return b, nil
}

func (a *app) routeCommand() *cobra.Command {
	ls := a.verb("ls", "List routes", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Routes(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			names := backendNames(ctx, c, list...)
			a.Table([]string{"name", "id", "leads to", "price in", "price out", "shared", "age"}, rows(list, func(r api.Route) []string {
				return []string{r.Name, r.ID, leadsTo(r, names), num(r.PriceIn), num(r.PriceOut), yesNo(r.Shared), a.ago(r.CreatedAt)}
			}))
		})
	})
	show := a.verb("show NAME", "Show a route and what it leads to", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := c.Route(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(r, func() { a.showRoute(r, backendNames(ctx, c, r)) })
	})
	rm := a.verb("rm NAME", "Remove a route", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveRoute(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s is removed\n", args[0]) })
	})
	return noun("route", "Routes: public model names of the model API", ls, show, a.routeAdd(), a.routeSet(), rm, a.canaryCommand())
}

func (a *app) routeAdd() *cobra.Command {
	var w way
	var add *cobra.Command
	add = w.flags(a.verb("add NAME", "Give deployments and providers' models a public name", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n := api.NewRoute{Name: args[0], Aliases: w.alias, Shared: w.shared}
		var err error
		if n.Policy, err = w.policy(add.Flags()); err != nil {
			return err
		}
		if n.Backends, err = w.backends(); err != nil {
			return err
		}
		if len(n.Backends) == 0 {
			return fault.New(fault.Invalid, "The route leads nowhere.", fault.Field("--to"), fault.Fix("Name a deployment or PROVIDER/MODEL with --to."))
		}
		if n.PriceIn, n.PriceOut, n.Prices, err = w.price.named(add); err != nil {
			return err
		}
		r, err := c.CreateRoute(ctx, n)
		if err != nil {
			return err
		}
		return a.Value(r, func() { a.led(r, backendNames(ctx, c, r)) })
	}))
	return add
}

func (a *app) routeSet() *cobra.Command {
	var w way
	var set *cobra.Command
	set = w.flags(a.verb("set NAME", "Change where a route leads, its aliases, prices and sharing", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		change, err := w.change(set.Flags())
		if err != nil {
			return err
		}
		if change.PriceIn, change.PriceOut, change.Prices, err = w.price.named(set); err != nil { // what is not named stays: above all a price
			return err
		}
		if set.Flags().NFlag() == 0 {
			return fault.New(fault.Invalid, "Nothing is to change.", fault.Fix("See `triarch route set --help`."))
		}
		r, err := c.SetRoute(ctx, args[0], change)
		if err != nil {
			return err
		}
		return a.Value(r, func() { a.led(r, backendNames(ctx, c, r)) })
	}))
	return set
}

// change is what the flags that were given say.
func (w *way) change(f *pflag.FlagSet) (change api.RouteChange, err error) {
	if change.Backends, err = w.backends(); err != nil {
		return change, err
	}
	if change.Policy, err = w.policy(f); err != nil {
		return change, err
	}
	if f.Changed("alias") {
		names := w.alias
		if len(names) == 1 && names[0] == "" {
			names = []string{}
		}
		change.Aliases = &names
	}
	if f.Changed("shared") {
		change.Shared = &w.shared
	}
	return change, nil
}

func (a *app) led(r api.Route, names map[string]string) {
	a.Printf("%s leads to %s\n", r.Name, leadsTo(r, names))
	a.costs(r)
}

// backendNames are the names of deployments and providers by id, as far as routes lead to any and they can be read.
func backendNames(ctx context.Context, c *api.Client, routes ...api.Route) map[string]string {
	var local, outside bool
	for _, r := range routes {
		for _, b := range r.Backends {
			local, outside = local || b.Deployment != "", outside || b.Provider != ""
		}
		if x := r.Canary; x != nil {
			local, outside = local || x.Backend.Deployment != "", outside || x.Backend.Provider != ""
		}
	}
	return namesOf(ctx, c, local, outside)
}

func namesOf(ctx context.Context, c *api.Client, local, outside bool) map[string]string {
	names := map[string]string{}
	if local {
		list, _ := c.Deployments(ctx) // without it there are the ids
		for _, d := range list {
			names[d.ID] = d.Name
		}
	}
	if outside {
		list, _ := c.Providers(ctx)
		for _, p := range list {
			names[p.ID] = p.Name
		}
	}
	return names
}

// backendText is a backend in the words of --to; what has no name any more keeps its id.
func backendText(b api.Backend, names map[string]string) string {
	if b.Deployment != "" {
		return "local/" + cmp.Or(names[b.Deployment], b.Deployment)
	}
	return cmp.Or(names[b.Provider], b.Provider) + "/" + b.Model
}

// leadsTo is a route's backends in a line.
func leadsTo(r api.Route, names map[string]string) string {
	var text strings.Builder
	for i, b := range r.Backends {
		switch {
		case i == 0:
		case b.Tier != r.Backends[i-1].Tier:
			text.WriteString(", else ")
		default:
			text.WriteString(" + ")
		}
		text.WriteString(backendText(b, names))
		if b.Weight != 1 {
			fmt.Fprintf(&text, ":%d", b.Weight)
		}
	}
	return text.String()
}

func (a *app) showRoute(r api.Route, names map[string]string) {
	a.Printf("%s (%s)\n", r.Name, r.ID)
	for _, n := range r.Aliases {
		a.Printf("also called %s\n", n)
	}
	a.costs(r)
	for _, x := range []struct {
		what string
		n    int
	}{{"requests at once for each replica", r.Policy.Concurrency}, {"requests of a project that wait", r.Policy.Queue}, {"milliseconds of waiting at most", r.Policy.QueueWaitMS},
		{"milliseconds until an answer is slow", r.Policy.SlowMS}, {"milliseconds for a deployment to wake", r.Policy.WakeMS}, {"seconds in which an answer is given again", r.Policy.CacheS}} {
		if x.n > 0 {
			a.Printf("%s: %d\n", x.what, x.n)
		}
	}
	for _, text := range []string{tierText("flex", r.Policy.Flex), tierText("priority", r.Policy.Priority)} {
		if text != "" {
			a.Printf("%s\n", text)
		}
	}
	if r.Policy.Locality != "" {
		a.Printf("locality: %s\n", r.Policy.Locality)
	}
	if r.Policy.Guard != nil {
		a.Printf("%s\n", guardText(r.Policy.Guard))
	}
	a.Printf("\n")
	a.Table([]string{"tier", "weight", "backend"}, rows(r.Backends, func(b api.Backend) []string {
		return []string{strconv.Itoa(b.Tier), strconv.Itoa(b.Weight), backendText(b, names)}
	}))
	a.showCanary(r, names)
}
