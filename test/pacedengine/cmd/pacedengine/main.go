// Command pacedengine runs the paced engine as a process; see package pacedengine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/triarch-ai/triarch/test/pacedengine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := pacedengine.Main(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pacedengine:", err)
		os.Exit(1)
	}
}
