package gateway

import (
	"math/rand/v2"
	"time"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// mostNear is how many replicas are compared; of more a part is, which begins where the prompt says.
const mostNear = 64

// inTurn is each replica after the other; those that say that they are full only when all are.
func (f *flight) inTurn(u *serve.Upstream, now time.Time) (*engine.Endpoint, *replica) {
	ends := u.Endpoints
	first := int(f.turn.Add(1) % uint32(len(ends)))
	by, tells := u.Engine.(engine.Reporter)
	var spare *candidate
	for i := range ends {
		c := candidate{at: (first + i) % len(ends)}
		if !f.consider(&c, u, now, by, tells) {
			continue
		}
		if !c.full {
			return f.take(u, &c, now)
		}
		if spare == nil {
			spare = &candidate{}
			*spare = c
		}
	}
	return f.take(u, spare, now)
}

// consider fills in what is known of a replica; false where it cannot be asked.
func (f *flight) consider(c *candidate, u *serve.Upstream, now time.Time, by engine.Reporter, tells bool) bool {
	to := &u.Endpoints[c.at]
	if f.tried(to.Replica) {
		return false
	}
	c.replica = f.replica(to.Replica)
	if !c.breaker.ready(now) {
		return false
	}
	nanos := now.UnixNano()
	if tells {
		f.heed(by, *to, c.replica, nanos)
	}
	c.ahead = c.replica.ahead(nanos)
	c.slots = c.load.slots.Load()
	c.full = c.slots > 0 && c.ahead >= c.slots
	return true
}

// crowded says whether all replicas of a backend that can be asked say that they are full.
func (f *flight) crowded(u *serve.Upstream, now time.Time) bool {
	by, tells := u.Engine.(engine.Reporter)
	for i := range u.Endpoints {
		if c := (candidate{at: i}); tells && f.consider(&c, u, now, by, tells) && !c.full {
			return false
		}
	}
	return tells
}

// take is the try of a candidate, unless its breaker lets another one try.
func (f *flight) take(u *serve.Upstream, c *candidate, now time.Time) (*engine.Endpoint, *replica) {
	if c == nil || !c.breaker.enter(now) {
		return nil, nil
	}
	return &u.Endpoints[c.at], c.replica
}

// lighter says whether a has less to do than b: power of two choices (Mitzenmacher, 2001).
func (a *candidate) lighter(b *candidate) bool {
	if a.full != b.full {
		return b.full
	}
	if a.slots > 0 && b.slots > 0 {
		return a.ahead*b.slots < b.ahead*a.slots
	}
	return a.ahead < b.ahead
}

// spread takes the lighter of two replicas: the next in turn and any other. Where neither can take more, or be asked, it is
// the lightest of all.
func (f *flight) spread(u *serve.Upstream, now time.Time) (*engine.Endpoint, *replica) {
	n := len(u.Endpoints)
	first, second := 0, 0
	if n > 1 {
		first = int(f.turn.Add(1) % uint32(n))
		second = (first + 1 + int(f.draw()%uint64(n-1))) % n
	}
	by, tells := u.Engine.(engine.Reporter)
	tells = tells && n > 1
	a, b := candidate{at: first}, candidate{at: second}
	canA, canB := f.consider(&a, u, now, by, tells), n > 1 && f.consider(&b, u, now, by, tells)
	if canB && (!canA || b.lighter(&a)) {
		a, canA = b, true
	}
	if canA && !a.full || n <= 2 {
		if !canA {
			return nil, nil
		}
		return f.take(u, &a, now)
	}
	for i := range n {
		c := candidate{at: (first + i) % n}
		if f.consider(&c, u, now, by, tells) && (!canA || c.lighter(&a)) {
			a, canA = c, true
		}
	}
	if !canA {
		return nil, nil
	}
	return f.take(u, &a, now)
}

func (g *Gateway) draw() uint64 {
	if g.Rand != nil {
		return g.Rand()
	}
	return rand.Uint64()
}

// nearest weighs what replicas have of the prompt against what they are doing.
func (f *flight) nearest(u *serve.Upstream, now time.Time) (*engine.Endpoint, *replica) {
	t := trails.Get().(*trail)
	defer trails.Put(t)
	f.trail(t)
	ends := u.Endpoints
	by, tells := u.Engine.(engine.Reporter)
	first, n := int(t.home()%uint64(len(ends))), 0
	for i := 0; i < len(ends) && n < mostNear; i++ {
		if t.room[n].at = (first + i) % len(ends); f.consider(&t.room[n], u, now, by, tells) {
			n++
		}
	}
	if n == 0 {
		return nil, nil
	}
	f.places.match(t, t.room[:n])
	c := t.best(n)
	to, r := f.take(u, c, now)
	if r == nil {
		return nil, nil
	}
	f.matched, f.seen, f.age, f.blocks = c.matched, c.seen, c.age, t.blocks()
	f.places.keep(t, r)
	return to, r
}

// best is the candidate that costs the prompt least. Of a prompt that nobody has it is the lighter of two that its
// beginning names, which are the same two for all gateways.
func (t *trail) best(n int) *candidate {
	all := t.room[:n]
	best, known := &all[0], all[0].matched > 0
	for i := 1; i < n; i++ {
		c := &all[i]
		known = known || c.matched > 0
		if c.full != best.full && best.full || c.full == best.full && c.price(t.blocks()) < best.price(t.blocks()) {
			best = c
		}
	}
	if known || n < 2 {
		return best
	}
	a, b := &all[0], &all[1+int((t.home()>>32)%uint64(n-1))]
	if b.lighter(a) {
		a = b
	}
	if a.full && !best.full {
		return best
	}
	return a
}

// Of a prompt of which a replica has a part, its requests count as so many parts of a prompt.
const (
	patience      = 2 // requests for which a prompt is computed anew elsewhere, where the engine tells nothing of its load
	patientPart   = 2 // one in so many of those that it runs at once, where it does
	priceOfABlock = 1 << 10
)

// price is what a prompt of so many blocks costs at the replica: the blocks that it has to compute, and what it computes
// for others first.
func (c *candidate) price(blocks int) int64 {
	p := max(patience, c.slots/patientPart)
	return priceOfABlock*int64(blocks-c.matched) + priceOfABlock*c.ahead*int64(max(blocks, sessionGain))/p
}

// learn compares what a replica was thought to have with what it says that it had. A cache that drops what was not used
// for longest holds a block for about the same time, whichever it is (Che, Tung and Wang, 2002); that time is what is
// learnt, in blocks sent to the replica.
func (r *replica) learn(seen, blocks int, age uint32, told meter.Usage) {
	if told.Cached > 0 && !r.tells.Load() {
		r.tells.Store(true)
	}
	if told.Input <= 0 || !r.tells.Load() {
		return
	}
	memory := r.memory.Load()
	switch had := told.Cached*int64(2*blocks) >= told.Input*int64(seen); {
	case had && memory != 0 && age > memory:
		r.memory.Store(age)
	case !had && age > uint32(2*blocks) && (memory == 0 || age-age/8 < memory): // of one just sent nothing may be computed yet
		r.memory.Store(age - age/8)
	}
}
