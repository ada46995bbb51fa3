package sched

import (
	"cmp"
	"fmt"
	"slices"
)

// Change is one entry of the menu of changes that may start a waiting job now.
//
// The menu, with what a change is taken to cost, so that the cheapest is one and the same for everybody: another class
// of chips beside those allowed 100; another site beside those allowed 200; less CPU and memory for each chip, a quarter, a half or
// three quarters less, 300, 310, 320; another queue 400; fewer chips, in steps of a 64th of them, 500 and up to 499 more by the
// part that is given up; more quota 1,000 and one more for each chip. Equal ones go by the order told here and then by name.
// To come later is no entry: that is what the expected start tells.
type Change struct {
	Kind   string // "chip", "site", "smaller", "queue", "less", "quota"
	Name   string // of the class, site or queue
	To     int    // chips, or the part of CPU and memory that stays, in quarters
	Cost   int64
	Reason string

	apply func(*Job, *Core)
}

// Cheapest is the cheapest change of the menu that would start a waiting job at once, without any other job's losing
// its place in a way it could not lose it anyway; nil if there is none. Each is tried on a copy of this core, by a plan.
func (c *Core) Cheapest(id string) *Change { return c.CheapestOf(id, nil) }

// CheapestOf is Cheapest among the changes that may be named; nil = all.
func (c *Core) CheapestOf(id string, may func(*Change) bool) *Change {
	w := c.jobs[id]
	if w == nil || w.status != waiting || w.Hold || len(w.After) > 0 || w.NotBefore > c.now {
		return nil
	}
	for _, ch := range c.changes(w) {
		if (may == nil || may(&ch)) && c.starts(w, &ch) {
			return &ch
		}
	}
	return nil
}

// changes is the menu for a job, the cheapest first.
func (c *Core) changes(w *work) []Change {
	var all []Change
	all = append(all, c.widen(w)...)
	if n := &w.Need; n.CPUMilli > 0 || n.MemoryMiB > 0 {
		for i, part := range []string{"three quarters", "half", "a quarter"} {
			quarters := 3 - i
			all = append(all, Change{Kind: "smaller", To: quarters, Cost: int64(300 + 10*i),
				Reason: fmt.Sprintf("with %s of the CPU and memory", part),
				apply: func(j *Job, _ *Core) {
					j.Need.CPUMilli, j.Need.MemoryMiB = j.Need.CPUMilli*int64(quarters)/4, j.Need.MemoryMiB*int64(quarters)/4
				}})
		}
	}
	for _, q := range c.queues {
		if q != w.q {
			all = append(all, Change{Kind: "queue", Name: q.Name, Cost: 400, Reason: "in queue " + q.Name,
				apply: func(j *Job, _ *Core) { j.Queue = q.Name }})
		}
	}
	all = append(all, fewer(w)...)
	for i, ch := range c.chips {
		slot := chipSlot(i)
		if w.q.ceiling[slot] == maxInt || w.menu.largest == 0 {
			continue
		}
		least := w.menu.charge // elastic work can begin with fewer
		if w.Need.Min > 0 {
			least = int64(w.Need.Min) * Whole
		}
		if more := (w.q.held[slot] + least - w.q.ceiling[slot] + Whole - 1) / Whole; w.q.held[slot]+least > w.q.ceiling[slot] {
			all = append(all, Change{Kind: "quota", Name: ch.Name, To: int(more), Cost: 1000 + more,
				Reason: fmt.Sprintf("if queue %s might hold %d more of chip %s", w.q.Name, more, ch.Name),
				apply:  func(j *Job, d *Core) { d.queueAt[j.Queue].ceiling[slot] += more * Whole }})
		}
	}
	slices.SortStableFunc(all, func(a, b Change) int { return cmp.Compare(a.Cost, b.Cost) })
	return all
}

// fewerMost bounds how many smaller sizes of a job are tried: each is a plan on a copy.
const fewerMost = 64

// fewer is the changes to fewer chips.
func fewer(w *work) (all []Change) {
	step := max(1, (w.Need.Chips+fewerMost-1)/fewerMost)
	for n := w.Need.Chips - step; n > 1-step; n -= step {
		to := max(1, n)
		reason := fmt.Sprintf("with %d chips", to)
		if to == 1 {
			reason = "with 1 chip"
		}
		all = append(all, Change{Kind: "less", To: to, Cost: 500 + int64(499*(w.Need.Chips-to)/w.Need.Chips), Reason: reason,
			apply: func(j *Job, _ *Core) {
				j.Need.Chips, j.Need.Min = to, min(j.Need.Min, to)
				for i := range j.Need.AnyOf {
					if j.Need.AnyOf[i].Chips > to {
						j.Need.AnyOf[i].Chips = to
					}
				}
			}})
	}
	return all
}

// widen is the changes that only allow more: classes and sites.
func (c *Core) widen(w *work) (all []Change) {
	n := &w.Need
	for _, ch := range c.chips {
		has := func(x Choice) bool { return x.Chip == ch.Name }
		if n.Chips > 0 && len(n.AnyOf) > 0 && !slices.ContainsFunc(n.AnyOf, has) {
			all = append(all, Change{Kind: "chip", Name: ch.Name, Cost: 100, Reason: "on chip " + ch.Name,
				apply: func(j *Job, _ *Core) { j.Need.AnyOf = append(slices.Clone(j.Need.AnyOf), Choice{Chip: ch.Name}) }})
		}
	}
	for _, site := range c.sites {
		if len(n.Sites) > 0 && !slices.Contains(n.Sites, site) {
			all = append(all, Change{Kind: "site", Name: site, Cost: 200, Reason: "at site " + site,
				apply: func(j *Job, _ *Core) { j.Need.Sites = append(slices.Clone(j.Need.Sites), site) }})
		}
	}
	return all
}

// starts tries a change on a copy.
func (c *Core) starts(w *work, ch *Change) bool {
	d, _ := c.ahead()
	if d.Amend(c.now, w.ID, ch) != nil {
		return false
	}
	d.Plan(c.now)
	return d.jobs[w.ID].status == running
}

// Amend applies a change to a waiting job, which keeps its place in the order. The errors are those of Submit; then
// nothing has changed.
func (c *Core) Amend(now int64, id string, ch *Change) error {
	w, err := c.waiter(id)
	if err != nil {
		return err
	}
	j := w.Job
	j.Need.AnyOf = slices.Clone(j.Need.AnyOf)
	ch.apply(&j, c)
	if ch.Kind == "quota" {
		c.needs = map[needKey]*menu{} // menus leave out what the ceiling forbids
	}
	q, m, err := c.admit(&j)
	if err != nil {
		return err
	}
	return c.rewait(now, id, func(w *work) { w.Job, w.q, w.menu = j, q, m })
}

// SetHold has a waiting job wait until it is released, or releases it.
func (c *Core) SetHold(now int64, id string, held bool) error {
	return c.rewait(now, id, func(w *work) { w.Hold = held })
}

// waiter is a job that waits.
func (c *Core) waiter(id string) (*work, error) {
	w := c.jobs[id]
	if w == nil || w.status != waiting {
		return nil, fmt.Errorf("sched: job %s does not wait", id)
	}
	return w, nil
}

// rewait changes a waiting job and has it wait anew, with the time it has waited so far.
func (c *Core) rewait(now int64, id string, change func(*work)) error {
	w, err := c.waiter(id)
	if err != nil {
		return err
	}
	c.settle(now)
	c.dequeue(w)
	w.waited += c.now - w.since
	change(w)
	c.enqueue(w)
	return nil
}
