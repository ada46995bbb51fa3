package queue

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
)

// CPU is the class of this machine's cores, as chips.
const CPU = "cpu"

// Here is the name of the site that this machine is.
const Here = "local"

// Capacity is what there is to be given out.
type Capacity struct {
	Chips     []sched.Chip
	Nodes     []sched.Node
	Slots     map[string][]Slot // by node: its devices one by one, where they are known so; nil otherwise
	Declared  []string          // nodes that are declared by hand and not in the configuration
	Variables map[string]string // by class of chips: the variable that keeps a process to the devices it names
}

// Bounds of a declared capacity.
const (
	maxNodes    = 1024
	maxPerNode  = 1024
	maxNameLong = 63
)

// Local is the capacity of this machine: its cores, as chips of the class CPU on a node of its name, and what is declared
// beside them. A declaration reads CLASS=COUNT or CLASS=COUNT@NODE, such as slot=8 or a100=4@rack1: so many chips of a
// class on a node, a node of its own for each declaration. For COUNT may stand the chips of each link group, such as 4+4: jobs
// of several chips lie inside one where they can. Declared chips are given out and named to jobs; what they are
// is up to whoever declared them. The errors are fault.Invalid.
func Local(node string, cores int, declared []string) (Capacity, error) {
	node = cmp.Or(plainName(node), "this")
	c := Capacity{Chips: []sched.Chip{{Name: CPU, Value: sched.Micro}},
		Nodes: []sched.Node{{Name: node, Site: Here, Chip: CPU, Chips: min(max(1, cores), maxPerNode)}}}
	if len(declared) > maxNodes {
		return c, bad("%d declarations of capacity; there may be %d", len(declared), maxNodes)
	}
	for _, text := range declared {
		chip, rest, ok := strings.Cut(strings.TrimSpace(text), "=")
		count, where, named := strings.Cut(rest, "@")
		n, links, err := grouped(count)
		if !named {
			where = node + "-" + chip
		}
		switch {
		case !ok || err != nil:
			return c, bad("%q is no capacity; write for example slot=8 or slot=8@node1", text)
		case n < 1 || n > maxPerNode:
			return c, bad("%q: a node has 1 to %d chips", text, maxPerNode)
		case chip == CPU || plainName(chip) != chip || chip == "":
			return c, bad("%q: a class of chips is named by letters, digits, dots and dashes, and not %s", text, CPU)
		case plainName(where) != where || where == "":
			return c, bad("%q: a node is named by letters, digits, dots and dashes", text)
		case slices.ContainsFunc(c.Nodes, func(x sched.Node) bool { return x.Name == where }):
			return c, bad("%q: the node %s is there already", text, where)
		}
		if !slices.ContainsFunc(c.Chips, func(x sched.Chip) bool { return x.Name == chip }) {
			c.Chips = append(c.Chips, sched.Chip{Name: chip, Value: sched.Micro})
		}
		c.Nodes = append(c.Nodes, sched.Node{Name: where, Site: Here, Chip: chip, Chips: n, Links: links})
	}
	return c, nil
}

// grouped reads a number of chips, or those of each link group with a plus between.
func grouped(text string) (chips int, links [][]int, err error) {
	for part := range strings.SplitSeq(text, "+") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > maxPerNode { // the caller says what is wrong with a number
			return n, nil, err
		}
		if chips+n > maxPerNode {
			return chips + n, nil, nil
		}
		var group []int
		for i := range n {
			group = append(group, chips+i)
		}
		chips += n
		links = append(links, group)
	}
	if len(links) < 2 {
		links = nil
	}
	return chips, links, nil
}

func bad(format string, args ...any) error {
	return fault.InvalidField("compute.capacity", format, args...)
}

// plainName is a name without what a node or class cannot have in it.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), maxNameLong)]
}

// total counts the chips of a class.
func (c *Capacity) total(chip string) (n int64) {
	for _, x := range c.Nodes {
		if x.Chip == chip {
			n += int64(x.Chips)
		}
	}
	return n
}

// declared are the classes beside the cores; the cores where there are none.
func (c *Capacity) declared() (names []string) {
	for _, ch := range c.Chips {
		if ch.Name != CPU {
			names = append(names, ch.Name)
		}
	}
	if len(names) == 0 {
		names = []string{CPU}
	}
	return names
}
