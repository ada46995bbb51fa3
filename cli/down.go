package cli

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/system"
)

func (a *app) downCommand() *cobra.Command {
	grace := 15 * time.Second
	c := &cobra.Command{Use: "down", Short: "End everything of a data directory: control plane, training and replicas", Args: cobra.NoArgs,
		Long: `Ends the control plane and then all training and replicas of the data directory. Training saves a checkpoint
first. Nothing is lost: the next up goes on where things stood.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), grace+60*time.Second)
			defer cancel()
			r, err := system.Down(ctx, a.data, grace, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return a.Value(r, func() {
				if r.ControlPlane == 0 && r.Work == 0 {
					a.Printf("nothing was running on %s\n", a.data)
					return
				}
				if r.ControlPlane != 0 {
					a.Printf("ended the control plane (pid %d)\n", r.ControlPlane)
				}
				a.Printf("ended %d training runs and replicas\n", r.Work)
			})
		}}
	c.Flags().DurationVar(&grace, "grace", grace, "how long training may take to save")
	return c
}
