package fleet

import (
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// queues reads the tree of queues, parents before children, and holds the guarantees against what there is.
func (b *builder) queues(root *entry) {
	type pending struct {
		e      entry
		q      Queue
		parent string
	}
	var wait []pending
	names := map[string]bool{}
	root.List("queues", 100_000, func(n *yaml.Node, path string) {
		e := b.entry(n, path, "name", "parent", "weight", "guarantee")
		p := pending{e, Queue{Name: e.name("name"), Parent: -1, Weight: e.whole("weight", 1e6, 1)}, e.Text("parent")}
		p.q.Guarantees = b.guarantees(&e)
		if names[p.q.Name] {
			b.Bad(n, path+".name", "the queue %q is there twice", p.q.Name)
		}
		names[p.q.Name] = true
		wait = append(wait, p)
	})
	placed := map[string]int32{}
	for moved := true; moved && b.Err == nil; {
		moved = false
		wait = slices.DeleteFunc(wait, func(p pending) bool {
			if p.parent != "" {
				up, ok := placed[p.parent]
				if !ok {
					return false
				}
				p.q.Parent = up
			}
			placed[p.q.Name] = int32(len(b.f.Queues))
			b.f.Queues = append(b.f.Queues, p.q)
			moved = true
			return true
		})
	}
	if len(wait) > 0 && b.Err == nil {
		p := wait[0]
		if !names[p.parent] {
			known := make([]string, 0, len(names))
			for name := range names {
				known = append(known, name)
			}
			slices.Sort(known)
			b.Bad(p.e.Fields["parent"], p.e.Path+".parent", "there is no queue %q; the nearest is %q", p.parent, nearest.Name(p.parent, known))
			return
		}
		b.Bad(p.e.Node, p.e.Path+".parent", "the parents of queue %s go round in a circle", p.q.Name)
	}
	b.affordable(root)
}

func (b *builder) guarantees(e *entry) []Guarantee {
	n := e.Fields["guarantee"]
	if n == nil {
		return nil
	}
	path := e.At("guarantee")
	g := b.entry(n, path)
	var out []Guarantee
	for i := range b.f.Chips {
		if name := b.f.Chips[i].Name; g.Fields[name] != nil {
			out = append(out, Guarantee{int32(i), int32(g.whole(name, 1e9, 0))})
		}
	}
	if n.Kind == yaml.MappingNode && len(out) < len(g.Fields) && b.Err == nil {
		var known []string
		for _, c := range b.f.Chips {
			known = append(known, c.Name)
		}
		for i := 0; i < len(n.Content); i += 2 {
			if name := n.Content[i].Value; b.chipNamed(name) < 0 {
				b.Bad(n.Content[i], path, "there is no chip %q in this file; the nearest is %q", name, nearest.Name(name, known))
			}
		}
	}
	return out
}

// affordable checks that what is guaranteed exists: the queues at the top together have at most the fleet, and the
// children of a queue that has a guarantee at most that.
func (b *builder) affordable(root *entry) {
	have := make([]int64, len(b.f.Chips))
	for _, n := range b.f.Nodes {
		if n.Chip >= 0 {
			have[n.Chip] += int64(n.Chips)
		}
	}
	sums := map[[2]int32]int64{} // by parent and chip
	for _, q := range b.f.Queues {
		for _, g := range q.Guarantees {
			sums[[2]int32{q.Parent, g.Chip}] += int64(g.Chips)
		}
	}
	for parent := int32(-1); int(parent) < len(b.f.Queues); parent++ {
		for chip := range b.f.Chips {
			asked := sums[[2]int32{parent, int32(chip)}]
			limit, whose := have[chip], "the fleet has"
			if parent >= 0 {
				i := slices.IndexFunc(b.f.Queues[parent].Guarantees, func(g Guarantee) bool { return g.Chip == int32(chip) })
				if i >= 0 {
					limit, whose = int64(b.f.Queues[parent].Guarantees[i].Chips), fmt.Sprintf("their parent %s is guaranteed", b.f.Queues[parent].Name)
				}
			}
			if asked > limit {
				b.Bad(root.Fields["queues"], "queues", "%d chips of %s are guaranteed, but %s %d", asked, b.f.Chips[chip].Name, whose, limit)
			}
		}
	}
}

// ReadOpenb makes a fleet of one site, open to every job, from openb's list of nodes.
func ReadOpenb(in io.Reader, file string) (*Fleet, error) {
	machines, err := trace.ReadMachines(in, trace.Options{File: file})
	if err != nil {
		return nil, err
	}
	f := &Fleet{Sites: []Site{{Name: "site", End: int32(len(machines))}}}
	for _, m := range machines {
		chip := int32(-1)
		if m.Model != "" {
			if chip = int32(slices.IndexFunc(f.Chips, func(c Chip) bool { return c.Name == m.Model })); chip < 0 {
				chip = int32(len(f.Chips))
				f.Chips = append(f.Chips, Chip{Name: m.Model})
			}
		}
		f.Nodes = append(f.Nodes, Node{Name: m.Name, Domain: -1, Chip: chip, Chips: m.GPUs, CPU: m.CPU, Memory: m.Memory})
	}
	return f, nil
}
