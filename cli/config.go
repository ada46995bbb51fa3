package cli

import (
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/internal/config"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"github.com/triarch-ai/triarch/system"
)

func (a *app) configCommand() *cobra.Command {
	var file string
	var origin bool
	load := func(cmd *cobra.Command) ([]config.Setting, error) {
		flags := map[string]string{}
		if cmd.Root().PersistentFlags().Changed("data") {
			flags["data"] = a.data
		}
		_, settings, err := system.LoadConfig(file, os.Environ(), flags)
		return settings, err
	}
	show := &cobra.Command{Use: "show", Short: "Print every setting, with where it comes from under --origin", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := load(cmd)
			if err != nil {
				return err
			}
			return a.Value(settings, func() { a.Table(settingHeadings(origin), settingRows(settings, origin)) })
		}}
	show.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	check := &cobra.Command{Use: "check", Short: "Check the configuration and exit with 2 if it is wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := load(cmd)
			if err != nil {
				return err
			}
			return a.Value(map[string]any{"ok": true, "settings": len(settings)}, func() { a.Printf("the configuration is sound (%d settings)\n", len(settings)) })
		}}
	c := noun("config", "Show and check the configuration", show, check)
	c.PersistentFlags().StringVar(&file, "config", os.Getenv("TRIARCH_CONFIG"), "configuration file (default: config.yaml in the data directory)")
	return c
}

func settingHeadings(origin bool) []string {
	if origin {
		return []string{"setting", "value", "origin", "environment", "meaning"}
	}
	return []string{"setting", "value", "meaning"}
}

func settingRows(settings []config.Setting, origin bool) (rows [][]string) {
	for _, s := range settings {
		if origin {
			rows = append(rows, []string{s.Name, s.Value, string(s.Origin), s.Env, s.Help})
		} else {
			rows = append(rows, []string{s.Name, s.Value, s.Help})
		}
	}
	return rows
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version, the platform and the kernels in use", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]any{"version": system.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				"kernel": kernel.Name(), "threads": kernel.DefaultThreads(), "data_format": system.Format}
			return a.Value(v, func() {
				fmt.Fprintf(a.Out, "triarch %s (%s, %s/%s, %s kernels, %d threads)\n", system.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, kernel.Name(), kernel.DefaultThreads())
			})
		}}
}
