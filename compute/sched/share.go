package sched

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Shares of chips. Quotas count them in thousandths, as what they are. What leaving jobs make room for is told by device on
// a node with shares: a chip is free only when all that share it have left.

// shares says whether an option is a share of a chip.
func (o *option) shares() bool { return o.size > 0 && o.parts[0].ask.share < Whole }

// counted turns two amounts in thousandths into what an explanation of this option counts in. Parts of a chip are dropped.
func (o *option) counted(have, want int64) (int64, int64, string) {
	if o.shares() {
		return have, want, "thousandths"
	}
	return have / Whole, want / Whole, "chips"
}

// amount is a number of chips in words, from thousandths.
func amount(milli int64) string {
	if milli%Whole == 0 {
		return fmt.Sprint(milli / Whole)
	}
	return strings.TrimRight(fmt.Sprintf("%d.%03d", milli/Whole, milli%Whole), "0")
}

// roomiest is the most that one chip of a pool has left, on nodes that take work.
func (c *Core) roomiest(pool int32) (most int64) {
	for _, n := range c.pools[pool].nodes {
		if f := &c.room.free[n]; f.open {
			for _, x := range f.devices {
				most = max(most, int64(x))
			}
		}
	}
	return most
}

// divided says whether it takes the devices one by one to tell what leaving jobs make room for.
func (c *Core) divided(n int32, a *ask) bool {
	if a.chips > 0 && a.share < Whole {
		return true
	}
	return c.shares && slices.ContainsFunc(c.onNode[n], func(v *work) bool { return v.opt.shares() })
}

// apart is a copy of what a node has free, to try on it.
func (f *free) apart() free {
	d := *f
	d.devices, d.open = slices.Clone(f.devices), true
	return d
}

// without adds what a job holds of a node (sign 1), or takes it away again (-1).
func (f *free) without(w *work, n int32, sign int32) {
	for i := range w.seats {
		s := &w.seats[i]
		if s.Node != n {
			continue
		}
		a := w.opt.askOf(s)
		f.cpu, f.memo = f.cpu+int64(sign)*a.cpu, f.memo+int64(sign)*a.memo
		for _, d := range s.Devices {
			if f.devices[d] == Whole {
				f.whole--
			}
			if f.devices[d] += sign * s.Share; f.devices[d] == Whole {
				f.whole++
			}
		}
	}
}

// holds says whether a member fits on what is free.
func (f *free) holds(a *ask) bool {
	if f.counted && (f.cpu < a.cpu || f.memo < a.memo) {
		return false
	}
	if a.chips > 0 && a.share < Whole {
		return f.tightest(int32(a.share)) >= 0
	}
	return int(f.whole) >= a.chips
}

// freeAtShares is freeAt by device, with what runs on the node in the order in which it ends.
func (c *Core) freeAtShares(n int32, a *ask, runs []*work) (int64, bool) {
	f := c.room.free[n].apart()
	for _, r := range runs {
		if f.without(r, n, 1); f.holds(a) {
			return r.goneBy, r.goneBy < maxInt
		}
	}
	return 0, false
}

// evictShares is evict by device.
func (c *Core) evictShares(w *work, o *option, n int32, a *ask, from whose, chosen map[*work]bool) evicted {
	e := evicted{node: n}
	f := c.room.free[n].apart()
	var list []victim
	for _, v := range c.onNode[n] {
		if chosen[v] {
			f.without(v, n, 1)
		} else if _, ok := c.right(w, o, v); ok && (from&own != 0 || v.q != w.q) && (from&others != 0 || v.q == w.q) {
			class, lost := c.loss(v)
			list = append(list, victim{v, class, lost})
		}
	}
	slices.SortFunc(list, func(x, y victim) int {
		return cmp.Or(cmp.Compare(x.class, y.class), cmp.Compare(x.lost, y.lost), cmp.Compare(y.w.number, x.w.number))
	})
	var taken []victim
	for _, v := range list {
		if f.holds(a) {
			break
		}
		if v.w.Kind == Service && !c.spare(v.w, alsoChosen(chosen, taken)) {
			continue
		}
		f.without(v.w, n, 1)
		taken = append(taken, v)
	}
	if e.enough = f.holds(a); !e.enough {
		return e
	}
	for i := len(taken) - 1; i >= 0 && len(taken) > 1; i-- { // the dearest that are not needed stay
		if f.without(taken[i].w, n, -1); f.holds(a) {
			taken = slices.Delete(taken, i, i+1)
		} else {
			f.without(taken[i].w, n, 1)
		}
	}
	for _, v := range taken {
		e.victims = append(e.victims, v.w)
		e.class = max(e.class, v.class)
		e.lost += v.lost
	}
	return e
}
