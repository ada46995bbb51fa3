package fleet

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fields"
	"github.com/triarch-ai/triarch/internal/nearest"
)

const defaultRepair = 12 * time.Hour

// MaxFile is how long a fleet file may be, in bytes.
const MaxFile = 8 << 20

// Read reads a fleet file. Every figure that is given is above 0; what is unknown is left out. Names are unique among
// their kind; `in` names a site or an entry of the topology.
//
//	currency: EUR                       # only shown
//	chips:                              # every model that the nodes have
//	  - {name: nvidia-h100-sxm, price: 2.50, power: 700}    # an hour of one chip; watts
//	sites:
//	  - name: north
//	    clusters: [research, vision]    # clusters of a trace that go here; left out: every job
//	topology:                           # any depth; kind is block or rack
//	  - {name: hall-1, kind: block, in: north}
//	  - {name: rack-1, kind: rack, in: hall-1}
//	nodes:                              # groups of equal machines
//	  - name: "gpu-{}"                  # {} is the number, with leading zeros
//	    count: 16                       # default 1
//	    in: rack-1
//	    chip: nvidia-h100-sxm           # left out with chips: a machine without
//	    chips: 8
//	    links: [4, 4]                   # chips in each link group (NVLink, say), by their numbers; left out: all alike
//	    cpu: 192                        # cores, left out: no limit
//	    memory: 2TiB                    # left out: no limit
//	    price: 2.40                     # an hour of one chip (of the machine where it has none); default: the chip's
//	    power: 700                      # watts of one chip; default: the chip's
//	    mtbf_hours: 4000                # mean time between failures; default: that of `failures`
//	    repair_hours: 6
//	queues:
//	  - name: research
//	    parent: company                 # left out at the top
//	    weight: 3                       # share of what nobody is guaranteed; default 1
//	    guarantee: {nvidia-h100-sxm: 32}
//	failures: {mtbf_hours: 8000, repair_hours: 12}   # left out: nothing fails
func Read(in io.Reader, file string) (*Fleet, error) {
	r, top, err := fields.Read(in, file, MaxFile)
	if err != nil {
		return nil, err
	}
	b := &builder{Reader: r, f: &Fleet{}, places: map[string]place{}}
	b.build(top)
	if b.Err != nil {
		return nil, b.Err
	}
	return b.f, nil
}

// place is what `in` can name.
type place struct {
	site, domain int32
}

type builder struct {
	*fields.Reader
	f      *Fleet
	places map[string]place
	fail   struct{ mtbf, repair time.Duration }
}

func (b *builder) build(root *yaml.Node) {
	e := b.entry(root, "", "currency", "chips", "sites", "topology", "nodes", "queues", "failures")
	b.f.Currency = e.Text("currency")
	b.fail.repair = defaultRepair
	if n := e.Fields["failures"]; n != nil {
		fe := b.entry(n, "failures", "mtbf_hours", "repair_hours")
		b.fail.mtbf, b.fail.repair = fe.hours("mtbf_hours", 0), fe.hours("repair_hours", defaultRepair)
	}
	e.List("chips", 10_000, b.chip)
	e.List("sites", MaxSites, b.site)
	b.topology(&e)
	e.List("nodes", 100_000, b.nodes)
	b.queues(&e)
	if b.Err != nil {
		return
	}
	switch {
	case len(b.f.Sites) == 0:
		b.Bad(root, "sites", "a fleet has at least one site")
	case len(b.f.Nodes) == 0:
		b.Bad(root, "nodes", "a fleet has at least one node")
	}
	b.bySite()
}

// bySite has the nodes of each site lie together.
func (b *builder) bySite() {
	slices.SortStableFunc(b.f.Nodes, func(x, y Node) int { return int(x.Site - y.Site) })
	for i := range b.f.Sites {
		s := &b.f.Sites[i]
		s.First = int32(len(b.f.Nodes))
		for n := range b.f.Nodes {
			if b.f.Nodes[n].Site == int32(i) {
				s.First, s.End = min(s.First, int32(n)), int32(n)+1
			}
		}
		if s.End == 0 && b.Err == nil {
			b.Bad(nil, fmt.Sprintf("sites[%d]", i), "site %s has no node", s.Name)
			return
		}
	}
}

func (b *builder) chip(n *yaml.Node, path string) {
	e := b.entry(n, path, "name", "price", "power")
	c := Chip{Name: e.name("name"), Price: e.price("price", 0), Power: e.whole("power", 1e6, 0)}
	if b.chipNamed(c.Name) >= 0 {
		b.Bad(n, path+".name", "the chip %q is there twice", c.Name)
	}
	b.f.Chips = append(b.f.Chips, c)
}

func (b *builder) chipNamed(name string) int32 {
	return int32(slices.IndexFunc(b.f.Chips, func(c Chip) bool { return c.Name == name }))
}

func (b *builder) site(n *yaml.Node, path string) {
	e := b.entry(n, path, "name", "clusters")
	s := Site{Name: e.name("name")}
	e.List("clusters", 10_000, func(c *yaml.Node, at string) {
		if c.Kind != yaml.ScalarNode || c.Value == "" {
			b.Bad(c, at, "it must be a name")
			return
		}
		if i := slices.IndexFunc(b.f.Sites, func(o Site) bool { return slices.Contains(o.Clusters, c.Value) }); i >= 0 {
			b.Bad(c, at, "cluster %q goes to site %s already", c.Value, b.f.Sites[i].Name)
		}
		s.Clusters = append(s.Clusters, c.Value)
	})
	b.locate(n, path, s.Name, place{int32(len(b.f.Sites)), -1})
	b.f.Sites = append(b.f.Sites, s)
}

func (b *builder) locate(n *yaml.Node, path, name string, p place) {
	if _, twice := b.places[name]; twice && name != "" {
		b.Bad(n, path+".name", "the name %q is there twice", name)
	}
	b.places[name] = p
}

// topology places entries under what they name, whatever their order; those that are left over go round in a circle.
func (b *builder) topology(root *entry) {
	type pending struct {
		e    entry
		name string
		in   string
		kind string
	}
	var wait []pending
	names := map[string]bool{}
	root.List("topology", 1_000_000, func(n *yaml.Node, path string) {
		e := b.entry(n, path, "name", "kind", "in")
		p := pending{e, e.name("name"), e.name("in"), e.name("kind")}
		if p.kind != "block" && p.kind != "rack" && b.Err == nil {
			b.Bad(e.Fields["kind"], path+".kind", "%q is neither block nor rack", p.kind)
		}
		if names[p.name] {
			b.Bad(n, path+".name", "the name %q is there twice", p.name)
		}
		names[p.name] = true
		wait = append(wait, p)
	})
	for _, p := range wait {
		if _, ok := b.places[p.in]; !ok && !names[p.in] {
			b.nowhere(&p.e, p.in, names)
		}
	}
	for moved := true; moved && b.Err == nil; {
		moved = false
		wait = slices.DeleteFunc(wait, func(p pending) bool {
			up, ok := b.places[p.in]
			if !ok {
				return false
			}
			b.locate(p.e.Node, p.e.Path, p.name, place{up.site, int32(len(b.f.Domains))})
			b.f.Domains = append(b.f.Domains, Domain{Name: p.name, Kind: p.kind, Site: up.site, Parent: up.domain})
			moved = true
			return true
		})
	}
	if len(wait) > 0 && b.Err == nil {
		p := wait[0]
		b.Bad(p.e.Node, p.e.Path+".in", "%s lies in %s, which lies in a circle that reaches no site", p.name, p.in)
	}
}

// nowhere says that `in` names nothing, and what it comes near.
func (b *builder) nowhere(e *entry, in string, more map[string]bool) {
	var known []string
	for name := range b.places {
		known = append(known, name)
	}
	for name := range more {
		known = append(known, name)
	}
	slices.Sort(known)
	b.Bad(e.Fields["in"], e.Path+".in", "there is no site or topology entry %q; the nearest is %q", in, nearest.Name(in, known))
}

// nodes adds a group of equal machines.
func (b *builder) nodes(n *yaml.Node, path string) {
	e := b.entry(n, path, "name", "count", "in", "chip", "chips", "links", "cpu", "memory", "price", "power", "mtbf_hours", "repair_hours")
	pattern, in := e.name("name"), e.name("in")
	at, ok := b.places[in]
	if !ok && b.Err == nil {
		b.nowhere(&e, in, nil)
	}
	node := Node{Site: at.site, Domain: at.domain, Chip: -1, CPU: Unlimited, Memory: e.memory("memory", Unlimited)}
	if e.Fields["cpu"] != nil {
		node.CPU = int64(e.number("cpu", 1e6, 0) * 1000)
	}
	price, power := int64(0), int64(0)
	if name := e.Text("chip"); name != "" {
		if node.Chip = b.chipNamed(name); node.Chip < 0 {
			var known []string
			for _, c := range b.f.Chips {
				known = append(known, c.Name)
			}
			b.Bad(e.Fields["chip"], path+".chip", "there is no chip %q in this file; the nearest is %q", name, nearest.Name(name, known))
			return
		}
		price, power = b.f.Chips[node.Chip].Price, b.f.Chips[node.Chip].Power
		if node.Chips = int32(e.whole("chips", MaxChipsPerNode, 0)); node.Chips == 0 {
			b.Bad(n, path+".chips", "a machine with a chip says how many")
		}
	} else if e.Fields["chips"] != nil {
		b.Bad(e.Fields["chips"], path+".chip", "chips without saying which")
	}
	node.Links = b.links(&e, int(node.Chips))
	node.Price, node.Power = e.price("price", price), e.whole("power", 1e6, float64(power))
	node.MTBF, node.Repair = e.hours("mtbf_hours", b.fail.mtbf), e.hours("repair_hours", b.fail.repair)
	count := int(e.whole("count", MaxNodes, 1))
	if len(b.f.Nodes)+count > MaxNodes {
		b.Bad(n, path+".count", "the fleet has more than %d nodes", MaxNodes)
	}
	if b.Err != nil {
		return
	}
	for i := range count {
		node.Name = numbered(pattern, i+1, count)
		if _, twice := b.places["\x00"+node.Name]; twice {
			b.Bad(n, path+".name", "the node %q is there twice", node.Name)
			return
		}
		b.places["\x00"+node.Name] = at
		b.f.Nodes = append(b.f.Nodes, node)
	}
}

// links reads how many chips each link group has, in the order of the chips.
func (b *builder) links(e *entry, chips int) (out [][]int) {
	at := 0
	e.List("links", MaxChipsPerNode, func(n *yaml.Node, path string) {
		size, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || size < 1 || size > chips-at {
			b.Bad(n, path, "%q is no number of chips that are left of %d", n.Value, chips)
			return
		}
		var group []int
		for range size {
			group = append(group, at)
			at++
		}
		out = append(out, group)
	})
	if b.Err == nil && out != nil && at != chips {
		b.Bad(e.Fields["links"], e.Path+".links", "the link groups have %d chips and the machine %d", at, chips)
	}
	return out
}

func numbered(pattern string, i, count int) string {
	number := fmt.Sprintf("%0*d", digits(count), i)
	switch {
	case strings.Contains(pattern, "{}"):
		return strings.ReplaceAll(pattern, "{}", number)
	case count > 1:
		return pattern + "-" + number
	}
	return pattern
}
