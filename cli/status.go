package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/system"
)

func (a *app) statusCommand() *cobra.Command {
	return a.verb("status", "Show what runs", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		return a.Value(st, func() { a.showStatus(c, st, backendNames(ctx, c, st.Routes...)) })
	})
}

func (a *app) showStatus(c *api.Client, st api.Status, names map[string]string) {
	a.Printf("Triarch %s at %s, up %s\n  database      %s\n  cores         %d\n  organisation  %s (%s)\n  project       %s (%s)\n", st.Server.Version, c.URL(), a.ago(st.Server.StartedAt),
		st.Server.Database, st.Server.CPUs, st.Organisation.Name, st.Organisation.ID, st.Project.Name, st.Project.ID)
	if c.URL() == a.file("endpoint") {
		if log := system.LogFile(a.data); exists(log) {
			a.Printf("  log           %s\n", log)
		}
	}
	if len(st.Runs) > 0 {
		a.Printf("\n")
		a.Table([]string{"run", "name", "state", "step", "loss", "reason"}, rows(st.Runs, func(r api.Run) []string {
			return []string{r.ID, r.Name, r.State, fmt.Sprintf("%d/%d", r.Progress.Step, r.Estimate.Steps), fmt.Sprintf("%.3f", r.Progress.Loss), r.Reason}
		}))
	}
	if len(st.Deployments) > 0 {
		a.Printf("\n")
		a.deploymentTable(st.Deployments)
	}
	if len(st.Routes) > 0 {
		a.Printf("\n")
		a.Table([]string{"route", "leads to", "price in", "price out"}, rows(st.Routes, func(r api.Route) []string {
			return []string{r.Name, leadsTo(r, names), num(r.PriceIn), num(r.PriceOut)}
		}))
		a.Next("%s", a.command("chat %s", shellQuote(st.Routes[0].Name)))
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{Use: "doctor", Short: "Check this machine and the data directory, and name the fix of what is wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks := system.Doctor(cmd.Context(), a.data)
			if c, err := a.client(); err == nil {
				checks = append(checks, reachCheck(cmd.Context(), c))
			}
			bad := 0
			for _, c := range checks {
				if c.State == system.Bad {
					bad++
				}
			}
			if err := a.Value(map[string]any{"checks": checks, "bad": bad}, func() {
				for _, c := range checks {
					a.Printf("%-4s  %-16s %s\n", c.State, c.Name, c.Says)
					if c.Fix != "" {
						a.Printf("      %-16s fix: %s\n", "", c.Fix)
					}
				}
			}); err != nil {
				return err
			}
			if bad > 0 {
				return fault.Newf(fault.Conflict, "%d checks found something wrong.", bad)
			}
			return nil
		}}
}

func reachCheck(ctx context.Context, c *api.Client) system.Check {
	st, err := c.Status(ctx)
	if err != nil {
		f := fault.As(err)
		return system.Check{Name: "API", State: system.Bad, Says: f.Message, Fix: f.Fix}
	}
	return system.Check{Name: "API", State: system.Fine, Says: fmt.Sprintf("answers at %s, version %s", c.URL(), st.Server.Version)}
}
