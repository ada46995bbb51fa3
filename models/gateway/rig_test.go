package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// table is a table of routes that a test writes.
type table struct {
	mu       sync.Mutex
	targets  map[string]*serve.Target
	suspects []string
}

func (r *table) Lookup(_, _, name string) (*serve.Target, bool) {
	t, ok := r.targets[name]
	return t, ok
}
func (r *table) List(_, _ string) []*serve.Target { return nil }
func (r *table) Suspect(replica string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspects = append(r.suspects, replica)
}

// free are bounds of nothing: no account has one.
type free struct{}

func (free) Generation() int64          { return 1 }
func (free) Bound(id.Raw) tenancy.Bound { return tenancy.Bound{} }

// said is what a script answers to one request: an error, a status with a body, or a stream of chunks.
type said struct {
	err    error
	status int // 0 = 200
	header map[string]string
	body   string
	chunks []engine.Chunk
	broken error         // after the chunks; nil = io.EOF
	after  time.Duration // before anything
	rest   engine.Chunk  // what Drain tells
}

// script is an engine that says what it is told, one after the other, the last one for ever.
type script struct {
	mu    sync.Mutex
	says  []said
	asked []engine.Request
	of    []string // replicas
	drain int
}

func (*script) Name() string                                  { return "script" }
func (*script) Command(engine.Spec) (job.Command, error)      { return job.Command{}, nil }
func (*script) Health(context.Context, engine.Endpoint) error { return nil }
func (s *script) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	s.mu.Lock()
	x := s.says[min(len(s.asked), len(s.says)-1)]
	q.Body = bytes.Clone(q.Body)
	s.asked, s.of = append(s.asked, q), append(s.of, to.Replica)
	s.mu.Unlock()
	if x.after > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(x.after):
		}
	}
	if x.err != nil {
		return nil, x.err
	}
	return &spoken{said: x, by: s, stream: q.Stream}, nil
}

// times is how often it was asked.
func (s *script) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

type spoken struct {
	said
	by     *script
	stream bool
	at     int
}

func (s *spoken) Status() int {
	if s.status == 0 {
		return 200
	}
	return s.status
}

func (s *spoken) Header(name string) string {
	if v := s.header[name]; v != "" || name != contentType || s.status != 0 {
		return v
	}
	if s.stream && !strings.HasPrefix(s.body, "{") { // some answer in one piece whatever they are asked for
		return "text/event-stream"
	}
	return "application/json"
}

func (s *spoken) Next() (engine.Chunk, error) {
	if len(s.chunks) == 0 && s.at == 0 {
		s.at++
		return engine.Chunk{Data: []byte(s.body)}, nil
	}
	if s.at < len(s.chunks) {
		s.at++
		return s.chunks[s.at-1], nil
	}
	if s.broken != nil {
		return engine.Chunk{}, s.broken
	}
	return engine.Chunk{}, io.EOF
}
func (s *spoken) Close() error { return nil }

// outside is a script whose answers are billed whether or not anybody listens.
type outside struct{ script }

type drainable struct{ *spoken }

func (d drainable) Drain() engine.Chunk {
	d.by.mu.Lock()
	defer d.by.mu.Unlock()
	d.by.drain++
	return d.rest
}

func (o *outside) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	s, err := o.script.Open(ctx, to, q)
	if err != nil {
		return nil, err
	}
	return drainable{s.(*spoken)}, nil
}

// written is a Sink.
type written struct {
	header http.Header
	status int
	body   bytes.Buffer
	gone   bool // writes fail
}

func (w *written) Header() http.Header    { return w.header }
func (w *written) WriteHeader(status int) { w.status = status }
func (w *written) Write(b []byte) (int, error) {
	if w.gone {
		return 0, errors.New("gone")
	}
	if w.status == 0 {
		w.status = 200
	}
	return w.body.Write(b)
}
func (w *written) Flush() error {
	if w.gone {
		return errors.New("gone")
	}
	return nil
}

// rig is a gateway on scripts.
type rig struct {
	*Gateway
	t      testing.TB
	routes *table
	who    *auth.Principal
}

func newRig(t testing.TB) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	ledger, err := meter.Open(t.TempDir(), "node", meter.Options{Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	ids := id.Default()
	r := &rig{t: t, routes: &table{targets: map[string]*serve.Target{}}}
	r.who = &auth.Principal{OrgID: ids.New("org"), ProjectID: ids.New("prj"), KeyID: ids.New("key")}
	r.who.Org, _ = id.ParseRaw(r.who.OrgID)
	r.who.Project, _ = id.ParseRaw(r.who.ProjectID)
	r.who.Key, _ = id.ParseRaw(r.who.KeyID)
	r.Gateway = &Gateway{Routes: r.routes, Quota: quota.NewBook(free{}, time.Now), Ledger: ledger, Now: time.Now, Log: log}
	return r
}

// route makes the route "m" to backends.
func (r *rig) route(backends ...*serve.Upstream) *serve.Target {
	t := &serve.Target{Route: serve.Route{ID: id.Default().New("rte"), Org: r.who.OrgID, Project: r.who.ProjectID, Name: "m", Prices: meter.Flat(1_000_000, 2_000_000)}, Backends: backends}
	r.routes.targets["m"] = t
	return t
}

// own is a deployment with so many replicas.
func own(name string, tier, weight, replicas int, e engine.Engine) *serve.Upstream {
	u := &serve.Upstream{ID: name, Tier: tier, Weight: weight, Dialect: engine.OpenAI, Version: "mv_" + name, Model: name, Context: 1000, Engine: e}
	for i := range replicas {
		u.Endpoints = append(u.Endpoints, engine.Endpoint{Replica: name + "-" + string(rune('a'+i))})
	}
	return u
}

// abroad is a provider's model.
func abroad(name string, tier, weight int, e engine.Engine) *serve.Upstream {
	return &serve.Upstream{ID: "prv_" + name, Tier: tier, Weight: weight, Dialect: engine.OpenAI, Model: name, Name: name, Engine: e,
		Endpoints: []engine.Endpoint{{Replica: "prv_" + name}}}
}

// ask makes one request, streamed when body says so.
func (r *rig) ask(ctx context.Context, body string) (*written, error) {
	r.t.Helper()
	w := &written{header: http.Header{}}
	if body == "" {
		body = `{"model":"m","messages":[]}`
	}
	raw := id.Default().Raw()
	return w, r.Do(ctx, w, &Call{Who: r.who, Path: openai.ChatPath, Body: []byte(body), Request: raw, RequestID: "req_" + raw.String()})
}

// booked are the settled records so far.
func (r *rig) booked() []meter.Record {
	r.t.Helper()
	var all []meter.Record
	s := &meter.Shipper{Ledger: r.Ledger, Store: keeps{&all}, Log: slog.New(slog.DiscardHandler)}
	if err := s.Flush(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	return all
}

const fine = `{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}`

func unreached() error {
	return fault.New(fault.Unavailable, "nobody there", fault.Code(engine.Unreached))
}

func died() error { return fault.New(fault.Unavailable, "it broke", fault.Code(engine.Died)) }

func chunk(text string, prompt, completion int, done bool) engine.Chunk {
	return engine.Chunk{Data: []byte(text), Prompt: prompt, Completion: completion, Done: done}
}

const streamed = `{"model":"m","stream":true,"messages":[]}`

func contains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("no %s in %s", part, text)
	}
}

// keeps is a store that keeps records in memory.
type keeps struct{ all *[]meter.Record }

func (k keeps) Ship(_ context.Context, r []meter.Record) error {
	*k.all = append(*k.all, r...)
	return nil
}
func (keeps) Spent(context.Context) (map[id.Raw]int64, error) { return nil, nil }
func (keeps) Usage(context.Context, meter.Filter) (meter.Totals, []meter.Row, error) {
	return meter.Totals{}, nil, nil
}
func (keeps) Records(context.Context, string, int64) ([]meter.Record, error) { return nil, nil }
func (keeps) Check(context.Context) (meter.Books, error)                     { return meter.Books{}, nil }
func (keeps) Rebuild(context.Context) error                                  { return nil }
func (keeps) Oldest(context.Context, string, int64) error                    { return nil }
