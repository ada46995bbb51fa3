package native

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/native/worker"
)

// Work is the body of `triarch worker serve DIR`: it serves what the spec in an attempt's folder names, announces its
// address there once it answers, and returns nil when ctx ends.
func Work(ctx context.Context, dir string, log *slog.Logger) error {
	b, err := readSmall(filepath.Join(dir, specFile))
	if err != nil {
		return err
	}
	var s spec
	if err := json.Unmarshal(b, &s); err != nil {
		return fault.Wrap(err, "reading the replica's spec")
	}
	if s.Protocol != engine.Protocol {
		return fault.Newf(fault.Conflict, "The replica's spec has protocol %d; this program speaks %d.", s.Protocol, engine.Protocol)
	}
	secret, err := readSmall(filepath.Join(dir, engine.SecretFile))
	if err != nil {
		return err
	}
	if s.Listen == "" {
		s.Listen = "127.0.0.1"
	}
	var failed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = worker.Serve(ctx, worker.Options{
		Dir: s.ModelDir, ModelName: s.ModelName, Secret: string(bytes.TrimSpace(secret)), Threads: s.Threads,
		MaxContext: s.MaxContext, KVBytes: s.MemoryBytes, ListenAddr: net.JoinHostPort(s.Listen, "0"), Log: log,
		OnReady: func(addr string) {
			if failed = engine.Announce(dir, addr); failed != nil {
				cancel()
			}
		},
	})
	if failed != nil {
		return failed
	}
	return err
}

func readSmall(path string) ([]byte, error) {
	b, err := durable.ReadSmall(path, 1<<20)
	return b, fault.Wrap(err, "reading a file of the attempt")
}
