package modelapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/kept"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/server"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

const engineSecret = "engine-secret"

// fixed are routes that do not change.
type fixed struct {
	targets  map[string]*serve.Target
	suspects chan string
}

func (f *fixed) Lookup(_, org, name string) (*serve.Target, bool) {
	t, ok := f.targets[name]
	return t, ok && t.Route.Org == org
}

func (f *fixed) List(_, _ string) []*serve.Target {
	var out []*serve.Target
	for _, t := range f.targets {
		if t.Serves() {
			out = append(out, t)
		}
	}
	return out
}

func (f *fixed) Suspect(replica string) {
	select {
	case f.suspects <- replica:
	default:
	}
}

// parts are what a gateway process is made of.
type parts struct {
	db      *sql.DB
	tenancy *tenancy.Service
	by      tenancy.Maker
	ring    *auth.Keyring
	ledger  *meter.Ledger
	shipper *meter.Shipper
	book    *quota.Book
	routes  *fixed
	gateway *gateway.Gateway
	handler http.Handler
}

// build puts the parts together as system does: recover the ledger, ship, then load what was spent.
func build(ctx context.Context, db *sql.DB, ledgerDir string, replicas ...string) (*parts, error) {
	p := &parts{db: db, routes: &fixed{targets: map[string]*serve.Target{}, suspects: make(chan string, 16)}}
	p.ring = auth.NewKeyring(db.Tenancy(), time.Now)
	p.tenancy = &tenancy.Service{Store: db.Tenancy(), IDs: id.Default(), Now: time.Now, Rand: rand.Reader,
		Changed: func(ctx context.Context) { _ = p.ring.Refresh(ctx) }}
	o, pr, _, _, err := p.tenancy.Bootstrap(ctx)
	if err != nil {
		return nil, err
	}
	p.by = tenancy.Maker{OrgID: o.ID, ProjectID: pr.ID, Role: tenancy.Owner, Scopes: append(slices.Clip(tenancy.Ordinary), tenancy.OrgWide)}
	if err := p.ring.Refresh(ctx); err != nil {
		return nil, err
	}
	if p.ledger, err = meter.Open(ledgerDir, "node_test", meter.Options{Slots: 1024}); err != nil {
		return nil, err
	}
	p.shipper = &meter.Shipper{Ledger: p.ledger, Store: db.Meter()}
	if err := p.shipper.Flush(ctx); err != nil {
		return nil, err
	}
	p.book = quota.NewBook(p.ring, withinAMinute())
	spent, err := db.Meter().Spent(ctx)
	if err != nil {
		return nil, err
	}
	p.book.Load(spent, p.ring.Charged)
	p.addRoute("paced", 1_000_000, 2_000_000, 1000, &native.Driver{}, replicas...)
	log := slog.New(slog.DiscardHandler)
	p.gateway = &gateway.Gateway{Routes: p.routes, Quota: p.book, Ledger: p.ledger, Now: time.Now, Log: log}
	blobs, err := file.Open(ledgerDir+"-blobs", time.Now)
	if err != nil {
		return nil, err
	}
	keeps := &kept.Service{Store: db.Kept(), Blobs: blobs, IDs: id.Default(), Now: time.Now, FileBytes: 1 << 16}
	p.handler = &server.OpenAI{Kept: keeps, Gateway: p.gateway, Keys: p.ring, IDs: id.Default(), Now: time.Now, Log: log, MaxBody: 1 << 20}
	return p, nil
}

// withinAMinute is a clock that goes on from the beginning of a minute, so that no test counts in two.
func withinAMinute() func() time.Time {
	start := time.Now()
	return func() time.Time { return start.Truncate(time.Minute).Add(time.Since(start)) }
}

func (p *parts) addRoute(name string, in, out int64, context int, e engine.Engine, replicas ...string) {
	ids := id.Default()
	t := &serve.Target{Route: serve.Route{ID: ids.New("rte"), Org: p.by.OrgID, Project: p.by.ProjectID, Name: name,
		Prices: meter.Flat(in, out), CreatedAt: time.Unix(1_800_000_000, 0)},
		Backends: []*serve.Upstream{{ID: ids.New("dep"), Weight: 1, Dialect: engine.OpenAI, Version: ids.New("mv"), Context: context, Engine: e}}}
	for _, addr := range replicas {
		t.Backends[0].Endpoints = append(t.Backends[0].Endpoints, engine.Endpoint{Replica: "rep_" + addr, Addr: addr, Secret: engineSecret})
	}
	p.routes.targets[name] = t
}

// rig is a running model API with an engine behind it.
type rig struct {
	*parts
	t      *testing.T
	engine *pacedengine.Engine
	url    string
	client *http.Client
}

func startEngine(t *testing.T, o pacedengine.Options) (*pacedengine.Engine, string) {
	o.Secret = engineSecret
	e := &pacedengine.Engine{Options: o}
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	return e, strings.TrimPrefix(srv.URL, "http://")
}

func newRig(t *testing.T, db *sql.DB, o pacedengine.Options) *rig {
	e, addr := startEngine(t, o)
	p, err := build(t.Context(), db, t.TempDir(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.ledger.Close() })
	srv := httptest.NewServer(p.handler)
	t.Cleanup(srv.Close)
	tr := &http.Transport{MaxIdleConnsPerHost: 300}
	t.Cleanup(tr.CloseIdleConnections)
	return &rig{parts: p, t: t, engine: e, url: srv.URL, client: &http.Client{Transport: tr}}
}

// key makes an API key and returns it with its secret.
func (r *rig) key(n tenancy.NewKey) (tenancy.Key, string) {
	r.t.Helper()
	k, secret, err := r.tenancy.CreateKey(r.t.Context(), r.by, n)
	if err != nil {
		r.t.Fatal(err)
	}
	return k, secret
}

func (r *rig) funded(micros int64) (tenancy.Key, string) {
	return r.key(tenancy.NewKey{Name: "funded", BudgetMicros: &micros})
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (r *rig) do(method, path, secret, body string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Error(err)
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

func (r *rig) chat(secret, body string) answer {
	r.t.Helper()
	return r.do("POST", "/v1/chat/completions", secret, body)
}

// totals ships what is settled, proves the books and returns what a key used.
func (r *rig) totals(key string) meter.Totals {
	r.t.Helper()
	books, err := r.shipper.Verify(r.t.Context())
	if err != nil || len(books.Faults) > 0 {
		r.t.Errorf("the books do not agree: %+v, %v", books, err)
	}
	totals, _, err := r.db.Meter().Usage(r.t.Context(), meter.Filter{Org: r.by.OrgID, Key: key})
	if err != nil {
		r.t.Fatal(err)
	}
	totals.ChipMillis, totals.ChipNanos = 0, 0 // how long it took is never the same
	return totals
}

func raw(t *testing.T, s string) id.Raw {
	t.Helper()
	r, err := id.ParseRaw(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tokensIn counts the tokens of the paced engine in events of any dialect.
func tokensIn(text []byte) (n int) {
	for _, before := range []string{`"content":"t`, `"text":"t`, `"delta":"t`} {
		n += bytes.Count(text, []byte(before))
	}
	return n
}

func openSQLite(t *testing.T) *sql.DB {
	db, err := sql.Open(t.Context(), "sqlite:"+t.TempDir()+"/state.db", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
