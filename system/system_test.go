package system

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
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

func TestStartsAgainAsItWas(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if !s.First || !s.WantsStarter() || s.OwnerKey == "" {
		t.Fatalf("first start: first %v, starter %v", s.First, s.WantsStarter())
	}
	key, project := s.OwnerKey, s.Project.ID
	if st, err := os.Stat(filepath.Join(dir, "owner.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("owner.key: %v %v", st, err)
	}
	if _, err := s.Keyring.Authenticate(key); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(dir); !fault.Is(err, fault.Conflict) {
		t.Fatalf("the directory of a running system was opened: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	defer again.Stop(context.Background())
	if again.First || again.OwnerKey != key || again.Project.ID != project {
		t.Fatalf("second start: first %v, same key %v, project %s", again.First, again.OwnerKey == key, again.Project.ID)
	}
}

func TestALostOwnerKeyFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	old := s.OwnerKey
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "owner.key")); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	defer s.Stop(context.Background())
	if s.OwnerKey == "" || s.OwnerKey == old {
		t.Fatal("no new owner key")
	}
	if _, err := s.Keyring.Authenticate(s.OwnerKey); err != nil {
		t.Fatal(err)
	}
}

func TestABusyPortLeavesNothingBehind(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = filepath.Join(t.TempDir(), "data"), l.Addr().String()
	_, err = Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if !fault.Is(err, fault.Conflict) || fault.As(err).Field != "listen" {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("a data directory was made")
	}
}

func TestAFailedStartLetsGoOfEverything(t *testing.T) {
	dir := t.TempDir()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Database = dir, "127.0.0.1:0", "postgres://127.0.0.1:1/none?connect_timeout=1"
	if _, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("started without a database")
	}
	d, err := OpenDataDir(dir)
	if err != nil {
		t.Fatalf("the directory is still held: %v", err)
	}
	d.Close()
}
