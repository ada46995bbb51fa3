package remote

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
)

// key is a Key with the time until which it is not used.
type key struct {
	Key
	rests atomic.Int64 // Unix microseconds
}

// How long a key rests.
const (
	restRefused = 10 * time.Minute // the provider does not accept it, or wants money
	restLimited = 10 * time.Second // too many requests, and no word of how long
	restMost    = time.Hour
)

// pick takes the keys in turn, leaving out those that rest; nil where the provider has none at all.
func (p *Provider) pick() (*key, error) {
	if len(p.keys) == 0 {
		return nil, nil
	}
	now := p.Now().UnixMicro()
	first := int(p.turn.Add(1) % uint32(len(p.keys)))
	for i := range p.keys {
		if k := p.keys[(first+i)%len(p.keys)]; k.rests.Load() <= now {
			return k, nil
		}
	}
	rest := p.rest()
	return nil, fault.New(fault.Unavailable, "Every key of the provider was refused lately.", fault.Code(engine.KeysRest), fault.After(rest),
		fault.Fix("Try again in %s.", rest.Round(time.Second)))
}

// rest is how long it is until one of the keys is used again; 0 where one is, or there is none.
func (p *Provider) rest() time.Duration {
	now, soonest := p.Now().UnixMicro(), int64(0)
	for i, k := range p.keys {
		if until := k.rests.Load(); i == 0 || until < soonest {
			soonest = until
		}
	}
	return time.Duration(max(soonest-now, 0)) * time.Microsecond
}

// judge says whether an answer speaks against the key rather than the request, and has the key rest then.
func (k *key) judge(r *http.Response, now time.Time) bool {
	var rest time.Duration
	switch r.StatusCode {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden:
		rest = restRefused
	case http.StatusTooManyRequests:
		rest = retryAfter(r.Header.Get("Retry-After"), now)
	default:
		return false
	}
	if k != nil {
		k.rests.Store(now.Add(rest).UnixMicro())
	}
	return true
}

// retryAfter reads seconds or a date, within bounds.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	d := restLimited
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n < 1e6 {
		d = time.Duration(n * float64(time.Second))
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), restMost)
}

// Resting are the ids of keys that are not used now, each with when it will be again.
func (p *Provider) Resting() map[string]time.Time {
	now, out := p.Now(), map[string]time.Time{}
	for _, k := range p.keys {
		if until := time.UnixMicro(k.rests.Load()); until.After(now) {
			out[k.ID] = until
		}
	}
	return out
}
