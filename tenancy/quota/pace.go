package quota

import (
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// Rate is the state of a key's limits after a request was admitted or refused; limits of 0 are absent.
type Rate struct {
	LimitRequests, RemainingRequests int64
	LimitTokens, RemainingTokens     int64
	ResetRequests, ResetTokens       time.Duration // until all of it is there again
}

// pace is how fast one key goes. Requests and tokens a minute are each a bucket that holds a minute's worth and
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

// admit takes one request, its estimated tokens and one place, or nothing.
func (p *pace) admit(r *Reservation, now time.Time) error {
	l := r.ask.Who.Limits
	guess := p.guess(&r.ask)
	refuse := func(after time.Duration, code, message, fix string) error {
		r.Rate = p.rate(r, now)
		return &Refusal{Fault: fault.New(fault.RateLimited, message, fault.Code(code), fault.Fix("%s", fix)),
			After: after, Rate: r.Rate}
	}
	if l.Concurrency > 0 && p.running >= l.Concurrency {
		return refuse(time.Second, "concurrency", "This key has as many requests running as it may have.", "Wait until one has ended.")
	}
	if l.RPM > 0 {
		if over := excess(p.requests, now, 1, l.RPM); over > 0 {
			return refuse(over, "requests_per_minute", "This key has made as many requests as it may make in a minute.", "Wait and try again.")
		}
	}
	if l.TPM > 0 {
		if over := excess(p.tokens, now, guess, l.TPM); over > 0 && p.tokens.After(now) {
			return refuse(over, "tokens_per_minute", "This key has used as many tokens as it may use in a minute.", "Wait and try again.")
		}
	}
	p.running++
	if l.RPM > 0 {
		p.requests = spend(p.requests, now, 1, l.RPM)
	}
	if l.TPM > 0 {
		r.tokens = guess
		p.tokens = spend(p.tokens, now, guess, l.TPM)
	}
	r.Rate = p.rate(r, now)
	return nil
}

// leave gives the place back and corrects the tokens taken to those used.
func (p *pace) leave(r *Reservation, used int64, now time.Time) {
	p.running--
	if l := r.ask.Who.Limits; l.TPM > 0 {
		p.tokens = spend(p.tokens, now, used-r.tokens, l.TPM)
	}
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

func (p *pace) rate(r *Reservation, now time.Time) Rate {
	l, out := r.ask.Who.Limits, Rate{}
	if l.RPM > 0 {
		out.LimitRequests, out.ResetRequests = l.RPM, max(0, p.requests.Sub(now))
		out.RemainingRequests = remaining(out.ResetRequests, l.RPM)
	}
	if l.TPM > 0 {
		out.LimitTokens, out.ResetTokens = l.TPM, max(0, p.tokens.Sub(now))
		out.RemainingTokens = remaining(out.ResetTokens, l.TPM)
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
