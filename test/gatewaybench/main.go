// Command gatewaybench measures what the gateway costs beside a plain reverse proxy: CPU time of its process for 1,000
// requests, with authentication, limits, budgets, prices and the ledger on; how long answers take through both; and the
// memory of the gateway alone, idle and under silent streams. Engine, proxies, gateway and load generator are separate
// processes of this one program. The proxy runs twice: what the second gives beside the first is the control.
//
// `gatewaybench routes` measures prefix routing against round robin over replicas of the embedded engine, by the CPU time of
// the replicas.
//
// Rules for users: `gatewaybench run` does all of it, `-rounds 3 -c 64 -only JSON` a part of it. Rounds are interleaved,
// their order changes, and only ratios within a round are compared. CPU time is read from the kernel for each process as
// a whole, so a busy machine disturbs it little; latencies it disturbs much, so read them beside their control.
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
		"routes": runRoutes, "replica": runReplica,
	}
	role := "run"
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	f, ok := roles[role]
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: gatewaybench run|routes|engine|proxy|gateway|load|replica")
		os.Exit(2)
	}
	if err := f(ctx, os.Args[min(len(os.Args), 2):]); err != nil {
		fmt.Fprintln(os.Stderr, "gatewaybench "+role+":", err)
		os.Exit(1)
	}
}
