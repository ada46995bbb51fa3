package queue

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Declaration is a node whose chips somebody declared by hand.
type Declaration struct {
	Node      string
	Chip      string // class
	Chips     int
	Links     [][]int // link groups by number; nil: all alike
	CreatedAt time.Time
}

// Declarer keeps declarations. Every change is durable when the method returns.
type Declarer interface {
	// Declared gives all, by node.
	Declared(ctx context.Context) ([]Declaration, error)
	// Declare adds a declaration or replaces that of its node.
	Declare(ctx context.Context, d Declaration) error
	// Undeclare takes one away; fault.NotFound without it.
	Undeclare(ctx context.Context, node string) error
}

// maxDeclared bounds how many nodes are declared by hand.
const maxDeclared = 256

// ReadDeclaration reads a declaration: the class and the number of chips, or with a plus between those of each link group. The errors are fault.Invalid with the field.
func ReadDeclaration(node, chip, count string) (Declaration, error) {
	n, links, err := grouped(count)
	d := Declaration{Node: node, Chip: chip, Chips: n, Links: links}
	switch {
	case plainName(node) != node || node == "":
		return d, fault.InvalidField("node", "A node is named by letters, digits, dots, dashes and underscores, at most %d of them.", maxNameLong)
	case plainName(chip) != chip || chip == "" || chip == CPU:
		return d, fault.InvalidField("chip", "A class of chips is named by letters, digits, dots, dashes and underscores, and is not %s.", CPU)
	case err != nil || n < 1 || n > maxPerNode:
		return d, fault.New(fault.Invalid, sprintf("%q is no number of chips from 1 to %d.", short(count), maxPerNode), fault.Field("chips"), fault.Fix("Write for example 8, or 4+4 for two link groups."))
	}
	return d, nil
}

func short(s string) string { return strings.ToValidUTF8(s[:min(len(s), 40)], "") }

// Add puts declared nodes into a capacity. Those of a name that is there already are left out, and named.
func (c *Capacity) Add(list []Declaration) (left []string) {
	for _, d := range list {
		if slices.ContainsFunc(c.Nodes, func(x sched.Node) bool { return x.Name == d.Node }) || len(c.Nodes) >= maxNodes {
			left = append(left, d.Node)
			continue
		}
		c.class(d.Chip)
		c.Nodes = append(c.Nodes, sched.Node{Name: d.Node, Site: Here, Chip: d.Chip, Chips: d.Chips, Links: d.Links})
		c.Declared = append(c.Declared, d.Node)
	}
	return left
}

// Found puts a node of devices that were found into a capacity, unless its class is declared by hand: then it is left out.
func (c *Capacity) Found(node, chip string, slots []Slot) {
	if len(slots) == 0 || c.ByHand(chip) || slices.ContainsFunc(c.Nodes, func(x sched.Node) bool { return x.Name == node }) {
		return
	}
	c.class(chip)
	c.Nodes = append(c.Nodes, sched.Node{Name: node, Site: Here, Chip: chip, Chips: len(slots)})
	if c.Slots == nil {
		c.Slots = map[string][]Slot{}
	}
	c.Slots[node] = slots
}

// ByHand says whether chips of a class are declared.
func (c *Capacity) ByHand(chip string) bool {
	return slices.ContainsFunc(c.Nodes, func(x sched.Node) bool { return x.Chip == chip && c.Slots[x.Name] == nil })
}

func (c *Capacity) class(chip string) {
	if !slices.ContainsFunc(c.Chips, func(x sched.Chip) bool { return x.Name == chip }) {
		c.Chips = append(c.Chips, sched.Chip{Name: chip, Value: sched.Micro})
	}
}

// Declare adds a node whose chips are declared by hand, or changes them. Chips of the class that were found are not given out beside declared ones.
// Faults: Invalid with the field; Conflict for a node that is there and was not declared so, and for one in use that would become another.
func (p *Planner) Declare(ctx context.Context, node, chip, count string) (NodeView, error) {
	d, err := ReadDeclaration(node, chip, count)
	if err != nil {
		return NodeView{}, err
	}
	if p.opt.Declared == nil || p.opt.Recompose == nil {
		return NodeView{}, fault.New(fault.Conflict, "Nodes cannot be declared here.")
	}
	have, err := p.opt.Declared.Declared(ctx)
	if err != nil {
		return NodeView{}, err
	}
	known := slices.ContainsFunc(have, func(x Declaration) bool { return x.Node == node })
	now, found, err := p.look(ctx, node)
	switch {
	case err != nil:
		return NodeView{}, err
	case !known && found:
		return NodeView{}, fault.New(fault.Conflict, sprintf("The node %s is there already, and was not declared by hand.", node), fault.Field("node"), fault.Fix("Choose another name"))
	case !known && len(have) >= maxDeclared:
		return NodeView{}, fault.New(fault.Conflict, sprintf("At most %d nodes are declared by hand.", maxDeclared))
	case found && now.Used > 0 && (now.Chip != d.Chip || now.Chips > d.Chips):
		return NodeView{}, occupied(now)
	}
	d.CreatedAt = p.opt.Now().UTC().Truncate(time.Microsecond)
	if err := p.opt.Declared.Declare(ctx, d); err != nil {
		return NodeView{}, err
	}
	if err := p.opt.Recompose(ctx); err != nil {
		return NodeView{}, err
	}
	now, _, err = p.look(ctx, node)
	return now, err
}

// Undeclare takes a node away that was declared by hand. Faults: NotFound for any other, Conflict for one in use.
func (p *Planner) Undeclare(ctx context.Context, node string) error {
	if p.opt.Declared == nil || p.opt.Recompose == nil {
		return fault.New(fault.NotFound, sprintf("There is no node %s that was declared by hand.", node))
	}
	if now, found, err := p.look(ctx, node); err != nil || found && now.Declared && now.Used > 0 {
		return cmp.Or(err, occupied(now))
	}
	if err := p.opt.Declared.Undeclare(ctx, node); err != nil {
		return err
	}
	return p.opt.Recompose(ctx)
}

func occupied(n NodeView) error {
	return fault.New(fault.Conflict, sprintf("%d of the %d chips of node %s are in use.", n.Used, n.Chips, n.Name), fault.Fix("Drain it with `triarch node drain %s` and wait, or cancel what runs there", n.Name))
}

// look finds a node.
func (p *Planner) look(ctx context.Context, node string) (NodeView, bool, error) {
	all, err := p.Nodes(ctx)
	if i := slices.IndexFunc(all, func(n NodeView) bool { return n.Name == node }); err == nil && i >= 0 {
		return all[i], true, nil
	}
	return NodeView{}, false, err
}

// Clone copies a capacity down to its lists.
func (c *Capacity) Clone() Capacity {
	return Capacity{Chips: slices.Clone(c.Chips), Nodes: slices.Clone(c.Nodes)}
}
