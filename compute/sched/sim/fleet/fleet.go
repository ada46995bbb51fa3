// Package fleet describes machines that a replay runs on: sites, the topology inside them, nodes and their chips,
// queues with guarantees, failure and repair rates.
//
// A Fleet comes from Read (a documented YAML file, see file.go), from Uniform, or from ReadOpenb (a list of nodes of
// the openb trace). Rules for callers: a Fleet is not changed once made; nodes of a site lie together in Nodes, in the
// order of the file; indices (Node.Site, Node.Chip, ...) point into the Fleet's own slices, -1 where there is none.
package fleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Bounds on a fleet.
const (
	MaxNodes        = 1_000_000
	MaxChipsPerNode = 1024
	MaxSites        = 10_000
)

// Fleet is all there is to run on.
type Fleet struct {
	Currency string
	Chips    []Chip
	Sites    []Site
	Domains  []Domain // blocks and racks, parents before children
	Nodes    []Node
	Queues   []Queue // parents before children
}

// Chip is one model of accelerator.
type Chip struct {
	Name  string
	Price int64 // micro-units of the currency for an hour of one chip
	Power int64 // watts of one chip at work
}

// Site is a place with one pool of machines.
type Site struct {
	Name     string
	Clusters []string // clusters of a trace whose jobs go here; empty: every job that names no cluster of another site
	First    int32    // its nodes are Nodes[First:End]
	End      int32
}

// Domain is a block or a rack of a site's topology.
type Domain struct {
	Name   string
	Kind   string // "block" or "rack"
	Site   int32
	Parent int32 // in Domains, -1 directly under the site
}

// Node is one machine.
type Node struct {
	Name   string
	Site   int32
	Domain int32 // innermost domain, -1 directly under the site
	Chip   int32 // -1 for a machine without
	Chips  int32
	Links  [][]int       // link groups: the chips of each, by number; none where all are alike
	CPU    int64         // thousandths of a core
	Memory int64         // MiB
	Price  int64         // micro-units an hour of one chip (of the whole machine where it has none)
	Power  int64         // watts of one chip at work
	MTBF   time.Duration // mean time between failures; 0 for none
	Repair time.Duration // mean time to repair
}

// Queue is where jobs wait: its share of what is not guaranteed, and what is guaranteed to it.
type Queue struct {
	Name       string
	Parent     int32 // in Queues, -1 at the top
	Weight     int64
	Guarantees []Guarantee
}

// Guarantee is a number of chips of one model.
type Guarantee struct {
	Chip  int32
	Chips int32
}

// Unlimited is the CPU (thousandths of a core) and memory (MiB) of a node whose figures nobody gave.
const Unlimited = int64(1) << 50

// Uniform is one site, open to every job, of n equal nodes with k chips each, without limits of CPU and memory.
func Uniform(n, k int) (*Fleet, error) {
	switch {
	case n <= 0 || n > MaxNodes:
		return nil, fault.InvalidField("nodes", "nodes is %d; it must be 1 to %d", n, MaxNodes)
	case k <= 0 || k > MaxChipsPerNode:
		return nil, fault.InvalidField("chips-per-node", "chips-per-node is %d; it must be 1 to %d", k, MaxChipsPerNode)
	}
	f := &Fleet{Chips: []Chip{{Name: "chip"}}, Sites: []Site{{Name: "site", End: int32(n)}}}
	for i := range n {
		f.Nodes = append(f.Nodes, Node{Name: fmt.Sprintf("n%0*d", digits(n), i+1), Domain: -1, Chips: int32(k), CPU: Unlimited, Memory: Unlimited})
	}
	return f, nil
}

func digits(n int) int { return len(fmt.Sprint(n)) }

// Isolated is one site for each size, named and bound to clusters by names, of so many nodes with k chips each.
func Isolated(names []string, sizes []int, k int) (*Fleet, error) {
	f := &Fleet{Chips: []Chip{{Name: "chip"}}}
	for s, n := range sizes {
		one, err := Uniform(n, k)
		if err != nil {
			return nil, err
		}
		first := int32(len(f.Nodes))
		for _, node := range one.Nodes {
			node.Site, node.Name = int32(s), names[s]+"-"+node.Name
			f.Nodes = append(f.Nodes, node)
		}
		f.Sites = append(f.Sites, Site{Name: names[s], Clusters: []string{names[s]}, First: first, End: int32(len(f.Nodes))})
	}
	return f, nil
}

// TotalChips counts the chips of the whole fleet.
func (f *Fleet) TotalChips() int64 {
	var n int64
	for i := range f.Nodes {
		n += int64(f.Nodes[i].Chips)
	}
	return n
}

// SiteOf is the site that takes jobs of a cluster: the one that lists it, else the open one if there is exactly one,
// else -1 where any open site will do. It fails when no site takes the cluster.
func (f *Fleet) SiteOf(cluster string) (int32, error) {
	open, opens := int32(-1), 0
	for i := range f.Sites {
		if cluster != "" && slices.Contains(f.Sites[i].Clusters, cluster) {
			return int32(i), nil
		}
		if len(f.Sites[i].Clusters) == 0 {
			open, opens = int32(i), opens+1
		}
	}
	switch {
	case opens == 1:
		return open, nil
	case opens > 1:
		return -1, nil
	}
	return -1, fault.New(fault.Invalid, fmt.Sprintf("No site of the fleet takes jobs of cluster %q.", cluster), fault.Field("cluster"),
		fault.Fix("List it under `clusters` of a site, or leave `clusters` of one site out so that it takes every job"))
}
