package system

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/starter"
)

// The test binary stands in for the program when supervisors and workers start it.
func TestMain(m *testing.M) {
	if handled, code := Inner(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *System {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = dir, "127.0.0.1:0"
	s, err := Start(t.Context(), cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStarterEndToEnd(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	began := time.Now()
	last := ""
	err := s.MakeStarter(t.Context(), func(p starter.Progress) {
		if line := string(p.Stage) + string(p.Run.State); line != last {
			last = line
			t.Log(time.Since(began).Round(time.Millisecond), p.Stage, p.Run.State, p.Run.Estimate.Duration, p.Run.Progress.Step, p.Run.Progress.Loss)
		}
	})
	if err != nil {
		t.Error(err)
	}
	t.Log(time.Since(began), s.RouteNames())
	s.Stop(context.Background())
	r, err := Down(t.Context(), dir, 5*time.Second, s.Log)
	t.Log(r, err)
}
