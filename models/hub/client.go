package hub

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/outbound"
)

// Client pulls models. The zero value is not usable: see New.
type Client struct {
	// Transport carries a request to u; private: u is the host of a mirror that may be an inner address.
	Transport func(private bool, u *url.URL) (http.RoundTripper, error)
	Now       func() time.Time
	// Sleep waits, and ends early with the context.
	Sleep func(ctx context.Context, d time.Duration) error
	// Timer calls f after d unless it is stopped; it guards against connections that give nothing any more.
	Timer func(d time.Duration, f func()) Stopper
	// Free is how many bytes there is room for in a folder; nil: not looked at.
	Free func(dir string) (int64, error)

	Block    int64         // bytes that are checked and remembered together; 0: 1 MiB
	Span     int           // most blocks that one request asks for; 0: 64
	Workers  int           // connections at once; 0: 4
	Stall    time.Duration // longest time without a byte; 0: 60 s
	Failures int           // failures in a row, without a block between them, that end a pull; 0: 10
	Most     int64         // bytes of one model; 0: 4 TiB
}

// Stopper is what a timer is to the client.
type Stopper interface {
	Stop() bool
	Reset(d time.Duration) bool
}

// New makes a client of the real clock. proxy says which proxy the environment names for an address; nil: none.
func New(proxy func(*http.Request) (*url.URL, error), free func(string) (int64, error)) *Client {
	return &Client{
		Transport: Transports(proxy, nil), Now: time.Now, Sleep: sleep, Free: free,
		Timer: func(d time.Duration, f func()) Stopper { return time.AfterFunc(d, f) },
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Transports makes the transports of a client: one that reaches public addresses only, one for the hosts of mirrors that may be
// inner ones, and one for what goes by a proxy of the environment. A proxy resolves and dials for us, so that addresses cannot
// be judged when they are dialled: then names are judged as far as they show what they are, and the rest is the proxy's duty.
func Transports(proxy func(*http.Request) (*url.URL, error), conf *tls.Config) func(bool, *url.URL) (http.RoundTripper, error) {
	options := outbound.Options{Dial: 15 * time.Second, Head: 60 * time.Second, Idle: 16, TLS: conf}
	public := outbound.New(options)
	options.Private = true
	inner, proxied := outbound.New(options), outbound.New(options)
	proxied.Proxy = proxy
	return func(private bool, u *url.URL) (http.RoundTripper, error) {
		if proxy != nil {
			by, err := proxy(&http.Request{URL: u})
			if err != nil {
				return nil, fault.New(fault.Invalid, "The proxy that the environment names cannot be read.", fault.Code("bad_proxy"), fault.Cause(err))
			}
			if by != nil {
				if !private && insideName(u.Hostname()) {
					return nil, fault.New(fault.Forbidden, "The address "+u.Hostname()+" is not a public one.", fault.Code("private_address"))
				}
				return proxied, nil
			}
		}
		if private {
			return inner, nil
		}
		return public, nil
	}
}

// insideName says whether a host shows by its name that it is no public one.
func insideName(host string) bool {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return !outbound.Public(a)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, end := range []string{".local", ".localhost", ".internal", ".lan", ".home.arpa", ".intranet", ".corp"} {
		if strings.HasSuffix(host, end) {
			return true
		}
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return !strings.Contains(host, ".") || strings.Trim(last, "0123456789abcdefx") == "" && strings.ContainsAny(last, "0123456789") // 127.1, 0x7f.1
}

func or[T int | int64 | time.Duration](v, usual T) T {
	if v > 0 {
		return v
	}
	return usual
}
