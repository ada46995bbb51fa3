package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/outbound"
)

// Bounds of a request.
const (
	maxHops  = 5
	maxAfter = 15 * time.Minute // a longer rest is not waited for
)

// source is a mirror of one pull and how it has behaved. Its fields from rest on are guarded by whoever uses it.
type source struct {
	Mirror
	url  *url.URL
	mark string // names it in journals

	rest   time.Time // not asked before this
	failed int       // times in a row
}

// sources reads the mirrors of a spec, the source's own host where it names none.
func (s Spec) sources() ([]*source, error) {
	list := s.Mirrors
	if len(list) == 0 {
		list = []Mirror{{URL: s.Source.Home()}}
	}
	var out []*source
	for _, m := range list {
		u, err := outbound.CheckURL("mirror", m.URL, m.Private)
		if err != nil {
			return nil, err
		}
		if u.Path == "" {
			u.Path = "/" // what is joined to it is else no path of a host
		}
		out = append(out, &source{Mirror: m, url: u, mark: short(m.URL)})
	}
	return out, nil
}

// trouble is why a request gave nothing.
type trouble struct {
	err    *fault.Error
	after  time.Duration // rest before the mirror is asked again; 0: the usual one
	reject bool          // the mirror cannot give this file
}

func (t *trouble) Error() string { return t.err.Error() }
func (t *trouble) Unwrap() error { return t.err }

func again(format string, args ...any) *trouble {
	return &trouble{err: fault.Newf(fault.Unavailable, format, args...)}
}

func rejected(k fault.Kind, format string, args ...any) *trouble {
	return &trouble{err: fault.Newf(k, format, args...), reject: true}
}

// answer is the last answer of a chain of redirects.
type answer struct {
	*http.Response
	at     *url.URL // where it came from
	etag   string   // of the content; "" unknown
	sum    string   // SHA-256 of the content as the hub tells it beside its redirect; "" unknown
	size   int64    // of the content likewise; -1 unknown
	commit string   // that the hub says it serves; "" unknown
}

// get asks a mirror, or the place that it led to before, and follows redirects: only to https, or within the private mirror's
// own host. The token goes to the mirror's own scheme, host and port.
func (c *Client) get(ctx context.Context, kind Source, m *source, u *url.URL, rng string) (*answer, error) {
	out := &answer{size: -1}
	for range maxHops {
		own := sameOrigin(u, m.url)
		if u.Scheme != "https" && !(own && m.Private) {
			return nil, rejected(fault.Forbidden, "%s leads to %s, which has no TLS.", m.url.Host, clip(u.Redacted()))
		}
		tr, err := c.Transport(own && m.Private, u)
		if err != nil {
			return nil, c.dialTrouble(ctx, m, u, err)
		}
		q := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
		q.Header.Set("User-Agent", "triarch")
		q.Header.Set("Accept-Encoding", "identity")
		if rng != "" {
			q.Header.Set("Range", rng)
		}
		if own && m.Token != "" {
			authorise(q.Header, kind, m.Token)
		}
		r, err := tr.RoundTrip(q)
		if err != nil {
			return nil, c.dialTrouble(ctx, m, u, err)
		}
		out.note(r.Header, own)
		if !redirect(r.StatusCode) {
			out.Response, out.at = r, u
			return out, nil
		}
		c.drain(r.Body)
		next, err := u.Parse(r.Header.Get("Location"))
		if err != nil || r.Header.Get("Location") == "" || next.Hostname() == "" || next.User != nil {
			return nil, again("%s sends a redirect that cannot be read.", u.Host)
		}
		u = next
	}
	return nil, rejected(fault.Unavailable, "%s leads through more than %d redirects.", m.url.Host, maxHops)
}

// authorise gives the token in the form that the hub's own programs use: a bearer token, and ModelScope's session cookie.
func authorise(h http.Header, kind Source, token string) {
	h.Set("Authorization", "Bearer "+token)
	if kind == ModelScope {
		h.Set("Cookie", "m_session_id="+url.QueryEscape(token))
	}
}

// note keeps what the headers of a hop tell of the content: only the hub itself is believed about sum, size and commit.
func (a *answer) note(h http.Header, own bool) {
	if e := strings.Trim(strings.TrimPrefix(h.Get("Etag"), "W/"), `"`); e != "" {
		a.etag = e
	}
	if !own {
		return
	}
	if e := strings.ToLower(strings.Trim(strings.TrimPrefix(h.Get("X-Linked-Etag"), "W/"), `"`)); hexDigits(e, 64) {
		a.sum = e
	}
	if n, err := strconv.ParseInt(h.Get("X-Linked-Size"), 10, 64); err == nil && n >= 0 {
		a.size = n
	}
	if s := h.Get("X-Repo-Commit"); hexDigits(s, 40) {
		a.commit = s
	}
}

func redirect(status int) bool {
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host) }

// drain reads a little, so that the connection may be used again; what does not come soon is not waited for.
func (c *Client) drain(r io.ReadCloser) {
	t := c.Timer(5*time.Second, func() { r.Close() })
	_, _ = io.CopyN(io.Discard, r, 64<<10)
	t.Stop()
	r.Close()
}

// dialTrouble is why no answer came. A time limit of the connection is also a context.DeadlineExceeded to errors.Is, so whether
// the caller went away is asked of its context.
func (c *Client) dialTrouble(ctx context.Context, m *source, u *url.URL, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.Forbidden {
		t := &trouble{err: f, reject: true}
		if !sameOrigin(u, m.url) {
			t.err = fault.New(f.Kind, m.url.Host+" leads to "+u.Host+", which is not a public address.", fault.Code(f.Code), fault.Cause(f))
		}
		return t
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &trouble{err: fault.New(fault.Unavailable, u.Host+" cannot be reached.", fault.Cause(err),
		fault.Fix("Check the network, HTTPS_PROXY, or name a mirror with --mirror"))}
}

// refusal turns a status that is not the wanted one into what is to be done.
func (c *Client) refusal(spec Spec, m *source, a *answer) *trouble {
	c.drain(a.Body)
	host := a.at.Host
	switch code := a.StatusCode; {
	case code == 401 || code == 403:
		if !sameOrigin(a.at, m.url) { // a signed address that has run out
			return again("%s answers %d to an address that %s gave.", host, code, m.url.Host)
		}
		return &trouble{reject: true, err: c.noAccess(spec, m, a)}
	case code == 404 || code == 410:
		return &trouble{reject: true, err: fault.New(fault.NotFound, fmt.Sprintf("%s has no %s at the revision %s, or hides it.", host, spec.Repo, spec.Revision),
			fault.Code("no_such_model"), fault.Fix("Look at %s/%s; of a private model the token is needed, from HF_TOKEN or MODELSCOPE_API_TOKEN", m.URL, spec.Repo))}
	case code == 429:
		t := again("%s answers that there were too many requests.", host)
		t.err.Kind, t.after = fault.RateLimited, c.restOf(a.Header)
		return t
	case code == 503:
		t := again("%s answers 503.", host)
		t.after = c.restOf(a.Header)
		return t
	case code >= 500 || code == 408 || code == 425:
		return again("%s answers %d.", host, code)
	}
	return rejected(fault.Unavailable, "%s answers %d.", host, a.StatusCode)
}

func (c *Client) noAccess(spec Spec, m *source, a *answer) *fault.Error {
	name := "HF_TOKEN"
	if spec.Source == ModelScope {
		name = "MODELSCOPE_API_TOKEN"
	}
	if a.Header.Get("X-Error-Code") == "GatedRepo" {
		return fault.New(fault.Forbidden, spec.Repo+" is given only to those who accepted its terms.", fault.Code("gated"),
			fault.Fix("Accept them at %s/%s and set %s to a token of that account", spec.Source.Home(), spec.Repo, name))
	}
	if m.Token == "" {
		return fault.New(fault.Forbidden, a.at.Host+" does not give "+spec.Repo+" to everybody, or has no such model.", fault.Code("needs_token"),
			fault.Fix("Set %s to a token of an account that may read it", name))
	}
	return fault.New(fault.Forbidden, a.at.Host+" does not accept the token for "+spec.Repo+".", fault.Code("token_refused"),
		fault.Fix("Check that %s is of an account that may read it", name))
}

// window is the time left of a rate limit's window, as draft-ietf-httpapi-ratelimit-headers-09 writes it: "api";r=0;t=55.
var window = regexp.MustCompile(`;\s*r\s*=\s*0\s*;(?:.*;)?\s*t\s*=\s*(\d{1,9})`)

// restOf is how long a server asks to be left alone: Retry-After in seconds or as a date (RFC 9110, 10.2.3), else the end
// of its window; 0: it does not say.
func (c *Client) restOf(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
		return time.Duration(min(n, 1<<30)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(c.Now()))
	}
	if m := window.FindStringSubmatch(h.Get("RateLimit")); m != nil {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		return time.Duration(n) * time.Second
	}
	return 0
}

// contentRange reads "bytes 0-99/1234".
var contentRange = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$`)

func parseRange(s string) (first, last, total int64, ok bool) {
	m := contentRange.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, 0, 0, false
	}
	first, _ = strconv.ParseInt(m[1], 10, 64)
	last, _ = strconv.ParseInt(m[2], 10, 64)
	total = -1
	if m[3] != "*" {
		total, _ = strconv.ParseInt(m[3], 10, 64)
	}
	return first, last, total, first <= last
}

// trickle is what a body must give within the time of a stall: less is a connection that holds a place and brings nothing.
const trickle = 16 << 10

// guarded is a body that is broken off when it gives next to nothing for a while.
type guarded struct {
	io.ReadCloser
	timer Stopper
	stall time.Duration
	came  int // since the timer was set
}

func (g *guarded) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if g.came += n; g.came >= trickle {
		g.came = 0
		g.timer.Reset(g.stall)
	}
	return n, err
}

// guard begins to watch a body; the context that the request was made with ends when it stalls.
func (c *Client) guard(body io.ReadCloser, cancel func()) *guarded {
	stall := or(c.Stall, time.Minute)
	return &guarded{ReadCloser: body, timer: c.Timer(stall, cancel), stall: stall}
}

// whole reads a small answer of a mirror, such as a list.
func (c *Client) whole(ctx context.Context, spec Spec, m *source, u *url.URL, most int64) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, err := c.get(ctx, spec.Source, m, u, "")
	if err != nil {
		return nil, err
	}
	if a.StatusCode != http.StatusOK {
		return nil, c.refusal(spec, m, a)
	}
	g := c.guard(a.Body, cancel)
	defer g.timer.Stop()
	defer g.Close()
	b, err := io.ReadAll(io.LimitReader(g, most+1))
	if err != nil {
		return nil, again("%s broke off.", a.at.Host)
	}
	if int64(len(b)) > most {
		return nil, rejected(fault.TooLarge, "What %s answers is too large.", a.at.Host)
	}
	return b, nil
}
