// Package pack fills a fleet with one request after another under a placement policy, by the protocol of the
// published experiment on the openb trace (Weng et al., "Beware of Fragmentation", USENIX ATC 2023), so that
// policies can be compared with its results column by column.
//
// Rules for callers: nothing departs, nothing is reordered or moved, and a request is refused only if it fits
// nowhere; the same options give the same result everywhere.
package pack

import (
	"context"
	"math"
	"math/rand"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Options says what to pack where, how.
type Options struct {
	NodesFile string  // node list, CSV or gzip of it
	PodsFile  string  // pod list, likewise
	Policy    string  // one of Policies
	Ties      string  // "rank": to the smallest of ranks dealt once; "random": drawn for each pod; empty is rank
	Seed      int64   // of the arrivals, the ranks and the draws
	Stop      float64 // stop when the requests reach this multiple of the accelerators; 0 is 1.3
}

// Policies are the names of the policies, the published ones first.
func Policies() []string {
	return []string{"random", "dotprod", "clustering", "packing", "bestfit", "fgd", "triarch"}
}

// Result is one run.
type Result struct {
	Policy           string    `json:"policy"`
	Ties             string    `json:"ties"`
	Seed             int64     `json:"seed"`
	Nodes            int       `json:"nodes"`
	Devices          int64     `json:"devices"`
	Arrived          int       `json:"arrived"` // pods
	Placed           int       `json:"placed"`  // pods
	AllocatedPercent float64   `json:"allocated_percent"`
	FragmentPercent  float64   `json:"fragment_percent"`
	Allocated        []float64 `json:"allocated"`     // column c: % of all accelerators when c % were asked
	Fragment         []float64 `json:"fragment"`      // likewise, % of all that is idle and of no use
	FragmentOfIdle   []float64 `json:"fragment_idle"` // likewise, % of what is idle
}

// policy picks a machine and devices for one request, -1 if it fits nowhere. out is room for the devices.
type policy interface {
	pick(f *fleet, request int32, out []int) (machine int, devices []int)
}

// Run reads the lists and packs them.
func Run(ctx context.Context, o Options) (*Result, error) {
	nodes, err := readFile("nodes", o.NodesFile, ReadNodes)
	if err != nil {
		return nil, err
	}
	pods, err := readFile("pods", o.PodsFile, ReadPods)
	if err != nil {
		return nil, err
	}
	return Pack(ctx, nodes, pods, o)
}

// Pack is Run on lists already read. The file names in o are not used.
func Pack(ctx context.Context, nodes []Node, pods []Pod, o Options) (*Result, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	nodes, pods = slices.Clone(nodes), slices.Clone(pods)
	slices.SortStableFunc(pods, func(a, b Pod) int { return strings.Compare(a.Name, b.Name) })
	var devices int64
	for i := range nodes {
		devices += int64(nodes[i].Devices)
	}
	if devices == 0 {
		return nil, fault.InvalidField("nodes", "no node of the list has an accelerator, so there is nothing to fill")
	}
	rng := rand.New(rand.NewSource(o.Seed))
	order, err := arrivals(rng, pods, devices*1000, o.Stop)
	if err != nil {
		return nil, err
	}
	rank := ranks(rng, nodes)
	f := newFleet(nodes, rank, pods)
	p, err := newPolicy(o, nodes, rank, pods, f, rng)
	if err != nil {
		return nil, err
	}
	res := &Result{Policy: o.Policy, Ties: o.Ties, Seed: o.Seed, Nodes: len(nodes), Devices: devices}
	return res, fill(ctx, f, p, pods, order, res)
}

func (o *Options) complete() error {
	if o.Stop == 0 {
		o.Stop = 1.3
	}
	if o.Ties == "" {
		o.Ties = "rank"
	}
	switch {
	case !(o.Stop > 0 && o.Stop <= 10):
		return fault.InvalidField("stop", "stop is %v and must be above 0 and at most 10", o.Stop)
	case o.Ties != "rank" && o.Ties != "random":
		return fault.InvalidField("ties", "ties is %q and must be rank or random", o.Ties)
	case !slices.Contains(Policies(), o.Policy):
		return fault.InvalidField("policy", "policy %q is unknown; known are %s", o.Policy, strings.Join(Policies(), ", "))
	}
	return nil
}

func newPolicy(o Options, nodes []Node, rank []int32, pods []Pod, f *fleet, rng *rand.Rand) (policy, error) {
	ties := rng
	if o.Ties == "rank" {
		ties = nil
	}
	switch o.Policy {
	case "random":
		return &random{rng: rng}, nil
	case "dotprod":
		return newScored(f, dotProd, ties), nil
	case "clustering":
		return newScored(f, clustering, ties), nil
	case "packing":
		return newScored(f, packing, ties), nil
	case "bestfit":
		return newScored(f, bestFit, ties), nil
	case "fgd":
		return newScored(f, fgd, ties), nil
	default:
		return newTriarch(nodes, rank, pods, f, ties)
	}
}

// fill places the arrivals one by one and keeps the columns.
func fill(ctx context.Context, f *fleet, p policy, pods []Pod, order []int32, res *Result) error {
	var asked, placed int64
	idle, lost := f.capacity, 0.0
	for i := range f.machines {
		lost += f.machines[i].fragment
	}
	c := newColumns(f.capacity)
	var room [maxDevices]int
	for n, i := range order {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		w := &f.wants[f.wantOf[i]]
		asked += w.gpu()
		if at, devices := p.pick(f, f.wantOf[i], room[:0]); at >= 0 {
			m := &f.machines[at]
			m.take(w, devices)
			before := m.fragment
			m.fragment = fragment(f.classes, m.model, m.cpu, m.free)
			lost += m.fragment - before
			placed += w.gpu()
			idle -= w.gpu()
			res.Placed++
		}
		c.add(asked, placed, idle, lost)
	}
	res.Arrived = len(order)
	c.finish(res)
	return nil
}

// columns are the means over the pods whose arrived percentage rounds to the column.
type columns struct {
	whole            float64 // one percent of the capacity, in thousandths
	n                []int
	allo, frag, idle []float64
}

func newColumns(capacity int64) *columns { return &columns{whole: float64(capacity) / 100} }

func (c *columns) add(asked, placed, idle int64, lost float64) {
	col := int(math.RoundToEven(float64(asked) / c.whole))
	for len(c.n) <= col {
		c.n = append(c.n, 0)
		c.allo, c.frag, c.idle = append(c.allo, 0), append(c.frag, 0), append(c.idle, 0)
	}
	c.n[col]++
	c.allo[col] += round2(float64(placed) / c.whole)
	c.frag[col] += round2(lost / c.whole)
	if idle > 0 {
		c.idle[col] += round2(100 * lost / float64(idle))
	}
}

// finish writes the columns; one that no pod rounds to repeats the one before it.
func (c *columns) finish(res *Result) {
	for i, n := range c.n {
		if n == 0 {
			if i > 0 {
				c.allo[i], c.frag[i], c.idle[i] = c.allo[i-1], c.frag[i-1], c.idle[i-1]
			}
			continue
		}
		c.allo[i] = round2(c.allo[i] / float64(n))
		c.frag[i] = round2(c.frag[i] / float64(n))
		c.idle[i] = round2(c.idle[i] / float64(n))
	}
	res.Allocated, res.Fragment, res.FragmentOfIdle = c.allo, c.frag, c.idle
	if last := len(c.n) - 1; last >= 0 {
		res.AllocatedPercent, res.FragmentPercent = c.allo[last], c.frag[last]
	}
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }
