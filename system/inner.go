package system

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/triarch-ai/triarch/compute/exec/local"
)

// Inner runs the commands by which supervisors and workers enter the program; people never type them. It says
// whether args were one, and with which exit code it ended.
//
//	supervise ATTEMPT_DIR      watches one attempt of a job
//	worker train ATTEMPT_DIR   trains with the embedded engine
//	worker serve ATTEMPT_DIR   serves a model version with the embedded engine
func Inner(args []string) (handled bool, code int) {
	run := innerCommand(args)
	if run == nil {
		return false, 0
	}
	return true, run(context.Background())
}

func innerCommand(args []string) func(context.Context) int {
	switch {
	case len(args) == 2 && args[0] == "supervise":
		return func(ctx context.Context) int { return local.Supervise(ctx, args[1]) }
	case len(args) == 3 && args[0] == "worker" && workers[args[1]].run != nil:
		return func(ctx context.Context) int {
			signal.Ignore(os.Interrupt, syscall.SIGHUP) // a terminal's Ctrl-C is for the control plane, not for work
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
			defer stop()
			w := workers[args[1]]
			err := w.run(ctx, args[2], slog.New(slog.NewTextHandler(os.Stderr, nil)))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			return w.exit(err)
		}
	}
	return nil
}
