package quota

import (
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// Rate is the state of a key's limits after a request was admitted or refused, of requests and of tokens the tightest
// along the keys above it; limits of 0 are absent.
type Rate struct {
	LimitRequests, RemainingRequests int64
	LimitTokens, RemainingTokens     int64
	ResetRequests, ResetTokens       time.Duration // until all of it is there again
}

// pace is how fast one key goes, with those that it made. Requests and tokens a minute are each a bucket that holds a minute's worth and
// fills evenly, kept as the moment at which it is full again (the generic cell rate algorithm).
type pace struct {
	requests, tokens time.Time
	running          int64
	perByte          float64 // prompt tokens a byte of request, learnt
	output           float64 // completion tokens a request, learnt
}

// Starting points of what is learnt: a quarter of a token a byte, and a short answer.
const (
	firstPerByte = 0.25
	firstOutput  = 64
	learning     = 0.1
)

func (b *Book) pace(key id.Raw) *pace {
	p := b.keys[key]
	if p == nil {
		p = &pace{perByte: firstPerByte, output: firstOutput}
		b.keys[key] = p
	}
	return p
}

// rung is a key whose limits a request meets: its own, or one above it.
type rung struct {
	pace   *pace
	limits tenancy.Limits
}

// rung is the i-th of the 1+len(Above) rungs of a request: its own key first.
func (b *Book) rung(who *auth.Principal, i int) rung {
	if i == 0 {
		return rung{b.pace(who.Key), who.Limits}
	}
	a := &who.Above[i-1]
	return rung{b.pace(a.Key), a.Limits}
}

// admit takes one request, its estimated tokens and one place from each rung, or nothing.
func (b *Book) admit(r *Reservation) error {
	who, now := r.ask.Who, b.now()
	guess := b.pace(who.Key).guess(&r.ask)
	for i := range 1 + len(who.Above) {
		if refused := b.rung(who, i).full(subject(i), guess, now); refused != nil {
			refused.Rate = b.rate(who, now)
			return refused
		}
	}
	r.tokens = guess
	for i := range 1 + len(who.Above) {
		x := b.rung(who, i)
		x.pace.running++
		x.once(now)
		x.charge(guess, now)
	}
	r.Rate = b.rate(who, now)
	return nil
}

// Count takes one request from the requests a minute of a key and those above it, for a request that is refused before
// there is anything to reserve; a *Refusal, and nothing taken, when one of them has none left. So asking for nothing
// that can be served is no way around limits.
func (b *Book) Count(who *auth.Principal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for i := range 1 + len(who.Above) {
		if refused := b.rung(who, i).fast(subject(i), now); refused != nil {
			refused.Rate = b.rate(who, now)
			return refused
		}
	}
	for i := range 1 + len(who.Above) {
		b.rung(who, i).once(now)
	}
	return nil
}

// subject names the i-th rung in a refusal.
func subject(i int) string {
	if i > 0 {
		return "A key that made this one"
	}
	return "This key"
}

// once takes a request of those a minute.
func (x rung) once(now time.Time) {
	if n := x.limits.RPM; n > 0 {
		x.pace.requests = spend(x.pace.requests, now, 1, n)
	}
}

// leave gives the places back and corrects the tokens taken to those used.
func (b *Book) leave(r *Reservation, used int64) {
	now := b.now()
	for i := range 1 + len(r.ask.Who.Above) {
		x := b.rung(r.ask.Who, i)
		x.pace.running--
		x.charge(used-r.tokens, now)
	}
}

func (x rung) charge(tokens int64, now time.Time) {
	if n := x.limits.TPM; n > 0 {
		x.pace.tokens = spend(x.pace.tokens, now, tokens, n)
	}
}

// full is why the rung takes no request of so many tokens now; nil if it does.
func (x rung) full(subject string, tokens int64, now time.Time) *Refusal {
	p, l := x.pace, x.limits
	if l.Concurrency > 0 && p.running >= l.Concurrency {
		return refuse(time.Second, "concurrency", subject+" has as many requests running as it may have.", "Wait until one has ended.")
	}
	if refused := x.fast(subject, now); refused != nil {
		return refused
	}
	if l.TPM > 0 {
		if over := excess(p.tokens, now, tokens, l.TPM); over > 0 && p.tokens.After(now) {
			return refuse(over, "tokens_per_minute", subject+" has used as many tokens as it may use in a minute.", "Wait and try again.")
		}
	}
	return nil
}

// fast is why the rung takes no further request in this minute; nil if it does.
func (x rung) fast(subject string, now time.Time) *Refusal {
	if n := x.limits.RPM; n > 0 {
		if over := excess(x.pace.requests, now, 1, n); over > 0 {
			return refuse(over, "requests_per_minute", subject+" has made as many requests as it may make in a minute.", "Wait and try again.")
		}
	}
	return nil
}

func refuse(after time.Duration, code, message, fix string) *Refusal {
	return &Refusal{Fault: fault.New(fault.RateLimited, message, fault.Code(code), fault.Fix("%s", fix)), After: after}
}

func (p *pace) guess(a *Ask) int64 {
	prompt := min(p.perByte*float64(a.Bytes), float64(a.Prompt))
	output := min(p.output, float64(a.Output)) * float64(a.Choices)
	return max(1, int64(prompt+output))
}

func (p *pace) learn(bytes, prompt, completion int) {
	if bytes <= 0 || prompt <= 0 {
		return
	}
	p.perByte += learning * (float64(prompt)/float64(bytes) - p.perByte)
	p.output += learning * (float64(completion) - p.output)
}

// rate is where the limits of a key and those above it stand: of requests and of tokens the rung with the least left.
func (b *Book) rate(who *auth.Principal, now time.Time) (out Rate) {
	for i := range 1 + len(who.Above) {
		x := b.rung(who, i)
		if n := x.limits.RPM; n > 0 {
			reset := max(0, x.pace.requests.Sub(now))
			if left := remaining(reset, n); out.LimitRequests == 0 || left < out.RemainingRequests {
				out.LimitRequests, out.RemainingRequests, out.ResetRequests = n, left, reset
			}
		}
		if n := x.limits.TPM; n > 0 {
			reset := max(0, x.pace.tokens.Sub(now))
			if left := remaining(reset, n); out.LimitTokens == 0 || left < out.RemainingTokens {
				out.LimitTokens, out.RemainingTokens, out.ResetTokens = n, left, reset
			}
		}
	}
	return out
}

// span is the time in which n of a bucket of limit a minute flow in.
func span(n, limit int64) time.Duration {
	return time.Duration(float64(n) / float64(limit) * float64(time.Minute))
}

// excess is how long to wait until n more fit into the bucket that is full again at tat.
func excess(tat, now time.Time, n, limit int64) time.Duration {
	base := max(0, tat.Sub(now))
	return base + span(n, limit) - time.Minute
}

// spend takes n (or gives back, if negative) and returns when the bucket is full again.
func spend(tat, now time.Time, n, limit int64) time.Time {
	if tat.Before(now) {
		tat = now
	}
	tat = tat.Add(span(n, limit))
	if tat.Before(now) {
		return now
	}
	return tat
}

func remaining(reset time.Duration, limit int64) int64 {
	return max(0, int64(float64(time.Minute-reset)/float64(time.Minute)*float64(limit)+1e-6))
}
