package place

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
)

func mustNew(t testing.TB, nodes []Node, mix ...Weighted) *Index {
	t.Helper()
	x, err := New(nodes, mix)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func mustFind(t testing.TB, x *Index, a Ask) string {
	t.Helper()
	p, ok := x.Find(a, Scope{})
	if !ok {
		t.Fatalf("%+v is refused: %v", a, x.Why(a, Scope{}))
	}
	return x.Node(p.Node).Name
}

// TestLost works one rehearsal out by hand: the only requests are whole devices with 4 cores.
func TestLost(t *testing.T) {
	one := Weighted{Ask: Ask{CPU: 4000, Devices: 1, Share: Whole}, Count: 1}
	x := mustNew(t, []Node{{Name: "n", CPU: 16000, Devices: 4, Chip: "c"}}, one)
	for _, c := range []struct {
		cpu  int64
		free []int16
		want int32 // thousandths idle at the end, in each stream
	}{
		{16000, []int16{1000, 1000, 1000, 1000}, 0},
		{12000, []int16{1000, 1000, 1000, 1000}, 1000}, // CPU for three
		{3999, []int16{0, 0, 0, 1000}, 1000},
		{16000, []int16{0, 190, 500, 1000}, 690},
		{16000, []int16{0, 0, 0, 0}, 0},
	} {
		if got := x.score.lost(0, c.cpu, c.free); got != rehearsals*c.want {
			t.Errorf("lost with %d milli and %v = %d, want %d", c.cpu, c.free, got, rehearsals*c.want)
		}
	}
}

// TestStrandedDevices: a CPU-only pod goes where no device needs the CPU, and a share where its rest is of use.
func TestStrandedDevices(t *testing.T) {
	whole := Weighted{Ask: Ask{CPU: 8000, Devices: 1, Share: Whole}, Count: 6}
	small := Weighted{Ask: Ask{CPU: 1000, Devices: 1, Share: 190}, Count: 2}
	large := Weighted{Ask: Ask{CPU: 1000, Devices: 1, Share: 810}, Count: 2}
	x := mustNew(t, []Node{
		{Name: "exact", CPU: 16000, Devices: 2, Chip: "c"},
		{Name: "plenty", CPU: 64000, Devices: 2, Chip: "c"},
	}, whole, small, large)
	if got := mustFind(t, x, Ask{CPU: 4000}); got != "plenty" {
		t.Errorf("a CPU-only pod goes to %s and strands a device", got)
	}
	number, _ := x.Lookup("plenty")
	for _, share := range []int64{500, 810} {
		p := Place{Node: number, Devices: 1 << (share / 800), Share: share}
		if err := x.Take(p); err != nil {
			t.Fatal(err)
		}
	}
	p, ok := x.Find(Ask{CPU: 1000, Devices: 1, Share: 190}, Scope{})
	if !ok || p.Node != number || p.Devices != 2 {
		t.Errorf("the share of 190 goes to %+v, not beside the 810", p)
	}
}

// TestWithoutMix: with no idea of what comes, the node that is left with the least is the best.
func TestWithoutMix(t *testing.T) {
	x := mustNew(t, []Node{
		{Name: "a", CPU: 8000, Devices: 8, Chip: "c"},
		{Name: "b", CPU: 8000, Devices: 4, Chip: "c"},
		{Name: "c", CPU: 4000, Devices: 4, Chip: "c"},
		{Name: "d", CPU: 4000, Devices: 4, Chip: "c"},
	})
	if got := mustFind(t, x, Ask{CPU: 1000, Devices: 4, Share: Whole}); got != "c" {
		t.Errorf("4 devices go to %s, want c: fewest devices, least CPU, first name", got)
	}
}

func TestWhy(t *testing.T) {
	x := mustNew(t, []Node{
		{Name: "away", CPU: 8000, Memory: 100, Devices: 8, Chip: "good"},
		{Name: "busy", CPU: 8000, Memory: 100, Devices: 8, Chip: "good"},
		{Name: "cpu", CPU: 100, Memory: 100, Devices: 8, Chip: "good"},
		{Name: "memory", CPU: 8000, Memory: 1, Devices: 8, Chip: "good"},
		{Name: "none", CPU: 8000, Memory: 100},
		{Name: "other", CPU: 8000, Memory: 100, Devices: 8, Chip: "bad"},
	})
	away, _ := x.Lookup("away")
	busy, _ := x.Lookup("busy")
	x.Drain(away, true)
	if err := x.Take(Place{Node: busy, Devices: 0x0f, Share: 1}); err != nil {
		t.Fatal(err)
	}
	r := x.Why(Ask{CPU: 1000, Memory: 10, Devices: 5, Share: Whole, Chips: []string{"good"}}, Scope{})
	want := Refusal{Nodes: 6, Away: 1, Chips: 2, Devices: 1, CPU: 1, Memory: 1, Never: 4}
	if d := cmp.Diff(want, r); d != "" {
		t.Error(d)
	}
	const sentence = "0 of 6 nodes can hold it: 1 not available, 2 other chips, 1 too few free devices," +
		" 1 too little free CPU, 1 too little free memory"
	if r.String() != sentence {
		t.Errorf("%s", r)
	}
}

// TestRefused: what cannot be true is named and changes nothing.
func TestRefused(t *testing.T) {
	good := Node{Name: "n", CPU: 1000, Memory: 10, Devices: 2, Chip: "c"}
	with := func(change func(*Node)) Node {
		n := good
		change(&n)
		return n
	}
	for field, n := range map[string]Node{
		"name":    with(func(n *Node) { n.Name = "" }),
		"cpu":     with(func(n *Node) { n.CPU = -1 }),
		"memory":  with(func(n *Node) { n.Memory = MaxAmount }),
		"devices": with(func(n *Node) { n.Devices = MaxDevices + 1 }),
		"chip":    with(func(n *Node) { n.Chip = "" }),
		"path":    with(func(n *Node) { n.Path = make([]string, MaxDepth+1) }),
	} {
		var f *fault.Error
		if _, err := New([]Node{n}, nil); !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != field {
			t.Errorf("a node with a bad %s: %v", field, err)
		}
	}
	if _, err := New([]Node{good, good}, nil); err == nil {
		t.Error("two nodes of one name are accepted")
	}
	for field, a := range map[string]Ask{
		"cpu": {CPU: MaxAmount}, "memory": {Memory: -1}, "devices": {Devices: -1},
		"share": {Devices: 2, Share: 500}, "share ": {Share: 500}, "share  ": {Devices: 1},
		"chips": {Chips: make([]string, MaxChips+1)},
	} {
		var f *fault.Error
		if err := a.Validate(); !errors.As(err, &f) || f.Field != strings.TrimSpace(field) {
			t.Errorf("an ask with a bad %s: %v", field, err)
		}
		if _, err := New([]Node{good}, []Weighted{{Ask: a, Count: 1}}); err == nil {
			t.Errorf("a mix with a bad %s is accepted", field)
		}
	}
}

// TestTakeAndRelease: nothing is taken twice and nothing is given back that was not taken.
func TestTakeAndRelease(t *testing.T) {
	x := mustNew(t, []Node{{Name: "n", CPU: 1000, Memory: 10, Devices: 2, Chip: "c"}})
	first := Place{Devices: 1, Share: 600, CPU: 600, Memory: 6}
	if err := x.Take(first); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Place{
		"device":    {Devices: 1, Share: 500},
		"CPU":       {CPU: 500},
		"memory":    {Memory: 5},
		"no device": {Devices: 4, Share: 1},
		"negative":  {CPU: -1},
		"share":     {Devices: 2, Share: 1001},
		"no node":   {Node: 1},
	} {
		if x.Take(p) == nil {
			t.Errorf("%s: %+v was taken beside %+v", name, p, first)
		}
	}
	for name, p := range map[string]Place{
		"device": {Devices: 2, Share: 500}, "CPU": {CPU: 700}, "negative": {Memory: -1}, "no node": {Node: -1},
	} {
		if x.Release(p) == nil {
			t.Errorf("%s: %+v was released, %+v was taken", name, p, first)
		}
	}
	if err := x.Release(first); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Room{CPU: 1000, Memory: 10, Free: []int16{1000, 1000}}, x.Room(0)); d != "" {
		t.Error(d)
	}
}

// TestNodesComeAndGo: numbers stay with their nodes, a new chip is usable, a removed node is not.
func TestNodesComeAndGo(t *testing.T) {
	x := mustNew(t, []Node{{Name: "b", CPU: 1, Devices: 1, Chip: "old"}})
	a := Ask{Devices: 1, Share: Whole, Chips: []string{"new"}}
	if _, ok := x.Find(a, Scope{}); ok {
		t.Fatal("a chip is found that is not there")
	}
	if err := x.Add(Node{Name: "a", CPU: 1, Devices: 1, Chip: "new"}); err != nil {
		t.Fatal(err)
	}
	if got := mustFind(t, x, a); got != "a" {
		t.Errorf("the new chip is on %s", got)
	}
	if x.Node(0).Name != "b" || x.Len() != 2 {
		t.Error("a node changed its number")
	}
	number, _ := x.Lookup("a")
	if err := x.Remove(number); err != nil {
		t.Fatal(err)
	}
	if _, ok := x.Find(a, Scope{}); ok || x.Len() != 1 {
		t.Error("a removed node is found")
	}
	if x.Remove(number) == nil {
		t.Error("a node was removed twice")
	}
	trial := x.Try()
	if x.Remove(0) == nil || x.Add(Node{Name: "c"}) == nil || x.SetMix(nil) == nil {
		t.Error("the fleet changed within a trial")
	}
	x.Rollback(trial)
	if err := x.Add(Node{Name: "a", CPU: 1, Devices: 1, Chip: "new"}); err != nil {
		t.Errorf("a removed node cannot come back: %v", err)
	}
}
