// Package quota decides whether a request may run: requests and tokens a minute, requests at once and money, each of its
// key, the keys that made it, the members these belong to, its project, its organisation and its model; all must allow.
//
// Rules for callers: Reserve before serving and Settle exactly what was used (or Forfeit, when nobody knows that), whatever
// happened, and before the client can see that the answer is complete, or its next request meets the old reservation. What
// is reserved is an upper bound of the cost, so that a balance never falls below zero however many requests run at once.
// An answer that is read as it is made can be paid for in pieces (Ask.Piece): Grow before more of it is given away.
// What bounds whom is read anew for each request. Requests and tokens count at admission, in fixed minutes.
//
// A Book of one node alone spends the limits themselves (NewBook; what was spent is loaded once, Load). Where several
// nodes share them, it spends leases of an Authority (NewLeased, Keep): with a lease in hand a request asks nobody.
package quota

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Bounds says what bounds an organisation, project, key, member or model. auth.Keyring is one.
type Bounds interface {
	// Generation grows whenever an answer of Bound changes.
	Generation() int64
	Bound(of id.Raw) tenancy.Bound
}

// Book keeps what is spent, held and running. It is safe for concurrent use.
type Book struct {
	// Patience is how long a request waits for money that running requests only hold; 0 is not at all. Set it before
	// the first Reserve.
	Patience time.Duration

	bounds Bounds
	now    func() time.Time
	lessor *lessor // nil where the limits themselves are spent
	nodes  atomic.Int64

	mu       sync.Mutex
	accounts map[id.Raw]*account
	held     sum // by all reservations together
	open     int // how many those are
}

// Nodes is how many nodes were spending the same limits when the authority was last heard of; at least 1, this one.
func (b *Book) Nodes() int64 { return max(1, b.nodes.Load()) }

// maxWaiting is how many requests wait for the money of one account; more are refused at once.
const maxWaiting = 64

// NewBook makes an empty book that spends the limits themselves. Its minutes are those of the clock.
func NewBook(bounds Bounds, now func() time.Time) *Book {
	return &Book{bounds: bounds, now: now, accounts: map[id.Raw]*account{}}
}

// Load sets what was spent before, by id of key, project, organisation and model; charged lists whom what a key uses is
// charged to beside these. Call it before the first Reserve; a book that spends leases needs none.
func (b *Book) Load(spent map[id.Raw]int64, charged func(key id.Raw) []id.Raw) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, v := range spent {
		b.account(k, k.String).spend(v)
		for _, m := range charged(k) {
			b.account(m, m.String).spend(v)
		}
	}
}

// Spent is what was spent by what has this id, in micro-units: by a key with those that it made. A book that spends leases
// knows what it spent itself.
func (b *Book) Spent(of id.Raw) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.accounts[of]; a != nil {
		return a.spent
	}
	return 0
}

// Ask is a request for a reservation.
type Ask struct {
	Who     *auth.Principal
	Route   id.Raw       // the model, by its route; zero: none
	Prices  meter.Prices // for this kind of call
	Bytes   int          // of the request, for the estimate of its tokens
	Prompt  int          // no more prompt tokens than this, for certain; embedded ones are of the prompt
	Output  int          // no more completion tokens than this for each choice, for certain
	Choices int          // how many choices are generated; at least 1
	// Piece is how many completion tokens of each choice are paid for at first, and each time that Grow is asked for more; 0:
	// all of Output at once.
	Piece int
	// Apart counts against no requests, tokens and places, only money: what the installation asks for its own ends within
	// a request that was admitted, which could wait for itself otherwise.
	Apart bool
	// Count asks for the exact number of prompt tokens; nil when nobody can tell. It is only called when the bound
	// does not fit the money. A fault of kind Invalid says that the request is at fault; any other error that there is
	// no count now, which is not a want of money.
	Count func() (int, error)
}

// bound is the most that the request can cost with so many tokens.
func (a *Ask) bound(prompt, completion int64) int64 { return meter.Bound(prompt, completion, a.Prices) }

// Reservation is the money and the place that one running request holds.
type Reservation struct {
	Output int  // completion tokens allowed for each choice
	Cut    bool // Output was lowered to what the money pays
	Rate   Rate // for the headers of the answer

	book     *Book
	ask      Ask
	accounts []*account // whom it is charged to, its key first
	room     [7]*account
	prompt   int // bound that was reserved for
	paid     int // completion tokens over all choices that were
	held     int64
	bound    bool      // a budget binds it
	at       time.Time // when it was admitted
	minute   int64     // in which it was counted
	tokens   int64     // charged against tokens a minute
	taken    bool      // the accounts have it
	denied   *Refusal  // why it could not pay for more, where that is no want of money
	done     bool
}

// Bounds are the largest numbers of tokens that the reserved money pays for now: what is booked must not exceed them.
// Where no budget binds there is none. Extend and Grow raise them.
func (r *Reservation) Bounds() (prompt, completion int) {
	if !r.bound {
		return maxInt, maxInt
	}
	return r.prompt, r.paid
}

const maxInt = int(^uint(0) >> 1)

// Budgeted says whether a budget binds the reservation.
func (r *Reservation) Budgeted() bool { return r.bound }

// Refusal is why a request may not run.
type Refusal struct {
	Fault *fault.Error  // of kind RateLimited, NoMoney, or Unavailable when nobody could tell
	After time.Duration // when to try again; 0 = waiting does not help
	Rate  Rate
}

// Error is the fault's.
func (r *Refusal) Error() string { return r.Fault.Error() }

// Unwrap gives the fault to errors.As.
func (r *Refusal) Unwrap() error { return r.Fault }

// Reserve lets the request run or returns a *Refusal, what Count says against the request, or the error of ctx. It
// waits, boundedly, for a lease and for money that others only hold.
func (b *Book) Reserve(ctx context.Context, a Ask) (*Reservation, error) {
	return b.ReserveIn(ctx, a, new(Reservation))
}

// ReserveIn is Reserve with the memory for the reservation, which is the caller's again once it is settled.
func (b *Book) ReserveIn(ctx context.Context, a Ask, r *Reservation) (*Reservation, error) {
	a.Choices = max(a.Choices, 1)
	*r = Reservation{Output: a.Output, book: b, ask: a, prompt: a.Prompt}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seat(r)
	if a.Apart {
		r.at = b.now()
	} else if err := b.admit(ctx, r, true); err != nil {
		return nil, err
	}
	if err := b.fund(ctx, r); err != nil {
		b.leave(r, 0)
		return nil, err
	}
	return r, nil
}

// Count takes one request from the requests a minute of all that a request is charged to, for one that is refused before
// there is anything to reserve; a *Refusal, and nothing taken, when one of them has none left. So asking for nothing that
// can be served is no way around limits.
func (b *Book) Count(ctx context.Context, who *auth.Principal) error {
	r := &Reservation{book: b, ask: Ask{Who: who, Choices: 1}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seat(r)
	return b.admit(ctx, r, false)
}

// seat notes the accounts that a request is charged to, with what bounds them now.
func (b *Book) seat(r *Reservation) {
	p := r.ask.Who
	r.accounts = append(r.room[:0], b.account(p.Key, func() string { return p.KeyID }),
		b.account(p.Project, func() string { return p.ProjectID }), b.account(p.Org, func() string { return p.OrgID }))
	for i := range p.Above {
		r.accounts = append(r.accounts, b.account(p.Above[i].Key, func() string { return p.Above[i].KeyID }))
	}
	for i := range p.Members {
		r.accounts = append(r.accounts, b.account(p.Members[i].Raw, func() string { return p.Members[i].ID }))
	}
	if r.ask.Route != (id.Raw{}) {
		r.accounts = append(r.accounts, b.account(r.ask.Route, func() string { return "rte_" + r.ask.Route.String() }))
	}
	b.bind(r)
}

// bind brings what bounds the accounts up to date.
func (b *Book) bind(r *Reservation) {
	generation := b.bounds.Generation()
	for _, a := range r.accounts {
		if a.generation != generation {
			a.generation, a.bound = generation, b.bounds.Bound(a.raw)
		}
	}
}

var broke = fault.New(fault.NoMoney, "The budget of this key, of one that made it, of its member, project or organisation, or of the model cannot pay for the request.",
	fault.Code("insufficient_quota"), fault.Fix("Raise the budget, ask for fewer tokens (max_tokens), or shorten the prompt."))

// fund holds the upper bound of the cost on all accounts, counting the prompt where that decides, and waiting where the
// money is only held by others or leased to them.
func (b *Book) fund(ctx context.Context, r *Reservation) error {
	var uncounted error
	counted := r.ask.Count == nil
	var wait patience
	for {
		if b.hold(r) {
			return nil
		}
		if !counted && b.worthCounting(r) {
			counted = true
			b.mu.Unlock()
			n, err := r.ask.Count()
			b.mu.Lock()
			if uncounted = err; err == nil && n >= 0 && n < r.prompt {
				r.prompt = n
			}
			continue
		}
		if b.cut(r) {
			return nil
		}
		if again, err := b.await(ctx, r, r.need(), r.ask.bound(1, int64(r.ask.Choices)), &wait); err != nil {
			return err
		} else if again {
			continue
		}
		switch {
		case uncounted == nil:
			return &Refusal{Fault: broke, Rate: r.Rate}
		case fault.Is(uncounted, fault.Invalid):
			return uncounted
		}
		return &Refusal{Fault: fault.New(fault.Unavailable, "The tokens of this request could not be counted, and without the count its budget may not pay for it.",
			fault.Code("not_counted"), fault.Fix("Try again in a moment."), fault.Cause(uncounted)), After: time.Second, Rate: r.Rate}
	}
}

// first is how many completion tokens are paid for before there is an answer: all of them where no budget binds, since one
// may be set while the request runs.
func (r *Reservation) first() int {
	n := r.Output
	if r.bound && r.ask.Piece > 0 {
		n = min(n, r.ask.Piece)
	}
	return n * r.ask.Choices
}

// need is the upper bound of the cost of what is to be paid for at first.
func (r *Reservation) need() int64 { return r.ask.bound(int64(r.prompt), int64(r.first())) }

// hold takes what is needed at first from all accounts, or nothing.
func (b *Book) hold(r *Reservation) bool {
	r.bound, r.Output, r.Cut = false, r.ask.Output, false
	for _, a := range r.accounts {
		r.bound = r.bound || a.bound.Budgeted
	}
	if r.bound && r.ask.Piece > 0 && r.ask.Piece < r.Output {
		b.lower(r)
	}
	if cost := r.need(); b.room(r, cost) {
		b.take(r, cost)
		return true
	}
	return false
}

// lower has the engine be asked for no more than all the money could pay that the accounts have, whoever holds it now.
func (b *Book) lower(r *Reservation) {
	full := r.ask.bound(int64(r.prompt), int64(r.Output)*int64(r.ask.Choices))
	most := full
	for _, a := range r.accounts {
		if a.bound.Budgeted && a.told(full, r.at) {
			most = min(most, a.promise())
		}
	}
	if most < full {
		if each := meter.Affordable(most, int64(r.prompt), r.ask.Prices) / int64(r.ask.Choices); each > 0 && each < int64(r.Output) {
			r.Output, r.Cut = int(each), true
		}
	}
}

// room says whether every account has so much left.
func (b *Book) room(r *Reservation, cost int64) bool {
	for _, a := range r.accounts {
		if a.bound.Budgeted && (a.left() < cost || a.lease != nil && b.lessor.fenced) {
			return false
		}
	}
	return true
}

func (b *Book) take(r *Reservation, cost int64) {
	r.held, r.paid, r.taken = cost, r.first(), true
	b.held.add(cost)
	b.open++
	for _, a := range r.accounts {
		a.held.add(cost)
		a.open++
		if a.lease != nil && a.bound.Budgeted {
			b.lessor.used(a, r.at)
		}
	}
}

// reach is the least that any account can give, now or by a lease; busy says that something else runs on one, or is leased
// to another node, that has less than cost.
func (r *Reservation) reach(cost int64) (room int64, busy bool) {
	room = 1<<63 - 1
	for _, a := range r.accounts {
		if a.bound.Budgeted {
			left := a.reach()
			room = min(room, left)
			busy = busy || left < cost && a.busy()
		}
	}
	return room, busy
}

// worthCounting spares the engine the question when the answer cannot matter.
func (b *Book) worthCounting(r *Reservation) bool {
	least := r.ask.bound(1, int64(r.first()))
	room, busy := r.reach(least)
	if !busy { // it may run alone, with its output cut
		least = r.ask.bound(1, int64(r.ask.Choices))
	}
	return room >= least
}

// cut lets a request that is alone on the accounts that are short run for as many tokens as their money pays.
func (b *Book) cut(r *Reservation) bool {
	full := r.need()
	free := int64(1<<63 - 1)
	for _, a := range r.accounts {
		if !a.bound.Budgeted {
			continue
		}
		left := a.left()
		if left < full && (a.busy() || !a.told(full, b.now())) {
			return false
		}
		free = min(free, left)
	}
	if free <= 0 {
		return false
	}
	each := meter.Affordable(free, int64(r.prompt), r.ask.Prices) / int64(r.ask.Choices)
	if each < 1 || each >= int64(r.Output) {
		return false
	}
	r.Output, r.Cut = int(each), true
	b.take(r, r.need())
	return true
}

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
	b.held.sub(r.held)
	b.open--
	for _, a := range r.accounts {
		a.held.sub(r.held)
		a.open--
		a.spend(cost)
		a.wake()
		if a.lease != nil {
			b.lessor.settled(a)
		}
	}
	used := int64(prompt) + int64(completion)
	if exact {
		r.accounts[0].learn(r.ask.Bytes, prompt, completion)
	} else {
		used = max(used, r.tokens)
	}
	b.leave(r, used)
}
