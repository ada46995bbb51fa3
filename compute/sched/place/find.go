package place

// Scope narrows a search. The zero Scope is the whole index.
type Scope struct {
	Domain  Domain                  // only nodes of this domain
	Without func(number int32) bool // leaves nodes out; nil leaves out none
	Ties    func(n int) int         // picks one of n equals, 0 to n-1; nil takes the first
}

// Find proposes the best node and devices for one member, ok is false if none can hold it now or the ask is
// not valid. It changes nothing: give the place to Take.
func (x *Index) Find(a Ask, s Scope) (p Place, ok bool) {
	if a.Validate() != nil {
		return Place{}, false
	}
	c := x.class(&a)
	at := x.search(c, s)
	if at < 0 {
		return Place{}, false
	}
	return x.placeOn(c, &x.nodes[at]), true
}

func (x *Index) placeOn(c *class, n *node) Place {
	return Place{Node: n.slot, Devices: x.devices(c, n), Share: c.ask.Share, CPU: c.ask.CPU, Memory: c.ask.Memory}
}

// search is the position of the best node in scope, -1 if there is none.
func (x *Index) search(c *class, s Scope) int32 {
	lo, hi := x.bounds(s.Domain)
	switch {
	case s.Without == nil && s.Ties == nil && lo == 0 && hi == len(x.nodes):
		return c.first()
	case s.Without == nil && s.Ties == nil:
		return c.firstIn(lo, hi)
	}
	best, worth, equals := int32(-1), int64(none), 0
	for i := lo; i < hi; i++ {
		if i%fanOut == 0 && s.Ties == nil && len(c.up) > 0 {
			for i+fanOut <= hi && c.up[0][i/fanOut] <= worth { // nothing better there
				i += fanOut
			}
			if i == hi {
				break
			}
		}
		w := c.leaf[i]
		if w == none || w < worth || s.Without != nil && s.Without(x.nodes[i].slot) {
			continue
		}
		if w > worth {
			best, worth, equals = int32(i), w, 1
			continue
		}
		equals++
	}
	if s.Ties == nil || equals < 2 {
		return best
	}
	for i, skip := int(best), s.Ties(equals); i < hi; i++ {
		if c.leaf[i] != worth || s.Without != nil && s.Without(x.nodes[i].slot) {
			continue
		}
		if skip--; skip < 0 {
			return int32(i)
		}
	}
	return best
}

// firstIn is first among the leaves from lo to hi, hi not included.
func (c *class) firstIn(lo, hi int) int32 {
	best, worth := -1, int64(none)
	for i := lo; i < hi; {
		if i%fanOut == 0 && i+fanOut <= hi && c.up[0][i/fanOut] <= worth {
			i += fanOut
			continue
		}
		if c.leaf[i] > worth {
			best, worth = i, c.leaf[i]
		}
		i++
	}
	return int32(best)
}

// Why says what keeps the nodes in scope from holding the ask now. It looks at every node: ask when somebody
// wants to know. For an ask that is not valid it is empty.
func (x *Index) Why(a Ask, s Scope) Refusal {
	var r Refusal
	if a.Validate() != nil {
		return r
	}
	c := x.class(&a)
	lo, hi := x.bounds(s.Domain)
	for i := lo; i < hi; i++ {
		n := &x.nodes[i]
		r.Nodes++
		chips := c.key.devices == 0 || n.chip >= 0 && (c.allowed == nil || c.allowed[n.chip])
		if !n.away && (!chips || len(n.free) < int(c.key.devices) || n.spec.CPU < a.CPU || n.spec.Memory < a.Memory) {
			r.Never++
		}
		switch {
		case n.away || s.Without != nil && s.Without(n.slot):
			r.Away++
		case !chips:
			r.Chips++
		case n.roomy(c.key.share) < int(c.key.devices):
			r.Devices++
		case n.cpu < a.CPU:
			r.CPU++
		case n.memory < a.Memory:
			r.Memory++
		}
	}
	return r
}

// roomy counts the devices with room for a share.
func (n *node) roomy(share int32) int {
	count := 0
	for _, f := range n.free {
		if int32(f) >= share {
			count++
		}
	}
	return count
}
