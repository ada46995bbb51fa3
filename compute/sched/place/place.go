// Package place decides which node and which of its devices a request takes. Nodes live in an Index; the
// worth of every node is remembered for each class of requests until the node changes, so a decision rescores
// what changed and looks the best up.
//
// Rules for callers: an Index is for one goroutine; nothing depends on the order of maps, on time or on the
// machine, so the same calls give the same answers everywhere; Find only looks, Take and Release change;
// ties go to the node that is first by path, rank and name; every Place that was taken is released exactly once.
package place

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Whole is the share of an undivided device.
const Whole = 1000

// Limits of what an Index takes. They bound memory and keep the arithmetic exact.
const (
	MaxNodes   = 200_000
	MaxDevices = 64      // on a node
	MaxAmount  = 1 << 31 // of CPU milli or of memory MiB, exclusive
	MaxDepth   = 8       // of a path
	MaxChips   = 256     // different chip names in one Index
)

// Node is a machine.
type Node struct {
	Name    string   // unique in an Index
	CPU     int64    // thousandths of a core
	Memory  int64    // MiB
	Devices int      // accelerators, each divisible into Whole shares
	Chip    string   // their model; empty only where Devices is 0
	Path    []string // the domains it is in, outermost first: site, block, rack
	Links   [][]int  // link groups: each device in one; none where all are alike
	Rank    int      // breaks ties before the name does, smaller first
}

// Ask is what one member of a job needs on one node. Asks that are equal are one class.
type Ask struct {
	CPU     int64    // thousandths of a core
	Memory  int64    // MiB
	Devices int      // accelerators, 0 for CPU only
	Share   int64    // thousandths of each accelerator, Whole for all of it; 0 only where Devices is 0
	Chips   []string // allowed models, none for any
}

// Validate refuses an ask that can be no true request; it does not say whether any node could hold it.
func (a *Ask) Validate() error {
	switch {
	case a.CPU < 0 || a.CPU >= MaxAmount:
		return fault.InvalidField("cpu", "CPU of %d milli is not between 0 and %d", a.CPU, int64(MaxAmount)-1)
	case a.Memory < 0 || a.Memory >= MaxAmount:
		return fault.InvalidField("memory", "memory of %d MiB is not between 0 and %d", a.Memory, int64(MaxAmount)-1)
	case a.Devices < 0 || a.Devices > MaxDevices:
		return fault.InvalidField("devices", "%d devices on one node is not between 0 and %d", a.Devices, MaxDevices)
	case a.Devices == 0 && a.Share != 0:
		return fault.InvalidField("share", "a share of %d is asked of no device", a.Share)
	case a.Devices > 0 && (a.Share <= 0 || a.Share > Whole):
		return fault.InvalidField("share", "a share of %d is not between 1 and %d", a.Share, Whole)
	case a.Devices > 0 && a.Share < Whole && a.Devices > 1:
		return fault.InvalidField("share", "a share of %d is for one device, not for %d", a.Share, a.Devices)
	case len(a.Chips) > MaxChips:
		return fault.InvalidField("chips", "more than %d chips are listed", MaxChips)
	}
	return nil
}

func (n *Node) validate() error {
	switch {
	case n.Name == "":
		return fault.InvalidField("name", "a node has no name")
	case n.CPU < 0 || n.CPU >= MaxAmount:
		return fault.InvalidField("cpu", "node %s: CPU of %d milli is not between 0 and %d", n.Name, n.CPU, int64(MaxAmount)-1)
	case n.Memory < 0 || n.Memory >= MaxAmount:
		return fault.InvalidField("memory", "node %s: memory of %d MiB is not between 0 and %d", n.Name, n.Memory, int64(MaxAmount)-1)
	case n.Devices < 0 || n.Devices > MaxDevices:
		return fault.InvalidField("devices", "node %s: %d devices is not between 0 and %d", n.Name, n.Devices, MaxDevices)
	case n.Devices > 0 && n.Chip == "":
		return fault.InvalidField("chip", "node %s: its devices have no chip name", n.Name)
	case len(n.Path) > MaxDepth:
		return fault.InvalidField("path", "node %s: a path of %d domains is deeper than %d", n.Name, len(n.Path), MaxDepth)
	}
	_, err := n.masks()
	return err
}

// Mask is a set of devices of one node: bit i is device i.
type Mask uint64

// Count is the number of devices in the set.
func (m Mask) Count() int { return bits.OnesCount64(uint64(m)) }

// List is the devices in the set, ascending.
func (m Mask) List() []int {
	out := make([]int, 0, m.Count())
	for ; m != 0; m &= m - 1 {
		out = append(out, bits.TrailingZeros64(uint64(m)))
	}
	return out
}

// Place is one member on one node: what Find proposes and Take occupies.
type Place struct {
	Node    int32 // as given by Index.Lookup and Index.Name
	Devices Mask
	Share   int64 // thousandths of each device
	CPU     int64
	Memory  int64
}

// Refusal says why no node can hold an ask now: how many nodes fail first at what, in the order of the
// fields. A node counts once, and the counts sum to Nodes.
type Refusal struct {
	Nodes   int // nodes looked at
	Away    int // drained, or left out by the caller
	Chips   int // other chips than those allowed
	Devices int // too few devices with room for the share
	CPU     int // devices, but too little CPU
	Memory  int // devices and CPU, but too little memory
	Never   int // of the nodes that are not away: those that could not hold it even if they were empty
}

// String is the refusal in one line for people.
func (r Refusal) String() string {
	var s strings.Builder
	s.WriteString(fmt.Sprintf("0 of %d nodes can hold it:", r.Nodes))
	for _, p := range []struct {
		n    int
		what string
	}{
		{r.Away, "not available"}, {r.Chips, "other chips"}, {r.Devices, "too few free devices"},
		{r.CPU, "too little free CPU"}, {r.Memory, "too little free memory"},
	} {
		if p.n > 0 {
			s.WriteString(fmt.Sprintf(" %d %s,", p.n, p.what))
		}
	}
	return s.String()[:len(s.String())-1]
}

// canonical is the list of allowed chips sorted and without repeats, so that equal sets are one class.
func canonical(chips []string) []string {
	if len(chips) == 1 || slices.IsSorted(chips) && len(slices.Compact(slices.Clone(chips))) == len(chips) {
		return chips
	}
	out := slices.Clone(chips)
	slices.Sort(out)
	return slices.Compact(out)
}
