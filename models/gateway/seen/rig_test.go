package seen

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// echo is an engine that answers each replica's requests with what the replica's name says.
type echo struct {
	mu    sync.Mutex
	asked []engine.Request
}

func (*echo) Name() string                                  { return "echo" }
func (*echo) Command(engine.Spec) (job.Command, error)      { return job.Command{}, nil }
func (*echo) Health(context.Context, engine.Endpoint) error { return nil }

func (e *echo) Open(_ context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	e.mu.Lock()
	e.asked = append(e.asked, engine.Request{Path: q.Path, RequestID: q.RequestID, Trace: q.Trace, TraceState: q.TraceState})
	e.mu.Unlock()
	if to.Replica == "dead" {
		return nil, fault.New(fault.Unavailable, "nobody there", fault.Code(engine.Unreached))
	}
	if q.Stream {
		return &spoken{chunks: []engine.Chunk{{Data: []byte("data: a\n\n"), Prompt: 9, Completion: 1}, {Data: []byte("data: [DONE]\n\n"), Prompt: 9, Completion: 4, Cached: 3, Reasoning: 2, Done: true}}, kind: "text/event-stream"}, nil
	}
	return &spoken{chunks: []engine.Chunk{{Data: []byte(answered)}}, kind: "application/json"}, nil
}

const answered = `{"model":"inner","choices":[{"message":{"content":"hi bob@example.org"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}`

type spoken struct {
	chunks []engine.Chunk
	kind   string
}

func (*spoken) Status() int            { return 200 }
func (s *spoken) Header(string) string { return s.kind }
func (*spoken) Close() error           { return nil }
func (s *spoken) Next() (engine.Chunk, error) {
	if len(s.chunks) == 0 {
		return engine.Chunk{}, io.EOF
	}
	c := s.chunks[0]
	s.chunks = s.chunks[1:]
	return c, nil
}

type table map[string]*serve.Target

func (r table) Lookup(_, _, name string) (*serve.Target, bool) { t, ok := r[name]; return t, ok }
func (table) List(_, _ string) []*serve.Target                 { return nil }
func (table) Suspect(string)                                   {}

type free struct{}

func (free) Generation() int64          { return 1 }
func (free) Bound(id.Raw) tenancy.Bound { return tenancy.Bound{} }

// sink is where answers go.
type sink struct{ h http.Header }

func (s sink) Header() http.Header       { return s.h }
func (sink) WriteHeader(int)             {}
func (sink) Write(b []byte) (int, error) { return len(b), nil }
func (sink) Flush() error                { return nil }

// rig is a gateway that somebody watches.
type rig struct {
	*gateway.Gateway
	echo   *echo
	routes table
	who    *auth.Principal
}

func newRig(t testing.TB, w gateway.Watcher) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	ledger, err := meter.Open(t.TempDir(), "node", meter.Options{Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	ids := id.Default()
	r := &rig{echo: &echo{}, routes: table{}}
	r.who = &auth.Principal{OrgID: ids.New("org"), ProjectID: ids.New("prj"), KeyID: ids.New("key")}
	r.who.Org, _ = id.ParseRaw(r.who.OrgID)
	r.who.Project, _ = id.ParseRaw(r.who.ProjectID)
	r.who.Key, _ = id.ParseRaw(r.who.KeyID)
	r.Gateway = &gateway.Gateway{Routes: r.routes, Quota: quota.NewBook(free{}, time.Now), Ledger: ledger, Now: time.Now, Log: log, Watch: w}
	r.route("m", "alive")
	return r
}

// route leads to a deployment with these replicas.
func (r *rig) route(name string, replicas ...string) {
	u := &serve.Upstream{ID: "dep_" + name, Weight: 1, Dialect: engine.OpenAI, Version: "mv_1", Model: "inner@1", Context: 1000, Engine: r.echo}
	for _, x := range replicas {
		u.Endpoints = append(u.Endpoints, engine.Endpoint{Replica: x, Addr: "127.0.0.1:7"})
	}
	r.routes[name] = &serve.Target{Route: serve.Route{ID: id.Default().New("rte"), Org: r.who.OrgID, Project: r.who.ProjectID, Name: name,
		Prices: meter.Flat(1_000_000, 2_000_000)}, Backends: []*serve.Upstream{u}}
}

// ask makes one request; with may change it.
func (r *rig) ask(body string, with ...func(*gateway.Call)) (string, error) {
	raw := id.Default().Raw()
	c := &gateway.Call{Who: r.who, Path: openai.ChatPath, Body: []byte(body), Request: raw, RequestID: "req_" + raw.String()}
	for _, w := range with {
		w(c)
	}
	return c.RequestID, r.Do(context.Background(), sink{http.Header{}}, c)
}

const (
	plain  = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`
	stream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`
)
