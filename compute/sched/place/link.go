package place

import "github.com/triarch-ai/triarch/internal/fault"

// Link groups are the lowest level of the topology: devices of a node that are joined more closely than its others, as
// by NVLink. A node that declares none is one group.

// masks checks the link groups of a node and turns them into sets; nil where there are fewer than two.
func (n *Node) masks() ([]Mask, error) {
	var all Mask
	out := make([]Mask, len(n.Links))
	for i, g := range n.Links {
		for _, d := range g {
			if d < 0 || d >= n.Devices || all>>d&1 == 1 {
				return nil, fault.InvalidField("links", "node %s: device %d is not one of its %d, or in two link groups", n.Name, d, n.Devices)
			}
			all |= 1 << d
			out[i] |= 1 << d
		}
		if len(g) == 0 {
			return nil, fault.InvalidField("links", "node %s: a link group without devices", n.Name)
		}
	}
	if len(n.Links) > 0 && all.Count() != n.Devices {
		return nil, fault.InvalidField("links", "node %s: %d of its %d devices are in link groups", n.Name, all.Count(), n.Devices)
	}
	if len(out) < 2 {
		return nil, nil
	}
	return out, nil
}

// Linked chooses count of the devices in free, at least as many: inside one of the groups if one can give them, of those
// the one with the fewest devices in whole, which are the wholly free ones; else over as few groups as can be, of the
// last of which, the tightest, what is missing. The first of equals, and inside a group the first devices.
func Linked(free, whole Mask, groups []Mask, count int) (chosen Mask) {
	for count > 0 {
		best, fits := Mask(0), false
		for _, g := range groups {
			n, most := (g & free).Count(), (best & free).Count()
			switch {
			case n == 0:
			case n >= count && (!fits || (g&whole).Count() < (best&whole).Count()):
				best, fits = g, true
			case !fits && n < count && n > most:
				best = g
			}
		}
		take := first(best&free, count)
		if take == 0 {
			return chosen
		}
		chosen |= take
		free, whole = free&^take, whole&^take
		count -= take.Count()
	}
	return chosen
}

// first is the first devices of a set.
func first(m Mask, count int) (out Mask) {
	for ; m != 0 && count > 0; count-- {
		out |= m & -m
		m &= m - 1
	}
	return out
}

// with is the devices that have at least so much room.
func with(free []int16, room int16) (m Mask) {
	for d, f := range free {
		if f >= room {
			m |= 1 << d
		}
	}
	return m
}

// apart says whether whole devices for a class, which the node has, are in no one link group.
func (n *node) apart(devices int32) bool {
	if n.links == nil || devices < 2 {
		return false
	}
	free := with(n.free, Whole)
	for _, g := range n.links {
		if int32((g & free).Count()) >= devices {
			return false
		}
	}
	return true
}
