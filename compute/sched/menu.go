package sched

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/nearest"
)

// part is a number of equal members of a gang, each on a node of its own.
type part struct {
	members int
	ask     ask
}

// ask is what one member takes of its node.
type ask struct {
	chips     int   // whole chips, or 1 with a share
	share     int   // thousandths of each
	cpu, memo int64 // thousandths of a core, MiB
}

// option is an entry of a job's menu: this many chips of a class at a site.
type option struct {
	site, chip int // chip -1 = CPU only
	pool       int32
	size       int   // chips in all
	charge     int64 // what it counts in quotas, in thousandths of a chip
	parts      []part
	mixed      bool  // over unlike nodes: the parts are what the empty pool would give
	each       ask   // what one whole chip takes, of an option of whole chips
	speed      int64 // of the whole, in Micro of one chip at the reference speed
	within     Level
}

// askOf is what a seat of the option takes of its node.
func (o *option) askOf(s *Seat) ask {
	if o.each.chips == 0 {
		return o.parts[0].ask
	}
	n := int64(s.Chips)
	return ask{int(n), Whole, n * o.each.cpu, n * o.each.memo}
}

// menu is the finite list of ways to run a job, and the class of jobs that have just the same one.
type menu struct {
	id      int
	key     string   // what it is known by
	options []option // sizes from the largest down, inside a size by site and chip
	largest int      // chips of the largest
	charge  int64    // of it
	pools   []int32  // of the options
}

// pool is the nodes of one class of chips at one site.
type pool struct {
	site, chip int
	at         int32   // among the pools
	nodes      []int32 // by name
	perNode    int     // chips of the largest node
	groups     [SameSite + 1][][]int32
}

// Nearby is why a job can never run on a fleet, and the nearest that could.
type Nearby struct {
	Field  string
	Reason string
	Fits   int // chips of the largest size that would fit with everything else as asked; 0 = none
}

func (n *Nearby) Error() string {
	if n.Fits > 0 {
		return fmt.Sprintf("%s: %s; %d would fit", n.Field, n.Reason, n.Fits)
	}
	return n.Field + ": " + n.Reason
}

// menuOf lists the ways to run a job on the fleet when it is empty: stage 1. The error is a *Problem for a name that is
// not known and a *Nearby for a job that no part of the fleet can ever hold.
func (c *Core) menuOf(j *Job, q *queue) (*menu, error) {
	choices, err := c.choices(&j.Need)
	if err != nil {
		return nil, err
	}
	if err := c.knownSites(j.Need.Sites); err != nil {
		return nil, err
	}
	m := &menu{}
	fits, over := 0, false
	for _, p := range c.pools {
		ch, ok := choices[p.chip]
		if !ok || len(j.Need.Sites) > 0 && !slices.Contains(j.Need.Sites, c.sites[p.site]) {
			continue
		}
		for size := ch.Chips; ; size = max(j.Need.Min, size/2) {
			switch o, ok := c.option(p, &j.Need, ch, size); {
			case ok && q.ceiling[chipSlot(p.chip)] < o.charge:
				over = true
			case ok:
				m.options = append(m.options, o)
			default:
				fits = max(fits, c.nearest(p, &j.Need, ch, size))
			}
			if j.Need.Min == 0 || size <= j.Need.Min || j.Need.Chips == 0 {
				break
			}
		}
	}
	if len(m.options) == 0 {
		return nil, c.never(j, q, fits, over)
	}
	slices.SortStableFunc(m.options, func(a, b option) int {
		if a.size == 0 { // CPU alone: nodes without chips first
			return cmp.Compare(min(a.chip, 0), min(b.chip, 0))
		}
		return cmp.Compare(b.size, a.size)
	})
	for _, o := range m.options {
		m.largest, m.charge = max(m.largest, o.size), max(m.charge, o.charge)
		if p := o.pool; !slices.Contains(m.pools, p) {
			m.pools = append(m.pools, p)
		}
	}
	return c.shared(m), nil
}

func (c *Core) never(j *Job, q *queue, fits int, over bool) error {
	if over {
		return &Nearby{"queue", fmt.Sprintf("queue %s may never hold as many chips as the job asks for", q.Name), 0}
	}
	if j.Need.Chips == 0 {
		return &Nearby{"cpu_milli", "no node has as much CPU and memory", 0}
	}
	return &Nearby{"chips", fmt.Sprintf("no site has room for %d chips as they are asked for, even when it is empty", j.Need.Chips), fits}
}

// choices are the classes a job can use by number, with the amounts filled in. A job without chips has the class -1.
func (c *Core) choices(n *Need) (map[int]Choice, error) {
	out := map[int]Choice{}
	if n.Chips == 0 {
		for i := range c.chips {
			out[i] = Choice{Speed: Micro}
		}
		out[-1] = Choice{Speed: Micro}
		return out, nil
	}
	list := n.AnyOf
	if len(list) == 0 {
		for _, ch := range c.chips {
			list = append(list, Choice{Chip: ch.Name})
		}
	}
	for i, ch := range list {
		at, ok := c.chipAt[ch.Chip]
		if !ok {
			known := map[string]int64{}
			for _, k := range c.chips {
				known[k.Name] = 0
			}
			return nil, problem(fmt.Sprintf("any_of[%d].chip", i), "%s", unknownChip(ch.Chip, known))
		}
		ch.Speed, ch.Chips = cmp.Or(ch.Speed, Micro), cmp.Or(ch.Chips, n.Chips)
		out[at] = ch
	}
	return out, nil
}

func (c *Core) knownSites(names []string) error {
	for i, name := range names {
		if !slices.Contains(c.sites, name) {
			reason := fmt.Sprintf("site %q is not known", name)
			if near := nearest.Name(name, c.sites); near != "" {
				reason += fmt.Sprintf("; did you mean %q?", near)
			}
			return problem(fmt.Sprintf("sites[%d]", i), "%s", reason)
		}
	}
	return nil
}

// option lays a size out over the nodes of a pool: on one node what one can hold, else on as few as can be, all full but
// the last. False if the empty pool cannot hold it.
func (c *Core) option(p *pool, n *Need, ch Choice, size int) (option, bool) {
	o := option{site: p.site, chip: p.chip, pool: p.at, size: size, charge: int64(size) * Whole, within: n.Within, speed: muldiv(int64(max(1, size)), ch.Speed, 1)}
	if size == 0 || n.Share > 0 && n.Share < Whole {
		o.parts = []part{{1, ask{chips: size, share: cmp.Or(n.Share, Whole), cpu: n.CPUMilli, memo: n.MemoryMiB}}}
		o.charge = int64(size) * int64(o.parts[0].ask.share)
		return o, c.hosts(p, &o)
	}
	whole := func(chips int) ask {
		return ask{chips, Whole, int64(chips) * n.CPUMilli, int64(chips) * n.MemoryMiB}
	}
	o.each = whole(1)
	per, same := c.alike(p, &o.each)
	if per == 0 || n.Within == SameNode && size > per {
		return o, false
	}
	switch {
	case size <= per:
		o.parts = []part{{1, whole(size)}}
	case !same:
		o.mixed = true
		o.parts = c.layout(p, &o)
		return o, o.parts != nil
	default:
		o.parts = []part{{size / per, whole(per)}}
		if rest := size % per; rest > 0 {
			o.parts = append(o.parts, part{1, whole(rest)})
		}
	}
	return o, c.hosts(p, &o)
}

// hosts says whether the pool, empty, has the nodes an option needs, inside one part of the topology if it must be.
func (c *Core) hosts(p *pool, o *option) bool {
	return slices.ContainsFunc(c.groups(p, o.within), func(nodes []int32) bool { return c.enough(nodes, o) })
}

// enough says whether these nodes, empty, have room for all members.
func (c *Core) enough(nodes []int32, o *option) bool {
	used := 0
	for _, pt := range o.parts {
		fit := 0
		for _, n := range nodes {
			x := &c.nodes[n]
			if x.Chips >= pt.ask.chips && (x.CPUMilli == 0 && x.MemoryMiB == 0 || x.CPUMilli >= pt.ask.cpu && x.MemoryMiB >= pt.ask.memo) {
				fit++
			}
		}
		used += pt.members
		if fit < used {
			return false
		}
	}
	return true
}

// nearest is the largest size below the one asked for that the empty pool can hold.
func (c *Core) nearest(p *pool, n *Need, ch Choice, size int) int {
	lo, hi := 0, size
	for hi-lo > 1 { // what holds a size holds every smaller one but for remainders; near enough for advice
		mid := (lo + hi) / 2
		if _, ok := c.option(p, n, ch, mid); ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// shared is the menu with these options, the same one for all jobs that have them: what does not fit for one fits for
// none of them.
func (c *Core) shared(m *menu) *menu {
	var b strings.Builder
	for _, o := range m.options {
		fmt.Fprintf(&b, "%d,%d,%d,%d,%d,%v;", o.site, o.chip, o.size, o.within, o.speed, o.parts)
	}
	m.key = b.String()
	if have, ok := c.menus[m.key]; ok {
		return have
	}
	m.id = len(c.menuList)
	c.menus[m.key] = m
	c.menuList = append(c.menuList, m)
	return m
}

// menusKept is how many menus may be remembered beyond twice those in use.
const menusKept = 1024

// forgetMenus lets go of menus that no job has any more, once there are many: needs are as various as people are.
func (c *Core) forgetMenus() {
	if len(c.menuList) <= menusKept || c.copied {
		return
	}
	used := map[*menu]bool{}
	for _, w := range c.jobs {
		used[w.menu] = true
	}
	if len(c.menuList) <= menusKept+2*len(used) {
		return
	}
	list := c.menuList
	c.menuList, c.menus, c.needs = nil, map[string]*menu{}, map[needKey]*menu{}
	from := make([]int, 0, len(used)) // the old number of each that stays
	for i, m := range list {
		if used[m] {
			m.id = len(c.menuList)
			c.menuList, c.menus[m.key] = append(c.menuList, m), m
			from = append(from, i)
		}
	}
	for _, q := range c.queues {
		lanes := make([]*lane, len(from))
		for to, i := range from {
			if i < len(q.lanes) {
				lanes[to] = q.lanes[i]
			}
		}
		q.lanes = lanes
	}
	c.frees = nil
}

// chipSlot is where a class counts in lists that also count CPU-only work, at 0.
func chipSlot(chip int) int { return chip + 1 }
