package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeSums records the checksums of the generator and of what it wrote, one "sum  file" a line, so that a test of package
// kernel can tell without running the generator that the committed files belong together.
func writeSums() error {
	files, err := filepath.Glob("*.go")
	if err != nil {
		return err
	}
	files = append(files, "go.mod", "go.sum", "../kernel_amd64.s", "../stubs_amd64.go")
	var out strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%x  %s\n", sha256.Sum256(b), f)
	}
	return os.WriteFile("sums.txt", []byte(out.String()), 0o644)
}
