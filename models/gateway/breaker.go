package gateway

import (
	"sync"
	"sync/atomic"
	"time"
)

// replica is what the gateway knows of one replica, or of one model of a provider: how many requests run there, and
// whether it is worth asking.
type replica struct {
	number  uint16 // in places; from 1, and again from 1 after 65,535, which misleads nobody for long
	running atomic.Int64
	breaker breaker
	chips   chipTime
	load    load

	// What its prompt cache is thought to hold; see learn.
	clock  atomic.Uint32 // blocks of the prompts that were sent there
	memory atomic.Uint32 // how long it remembers a block, by its clock; 0 = not known, taken for ever
	tells  atomic.Bool   // it tells how many tokens it had
}

// Constants of a breaker. It opens when of at least breakerCalls answers of the window a breakerShare failed, or after
// breakerRow failures in a row; it lets one request try again after breakerRest, twice as long each time that this one
// fails, up to breakerLongest.
const (
	breakerSlots   = 6
	breakerSlot    = 5 * time.Second
	breakerCalls   = 20
	breakerShare   = 2 // one in so many
	breakerRow     = 5
	breakerRest    = time.Second
	breakerLongest = time.Minute
)

// verdict is what an answer says of who gave it.
type verdict uint8

const (
	good    verdict = iota
	slow            // its first byte came later than the route allows
	failed          // it broke off, could not be reached or said that it fails
	unknown         // the caller left, or the request was at fault
)

// breaker keeps requests from what fails. Closed, it counts; open, it lets nothing through; half open, one request.
type breaker struct {
	mu     sync.Mutex
	calls  [breakerSlots]uint32
	bad    [breakerSlots]uint32
	slot   int64 // number of the newest slot
	row    int   // failures since the last success
	until  time.Time
	rest   time.Duration // 0: closed
	tested bool          // half open, and the one request is under way
	why    verdict       // slow or failed: what opened it
	open   atomic.Bool   // rest > 0, to look at without the lock
}

// ready says whether a request may pass now, without taking the place of the one that tries.
func (b *breaker) ready(now time.Time) bool {
	if !b.open.Load() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rest == 0 || !b.tested && !now.Before(b.until)
}

// rests is how long the breaker stays shut; 0 where it is not, or a request that tries is under way.
func (b *breaker) rests(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rest == 0 || b.tested {
		return 0
	}
	return max(b.until.Sub(now), 0)
}

// enter lets a request pass or not; of an open breaker whose rest is over it is the one that tries.
func (b *breaker) enter(now time.Time) bool {
	if !b.open.Load() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rest == 0 {
		return true
	}
	if b.tested || now.Before(b.until) {
		return false
	}
	b.tested = true
	return true
}

// leave tells how a request that entered ended, and whether the breaker opened with it.
func (b *breaker) leave(now time.Time, v verdict) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rest > 0 {
		return b.judge(now, v)
	}
	if v == unknown {
		return false
	}
	b.turn(now)
	at := b.slot % breakerSlots
	b.calls[at]++
	if v == good {
		b.row = 0
		return false
	}
	b.bad[at]++
	b.row++
	var calls, bad uint32
	for i := range b.calls {
		calls, bad = calls+b.calls[i], bad+b.bad[i]
	}
	if b.row >= breakerRow || calls >= breakerCalls && bad*breakerShare >= calls {
		b.shut(now, breakerRest, v)
		return true
	}
	return false
}

// judge takes the word of the request that tried; others began before the breaker opened.
func (b *breaker) judge(now time.Time, v verdict) bool {
	if !b.tested {
		return false
	}
	b.tested = false
	switch v {
	case good:
		b.calls, b.bad, b.row, b.rest = [breakerSlots]uint32{}, [breakerSlots]uint32{}, 0, 0
		b.open.Store(false)
	case unknown:
		b.until = now // the next one tries
	default:
		b.shut(now, min(2*b.rest, breakerLongest), v)
		return true
	}
	return false
}

func (b *breaker) shut(now time.Time, rest time.Duration, why verdict) {
	b.rest, b.until, b.why, b.tested = rest, now.Add(rest), why, false
	b.open.Store(true)
}

// last says whether the last answer came before a time.
func (b *breaker) last(before time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.slot != 0 && b.slot < before.UnixNano()/int64(breakerSlot)
}

// turn empties the slots that time went by.
func (b *breaker) turn(now time.Time) {
	slot := now.UnixNano() / int64(breakerSlot)
	if b.slot == 0 || slot-b.slot >= breakerSlots {
		b.calls, b.bad = [breakerSlots]uint32{}, [breakerSlots]uint32{}
	} else {
		for s := b.slot + 1; s <= slot; s++ {
			b.calls[s%breakerSlots], b.bad[s%breakerSlots] = 0, 0
		}
	}
	b.slot = max(b.slot, slot)
}

// budget bounds retries to a share of requests, so that asking again does not bring down what is left: each request
// earns a fifth of one, up to a hundred.
type budget struct{ spent atomic.Int64 } // in fifths; 0 is full

const (
	retryPrice = 5
	retryRoom  = 100 * retryPrice
)

func (b *budget) earn() {
	if b.spent.Load() > 0 {
		b.spent.Add(-1)
	}
}

func (b *budget) take() bool {
	if b.spent.Add(retryPrice) > retryRoom {
		b.spent.Add(-retryPrice)
		return false
	}
	return true
}
