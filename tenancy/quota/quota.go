// Package quota decides whether a request may run: requests and tokens a minute and requests at once for its key and
// the keys that made it, and money for all of these, its project and its organisation, all of which must be able to pay.
//
// Rules for callers: Reserve before serving and Settle exactly what was used (or Forfeit, when nobody knows that), whatever happened, and before the
// client can see that the answer is complete, or its next request meets the old reservation. What is reserved is an
// upper bound of the cost, so that a balance never falls below zero however many requests run at once. Budgets and
// limits are read anew for each request; what was spent is loaded once at start (Load) and kept in memory.
package quota

import (
	"math"
	"math/bits"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Budgets says what an organisation, a project or a key may spend in all, in micro-units; false = no limit.
// auth.Keyring is one.
type Budgets interface {
	Budget(scope, id string) (int64, bool)
}

// Book keeps what is spent, held and running. It is safe for concurrent use.
type Book struct {
	budgets Budgets
	now     func() time.Time

	mu       sync.Mutex
	accounts map[id.Raw]*account
	keys     map[id.Raw]*pace
}

// account is the money of a key, a project or an organisation, in micro-units.
type account struct {
	spent int64
	held  sum // upper bounds of the requests that run
	open  int // how many those are
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

// left is what of a limit is neither spent nor held; never less than the smallest int64.
func (a *account) left(limit int64) int64 {
	held, rest := a.held.value(), limit-a.spent // neither is negative
	if rest < math.MinInt64+held {
		return math.MinInt64
	}
	return rest - held
}

// NewBook makes an empty book with a clock.
func NewBook(budgets Budgets, now func() time.Time) *Book {
	return &Book{budgets: budgets, now: now, accounts: map[id.Raw]*account{}, keys: map[id.Raw]*pace{}}
}

// Load sets what was spent before, by id of key, project and organisation; above lists the keys that made a key, which
// have spent it as well. Call it before the first Reserve.
func (b *Book) Load(spent map[id.Raw]int64, above func(key id.Raw) []auth.Above) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, v := range spent {
		b.account(k).spend(v)
		for _, m := range above(k) {
			b.account(m.Key).spend(v)
		}
	}
}

// Spent is what was spent by the key with those that it made, the project or the organisation with this id, in
// micro-units.
func (b *Book) Spent(of id.Raw) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.account(of).spent
}

// Ask is a request for a reservation.
type Ask struct {
	Who     *auth.Principal
	Prices  meter.Prices // for this kind of call
	Bytes   int          // of the request, for the estimate of its tokens
	Prompt  int          // no more prompt tokens than this, for certain; embedded ones are of the prompt
	Output  int          // no more completion tokens than this for each choice, for certain
	Choices int          // how many choices are generated; at least 1
	// Count asks for the exact number of prompt tokens; nil when nobody can tell. It is only called when the bound
	// does not fit the money. A fault of kind Invalid says that the request is at fault; any other error that there is
	// no count now, which is not a want of money.
	Count func() (int, error)
}

// Reservation is the money and the place that one running request holds.
type Reservation struct {
	Output int  // completion tokens allowed for each choice
	Cut    bool // Output was lowered to what the money pays
	Rate   Rate // for the headers of the answer

	book   *Book
	ask    Ask
	prompt int // bound that was reserved for
	held   int64
	bound  bool  // a budget binds it
	tokens int64 // charged against tokens a minute
	done   bool
}

// Bounds are the largest numbers of tokens that the reserved money pays for: what is booked must not exceed them.
// Where no budget binds there is none.
func (r *Reservation) Bounds() (prompt, completion int) {
	if !r.bound {
		return math.MaxInt, math.MaxInt
	}
	return r.prompt, r.Output * r.ask.Choices
}

// Refusal is why a request may not run.
type Refusal struct {
	Fault *fault.Error  // of kind RateLimited, NoMoney, or Unavailable when only the count of tokens could tell
	After time.Duration // when to try again; 0 = waiting does not help
	Rate  Rate
}

// Error is the fault's.
func (r *Refusal) Error() string { return r.Fault.Error() }

// Unwrap gives the fault to errors.As.
func (r *Refusal) Unwrap() error { return r.Fault }

// Reserve lets the request run or returns a *Refusal, or what Count says against the request.
func (b *Book) Reserve(a Ask) (*Reservation, error) {
	a.Choices = max(a.Choices, 1)
	r := &Reservation{Output: a.Output, book: b, ask: a, prompt: a.Prompt}
	b.mu.Lock()
	if err := b.admit(r); err != nil {
		b.mu.Unlock()
		return nil, err
	}
	ok := b.hold(r, a.Prompt)
	worth := !ok && b.worthCounting(r)
	b.mu.Unlock()
	if ok {
		return r, nil
	}
	var uncounted error
	if worth {
		var n int
		if n, uncounted = a.Count(); uncounted == nil && n >= 0 && n < a.Prompt {
			r.prompt = n
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hold(r, r.prompt) || b.cut(r) {
		return r, nil
	}
	b.leave(r, 0)
	switch {
	case uncounted == nil:
		return nil, &Refusal{Fault: broke, Rate: r.Rate}
	case fault.Is(uncounted, fault.Invalid):
		return nil, uncounted
	}
	return nil, &Refusal{Fault: fault.New(fault.Unavailable, "The tokens of this request could not be counted, and without the count its budget may not pay for it.",
		fault.Code("not_counted"), fault.Fix("Try again in a moment."), fault.Cause(uncounted)), After: time.Second, Rate: r.Rate}
}

var broke = fault.New(fault.NoMoney, "The budget of this key, of one that made it, of its project or of its organisation cannot pay for the request.",
	fault.Code("insufficient_quota"), fault.Fix("Raise the budget, ask for fewer tokens (max_tokens), or shorten the prompt."))

// Settle ends the reservation with the cost in micro-units and the tokens used; only the first call counts. Zero
// gives everything back.
func (r *Reservation) Settle(cost int64, prompt, completion int) {
	r.settle(cost, prompt, completion, true)
}

// Forfeit is Settle for a request whose caller left without an answer: how much was used is not known in full, so the
// tokens charged against tokens a minute stay charged, and nothing is learnt for later estimates.
func (r *Reservation) Forfeit(cost int64, prompt, completion int) {
	r.settle(cost, prompt, completion, false)
}

func (r *Reservation) settle(cost int64, prompt, completion int, exact bool) {
	if r == nil || r.done {
		return
	}
	r.done = true
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range payers(r.ask.Who) {
		a := b.account(payer(r.ask.Who, i).raw)
		a.held.sub(r.held)
		a.open--
		a.spend(cost)
	}
	used := int64(prompt) + int64(completion)
	if exact {
		b.pace(r.ask.Who.Key).learn(r.ask.Bytes, prompt, completion)
	} else {
		used = max(used, r.tokens)
	}
	b.leave(r, used)
}

type link struct {
	raw       id.Raw
	scope, id string
}

// payers is how many pay for a request: all of them, the key, its project, its organisation and the keys above it.
func payers(p *auth.Principal) int { return 3 + len(p.Above) }

// payer is one of them.
func payer(p *auth.Principal, i int) link {
	switch i {
	case 0:
		return link{p.Key, tenancy.OfKey, p.KeyID}
	case 1:
		return link{p.Project, tenancy.OfProject, p.ProjectID}
	case 2:
		return link{p.Org, tenancy.OfOrganisation, p.OrgID}
	}
	a := &p.Above[i-3]
	return link{a.Key, tenancy.OfKey, a.KeyID}
}

func (b *Book) account(of id.Raw) *account {
	a := b.accounts[of]
	if a == nil {
		a = &account{}
		b.accounts[of] = a
	}
	return a
}

// room is how much more may be held by all who pay, whether any of it is limited, and whether something else
// runs on an account that has less room than cost.
func (b *Book) room(who *auth.Principal, cost int64) (free int64, limited, busy bool) {
	free = 1<<63 - 1
	for i := range payers(who) {
		k := payer(who, i)
		limit, ok := b.budgets.Budget(k.scope, k.id)
		if !ok {
			continue
		}
		limited = true
		a := b.account(k.raw)
		left := a.left(limit)
		free = min(free, left)
		busy = busy || (left < cost && a.open > 0)
	}
	return free, limited, busy
}

// hold takes the upper bound of the cost with this many prompt tokens from all who pay, or nothing.
func (b *Book) hold(r *Reservation, prompt int) bool {
	cost := meter.Bound(int64(prompt), int64(r.Output)*int64(r.ask.Choices), r.ask.Prices)
	free, limited, _ := b.room(r.ask.Who, cost)
	r.bound = limited
	if limited && cost > free {
		return false
	}
	b.take(r, cost) // without a budget as well: one may be set while the request runs
	return true
}

func (b *Book) take(r *Reservation, cost int64) {
	r.held = cost
	for i := range payers(r.ask.Who) {
		a := b.account(payer(r.ask.Who, i).raw)
		a.held.add(cost)
		a.open++
	}
}

// worthCounting spares the engine the question when the answer cannot matter.
func (b *Book) worthCounting(r *Reservation) bool {
	if r.ask.Count == nil {
		return false
	}
	least := meter.Bound(1, int64(r.Output)*int64(r.ask.Choices), r.ask.Prices)
	free, _, busy := b.room(r.ask.Who, least)
	if !busy { // it may run alone, with its output cut
		least = meter.Bound(1, int64(r.ask.Choices), r.ask.Prices)
	}
	return free >= least
}

// cut lets a request that is alone on the accounts that are short run for as many tokens as their money pays.
func (b *Book) cut(r *Reservation) bool {
	full := meter.Bound(int64(r.prompt), int64(r.Output)*int64(r.ask.Choices), r.ask.Prices)
	free, _, busy := b.room(r.ask.Who, full)
	if busy || free <= 0 {
		return false
	}
	each := meter.Affordable(free, int64(r.prompt), r.ask.Prices) / int64(r.ask.Choices)
	if each < 1 || each >= int64(r.Output) {
		return false
	}
	r.Output, r.Cut = int(each), true
	b.take(r, meter.Bound(int64(r.prompt), each*int64(r.ask.Choices), r.ask.Prices))
	return true
}
