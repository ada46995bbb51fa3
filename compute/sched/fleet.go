package sched

import (
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/internal/nearest"
)

// Micro is one in the fixed-point numbers of this package: speeds, weights and values are millionths.
const Micro = 1_000_000

// Whole is the share of a chip that is all of it, in thousandths.
const Whole = 1000

// Chip is a class of accelerators, or of CPU cores, as the scheduler counts it.
type Chip struct {
	Name  string
	Value int64 // micro-units of money per chip-hour: what one counts in shares and costs
	Watts int64 // of one at work; 0 = not known
}

// NodeState says whether a node takes new work.
type NodeState uint8

// The states of a node.
const (
	Up       NodeState = iota
	Draining           // what runs there goes on; nothing new starts
	Down               // what ran there is lost
)

// Node is one machine. Amounts are of the whole machine.
type Node struct {
	Name        string
	Site        string
	Block, Rack string // where it stands inside the site; empty = not told
	Chip        string // class of its chips; empty if it has none
	Chips       int
	Links       [][]int // link groups: the chips of each, by number, are joined more closely than with the others; none = all alike
	Out         []int   // chips, by number, that are not given out because something is wrong with them; they count as there
	CPUMilli    int64   // thousandths of a core; 0 with MemoryMiB 0 = not counted
	MemoryMiB   int64
	State       NodeState
}

// Count is a number of chips of a class.
type Count struct {
	Chip  string
	Chips int64
}

// Portion is an amount of a class, in thousandths of a chip.
type Portion struct {
	Chip  string
	Milli int64
}

// Queue is where the jobs of one project wait.
type Queue struct {
	Name      string
	Org       string
	Weight    int64   // share of what its organisation gets, in Micro; 0 = Micro
	OrgWeight int64   // share of the organisation; 0 = Micro; all queues of one organisation say the same
	Guarantee []Count // what it gets whenever it asks for it
	Ceiling   []Count // what it never exceeds; a class that is missing here has no ceiling
	Reserve   int     // blocked gangs that may hold a start; 0 = the Config's
}

// Fleet is what there is and who may use it. Order does not matter: New sorts.
type Fleet struct {
	Chips  []Chip
	Nodes  []Node
	Queues []Queue
}

// Problem is an error in what was declared: the field at fault, and why.
type Problem struct{ Field, Reason string }

func (p *Problem) Error() string { return p.Field + ": " + p.Reason }

func problem(field, format string, args ...any) error {
	return &Problem{field, fmt.Sprintf(format, args...)}
}

// largest bounds every amount that is read from outside, so that sums of products stay within 64 bits.
const largest = 1 << 40

// Check says what is wrong with a fleet, or nil: a *Problem with the field.
func (f *Fleet) Check() error {
	chips := map[string]int64{}
	for i, c := range f.Chips {
		field := fmt.Sprintf("chips[%d]", i)
		if _, twice := chips[c.Name]; twice || c.Name == "" {
			return problem(field+".name", "%q is empty or there twice", c.Name)
		}
		if c.Value < 0 || c.Value > largest || c.Watts < 0 || c.Watts > largest {
			return problem(field, "%s has a negative or impossible figure", c.Name)
		}
		chips[c.Name] = 0
	}
	names, racks := map[string]bool{}, map[string]string{}
	for i, n := range f.Nodes {
		field := fmt.Sprintf("nodes[%d]", i)
		if names[n.Name] || n.Name == "" {
			return problem(field+".name", "%q is empty or there twice", n.Name)
		}
		names[n.Name] = true
		if n.Chips < 0 || n.Chips > 1024 || n.CPUMilli < 0 || n.CPUMilli > largest || n.MemoryMiB < 0 || n.MemoryMiB > largest {
			return problem(field, "%s has a negative or impossible amount", n.Name)
		}
		if reason := n.checkLinks(); reason != "" {
			return problem(field+".links", "%s", reason)
		}
		for k, d := range n.Out {
			if d < 0 || d >= n.Chips || slices.Contains(n.Out[:k], d) {
				return problem(field+".out", "chip %d of %s is not one of its %d, or named twice", d, n.Name, n.Chips)
			}
		}
		if n.Chips > 0 {
			if _, known := chips[n.Chip]; !known {
				return problem(field+".chip", "%s", unknownChip(n.Chip, chips))
			}
			chips[n.Chip] += int64(n.Chips)
		}
		if n.Rack == "" {
			continue
		}
		at := n.Site + "\x00" + n.Rack
		if block, seen := racks[at]; seen && block != n.Block {
			return problem(field+".block", "rack %s of site %s stands in block %q and in block %q", n.Rack, n.Site, block, n.Block)
		}
		racks[at] = n.Block
	}
	return f.checkQueues(chips)
}

// checkLinks says what is wrong with a node's link groups.
func (n *Node) checkLinks() string {
	if len(n.Links) == 0 {
		return ""
	}
	seen := make([]bool, n.Chips)
	left := n.Chips
	for _, g := range n.Links {
		if len(g) == 0 {
			return n.Name + " has a link group without chips"
		}
		for _, d := range g {
			if d < 0 || d >= n.Chips || seen[d] {
				return fmt.Sprintf("chip %d of %s is not one of its %d, or in two link groups", d, n.Name, n.Chips)
			}
			seen[d] = true
			left--
		}
	}
	if left > 0 {
		return fmt.Sprintf("%d of the %d chips of %s are in no link group", left, n.Chips, n.Name)
	}
	return ""
}

func (f *Fleet) checkQueues(chips map[string]int64) error {
	names, weights, promised := map[string]bool{}, map[string]int64{}, map[string]int64{}
	for i, q := range f.Queues {
		field := fmt.Sprintf("queues[%d]", i)
		if names[q.Name] || q.Name == "" {
			return problem(field+".name", "%q is empty or there twice", q.Name)
		}
		names[q.Name] = true
		if q.Weight < 0 || q.Weight > largest || q.OrgWeight < 0 || q.OrgWeight > largest || q.Reserve < 0 {
			return problem(field, "queue %s has a negative or impossible figure", q.Name)
		}
		if w, seen := weights[q.Org]; seen && w != q.OrgWeight {
			return problem(field+".org_weight", "organisation %s has the weights %d and %d", q.Org, w, q.OrgWeight)
		}
		weights[q.Org] = q.OrgWeight
		for _, list := range [][]Count{q.Guarantee, q.Ceiling} {
			for _, c := range list {
				if _, known := chips[c.Chip]; !known {
					return problem(field, "%s", unknownChip(c.Chip, chips))
				}
				if c.Chips < 0 || c.Chips > largest {
					return problem(field, "queue %s counts %d chips of %s", q.Name, c.Chips, c.Chip)
				}
			}
		}
		for _, c := range q.Guarantee {
			promised[c.Chip] += c.Chips
			if promised[c.Chip] > chips[c.Chip] {
				return problem(field+".guarantee", "with queue %s %d chips of %s are guaranteed and the fleet has %d",
					q.Name, promised[c.Chip], c.Chip, chips[c.Chip])
			}
		}
	}
	return nil
}

func unknownChip(name string, known map[string]int64) string {
	list := make([]string, 0, len(known))
	for k := range known {
		list = append(list, k)
	}
	slices.Sort(list)
	if near := nearest.Name(name, list); near != "" {
		return fmt.Sprintf("chip %q is not known; did you mean %q?", name, near)
	}
	return fmt.Sprintf("chip %q is not known", name)
}
