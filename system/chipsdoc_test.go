package system

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
)

var updateChips = flag.Bool("update-chips", false, "write the table of makes into docs/chips.md")

// tells lists what a driver reads from its recorded outputs.
func tells(t *testing.T, d chip.Driver) string {
	folder := filepath.Join("../compute/chip", path.Base(reflect.TypeOf(d).PkgPath()), "testdata")
	files, err := filepath.Glob(folder + "/*.*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no recorded output", folder)
	}
	found := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		devices, _ := d.Parse(text)
		for _, x := range devices {
			for name, v := range map[string]*float64{"memory": x.Memory, "used memory": x.Used, "use": x.Busy, "heat": x.Temperature, "power": x.Power} {
				found[name] = found[name] || v != nil
			}
			found["faults"] = found["faults"] || len(x.Faults) > 0
		}
	}
	if _, ok := d.(chip.Logged); ok { // what it asks for has more than what was recorded
		return "memory, used memory, use, heat, power, faults, kernel log"
	}
	var list []string
	for _, name := range []string{"memory", "used memory", "use", "heat", "power", "faults"} {
		if found[name] {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return "devices alone"
	}
	return strings.Join(list, ", ")
}

// table is the table of makes of docs/chips.md.
func table(t *testing.T) string {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| make | chips known | figures known | variable for processes | tool | it tells of | its driver was tried on |\n|---|---|---|---|---|---|---|\n")
	for _, m := range c.Makes() {
		chips, err := c.OfMake(m)
		if err != nil {
			t.Fatal(err)
		}
		known, all, variable := 0, 0, "-"
		for i := range chips {
			all += 4 + len(chip.Precisions())
			known += 4 + len(chip.Precisions()) - len(chips[i].Unknown())
			if v := chips[i].Visible(); v != "" {
				variable = "`" + v + "`"
			}
		}
		drivers := slices.DeleteFunc(chipDrivers(), func(d chip.Driver) bool { return d.Make() != m })
		row := func(tool, says, tried string) {
			fmt.Fprintf(&b, "| %s | %d | %d of %d | %s | %s | %s | %s |\n", m, len(chips), known, all, variable, tool, says, tried)
		}
		switch {
		case m == "CPU":
			row("the kernel", "cores, memory; bandwidth and arithmetic measured once", "Linux on x86-64")
		case len(drivers) == 0:
			row("-", "-", "no real output was found: declared by hand")
		}
		for _, d := range drivers {
			row("`"+strings.Join(d.Command()[:1], " ")+"`", tells(t, d), d.Tried())
		}
	}
	return b.String()
}

// TestTheTableOfMakes holds docs/chips.md against the catalogue and the drivers.
func TestTheTableOfMakes(t *testing.T) {
	const file, begin, end = "../docs/chips.md", "<!-- makes -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("docs/chips.md has no place for the table")
	}
	want := head + begin + table(t) + end + tail
	switch {
	case want == string(text):
	case *updateChips:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("the table of makes is not what it should be: go test ./system -run Makes -update-chips")
	}
}
