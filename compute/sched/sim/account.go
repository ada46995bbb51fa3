package sim

import "time"

// home is the books of a site; the last one is that of jobs bound to no site.
type home struct {
	at         time.Duration
	busy       int64   // thousandths of chips
	up         int64   // thousandths of chips on nodes that are up
	capacity   int64   // thousandths of chips
	demand     int64   // chips asked for by jobs that wait or run
	fragments  int64   // millionths of chips
	contention float64 // integral of max(1, demand/capacity), seconds
	busyTime   float64 // integral of busy, chip-seconds
	upTime     float64
	fragTime   float64
}

// settle books everything up to now at the present levels.
func (h *home) settle(now time.Duration) {
	if now == h.at {
		return
	}
	d := (now - h.at).Seconds()
	h.at = now
	h.busyTime += d * float64(h.busy) / 1000
	h.upTime += d * float64(h.up) / 1000
	h.fragTime += d * float64(h.fragments) / million
	if over := float64(h.demand) * 1000 / float64(max(1, h.capacity)); over > 1 {
		h.contention += d * over
	} else {
		h.contention += d
	}
}

// makeHomes opens the books and learns the mix of needs that fragments are measured by.
func (w *World) makeHomes() {
	sites := len(w.fleet.Sites)
	w.homes = make([]home, sites+1)
	for i := range w.fleet.Nodes {
		c := 1000 * int64(w.fleet.Nodes[i].Chips)
		w.homes[w.fleet.Nodes[i].Site].capacity += c
		w.homes[sites].capacity += c
	}
	for i := range w.homes {
		w.homes[i].at, w.homes[i].up = w.now, w.homes[i].capacity
	}
	w.makeUses()
	w.series.start(w.now)
	for p := range w.pools {
		w.pools[p].table = w.fragTable(&w.pools[p])
	}
	for i := range w.node {
		w.refrag(int32(i))
	}
}

// fragTable says, by number of wholly free chips of a node, how much of them a job drawn from the trace cannot use, in
// millionths of chips: the fragment measure of "Beware of Fragmentation" (Weng et al., USENIX ATC 2023) over jobs that
// ask for chips, without CPU and memory. What is free on shared chips is left out.
func (w *World) fragTable(p *pool) []int64 {
	if p.Size == 0 {
		return []int64{0}
	}
	hosts := make([]int64, p.Size+1) // jobs that a node with so many free chips can host
	var all int64
	for j := range w.jobs {
		s, c := &w.jobs[j].Spec, &w.classes[w.job[j].class]
		if s.Chips == 0 || c.site >= 0 && c.site != p.Site || c.refusal != "" {
			continue
		}
		all++
		need := s.Chips
		if need > p.Size {
			if need %= p.Size; need == 0 {
				need = p.Size
			}
		}
		hosts[need]++
	}
	table := make([]int64, p.Size+1)
	var can int64
	for free := range table {
		if can += hosts[free]; all > 0 {
			table[free] = mulDiv(int64(free)*million, all-can, all)
		}
	}
	return table
}

func (w *World) refrag(node int32) {
	n := &w.node[node]
	p := &w.pools[n.pool]
	if p.table == nil {
		return
	}
	if f := p.table[n.free]; f != n.frag {
		h := &w.homes[p.Site]
		h.settle(w.now)
		h.fragments += f - n.frag
		n.frag = f
	}
}

func (w *World) unfrag(node int32) {
	n := &w.node[node]
	h := &w.homes[w.pools[n.pool].Site]
	h.settle(w.now)
	h.fragments -= n.frag
	n.frag = 0
}

// capacityUp books nodes that go or come.
func (w *World) capacityUp(p *Pool, milli int64) {
	if w.homes == nil {
		return
	}
	w.useOf(p, 0, milli)
	h := &w.homes[p.Site]
	h.settle(w.now)
	h.up += milli
}

// occupy books chips of a job's site as busy, or as free again for a negative number.
func (w *World) occupy(j int32, milli int64) {
	p := &w.pools[w.node[w.job[j].first.Node].pool]
	h := &w.homes[p.Site]
	h.settle(w.now)
	h.busy += milli
	w.useOf(&p.Pool, milli, 0)
	w.busy += milli
}

// advance moves the clock.
func (w *World) advance(at time.Duration) {
	w.series.add(w.now, at, w.busy, w.waiting)
	w.now = at
}

// Samples is how many points a series over time has at most.
const Samples = 512

// series keeps means over equal stretches of time; when the end is passed, pairs are merged and stretches double.
type series struct {
	from, width time.Duration
	busy, wait  [Samples]float64 // integrals over the stretch, in chip-seconds and job-seconds
	used        int
}

func (s *series) start(at time.Duration) { s.from, s.width = at, time.Minute }

func (s *series) add(a, b time.Duration, busy int64, waiting int) {
	for a < b {
		i := int((a - s.from) / s.width)
		for i >= Samples {
			s.double()
			i = int((a - s.from) / s.width)
		}
		end := min(b, s.from+time.Duration(i+1)*s.width)
		d := (end - a).Seconds()
		s.busy[i] += d * float64(busy) / 1000
		s.wait[i] += d * float64(waiting)
		s.used = i + 1
		a = end
	}
}

func (s *series) double() {
	for i := range Samples / 2 {
		s.busy[i] = s.busy[2*i] + s.busy[2*i+1]
		s.wait[i] = s.wait[2*i] + s.wait[2*i+1]
	}
	clear(s.busy[Samples/2:])
	clear(s.wait[Samples/2:])
	s.width *= 2
	s.used = (s.used + 1) / 2
}
