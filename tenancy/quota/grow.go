package quota

import (
	"context"

	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Grow has the reservation pay for at least so many completion tokens over all choices, and where there is money enough for
// a piece more than it did. It waits for a lease, and as long as the book's patience lasts for money that others only
// hold. It is false, and changes nothing, where the money ends, the tokens are more than Output allows, or ctx does; what
// was reserved before stays.
func (r *Reservation) Grow(ctx context.Context, completion int) bool {
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	var wait patience
	for most := r.Output * r.ask.Choices; !r.done; {
		switch {
		case !r.bound || completion <= r.paid:
			return true
		case completion > most:
			return false
		}
		b.bind(r)
		if b.grow(r, completion, most) {
			return true
		}
		extra := r.ask.bound(int64(r.prompt), int64(completion)) - r.held
		if again, err := b.await(ctx, r, extra, r.held+extra, &wait); err != nil || !again {
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
