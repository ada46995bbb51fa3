package sched

import (
	"cmp"
	"slices"
)

// preempt lets the first jobs of the queues take what runs, where a guarantee or a priority gives them the right, and
// where the victims complete a placement. Stage 6.
func (c *Core) preempt() {
	for _, q := range c.byBurden() {
		behind := false
		for range 64 { // a plan is bounded; the next one goes on
			if c.preemptFor(q) {
				if behind = c.shares; behind { // who had to leave one chip would move to the next that is claimed, and be safe there
					continue
				}
			} else if !behind {
				break
			}
			behind = false
			c.fill() // victims that are elastic, and what fits beside
		}
	}
}

// byBurden is the queues, those furthest below their share first.
func (c *Core) byBurden() []*queue {
	if len(c.queues) == 1 {
		return c.queues
	}
	type entry struct {
		q        *queue
		org, own int64
	}
	var all []entry
	for _, q := range c.queues {
		if q.waits > 0 {
			all = append(all, entry{q, c.orgBurden(q.org), c.burden(q)})
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.org, b.org), cmp.Compare(a.own, b.own), cmp.Compare(a.q.at, b.q.at))
	})
	out := make([]*queue, len(all))
	for i, e := range all {
		out[i] = e.q
	}
	return out
}

// preemptFor tries the first of each lane, in order, and returns after the first that got its place. Between rounds only
// those that have more than their rank to show are tried.
func (c *Core) preemptFor(q *queue) bool {
	var heads []*work
	for _, l := range q.live {
		if l.tried == c.stamp(l.menu, c.moves) {
			continue
		}
		if w := l.heap[0]; c.ranked || w.Kind == Service || w.Priority > 0 || q.guaranteed(w) {
			heads = append(heads, w)
		}
	}
	slices.SortFunc(heads, func(a, b *work) int {
		if c.before(a, b) {
			return -1
		}
		return 1
	})
	for _, w := range heads {
		list, near := c.entries(w)
		for i, o := range slices.Clone(list) {
			if i >= near && !w.q.guaranteedFor(o) {
				continue
			}
			switch {
			case !q.allows(o):
				if c.yield(w, o) {
					return true
				}
			case c.displace(w, o, others), c.displace(w, o, own), len(c.queues) > 1 && c.small(o) && c.displace(w, o, own|others):
				return true
			}
		}
		q.lane(w.menu).tried = c.stamp(w.menu, c.moves)
	}
	return false
}

// whose says whose jobs may be victims: those of other queues, by a guarantee, or of the job's own, by priority or rank.
type whose uint8

const (
	own whose = 1 << iota
	others
)

// small says whether a pool is small enough to look for victims of both sorts at once.
func (c *Core) small(o *option) bool { return len(c.pools[o.pool].nodes) <= 256 }

// right says by which right a waiting job may take a running one's place.
func (c *Core) right(w *work, o *option, v *work) (Why, bool) {
	if c.now-v.runSince < c.conf.MinRun || !c.spare(v, nil) || slices.Contains(c.barred, v.q) {
		return 0, false
	}
	if w.q != v.q {
		slot := chipSlot(v.opt.chip)
		return Owed, o.size > 0 && w.q.within(o) && v.q.held[slot] > v.q.guarantee[slot]
	}
	switch {
	case v.Fixed || v.Kind == Service:
		return 0, false
	case w.Kind == Service:
		return Replica, true
	case w.Priority != v.Priority:
		return Outranked, w.Priority > v.Priority
	case v.Kind == Interactive:
		return 0, false
	}
	return Outranked, c.outranks(w, o, v)
}

// spare says whether a replica can be missed beside those that are chosen already: those of batch work always can.
func (c *Core) spare(v *work, chosen map[*work]bool) bool {
	if v.Kind != Service {
		return true
	}
	up, missing := 0, 0
	for _, w := range c.jobs {
		if w.Kind == Service && w.Group == v.Group && w.q == v.q {
			if w.status == running && (w == v || !chosen[w]) {
				up++
			} else {
				missing++
			}
		}
	}
	return up > v.GroupMin && missing < v.Disruption
}

// outranks says whether a waiting job of the same queue and priority goes before a running one by rank, so clearly that
// it is worth what the change costs.
func (c *Core) outranks(w *work, o *option, v *work) bool {
	if w.urgent == urgentReplica && v.urgent > urgentReplica {
		return true
	}
	return w.urgent <= v.urgent && w.key < v.key
}

// loss is what preempting a job loses, in chip-milliseconds, within its class: elastic work is shrunk first, then goes
// what is borrowed, then the rest.
func (c *Core) loss(v *work) (class int, lost int64) {
	weight := v.opt.charge
	if weight == 0 { // CPU alone
		weight = Whole
	}
	lost = muldiv(weight, c.attained(v)-v.saved+c.conf.restart(v.opt.size), Whole)
	slot := chipSlot(v.opt.chip)
	switch {
	case v.Need.Min > 0 && v.opt.size > v.Need.Min:
		return 0, lost
	case v.q.held[slot] > v.q.guarantee[slot]:
		return 1, lost
	}
	return 2, lost
}

// evicted is a node as it would be without some of what runs there.
type evicted struct {
	enough  bool
	node    int32
	victims []*work
	class   int
	lost    int64
}

// evictions remembers, for one queue, one entry and one moment, what could be taken of each node from other queues: a
// queue that takes back a tenth of the fleet looks at each node once and not for each job.
type evictions struct {
	now  int64
	q    *queue
	o    *option
	part int
	all  []evicted
	seen []int64 // the node's version, plus one
}

func (c *Core) recall(q *queue, o *option, part int) *evictions {
	m := &c.memo
	if m.now != c.now || m.q != q || m.o != o || m.part != part || m.seen == nil {
		if m.seen == nil {
			m.all, m.seen = make([]evicted, len(c.nodes)), make([]int64, len(c.nodes))
		}
		clear(m.seen)
		m.now, m.q, m.o, m.part = c.now, q, o, part
	}
	return m
}

// displace finds the cheapest victims whose places complete a placement, and has them make way. Whole gangs go, or none.
// Where that would take more of a queue than it borrows, the others' are looked at.
func (c *Core) displace(w *work, o *option, from whose) bool {
	if from == others && (len(c.queues) == 1 || o.size == 0 || !w.q.within(o)) {
		return false
	}
	c.barred = c.barred[:0]
	for range len(c.queues) {
		done, poor := c.attempt(w, o, from)
		if done || poor == nil {
			c.barred = c.barred[:0]
			return done
		}
		c.barred = append(c.barred, poor)
		c.memo.seen = nil
	}
	c.barred = c.barred[:0]
	return false
}

// yield has running jobs of a queue that is at its ceiling make way for one of the same queue that goes before them.
func (c *Core) yield(w *work, o *option) bool {
	slot := chipSlot(o.chip)
	need := w.q.held[slot] + o.charge - w.q.ceiling[slot]
	var list []victim
	for _, v := range c.running {
		if v.q != w.q || v.opt.chip != o.chip || v.opt.site != o.site {
			continue
		}
		if _, ok := c.right(w, o, v); ok {
			class, lost := c.loss(v)
			list = append(list, victim{v, class, lost})
		}
	}
	slices.SortFunc(list, func(x, y victim) int {
		return cmp.Or(cmp.Compare(x.class, y.class), cmp.Compare(x.lost, y.lost), cmp.Compare(y.w.number, x.w.number))
	})
	chosen := map[*work]bool{}
	for _, v := range list {
		if need <= 0 {
			break
		}
		if c.spare(v.w, chosen) {
			chosen[v.w] = true
			need -= v.w.opt.charge
		}
	}
	return need <= 0 && c.takeOver(w, o, chosen)
}

// attempt is displace with some queues barred; it names a queue that would give too much.
func (c *Core) attempt(w *work, o *option, from whose) (done bool, poor *queue) {
	if o.mixed {
		return c.attemptSpread(w, o, from)
	}
	may := c.usable(w, o)
	groups := c.groups(c.pools[o.pool], o.within)
	if len(groups) == 1 || len(o.parts) == 1 && o.parts[0].members == 1 {
		return c.attemptOn(w, o, from, may)
	}
	for _, nodes := range groups {
		inside := func(n int32) bool { return slices.Contains(nodes, n) && (may == nil || may(n)) }
		done, p := c.attemptOn(w, o, from, inside)
		if done {
			return true, nil
		}
		poor = cmp.Or(poor, p)
	}
	return false, poor
}

// attemptOn is attempt on the nodes that may be used.
func (c *Core) attemptOn(w *work, o *option, from whose, may func(int32) bool) (done bool, poor *queue) {
	pool := o.pool
	chosen := map[*work]bool{}
	var used []int32
	for i := range o.parts {
		all := c.evictable(w, o, i, from, pool, may, chosen, used)
		if all == nil {
			return false, nil
		}
		for _, e := range all {
			used = append(used, e.node)
			for _, v := range e.victims {
				chosen[v] = true
			}
		}
	}
	if len(chosen) == 0 { // it fits as it is; fill has the word on that
		return false, nil
	}
	if poor := c.lawful(w, o, chosen); poor != nil {
		return false, poor
	}
	return c.takeOver(w, o, chosen), nil
}

// takeOver puts a job where the chosen ones leave, if that is enough for it.
func (c *Core) takeOver(w *work, o *option, chosen map[*work]bool) bool {
	if len(chosen) == 0 {
		return false
	}
	victims := make([]*work, 0, len(chosen))
	for v := range chosen {
		victims = append(victims, v)
	}
	slices.SortFunc(victims, func(a, b *work) int { return cmp.Compare(a.number, b.number) })
	grounds := make([]Why, len(victims)) // before any has left, which changes who borrows
	for i, v := range victims {
		grounds[i], _ = c.right(w, o, v)
	}
	for _, v := range victims { // on trial: what they leave must complete a placement
		c.stand(v)
	}
	seats := c.place(w, o)
	if seats == nil {
		for _, v := range victims {
			c.sitAgain(v)
		}
		return false
	}
	for i, v := range victims {
		c.act(v, Preempt, w.ID, grounds[i])
		c.retire(v)
		v.Preempted++
		v.saved = v.Attained // it is told in time to save
		c.stats.Preempted++
		c.enqueue(v)
	}
	c.dequeue(w)
	c.occupy(w, o, seats)
	c.act(w, Start, "", grounds[len(grounds)-1])
	for _, v := range victims { // elastic work is shrunk, not sent away, if there is room left
		if v.Need.Min > 0 {
			c.start(v, v.q.lane(v.menu))
		}
	}
	return true
}

// lawful looks at all victims together: a queue gives no more than it borrowed, but for the last gang that it takes, and a
// service misses no more replicas than it may. It names a queue that would give too much.
func (c *Core) lawful(w *work, o *option, chosen map[*work]bool) *queue {
	give, largest := make([]int64, len(c.queues)), make([]int64, len(c.queues))
	var poor *queue
	for v := range chosen {
		if v.q != w.q {
			give[v.q.at] += v.opt.charge
			largest[v.q.at] = max(largest[v.q.at], v.opt.charge)
		}
		if !c.spare(v, chosen) && (poor == nil || v.q.at < poor.at) {
			poor = v.q
		}
	}
	slot := chipSlot(o.chip)
	for i, n := range give {
		if q := c.queues[i]; n > 0 && q.held[slot]-(n-largest[i]) <= q.guarantee[slot] && (poor == nil || i < poor.at) {
			poor = q
		}
	}
	return poor
}

// lookMost is how many nodes are looked at for victims by rank, if enough are found among them: the cheapest of a thousand
// is hardly dearer than that of ten thousand. Each job begins to look at another node.
const lookMost = 1024

// evictable is the cheapest nodes for the members of a part, or nil if there are not enough.
func (c *Core) evictable(w *work, o *option, part int, from whose, pool int32, may func(int32) bool, chosen map[*work]bool, used []int32) []evicted {
	pt := &o.parts[part]
	var memo *evictions
	if from == others && len(chosen) == 0 {
		memo = c.recall(w.q, o, part)
	}
	var all []evicted
	nodes := c.pools[pool].nodes
	byRank := from == own && c.ranked && w.Priority == 0 && w.Kind != Service
	begin := 0
	if from == own && len(nodes) > lookMost {
		begin = int(w.number) % len(nodes)
	}
	for i := range nodes {
		if from == own && i >= lookMost && len(all) >= pt.members {
			break
		}
		n := nodes[(begin+i)%len(nodes)]
		if byRank && c.worst[n] <= w.key && !c.room.fits(n, &pt.ask) {
			continue // nothing there comes after the job
		}
		if len(c.onNode[n]) == 0 && !c.room.fits(n, &pt.ask) || slices.Contains(used, n) || c.nodes[n].State != Up || may != nil && !may(n) {
			continue
		}
		var e evicted
		if memo != nil && memo.seen[n] == c.version[n]+1 {
			e = memo.all[n]
		} else {
			e = c.evict(w, o, n, &pt.ask, from, chosen)
			if memo != nil {
				memo.all[n], memo.seen[n] = e, c.version[n]+1
			}
		}
		if !e.enough {
			continue
		}
		if pt.members > 1 {
			all = append(all, e)
		} else if len(all) == 0 {
			all = append(all, e)
		} else if e.before(&all[0]) {
			all[0] = e
		}
	}
	if len(all) < pt.members {
		return nil
	}
	slices.SortFunc(all, func(a, b evicted) int {
		if a.before(&b) {
			return -1
		}
		return 1
	})
	return all[:pt.members]
}

func (e *evicted) before(f *evicted) bool {
	return cmp.Or(cmp.Compare(e.class, f.class), cmp.Compare(e.lost, f.lost), cmp.Compare(e.node, f.node)) < 0
}

// evict is the cheapest set of jobs on a node whose leaving makes room for a member.
func (c *Core) evict(w *work, o *option, n int32, a *ask, from whose, chosen map[*work]bool) evicted {
	if c.divided(n, a) {
		return c.evictShares(w, o, n, a, from, chosen)
	}
	e := evicted{node: n}
	f := &c.room.free[n]
	whole, cpu, memo := int(f.whole), f.cpu, f.memo
	sits := a.share < Whole && a.chips > 0 && f.tightest(int32(a.share)) >= 0
	enough := func() bool {
		return (sits || whole >= a.chips) && (!f.counted || cpu >= a.cpu && memo >= a.memo)
	}
	list := c.victims[:0]
	for _, v := range c.onNode[n] {
		if chosen[v] {
			whole, cpu, memo = v.frees(n, whole, cpu, memo)
		} else if _, ok := c.right(w, o, v); ok && (from&own != 0 || v.q != w.q) && (from&others != 0 || v.q == w.q) {
			class, lost := c.loss(v)
			list = append(list, victim{v, class, lost})
		}
	}
	c.victims = list
	if len(list) > 1 {
		slices.SortFunc(list, func(x, y victim) int {
			return cmp.Or(cmp.Compare(x.class, y.class), cmp.Compare(x.lost, y.lost), cmp.Compare(y.w.number, x.w.number))
		})
	}
	taken := list[:0]
	for _, v := range list {
		if enough() {
			break
		}
		if v.w.Kind == Service && !c.spare(v.w, alsoChosen(chosen, taken)) {
			continue
		}
		whole, cpu, memo = v.w.frees(n, whole, cpu, memo)
		taken = append(taken, v)
	}
	if e.enough = enough(); !e.enough {
		return e
	}
	for i := len(taken) - 1; i >= 0 && len(taken) > 1; i-- { // the dearest that are not needed stay
		w0, c0, m0 := whole, cpu, memo
		w1, c1, m1 := taken[i].w.frees(n, 0, 0, 0)
		whole, cpu, memo = whole-w1, cpu-c1, memo-m1
		if enough() {
			taken = append(taken[:i], taken[i+1:]...)
		} else {
			whole, cpu, memo = w0, c0, m0
		}
	}
	for _, v := range taken {
		e.victims = append(e.victims, v.w)
		e.class = max(e.class, v.class)
		e.lost += v.lost
	}
	return e
}

func alsoChosen(chosen map[*work]bool, more []victim) map[*work]bool {
	all := make(map[*work]bool, len(chosen)+len(more))
	for v := range chosen {
		all[v] = true
	}
	for _, v := range more {
		all[v.w] = true
	}
	return all
}

// victim is a job that may be made to leave, and what that loses.
type victim struct {
	w     *work
	class int
	lost  int64
}

// frees adds what surely becomes free of a node when a job leaves: a share does not free its chip.
func (w *work) frees(n int32, whole int, cpu, memo int64) (int, int64, int64) {
	if w.opt.parts[0].ask.share < Whole && w.opt.size > 0 {
		return whole, cpu + w.opt.parts[0].ask.cpu, memo + w.opt.parts[0].ask.memo
	}
	return w.gives(n, whole, cpu, memo)
}
