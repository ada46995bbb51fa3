package cli

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/system"
)

// gatewayCommand is a gateway without a control plane in its process.
func (a *app) gatewayCommand() *cobra.Command {
	o := &upOptions{settings: map[string]*string{}}
	c := &cobra.Command{
		Use: "gateway", Short: "Start a gateway alone, beside a control plane on the same PostgreSQL", Args: cobra.NoArgs,
		Long: `Serves the model API and nothing else, in a process of its own. Any number of gateways share one PostgreSQL with
the control plane: keys, routes and replicas come from there, and limits and budgets hold over all of them together.

Each needs a data directory of its own, which keeps its ledger: what it served and has not stored yet. The file of
the installation's key is the control plane's: name a copy of its secret.key with --secret-key.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags, err := a.gatewayFlags(cmd, o)
			if err != nil {
				return err
			}
			return a.gateway(cmd.Context(), o, flags)
		},
	}
	f := c.Flags()
	for _, s := range settingFlags {
		if s.flag != "roles" {
			o.settings[s.setting] = f.String(s.flag, "", s.help)
		}
	}
	f.Bool("insecure", false, "listen without TLS on an address others can reach")
	f.StringVar(&o.config, "config", os.Getenv("TRIARCH_CONFIG"), "configuration file (default: config.yaml in the data directory)")
	c.AddCommand(a.gatewayRecoverCommand())
	return c
}

// gatewayFlags are the settings that a command line names.
func (a *app) gatewayFlags(cmd *cobra.Command, o *upOptions) (map[string]string, error) {
	flags := map[string]string{"roles": "gateway"}
	for _, s := range settingFlags {
		if x := cmd.Flags().Lookup(s.flag); x != nil && x.Changed {
			flags[s.setting] = *o.settings[s.setting]
		}
	}
	if x := cmd.Flags().Lookup("insecure"); x != nil && x.Changed {
		flags["insecure"] = x.Value.String()
	}
	if cmd.Root().PersistentFlags().Changed("data") {
		flags["data"] = a.data
	}
	return flags, passwordInArguments(flags["database"])
}

func (a *app) gateway(ctx context.Context, o *upOptions, flags map[string]string) error {
	cfg, _, err := system.LoadConfig(o.config, os.Environ(), flags)
	if err != nil {
		return err
	}
	s, err := system.Start(ctx, cfg, newLog(cfg, a, a.Err), a.extras...)
	if err != nil {
		return err
	}
	a.Printf("Triarch %s, a gateway, answers at %s\n  data directory  %s\n", system.Version, s.URL, s.Config.Data)
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-s.Broken():
	}
	a.Printf("\nEnding the gateway.\n")
	return errors.Join(failed, s.Stop(context.WithoutCancel(ctx)))
}

func (a *app) gatewayRecoverCommand() *cobra.Command {
	o := &upOptions{settings: map[string]*string{}}
	c := &cobra.Command{
		Use: "recover DIR", Short: "Book what a gateway that will not come back has served, and give back the money it had leased", Args: cobra.ExactArgs(1),
		Long: `Reads the ledger in the data directory of a gateway that has died and will not be started again, stores its records,
and gives back what it had leased of budgets. A gateway that is started again does this by itself.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags, err := a.gatewayFlags(cmd, o)
			if err != nil {
				return err
			}
			if _, err := os.Stat(args[0]); err != nil {
				return fault.New(fault.NotFound, "There is no data directory at "+args[0]+".", fault.Field("DIR"), fault.Cause(err))
			}
			flags["data"] = args[0]
			cfg, _, err := system.LoadConfig(o.config, os.Environ(), flags)
			if err != nil {
				return err
			}
			r, err := system.Recover(cmd.Context(), cfg, newLog(cfg, a, a.Err))
			if err != nil {
				return err
			}
			return a.Value(r, func() {
				a.Printf("%s: %d records are stored, %d of them of requests that were under way; its leases are given back\n", r.Node, r.Records, r.Cut)
			})
		},
	}
	f := c.Flags()
	o.settings["database"] = f.String("database", "", "postgres://... (default: as the configuration has it)")
	f.StringVar(&o.config, "config", os.Getenv("TRIARCH_CONFIG"), "configuration file (default: config.yaml in the data directory)")
	return c
}
