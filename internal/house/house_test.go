package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func tree(t *testing.T) []Package {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p Package
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 10 {
		t.Fatalf("only %d packages listed", len(pkgs))
	}
	return pkgs
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestImportsPointDownward(t *testing.T) {
	for _, v := range Directions(tree(t)) {
		t.Error(v)
	}
}

func TestOnlySystemNamesDrivers(t *testing.T) {
	for _, v := range Drivers(tree(t)) {
		t.Error(v)
	}
}

func TestPackagesAndNamesAreDocumented(t *testing.T) {
	d, err := CountDocs(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Undocumented {
		t.Errorf("package %s has no package comment", p)
	}
	if d.Documented*10 < d.Exported*9 {
		t.Errorf("%d of %d exported names are documented, below 90 %%; the first bare ones:\n%s",
			d.Documented, d.Exported, strings.Join(d.Bare[:min(20, len(d.Bare))], "\n"))
	}
}

// The guards are only worth having if they bite: each violation planted here must be named.
func TestPlantedViolationsAreCaught(t *testing.T) {
	planted := []struct {
		name string
		find func([]Package) []string
		from string
		imp  string
	}{
		{"upward", Directions, "compute/sched", "models/registry"},
		{"apps to compute", Directions, "apps/assistant", "compute/job"},
		{"no rank", Directions, "misc/thing", "fmt"},
		{"tenancy to sql", Directions, "tenancy/auth", "storage/sql"},
		{"driver", Drivers, "server", "compute/exec/local"},
		{"driver", Drivers, "models/serve", "models/engine/native"},
		{"driver", Drivers, "cli", "storage/blob/file"},
		{"suite", Drivers, "system", "storage/sql/sqltest"},
	}
	for _, p := range planted {
		imp := p.imp
		if imp != "fmt" {
			imp = Module + "/" + imp
		}
		if got := p.find([]Package{{ImportPath: Module + "/" + p.from, Imports: []string{imp}}}); len(got) == 0 {
			t.Errorf("%s: %s importing %s went unnoticed", p.name, p.from, p.imp)
		}
	}
	allowed := []Package{{Module + "/system", []string{Module + "/compute/exec/local"}}, {Module + "/cli", []string{Module + "/system"}}}
	if bad := append(Directions(allowed), Drivers(allowed)...); len(bad) > 0 {
		t.Errorf("lawful imports refused: %v", bad)
	}
}

func TestPlantedMissingDocsAreCaught(t *testing.T) {
	dir := t.TempDir()
	src := "package bare\n\nfunc Shown() {}\n\n// Told says so.\nfunc Told() {}\n\nfunc hidden() {}\n"
	if err := os.WriteFile(filepath.Join(dir, "bare.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := CountDocs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Undocumented) != 1 || d.Exported != 2 || d.Documented != 1 {
		t.Fatalf("counted %+v", d)
	}
}

// ARCHITECTURE.md names functions; each must exist in the file it is linked to.
func TestTheMapNamesWhatExists(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile("\\[`([A-Za-z.]+)`\\]\\(([^)]+\\.go)\\)").FindAllStringSubmatch(string(text), -1)
	if len(links) < 20 {
		t.Fatalf("only %d links found", len(links))
	}
	for _, l := range links {
		src, err := os.ReadFile(filepath.Join(root(t), l[2]))
		if err != nil {
			t.Errorf("%s: %v", l[1], err)
			continue
		}
		if !declares(string(src), l[1]) {
			t.Errorf("%s is not declared in %s", l[1], l[2])
		}
	}
}

// declares says whether src has the function "Name" or the method "Type.Name".
func declares(src, name string) bool {
	typ, fn, isMethod := strings.Cut(name, ".")
	if !isMethod {
		return strings.Contains(src, "\nfunc "+name+"(")
	}
	return regexp.MustCompile(`\nfunc \(\w+ \*?` + typ + `\) ` + fn + `\(`).MatchString(src)
}

func TestDeclaresIsNotFooled(t *testing.T) {
	src := "package x\n\nfunc Start() {}\n\nfunc (s *System) Stop() {}\n"
	if !declares(src, "Start") || !declares(src, "System.Stop") || declares(src, "Stop") || declares(src, "System.Start") || declares(src, "Star") {
		t.Fatal("declares is wrong")
	}
}

// TestOnlySourcesAreKept finds built programs and other large files that were added by mistake; the one model that
// tests compare with is the largest that may be.
func TestOnlySourcesAreKept(t *testing.T) {
	dir := root(t)
	if _, err := os.Stat(filepath.Join(dir, ".git")); errors.Is(err, fs.ErrNotExist) {
		return // a copy without its history, where nothing tells what is kept
	}
	// A checkout may belong to somebody else than who tests it.
	list, err := exec.Command("git", "-c", "safe.directory=*", "-C", dir, "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("git cannot list the files: %v", err)
	}
	const most = 1 << 20
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		st, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) { // removed, and not committed yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > most {
			t.Errorf("%s has %d bytes; what is built or downloaded does not belong here", name, st.Size())
		}
	}
}
