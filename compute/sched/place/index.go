package place

import (
	"cmp"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Index holds nodes, what is free on them, and for each class of requests the worth of every node.
type Index struct {
	nodes []node           // in the order of path, rank and name
	slots []int32          // position in nodes by node number, -1 once removed
	names map[string]int32 // node number by name
	chips map[string]int16 // chip number by name

	domains []domain // in preorder; 0 is the whole fleet
	mix     []Weighted
	score   *rehearsal

	classes classes
	log     changes
	journal journal
	version uint64 // of the last change; never used twice
	scratch [MaxDevices]int16
}

// node is the state of a machine.
type node struct {
	spec    Node
	slot    int32
	chip    int16   // -1 without devices
	domain  int32   // the innermost one
	away    bool    // drained or removed
	cpu     int64   // free
	memory  int64   // free
	links   []Mask  // the link groups, where there are several
	free    []int16 // free thousandths of each device
	sorted  []int16 // the same ascending
	idle    int32   // their sum
	whole   int32   // how many are wholly free
	lost    int32   // rehearsal.lost of this state
	version uint64  // of its last change
}

// New builds an index of empty nodes. mix says which requests are to be expected; without it the nodes that
// are left with the least are the best.
func New(nodes []Node, mix []Weighted) (*Index, error) {
	x := &Index{names: map[string]int32{}, chips: map[string]int16{}}
	x.classes.init(DefaultClasses)
	if err := x.insert(nodes); err != nil {
		return nil, err
	}
	if err := x.SetMix(mix); err != nil {
		return nil, err
	}
	return x, nil
}

// SetMix replaces the expected requests. It costs a full rescoring of each class when next asked for.
func (x *Index) SetMix(mix []Weighted) error {
	if x.journal.open > 0 {
		return fault.New(fault.Internal, "the mix was changed during a trial")
	}
	r, err := newRehearsal(mix, x.chips, len(x.nodes))
	if err != nil {
		return err
	}
	x.mix, x.score = slices.Clone(mix), r
	x.rescore()
	return nil
}

// rescore makes every remembered worth void.
func (x *Index) rescore() {
	for i := range x.nodes {
		n := &x.nodes[i]
		n.lost = x.score.lost(n.chip, n.cpu, n.sorted)
	}
	x.log.void()
}

// Add puts new, empty nodes into the index, all or none. Numbers of known nodes stay.
func (x *Index) Add(nodes ...Node) error {
	if x.journal.open > 0 {
		return fault.New(fault.Internal, "nodes were added during a trial")
	}
	known := len(x.chips)
	if err := x.insert(nodes); err != nil {
		return err
	}
	if len(x.chips) != known {
		return x.SetMix(x.mix)
	}
	x.rescore()
	return nil
}

func (x *Index) insert(nodes []Node) error {
	if len(x.nodes)+len(nodes) > MaxNodes {
		return fault.InvalidField("nodes", "%d nodes are more than %d", len(x.nodes)+len(nodes), MaxNodes)
	}
	fresh, chips := map[string]bool{}, map[string]bool{}
	for i := range nodes {
		n := &nodes[i]
		if err := n.validate(); err != nil {
			return err
		}
		if _, ok := x.names[n.Name]; ok || fresh[n.Name] {
			return fault.InvalidField("name", "there are two nodes named %s", n.Name)
		}
		fresh[n.Name] = true
		if _, ok := x.chips[n.Chip]; !ok && n.Devices > 0 {
			chips[n.Chip] = true
		}
	}
	if len(x.chips)+len(chips) > MaxChips {
		return fault.InvalidField("chip", "more than %d different chips", MaxChips)
	}
	for i := range nodes {
		x.append(nodes[i])
	}
	x.arrange()
	return nil
}

func (x *Index) append(spec Node) {
	spec.Path = slices.Clone(spec.Path)
	n := node{spec: spec, slot: int32(len(x.slots)), chip: -1, cpu: spec.CPU, memory: spec.Memory}
	if spec.Devices > 0 {
		if _, ok := x.chips[spec.Chip]; !ok {
			x.chips[spec.Chip] = int16(len(x.chips))
		}
		n.chip = x.chips[spec.Chip]
		room := make([]int16, 2*spec.Devices)
		for i := range room {
			room[i] = Whole
		}
		n.free, n.sorted = room[:spec.Devices:spec.Devices], room[spec.Devices:]
		n.idle, n.whole = Whole*int32(spec.Devices), int32(spec.Devices)
	}
	n.links, _ = spec.masks() // checked before
	x.version++
	n.version = x.version
	x.names[spec.Name] = n.slot
	x.slots = append(x.slots, 0)
	x.nodes = append(x.nodes, n)
}

// arrange sorts the nodes, finds the domains, and starts every class anew.
func (x *Index) arrange() {
	x.nodes = slices.DeleteFunc(x.nodes, func(n node) bool { return x.slots[n.slot] < 0 })
	slices.SortFunc(x.nodes, func(a, b node) int {
		return cmp.Or(slices.Compare(a.spec.Path, b.spec.Path), cmp.Compare(a.spec.Rank, b.spec.Rank),
			strings.Compare(a.spec.Name, b.spec.Name))
	})
	x.domains = x.domains[:0]
	for i := range x.nodes {
		x.slots[x.nodes[i].slot] = int32(i)
	}
	x.findDomains()
	x.log.init(len(x.nodes))
	x.classes.shape(len(x.nodes), len(x.domains))
}

// Len is the number of nodes, drained ones included.
func (x *Index) Len() int {
	n := 0
	for _, at := range x.slots {
		if at >= 0 {
			n++
		}
	}
	return n
}

// Lookup is the number of the node with this name.
func (x *Index) Lookup(name string) (number int32, ok bool) {
	number, ok = x.names[name]
	return number, ok
}

// Node is the machine with this number as it was given to the index.
func (x *Index) Node(number int32) Node { return x.at(number).spec }

// at is the state of a node by its number; it panics on a number that never was or is no more, as an index
// into a slice does.
func (x *Index) at(number int32) *node { return &x.nodes[x.slots[number]] }

// known says whether the number belongs to a node of the index.
func (x *Index) known(number int32) bool {
	return number >= 0 && int(number) < len(x.slots) && x.slots[number] >= 0
}

// Room is what is free on a node.
type Room struct {
	CPU, Memory int64
	Free        []int16 // thousandths of each device
	Away        bool    // drained: nothing is placed here
}

// Room says what is free on the node with this number.
func (x *Index) Room(number int32) Room {
	n := x.at(number)
	return Room{CPU: n.cpu, Memory: n.memory, Free: slices.Clone(n.free), Away: n.away}
}

// Drain keeps the node from being chosen, or lets it be chosen again. What is on it stays.
func (x *Index) Drain(number int32, away bool) {
	n := x.at(number)
	if n.away == away {
		return
	}
	x.journal.note(n)
	n.away = away
	x.touch(n)
}

// Remove takes the node out of the index. What is on it goes with it: its places must not be released.
func (x *Index) Remove(number int32) error {
	if !x.known(number) {
		return fault.New(fault.NotFound, "the node to remove is not in the index")
	}
	if x.journal.open > 0 {
		return fault.New(fault.Internal, "a node was removed during a trial")
	}
	delete(x.names, x.at(number).spec.Name)
	x.slots[number] = -1
	x.arrange()
	x.rescore()
	return nil
}
