package system

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func startOn(t *testing.T, dir, database string) (*System, error) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Database = dir, "127.0.0.1:0", database
	return Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
}

// A strange pair of directory and database would collect what the other names and start its work twice.
func TestDirectoryAndDatabaseBelongTogether(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	base := "sqlite:" + filepath.Join(t.TempDir(), "shared.db")
	s, err := startOn(t, one, base)
	if err != nil {
		t.Fatal(err)
	}
	key := s.OwnerKey
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := startOn(t, one, "sqlite:"+filepath.Join(t.TempDir(), "new.db")); !fault.Is(err, fault.Conflict) || fault.As(err).Field != "database" {
		t.Fatalf("the directory with a new database: %v", err)
	}
	if _, err := startOn(t, two, base); !fault.Is(err, fault.Conflict) || fault.As(err).Field != "data" {
		t.Fatalf("the database with a new directory: %v", err)
	}
	if s, err = startOn(t, one, base); err != nil || s.OwnerKey != key {
		t.Fatalf("the right pair: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Of a crash between the two writes that bind them, the next start makes the second.
func TestBindingGoesOnAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "installation")); err != nil {
		t.Fatal(err)
	}
	if err := start(t, dir).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "installation")); err != nil {
		t.Fatal(err)
	}
}

// The name is in the keys of shipped records: under a new one, all of the ledger would be booked a second time.
func TestALostNameComesBackFromTheDatabase(t *testing.T) {
	for _, lost := range [][]string{{"node"}, {"node", "installation"}} {
		dir := t.TempDir()
		s := start(t, dir)
		name := s.Ledger.Node()
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, file := range lost {
			if err := os.Remove(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		s = start(t, dir)
		if s.Ledger.Node() != name {
			t.Errorf("without %v it is %s, was %s", lost, s.Ledger.Node(), name)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "node")); err != nil || strings.TrimSpace(string(text)) != name {
			t.Errorf("the file has %q, %v", text, err)
		}
	}
}

func TestAnotherNameThanTheDatabasesIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "node"), []byte(s.ids.New("node")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := startOn(t, dir, ""); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.As(err).Sentence(), s.Ledger.Node()) {
		t.Fatalf("a directory of another name: %v", err)
	}
}

func TestAnOwnerKeyTheDatabaseDoesNotKnowIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "owner.key"), []byte("tri_strange\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	defer s.Stop(t.Context())
	if _, err := s.Keyring.Authenticate(s.OwnerKey); err != nil {
		t.Fatal(err)
	}
}

// A first start that a full disk or a kill cut short must not lock the directory.
func TestACutFirstStartGoesOn(t *testing.T) {
	for _, left := range [][]string{{"lock"}, {"lock", ".new-123"}, {"lock", "format"}, {"lock", "format", "blobs", ".new-9"}} {
		dir := t.TempDir()
		for _, name := range left {
			var err error
			switch name {
			case "blobs":
				err = os.Mkdir(filepath.Join(dir, name), 0o700)
			case "format":
				err = os.WriteFile(filepath.Join(dir, name), formatText(), 0o600)
			default:
				err = os.WriteFile(filepath.Join(dir, name), nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		d, err := OpenDataDir(dir)
		if err != nil {
			t.Errorf("after %v: %v", left, err)
			continue
		}
		d.Close()
	}
}

func TestMemoryForBodies(t *testing.T) {
	for _, c := range []struct{ limit, largest, want int64 }{
		{math.MaxInt64, 4 << 20, 512 << 20}, {1 << 30, 4 << 20, 128 << 20}, {1 << 40, 4 << 20, 512 << 20}, {64 << 20, 4 << 20, 16 << 20},
	} {
		if n := bodyMemory(c.limit, c.largest); n != c.want {
			t.Errorf("%d of %d, want %d", n, c.limit, c.want)
		}
	}
}
