package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestDataDirIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := OpenDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(path); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "already runs") {
		t.Fatalf("second opening: %v", err)
	}
	d.Close()
	again, err := OpenDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestDataDirOfANewerFormatIsRefusedUntouched(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "format"), []byte(`{"format":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDataDir(path)
	if !fault.Is(err, fault.Conflict) || !strings.Contains(fault.As(err).Sentence(), "newer Triarch") {
		t.Fatalf("got %v", err)
	}
	if entries, _ := os.ReadDir(path); len(entries) != 1 {
		t.Fatalf("the directory was touched: %v", entries)
	}
}

func TestDataDirRefusesAForeignFolderAndDamage(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(home); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a foreign folder: %v", err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "format"), []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(broken); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a damaged format: %v", err)
	}
}
