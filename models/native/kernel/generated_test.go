package kernel

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedFilesBelongToTheGenerator fails when the generator or its output was changed without go generate.
func TestGeneratedFilesBelongToTheGenerator(t *testing.T) {
	f, err := os.Open("gen/sums.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	listed := map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		sum, name, _ := strings.Cut(s.Text(), "  ")
		b, err := os.ReadFile(filepath.Join("gen", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != sum {
			t.Errorf("%s has changed: run go generate in models/native/kernel", name)
		}
		listed[name] = true
	}
	sources, err := filepath.Glob("gen/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(sources, "gen/../kernel_amd64.s", "gen/../stubs_amd64.go") {
		if name := strings.TrimPrefix(s, "gen/"); !listed[name] {
			t.Errorf("%s is missing from gen/sums.txt: run go generate in models/native/kernel", name)
		}
	}
}
