package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/serve"
)

func (a *app) deployCommand() *cobra.Command {
	var n api.NewDeployment
	var route api.NewRoute
	var price prices
	var noRoute, detach bool
	var c *cobra.Command
	c = a.verb("deploy MODEL", "Serve a model version and give it a public name: name, name@number or id", cobra.ExactArgs(1), func(ctx context.Context, client *api.Client, args []string) error {
		n.Model = args[0]
		if !noRoute {
			var err error
			if route.PriceIn, route.PriceOut, route.Prices, err = price.named(c); err != nil {
				return err
			}
			n.Route = &route
		}
		return a.deploy(ctx, client, n, detach)
	})
	f := c.Flags()
	f.StringVar(&n.Name, "name", "", "name of the deployment (default: the model's)")
	f.IntVar(&n.Replicas, "replicas", 1, "running copies")
	f.StringVar(&n.Engine, "engine", "", "engine (default native)")
	f.IntVar(&n.Threads, "threads", 0, "cores for each replica")
	f.IntVar(&n.Chips, "chips", 0, "accelerators for each replica (default none)")
	f.StringSliceVar(&n.ChipTypes, "chip", nil, "a class of chips it can use; repeatable (default: any)")
	f.IntVar(&n.MinReplicas, "min-replicas", 0, "never fewer for the sake of other work (default: all)")
	f.IntVar(&n.Priority, "priority", 0, "higher goes first among what waits for chips")
	f.IntVar(&n.MaxContext, "max-context", 0, "longest sequence, tokens")
	f.Var((*size)(&n.MemoryBytes), "memory", "what the cache of each replica may take, such as 8GiB (default: the engine decides)")
	f.BoolVar(&n.Force, "force", false, "go on where it does not fit; what it was refused for is kept")
	f.StringVar(&route.Name, "route", "", "public name (default: the deployment's)")
	price.flags(f)
	f.BoolVar(&route.Shared, "shared", false, sharedHelp)
	f.BoolVar(&noRoute, "no-route", false, "give it no public name")
	f.BoolVar(&detach, "detach", false, "return at once instead of waiting until it answers")
	return c
}

func (a *app) deploy(ctx context.Context, c *api.Client, n api.NewDeployment, detach bool) error {
	d, err := c.Deploy(ctx, n)
	if err != nil {
		return err
	}
	if !detach && d.Ready < d.Replicas {
		route := d.Route
		d, err = follow(ctx, a, c, "deployment show "+shellQuote(d.Name), func(c *api.Client) (api.DeploymentDetail, bool, error) {
			d, err := c.Deployment(ctx, d.ID)
			return d, d.State == "failed" || d.Ready >= d.Replicas, err
		})
		if err != nil {
			return err
		}
		d.Route = route
	}
	if d.State == "failed" {
		return fault.New(fault.Unavailable, "The deployment "+d.Name+" failed: "+d.Reason, fault.Fix("See `%s`", a.command("deployment logs %s", shellQuote(d.Name))))
	}
	return a.Value(d, func() {
		a.Printf("%s serves %s: %s, %d of %d replicas answer\n", d.Name, d.Model, d.State, d.Ready, d.Replicas)
		a.forced(d.Forced)
		if d.Route != nil {
			a.costs(*d.Route)
			a.Next("%s", a.command("chat %s", shellQuote(d.Route.Name)))
		}
	})
}

// forced tells what was overridden.
func (a *app) forced(refusal string) {
	if refusal != "" {
		a.Printf("  forced   %s\n", refusal)
	}
}

func (a *app) deploymentCommand() *cobra.Command {
	ls := a.verb("ls", "List deployments", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Deployments(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() { a.deploymentTable(list) })
	})
	show := a.verb("show DEPLOYMENT", "Show a deployment and its replicas", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		d, err := c.Deployment(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(d, func() {
			a.deploymentTable([]api.Deployment{d.Deployment})
			a.forced(d.Forced)
			a.Printf("\n")
			a.Table([]string{"replica", "job", "attempt", "answers", "restarts", "reason", "age"}, rows(d.Copies, func(r api.Replica) []string {
				return []string{r.ID, r.JobID, fmt.Sprint(r.Attempt), yesNo(r.Healthy), fmt.Sprint(r.Restarts), r.Reason, a.ago(r.CreatedAt)}
			}))
		})
	})
	var replica string
	var attempt int
	var goOn bool
	logs := a.verb("logs DEPLOYMENT", "Print a replica's output", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		return a.copyLogs(ctx, c, goOn, func(c *api.Client, offset int64) (api.Logs, error) {
			return c.DeploymentLogs(ctx, args[0], api.LogQuery{Replica: replica, Attempt: attempt, Offset: offset})
		})
	})
	logs.Flags().StringVar(&replica, "replica", "", "which replica (default: the first)")
	logs.Flags().IntVar(&attempt, "attempt", 0, "which attempt (default: the newest)")
	logs.Flags().BoolVarP(&goOn, "follow", "f", false, "go on as more comes")
	var n int
	scale := a.verb("scale DEPLOYMENT", "Change how many replicas it has", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		d, err := c.ScaleDeployment(ctx, args[0], n)
		if err != nil {
			return err
		}
		return a.Value(d, func() { a.Printf("%s is to have %d replicas\n", d.Name, d.Replicas) })
	})
	scale.Flags().IntVar(&n, "replicas", 1, "running copies; 0 stops serving")
	var detach bool
	rm := a.verb("rm DEPLOYMENT", "Remove a deployment with its routes", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		return a.removeDeployment(ctx, c, args[0], detach)
	})
	rm.Flags().BoolVar(&detach, "detach", false, "return at once instead of waiting until its replicas have ended")
	return noun("deployment", "Deployments: model versions kept serving", ls, show, logs, scale, rm)
}

// removeDeployment returns when the deployment is gone, and its model version free to be removed.
func (a *app) removeDeployment(ctx context.Context, c *api.Client, name string, detach bool) error {
	d, err := c.RemoveDeployment(ctx, name)
	if err != nil {
		return err
	}
	if detach {
		return a.Value(d, func() { a.Printf("%s is being removed\n", name) })
	}
	_, err = follow(ctx, a, c, "", func(c *api.Client) (api.DeploymentDetail, bool, error) {
		d, err := c.Deployment(ctx, d.ID)
		if fault.Is(err, fault.NotFound) {
			return d, true, nil
		}
		return d, false, err
	})
	if err != nil {
		return err
	}
	return a.Value(map[string]string{"removed": name}, func() { a.Printf("%s is removed\n", name) })
}

func (a *app) deploymentTable(list []api.Deployment) {
	a.Table([]string{"name", "id", "model", "engine", "state", "ready", "reason", "age"}, rows(list, func(d api.Deployment) []string {
		return []string{d.Name, d.ID, d.Model, d.Engine, d.State, fmt.Sprintf("%d/%d", d.Ready, d.Replicas), d.Reason, a.ago(d.CreatedAt)}
	}))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

const sharedHelp = "every project of the organisation may call it; for owners and keys with the scope pricing"

// prices are the flags of what a route costs.
type prices struct {
	in, out int64
	file    string
}

func (p *prices) flags(f *pflag.FlagSet) {
	f.Int64Var(&p.in, "price-in", 0, "micro-units for 1,000,000 prompt tokens; for owners and keys with the scope pricing (default: what the model costs elsewhere in the project, else the installation's price)")
	f.Int64Var(&p.out, "price-out", 0, "micro-units for 1,000,000 completion tokens; likewise")
	f.StringVar(&p.file, "price", "", "YAML file (- is standard input) with any of input, output, cached_input, reasoning, embedding, each for 1,000,000 tokens, and request, in micro-units")
}

// named are the prices that were given, nil for one that was not.
func (p *prices) named(c *cobra.Command) (in, out *int64, card *api.PriceCard, err error) {
	if c.Flags().Changed("price-in") {
		in = &p.in
	}
	if c.Flags().Changed("price-out") {
		out = &p.out
	}
	if p.file != "" {
		card, err = readPrices(p.file, c.InOrStdin())
	}
	return in, out, card, err
}

const maxPriceFile = 64 << 10

// yamlWords is what is wrong with a YAML file without the words of the program that read it.
func yamlWords(err error) string {
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n"), "\n", ";")
	return strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(text, " not found in type api.PriceCard", " is not known"), "into api.PriceCard", ""))
}

// readPrices reads a price file, in which nothing may stand that is no price.
func readPrices(file string, stdin io.Reader) (*api.PriceCard, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fault.New(fault.Invalid, "The price file "+file+" cannot be read.", fault.Field("price"), fault.Cause(err))
		}
		defer f.Close()
		stdin = f
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxPriceFile+1))
	if err == nil && len(text) > maxPriceFile {
		err = errors.New("it is longer than 64 KiB")
	}
	var card api.PriceCard
	if err == nil {
		d := yaml.NewDecoder(bytes.NewReader(text))
		d.KnownFields(true)
		err = d.Decode(&card)
	}
	if err == nil {
		err = wholeNumbers(text)
	}
	if err == nil && card == (api.PriceCard{}) {
		err = errors.New("it names no price")
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "The price file is not right: "+yamlWords(err)+".", fault.Field("price"),
			fault.Fix("Write lines such as `input: 250000`, with input, output, cached_input, reasoning, embedding or request."), fault.Cause(err))
	}
	return &card, inBounds(&card)
}

// inBounds says which price of a file is none, by the name that it has there.
func inBounds(c *api.PriceCard) error {
	for _, x := range []struct {
		name  string
		price *int64
		least int64 // -1: it may follow another price
	}{{"input", c.Input, 0}, {"output", c.Output, 0}, {"cached_input", c.CachedInput, -1}, {"reasoning", c.Reasoning, -1}, {"embedding", c.Embedding, -1}, {"request", c.Request, 0}} {
		if x.price != nil && (*x.price < x.least || *x.price > serve.MaxPrice) {
			return fault.InvalidField(x.name, "%s is %d in the price file; a price is 0 to %d micro-units for 1,000,000 tokens, or for one request.", x.name, *x.price, int64(serve.MaxPrice))
		}
	}
	return nil
}

// costs says what a route costs, which whoever made it need not have said.
func (a *app) costs(r api.Route) {
	a.Printf("1,000,000 tokens of %s cost %s micro-units in and %s out\n", r.Name, num(r.PriceIn), num(r.PriceOut))
	p := r.Prices
	if p.CachedInput != p.Input || p.Reasoning != p.Output || p.Embedding != p.Input || p.Request != 0 {
		a.Printf("  cached input %s, reasoning %s, embedding %s, each request %s\n", num(p.CachedInput), num(p.Reasoning), num(p.Embedding), num(p.Request))
	}
}

// wholeNumbers refuses values that decoding would cut to whole ones.
func wholeNumbers(text []byte) error {
	var values map[string]yaml.Node
	if err := yaml.Unmarshal(text, &values); err != nil {
		return err
	}
	for name, v := range values {
		if v.ShortTag() != "!!int" {
			return errors.New("the price " + name + " is no whole number")
		}
	}
	return nil
}

func (a *app) priceCommand() *cobra.Command {
	table := func(list []api.PriceVersion) {
		a.Table([]string{"id", "route", "input", "cached", "output", "reasoning", "embedding", "request", "age"}, rows(list, func(v api.PriceVersion) []string {
			p := v.Prices
			return []string{v.ID, v.Route, num(p.Input), num(p.CachedInput), num(p.Output), num(p.Reasoning), num(p.Embedding), num(p.Request), a.ago(v.CreatedAt)}
		}))
	}
	ls := a.verb("ls [ROUTE]", "List what routes cost from when on, newest first, in micro-units for 1,000,000 tokens or a request", cobra.MaximumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		list, err := c.Prices(ctx, strings.Join(args, ""))
		if err != nil {
			return err
		}
		return a.Value(list, func() { table(list) })
	})
	tabular(ls)
	show := a.verb("show VERSION", "Show one version of prices", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		v, err := c.PriceVersion(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(v, func() { table([]api.PriceVersion{v}) })
	})
	return noun("price", "Versions of prices; they are set with `route add`, `route set` and `deploy`", ls, show, a.chipPriceCommand())
}
