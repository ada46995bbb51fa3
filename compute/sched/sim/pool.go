package sim

import (
	"math/bits"
	"slices"
)

// nodeState is what is free on a node.
type nodeState struct {
	cpu, memory int64
	jobs        []int32 // those that have a part here, in no order that means anything
	frag        int64   // its contribution to the site's fragments, in millionths of chips
	pool        int32
	slot        int32 // its number in the pool
	free        int32 // wholly free chips
	dev         int32 // its first chip in World.devices
	down        bool
}

// Pool is a set of nodes that are alike: one site, one chip, one number of chips, one price.
type Pool struct {
	Site, Chip int32 // Chip is -1 for machines without
	Size       int32 // chips of a node
	Nodes      []int32
}

type pool struct {
	Pool
	free  int64 // wholly free chips on nodes that are up
	up    int32
	kin   []int32 // the pools of the same site and chip, the largest nodes first: a gang may lie over all of them
	level []set   // by number of wholly free chips: the slots of the nodes that have so many
	table []int64
}

// makePools groups the nodes and lists them as free.
func (w *World) makePools() {
	type key struct {
		site, chip, size int32
		price            int64
	}
	at := map[key]int32{}
	w.node = make([]nodeState, len(w.fleet.Nodes))
	devices := int32(0)
	for i := range w.fleet.Nodes {
		n := &w.fleet.Nodes[i]
		k := key{n.Site, n.Chip, n.Chips, n.Price}
		p, known := at[k]
		if !known {
			p = int32(len(w.pools))
			at[k] = p
			w.pools = append(w.pools, pool{Pool: Pool{Site: n.Site, Chip: n.Chip, Size: n.Chips}})
		}
		w.node[i] = nodeState{cpu: n.CPU, memory: n.Memory, pool: p, slot: int32(len(w.pools[p].Nodes)), free: n.Chips, dev: devices}
		devices += n.Chips
		w.pools[p].Nodes = append(w.pools[p].Nodes, int32(i))
		w.capacity += 1000 * int64(n.Chips)
	}
	if slices.ContainsFunc(w.jobs, sharing) {
		w.devices = make([]int16, devices)
		for i := range w.devices {
			w.devices[i] = 1000
		}
	}
	for p := range w.pools {
		pl := &w.pools[p]
		for k := range w.pools {
			if o := &w.pools[k]; o.Site == pl.Site && o.Chip == pl.Chip {
				pl.kin = append(pl.kin, int32(k))
			}
		}
		slices.SortStableFunc(pl.kin, func(a, b int32) int { return int(w.pools[b].Size - w.pools[a].Size) })
		pl.level = make([]set, pl.Size+1)
		for l := range pl.level {
			pl.level[l] = newSet(len(pl.Nodes))
		}
	}
	for i := range w.node {
		w.list(int32(i))
	}
}

// Pools are the kinds of nodes, in the order of the fleet; not to be changed.
func (w *World) Pools() int { return len(w.pools) }

// Pool is one kind of nodes.
func (w *World) Pool(p int32) *Pool { return &w.pools[p].Pool }

// PoolFree counts the wholly free chips of the pool's nodes that are up.
func (w *World) PoolFree(p int32) int64 { return w.pools[p].free }

// PoolUp counts the pool's nodes that are up.
func (w *World) PoolUp(p int32) int32 { return w.pools[p].up }

// PoolOf is the pool of a node.
func (w *World) PoolOf(node int32) int32 { return w.node[node].pool }

// Free is what is free on a node: wholly free chips, CPU in thousandths of a core, MiB of memory. Nothing on one that
// is down.
func (w *World) Free(node int32) (chips int32, cpu, memory int64) {
	n := &w.node[node]
	if n.down {
		return 0, 0, 0
	}
	return n.free, n.cpu, n.memory
}

// Down says whether the node has failed and is not yet repaired.
func (w *World) Down(node int32) bool { return w.node[node].down }

// Room is what is free on one chip of a node, in thousandths; below 0 for one that is taken whole.
func (w *World) Room(node, device int32) int16 {
	if w.devices == nil {
		panic("sim: Room is for traces that share chips; others count whole ones (Free)")
	}
	return w.devices[w.node[node].dev+device]
}

// On lists the jobs that have a part on the node, in an order that depends only on the history. Valid until the next
// action.
func (w *World) On(node int32) []int32 { return w.node[node].jobs }

// list has an up node be found by what is free on it; unlist the reverse.
func (w *World) list(node int32) {
	n := &w.node[node]
	p := &w.pools[n.pool]
	p.level[n.free].add(n.slot)
	p.free += int64(n.free)
	p.up++
	w.capacityUp(&p.Pool, 1000*int64(p.Size))
	w.refrag(node)
}

func (w *World) unlist(node int32) {
	n := &w.node[node]
	p := &w.pools[n.pool]
	p.level[n.free].remove(n.slot)
	p.free -= int64(n.free)
	p.up--
	w.capacityUp(&p.Pool, -1000*int64(p.Size))
	w.unfrag(node)
}

// relevel moves a node to the level of its new number of free chips.
func (w *World) relevel(node, free int32) {
	n := &w.node[node]
	if free == n.free {
		return
	}
	p := &w.pools[n.pool]
	p.level[n.free].remove(n.slot)
	p.free += int64(free - n.free)
	n.free = free
	p.level[free].add(n.slot)
}

// take has a part be held; a share's part learns its device.
func (w *World) take(j int32, p *Part) {
	n := &w.node[p.Node]
	cpu, memory := w.portion(j, p.Chips)
	n.cpu -= cpu
	n.memory -= memory
	n.jobs = append(n.jobs, j)
	if share := w.jobs[j].Share; p.Chips > 0 {
		if share < 1000 {
			p.Device = w.device(p.Node, p.Device, int16(share))
			w.setRoom(n, p.Device, -int16(share))
			w.relevel(p.Node, w.whole(n, p.Node))
		} else {
			w.takeWhole(n, p.Chips)
			w.relevel(p.Node, n.free-p.Chips)
		}
	}
	w.refrag(p.Node)
}

// give is take undone.
func (w *World) give(j int32, p *Part) {
	n := &w.node[p.Node]
	cpu, memory := w.portion(j, p.Chips)
	n.cpu += cpu
	n.memory += memory
	i := slices.Index(n.jobs, j)
	n.jobs = slices.Delete(n.jobs, i, i+1)
	if share := w.jobs[j].Share; p.Chips > 0 {
		if share < 1000 {
			w.setRoom(n, p.Device, int16(share))
			w.relevel(p.Node, w.whole(n, p.Node))
		} else {
			w.giveWhole(n, p.Chips)
			w.relevel(p.Node, n.free+p.Chips)
		}
	}
	w.refrag(p.Node)
}

func (w *World) setRoom(n *nodeState, device int32, by int16) { w.devices[n.dev+device] += by }

// whole counts the wholly free chips of a node of a trace with shares.
func (w *World) whole(n *nodeState, node int32) int32 {
	free := int32(0)
	for d := range w.fleet.Nodes[node].Chips {
		if w.devices[n.dev+d] == 1000 {
			free++
		}
	}
	return free
}

// takeWhole and giveWhole keep the chips' room true where shares are asked for: whole jobs take the first free chips,
// and since which of a node's taken chips is whose changes nothing, they give back the first taken whole ones. A chip
// taken whole has room -1, so that it is not mistaken for one whose shares add up to 1000.
func (w *World) takeWhole(n *nodeState, chips int32) { w.flip(n, chips, 1000, -1) }
func (w *World) giveWhole(n *nodeState, chips int32) { w.flip(n, chips, -1, 1000) }

func (w *World) flip(n *nodeState, chips int32, from, to int16) {
	if w.devices == nil {
		return
	}
	for d := n.dev; chips > 0; d++ {
		if w.devices[d] == from {
			w.devices[d] = to
			chips--
		}
	}
}

// device is the chip of the node that a share goes to: the asked one if it has room, or for -1 the one with the least
// room that suffices; -1 where there is none.
func (w *World) device(node, asked int32, share int16) int32 {
	n, chips := &w.node[node], w.fleet.Nodes[node].Chips
	if asked >= 0 {
		if asked < chips && w.devices[n.dev+asked] >= share {
			return asked
		}
		return -1
	}
	best, least := int32(-1), int16(1001)
	for d := range chips {
		if room := w.devices[n.dev+d]; room >= share && room < least {
			best, least = d, room
		}
	}
	return best
}

// mulDiv is a*b/c without overflow in between; for a, b >= 0 and c > 0.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return int64(never)
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(q, uint64(never)))
}
