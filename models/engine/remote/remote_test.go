package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/outbound"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/enginetest"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

// each makes a Provider for each endpoint, since the suite has one engine for many.
type each struct{ *Provider }

func (e each) at(to engine.Endpoint) *Provider {
	return New(Options{URL: &url.URL{Scheme: "http", Host: to.Addr}, Dialect: engine.OpenAI, Private: true, Keys: []Key{{"k", to.Secret}},
		Now: time.Now, DrainTime: -1})
}
func (e each) Health(ctx context.Context, to engine.Endpoint) error { return e.at(to).Health(ctx, to) }
func (e each) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	return e.at(to).Open(ctx, to, q)
}

func TestSuite(t *testing.T) {
	enginetest.Run(t, enginetest.Harness{Engine: each{New(Options{Now: time.Now})}, Start: func(t *testing.T, b enginetest.Behaviour) enginetest.Program {
		e := &pacedengine.Engine{Options: pacedengine.Options{Tokens: b.Tokens, Pace: b.Pace, Break: b.Break, Secret: "secret"}}
		srv := httptest.NewServer(e)
		t.Cleanup(srv.Close)
		return enginetest.Program{Endpoint: engine.Endpoint{Addr: strings.TrimPrefix(srv.URL, "http://"), Secret: "secret"},
			Generated: e.Generated.Load, Running: e.Running.Load}
	}})
}

// provider is a Provider before a handler.
func provider(t *testing.T, o Options, h http.HandlerFunc) *Provider {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	o.URL, _ = url.Parse(srv.URL + "/v1/")
	o.Private, o.Now = true, orNow(o.Now)
	p := New(o)
	t.Cleanup(p.Close)
	return p
}

func orNow(f func() time.Time) func() time.Time {
	if f == nil {
		return time.Now
	}
	return f
}

func ask(t *testing.T, p *Provider, q engine.Request) (engine.Stream, error) {
	t.Helper()
	if q.Path == "" {
		q.Path, q.Body = "/v1/chat/completions", []byte(`{"model":"m"}`)
	}
	s, err := p.Open(t.Context(), engine.Endpoint{}, q)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func drain(s engine.Stream) (text string, last engine.Chunk, err error) {
	for {
		c, err := s.Next()
		text += string(c.Data)
		if err != nil {
			return text, last, err
		}
		last = c
	}
}

func TestKeysTakeTurnsAndRest(t *testing.T) {
	now := time.Unix(1000, 0)
	var used []string
	answers := map[string]int{"a": 200, "b": 401, "c": 429}
	p := provider(t, Options{Keys: []Key{{"1", "a"}, {"2", "b"}, {"3", "c"}}, Now: func() time.Time { return now }}, func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if body, _ := io.ReadAll(r.Body); string(body) != `{"model":"m"}` || r.URL.Path != "/v1/chat/completions" {
			t.Errorf("%s asked with %s", r.URL.Path, body)
		}
		used = append(used, key)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(answers[key])
	})
	for range 6 {
		if s, err := ask(t, p, engine.Request{}); err != nil || s.Status() != 200 {
			t.Fatalf("%v, %v", s, err)
		}
	}
	if n := len(used); n != 8 { // b and c were tried once each
		t.Errorf("%d requests: %v", n, used)
	}
	if rests := p.Resting(); len(rests) != 2 || !rests["3"].Equal(now.Add(30*time.Second)) || !rests["2"].Equal(now.Add(restRefused)) {
		t.Errorf("%v", rests)
	}
	now, answers["c"] = now.Add(31*time.Second), 200
	used = nil
	for range 4 {
		_, _ = ask(t, p, engine.Request{})
	}
	if slices.Sort(used); !slices.Equal(used, []string{"a", "a", "c", "c"}) && !slices.Contains(used, "c") {
		t.Errorf("after its rest: %v", used)
	}
	answers = map[string]int{"a": 429, "c": 401}
	if s, err := ask(t, p, engine.Request{}); err != nil || s.Status() < 400 { // the last refusal
		t.Errorf("%v, %v", s, err)
	}
	used = nil
	_, err := ask(t, p, engine.Request{})
	if !fault.Is(err, fault.Unavailable) || len(used) > 0 || fault.As(err).Code != engine.KeysRest || fault.As(err).After != 30*time.Second {
		t.Errorf("when all rest: %v after %v, %v", err, fault.As(err).After, used)
	}
}

// Where every key is refused, the answer says when the first of them is used again, whatever the last refusal said.
func TestSoonestKey(t *testing.T) {
	now := time.Unix(1000, 0)
	says := map[string]string{"a": "20", "b": "Thu, 01 Jan 1970 00:16:45 GMT", "c": "900"}
	p := provider(t, Options{Keys: []Key{{"1", "a"}, {"2", "b"}, {"3", "c"}}, Now: func() time.Time { return now }}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", says[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")])
		w.WriteHeader(http.StatusTooManyRequests)
	})
	for _, want := range []time.Duration{5 * time.Second, 4500 * time.Millisecond} {
		if s, err := ask(t, p, engine.Request{}); err == nil && (s.Status() != 429 || s.Header("Retry-After") != "5") || err != nil && fault.As(err).After != want {
			t.Errorf("%v, %v", s, err)
		}
		now = now.Add(500 * time.Millisecond)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"5": 5 * time.Second, "0.5": 500 * time.Millisecond, "": restLimited, "-1": restLimited, "x": restLimited,
		"1e300": restLimited, "999999": restMost, "Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Thu, 01 Jan 2020 00:01:00 GMT": 0} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q rests %v, want %v", text, got, want)
		}
	}
}

func TestInnerAddressesAndRedirects(t *testing.T) {
	reached := false
	inner := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer inner.Close()
	u, _ := url.Parse(strings.Replace(inner.URL, "127.0.0.1", "localhost", 1))
	p := New(Options{URL: u, Now: time.Now, Keys: []Key{{"1", "a"}}})
	_, err := ask(t, p, engine.Request{})
	if f := fault.As(err); f.Kind != fault.Unavailable || f.Code != engine.Unreached || reached {
		t.Errorf("%v, reached %v", err, reached)
	}
	from := provider(t, Options{Keys: []Key{{"1", "a"}}}, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
	})
	s, err := ask(t, from, engine.Request{})
	if err != nil || s.Status() != http.StatusBadGateway || reached {
		t.Errorf("a redirect: %v, %v, reached %v", s, err, reached)
	}
	if err := from.Health(t.Context(), engine.Endpoint{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("health of what redirects: %v", err)
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	p := New(Options{URL: u, Private: true, Now: time.Now})
	if _, err := ask(t, p, engine.Request{}); fault.As(err).Code != engine.Unreached {
		t.Errorf("an unknown certificate: %v", err)
	}
	known := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	p = New(Options{URL: u, Now: time.Now, Transport: outbound.New(outbound.Options{Private: true, TLS: &tls.Config{RootCAs: known}})})
	if _, err := ask(t, p, engine.Request{}); err != nil {
		t.Errorf("a known certificate: %v", err)
	}
}

const (
	chunks = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n" +
		"data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}],\"usage\":null}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"two\"}}],\"usage\":null}\n\n"
	usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n"
	done  = "data: [DONE]\n\n"
)

func TestUsageIsAskedForAndWithheld(t *testing.T) {
	var body string
	p := provider(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, chunks+usage+done)
	})
	for asked, want := range map[bool]string{false: chunks + done, true: chunks + usage + done} {
		s, err := ask(t, p, engine.Request{Path: "/v1/chat/completions", Body: []byte(`{"model":"m","stream":true,"stream_options":{"x":1}}`), Stream: true, Usage: asked})
		if err != nil {
			t.Fatal(err)
		}
		text, last, err := drain(s)
		if err != io.EOF || text != want || last.Prompt != 7 || last.Completion != 3 || !last.Done {
			t.Errorf("asked %v: %v, %+v\n%s", asked, err, last, text)
		}
		if strings.Contains(body, "include_usage") == asked || !strings.Contains(body, `"x":1`) {
			t.Errorf("asked %v, sent %s", asked, body)
		}
	}
}

// What was made for a caller who left is read on for its counts, and billed by them.
func TestDrain(t *testing.T) {
	first, more := make(chan struct{}), make(chan struct{})
	p := provider(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, chunks)
		http.NewResponseController(w).Flush()
		close(first)
		<-more
		io.WriteString(w, usage+done)
	})
	ctx, leave := context.WithCancel(t.Context())
	s, err := p.Open(ctx, engine.Endpoint{}, engine.Request{Path: "/v1/chat/completions", Body: []byte(`{}`), Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	<-first
	if c, err := s.Next(); err != nil || c.Completion != 2 || c.Prompt != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	leave()
	close(more)
	if _, err := s.Next(); !fault.Is(err, fault.Canceled) {
		t.Errorf("after the caller left: %v", err)
	}
	if c := s.(engine.Drainer).Drain(); c.Prompt != 7 || c.Completion != 3 || !c.Done || len(c.Data) > 0 {
		t.Errorf("drained %+v", c)
	}
}

// body is an answer that comes when the test says, in the time of synctest.
type body struct {
	ctx  context.Context
	next func() ([]byte, time.Duration)
}

func (b body) Read(p []byte) (int, error) {
	text, wait := b.next()
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(wait):
		return copy(p, text), nil
	}
}
func (body) Close() error { return nil }

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// endless is a provider whose stream says text every so often, for ever.
func endless(o Options, text string, every time.Duration) *Provider {
	o.URL, o.Now = &url.URL{Scheme: "https", Host: "x"}, time.Now
	o.Transport = trip(func(q *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}},
			Body: body{q.Context(), func() ([]byte, time.Duration) { return []byte(text), every }}}, nil
	})
	return New(o)
}

func TestEverythingEnds(t *testing.T) {
	q := engine.Request{Path: "/v1/chat/completions", Body: []byte(`{}`), Stream: true}
	for name, c := range map[string]struct {
		text  string
		every time.Duration
		least time.Duration
		most  time.Duration
	}{
		"silence":            {"", 1000 * time.Hour, 5 * time.Minute, 5 * time.Minute},
		"nothing but pings":  {": ping\n\n", time.Second, time.Hour, time.Hour},
		"an endless stream":  {"data: {\"x\":1}\n\n", time.Second, time.Hour, time.Hour},
		"an endless event":   {strings.Repeat("x", readBuffer), time.Millisecond, time.Millisecond, time.Second},
		"an endless torrent": {"data: " + strings.Repeat("x", readBuffer-8) + "\n\n", 0, 0, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, err := endless(Options{MaxBytes: 32 << 20}, c.text, c.every).Open(t.Context(), engine.Endpoint{}, q)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for err == nil {
				_, err = s.Next()
			}
			s.Close()
			if took := time.Since(began); errors.Is(err, io.EOF) || took < c.least || took > c.most {
				t.Errorf("%s: %v after %v", name, err, took)
			}
		})
	}
}

func TestDrainIsBounded(t *testing.T) {
	q := engine.Request{Path: "/v1/chat/completions", Body: []byte(`{}`), Stream: true}
	for name, c := range map[string]struct {
		every time.Duration
		took  time.Duration
		read  int
		stays bool // the caller takes nothing, but does not hang up
	}{
		"in time":                {time.Second, 30 * time.Second, 31, false},
		"in bytes":               {0, 0, 100, false},
		"in time, for who stays": {time.Second, 30 * time.Second, 31, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			event := "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
			ctx, leave := context.WithCancel(t.Context())
			s, err := endless(Options{DrainBytes: 99 * len(event)}, event, c.every).Open(ctx, engine.Endpoint{}, q)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
			defer leave()
			if !c.stays {
				leave()
			}
			began := time.Now()
			got := s.(engine.Drainer).Drain()
			if took := time.Since(began); took != c.took || got.Completion > c.read || got.Completion < c.read-2 {
				t.Errorf("%s: %v, %+v", name, took, got)
			}
		})
	}
}

func TestDialects(t *testing.T) {
	for dialect, c := range map[engine.Dialect]struct {
		header, text string
		half         int // completion tokens before the end
	}{
		engine.Anthropic: {"X-Api-Key", "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":4,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n" +
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n|" +
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":3}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", 1},
		engine.Google: {"X-Goog-Api-Key", "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]}}]}\r\n\r\n|" +
			"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"you\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":1}}\r\n\r\n", 1},
	} {
		p := provider(t, Options{Dialect: dialect, Keys: []Key{{"1", "secret"}}}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(c.header) != "secret" || r.Header.Get("Authorization") != "" {
				t.Errorf("%s: headers %v", dialect, r.Header)
			}
			w.Header().Set("Content-Type", "text/event-stream")
			half, rest, _ := strings.Cut(c.text, "|")
			io.WriteString(w, half)
			http.NewResponseController(w).Flush()
			io.WriteString(w, rest)
		})
		s, err := ask(t, p, engine.Request{Stream: true, Path: "/v1/x", Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		text, last, err := drain(s)
		if err != io.EOF || last.Prompt != 7 || last.Completion != 3 || last.Cached+last.Reasoning == 0 || !last.Done || text != strings.Replace(c.text, "|", "", 1) {
			t.Errorf("%s: %v, %+v\n%s", dialect, err, last, text)
		}
	}
}

func TestAddress(t *testing.T) {
	for base, want := range map[string]string{
		"https://a.example":               "https://a.example/v1/chat/completions",
		"https://a.example/":              "https://a.example/v1/chat/completions",
		"https://a.example/v1":            "https://a.example/v1/chat/completions",
		"https://a.example/openai/v1/":    "https://a.example/openai/v1/chat/completions",
		"https://a.example/api/paas/v4":   "https://a.example/api/paas/v4/chat/completions",
		"https://a.example:8443/with%20x": "https://a.example:8443/with%20x/chat/completions",
	} {
		u, _ := url.Parse(base)
		if got := New(Options{URL: u, Now: time.Now}).address("/v1/chat/completions"); got != want {
			t.Errorf("%s gives %s", base, got)
		}
	}
}

func TestConcurrentKeys(t *testing.T) {
	p := provider(t, Options{Keys: []Key{{"1", "a"}, {"2", "b"}}}, func(w http.ResponseWriter, r *http.Request) {})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if s, err := p.Open(t.Context(), engine.Endpoint{}, engine.Request{Path: "/v1/x", Body: []byte("{}")}); err == nil {
					s.Close()
				}
			}
		})
	}
	wg.Wait()
}

func FuzzTally(f *testing.F) {
	f.Add([]byte(chunks + usage + done))
	f.Add([]byte("data: {\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1e300}}\n\n"))
	f.Add([]byte("event: x\ndata: {\"type\":\"message_start\"}\r\n\r\n: c\n\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, d := range []engine.Dialect{engine.OpenAI, engine.Anthropic, engine.Google} {
			k := tally{dialect: d, hide: true}
			for rest := bytes.Clone(b); len(rest) > 0; {
				n := eventEnd(rest)
				if n <= 0 || n > len(rest) {
					t.Fatal("no end")
				}
				k.event(rest[:n])
				if c := k.chunk(nil); min(c.Prompt, c.Completion, c.Cached, c.Reasoning) < 0 || max(c.Prompt, c.Completion, c.Cached, c.Reasoning) > maxTokens {
					t.Fatal(fmt.Sprint(c))
				}
				rest = rest[n:]
			}
		}
	})
}

// Text that was seen is counted, though the provider says afterwards that there was none.
func TestTextIsNoAnswerOfNone(t *testing.T) {
	for _, lie := range []string{`{"prompt_tokens":-5,"completion_tokens":-1000000}`, `{"prompt_tokens":7,"completion_tokens":0}`} {
		k := tally{hide: true}
		for range 3 {
			k.event([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"w\"}}]}\n\n"))
		}
		k.event([]byte("data: {\"choices\":[],\"usage\":" + lie + "}\n\n"))
		if c := k.chunk(nil); c.Completion != 3 || c.Prompt < 0 {
			t.Errorf("%s: %+v", lie, c)
		}
	}
}
