package quota

import (
	"context"
	"errors"

	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Grow has the reservation pay for at least so many completion tokens over all choices, and where there is money enough for
// a piece more than it did. It waits for a lease, and as long as the book's patience lasts for money that others only
// hold. It is false, and changes nothing, where the money ends, the tokens are more than Output allows, ctx does, or nobody
// can tell (Denied); what was reserved before stays.
func (r *Reservation) Grow(ctx context.Context, completion int) bool {
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	most := r.Output * r.ask.Choices
	switch {
	case r.done:
		return false
	case !r.bound || completion <= r.paid:
		return true
	case completion > most:
		return false
	}
	extra := func() int64 { return r.ask.bound(int64(r.prompt), int64(completion)) - r.held }
	return b.lengthen(ctx, r, extra, func() bool { return b.grow(r, completion, most) })
}

// Extend has the reservation pay for so many prompt tokens, where they prove to be more than was reserved for: images
// and tools can be more tokens than their request has bytes. It waits and fails as Grow does.
func (r *Reservation) Extend(ctx context.Context, prompt int) bool {
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.done || prompt <= r.prompt {
		return !r.done
	}
	extra := func() int64 { return r.ask.bound(int64(prompt), int64(r.paid)) - r.held }
	if !b.lengthen(ctx, r, extra, func() bool { return b.more(r, extra()) }) {
		return false
	}
	r.prompt = prompt
	return true
}

// Denied is why the last Extend or Grow that failed did so where nobody could tell whether there is money; nil where there
// is none.
func (r *Reservation) Denied() *Refusal {
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	return r.denied
}

// lengthen tries to take more until there is money for it, or no hope of any. extra is what it costs beyond what is held.
func (b *Book) lengthen(ctx context.Context, r *Reservation, extra func() int64, try func() bool) bool {
	for wait := (patience{}); !r.done; {
		b.bind(r)
		if try() {
			return true
		}
		cost := extra()
		again, err := b.await(ctx, r, cost, r.held+cost, &wait)
		if err != nil || !again {
			r.denied, _ = errors.AsType[*Refusal](err)
			return false
		}
	}
	return false
}

// grow has the accounts pay for the next piece. Where little is left, it is shared with the others that run on it, but at
// least what is needed is taken.
func (b *Book) grow(r *Reservation, completion, most int) bool {
	if !b.room(r, r.ask.bound(int64(r.prompt), int64(completion))-r.held) {
		return false
	}
	to := int64(min(most, max(completion, r.paid+r.ask.Piece*r.ask.Choices)))
	for _, a := range r.accounts {
		if a.bound.Budgeted {
			share := max(a.left(), 0) / int64(max(a.open, 1))
			to = min(to, meter.Affordable(min(r.held, 1<<62)+min(share, 1<<62), int64(r.prompt), r.ask.Prices))
		}
	}
	to = max(to, int64(completion))
	if !b.more(r, r.ask.bound(int64(r.prompt), to)-r.held) {
		return false
	}
	r.paid = int(to)
	return true
}

// more takes so much more from all accounts, or nothing.
func (b *Book) more(r *Reservation, cost int64) bool {
	if !b.room(r, cost) {
		return false
	}
	r.held += cost
	b.held.add(cost)
	now := b.now()
	for _, a := range r.accounts {
		a.held.add(cost)
		if a.lease != nil && a.bound.Budgeted {
			b.lessor.used(a, now)
		}
	}
	return true
}
