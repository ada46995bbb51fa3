package sim

import "slices"

// Fit is a placement for a waiting job on what is free now: the first pool that has one, in it the node with the
// fewest free chips that suffice, the first of equals; beyond the size of a node the first wholly free nodes and the
// best node for the remainder. An elastic job gets the number it asked for. It changes nothing; the parts are valid
// until the next call.
func (w *World) Fit(j int32) ([]Part, bool) {
	for _, p := range w.classes[w.job[j].class].pools {
		if parts, ok := w.FitIn(j, p, w.jobs[j].Chips); ok {
			return parts, true
		}
	}
	return nil, false
}

// PoolsOf lists the pools that could run the job on an empty fleet; not to be changed.
func (w *World) PoolsOf(j int32) []int32 { return w.classes[w.job[j].class].pools }

// FitIn is Fit within one pool and for a number of chips.
func (w *World) FitIn(j, pool, chips int32) ([]Part, bool) {
	p, spec := &w.pools[pool], &w.jobs[j].Spec
	w.scratch = w.scratch[:0]
	switch {
	case chips == 0 || spec.Share < 1000:
		return w.fitSmall(j, p)
	case len(p.kin) > 1 && chips > w.pools[p.kin[0]].Size:
		return w.fitUnlike(j, p, chips)
	case int64(chips) > p.free:
		return nil, false
	case chips <= p.Size:
		node := w.best(j, p, chips, chips)
		if node < 0 {
			return nil, false
		}
		w.scratch = append(w.scratch, Part{Node: node, Chips: chips, Device: -1})
		return w.scratch, true
	}
	return w.fitGang(j, p, chips)
}

// best is the node with the fewest free chips, at least low and below the nodes already in scratch, that has room for
// a part of chips.
func (w *World) best(j int32, p *pool, low, chips int32) int32 {
	cpu, memory := w.portion(j, chips)
	for free := low; free <= p.Size; free++ {
		level := &p.level[free]
		for slot := level.next(0); slot >= 0; slot = level.next(slot + 1) {
			node := p.Nodes[slot]
			if n := &w.node[node]; cpu <= n.cpu && memory <= n.memory && !w.chosen(node) {
				return node
			}
		}
	}
	return -1
}

func (w *World) chosen(node int32) bool {
	// Only a remainder looks for a node while others are chosen, and only wholly free ones can be among them.
	if len(w.scratch) == 0 || w.node[node].free < w.pools[w.node[node].pool].Size {
		return false
	}
	for i := range w.scratch {
		if w.scratch[i].Node == node {
			return true
		}
	}
	return false
}

// fitGang is whole free nodes and one remainder.
func (w *World) fitGang(j int32, p *pool, chips int32) ([]Part, bool) {
	need, rest := chips/p.Size, chips%p.Size
	cpu, memory := w.portion(j, p.Size)
	level := &p.level[p.Size]
	for slot := level.next(0); slot >= 0 && need > 0; slot = level.next(slot + 1) {
		node := p.Nodes[slot]
		if n := &w.node[node]; cpu <= n.cpu && memory <= n.memory {
			w.scratch = append(w.scratch, Part{Node: node, Chips: p.Size, Device: -1})
			need--
		}
	}
	if need > 0 {
		return nil, false
	}
	if rest > 0 {
		node := w.best(j, p, rest, rest)
		if node < 0 {
			return nil, false
		}
		w.scratch = append(w.scratch, Part{Node: node, Chips: rest, Device: -1})
	}
	return w.scratch, true
}

// fitUnlike is fitGang over all pools of a site and chip: wholly free nodes, the largest first, and for what is then
// missing the best node for it.
func (w *World) fitUnlike(j int32, p *pool, chips int32) ([]Part, bool) {
	for _, k := range p.kin {
		pl := &w.pools[k]
		cpu, memory := w.portion(j, pl.Size)
		level := &pl.level[pl.Size]
		for slot := level.next(0); slot >= 0 && chips > pl.Size; slot = level.next(slot + 1) {
			node := pl.Nodes[slot]
			if n := &w.node[node]; cpu <= n.cpu && memory <= n.memory {
				w.scratch = append(w.scratch, Part{Node: node, Chips: pl.Size, Device: -1})
				chips -= pl.Size
			}
		}
		for _, kin := range slices.Backward(p.kin) { // the smallest nodes first
			last := &w.pools[kin]
			if chips > last.Size {
				continue
			}
			if node := w.best(j, last, chips, chips); node >= 0 {
				w.scratch = append(w.scratch, Part{Node: node, Chips: chips, Device: -1})
				return w.scratch, true
			}
		}
	}
	return nil, false
}

// fitSmall places a share of a chip (where the least room suffices) or CPU only work (where the least CPU suffices).
func (w *World) fitSmall(j int32, p *pool) ([]Part, bool) {
	spec := &w.jobs[j].Spec
	best, least := Part{Node: -1}, int64(1)<<62
	for _, node := range p.Nodes {
		n := &w.node[node]
		if n.down || spec.CPU > n.cpu || spec.Memory > n.memory {
			continue
		}
		part, room := Part{Node: node, Device: -1}, n.cpu
		if spec.Chips > 0 {
			if part.Device = w.device(node, -1, int16(spec.Share)); part.Device < 0 {
				continue
			}
			part.Chips, room = 1, int64(w.devices[n.dev+part.Device])
		}
		if room < least {
			best, least = part, room
		}
	}
	if best.Node < 0 {
		return nil, false
	}
	w.scratch = append(w.scratch, best)
	return w.scratch, true
}
