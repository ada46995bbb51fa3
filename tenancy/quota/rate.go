package quota

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// Rate is the state of the limits that a request met after it was admitted or refused, of requests and of tokens the
// tightest of all that it is charged to; limits of 0 are absent.
type Rate struct {
	LimitRequests, RemainingRequests int64
	LimitTokens, RemainingTokens     int64
	ResetRequests, ResetTokens       time.Duration // until all of it is there again: the end of the minute
}

// moment is a time as the limits count it.
type moment struct {
	at     time.Time     // this process's clock
	minute int64         // since 1970, of the clock that the minutes are of
	end    time.Duration // until the minute ends
	sure   bool          // it is this minute and no other, for certain
}

const minute = time.Minute

// moment is now.
func (b *Book) moment() moment {
	now := b.now()
	if b.lessor != nil {
		return b.lessor.moment(now)
	}
	return instant(now, now)
}

// instant is the moment at, which is t by the clock of the minutes.
func instant(at, t time.Time) moment {
	ns := t.UnixNano()
	return moment{at: at, minute: ns / int64(minute), end: minute - time.Duration(ns%int64(minute)), sure: true}
}

// admit takes one request, and if it is whole its estimated tokens and a place, from each account, or nothing.
func (b *Book) admit(ctx context.Context, r *Reservation, whole bool) error {
	guess := r.accounts[0].guess(&r.ask)
	if !whole {
		guess = 0
	}
	for tries := 0; ; tries++ {
		m := b.moment()
		lacks, refused := b.check(r, m, guess, whole)
		if refused != nil {
			refused.Rate = r.rate(m)
			return refused
		}
		if !lacks {
			b.count(r, m, guess, whole)
			return nil
		}
		if err := b.lessor.round(ctx, tries); err != nil {
			if refused, ok := err.(*Refusal); ok { //nolint:errorlint // made by round itself
				refused.Rate = r.rate(m)
			}
			return err
		}
		b.bind(r)
	}
}

// check says whether the request may run as far as its accounts know; lacks says that leases must be had first.
func (b *Book) check(r *Reservation, m moment, guess int64, whole bool) (lacks bool, refused *Refusal) {
	for i, a := range r.accounts {
		l := &a.bound.Limits
		if l.RPM == 0 && (!whole || l.TPM == 0 && l.Concurrency == 0) {
			a.roll(m.minute)
			continue
		}
		if a.lease != nil && b.lessor.fenced {
			return false, b.lessor.unavailable()
		}
		if a.lease != nil && !m.sure { // between two minutes: look again in a moment
			return true, nil
		}
		a.roll(m.minute)
		lack := shortOf{}
		if whole && l.Concurrency > 0 {
			if a.running >= l.Concurrency {
				return false, refuse(time.Second, "concurrency", r.subject(i)+" has as many requests running as it may have.", "Wait until one has ended.")
			}
			lack.place = a.running >= b.placesOf(a, m.at)
		}
		if l.RPM > 0 {
			if a.requests >= l.RPM {
				return false, refuse(m.end, "requests_per_minute", r.subject(i)+" has made as many requests as it may make in a minute.", "Wait and try again.")
			}
			lack.request = a.requests >= a.requestsHere(m)
		}
		if whole && l.TPM > 0 {
			if a.tokens > 0 && a.tokens+guess > l.TPM {
				return false, refuse(m.end, "tokens_per_minute", r.subject(i)+" has used as many tokens as it may use in a minute.", "Wait and try again.")
			}
			if need := a.tokens + min(guess, l.TPM) - a.tokensHere(m); need > 0 {
				lack.tokens = need
			}
		}
		if lack != (shortOf{}) {
			if refused := b.lessor.want(a, lack, m, r.subject(i)); refused != nil {
				return false, refused
			}
			lacks = true
		}
	}
	return lacks, nil
}

// shortOf is what an account needs leases of before it can admit a request.
type shortOf struct {
	place, request bool
	tokens         int64
}

// count notes an admitted request.
func (b *Book) count(r *Reservation, m moment, guess int64, whole bool) {
	r.at, r.minute, r.tokens = m.at, m.minute, guess
	for _, a := range r.accounts {
		a.requests++
		a.tokens += guess
		if whole {
			a.running++
		}
		if a.lease != nil && (a.bound.RPM > 0 || a.bound.TPM > 0 || a.bound.Concurrency > 0) {
			b.lessor.counted(a, m)
		}
	}
	r.Rate = r.rate(m)
}

// leave gives the places back and corrects the tokens taken to those used. A minute that is over keeps what it counted;
// what was used beyond the estimate counts in the present one, so that long answers are not free.
func (b *Book) leave(r *Reservation, used int64) {
	if r.ask.Apart {
		return
	}
	more := used - r.tokens
	for _, a := range r.accounts {
		a.running--
		if r.minute == a.minute || more > 0 {
			a.tokens = max(0, a.tokens+more)
		}
	}
}

// subject names the i-th account of a request in a refusal.
func (r *Reservation) subject(i int) string {
	switch above := len(r.ask.Who.Above); {
	case i == 0:
		return "This key"
	case i == 1:
		return "The project"
	case i == 2:
		return "The organisation"
	case i < 3+above:
		return "A key that made this one"
	case i < 3+above+len(r.ask.Who.Members):
		return "The member"
	}
	return "The model"
}

func refuse(after time.Duration, code, message, fix string) *Refusal {
	return &Refusal{Fault: fault.New(fault.RateLimited, message, fault.Code(code), fault.Fix("%s", fix)), After: after}
}

// rate is where the limits of a request's accounts stand: of requests and of tokens the one with the least left.
func (r *Reservation) rate(m moment) (out Rate) {
	for _, a := range r.accounts {
		requests, tokens := a.requests, a.tokens
		if a.minute != m.minute {
			requests, tokens = 0, 0
		}
		if l := a.lease; l != nil && l.minute == m.minute {
			requests, tokens = requests+l.othersRequests, tokens+l.othersTokens
		}
		if n := a.bound.RPM; n > 0 {
			if left := max(0, n-requests); out.LimitRequests == 0 || left < out.RemainingRequests {
				out.LimitRequests, out.RemainingRequests, out.ResetRequests = n, left, reset(left, n, m)
			}
		}
		if n := a.bound.TPM; n > 0 {
			if left := max(0, n-tokens); out.LimitTokens == 0 || left < out.RemainingTokens {
				out.LimitTokens, out.RemainingTokens, out.ResetTokens = n, left, reset(left, n, m)
			}
		}
	}
	return out
}

func reset(left, limit int64, m moment) time.Duration {
	if left >= limit {
		return 0
	}
	return m.end
}

var _ Bounds = (*auth.Keyring)(nil)
