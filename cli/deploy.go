package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
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
			route.PriceIn, route.PriceOut = price.named(c)
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
		if d.Route != nil {
			a.costs(*d.Route)
			a.Next("%s", a.command("chat %s", shellQuote(d.Route.Name)))
		}
	})
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
type prices struct{ in, out int64 }

func (p *prices) flags(f *pflag.FlagSet) {
	f.Int64Var(&p.in, "price-in", 0, "micro-units for 1,000,000 prompt tokens; for owners and keys with the scope pricing (default: what the model costs elsewhere in the project, else the installation's price)")
	f.Int64Var(&p.out, "price-out", 0, "micro-units for 1,000,000 completion tokens; likewise")
}

// named are the prices that were given, nil for one that was not.
func (p *prices) named(c *cobra.Command) (in, out *int64) {
	if c.Flags().Changed("price-in") {
		in = &p.in
	}
	if c.Flags().Changed("price-out") {
		out = &p.out
	}
	return in, out
}

// costs says what a route costs, which whoever made it need not have said.
func (a *app) costs(r api.Route) {
	a.Printf("1,000,000 tokens of %s cost %s micro-units in and %s out\n", r.Name, num(r.PriceIn), num(r.PriceOut))
}

func (a *app) routeCommand() *cobra.Command {
	ls := a.verb("ls", "List routes", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Routes(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"name", "id", "deployment", "price in", "price out", "shared", "age"}, rows(list, func(r api.Route) []string {
				return []string{r.Name, r.ID, r.DeploymentID, num(r.PriceIn), num(r.PriceOut), yesNo(r.Shared), a.ago(r.CreatedAt)}
			}))
		})
	})
	var n api.NewRoute
	var price prices
	flags := func(c *cobra.Command) *cobra.Command {
		f := c.Flags()
		f.StringVar(&n.Deployment, "to", "", "deployment: id or name")
		price.flags(f)
		f.BoolVar(&n.Shared, "shared", false, sharedHelp)
		return c
	}
	var add, set *cobra.Command
	add = flags(a.verb("add NAME", "Give a deployment a public name", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n.Name = args[0]
		n.PriceIn, n.PriceOut = price.named(add)
		r, err := c.CreateRoute(ctx, n)
		if err != nil {
			return err
		}
		return a.Value(r, func() {
			a.Printf("%s leads to %s\n", r.Name, r.DeploymentID)
			a.costs(r)
		})
	}))
	set = flags(a.verb("set NAME", "Change a route's deployment, prices and sharing", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		change := api.RouteChange{Deployment: n.Deployment}
		change.PriceIn, change.PriceOut = price.named(set) // what is not named stays: above all a price
		if set.Flags().Changed("shared") {
			change.Shared = &n.Shared
		}
		if change == (api.RouteChange{}) {
			return fault.New(fault.Invalid, "Nothing is to change.", fault.Fix("Name it: --to, --price-in, --price-out or --shared."))
		}
		r, err := c.SetRoute(ctx, args[0], change)
		if err != nil {
			return err
		}
		return a.Value(r, func() {
			a.Printf("%s leads to %s\n", r.Name, r.DeploymentID)
			a.costs(r)
		})
	}))
	rm := a.verb("rm NAME", "Remove a route", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveRoute(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s is removed\n", args[0]) })
	})
	return noun("route", "Routes: public model names of the model API", ls, add, set, rm)
}
