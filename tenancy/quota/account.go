package quota

import (
	"math"
	"math/bits"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
)

// account is what one organisation, project, key, member or model used and uses. The book's lock guards it.
type account struct {
	raw        id.Raw
	name       string // as an authority knows it
	generation int64  // of bound
	bound      tenancy.Bound

	// Money, in micro-units.
	spent int64 // in all; of a book that spends leases what was settled since it began
	held  sum   // upper bounds of the requests that run
	open  int   // how many those are

	minute           int64 // in which these were counted
	requests, tokens int64
	running          int64

	perByte float64 // prompt tokens a byte of request, learnt; of keys
	output  float64 // completion tokens a request, learnt; of keys

	lease   *lease        // nil where the limits themselves are spent
	waiting int           // requests that wait for its money
	changed chan struct{} // closed when there may be more money; nil while nobody waits
}

// Starting points of what is learnt: a quarter of a token a byte, and a short answer.
const (
	firstPerByte = 0.25
	firstOutput  = 64
	learning     = 0.1
)

// account is the one of this id; name makes its name for an authority.
func (b *Book) account(of id.Raw, name func() string) *account {
	a := b.accounts[of]
	if a == nil {
		a = &account{raw: of, generation: math.MinInt64, perByte: firstPerByte, output: firstOutput}
		if b.lessor != nil {
			a.name, a.lease = name(), &lease{}
		}
		b.accounts[of] = a
	}
	return a
}

// sum adds and takes away amounts that together may not fit an int64: where no budget binds, a request's upper bound
// may be astronomic.
type sum struct{ hi, lo uint64 }

func (s *sum) add(n int64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, uint64(n), 0)
	s.hi += carry
}

func (s *sum) sub(n int64) {
	var borrow uint64
	s.lo, borrow = bits.Sub64(s.lo, uint64(n), 0)
	s.hi -= borrow
}

// value is the sum, or the largest int64 when it does not fit.
func (s *sum) value() int64 {
	if s.hi > 0 || s.lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(s.lo)
}

func (a *account) spend(n int64) { a.spent = min(a.spent, math.MaxInt64-n) + n }

// left is what of the budget, or of the lease of it, is neither spent nor held; never less than the smallest int64.
func (a *account) left() int64 {
	limit := a.bound.Budget
	if a.lease != nil {
		limit = a.lease.granted
	}
	held, rest := a.held.value(), limit-a.spent // neither is negative
	if rest < math.MinInt64+held {
		return math.MinInt64
	}
	return rest - held
}

// reach is what is left here or free to be leased.
func (a *account) reach() int64 {
	left := a.left()
	if a.lease == nil || a.lease.room <= 0 {
		return left
	}
	return min(left, math.MaxInt64-a.lease.room) + a.lease.room
}

// busy says that money of the account may come back: something runs on it, or another node has a lease of it.
func (a *account) busy() bool {
	return a.open > 0 || a.lease != nil && a.lease.others > 0
}

// busyBeside is busy without what the request itself holds.
func (a *account) busyBeside(r *Reservation) bool {
	if !r.taken {
		return a.busy()
	}
	return a.open > 1 || a.lease != nil && a.lease.others > 0
}

// wake has those who wait for money look again.
func (a *account) wake() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// roll begins to count anew when the minute is another.
func (a *account) roll(minute int64) {
	if a.minute != minute {
		a.minute, a.requests, a.tokens = minute, 0, 0
	}
}

func (a *account) guess(k *Ask) int64 {
	prompt := min(a.perByte*float64(k.Bytes), float64(k.Prompt))
	output := min(a.output, float64(k.Output)) * float64(k.Choices)
	return max(1, int64(min(prompt+output, 1<<52)))
}

// Guess is how many tokens a text of so many bytes has, by what the requests of the key had so far; at least 1.
func (r *Reservation) Guess(bytes int) int {
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	return max(1, int(min(r.accounts[0].perByte*float64(bytes), 1<<40)))
}

func (a *account) learn(bytes, prompt, completion int) {
	if bytes <= 0 || prompt <= 0 {
		return
	}
	a.perByte += learning * (float64(prompt)/float64(bytes) - a.perByte)
	a.output += learning * (float64(completion) - a.output)
}
