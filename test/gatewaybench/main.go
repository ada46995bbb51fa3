// Command gatewaybench measures what the gateway costs beside a plain reverse proxy: CPU time of its process for 1,000
// requests, with authentication, limits, budgets and the ledger on. Engine, proxy, gateway and load generator are
// separate processes of this one program; rounds are interleaved and the medians compared.
//
// Rules for users: `gatewaybench run` does all of it. CPU time is read from the kernel for each process as a whole, so a
// busy machine disturbs the figures little; latencies are not reported for the same reason.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	roles := map[string]func(context.Context, []string) error{
		"run": runBench, "engine": runEngine, "proxy": runProxy, "gateway": runGateway, "load": runLoad,
	}
	role := "run"
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	f, ok := roles[role]
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: gatewaybench run|engine|proxy|gateway|load")
		os.Exit(2)
	}
	if err := f(ctx, os.Args[min(len(os.Args), 2):]); err != nil {
		fmt.Fprintln(os.Stderr, "gatewaybench "+role+":", err)
		os.Exit(1)
	}
}
