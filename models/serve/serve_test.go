package serve_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

const (
	org     = "org_a"
	project = "prj_a"
)

// Courses write to a database that syncs its files, so there are fewer of them than rapid would make by itself.
func init() { must(0, flag.Set("rapid.checks", "12")) }

var who = serve.Who{Org: org, Project: project, Key: "key_1", Pricing: true, Lowering: true, Sharing: true}

// fakeJobs is the keeper as replicas see it.
type fakeJobs struct {
	dir     string
	mu      sync.Mutex
	jobs    map[string]*job.Job
	created int
}

func (*fakeJobs) Admit(context.Context, job.Job) error { return nil }

func (f *fakeJobs) Create(_ context.Context, s job.Spec) (job.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range f.jobs {
		if j.Project == s.Project && j.Kind == s.Kind && j.Owner == s.Owner {
			return *j, nil
		}
	}
	f.created++
	j := &job.Job{ID: id.Default().New("job"), Spec: s, State: job.Queued}
	f.jobs[j.ID] = j
	return *j, nil
}

func (f *fakeJobs) Get(_ context.Context, project, id string) (job.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[id]; ok && j.Project == project {
		return *j, nil
	}
	return job.Job{}, fault.New(fault.NotFound, "no job")
}

func (f *fakeJobs) List(_ context.Context, project string, x job.Filter) (out []job.Job, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range f.jobs {
		if j.Project == project && j.Owner == x.Owner && j.Kind == x.Kind {
			out = append(out, *j)
		}
	}
	return out, nil
}

func (f *fakeJobs) Cancel(_ context.Context, _, id, reason string) (job.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.jobs[id]
	if !ok {
		return job.Job{}, fault.New(fault.NotFound, "no job")
	}
	switch j.State {
	case job.Queued:
		j.State = job.Cancelled
	case job.Running:
		j.State = job.Stopping
	}
	return *j, nil
}

func (f *fakeJobs) Delete(_ context.Context, _, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[id]; ok && !j.State.Final() {
		return fault.New(fault.Conflict, "it has not ended")
	}
	delete(f.jobs, id)
	return nil
}

func (f *fakeJobs) Logs(_ context.Context, _, id string, _ int, _ int64, _ int) (job.LogChunk, error) {
	return job.LogChunk{Data: []byte(id)}, nil
}

func (f *fakeJobs) AttemptDir(id string, attempt int) string {
	return filepath.Join(f.dir, id, fmt.Sprint(attempt))
}

// tick is what the keeper and the workers do meanwhile: queued jobs run, listen and answer; stopping ones end.
func (f *fakeJobs) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range f.jobs {
		switch j.State {
		case job.Queued:
			j.State, j.Attempt = job.Running, j.Attempt+1
			f.listen(j, fmt.Sprintf("127.0.0.1:%d", 1000+len(j.ID)+j.Attempt))
		case job.Stopping:
			j.State = job.Cancelled
		}
	}
}

func (f *fakeJobs) listen(j *job.Job, addr string) {
	dir := f.AttemptDir(j.ID, j.Attempt)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(err)
	}
	text, err := json.Marshal(engine.Announcement{Addr: addr, Protocol: engine.Protocol})
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(dir, engine.EndpointFile), text, 0o600); err != nil {
		panic(err)
	}
}

// fakeEngine answers for every replica but the sick ones.
type fakeEngine struct {
	mu   sync.Mutex
	sick map[string]bool // by secret
	asks int
}

func (*fakeEngine) Name() string { return "fake" }

func (*fakeEngine) Command(s engine.Spec) (job.Command, error) {
	return job.Command{Argv: []string{"serve", s.ModelDir, s.ModelName, fmt.Sprint(s.MaxContext), s.Listen}}, nil
}

func (e *fakeEngine) Health(ctx context.Context, at engine.Endpoint) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asks++
	if _, limited := ctx.Deadline(); !limited {
		return errors.New("a health check without a limit")
	}
	if e.sick[at.Secret] {
		return fault.New(fault.Unavailable, "It is sick.")
	}
	return nil
}

func (*fakeEngine) Open(context.Context, engine.Endpoint, engine.Request) (engine.Stream, error) {
	return nil, errors.New("not used here")
}

type codec struct{}

func (codec) Inspect(context.Context, string) (registry.Shape, error) {
	return registry.Shape{Arch: "llama", Context: 64}, nil
}

// world is everything that outlives a service.
type world struct {
	db      *sql.DB
	jobs    *fakeJobs
	engine  *fakeEngine
	models  *registry.Service
	version registry.Version
}

func newWorld(t *testing.T, db *sql.DB) *world {
	t.Helper()
	dir := t.TempDir()
	blobs := must(file.Open(filepath.Join(dir, "blobs"), time.Now))
	model := modelDir(t)
	w := &world{db: db, jobs: &fakeJobs{dir: filepath.Join(dir, "work"), jobs: map[string]*job.Job{}}, engine: &fakeEngine{sick: map[string]bool{}},
		models: &registry.Service{Store: db.Registry(), Blobs: blobs, Codec: codec{}, Dir: filepath.Join(dir, "models"), IDs: id.Default(), Now: time.Now}}
	w.version = must(w.models.ImportDir(t.Context(), project, model, registry.NewVersion{Model: "m"}))
	return w
}

// modelDir is a folder with a model as these tests know it.
func modelDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(0, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600))
	return dir
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// service is a fresh control plane on the world; with c it dies where c says.
func (w *world) service(c *crash) *serve.Service {
	s := &serve.Service{Store: w.db.Serve(), Jobs: w.jobs, Registry: w.models, Engines: map[string]engine.Engine{"fake": w.engine},
		IDs: id.Default(), Now: time.Now, Log: slog.New(slog.DiscardHandler), Patience: time.Minute}
	if c != nil {
		s.Store, s.Jobs = crashStore{s.Store, c}, crashJobs{s.Jobs, c}
	}
	return s
}

// settle lets the world and the service take turns until nothing is left to do.
func (w *world) settle(t *testing.T, s *serve.Service) {
	t.Helper()
	for range 4 {
		must(0, s.Reconcile(t.Context()))
		w.jobs.tick()
	}
	must(0, s.Reconcile(t.Context()))
}

func spec(replicas int) serve.DeploySpec {
	return serve.DeploySpec{Model: "m", Engine: "fake", Replicas: replicas, Route: &serve.RouteSpec{Price: meter.Card{Input: new(int64(10)), Output: new(int64(20))}}}
}

func TestADeploymentServes(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		d := must(s.Deploy(ctx, who, spec(2)))
		if d.Name != "m" || d.State != serve.Pending || d.Model != "m@1" || d.MaxContext != 0 {
			t.Fatalf("%+v", d)
		}
		if _, ok := s.Snapshot().Lookup(project, org, "m"); ok {
			t.Error("a route is known before the first pass")
		}
		must(0, s.Reconcile(ctx))
		if x, ok := s.Snapshot().Lookup(project, org, "m"); !ok || len(x.Backends[0].Endpoints) != 0 || len(s.Snapshot().List(project, org)) != 0 {
			t.Errorf("a route whose replicas are not there yet: %+v", x)
		}
		w.settle(t, s)
		d = must(s.Get(ctx, project, "m"))
		x, ok := s.Snapshot().Lookup(project, org, "m")
		if d.State != serve.Serving || d.Ready != 2 || d.Reason != "" || !ok || len(x.Backends[0].Endpoints) != 2 || x.Route.Prices.Output != 20 ||
			x.Backends[0].Version != w.version.ID || x.Context() != 64 || x.Backends[0].Engine != engine.Engine(w.engine) {
			t.Fatalf("%+v %+v", d, x)
		}
		for _, e := range x.Backends[0].Endpoints {
			if len(e.Secret) < 43 || e.Addr == "" || e.Replica == "" || e.Secret == x.Backends[0].Endpoints[1-slices.Index(x.Backends[0].Endpoints, e)].Secret {
				t.Errorf("endpoint %+v", e)
			}
		}
		for _, j := range w.jobs.jobs {
			if j.CPUs != 0 || !j.Restart.Forever || j.Kind != "replica" || j.Command.Argv[3] != "0" || j.MemoryBytes < 2<<30 || strings.Contains(strings.Join(j.Command.Argv, " "), x.Backends[0].Endpoints[0].Secret) {
				t.Errorf("job %+v", j.Spec)
			}
		}
		if list := s.Snapshot().List(project, org); len(list) != 1 || list[0].Route.Name != "m" {
			t.Errorf("list %+v", list)
		}
		if _, ok := s.Snapshot().Lookup("prj_b", org, "m"); ok {
			t.Error("another project sees the route")
		}
		if _, err := s.Get(ctx, "prj_b", d.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project sees the deployment: %v", err)
		}
		rs := must(s.Replicas(ctx, project, "m"))
		if len(rs) != 2 || !rs[0].Healthy || rs[0].Attempt != 1 {
			t.Errorf("replicas %+v", rs)
		}
		if l := must(s.Logs(ctx, project, "m", rs[1].ID, 0, 0, 0)); string(l.Data) != rs[1].JobID {
			t.Errorf("logs of %s", l.Data)
		}
		if _, err := s.Logs(ctx, project, "m", "rep_x", 0, 0, 0); !fault.Is(err, fault.NotFound) {
			t.Errorf("logs of no replica: %v", err)
		}
	})
}

// states is a store that looks at the Table when it is told how many replicas answer.
type states struct {
	serve.Store
	told func(ready int)
}

func (s states) SetState(ctx context.Context, id string, state serve.State, reason string, ready int) error {
	s.told(ready)
	return s.Store.SetState(ctx, id, state, reason, ready)
}

// Whoever reads that replicas answer can ask them at once: the Table has them before the state says so.
func TestReadyIsToldAfterTheTable(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		s := w.service(nil)
		must(s.Deploy(t.Context(), who, spec(2)))
		most := 0
		s.Store = states{s.Store, func(ready int) {
			most = max(most, ready)
			if x, _ := s.Snapshot().Lookup(project, org, "m"); ready > 0 && (x == nil || len(x.Backends[0].Endpoints) != ready) {
				t.Errorf("%d replicas are told to answer while the table has %+v", ready, x)
			}
		}}
		w.settle(t, s)
		if most != 2 {
			t.Errorf("at most %d replicas were told of", most)
		}
	})
}

// A control plane that comes later finds the replicas that run and starts none anew.
func TestReplicasAreFoundAgain(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		s := w.service(nil)
		must(s.Deploy(t.Context(), who, spec(3)))
		w.settle(t, s)
		before, _ := s.Snapshot().Lookup(project, org, "m")
		told := 0
		s.OnChange = func(*serve.Table) { told++ }
		table := s.Snapshot()
		must(0, s.Reconcile(t.Context()))
		if told != 0 || s.Snapshot() != table {
			t.Errorf("told %d times of a table that did not change", told)
		}
		s = w.service(nil)
		if x, ok := s.Snapshot().Lookup(project, org, "m"); ok {
			t.Fatalf("known before it looked: %+v", x)
		}
		must(0, s.Reconcile(t.Context()))
		after, _ := s.Snapshot().Lookup(project, org, "m")
		if !slices.Equal(before.Backends[0].Endpoints, after.Backends[0].Endpoints) || len(after.Backends[0].Endpoints) != 3 || w.jobs.created != 3 {
			t.Errorf("before %+v\nafter %+v, %d jobs", before.Backends[0].Endpoints, after.Backends[0].Endpoints, w.jobs.created)
		}
	})
}

func TestHealthDecides(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx, s := t.Context(), w.service(nil)
	must(s.Deploy(ctx, who, spec(2)))
	w.settle(t, s)
	x, _ := s.Snapshot().Lookup(project, org, "m")
	first, second := x.Backends[0].Endpoints[0], x.Backends[0].Endpoints[1]

	s.Suspect(first.Replica) // a caller could not reach it: off at once
	if y, _ := s.Snapshot().Lookup(project, org, "m"); len(y.Backends[0].Endpoints) != 1 || y.Backends[0].Endpoints[0] != second || len(x.Backends[0].Endpoints) != 2 {
		t.Errorf("suspected: %+v, the old table %+v", y.Backends[0].Endpoints, x.Backends[0].Endpoints)
	}
	must(0, s.Reconcile(ctx)) // it answers: back again
	if y, _ := s.Snapshot().Lookup(project, org, "m"); len(y.Backends[0].Endpoints) != 2 {
		t.Errorf("checked again: %+v", y.Backends[0].Endpoints)
	}
	w.engine.sick[second.Secret] = true
	must(0, s.Reconcile(ctx))
	if y, _ := s.Snapshot().Lookup(project, org, "m"); len(y.Backends[0].Endpoints) != 1 || y.Backends[0].Endpoints[0] != first {
		t.Errorf("sick: %+v", y.Backends[0].Endpoints)
	}
	if d := must(s.Get(ctx, project, "m")); d.State != serve.Degraded || d.Ready != 1 || !strings.Contains(d.Reason, "sick") {
		t.Errorf("sick: %+v", d)
	}
	w.engine.sick[first.Secret] = true
	must(0, s.Reconcile(ctx))
	if d := must(s.Get(ctx, project, "m")); d.State != serve.Pending || len(s.Snapshot().List(project, org)) != 0 {
		t.Errorf("all sick: %+v", d)
	}
	// The replica died and came back as another attempt on another port: the old address is not asked.
	w.engine.sick = map[string]bool{}
	for _, j := range w.jobs.jobs {
		j.State, j.Restarts, j.Reason, j.Fault = job.Queued, 3, "It was killed from outside (SIGKILL).", job.FaultNode
	}
	must(0, s.Reconcile(ctx))
	if d := must(s.Get(ctx, project, "m")); d.State != serve.Failed || !strings.Contains(d.Reason, "SIGKILL") {
		t.Errorf("dying over and over: %+v", d)
	}
	w.settle(t, s)
	if y, _ := s.Snapshot().Lookup(project, org, "m"); len(y.Backends[0].Endpoints) != 2 || y.Backends[0].Endpoints[0].Addr == first.Addr || w.jobs.created != 2 {
		t.Errorf("after the restart: %+v, %d jobs", y.Backends[0].Endpoints, w.jobs.created)
	}
}

// What a worker writes into its folder cannot make the control plane call elsewhere.
func TestOnlyLoopbackIsCalled(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx, s := t.Context(), w.service(nil)
	must(s.Deploy(ctx, who, spec(1)))
	w.settle(t, s)
	for _, addr := range []string{"10.0.0.1:80", "example.com:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "localhost:80", "[::]:80", "", "127.0.0.1:80/x"} {
		for _, j := range w.jobs.jobs {
			w.jobs.listen(j, addr)
		}
		must(0, s.Reconcile(ctx))
		if len(s.Snapshot().List(project, org)) != 0 {
			t.Errorf("%q was called", addr)
		}
	}
	for _, j := range w.jobs.jobs {
		must(0, os.WriteFile(filepath.Join(w.jobs.AttemptDir(j.ID, j.Attempt), engine.EndpointFile), []byte(`{"addr":"127.0.0.1:80","protocol":2}`), 0o600))
	}
	must(0, s.Reconcile(ctx))
	if len(s.Snapshot().List(project, org)) != 0 {
		t.Error("a worker of another protocol was called")
	}
}

func TestScaleAndRemove(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		must(s.Deploy(ctx, who, spec(3)))
		w.settle(t, s)
		oldest, _ := s.Snapshot().Lookup(project, org, "m")
		must(s.Scale(ctx, project, "m", 1))
		w.settle(t, s)
		x, _ := s.Snapshot().Lookup(project, org, "m")
		if len(x.Backends[0].Endpoints) != 1 || x.Backends[0].Endpoints[0] != oldest.Backends[0].Endpoints[0] || len(w.jobs.jobs) != 1 {
			t.Errorf("scaled down: %+v, %d jobs", x.Backends[0].Endpoints, len(w.jobs.jobs))
		}
		must(s.Scale(ctx, project, "m", 0))
		w.settle(t, s)
		if d := must(s.Get(ctx, project, "m")); len(w.jobs.jobs) != 0 || d.State != serve.Pending || !strings.Contains(d.Reason, "no replicas") {
			t.Errorf("scaled to nothing: %+v, %d jobs", d, len(w.jobs.jobs))
		}
		must(s.Scale(ctx, project, "m", 2))
		w.settle(t, s)
		d := must(s.Remove(ctx, who, "m"))
		must(0, s.Reconcile(ctx))
		if _, ok := s.Snapshot().Lookup(project, org, "m"); ok {
			t.Error("a removed deployment is routed to")
		}
		again := must(s.Deploy(ctx, who, spec(1))) // the name is free though the old one still drains
		w.settle(t, s)
		if _, err := s.Get(ctx, project, d.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("still there: %v", err)
		}
		if d := must(s.Get(ctx, project, "m")); d.ID != again.ID || d.State != serve.Serving || len(w.jobs.jobs) != 1 {
			t.Errorf("deployed again: %+v, %d jobs", d, len(w.jobs.jobs))
		}
		if _, err := s.Scale(ctx, project, d.ID, 1); !fault.Is(err, fault.NotFound) {
			t.Errorf("scaled what is gone: %v", err)
		}
	})
}

// Whoever may not set prices gets the usual ones, and cannot have a model at the price of another.
func TestPricesAreForWhoMaySetThem(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		s.Price = new(meter.Flat(3, 4))
		developer := who
		developer.Pricing, developer.Lowering, developer.Sharing = false, false, false
		deploy := func(name string, r *serve.RouteSpec) (serve.Route, error) {
			d := spec(1)
			d.Name, d.Route = name, r
			if _, err := s.Deploy(ctx, developer, d); err != nil || r == nil {
				return serve.Route{}, err
			}
			return s.Route(ctx, project, name)
		}
		for field, r := range map[string]serve.RouteSpec{"price_in": {Price: meter.Card{Input: new(int64(0))}}, "price_out": {Price: meter.Card{Output: new(int64(9))}}, "shared": {Shared: true}} {
			if x, err := deploy("bad", &r); !fault.Is(err, fault.Forbidden) {
				t.Errorf("deployed with %s: %+v, %v", field, x, err)
			}
			r.Name, r.Deployment = "bad", "first"
			must(0, w.deployOnce(ctx, s, "first"))
			if x, err := s.AddRoute(ctx, developer, r); !fault.Is(err, fault.Forbidden) {
				t.Errorf("routed with %s: %+v, %v", field, x, err)
			}
		}
		usual := must(s.AddRoute(ctx, developer, serve.RouteSpec{Name: "usual", Deployment: "first"}))
		if usual.Prices.Input != 3 || usual.Prices.Output != 4 || usual.Shared {
			t.Errorf("the installation's price: %+v", usual)
		}
		for field, c := range map[string]serve.RouteChange{"price_in": {Price: meter.Card{Input: new(int64(0))}}, "price_out": {Price: meter.Card{Output: new(int64(9))}}, "shared": {Shared: new(false)}} {
			if x, err := s.SetRoute(ctx, developer, "usual", c); !fault.Is(err, fault.Forbidden) {
				t.Errorf("changed %s: %+v, %v", field, x, err)
			}
		}

		must(s.SetRoute(ctx, who, "usual", serve.RouteChange{Price: meter.Card{Input: new(int64(100)), Output: new(int64(1))}}))
		if again := must(deploy("again", &serve.RouteSpec{})); again.Prices.Input != 100 || again.Prices.Output != 1 {
			t.Errorf("the same version again costs %+v", again)
		}
		if free := must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "free", Deployment: "first", Price: meter.Card{Input: new(int64(0)), Output: new(int64(0))}})); free.Prices.Input != 0 {
			t.Errorf("a price of nothing by one who may: %+v", free)
		}
		if x, err := s.SetRoute(ctx, developer, "free", serve.RouteChange{Deployment: "again"}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a free route was moved: %+v, %v", x, err)
		}
		if x := must(s.SetRoute(ctx, developer, "usual", serve.RouteChange{Deployment: "again"})); x.Prices.Input != 100 || x.Deployment() == usual.Deployment() {
			t.Errorf("a route that costs enough was not moved: %+v", x)
		}
		must(s.SetRoute(ctx, who, "usual", serve.RouteChange{Shared: new(true)}))
		if x, err := s.SetRoute(ctx, developer, "usual", serve.RouteChange{Deployment: "first"}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a shared route was moved: %+v, %v", x, err)
		}
	})
}

// deployOnce deploys without a route, unless it is done.
func (w *world) deployOnce(ctx context.Context, s *serve.Service, name string) error {
	d := spec(1)
	d.Name, d.Route = name, nil
	if _, err := s.Deploy(ctx, who, d); !fault.Is(err, fault.Conflict) {
		return err
	}
	return nil
}

func TestRoutes(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		must(s.Deploy(ctx, who, spec(1)))
		r := must(s.AddRoute(ctx, who, serve.RouteSpec{Name: "public", Deployment: "m", Price: meter.Card{Input: new(int64(1)), Output: new(int64(2))}, Shared: true}))
		w.settle(t, s)
		for project, want := range map[string]bool{project: true, "prj_b": true} {
			if x, ok := s.Snapshot().Lookup(project, org, "public"); ok != want || len(x.Backends[0].Endpoints) != 1 {
				t.Errorf("%s sees the shared route: %v", project, ok)
			}
		}
		if _, ok := s.Snapshot().Lookup("prj_z", "org_z", "public"); ok {
			t.Error("another organisation sees the shared route")
		}
		if list := s.Snapshot().List("prj_b", org); len(list) != 1 || list[0].Route.Name != "public" {
			t.Errorf("another project lists %+v", list)
		}
		if _, err := s.AddRoute(ctx, who, serve.RouteSpec{Name: "public", Deployment: "m"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("the name twice: %v", err)
		}
		changed := must(s.SetRoute(ctx, who, "public", serve.RouteChange{Price: meter.Card{Input: new(int64(5)), Output: new(int64(6))}, Shared: new(false)})) // at once: nobody pays a price that is gone
		if x, ok := s.Snapshot().Lookup(project, org, "public"); !ok || x.Route.Prices.Output != 6 || len(x.Backends[0].Endpoints) != 1 {
			t.Errorf("after the change: %+v", x)
		}
		if _, ok := s.Snapshot().Lookup("prj_b", org, "public"); ok || changed.ID != r.ID || changed.Prices.Input != 5 {
			t.Errorf("no longer shared: %+v", changed)
		}
		kept := must(s.SetRoute(ctx, who, "public", serve.RouteChange{Shared: new(true)})) // what is not named stays: above all a price
		if want := changed; kept.Prices.Input != want.Prices.Input || kept.Prices.Output != want.Prices.Output || kept.Deployment() != want.Deployment() || !kept.Shared {
			t.Errorf("only sharing was to change: %+v, was %+v", kept, want)
		}
		if free := must(s.SetRoute(ctx, who, "public", serve.RouteChange{Price: meter.Card{Output: new(int64(0))}})); free.Prices.Input != 5 || free.Prices.Output != 0 || !free.Shared {
			t.Errorf("a price of nothing that was asked for: %+v", free)
		}
		long := strings.Repeat("n", meter.MaxModel)
		must(s.AddRoute(ctx, who, serve.RouteSpec{Name: long, Deployment: "m", Price: meter.Card{Input: new(int64(1_000_000_000_000))}}))
		must(0, s.RemoveRoute(ctx, who, long))
		for field, bad := range map[string]serve.RouteSpec{"route.name": {Name: long + "n"}, "route.price_in": {Name: "x", Price: meter.Card{Input: new(int64(1_000_000_000_001))}}} {
			bad.Deployment = "m"
			if _, err := s.AddRoute(ctx, who, bad); !fault.Is(err, fault.Invalid) || fault.As(err).Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		if err := s.RemoveRoute(ctx, serve.Who{Org: org, Project: "prj_b"}, r.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project removes it: %v", err)
		}
		must(0, s.RemoveRoute(ctx, who, "public"))
		if _, ok := s.Snapshot().Lookup(project, org, "public"); ok {
			t.Error("the removed route still leads somewhere")
		}
		if rs := must(s.Routes(ctx, project, page.All)); len(rs) != 1 || rs[0].Name != "m" {
			t.Errorf("routes %+v", rs)
		}
		// A project's own route goes before a shared one of that name.
		other := serve.Who{Org: org, Project: "prj_b", Pricing: true, Lowering: true, Sharing: true}
		v := w.version
		v.ID, v.Project = id.Default().New("mv"), "prj_b"
		v = must(db.Registry().Add(ctx, registry.Model{ID: id.Default().New("mdl"), Project: "prj_b", Name: "m"}, v))
		sp := spec(1)
		sp.Model, sp.Route.Shared = v.ID, true
		must(s.Deploy(ctx, other, sp))
		must(0, s.Reconcile(ctx))
		if x, _ := s.Snapshot().Lookup(project, org, "m"); x.Route.Project != project {
			t.Errorf("the shared route hides the own one: %+v", x.Route)
		}
		if x, _ := s.Snapshot().Lookup("prj_c", org, "m"); x == nil || x.Route.Project != "prj_b" {
			t.Errorf("the shared route is not seen: %+v", x)
		}
	})
}

func TestBadRequestsNameTheField(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	for field, spoil := range map[string]func(*serve.DeploySpec){
		"name":            func(d *serve.DeploySpec) { d.Name = "../x" },
		"engine":          func(d *serve.DeploySpec) { d.Engine = "warp" },
		"replicas":        func(d *serve.DeploySpec) { d.Replicas = 1000 },
		"threads":         func(d *serve.DeploySpec) { d.Threads = -1 },
		"max_context":     func(d *serve.DeploySpec) { d.MaxContext = 65 },
		"memory_bytes":    func(d *serve.DeploySpec) { d.MemoryBytes = -1 },
		"route.name":      func(d *serve.DeploySpec) { d.Route.Name = "a b" },
		"route.price_in":  func(d *serve.DeploySpec) { d.Route.Price.Input = new(int64(-1)) },
		"route.price_out": func(d *serve.DeploySpec) { d.Route.Price.Output = new(int64(1 << 62)) },
	} {
		d := spec(1)
		spoil(&d)
		if _, err := s.Deploy(t.Context(), who, d); err == nil || fault.As(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if ds := must(s.Deployments(t.Context(), project, page.All)); len(ds) != 0 {
		t.Errorf("refused requests left %+v", ds)
	}
}

var errCrash = errors.New("the control plane died here")

// crash makes the n-th call of the store or the keeper the last one, before or after it took effect.
type crash struct {
	mu    sync.Mutex
	n     int
	after bool
	dead  bool
}

func (c *crash) step(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errCrash
	}
	if c.n--; c.n != 0 {
		return do()
	}
	c.dead = true
	if c.after {
		_ = do()
	}
	return errCrash
}

type crashStore struct {
	serve.Store
	c *crash
}

func (s crashStore) AddReplica(ctx context.Context, r serve.Replica) (ok bool, err error) {
	err = s.c.step(func() (err error) { ok, err = s.Store.AddReplica(ctx, r); return err })
	return ok, err
}

func (s crashStore) SetReplicaJob(ctx context.Context, id, job string) error {
	return s.c.step(func() error { return s.Store.SetReplicaJob(ctx, id, job) })
}

func (s crashStore) SetLeaving(ctx context.Context, id string) error {
	return s.c.step(func() error { return s.Store.SetLeaving(ctx, id) })
}

func (s crashStore) DeleteReplica(ctx context.Context, id string) error {
	return s.c.step(func() error { return s.Store.DeleteReplica(ctx, id) })
}

func (s crashStore) DeleteDeployment(ctx context.Context, id string) error {
	return s.c.step(func() error { return s.Store.DeleteDeployment(ctx, id) })
}

type crashJobs struct {
	serve.Jobs
	c *crash
}

func (s crashJobs) Create(ctx context.Context, sp job.Spec) (j job.Job, err error) {
	err = s.c.step(func() (err error) { j, err = s.Jobs.Create(ctx, sp); return err })
	return j, err
}

func (s crashJobs) Cancel(ctx context.Context, project, id, reason string) (j job.Job, err error) {
	err = s.c.step(func() (err error) { j, err = s.Jobs.Cancel(ctx, project, id, reason); return err })
	return j, err
}

func (s crashJobs) Delete(ctx context.Context, project, id string) error {
	return s.c.step(func() error { return s.Jobs.Delete(ctx, project, id) })
}

// Through any course of scaling, removing, dying workers and dying control planes: never more jobs than replicas
// wanted plus those draining, no replica started anew while its job lives, and at rest exactly what was asked for.
func TestAnyCourseEndsAsAsked(t *testing.T) {
	db := sqltest.Open(t, sqltest.SQLite(t))
	w := newWorld(t, db)
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		s := w.service(nil)
		d := must(s.Deploy(ctx, who, spec(rapid.IntRange(1, 3).Draw(rt, "replicas"))))
		gone := false
		for range rapid.IntRange(1, 10).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				if !gone {
					d = must(s.Scale(ctx, project, d.ID, rapid.IntRange(0, 4).Draw(rt, "to")))
				}
			case 1:
				w.jobs.tick()
			case 2, 3:
				s = w.service(&crash{n: rapid.IntRange(1, 8).Draw(rt, "dies at"), after: rapid.Bool().Draw(rt, "after")})
				_ = s.Reconcile(ctx)
				s = w.service(nil)
			case 4:
				_ = s.Reconcile(ctx)
			case 5:
				if rapid.IntRange(0, 3).Draw(rt, "remove") == 0 && !gone {
					must(s.Remove(ctx, who, d.ID))
					gone = true
				}
			}
		}
		for range 5 {
			if err := s.Reconcile(ctx); err != nil {
				rt.Fatal(err)
			}
			w.jobs.tick()
		}
		must(0, s.Reconcile(ctx))
		want := d.Replicas
		if gone {
			want = 0
		}
		x, ok := s.Snapshot().Lookup(project, org, "m")
		if ok == gone || ok && len(x.Backends[0].Endpoints) != want || len(w.jobs.jobs) != want {
			rt.Fatalf("wanted %d: routed %v, %d jobs, %+v", want, ok, len(w.jobs.jobs), x)
		}
		if !gone {
			must(s.Remove(ctx, who, d.ID))
		}
		for range 4 {
			must(0, s.Reconcile(ctx))
			w.jobs.tick()
		}
		must(0, s.Reconcile(ctx))
		if rs := must(db.Serve().Replicas(ctx)); len(rs) != 0 || len(w.jobs.jobs) != 0 || len(must(db.Serve().AllDeployments(ctx))) != 0 {
			rt.Fatalf("left behind: %d replicas, %d jobs", len(rs), len(w.jobs.jobs))
		}
	})
}
