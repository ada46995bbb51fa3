package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Client calls a server's control API. It is safe for concurrent use.
type Client struct {
	base string
	key  string
	http *http.Client
}

// Option changes a Client while it is made.
type Option func(*Client)

// WithHTTP makes the client use h, for other certificates or proxies. Its Timeout must be 0: streams last.
func WithHTTP(h *http.Client) Option { return func(c *Client) { c.http = h } }

// New makes a client of the server at baseURL (http://host:port) with an API key.
func New(baseURL, key string, opts ...Option) *Client {
	c := &Client{base: strings.TrimRight(baseURL, "/"), key: key}
	for _, o := range opts {
		o(c)
	}
	if c.http == nil {
		c.http = NewHTTP("")
	}
	return c
}

// NewHTTP makes the HTTP client that New uses. With a pin, the SHA-256 of a certificate in hexadecimal, it takes a server
// with exactly that certificate, whatever name and issuer it has, and no other.
func NewHTTP(pin string) *http.Client {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: 2 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8, ForceAttemptHTTP2: true,
	}
	if pin != "" {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks more: one certificate alone will do
			VerifyConnection:   func(s tls.ConnectionState) error { return checkPin(s, pin) }}
	}
	return &http.Client{Transport: t,
		// A redirect would carry the key to another place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func checkPin(s tls.ConnectionState, pin string) error {
	if len(s.PeerCertificates) > 0 && fmt.Sprintf("%x", sha256.Sum256(s.PeerCertificates[0].Raw)) == strings.ToLower(pin) {
		return nil
	}
	return fault.New(fault.Unavailable, "Something else than the Triarch of the data directory answers at its address: it has another certificate.",
		fault.Code("bad_certificate"), fault.Fix("Start Triarch with `triarch up`, or name the address with --url"))
}

// URL is the address the client calls, without a slash at its end.
func (c *Client) URL() string { return c.base }

// maxAnswer bounds an answer that is held in memory.
const maxAnswer = 64 << 20

// path joins the parts of a path, escaping each.
func path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/api/v1")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// params makes a query of pairs, leaving empty values out.
func params(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" && pairs[i+1] != "0" && pairs[i+1] != "false" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// open sends a request and returns the answer if it is a success; a failure becomes the fault it tells of.
func (c *Client) open(ctx context.Context, method, target, kind string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+target, body)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The address "+c.base+" is no URL.", fault.Field("url"), fault.Cause(err))
	}
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if _, small := body.(*bytes.Reader); body != nil && !small {
		r.Header.Set("Expect", "100-continue") // what is refused anyway need not be sent
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, c.failure(resp)
	}
	return resp, nil
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(ctx.Err(), "calling the server")
	}
	return Unreachable(c.base, err)
}

// Unreachable turns a failure to send a request to base into the fault it is: fault.Unavailable, with the code
// no_server, or bad_certificate when something answered that cannot be trusted.
func Unreachable(base string, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fault.New(fault.Unavailable, "The certificate of "+base+" is not trusted: "+strings.TrimPrefix(cert.Err.Error(), "x509: ")+".", fault.Code("bad_certificate"),
			fault.Fix("Use the name the certificate is for; if its authority is your own, name its PEM file in SSL_CERT_FILE."), fault.Cause(err))
	}
	return fault.New(fault.Unavailable, "There is no answer from "+base+".", fault.Code("no_server"),
		fault.Fix("Start Triarch with `triarch up`, or name another address with --url."), fault.Cause(err))
}

// failure reads the problem of a failed call. What is no problem was answered by something else in between.
func (c *Client) failure(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p Problem
	if err == nil && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(text, &p) == nil && p.Kind != "" {
		f := p.Fault()
		f.Cause = &Refusal{p}
		return f
	}
	return fault.New(fault.Unavailable, fmt.Sprintf("%s answered %s, which is no answer of Triarch's.", c.base, resp.Status),
		fault.Code("not_triarch"), fault.Fix("Check the address."))
}

// Refusal is the cause inside the fault of a failed call: the whole problem.
type Refusal struct{ Problem Problem }

// Error names the request.
func (r *Refusal) Error() string { return "request " + r.Problem.RequestID }

// call sends a value as JSON and reads one; nil stands for none.
func call[T any](ctx context.Context, c *Client, method, target string, in any) (T, error) {
	var out T
	var body io.Reader
	kind := ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return out, fault.Wrap(err, "writing the request")
		}
		body, kind = bytes.NewReader(b), "application/json"
	}
	resp, err := c.open(ctx, method, target, kind, body)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	return read[T](ctx, c, resp)
}

func read[T any](ctx context.Context, c *Client, resp *http.Response) (T, error) {
	var out T
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return out, c.unreachable(ctx, err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, fault.New(fault.Unavailable, "The answer of "+c.base+" cannot be read.", fault.Code("not_triarch"), fault.Cause(err))
	}
	return out, nil
}

// pageSize is how many items are asked for at once: the most a server gives.
const pageSize = 1000

// items calls for all pages of a list, one after another.
func items[T any](ctx context.Context, c *Client, target string) ([]T, error) {
	all := []T{}
	err := pages(ctx, c, target, func(l List[T]) string {
		all = append(all, l.Items...)
		return l.Next
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// pages calls for one page after another; take returns what the page named as next.
func pages[T any](ctx context.Context, c *Client, target string, take func(T) string) error {
	join := "?"
	if strings.Contains(target, "?") {
		join = "&"
	}
	target += join + "limit=" + strconv.Itoa(pageSize)
	for next := ""; ; {
		from := target
		if next != "" {
			from += "&after=" + url.QueryEscape(next)
		}
		page, err := call[T](ctx, c, http.MethodGet, from, nil)
		if err != nil {
			return err
		}
		after := take(page)
		if after == "" {
			return nil
		}
		if after == next {
			return fault.New(fault.Unavailable, "The answer of "+c.base+" names the same page again.", fault.Code("not_triarch"))
		}
		next = after
	}
}

// none calls for nothing but success.
func none(ctx context.Context, c *Client, method, target string) error {
	resp, err := c.open(ctx, method, target, "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
