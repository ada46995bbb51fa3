// Package remote is the driver of outside providers: model APIs of others, reached over the internet with keys that they
// bill.
//
// Rules for callers: one Provider for each provider, kept as long as its settings stay the same, since it holds
// connections and knows which keys rest; the Endpoint given to Open matters only by its Replica. A provider is not
// trusted: heads, events, answers and silences are bounded, redirects are not followed, and its address is checked at
// every dial. Because it bills what it made, a stream whose caller left is read on (engine.Drainer), and a request that
// it may have taken is not sent again: only one that it refused is, with the next key.
package remote

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/sjson"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/outbound"
	"github.com/triarch-ai/triarch/models/engine"
)

// Key is one secret that a provider gave.
type Key struct {
	ID     string
	Secret string // never logged
}

// Options are what a provider is reached by.
type Options struct {
	URL     *url.URL       // checked by outbound.CheckURL; its path, if any, stands for the version in the paths of requests
	Dialect engine.Dialect // default OpenAI
	Private bool           // inner addresses are allowed
	Keys    []Key
	Now     func() time.Time

	Stall time.Duration // longest silence of an answer; 0 = 5 minutes
	Total time.Duration // longest answer; 0 = 1 hour
	// MaxBytes bounds one answer; 0 = 256 MiB.
	MaxBytes int
	// DrainTime and DrainBytes bound what is read of an answer whose caller left; 0 = 30 s and 4 MiB, negative = nothing.
	DrainTime  time.Duration
	DrainBytes int

	Transport http.RoundTripper // nil = outbound.New
}

// Provider is the engine.Engine of one provider. It is safe for concurrent use.
type Provider struct {
	Options
	keys   []*key
	turn   atomic.Uint32
	closer func()
}

var _ engine.Engine = (*Provider)(nil)

// New makes a Provider.
func New(o Options) *Provider {
	o.Stall, o.Total = orDefault(o.Stall, 5*time.Minute), orDefault(o.Total, time.Hour)
	o.DrainTime, o.DrainBytes = orDefault(o.DrainTime, 30*time.Second), orDefault(o.DrainBytes, 4<<20)
	if o.Dialect == "" {
		o.Dialect = engine.OpenAI
	}
	o.MaxBytes = orDefault(o.MaxBytes, 256<<20)
	p := &Provider{Options: o, closer: func() {}}
	if p.Transport == nil {
		t := outbound.New(outbound.Options{Private: o.Private, Head: o.Total, Idle: 256})
		p.Transport, p.closer = t, t.CloseIdleConnections
	}
	for _, k := range o.Keys {
		p.keys = append(p.keys, &key{Key: k})
	}
	return p
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Close lets unused connections go; what is under way goes on.
func (p *Provider) Close() { p.closer() }

// Name is "remote".
func (p *Provider) Name() string { return "remote" }

// Command is refused: a provider is started by others.
func (p *Provider) Command(engine.Spec) (job.Command, error) {
	return job.Command{}, fault.New(fault.Unsupported, "An outside provider cannot be deployed; make a route to it.", fault.Field("engine"))
}

// Health asks a provider for its models: nil if one of its keys is accepted.
func (p *Provider) Health(ctx context.Context, _ engine.Endpoint) error {
	path := "/v1/models"
	if p.Dialect == engine.Google {
		path = "/v1beta/models"
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	resp, err := p.ask(ctx, http.MethodGet, path, &lent{}, engine.Request{})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<20)) // so that the connection serves again
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fault.New(fault.Unavailable, "The provider does not accept the key.", fault.Code("key_refused"), fault.Fix("Add a key that works, and remove this one."))
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fault.New(fault.Unavailable, "The provider redirects elsewhere, which is not followed.", fault.Fix("Give the address that it redirects to, if it is the provider's."))
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound: // some have no list of models
		return fault.Newf(fault.Unavailable, "The provider answers %d to a request for its models.", resp.StatusCode)
	}
	return nil
}

// Open sends the request with one of the keys that do not rest, and with the next one when it is refused for its key.
// The last refusal is the answer when all keys were refused.
func (p *Provider) Open(ctx context.Context, _ engine.Endpoint, q engine.Request) (engine.Stream, error) {
	body, err := p.body(q)
	if err != nil {
		return nil, err
	}
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Total)
	s := &stream{p: p, caller: ctx, cancel: cancel, body: lent{body: body}, tally: tally{dialect: p.Dialect, hide: !q.Usage}}
	s.left = context.AfterFunc(ctx, s.linger)
	if s.resp, err = p.ask(inner, http.MethodPost, q.Path, &s.body, q); err != nil {
		s.release()
		if ctx.Err() != nil {
			return nil, fault.Wrap(ctx.Err(), "asking the provider")
		}
		return nil, err
	}
	s.stall = time.AfterFunc(p.Stall, cancel)
	if s.resp.StatusCode == http.StatusOK && strings.HasPrefix(s.resp.Header.Get("Content-Type"), "text/event-stream") {
		return newEvents(s), nil
	}
	return &whole{stream: s}, nil
}

// body has an event stream tell its usage, as far as its dialect has to be asked for it.
func (p *Provider) body(q engine.Request) ([]byte, error) {
	if !q.Stream || q.Usage || p.Dialect != engine.OpenAI || !hasOptions(q.Path) {
		return q.Body, nil
	}
	body, err := sjson.SetBytes(q.Body, "stream_options.include_usage", true)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"), fault.Cause(err))
	}
	return body, nil
}

// hasOptions are the paths whose streams tell usage only when asked.
func hasOptions(path string) bool { return strings.HasSuffix(path, "/completions") }

// ask tries the keys until one is not refused for itself.
func (p *Provider) ask(ctx context.Context, method, path string, body *lent, of engine.Request) (*http.Response, error) {
	var refused *http.Response
	for range max(len(p.keys), 1) {
		k, err := p.pick()
		if err != nil {
			if refused != nil {
				return refused, nil
			}
			return nil, err
		}
		if refused != nil {
			refused.Body.Close()
		}
		resp, err := p.send(ctx, method, path, body, of, k)
		if err != nil {
			return nil, err
		}
		if !k.judge(resp, p.Now()) {
			return resp, nil
		}
		refused = resp
	}
	return refused, nil
}

// send makes one request with one key.
func (p *Provider) send(ctx context.Context, method, path string, body *lent, of engine.Request, k *key) (*http.Response, error) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	var copied io.Reader // net/http sends the head together with a body that it knows to be in memory
	if n := len(body.body); n > 0 && n <= copyBelow {
		copied = bytes.NewReader(bytes.Clone(body.body))
	}
	q, err := http.NewRequestWithContext(ctx, method, p.address(path), copied)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The path of the request cannot be sent to a provider.", fault.Cause(err))
	}
	if len(body.body) > copyBelow {
		q.Body, _ = body.reader()
		q.GetBody, q.ContentLength = body.reader, int64(len(body.body))
	}
	if len(body.body) > 0 {
		q.Header.Set("Content-Type", "application/json")
	}
	q.Header.Set("User-Agent", "triarch")
	if of.RequestID != "" {
		q.Header.Set("X-Request-Id", of.RequestID)
	}
	if of.Trace != "" { // the provider's own trace goes on from ours; what others wrote into the state is none of its business
		q.Header.Set("Traceparent", of.Trace)
	}
	p.authorise(q.Header, k)
	resp, err := p.Transport.RoundTrip(q)
	if err == nil {
		return resp, nil
	}
	if fault.Is(err, fault.Forbidden) { // an inner address
		return nil, fault.New(fault.Unavailable, fault.As(err).Message, fault.Code(engine.Unreached), fault.Fix(fault.As(err).Fix), fault.Cause(err))
	}
	if !sent.Load() {
		return nil, fault.New(fault.Unavailable, "The provider cannot be reached.", fault.Code(engine.Unreached), fault.Fix("Try again in a moment."), fault.Cause(err))
	}
	if ctx.Err() != nil {
		return nil, fault.New(fault.Timeout, "The provider did not answer in time.", fault.Code(engine.Died), fault.Cause(err))
	}
	return nil, fault.New(fault.Unavailable, "The provider broke off before it answered.", fault.Code(engine.Died), fault.Fix("Try again in a moment."), fault.Cause(err))
}

// address joins the provider's with a request's path: where the provider's has a path, it stands for the version that
// the request's begins with.
func (p *Provider) address(path string) string {
	base := strings.TrimRight(p.URL.String(), "/")
	if strings.Trim(p.URL.Path, "/") != "" {
		path = strings.TrimPrefix(strings.TrimPrefix(path, "/v1beta"), "/v1")
	}
	return base + path
}

func (p *Provider) authorise(h http.Header, k *key) {
	switch p.Dialect {
	case engine.Anthropic:
		h.Set("Anthropic-Version", "2023-06-01")
		if k != nil {
			h.Set("X-Api-Key", k.Secret)
		}
	case engine.Google:
		if k != nil {
			h.Set("X-Goog-Api-Key", k.Secret)
		}
	default:
		if k != nil {
			h.Set("Authorization", "Bearer "+k.Secret)
		}
	}
}
