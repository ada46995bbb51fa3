package place

import (
	"testing"

	"pgregory.net/rapid"
)

// islands is a node of 8 devices in two link groups that do not go by number.
func islands(name string) Node {
	return Node{Name: name, CPU: 1000, Memory: 1000, Devices: 8, Chip: "c", Links: [][]int{{0, 2, 4, 6}, {1, 3, 5, 7}}}
}

func ask(devices int) Ask { return Ask{Devices: devices, Share: Whole} }

// Jobs lie inside a link group where one has the room, and leave the others whole.
func TestLinkGroups(t *testing.T) {
	x := mustNew(t, []Node{islands("a")})
	take := func(devices int, want Mask) {
		t.Helper()
		p, ok := x.Find(ask(devices), Scope{})
		if !ok || p.Devices != want {
			t.Fatalf("%d devices: %b, want %b", devices, p.Devices, want)
		}
		if err := x.Take(p); err != nil {
			t.Fatal(err)
		}
	}
	take(1, 0b1)
	take(4, 0b10101010) // the whole group, not 2 to 5
	take(2, 0b10100)
	take(1, 0b1000000)
	x = mustNew(t, []Node{islands("a")})
	take(2, 0b101)
	take(2, 0b1010000)
	x = mustNew(t, []Node{islands("a")})
	take(3, 0b10101)
	take(2, 0b1010)
	take(1, 0b1000000) // the tighter group
	x = mustNew(t, []Node{islands("a")})
	take(2, 0b101)
	take(6, 0b11111010)
	// A share goes to the broken group.
	x = mustNew(t, []Node{islands("a")})
	take(1, 0b1)
	if p, _ := x.Find(Ask{Devices: 1, Share: 400}, Scope{}); p.Devices != 0b100 {
		t.Errorf("%b", p.Devices)
	}
	// The members of a gang on one node too.
	places, ok := x.FindGang(Gang{Count: 4, Member: ask(1)}, Scope{})
	all := Mask(0)
	for _, p := range places {
		all |= p.Devices
	}
	if !ok || all != 0b10101010 {
		t.Errorf("%b", all)
	}
}

// A node where one link group suffices is better than a fuller one where none does; one that declares none is one group.
func TestLinkGroupsChooseTheNode(t *testing.T) {
	x := mustNew(t, []Node{islands("a"), islands("b")})
	a, _ := x.Lookup("a")
	b, _ := x.Lookup("b")
	for _, p := range []Place{{Node: a, Devices: 0b110011, Share: Whole}, {Node: b, Devices: 0b1, Share: Whole}} {
		if err := x.Take(p); err != nil {
			t.Fatal(err)
		}
	}
	if p, _ := x.Find(ask(3), Scope{}); p.Node != b || p.Devices != 0b1010100 {
		t.Errorf("%+v", p)
	}
	if p, _ := x.Find(ask(2), Scope{}); p.Node != a {
		t.Errorf("%+v", p)
	}
	plain := islands("c")
	plain.Links = nil
	if err := x.Add(plain); err != nil {
		t.Fatal(err)
	}
	c, _ := x.Lookup("c")
	if p, _ := x.Find(ask(5), Scope{}); p.Node != c || p.Devices != 0b11111 {
		t.Errorf("%+v", p)
	}
}

func TestBadLinks(t *testing.T) {
	for name, links := range map[string][][]int{
		"twice": {{0, 1}, {1}}, "missing": {{0}, {1}}, "beyond": {{0, 1}, {3}}, "negative": {{0, 1, 2}, {-1}}, "empty": {{0, 1, 2}, {}},
	} {
		if _, err := New([]Node{{Name: "n", Devices: 3, Chip: "c", Links: links}}, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Linked gives as many devices as are asked for, of those free, over the fewest groups.
func TestLinkedIsTheFewestGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		devices := rapid.IntRange(1, 16).Draw(t, "devices")
		groups := make([]Mask, rapid.IntRange(1, 4).Draw(t, "groups"))
		for d := range devices {
			groups[rapid.IntRange(0, len(groups)-1).Draw(t, "group")] |= 1 << d
		}
		free := Mask(rapid.Uint64Range(1, 1<<devices-1).Draw(t, "free"))
		count := rapid.IntRange(1, free.Count()).Draw(t, "count")
		got := Linked(free, free, groups, count)
		if got&^free != 0 || got.Count() != count {
			t.Fatalf("%b of %b", got, free)
		}
		fewest, used := len(groups), 0
		for set := range 1 << len(groups) {
			var all Mask
			for i, g := range groups {
				if set>>i&1 == 1 {
					all |= g & free
				}
			}
			if all.Count() >= count {
				fewest = min(fewest, Mask(set).Count())
			}
		}
		for _, g := range groups {
			if g&got != 0 {
				used++
			}
		}
		if used != fewest {
			t.Fatalf("%b of %b over %d groups of %b; %d would do", got, free, used, groups, fewest)
		}
	})
}
