package sim

import "time"

// Use is how one model of chip at one site was used between Options.BookFrom and BookTo. Jobs that run on chips of several
// models count as what their first part lies on, which is all the same: a job runs on one model.
type Use struct {
	Site, Chip   int32   // of the fleet
	Chips        int64   // that the fleet has
	BusySeconds  float64 // chip-seconds held by jobs
	UpSeconds    float64 // chip-seconds of nodes that were up
	TotalSeconds float64 // chip-seconds of all, up or down
}

// use is the books of one model at one site.
type use struct {
	Use
	at       time.Duration
	busy, up int64 // thousandths of chips
}

// settle books what lies inside the window up to now.
func (u *use) settle(now, from, to time.Duration) {
	a, b := max(u.at, from), now
	if to > 0 {
		b = min(b, to)
	}
	u.at = now
	if b <= a {
		return
	}
	d := (b - a).Seconds()
	u.BusySeconds += d * float64(u.busy) / 1000
	u.UpSeconds += d * float64(u.up) / 1000
	u.TotalSeconds += d * float64(u.Chips)
}

// makeUses opens the books; every node is up.
func (w *World) makeUses() {
	w.uses = make([]use, len(w.fleet.Sites)*len(w.fleet.Chips))
	for i := range w.uses {
		w.uses[i] = use{Use: Use{Site: int32(i / len(w.fleet.Chips)), Chip: int32(i % len(w.fleet.Chips))}, at: w.now}
	}
	for i := range w.fleet.Nodes {
		if n := &w.fleet.Nodes[i]; n.Chip >= 0 {
			u := &w.uses[int(n.Site)*len(w.fleet.Chips)+int(n.Chip)]
			u.Chips += int64(n.Chips)
			u.up += 1000 * int64(n.Chips)
		}
	}
}

// useOf books chips of a pool as busy or up from now on, or as no longer so for negative numbers.
func (w *World) useOf(p *Pool, busy, up int64) {
	if p.Chip < 0 {
		return
	}
	u := &w.uses[int(p.Site)*len(w.fleet.Chips)+int(p.Chip)]
	u.settle(w.now, w.opt.BookFrom, w.opt.BookTo)
	u.busy += busy
	u.up += up
}

// used closes the books. A replay that ended before BookTo had nothing to do any more: its chips stood idle until then.
func (w *World) used() []Use {
	var out []Use
	for i := range w.uses {
		u := &w.uses[i]
		if u.settle(max(w.now, w.opt.BookTo), w.opt.BookFrom, w.opt.BookTo); u.Chips > 0 {
			out = append(out, u.Use)
		}
	}
	return out
}
