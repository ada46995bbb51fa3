package fleet

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
)

const good = `currency: EUR
chips:
  - {name: a100, price: 2.10, power: 400}
  - {name: t4, price: 0.35}
sites:
  - {name: north, clusters: [research, vision]}
  - name: south
topology:
  - {name: rack-1, kind: rack, in: hall}
  - {name: hall, kind: block, in: north}
nodes:
  - {name: edge, in: south, cpu: 16, memory: 64GiB, price: 0.20}
  - {name: "gpu-{}", count: 10, in: rack-1, chip: a100, chips: 8, cpu: 96.5, memory: 1TiB, mtbf_hours: 100}
  - {name: small, count: 2, in: south, chip: t4, chips: 4, links: [2, 2], price: 0.30}
queues:
  - {name: lab, parent: all, weight: 3, guarantee: {a100: 60}}
  - {name: all, guarantee: {a100: 80, t4: 8}}
failures: {mtbf_hours: 8000, repair_hours: 0.5}
`

func TestReadKnowsEveryField(t *testing.T) {
	f, err := Read(strings.NewReader(good), "fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Site{{Name: "north", Clusters: []string{"research", "vision"}, End: 10}, {Name: "south", First: 10, End: 13}}, f.Sites); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Domain{{"hall", "block", 0, -1}, {"rack-1", "rack", 0, 0}}, f.Domains); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Queue{{Name: "all", Parent: -1, Weight: 1, Guarantees: []Guarantee{{0, 80}, {1, 8}}},
		{Name: "lab", Weight: 3, Guarantees: []Guarantee{{0, 60}}}}, f.Queues); diff != "" {
		t.Error(diff)
	}
	want := []Node{
		{Name: "gpu-01", Domain: 1, Chips: 8, CPU: 96500, Memory: 1 << 20, Price: 2_100_000, Power: 400, MTBF: 100 * time.Hour, Repair: 30 * time.Minute},
		{Name: "edge", Site: 1, Domain: -1, Chip: -1, CPU: 16000, Memory: 64 << 10, Price: 200_000, MTBF: 8000 * time.Hour, Repair: 30 * time.Minute},
		{Name: "small-2", Site: 1, Domain: -1, Chip: 1, Chips: 4, Links: [][]int{{0, 1}, {2, 3}}, CPU: Unlimited, Memory: Unlimited, Price: 300_000, MTBF: 8000 * time.Hour, Repair: 30 * time.Minute},
	}
	if diff := cmp.Diff(want, []Node{f.Nodes[0], f.Nodes[10], f.Nodes[12]}); diff != "" {
		t.Error(diff)
	}
	if f.TotalChips() != 88 || len(f.Nodes) != 13 || f.Currency != "EUR" {
		t.Errorf("%d chips, %d nodes", f.TotalChips(), len(f.Nodes))
	}
	for cluster, want := range map[string]int32{"vision": 0, "": 1, "other": 1} {
		if got, err := f.SiteOf(cluster); err != nil || got != want {
			t.Errorf("cluster %q goes to %d, %v", cluster, got, err)
		}
	}
}

// Each line of the good file is broken in one way; the message names line and field.
func TestBadFleetsNameLineAndField(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"count: 10", "count: 0", "line 13, nodes[1].count: 0 is not above 0"},
		{"count: 10", "count: 1.5", "line 13, nodes[1].count: 1.5 is not a whole number"},
		{"count: 10", "count: 9000000", "nodes[1].count: 9000000 is above 1e+06"},
		{"price: 2.10", "price: -2.10", "line 3, chips[0].price: -2.10 is not above 0"},
		{"price: 2.10", "price: .nan", `line 3, chips[0].price: ".nan" is not a number`},
		{"price: 2.10", "price: [1]", "line 3, chips[0].price: it must be a single value"},
		{"memory: 64GiB", "memory: 64", `line 12, nodes[0].memory: "64" has no unit`},
		{"memory: 64GiB", "memory: -1GiB", `line 12, nodes[0].memory: "-1GiB" is not a size`},
		{"chip: a100, chips: 8", "chip: a10, chips: 8", `line 13, nodes[1].chip: there is no chip "a10" in this file; the nearest is "a100"`},
		{"chip: a100, chips: 8", "chip: a100", "line 13, nodes[1].chips: a machine with a chip says how many"},
		{"chip: a100, chips: 8", "chips: 8", "line 13, nodes[1].chip: chips without saying which"},
		{"links: [2, 2]", "links: [2, 1]", "line 14, nodes[2].links: the link groups have 3 chips and the machine 4"},
		{"links: [2, 2]", "links: [2, 3]", `line 14, nodes[2].links[1]: "3" is no number of chips that are left of 4`},
		{"links: [2, 2]", "links: [2, x]", `line 14, nodes[2].links[1]: "x" is no number`},
		{"links: [2, 2]", "links: 2", "line 14, nodes[2].links: it must be a list"},
		{"cpu: 16,", "cpu: 16, links: [1],", `line 12, nodes[0].links[0]: "1" is no number of chips that are left of 0`},
		{"in: rack-1", "in: rack-2", `line 13, nodes[1].in: there is no site or topology entry "rack-2"; the nearest is "rack-1"`},
		{"kind: block, in: north", "kind: block, in: rack-1", "line 9, topology[0].in: rack-1 lies in hall, which lies in a circle that reaches no site"},
		{"kind: block", "kind: room", `topology[1].kind: "room" is neither block nor rack`},
		{"name: hall", "name: rack-1", `line 10, topology[1].name: the name "rack-1" is there twice`},
		{"weight: 3", "weight: 0", "line 16, queues[0].weight: 0 is not above 0"},
		{"weight: 3", "wieght: 3", `line 16, queues[0].wieght: there is no such field; the nearest is "weight"`},
		{"parent: all", "parent: al", `line 16, queues[0].parent: there is no queue "al"; the nearest is "all"`},
		{"{name: all,", "{name: all, parent: lab,", "the parents of queue lab go round in a circle"},
		{"a100: 60", "a100: 81", "queues: 81 chips of a100 are guaranteed, but their parent all is guaranteed 80"},
		{"t4: 8", "t4: 9", "queues: 9 chips of t4 are guaranteed, but the fleet has 8"},
		{"t4: 8", "t5: 8", `line 17, queues[1].guarantee: there is no chip "t5" in this file; the nearest is "t4"`},
		{"  - name: south", "  - {name: south, clusters: [research]}", `cluster "research" goes to site north already`},
		{"name: south", "name: north", `line 7, sites[1].name: the name "north" is there twice`},
		{"  - name: south\n", "  - name: south\n  - name: empty\n", "sites[2]: site empty has no node"},
		{"repair_hours: 0.5", "repair_hours: 0", "line 18, failures.repair_hours: 0 is not above 0"},
		{"currency: EUR", "currency: &x EUR", "without anchors"},
		{"currency: EUR", "currency: [", "is not YAML"},
		{"currency: EUR", "currency: EUR\ncurrency: EUR", "is there twice|given twice|already defined"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("%q is not in the good file", c.old)
		}
		_, err := Read(strings.NewReader(text), "fleet.yaml")
		found := false
		for want := range strings.SplitSeq(c.want, "|") {
			found = found || err != nil && strings.Contains(err.Error(), want)
		}
		if !found || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v\nwant %s", c.new, err, c.want)
		}
	}
}

func TestReadOpenbAndItsErrors(t *testing.T) {
	head := "sn,cpu_milli,memory_mib,gpu,model\n"
	f, err := ReadOpenb(strings.NewReader(head+"n1,64000,262144,2,P100\nn2,96000,1000,0,\nn3,8000,1000,8,G2\nn4,1,1,1,P100\n"), "nodes.csv")
	if err != nil {
		t.Fatal(err)
	}
	if f.TotalChips() != 11 || f.Nodes[3].Chip != 0 || f.Nodes[1].Chip != -1 || len(f.Chips) != 2 || f.Nodes[0].Memory != 262144 {
		t.Errorf("%+v", f)
	}
	for row, want := range map[string]string{
		"n1,0,1,0,":          "nodes.csv line 2, cpu_milli",
		"n1,1,1,2,":          "nodes.csv line 2, model: GPUs and their model go together",
		"n1,1,1,-2,P":        "gpu: \"-2\" is negative",
		"n,1,1,0,\nn,1,1,0,": "nodes.csv line 3, sn",
		"n1,1,1":             "it has 3 cells where the header has 5",
		"":                   "has no node",
	} {
		if _, err := ReadOpenb(strings.NewReader(head+row), "nodes.csv"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", row, err, want)
		}
	}
}

// The fleet file in the documentation is one that can be read.
func TestTheDocumentedFleetIsGood(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/replays.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/replays.md shows no fleet file")
	}
	f, err := Read(strings.NewReader(example), "example")
	if err != nil || f.TotalChips() != 128 || len(f.Queues) != 2 || f.Nodes[0].MTBF != 8000*time.Hour {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestUniformAndIsolated(t *testing.T) {
	for _, c := range [][2]int{{0, 8}, {8, 0}, {-1, 8}, {8, 5000}, {2_000_000, 1}} {
		if _, err := Uniform(c[0], c[1]); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v", c, err)
		}
	}
	f, err := Isolated([]string{"a", "b"}, []int{12, 3}, 8)
	if err != nil {
		t.Fatal(err)
	}
	if f.TotalChips() != 120 || f.Nodes[0].Name != "a-n01" || f.Nodes[12].Site != 1 || f.Sites[1].First != 12 || f.Sites[1].End != 15 {
		t.Errorf("%+v", f.Sites)
	}
	if _, err := f.SiteOf("c"); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown cluster: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(good)
	f.Add("chips: 3")
	f.Add("sites: [{name: a}]\nnodes: [{name: n, in: a}]")
	f.Fuzz(func(t *testing.T, text string) {
		fl, err := Read(strings.NewReader(text), "f")
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				t.Fatalf("%v is not the user's fault", err)
			}
			return
		}
		for i, n := range fl.Nodes {
			if n.Site < 0 || int(n.Site) >= len(fl.Sites) || n.Chips > 0 && (n.Chip < 0 || int(n.Chip) >= len(fl.Chips)) || n.CPU <= 0 || n.Memory <= 0 {
				t.Fatal(fmt.Sprint(i, n))
			}
		}
	})
}
