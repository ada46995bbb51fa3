package train_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

const project = "prj_a"

var who = train.Who{Project: project, Key: "key_1"}

// fakeJobs is the keeper as runs see it: jobs stay while services come and go.
type fakeJobs struct {
	dir   string
	mu    sync.Mutex
	jobs  map[string]*job.Job
	lines map[string][]job.Line
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
	j := f.jobs[id]
	switch j.State {
	case job.Queued:
		j.State = job.Cancelled
	case job.Running:
		j.State = job.Stopping
	default:
		return *j, nil
	}
	j.Reason = reason
	return *j, nil
}

func (f *fakeJobs) Discard(_ context.Context, _, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[id]
	if !j.State.Final() {
		return fault.New(fault.Conflict, "it has not ended")
	}
	j.Discarded = true
	return os.RemoveAll(f.Dir(id)) // as the keeper's collection may at any moment
}

func (f *fakeJobs) Progress(_ context.Context, _, id string, from job.Cursor, _ int) ([]job.Line, job.Cursor, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.lines[id]
	at := min(int(from.Offset), len(all))
	end := min(at+3, len(all)) // in small pieces
	return all[at:end], job.Cursor{Attempt: 1, Offset: int64(end)}, end == len(all) && f.jobs[id].State.Final(), nil
}

func (f *fakeJobs) Logs(context.Context, string, string, int, int64, int) (job.LogChunk, error) {
	return job.LogChunk{Data: []byte("log")}, nil
}

func (f *fakeJobs) Dir(id string) string { return filepath.Join(f.dir, id) }

// set moves a job to a state as the keeper would.
func (f *fakeJobs) set(t *testing.T, id string, change func(*job.Job)) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.jobs[id]
	if !ok {
		t.Fatalf("there is no job %q", id)
	}
	change(j)
}

// say appends progress lines of steps.
func (f *fakeJobs) say(id string, attempt int, steps ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range steps {
		text, err := json.Marshal(train.Progress{Attempt: attempt, Step: s, Steps: 10, Loss: float64(attempt) + float64(s)/100})
		if err != nil {
			panic(err)
		}
		f.lines[id] = append(f.lines[id], job.Line{Attempt: attempt, Step: int64(s), Data: text})
	}
}

// leave puts a worker's result into the job's folder and ends the job well.
func (f *fakeJobs) leave(t *testing.T, id string) {
	t.Helper()
	model := filepath.Join(f.Dir(id), job.OutDir, train.ModelDir)
	if err := os.MkdirAll(model, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(model, "config.json"):                    "{}",
		filepath.Join(model, "model.safetensors"):              "weights",
		filepath.Join(f.Dir(id), job.OutDir, train.ResultFile): `{"metrics":{"loss":0.5},"code_version":"v1","steps":10}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.set(t, id, func(j *job.Job) { j.State = job.Succeeded })
}

// fakeTrainer renders a command that names its task.
type fakeTrainer struct{}

func (fakeTrainer) Name() string           { return "fake" }
func (fakeTrainer) Check(train.Task) error { return nil }
func (fakeTrainer) Estimate(_ context.Context, t train.Task) (train.Estimate, error) {
	return train.Estimate{Params: 1, MemoryBytes: int64(t.Recipe.Batch) << 20, Steps: 10}, nil
}

func (fakeTrainer) Command(t train.Task) (job.Command, error) {
	return job.Command{Argv: []string{"train", t.Run, t.DataPath, t.BaseDir}}, nil
}

// codec takes every folder with a config.
type codec struct{}

func (codec) Inspect(_ context.Context, dir string) (registry.Shape, error) {
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return registry.Shape{}, fault.New(fault.Invalid, "The folder holds no model.")
	}
	return registry.Shape{Arch: "llama", Params: 7, Context: 64, Chat: true}, nil
}

// world is everything that outlives a service.
type world struct {
	t     *testing.T
	db    *sql.DB
	dir   string
	blobs *file.Store
	jobs  *fakeJobs
	data  data.Version
}

func newWorld(t *testing.T, db *sql.DB) *world {
	t.Helper()
	dir := t.TempDir()
	blobs, err := file.Open(filepath.Join(dir, "blobs"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, dir: dir, blobs: blobs, jobs: &fakeJobs{dir: filepath.Join(dir, "work"), jobs: map[string]*job.Job{}, lines: map[string][]job.Line{}}}
	w.data, err = w.service(nil).Data.Import(t.Context(), project, "chats", data.Chat,
		strings.NewReader(`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`), data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// service is a fresh control plane on the world; with c it dies where c says.
func (w *world) service(c *crash) *train.Service {
	var runs train.Store = w.db.Runs()
	var models registry.Store = w.db.Registry()
	var jobs train.Jobs = w.jobs
	if c != nil {
		runs, models, jobs = crashRuns{runs, c}, crashModels{models, c}, crashJobs{jobs, c}
	}
	return &train.Service{
		Store: runs, Jobs: jobs, IDs: id.Default(), Now: time.Now, Log: slog.New(slog.DiscardHandler), CodeVersion: "v1", MaxCPUs: 4, Patience: time.Minute,
		Data:     &data.Service{Store: w.db.Data(), Blobs: w.blobs, IDs: id.Default(), Now: time.Now},
		Registry: &registry.Service{Store: models, Blobs: w.blobs, Codec: codec{}, Dir: filepath.Join(w.dir, "models"), IDs: id.Default(), Now: time.Now},
		Trainers: map[string]train.Trainer{"fake": fakeTrainer{}},
	}
}

func spec() train.Spec {
	return train.Spec{Model: "m", Data: "chats", Trainer: "fake", Recipe: train.Recipe{Steps: 10}}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestARunBecomesAModelVersion(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		r, err := s.Submit(ctx, who, spec())
		if err != nil {
			t.Fatal(err)
		}
		if r.State != train.Queued || r.JobID == "" || r.DataVersion != w.data.ID || r.Name != "m" || r.Recipe.Method != train.SFT || r.CreatedBy != "key_1" {
			t.Fatalf("submitted: %+v", r)
		}
		j := must(w.jobs.Get(ctx, project, r.JobID))
		if path := j.Command.Argv[2]; j.Owner != r.ID || j.Kind != "train" || j.CPUs != 1 || must(os.ReadFile(path)) == nil {
			t.Errorf("job: %+v", j.Spec)
		}
		w.jobs.set(t, r.JobID, func(j *job.Job) { j.State, j.StartedAt = job.Running, time.Now().UTC().Truncate(time.Microsecond) })
		w.jobs.say(r.JobID, 1, 1, 2, 3, 4, 5)
		w.jobs.say(r.JobID, 2, 4, 5, 6)
		must(0, s.Reconcile(ctx))
		if r = must(s.Get(ctx, project, r.ID)); r.State != train.Running || r.Progress.Step != 6 || r.StartedAt.IsZero() {
			t.Errorf("running: %+v", r)
		}
		w.jobs.leave(t, r.JobID)
		must(0, s.Reconcile(ctx))
		r = must(s.Get(ctx, project, r.ID))
		if r.State != train.Succeeded || r.ModelVersion == "" || r.EndedAt.IsZero() || r.Metrics["loss"] != 0.5 || r.Progress.Step != 6 {
			t.Fatalf("succeeded: %+v", r)
		}
		v := must(s.Registry.Get(ctx, project, "m"))
		var curve []int
		for _, p := range v.LossCurve {
			curve = append(curve, p.Step)
		}
		if v.ID != r.ModelVersion || v.Lineage.RunID != r.ID || v.Lineage.DataVersion != w.data.ID || v.Lineage.CodeVersion != "v1" ||
			!cmp.Equal(curve, []int{1, 2, 3, 4, 5, 6}) || v.LossCurve[3].Loss != 2.04 || !strings.Contains(v.Card, r.ID) {
			t.Errorf("version: %+v", v)
		}
		var kept train.Recipe
		if err := json.Unmarshal(v.Lineage.Recipe, &kept); err != nil || kept.Steps != 10 || kept.LR == 0 || kept.Warmup == 0 || kept.Validate(data.Chat, false) != nil {
			t.Errorf("recipe: %s %v", v.Lineage.Recipe, err)
		}
		if j := must(w.jobs.Get(ctx, project, r.JobID)); !j.Discarded {
			t.Error("the job's folder is kept though the model is registered")
		}
		if rs := must(s.List(ctx, project, page.All)); len(rs) != 1 || rs[0].ID != r.ID {
			t.Errorf("list: %+v", rs)
		}
		if _, err := s.Get(ctx, "prj_b", r.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project sees it: %v", err)
		}
		if _, err := s.Stop(ctx, project, r.ID); !fault.Is(err, fault.Conflict) {
			t.Errorf("stopped after its end: %v", err)
		}
	})
}

func TestFailuresNameWhoMustAct(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		failure := func(jobID string) {
			dir := filepath.Join(w.jobs.Dir(jobID), job.OutDir)
			must(0, os.MkdirAll(dir, 0o700))
			must(0, os.WriteFile(filepath.Join(dir, train.FailureFile), []byte(`{"attempt":1,"reason":"The data teaches nothing."}`), 0o600))
		}
		for name, c := range map[string]struct {
			happens       func(j *job.Job)
			before        func(jobID string)
			state         train.State
			reason, fault string
		}{
			"out of memory": {happens: func(j *job.Job) { j.State, j.Reason, j.Fault = job.Failed, "no memory", job.FaultNode }, state: train.Failed, reason: "no memory", fault: job.FaultNode},
			"hopeless":      {happens: func(j *job.Job) { j.State, j.Restarts = job.Queued, 1 }, before: failure, state: train.Failed, reason: "teaches nothing", fault: job.FaultProgram},
			"no result":     {happens: func(j *job.Job) { j.State = job.Succeeded }, state: train.Failed, reason: "no readable result", fault: job.FaultProgram},
			"cancelled":     {happens: func(j *job.Job) { j.State, j.Reason = job.Cancelled, "by hand" }, state: train.Cancelled, reason: "by hand"},
		} {
			r := must(s.Submit(ctx, who, spec()))
			if c.before != nil {
				c.before(r.JobID)
			}
			w.jobs.set(t, r.JobID, c.happens)
			must(0, s.Reconcile(ctx))
			if r = must(s.Get(ctx, project, r.ID)); r.State != c.state || !strings.Contains(r.Reason, c.reason) || r.Fault != c.fault {
				t.Errorf("%s: %s, %q, %q", name, r.State, r.Reason, r.Fault)
			}
		}
		// A failed attempt that may still be mended by another does not end the run.
		r := must(s.Submit(ctx, who, spec()))
		w.jobs.set(t, r.JobID, func(j *job.Job) {
			j.State, j.Restarts, j.Reason, j.Fault = job.Queued, 1, "It was killed from outside.", job.FaultNode
		})
		must(0, s.Reconcile(ctx))
		if r = must(s.Get(ctx, project, r.ID)); r.State != train.Queued || r.Fault != job.FaultNode || !strings.Contains(r.Reason, "killed") {
			t.Errorf("a restart: %+v", r)
		}
	})
}

// What fails for a passing reason is said and tried again: here the disk of the models is away for a while.
// What a job says belongs to a run only while both are in the same state: they are read one after the other.
func TestARunShowsItsJobsReasonOnlyInItsState(t *testing.T) {
	want := map[train.State][]job.State{
		train.Queued: {job.Queued, job.Starting}, train.Running: {job.Running, job.Preempting},
		train.Stopping: {job.Stopping, job.Succeeded, job.Failed, job.Cancelled}, train.Registering: {job.Succeeded, job.Failed, job.Cancelled},
	}
	for state, shown := range want {
		for _, s := range []job.State{job.Queued, job.Starting, job.Running, job.Preempting, job.Stopping, job.Succeeded, job.Failed, job.Cancelled} {
			if got := train.Shows(train.Run{State: state}, job.Job{State: s}); got != slices.Contains(shown, s) {
				t.Errorf("a run that is %s, its job %s: %v", state, s, got)
			}
		}
	}
}

func TestPassingTroubleIsSaidAndTriedAgain(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx, s := t.Context(), w.service(nil)
	now := time.Now()
	s.Now = func() time.Time { return now }
	jobs := &brokenJobs{Jobs: w.jobs, err: fault.New(fault.Unavailable, "The disk is full.")}
	s.Jobs = jobs
	r := must(s.Submit(ctx, who, spec()))
	if r.State != train.Queued || r.JobID != "" || !strings.Contains(r.Reason, "disk is full") || r.Fault != job.FaultPlatform {
		t.Errorf("without a job: %+v", r)
	}
	jobs.err = nil
	must(0, s.Reconcile(ctx))
	if r = must(s.Get(ctx, project, r.ID)); r.JobID == "" || r.Reason != "" {
		t.Errorf("with a job: %+v", r)
	}
	w.jobs.leave(t, r.JobID)
	blobs := s.Registry.Blobs
	s.Registry.Blobs = brokenBlobs{blobs}
	for pass := range 3 {
		if err := s.Reconcile(ctx); (err != nil) != (pass == 0) {
			t.Errorf("pass %d: told of %v, it is to be told once", pass, err)
		}
		if r = must(s.Get(ctx, project, r.ID)); r.State != train.Registering || !strings.Contains(r.Reason, "cannot be stored yet") {
			t.Errorf("while the disk is away: %+v", r)
		}
	}
	s.Registry.Blobs = blobs
	now = now.Add(time.Second)
	must(0, s.Reconcile(ctx))
	if r = must(s.Get(ctx, project, r.ID)); r.State != train.Succeeded || r.Reason != "" || r.Fault != "" {
		t.Errorf("at last: %+v", r)
	}
}

// Storing a large result holds up neither other runs nor a look at it; it is stored once.
func TestALargeResultHoldsNothingUp(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx, s := t.Context(), w.service(nil)
	s.Patience = time.Millisecond
	defer s.Close()
	slow := &slowBlobs{Store: s.Registry.Blobs, gate: make(chan struct{})}
	s.Registry.Blobs = slow
	large := must(s.Submit(ctx, who, spec()))
	w.jobs.leave(t, large.JobID)
	other := must(s.Submit(ctx, who, spec()))
	passed := make(chan error, 1)
	go func() {
		err := s.Reconcile(ctx)
		w.jobs.set(t, other.JobID, func(j *job.Job) { j.State = job.Running })
		passed <- errors.Join(err, s.Reconcile(ctx))
	}()
	select {
	case err := <-passed:
		must(0, err)
	case <-time.After(30 * time.Second):
		close(slow.gate)
		t.Fatal("a pass waits for a result to be stored")
	}
	if a, b := must(s.Get(ctx, project, large.ID)), must(s.Get(ctx, project, other.ID)); a.State != train.Registering || b.State != train.Running {
		t.Errorf("meanwhile the runs are %s and %s", a.State, b.State)
	}
	close(slow.gate)
	for range 5000 { // each waits a little for what goes on beside it
		must(0, s.Reconcile(ctx))
		if must(s.Get(ctx, project, large.ID)).State.Final() {
			break
		}
	}
	if r := must(s.Get(ctx, project, large.ID)); r.State != train.Succeeded || r.ModelVersion == "" || slow.puts.Load() != 2 { // its two files
		t.Errorf("in the end: %+v, %d files stored", r, slow.puts.Load())
	}
}

// slowBlobs stores nothing until its gate is open.
type slowBlobs struct {
	blob.Store
	gate chan struct{}
	puts atomic.Int32
}

func (s *slowBlobs) Put(ctx context.Context, r io.Reader) (blob.Ref, int64, error) {
	s.puts.Add(1)
	<-s.gate
	return s.Store.Put(ctx, r)
}

type brokenJobs struct {
	train.Jobs
	err error
}

func (b *brokenJobs) Create(ctx context.Context, s job.Spec) (job.Job, error) {
	if b.err != nil {
		return job.Job{}, b.err
	}
	return b.Jobs.Create(ctx, s)
}

type brokenBlobs struct{ blob.Store }

func (brokenBlobs) Put(context.Context, io.Reader) (blob.Ref, int64, error) {
	return "", 0, fault.New(fault.Unavailable, "The disk is away.")
}

// Many callers at once, submitting, reconciling and stopping: every run ends once, with one job and at most one version.
func TestManyCallersAtOnce(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx, s := t.Context(), w.service(nil)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			sp := spec()
			sp.Model = fmt.Sprint("m", i)
			r, err := s.Submit(ctx, who, sp)
			if err != nil {
				t.Error(err)
				return
			}
			if i%3 == 0 {
				if _, err := s.Stop(ctx, project, r.ID); err != nil {
					t.Error(err)
				}
				return
			}
			w.jobs.leave(t, r.JobID)
			if err := s.Reconcile(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(0, s.Reconcile(ctx))
	ends := map[train.State]int{}
	for _, r := range must(s.List(ctx, project, page.All)) {
		ends[r.State]++
	}
	if ends[train.Succeeded] != 4 || ends[train.Cancelled] != 2 || len(w.jobs.jobs) != 6 || len(must(s.Registry.Models(ctx, project, page.All))) != 4 {
		t.Errorf("ends %v, %d jobs", ends, len(w.jobs.jobs))
	}
}

func TestStopping(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		s := w.service(nil)
		r := must(s.Submit(ctx, who, spec()))
		if r = must(s.Stop(ctx, project, r.ID)); r.State != train.Cancelled {
			t.Errorf("a queued run: %+v", r)
		}
		r = must(s.Submit(ctx, who, spec()))
		w.jobs.set(t, r.JobID, func(j *job.Job) { j.State = job.Running })
		if r = must(s.Stop(ctx, project, r.ID)); r.State != train.Stopping {
			t.Errorf("a running run: %+v", r)
		}
		w.jobs.set(t, r.JobID, func(j *job.Job) { j.State = job.Cancelled })
		must(0, w.service(nil).Reconcile(ctx))
		if r = must(s.Get(ctx, project, r.ID)); r.State != train.Cancelled || !strings.Contains(r.Reason, "request") {
			t.Errorf("a stopped run: %+v", r)
		}
		// A run whose control plane died before it noted its job is stopped with that job.
		r = train.Run{ID: id.Default().New("run"), Project: project, Name: "x", Model: "m", Trainer: "fake", DataVersion: w.data.ID, State: train.Queued, CreatedAt: time.Now()}
		must(0, db.Runs().Create(ctx, r))
		j := must(w.jobs.Create(ctx, job.Spec{Project: project, Kind: "train", Owner: r.ID}))
		if r = must(s.Stop(ctx, project, r.ID)); r.State != train.Cancelled || r.JobID != j.ID {
			t.Errorf("a run without a noted job: %+v", r)
		}
	})
}

func TestBadRequestsNameTheField(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	s.MemoryLimit = 16 << 20
	for field, spoil := range map[string]func(*train.Spec){
		"model":                   func(s *train.Spec) { s.Model = "" },
		"name":                    func(s *train.Spec) { s.Name = "a b" },
		"data":                    func(s *train.Spec) { s.Data = "nothing" },
		"base":                    func(s *train.Spec) { s.Base = "nothing" },
		"trainer":                 func(s *train.Spec) { s.Trainer = "magic" },
		"cpus":                    func(s *train.Spec) { s.CPUs = 5 },
		"priority":                func(s *train.Spec) { s.Priority = 5000 },
		"recipe.method":           func(s *train.Spec) { s.Recipe.Method = train.Pretrain },
		"recipe.preset":           func(s *train.Spec) { s.Recipe.Preset = "huge" },
		"recipe.kv_heads":         func(s *train.Spec) { s.Recipe.KVHeads = 3 },
		"recipe.head_dim":         func(s *train.Spec) { s.Recipe.HeadDim = 7 },
		"recipe.vocab":            func(s *train.Spec) { s.Recipe.Vocab = 100 },
		"recipe.context":          func(s *train.Spec) { s.Recipe.Context = 1 << 30 },
		"recipe.seq_len":          func(s *train.Spec) { s.Recipe.SeqLen = 100_000 },
		"recipe.lr":               func(s *train.Spec) { s.Recipe.LR = -1 },
		"recipe.min_lr":           func(s *train.Spec) { s.Recipe.MinLR = 0.5 },
		"recipe.epochs":           func(s *train.Spec) { s.Recipe.Epochs = 2 },
		"recipe.dtype":            func(s *train.Spec) { s.Recipe.DType = "int4" },
		"recipe.batch":            func(s *train.Spec) { s.Recipe.Batch = 17 }, // 17 MiB of the 16 there are
		"recipe.checkpoint_every": func(s *train.Spec) { s.Recipe.CheckpointEvery = -1 },
	} {
		sp := spec()
		spoil(&sp)
		_, err := s.Submit(t.Context(), who, sp)
		if err == nil || fault.As(err).Field != field || fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v (field %q)", field, err, fault.As(err).Field)
		}
	}
	if rs := must(s.List(t.Context(), project, page.All)); len(rs) != 0 || len(w.jobs.jobs) != 0 {
		t.Errorf("refused requests left %d runs and %d jobs", len(rs), len(w.jobs.jobs))
	}
}

func TestEveryPresetIsValid(t *testing.T) {
	for _, p := range train.Presets {
		for f, m := range map[data.Format]train.Method{data.Chat: train.SFT, data.Text: train.Pretrain} {
			r := train.Recipe{Preset: p.Name}.Fill(f, false)
			if err := r.Validate(f, false); err != nil || r.Method != m || r.Dim != p.Dim || r.FFN != p.FFN || r.HeadDim*r.Heads != r.Dim {
				t.Errorf("%s: %v %+v", p.Name, err, r)
			}
		}
	}
	r := train.Recipe{Dim: 384}.Fill(data.Text, false)
	if err := r.Validate(data.Text, false); err != nil || r.FFN < 900 || r.Dim != 384 {
		t.Errorf("an own width: %v %+v", err, r)
	}
	if r := (train.Recipe{}).Fill(data.Chat, true); r.Dim != 0 || r.LR != 3e-4 {
		t.Errorf("from a base: %+v", r)
	}
}

var errCrash = errors.New("the control plane died here")

// crash makes the n-th call of a store or of the keeper the last one: it dies before the call took effect, or after
// it did and before the answer came back.
type crash struct {
	n     int
	after bool
	dead  bool
}

// step is called around a call; do is the call.
func (c *crash) step(do func() error) error {
	if c.dead {
		return errCrash
	}
	c.n--
	if c.n != 0 {
		return do()
	}
	c.dead = true
	if c.after {
		_ = do()
	}
	return errCrash
}

type crashRuns struct {
	train.Store
	c *crash
}

func (s crashRuns) Create(ctx context.Context, rs ...train.Run) error {
	return s.c.step(func() error { return s.Store.Create(ctx, rs...) })
}

func (s crashRuns) Update(ctx context.Context, r train.Run) (ok bool, err error) {
	err = s.c.step(func() (err error) { ok, err = s.Store.Update(ctx, r); return err })
	return ok, err
}

func (s crashRuns) Open(ctx context.Context) (rs []train.Run, err error) {
	err = s.c.step(func() (err error) { rs, err = s.Store.Open(ctx); return err })
	return rs, err
}

type crashModels struct {
	registry.Store
	c *crash
}

func (s crashModels) Add(ctx context.Context, m registry.Model, v registry.Version) (out registry.Version, err error) {
	err = s.c.step(func() (err error) { out, err = s.Store.Add(ctx, m, v); return err })
	return out, err
}

func (s crashModels) ByRun(ctx context.Context, project, run string) (out registry.Version, err error) {
	err = s.c.step(func() (err error) { out, err = s.Store.ByRun(ctx, project, run); return err })
	return out, err
}

type crashJobs struct {
	train.Jobs
	c *crash
}

func (s crashJobs) Create(ctx context.Context, sp job.Spec) (j job.Job, err error) {
	err = s.c.step(func() (err error) { j, err = s.Jobs.Create(ctx, sp); return err })
	return j, err
}

func (s crashJobs) Get(ctx context.Context, project, id string) (j job.Job, err error) {
	err = s.c.step(func() (err error) { j, err = s.Jobs.Get(ctx, project, id); return err })
	return j, err
}

func (s crashJobs) Discard(ctx context.Context, project, id string) error {
	return s.c.step(func() error { return s.Jobs.Discard(ctx, project, id) })
}

// Whatever step the control plane dies at, before or after it took effect, and again at the next life's first steps:
// one job, one model version, one end.
func TestCrashAnywhereRegistersOnce(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		for n := 1; ; n++ {
			met := false
			for _, after := range []bool{false, true} {
				c := &crash{n: n, after: after}
				w.crashOnce(t, c, fmt.Sprintf("m%d-%v", n, after))
				met = met || c.dead
			}
			if !met {
				if n < 12 {
					t.Errorf("only %d steps were tried", n)
				}
				return
			}
		}
	})
}

func (w *world) crashOnce(t *testing.T, c *crash, model string) {
	ctx := t.Context()
	sp := spec()
	sp.Model = model
	s := w.service(c)
	_, serr := s.Submit(ctx, who, sp)
	mine := func() (rs []train.Run) {
		for _, r := range must(w.service(nil).List(ctx, project, page.All)) {
			if r.Model == model {
				rs = append(rs, r)
			}
		}
		return rs
	}
	if len(mine()) == 0 { // refused, and nothing half done
		if serr == nil {
			t.Errorf("%s: acknowledged and lost", model)
		}
		return
	}
	next := c
	for life := range 4 {
		if next.dead {
			next = &crash{n: 1 + life, after: !c.after} // dies again and again, each time a step later
			s = w.service(next)
		}
		_ = s.Reconcile(ctx)
		if r := mine()[0]; r.JobID != "" && !r.State.Final() {
			if j := must(w.jobs.Get(ctx, project, r.JobID)); !j.State.Final() {
				w.jobs.leave(t, r.JobID)
			}
		}
	}
	for range 2 {
		must(0, w.service(nil).Reconcile(ctx))
		if r := mine()[0]; !r.State.Final() {
			if j := must(w.jobs.Get(ctx, project, r.JobID)); !j.State.Final() {
				w.jobs.leave(t, r.JobID)
			}
		}
	}
	runs := mine()
	vs := must(w.db.Registry().Versions(ctx, project, model, page.All))
	jobs := 0
	for _, j := range w.jobs.jobs {
		if j.Owner == runs[0].ID {
			jobs++
		}
	}
	if len(runs) != 1 || runs[0].State != train.Succeeded || len(vs) != 1 || vs[0].ID != runs[0].ModelVersion || jobs != 1 {
		t.Errorf("%s: %d runs, %s %q, %d versions, %d jobs", model, len(runs), runs[0].State, runs[0].Reason, len(vs), jobs)
	}
}

// The runs of an array are made all or none, wherever the control plane dies, and each gets its one job, named as the array.
func TestAnArrayOfRunsIsMadeWhole(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		for n := 1; n <= 8; n++ {
			c := &crash{n: n, after: n%2 == 0}
			sp := spec()
			sp.Name, sp.Array, sp.Recipe.Seed = fmt.Sprint("sweep", n), "3,5-6%2", 11
			_, err := w.service(c).Submit(ctx, who, sp)
			s := w.service(nil)
			must(0, s.Reconcile(ctx))
			var runs []train.Run
			for _, r := range must(s.List(ctx, project, page.All)) {
				if strings.HasPrefix(r.Name, sp.Name+"-") {
					runs = append(runs, r)
				}
			}
			if len(runs) != 3 && (len(runs) != 0 || err == nil) {
				t.Fatalf("death at %d: there are %d runs, told %v", n, len(runs), err)
			}
			for _, r := range runs {
				m := r.Ask.Member
				j, ok := w.jobs.jobs[r.JobID]
				if m == nil || m.Array != runs[0].Ask.Member.Array || m.Limit != 2 || m.Count != 3 || r.Name != fmt.Sprintf("%s-%d", sp.Name, m.Index) || r.Recipe.Seed != 11+uint64(m.Index-3) {
					t.Errorf("%+v of %+v", r, m)
				}
				if !ok || j.Owner != r.ID || j.Name != sp.Name || j.Ask.Member == nil || j.Ask.Member.Index != m.Index {
					t.Errorf("its job is %+v", j)
				}
			}
		}
		bad := spec()
		bad.Array = "3-1"
		if _, err := w.service(nil).Submit(ctx, who, bad); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "array" {
			t.Error(err)
		}
	})
}
