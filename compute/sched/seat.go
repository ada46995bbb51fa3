package sched

import (
	"maps"
	"slices"

	"github.com/triarch-ai/triarch/compute/sched/place"
)

// seating chooses nodes and chips by what a choice leaves for the work that is usual here, and gangs by the lowest level
// of the topology that holds them: package place. The room beside it counts what is free; both are told of everything.
type seating struct {
	index  *place.Index
	number []int32 // of our nodes in the index
	node   []int32 // the reverse
	sites  []place.Domain
	chips  [][]string // of each class: its name alone
	mix    map[string]*place.Weighted
	asked  int64 // jobs so far
	mixed  int64 // of them when the index was told of the mix last
}

// laySeating makes the seating; a fleet with more chips on a node than an index takes goes without, by the tightest node.
func (c *Core) laySeating() {
	list := make([]place.Node, len(c.nodes))
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.Chips > place.MaxDevices || n.CPUMilli >= place.MaxAmount || n.MemoryMiB >= place.MaxAmount {
			return
		}
		list[i] = place.Node{Name: n.Name, CPU: n.CPUMilli, Memory: n.MemoryMiB, Devices: n.Chips, Chip: n.Chip, Links: n.Links, Path: []string{n.Site, n.Block, n.Rack}}
		if n.Chips == 0 {
			list[i].Chip = ""
		}
		if n.CPUMilli == 0 && n.MemoryMiB == 0 { // not counted
			list[i].CPU, list[i].Memory = place.MaxAmount-1, place.MaxAmount-1
		}
	}
	index, err := place.New(list, nil)
	if err != nil {
		return
	}
	s := &seating{index: index, number: make([]int32, len(c.nodes)), node: make([]int32, len(c.nodes)), sites: make([]place.Domain, len(c.sites)), mix: map[string]*place.Weighted{}}
	for i := range c.nodes {
		k, _ := index.Lookup(c.nodes[i].Name)
		s.number[i] = k
		if int(k) >= len(s.node) {
			s.node = append(s.node, make([]int32, int(k)+1-len(s.node))...)
		}
		s.node[k] = int32(i)
		index.Drain(k, c.nodes[i].State != Up)
		var out place.Mask
		for _, d := range c.nodes[i].Out {
			out |= 1 << d
		}
		if out != 0 && index.Take(place.Place{Node: k, Devices: out, Share: place.Whole}) != nil {
			return
		}
	}
	for i, name := range c.sites {
		s.sites[i], _ = index.Domain(name)
	}
	for _, ch := range c.chips {
		s.chips = append(s.chips, []string{ch.Name})
	}
	c.seating = s
}

// mixes bounds the kinds of requests that the index is told to expect.
const mixes = 512

// expect counts a job among what is usual here.
func (s *seating) expect(c *Core, m *menu) {
	if s == nil || m.largest == 0 {
		return
	}
	s.asked++
	o := &m.options[0]
	a := &o.parts[0].ask
	if w := s.mix[m.key]; w != nil {
		w.Count++
	} else if len(s.mix) < mixes {
		s.mix[m.key] = &place.Weighted{Count: 1, Ask: place.Ask{CPU: a.cpu, Memory: a.memo, Devices: a.chips, Share: int64(a.share), Chips: m.classes(c)}}
	}
}

// classes are the chips a menu allows; none where it allows all.
func (m *menu) classes(c *Core) []string {
	var names []string
	for i := range m.options {
		if k := m.options[i].chip; k >= 0 && !slices.Contains(names, c.chips[k].Name) {
			names = append(names, c.chips[k].Name)
		}
	}
	if len(names) == len(c.chips) {
		return nil
	}
	slices.Sort(names)
	return names
}

// learn tells the index what is usual, each time the number of jobs seen has doubled: it scores all nodes anew.
func (s *seating) learn() {
	const first = 64
	if s == nil || s.asked < max(first, 2*s.mixed) {
		return
	}
	s.mixed = s.asked
	list := make([]place.Weighted, 0, len(s.mix))
	for _, key := range slices.Sorted(maps.Keys(s.mix)) {
		list = append(list, *s.mix[key])
	}
	_ = s.index.SetMix(list) // a mix that is refused leaves the scores as they are
}

func (s *seating) clone() *seating {
	if s == nil {
		return nil
	}
	d := *s
	d.index = s.index.Clone()
	d.mix = map[string]*place.Weighted{} // a copy only looks ahead
	return &d
}

// choose proposes seats for all members of an option, or none. It takes nothing.
func (s *seating) choose(c *Core, o *option, may func(int32) bool) []Seat {
	scope := place.Scope{Domain: s.sites[o.site]}
	if may != nil {
		scope.Without = func(k int32) bool { return !may(s.node[k]) }
	}
	a := &o.parts[0].ask
	if o.size == 0 {
		return s.chooseCPU(c, o, a, scope)
	}
	if len(o.parts) == 1 && o.parts[0].members == 1 {
		p, ok := s.index.Find(place.Ask{CPU: a.cpu, Memory: a.memo, Devices: a.chips, Share: int64(a.share), Chips: s.chips[o.chip]}, scope)
		if !ok {
			return nil
		}
		return []Seat{s.seat(&p, a)}
	}
	per := int64(a.chips)
	places, ok := s.index.FindGang(place.Gang{Count: o.size, Block: a.chips,
		Member: place.Ask{CPU: a.cpu / per, Memory: a.memo / per, Devices: 1, Share: Whole, Chips: s.chips[o.chip]}}, scope)
	if !ok {
		return nil
	}
	return s.gather(o, places)
}

// chooseCPU proposes a seat for work without chips: the best node of its site if it is of the option's pool, else the best
// of that.
func (s *seating) chooseCPU(c *Core, o *option, a *ask, scope place.Scope) []Seat {
	want, without := place.Ask{CPU: a.cpu, Memory: a.memo}, scope.Without
	in := func(k int32) bool { return c.room.pool[s.node[k]] == o.pool && (without == nil || !without(k)) }
	scope.Without = nil // which is by far the faster search
	p, ok := s.index.Find(want, scope)
	if ok && !in(p.Node) {
		scope.Without = func(k int32) bool { return !in(k) }
		p, ok = s.index.Find(want, scope)
	}
	if !ok {
		return nil
	}
	return []Seat{s.seat(&p, a)}
}

// cpuFirst puts the entry with the best node for a job without chips in front, over all the sites that it may use: a
// node without chips, else one where it strands the fewest.
func (c *Core) cpuFirst(w *work, list []*option) []*option {
	if c.seating == nil || len(list) < 2 {
		return list
	}
	s, a := c.seating, &list[0].parts[0].ask
	scopes := []place.Scope{{}}
	if len(w.Need.Sites) > 0 {
		scopes = nil
		for i, d := range s.sites {
			if slices.Contains(w.Need.Sites, c.sites[i]) {
				scopes = append(scopes, place.Scope{Domain: d})
			}
		}
	}
	best := -1
	for _, scope := range scopes {
		p, ok := s.index.Find(place.Ask{CPU: a.cpu, Memory: a.memo}, scope)
		if !ok {
			continue
		}
		pool := c.room.pool[s.node[p.Node]]
		k := slices.IndexFunc(list, func(o *option) bool { return o.pool == pool })
		if k >= 0 && (best < 0 || list[k].chip < 0 && list[best].chip >= 0) {
			best = k
		}
	}
	if best > 0 {
		o := list[best]
		copy(list[1:best+1], list[:best])
		list[0] = o
	}
	return list
}

func (s *seating) seat(p *place.Place, a *ask) Seat {
	out := Seat{Node: s.node[p.Node], Chips: int32(a.chips), Share: int32(a.share), Devices: make([]int32, 0, a.chips)}
	for _, d := range p.Devices.List() {
		out.Devices = append(out.Devices, int32(d))
	}
	return out
}

// gather makes of one place for each chip one seat for each node, in the order of the option's parts.
func (s *seating) gather(o *option, places []place.Place) []Seat {
	var seats []Seat
	for i := range places {
		p := &places[i]
		if n := len(seats); n == 0 || seats[n-1].Node != s.node[p.Node] {
			seats = append(seats, Seat{Node: s.node[p.Node], Share: Whole})
		}
		x := &seats[len(seats)-1]
		x.Chips++
		for _, d := range p.Devices.List() {
			x.Devices = append(x.Devices, int32(d))
		}
	}
	k := 0
	for i := range o.parts {
		for range o.parts[i].members {
			if k == len(seats) || int(seats[k].Chips) != o.parts[i].ask.chips {
				return nil
			}
			k++
		}
	}
	return seats
}

func (s *seating) placeOf(seat *Seat, a *ask) place.Place {
	p := place.Place{Node: s.number[seat.Node], Share: int64(seat.Share), CPU: a.cpu, Memory: a.memo}
	if a.chips == 0 {
		p.Share = 0
	}
	for _, d := range seat.Devices {
		p.Devices |= 1 << d
	}
	return p
}

// within says whether seats lie inside one part of the topology of a level.
func (c *Core) within(seats []Seat, l Level) bool {
	if l == AnyLevel || l == SameSite {
		return true // an option is of one site
	}
	first := &c.nodes[seats[0].Node]
	for i := range seats[1:] {
		n := &c.nodes[seats[i+1].Node]
		if l == SameNode && n != first || n.Block != first.Block || l == SameRack && n.Rack != first.Rack {
			return false
		}
	}
	return true
}

// sit takes a seat, in the room and in the index. False if it is taken already.
func (c *Core) sit(s *Seat, a *ask) bool {
	if !c.room.sit(s, a) {
		return false
	}
	if c.seating != nil {
		if err := c.seating.index.Take(c.seating.placeOf(s, a)); err != nil {
			change := c.room.change[c.room.pool[s.Node]]
			c.room.leave(s, a)
			c.room.change[c.room.pool[s.Node]] = change
			return false
		}
	}
	return true
}

// leave gives a seat back, in the room and in the index.
func (c *Core) leave(s *Seat, a *ask) {
	c.room.leave(s, a)
	if c.seating != nil {
		_ = c.seating.index.Release(c.seating.placeOf(s, a)) // it was taken by sit; were it not, the room would still be right
	}
}
