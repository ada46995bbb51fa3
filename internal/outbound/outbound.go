// Package outbound makes HTTP connections to addresses that users name, such as those of providers and webhooks, without
// letting them reach what only this machine or its network can.
//
// Rules for callers: use a transport of New for whatever goes to such an address; where a person with the right to do so
// allowed it, Private reaches inner addresses as well. Addresses are checked when they are dialled, after names were
// resolved, so a name that resolves differently the second time gains nothing. Follow no redirects: call RoundTrip.
package outbound

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Options of a transport.
type Options struct {
	Private bool          // inner addresses and plain http are allowed
	Dial    time.Duration // longest time to connect; 0 = 10 s
	Head    time.Duration // longest time from the request's end to the answer's head; 0 = none
	Idle    int           // unused connections kept for each address; 0 = 64
	TLS     *tls.Config   // nil = the system's roots, TLS 1.2 and up
}

// MaxHead is the largest head of an answer, bytes.
const MaxHead = 64 << 10

// New makes a transport that uses no proxy of the environment, which would dial for us unseen, and unpacks nothing.
func New(o Options) *http.Transport {
	if o.Dial <= 0 {
		o.Dial = 10 * time.Second
	}
	if o.Idle <= 0 {
		o.Idle = 64
	}
	d := &net.Dialer{Timeout: o.Dial, KeepAlive: 30 * time.Second}
	if !o.Private {
		d.Control = control
	}
	conf := o.TLS
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConns: 4 * o.Idle, MaxIdleConnsPerHost: o.Idle, IdleConnTimeout: 60 * time.Second,
		TLSHandshakeTimeout: o.Dial, ResponseHeaderTimeout: o.Head, MaxResponseHeaderBytes: MaxHead, ExpectContinueTimeout: time.Second,
	}
}

// control refuses a connection by the address that it is really made to.
func control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fault.New(fault.Forbidden, "An address to connect to cannot be read.", fault.Cause(err))
	}
	if !Public(a.Addr()) {
		return fault.New(fault.Forbidden, "The address "+a.Addr().String()+" is not a public one.", fault.Code("private_address"),
			fault.Fix("Whoever operates this installation can allow it with --allow-private."))
	}
	return nil
}

// inner are networks that netip has no word for: this network, shared address space (RFC 6598), protocol assignments,
// documentation, benchmarks, 6to4 relays, reserved; in IPv6 discard, documentation, benchmarks, Teredo and 6to4, which
// can hold any IPv4 address, site-local, and the translation prefixes of RFC 6052 and 8215.
var inner = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "100::/64", "2001:db8::/32", "2001::/23", "2002::/16", "3fff::/20",
	"fec0::/10", "64:ff9b::/96", "64:ff9b:1::/48", "::/96")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Public says whether an address is one of the open internet: not loopback, private (RFC 1918, unique local), link-local
// (which has the metadata services of clouds), multicast, unspecified or of a network with a special purpose.
func Public(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if !a.IsValid() || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() ||
		a.IsInterfaceLocalMulticast() || a.IsMulticast() || a.IsUnspecified() {
		return false
	}
	for _, p := range inner {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// CheckURL reads the address of something outside: https, or http too where private addresses are allowed, with a host
// and without user, query and fragment. Names are resolved and judged when they are dialled.
func CheckURL(field, text string, private bool) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > 2048 || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" ||
		strings.ContainsAny(u.Host, " \r\n") || !port(u.Port()) {
		return nil, fault.New(fault.Invalid, "The address is not a URL with a host and nothing but a path.", fault.Field(field),
			fault.Fix("Write for example https://api.example.org/v1"))
	}
	switch {
	case u.Scheme == "https", u.Scheme == "http" && private:
	case u.Scheme == "http":
		return nil, fault.New(fault.Invalid, "The address has no TLS.", fault.Field(field), fault.Fix("Use https, or --allow-private for an address inside your network."))
	default:
		return nil, fault.InvalidField(field, "The address must begin with https://.")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !private && !Public(a) {
		return nil, fault.New(fault.Forbidden, "The address "+a.String()+" is not a public one.", fault.Field(field), fault.Code("private_address"),
			fault.Fix("Whoever operates this installation can allow it with --allow-private."))
	}
	return u, nil
}

func port(s string) bool {
	if s == "" {
		return true
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
