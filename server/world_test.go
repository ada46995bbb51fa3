package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/compute/program"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/obs"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/gateway/capture"
	reqlog "github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// jobs is a keeper whose jobs do nothing but what the test says.
type jobs struct {
	mu    sync.Mutex
	all   map[string]job.Job
	lines []job.Line
	ended bool
	log   string
}

func (*jobs) Admit(context.Context, job.Job) error { return nil }

func (j *jobs) Hold(ctx context.Context, project, id string) (job.Job, error) {
	return j.Get(ctx, project, id)
}
func (j *jobs) Release(ctx context.Context, project, id string) (job.Job, error) {
	return j.Get(ctx, project, id)
}
func (j *jobs) Requeue(ctx context.Context, project, id string) (job.Job, error) {
	return j.Get(ctx, project, id)
}

func (j *jobs) End(ctx context.Context, project, id, reason string) (job.Job, error) {
	return j.Cancel(ctx, project, id, reason)
}
func (j *jobs) Forget(ctx context.Context, project, id string) error {
	_, err := j.Get(ctx, project, id)
	return err
}
func (*jobs) Refer(_ context.Context, _ string, names []string) ([]string, error) { return names, nil }

func (j *jobs) CreateArray(ctx context.Context, s job.Spec, indices []int, limit int) (made job.Job, err error) {
	array := id.Default().New(job.ArrayNoun)
	for _, m := range job.Members(array, indices, limit) {
		s.Ask.Member = m
		made, err = j.Create(ctx, s)
	}
	made.ID, made.Tally = array, &job.Tally{States: map[job.State]int{job.Queued: len(indices)}, Lead: made.ID}
	return made, err
}

func (j *jobs) Create(_ context.Context, s job.Spec) (job.Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	x := job.Job{ID: id.Default().New("job"), Spec: s, State: job.Running, Attempt: 2, Restarts: 1, Limits: "rlimits"}
	j.all[x.ID] = x
	return x, nil
}

func (j *jobs) Get(_ context.Context, project, id string) (job.Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	x, ok := j.all[id]
	if !ok || x.Project != project {
		return job.Job{}, fault.New(fault.NotFound, "There is no such job.")
	}
	return x, nil
}

func (j *jobs) List(_ context.Context, project string, f job.Filter) (out []job.Job, _ error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, x := range j.all {
		if x.Project == project && (len(f.After) == 0 || x.ID < f.After[1]) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b job.Job) int { return strings.Compare(b.ID, a.ID) })
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

func (j *jobs) Cancel(ctx context.Context, project, id, _ string) (job.Job, error) {
	x, err := j.Get(ctx, project, id)
	j.mu.Lock()
	defer j.mu.Unlock()
	x.State = job.Cancelled
	j.all[id] = x
	return x, err
}

func (*jobs) Discard(context.Context, string, string) error { return nil }
func (*jobs) Delete(context.Context, string, string) error  { return nil }
func (*jobs) Dir(string) string                             { return "" }
func (*jobs) AttemptDir(string, int) string                 { return "" }

func (j *jobs) Progress(_ context.Context, _, _ string, from job.Cursor, _ int) ([]job.Line, job.Cursor, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := min(int(from.Offset), len(j.lines))
	next := job.Cursor{Attempt: 1, Offset: int64(min(at+2, len(j.lines)))} // two lines at a time
	return j.lines[at:next.Offset], next, j.ended && int(next.Offset) == len(j.lines), nil
}

func (j *jobs) Logs(ctx context.Context, project, id string, _ int, offset int64, limit int) (job.LogChunk, error) {
	if _, err := j.Get(ctx, project, id); err != nil {
		return job.LogChunk{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if limit == 0 {
		limit = 4
	}
	at := min(offset, int64(len(j.log)))
	next := min(at+int64(limit), int64(len(j.log)))
	return job.LogChunk{Offset: at, Data: []byte(j.log[at:next]), Next: next, End: int64(len(j.log)), Ended: next == int64(len(j.log))}, nil
}

type trainer struct{}

func (trainer) Name() string           { return "native" }
func (trainer) Check(train.Task) error { return nil }
func (trainer) Estimate(context.Context, train.Task) (train.Estimate, error) {
	return train.Estimate{Params: 7, Tokens: 100, TokensPerSecond: 50, Duration: 2 * time.Second, Steps: 10}, nil
}
func (trainer) Command(train.Task) (job.Command, error) {
	return job.Command{Argv: []string{"true"}}, nil
}

type serving struct{}

func (serving) Name() string { return "native" }
func (serving) Command(engine.Spec) (job.Command, error) {
	return job.Command{Argv: []string{"true"}}, nil
}
func (serving) Health(context.Context, engine.Endpoint) error { return nil }
func (serving) Open(context.Context, engine.Endpoint, engine.Request) (engine.Stream, error) {
	return nil, fault.New(fault.Unavailable, "nothing runs")
}

// abroad is a provider that nobody reaches.
type abroad struct{ serving }

func (abroad) Resting() map[string]time.Time { return nil }
func (abroad) Close()                        {}

type codec struct{}

func (codec) Inspect(_ context.Context, dir string) (registry.Shape, error) {
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return registry.Shape{}, fault.New(fault.Invalid, "The folder has no config.json.", fault.Field("file"))
	}
	return registry.Shape{Arch: "llama", Params: 7, Context: 64}, nil
}

// world is a server on real services and a real database, with one of each thing in its first project.
type world struct {
	Deps
	h       http.Handler
	db      *sql.DB
	jobs    *jobs
	ledger  *meter.Ledger
	log     *bytes.Buffer
	owner   string // secret of the bootstrap key
	who     *auth.Principal
	objects map[string]string // path parameter -> object of the first project
	from    string            // address of the asker; empty: another one for each request
	asked   int
}

func newWorld(t *testing.T, change ...func(*Deps)) *world {
	t.Helper()
	return newWorldOn(t, sqltest.SQLite(t), change...)
}

func newWorldOn(t *testing.T, dsn string, change ...func(*Deps)) *world {
	t.Helper()
	ctx, ids, clock := t.Context(), id.Default(), time.Now
	w := &world{db: sqltest.Open(t, dsn), log: &bytes.Buffer{}, jobs: &jobs{all: map[string]job.Job{}, log: "hello world"}}
	log := slog.New(slog.NewTextHandler(&locked{w: w.log}, nil))
	blobs := must(file.Open(t.TempDir(), clock))(t)
	w.ledger = must(meter.Open(t.TempDir(), "node", meter.Options{Now: clock, Log: log}))(t)
	t.Cleanup(func() { _ = w.ledger.Close() })
	ring := auth.NewKeyring(w.db.Tenancy(), clock)
	ten := &tenancy.Service{Store: w.db.Tenancy(), IDs: ids, Now: clock, Rand: rand.Reader, Changed: func(ctx context.Context) { _ = ring.Refresh(ctx) }}
	ds := &data.Service{Store: w.db.Data(), Blobs: blobs, IDs: ids, Now: clock}
	reg := &registry.Service{Store: w.db.Registry(), Blobs: blobs, Codec: codec{}, Dir: t.TempDir(), IDs: ids, Now: clock}
	trn := &train.Service{Store: w.db.Runs(), Data: ds, Registry: reg, Jobs: w.jobs, Trainers: map[string]train.Trainer{"native": trainer{}}, IDs: ids, Now: clock, Log: log}
	srv := &serve.Service{Store: w.db.Serve(), Registry: reg, Jobs: w.jobs, Engines: map[string]engine.Engine{"native": serving{}}, IDs: ids, Now: clock, Rand: rand.Reader, Log: log}
	outside := &provider.Service{Store: w.db.Providers(), Box: must(seal.New(make([]byte, seal.KeySize), rand.Reader))(t), Driver: func(provider.Upstream) provider.Driver { return abroad{} },
		IDs: ids, Now: clock, Log: log, Changed: func(ctx context.Context) { srv.Reroute(ctx) }}
	srv.Providers = outside
	there := must(queue.Local("here", 2, []string{"slot=8"}))(t)
	var planner *queue.Planner
	planner = queue.New(queue.Options{Capacity: there, Store: w.db.Queue(), Log: log, Declared: w.db.Devices(), Recompose: func(ctx context.Context) error {
		list, err := w.db.Devices().Declared(ctx)
		c := there.Clone()
		c.Add(list)
		planner.SetCapacity(c)
		return err
	}})
	requests := &reqlog.Log{Store: w.db.RequestLog(), IDs: ids, Now: clock, Keep: time.Hour, Log: log}
	bodies := &capture.Keeper{Store: w.db.Captured(), Now: clock, Most: 1 << 30, Log: log}
	incoming := &pulls.Service{Store: w.db.Pulls(), Registry: reg, Box: outside.Box, Dir: t.TempDir(), IDs: ids, Now: clock, Log: log}
	gw := &gateway.Gateway{Routes: gateway.Served(srv), Quota: quota.NewBook(ring, clock), Ledger: w.ledger, Explain: &gateway.Explanations{}, Watch: &reqlog.Watch{Log: requests, Bodies: bodies}, Now: clock, Log: log}
	w.Deps = Deps{Metrics: obs.Handler(func(w *obs.Writer) { w.One("triarch_build_info", obs.Gauge, "1.", 1) }), Log: log, Now: clock, IDs: ids, Keys: ring, Info: api.Info{Version: "test", Database: "sqlite", CPUs: 2},
		Tenancy: ten, Data: ds, Registry: reg, Pulls: incoming, Train: trn, Serve: srv, Providers: outside, Explain: gw.Explain, Requests: requests, Bodies: bodies, Jobs: w.jobs, Programs: &program.Service{Jobs: w.jobs, Policy: program.Developers}, Queue: planner, Usage: w.db.Meter(), Chips: market,
		Measured: &measured.Service{Book: &measured.Book{Now: clock}, Store: w.db.Measured(), Now: clock, Log: log},
		Webhooks: &webhook.Service{Store: w.db.Webhooks(), Box: outside.Box, IDs: ids, Now: clock, Rand: rand.Reader, Log: log},
		Ledger:   &meter.Shipper{Ledger: w.ledger, Store: w.db.Meter(), Log: log}, Spent: func(context.Context, string, string) int64 { return 5 }, Poll: time.Millisecond,
		OpenAI: &OpenAI{Gateway: gw, Keys: ring, IDs: ids, Now: clock, Log: log}}
	for _, f := range change {
		f(&w.Deps)
	}
	_, _, w.owner, _, _ = ten.Bootstrap(ctx)
	w.who = must(ring.Authenticate(w.owner))(t)
	w.h = New(w.Deps)
	w.furnish(t)
	return w
}

// furnish makes one of each thing.
func (w *world) furnish(t *testing.T) {
	t.Helper()
	ctx, prj := t.Context(), w.who.ProjectID
	must(w.Tenancy.PutMember(ctx, w.who.Maker(), prj, "ann@example.org", tenancy.Owner))(t)
	must(w.Tenancy.PutMember(ctx, w.who.Maker(), prj, "bob@example.org", tenancy.Viewer))(t)
	k, _, err := w.Tenancy.CreateKey(ctx, w.who.Maker(), tenancy.NewKey{Name: "a"})
	must(k, err)(t)
	must(w.Tenancy.SetBudget(ctx, w.who.Maker(), tenancy.Budget{Scope: tenancy.OfKey, ID: k.ID, LimitMicros: 9}))(t)
	dv := must(w.Data.Import(ctx, prj, "words", data.Text, strings.NewReader("one\n\ntwo\n"), data.Options{}))(t)
	dir := t.TempDir()
	must(0, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600))(t)
	mv := must(w.Registry.ImportDir(ctx, prj, dir, registry.NewVersion{Model: "m"}))(t)
	run := must(w.Train.Submit(ctx, train.Who{Project: prj}, train.Spec{Model: "m", Data: dv.ID, Recipe: train.Recipe{Steps: 10}}))(t)
	dep := must(w.Serve.Deploy(ctx, serve.Who{Org: w.who.OrgID, Project: prj}, serve.DeploySpec{Model: mv.ID, Route: &serve.RouteSpec{Name: "pub"}}))(t)
	route := must(w.Serve.Route(ctx, prj, "pub"))(t)
	abroad := must(w.Providers.Add(ctx, provider.Who{Org: w.who.OrgID, Project: prj}, provider.Spec{Name: "abroad", URL: "https://api.example.org/v1", Key: "sk-1234567890abcdef"}))(t)
	must(w.Bodies.Set(ctx, capture.Consent{Project: prj, Share: 1, Redact: capture.Classes, By: w.who.KeyID}))(t)
	asked := w.askJSON("POST", "/v1/chat/completions", w.owner, `{"model":"pub","messages":[]}`)
	w.Bodies.Flush(ctx)
	prior := must(w.Queue.SetQuota(ctx, queue.Quota{Project: prj, Guarantee: map[string]int64{"slot": 1}}))(t)
	window := must(w.Queue.AddWindow(ctx, queue.Window{Name: "yearly", Nodes: []string{"here"}, From: time.Now().Add(time.Hour), Until: time.Now().Add(2 * time.Hour)}))(t)
	taker := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(taker.Close)
	told, _, err := w.Webhooks.Add(ctx, webhook.Who{Org: w.who.OrgID, Project: prj, Private: true}, webhook.Spec{URL: taker.URL + "/in", Private: true})
	must(told, err)(t)
	seen := must(w.measure(t, "furnished", 8))(t)
	pull := must(w.Pulls.Begin(ctx, pulls.Who{Project: prj}, pulls.Request{Spec: hub.Spec{Repo: "org/first"}}))(t)
	w.plan(t)
	w.objects = map[string]string{"job": must(w.jobs.List(ctx, prj, job.Filter{}))(t)[0].ID, "node": "here", "window": window.Name, "project": prior.Project,
		"email": "bob@example.org", "key": k.ID, "scope": "key", "what": "abort", "id": k.ID, "data": dv.ID, "model": mv.ID,
		"run": run.ID, "deployment": dep.ID, "route": route.ID, "version": route.Priced.ID, "provider": abroad.ID, "pkey": abroad.Keys[0].ID, "request": asked.Header().Get("X-Request-Id"),
		"chip": "class-of-chips", "webhook": told.ID, "measurement": seen, "pull": pull.ID}
}

// measure reports a measurement of the project and returns its id.
func (w *world) measure(t *testing.T, report string, batch int) (string, error) {
	t.Helper()
	shape, _ := perf.Named("llama-3-8b")
	m := measured.Measurement{Rate: 1000, At: time.Now(), Question: perf.Question{Shape: shape, Chip: must(must(w.Chips())(t).Catalogue.Find("nvidia-h100-sxm"))(t),
		Work: perf.Work{Task: perf.Decode, Engine: "vllm", Precision: chip.BF16, Batch: batch, Context: 500}}}
	if _, err := w.Measured.ReportOf(t.Context(), w.who.ProjectID, report, m); err != nil {
		return "", err
	}
	for _, r := range w.Measured.Seen(w.who.ProjectID) {
		if r.Question.Work.Batch == batch {
			return r.Key, nil
		}
	}
	return "", errors.New("it is not there")
}

// plan has the planner look at what there is.
func (w *world) plan(t *testing.T) {
	t.Helper()
	none := func([]string) (map[string]job.Job, error) { return nil, nil }
	must(w.Queue.(*queue.Planner).Plan(t.Context(), job.View{Now: time.Now(), Find: none}))(t)
}

// finish ends the run as a worker would.
func (w *world) finish(t *testing.T) {
	t.Helper()
	r := must(w.Train.Store.Get(t.Context(), w.who.ProjectID, w.objects["run"]))(t)
	r.State, r.EndedAt = train.Succeeded, time.Now()
	if wrote, err := w.Train.Store.Update(t.Context(), r); err != nil || !wrote {
		t.Fatalf("the run was not finished: %v %v", wrote, err)
	}
	w.jobs.mu.Lock()
	defer w.jobs.mu.Unlock()
	w.jobs.ended = true
}

// key makes a key as SQL has it, beyond what the service's rules allow, and returns its secret.
func (w *world) key(t *testing.T, k tenancy.Key) string {
	t.Helper()
	secret, hash, err := tenancy.NewSecret(rand.Reader)
	must(0, err)(t)
	k.ID, k.Name, k.CreatedAt = w.IDs.New("key"), "test", time.Now()
	if k.OrgID == "" {
		k.OrgID, k.ProjectID = w.who.OrgID, w.who.ProjectID
	}
	must(0, w.Tenancy.Store.AddKey(t.Context(), k, hash))(t)
	must(0, w.Keys.Refresh(t.Context()))(t)
	return secret
}

func (w *world) ask(method, target, secret, kind string, body io.Reader) *httptest.ResponseRecorder {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // a stream that should end and does not
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, target, body)
	if r.RemoteAddr = w.from; w.from == "" { // each request from an address of its own
		w.asked++
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", w.asked/256, w.asked%256)
	}
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return rec
}

func (w *world) askJSON(method, target, secret, body string) *httptest.ResponseRecorder {
	if body == "" {
		return w.ask(method, target, secret, "", nil)
	}
	return w.ask(method, target, secret, "application/json", strings.NewReader(body))
}

func problemOf(t *testing.T, rec *httptest.ResponseRecorder) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || rec.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%d %s is no problem: %s", rec.Code, rec.Header().Get("Content-Type"), rec.Body)
	}
	if p.Status != rec.Code || p.Kind == "" || p.Message == "" || p.RequestID != rec.Header().Get("X-Request-Id") {
		t.Fatalf("half a problem with %d: %+v", rec.Code, p)
	}
	return p
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func market() (estimate.Market, error) {
	c, err := chip.Builtin()
	return estimate.Market{Catalogue: c}, err
}
