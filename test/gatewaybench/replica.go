package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/triarch-ai/triarch/models/native/worker"
)

// runReplica serves a model folder with the embedded engine as one of its replicas does, and prints its address once it
// answers.
func runReplica(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("replica", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the model")
	cache := flags.Int64("cache", 0, "bytes for keys and values")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return worker.Serve(ctx, worker.Options{Dir: *dir, Secret: replicaSecret, Threads: 1, KVBytes: *cache, OnReady: func(addr string) { fmt.Println(addr) }})
}

// replicaSecret is that of the replicas, which nobody else asks.
const replicaSecret = "gatewaybench"
