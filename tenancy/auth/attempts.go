package auth

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// How many wrong keys one address may send: a burst at once, then so many a second. Everybody on the machine itself,
// and whoever comes through a proxy on it, shares the loopback address.
const (
	wrongBurst, wrongPerSecond           = 20, 0.5
	wrongBurstLocal, wrongPerSecondLocal = 200, 10
	// maxAddresses bounds what is remembered; addresses beyond it share one allowance.
	maxAddresses = 8192
)

// TooMany is the cause inside the fault of an address that has sent too many wrong keys.
type TooMany struct {
	After time.Duration // when the next attempt will be heard
}

// Error implements error.
func (t *TooMany) Error() string { return fmt.Sprintf("the next attempt is heard in %s", t.After) }

// Seconds is a waiting time in whole seconds, never less than it takes: the form of the Retry-After header.
func Seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// attempts counts wrong keys by address: a token bucket for each, in a table of bounded size.
type attempts struct {
	now   func() time.Time
	mu    sync.Mutex
	of    map[netip.Prefix]*bucket
	swept time.Time
}

type bucket struct {
	left float64
	at   time.Time
}

// shared is the bucket of the addresses that the table has no room for, and of those that are none.
var shared = netip.Prefix{}

// local is the bucket of all loopback addresses.
var local = netip.MustParsePrefix("127.0.0.0/8")

// wrong notes a wrong key from an address, host:port. It returns how long its next attempt has to wait, 0 while the
// address has attempts left.
func (a *attempts) wrong(remote string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, from := a.now(), whose(remote)
	b := a.of[from]
	if b == nil {
		if len(a.of) >= maxAddresses {
			a.sweep(now)
		}
		if len(a.of) >= maxAddresses {
			from = shared
		}
		if b = a.of[from]; b == nil {
			burst, _ := allowance(from)
			b = &bucket{left: burst, at: now}
			a.of[from] = b
		}
	}
	burst, rate := allowance(from)
	b.left = math.Min(burst, b.left+rate*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.left >= 1 {
		b.left--
		return 0
	}
	return time.Duration(math.Ceil((1 - b.left) / rate * float64(time.Second)))
}

// sweep forgets the addresses whose bucket is full again. It looks at all of them at most once a second.
func (a *attempts) sweep(now time.Time) {
	if now.Sub(a.swept) < time.Second {
		return
	}
	a.swept = now
	for from, b := range a.of {
		if burst, rate := allowance(from); b.left+rate*now.Sub(b.at).Seconds() >= burst {
			delete(a.of, from)
		}
	}
}

func allowance(from netip.Prefix) (burst, perSecond float64) {
	if from == shared || from == local {
		return wrongBurstLocal, wrongPerSecondLocal
	}
	return wrongBurst, wrongPerSecond
}

// whose is the prefix that an address shares its allowance with: itself for IPv4; for IPv6 its /64, which one machine
// has to itself.
func whose(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return shared
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.IsLoopback() {
		return local
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return shared
	}
	return p
}

// AuthenticateFrom is Authenticate for a request from an address, host:port. An address that sends wrong keys again
// and again is refused as fault.RateLimited with the code too_many_wrong_keys and a *TooMany inside. Only wrong keys
// are: secrets of 256 random bits need no protection against guessing, and behind a proxy those who have a key share
// an address with those who have none.
func (k *Keyring) AuthenticateFrom(remote, secret string) (*Principal, error) {
	p, err := k.Authenticate(secret)
	if err == nil || secret == "" {
		return p, err
	}
	after := k.attempts.wrong(remote)
	if after == 0 {
		return nil, err
	}
	return nil, fault.New(fault.RateLimited, "Too many requests from this address had a wrong API key. The last: "+fault.As(err).Message,
		fault.Code("too_many_wrong_keys"), fault.Fix("Check the key, and wait %d s.", Seconds(after)), fault.Cause(&TooMany{after}))
}
