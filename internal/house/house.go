// Package house decides whether the source tree keeps its own rules: which folder may import which, that only
// system names drivers, and that every package and nearly every exported name is documented.
//
// The rules are functions over plain values, so that a test can plant a violation in each and see it caught;
// house_test.go runs them over the real tree.
package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
)

// Module is the import path all packages of the tree begin with.
const Module = "github.com/triarch-ai/triarch"

// Package is one package of the tree: its import path and what its non-test files import.
type Package struct {
	ImportPath string
	Imports    []string
}

// ranks is the direction rule: a package imports its own rank or a lower one. The longest matching prefix wins.
var ranks = []struct {
	prefix string
	rank   int
}{
	{"internal", 0}, {"console", 0}, {"docs", 0},
	{"storage/blob", 1}, {"api", 1},
	{"tenancy", 2}, {"compute", 3}, {"models", 4}, {"apps", 5},
	{"storage/sql", 6}, {"server", 7}, {"system", 8}, {"cli", 9}, {"cmd", 10},
	{"test", 11}, // rigs and engines for tests stand outside the product and may use all of it
}

// drivers are the packages that satisfy a contract; only system (and cmd-less rigs under test/) names them.
var drivers = []string{
	"compute/exec/local", "models/engine/native", "models/engine/remote", "models/train/native", "models/registry/native", "storage/blob/file",
	"compute/chip/amd", "compute/chip/apple", "compute/chip/cambricon", "compute/chip/cpu", "compute/chip/enflame", "compute/chip/gaudi", "compute/chip/huawei", "compute/chip/hygon",
	"compute/chip/iluvatar", "compute/chip/kunlunxin", "compute/chip/metax", "compute/chip/moorethreads", "compute/chip/nvidia", "compute/chip/thead", "compute/chip/tpu", "compute/chip/xpu",
}

// suites are test suites of contracts; no non-test file imports them.
var suites = []string{"compute/chip/chiptest", "compute/exec/exectest", "models/engine/enginetest", "storage/blob/blobtest", "storage/sql/sqltest"}

// Directions lists every import that points upward or into a package without a rank.
func Directions(pkgs []Package) []string {
	var bad []string
	for _, p := range pkgs {
		from, ok := rank(p.ImportPath)
		if !ok {
			bad = append(bad, fmt.Sprintf("%s has no rank: give its folder one in internal/house", p.ImportPath))
			continue
		}
		for _, imp := range p.Imports {
			to, inside := rank(imp)
			if inside && to > from {
				bad = append(bad, fmt.Sprintf("%s (rank %d) imports %s (rank %d)", p.ImportPath, from, imp, to))
			}
			if under(p.ImportPath, "apps") && under(imp, "compute") {
				bad = append(bad, fmt.Sprintf("%s imports %s: apps use models, never compute", p.ImportPath, imp))
			}
		}
	}
	sort.Strings(bad)
	return bad
}

// Drivers lists every import of a driver or a suite by a package that may not name it.
func Drivers(pkgs []Package) []string {
	var bad []string
	for _, p := range pkgs {
		for _, imp := range p.Imports {
			if matches(imp, drivers) && !mayNameDrivers(p.ImportPath, imp) {
				bad = append(bad, fmt.Sprintf("%s imports the driver %s: only system names drivers", p.ImportPath, imp))
			}
			if matches(imp, suites) && !matches(p.ImportPath, suites) {
				bad = append(bad, fmt.Sprintf("%s imports the suite %s outside a test", p.ImportPath, imp))
			}
		}
	}
	sort.Strings(bad)
	return bad
}

func mayNameDrivers(from, imp string) bool {
	return under(from, "system") || under(from, "test") || from == imp || strings.HasPrefix(from, imp+"/")
}

func matches(path string, list []string) bool {
	for _, l := range list {
		if under(path, l) {
			return true
		}
	}
	return false
}

func under(path, folder string) bool {
	rel, ok := strings.CutPrefix(path, Module+"/")
	return ok && (rel == folder || strings.HasPrefix(rel, folder+"/"))
}

func rank(path string) (int, bool) {
	best, found := 0, ""
	for _, r := range ranks {
		if under(path, r.prefix) && len(r.prefix) > len(found) {
			best, found = r.rank, r.prefix
		}
	}
	return best, found != ""
}

// Docs is what the documentation rule counts in a tree.
type Docs struct {
	Undocumented []string // packages with no package comment
	Exported     int      // exported names of non-test, non-main packages
	Documented   int
	Bare         []string // exported names without a comment
}

// CountDocs parses every non-test Go file below root (skipping hidden folders and testdata).
func CountDocs(root string) (Docs, error) {
	var d Docs
	dirs := map[string]bool{} // folder -> has a package comment
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		return countFile(path, &d, dirs)
	})
	for dir, ok := range dirs {
		if !ok {
			rel, _ := filepath.Rel(root, dir)
			d.Undocumented = append(d.Undocumented, rel)
		}
	}
	sort.Strings(d.Undocumented)
	return d, err
}

func countFile(path string, d *Docs, dirs map[string]bool) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	dirs[dir] = dirs[dir] || (f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "")
	if f.Name.Name == "main" {
		return nil
	}
	for _, decl := range f.Decls {
		countDecl(decl, path, d)
	}
	return nil
}

func countDecl(decl ast.Decl, path string, d *Docs) {
	note := func(name string, has bool) {
		if !ast.IsExported(name) {
			return
		}
		d.Exported++
		if has {
			d.Documented++
		} else {
			d.Bare = append(d.Bare, path+": "+name)
		}
	}
	switch x := decl.(type) {
	case *ast.FuncDecl:
		if x.Recv == nil || exportedReceiver(x.Recv) {
			note(x.Name.Name, x.Doc != nil)
		}
	case *ast.GenDecl:
		for _, s := range x.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				note(s.Name.Name, x.Doc != nil || s.Doc != nil)
			case *ast.ValueSpec:
				for _, n := range s.Names {
					note(n.Name, x.Doc != nil || s.Doc != nil || s.Comment != nil)
				}
			}
		}
	}
}

func exportedReceiver(r *ast.FieldList) bool {
	t := r.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return ast.IsExported(x.Name)
		default:
			return false
		}
	}
}
