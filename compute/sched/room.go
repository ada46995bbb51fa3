package sched

import (
	"math/bits"

	"github.com/triarch-ai/triarch/compute/sched/place"
)

// Seat is what one member of a job holds of a node.
type Seat struct {
	Node    int32 // index into the nodes by name
	Chips   int32
	Share   int32 // thousandths of each chip
	Devices []int32
}

// free is what a node has left.
type free struct {
	whole     int32 // chips that nobody uses
	cpu, memo int64
	counted   bool    // CPU and memory are counted
	open      bool    // it takes new work
	devices   []int32 // thousandths left of each chip
}

// room keeps what is free on every node, and for each pool the nodes by the number of their free chips, so that the
// tightest node is found without looking at the others.
type room struct {
	free   []free
	pool   []int32 // of each node, -1 = none
	slot   []int32 // position of a node in its pool
	pools  []buckets
	links  map[int32][]place.Mask // of nodes with several link groups
	change []int64                // by pool: counts what gave room back; what did not fit before may fit when it has moved on
}

// buckets has a bit set of positions for each number of free chips. Nodes that take no work are in none.
type buckets struct {
	nodes []int32
	sets  [][]uint64
	idle  int64 // free whole chips on nodes that take work
}

func newRoom(nodes []Node, pools []*pool) *room {
	r := &room{free: make([]free, len(nodes)), pool: make([]int32, len(nodes)), slot: make([]int32, len(nodes)), pools: make([]buckets, len(pools)), links: map[int32][]place.Mask{}, change: make([]int64, len(pools))}
	for i, p := range pools {
		b := buckets{nodes: p.nodes, sets: make([][]uint64, p.perNode+1)}
		for k := range b.sets {
			b.sets[k] = make([]uint64, (len(p.nodes)+63)/64)
		}
		r.pools[i] = b
		for k, n := range p.nodes {
			r.pool[n], r.slot[n] = int32(i), int32(k)
		}
	}
	for i := range nodes {
		n := &nodes[i]
		f := free{whole: int32(n.Chips), cpu: n.CPUMilli, memo: n.MemoryMiB, counted: n.CPUMilli != 0 || n.MemoryMiB != 0}
		f.devices = make([]int32, n.Chips)
		for d := range f.devices {
			f.devices[d] = Whole
		}
		for _, d := range n.Out {
			f.devices[d] = 0
			f.whole--
		}
		r.free[i] = f
		if len(n.Links) > 1 && n.Chips <= place.MaxDevices {
			r.links[int32(i)] = masks(n.Links)
		}
		r.setOpen(int32(i), n.State == Up)
	}
	return r
}

func masks(groups [][]int) []place.Mask {
	out := make([]place.Mask, len(groups))
	for i, g := range groups {
		for _, d := range g {
			out[i] |= 1 << d
		}
	}
	return out
}

func (r *room) setOpen(n int32, open bool) {
	f := &r.free[n]
	if f.open == open {
		return
	}
	if f.open {
		r.file(n, false)
	}
	f.open = open
	if open {
		r.file(n, true)
		r.change[r.pool[n]]++
	}
}

// file puts an open node into the bucket of its free chips, or takes it out.
func (r *room) file(n int32, in bool) {
	f, b := &r.free[n], &r.pools[r.pool[n]]
	if !f.open {
		return
	}
	word, bit := r.slot[n]/64, uint64(1)<<(r.slot[n]%64)
	if in {
		b.sets[f.whole][word] |= bit
		b.idle += int64(f.whole)
	} else {
		b.sets[f.whole][word] &^= bit
		b.idle -= int64(f.whole)
	}
}

// fits says whether a member can sit on a node as it is.
func (r *room) fits(n int32, a *ask) bool {
	f := &r.free[n]
	return f.open && f.holds(a)
}

// tightest is the device with the least room that suffices for a share.
func (f *free) tightest(share int32) int {
	best := -1
	for d, left := range f.devices {
		if left >= share && (best < 0 || left < f.devices[best]) {
			best = d
		}
	}
	return best
}

// find looks for a node for one member: the fewest free chips that suffice, then the first by name, among those that
// may be used. -1 if there is none.
func (r *room) find(pool int32, a *ask, may func(int32) bool) int32 {
	b := &r.pools[pool]
	least := a.chips
	if a.share < Whole {
		least = 0 // a chip in use may have room
	}
	for k := least; k < len(b.sets); k++ {
		for w, word := range b.sets[k] {
			for ; word != 0; word &= word - 1 {
				n := b.nodes[w*64+bits.TrailingZeros64(word)]
				if (may == nil || may(n)) && r.fits(n, a) {
					return n
				}
			}
		}
	}
	return -1
}

// propose is the seat that a member would take of a node that it fits on.
func (r *room) propose(n int32, a *ask) Seat {
	f := &r.free[n]
	s := Seat{Node: n, Chips: int32(a.chips), Share: int32(a.share), Devices: make([]int32, 0, a.chips)}
	if a.chips > 0 && a.share < Whole {
		s.Devices = append(s.Devices, int32(f.tightest(int32(a.share))))
		return s
	}
	if groups := r.links[n]; groups != nil {
		var whole place.Mask
		for d, x := range f.devices {
			if x == Whole {
				whole |= 1 << d
			}
		}
		for _, d := range place.Linked(whole, whole, groups, a.chips).List() {
			s.Devices = append(s.Devices, int32(d))
		}
		return s
	}
	for d := 0; len(s.Devices) < a.chips; d++ {
		if f.devices[d] == Whole {
			s.Devices = append(s.Devices, int32(d))
		}
	}
	return s
}

// sit takes a seat. False if it is taken.
func (r *room) sit(s *Seat, a *ask) bool {
	f := &r.free[s.Node]
	if f.counted && (f.cpu < a.cpu || f.memo < a.memo) {
		return false
	}
	for _, d := range s.Devices {
		if int(d) >= len(f.devices) || f.devices[d] < s.Share {
			return false
		}
	}
	r.file(s.Node, false)
	for _, d := range s.Devices {
		if f.devices[d] == Whole {
			f.whole--
		}
		f.devices[d] -= s.Share
	}
	f.cpu -= a.cpu
	f.memo -= a.memo
	r.file(s.Node, true)
	return true
}

// leave gives a seat back.
func (r *room) leave(s *Seat, a *ask) {
	r.file(s.Node, false)
	f := &r.free[s.Node]
	for _, d := range s.Devices {
		f.devices[d] += s.Share
		if f.devices[d] == Whole {
			f.whole++
		}
	}
	f.cpu += a.cpu
	f.memo += a.memo
	r.file(s.Node, true)
	r.change[r.pool[s.Node]]++
}
