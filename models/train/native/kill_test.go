package native

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/exec/local"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/registry"
	registrynative "github.com/triarch-ai/triarch/models/registry/native"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// plane is a data directory whose control plane can be replaced at any moment. Its clock can be set forward, so that
// no test waits for a back-off.
type plane struct {
	t      *testing.T
	db     *sql.DB
	dir    string
	ahead  time.Duration
	exec   *local.Executor
	keeper *job.Keeper
	train  *train.Service
	who    train.Who
}

func newPlane(t *testing.T, db *sql.DB) *plane {
	p := &plane{t: t, db: db, dir: t.TempDir(), who: train.Who{Project: id.Default().New("prj")}}
	p.restart()
	if _, err := p.train.Data.Import(t.Context(), p.who.Project, "chats", data.Chat, strings.NewReader(chatData(60)), data.Options{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plane) now() time.Time { return time.Now().Add(p.ahead) }

// restart forgets everything that is not on disk, as a killed control plane does.
func (p *plane) restart() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	if p.exec, err = local.New(local.Options{Root: filepath.Join(p.dir, "work"), Supervise: []string{self, "supervise"}, Self: self}); err != nil {
		p.t.Fatal(err)
	}
	blobs, err := file.Open(filepath.Join(p.dir, "blobs"), time.Now)
	if err != nil {
		p.t.Fatal(err)
	}
	log, ids := slog.New(slog.DiscardHandler), id.Default()
	p.keeper = job.New(job.Options{Store: p.db.Jobs(), Executor: p.exec, CPUs: 2, Now: p.now})
	p.train = &train.Service{
		Store: p.db.Runs(), Jobs: p.keeper, IDs: ids, Now: p.now, Log: log, CodeVersion: "test",
		Data:     &data.Service{Store: p.db.Data(), Blobs: blobs, IDs: ids, Now: p.now},
		Registry: &registry.Service{Store: p.db.Registry(), Blobs: blobs, Codec: registrynative.Codec{}, Dir: filepath.Join(p.dir, "models"), IDs: ids, Now: p.now},
		Trainers: map[string]train.Trainer{"native": New()},
	}
}

func (p *plane) submit(model string) train.Run {
	p.t.Helper()
	r := recipe(data.Chat)
	r.Steps, r.CheckpointEvery = 120, 15
	run, err := p.train.Submit(p.t.Context(), p.who, train.Spec{Model: model, Data: "chats", Recipe: r})
	if err != nil {
		p.t.Fatal(err)
	}
	return run
}

// pass lets keeper and service look once and returns the run with its job.
func (p *plane) pass(run string) (train.Run, job.Job) {
	p.t.Helper()
	ctx := p.t.Context()
	if err := p.keeper.Reconcile(ctx); err != nil {
		p.t.Fatal(err)
	}
	if err := p.train.Reconcile(ctx); err != nil {
		p.t.Fatal(err)
	}
	r, err := p.train.Get(ctx, p.who.Project, run)
	if err != nil {
		p.t.Fatal(err)
	}
	j, err := p.keeper.Get(ctx, p.who.Project, r.JobID)
	if err != nil {
		p.t.Fatal(err)
	}
	if wait := j.NextStartAt.Sub(p.now()); j.State == job.Queued && wait > 0 {
		p.ahead += wait // past the back-off
	}
	time.Sleep(2 * time.Millisecond) // between two looks, not for anything in particular
	return r, j
}

func (p *plane) weights(r train.Run) (loss float64, sum [32]byte) {
	p.t.Helper()
	v, err := p.train.Registry.Get(p.t.Context(), p.who.Project, r.ModelVersion)
	if err != nil {
		p.t.Fatal(err)
	}
	dir, err := p.train.Registry.Materialise(p.t.Context(), v)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		p.t.Fatal(err)
	}
	return v.Metrics["loss"], sha256.Sum256(text)
}

// wild submits a run and kills its task, or forgets the control plane, at random points until it has ended.
func (p *plane) wild(model string) (r train.Run, last job.Job, kills int) {
	p.t.Helper()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	r = p.submit(model)
	for next := rng.IntN(40); !r.State.Final(); {
		r, last = p.pass(r.ID)
		if last.State != job.Running || r.Progress.Step < next || kills == 6 {
			continue
		}
		st, err := p.exec.Status(p.t.Context(), last.ID, last.Attempt)
		if err != nil {
			p.t.Fatal(err)
		}
		if st.PID == 0 {
			continue
		}
		if kills%3 == 2 {
			p.restart() // the control plane alone: nothing of the run notices
		} else {
			_ = syscall.Kill(st.PID, syscall.SIGKILL) // it may have ended a moment ago
		}
		kills++
		next = r.Progress.Step + rng.IntN(25)
	}
	return r, last, kills
}

// The whole line, real processes: the training task, its supervisor and the control plane are killed at random
// points. The run ends once, with one version, with the loss and weights of an undisturbed run, and says how often
// it was restarted.
func TestKilledTasksRegisterOnce(t *testing.T) {
	p := newPlane(t, sqltest.Open(t, sqltest.SQLite(t)))
	calm := p.submit("calm")
	for !calm.State.Final() {
		calm, _ = p.pass(calm.ID)
	}
	if calm.State != train.Succeeded {
		t.Fatalf("undisturbed: %s %s", calm.State, calm.Reason)
	}
	wantLoss, wantSum := p.weights(calm)

	var r train.Run
	var last job.Job
	model, kills := "", 0
	for try := 1; kills == 0; try++ { // a busy machine may look at the run only when it is over: nothing was killed then
		model = fmt.Sprint("wild", try)
		r, last, kills = p.wild(model)
	}
	if r.State != train.Succeeded {
		t.Fatalf("after %d kills: %s %s", kills, r.State, r.Reason)
	}
	vs, err := p.train.Registry.Versions(t.Context(), p.who.Project, model, page.All)
	if err != nil || len(vs) != 1 {
		t.Fatalf("%d versions: %v", len(vs), err)
	}
	loss, sum := p.weights(r)
	if loss != wantLoss || sum != wantSum {
		t.Errorf("after %d kills the loss is %v of %v, the weights equal: %v", kills, loss, wantLoss, sum == wantSum)
	}
	if last.Attempt != last.Restarts+1 {
		t.Errorf("%d kills, %d attempts, %d restarts", kills, last.Attempt, last.Restarts)
	}
	v, err := p.train.Registry.Get(t.Context(), p.who.Project, model)
	if err != nil || len(v.LossCurve) < 115 {
		t.Errorf("the loss curve has %d points of 120: %v", len(v.LossCurve), err)
	}
	t.Logf("%d kills, %d attempts", kills, last.Attempt)
}

// A stop asked for while a real task trains ends it, saved, and registers nothing.
func TestAStoppedTaskRegistersNothing(t *testing.T) {
	p := newPlane(t, sqltest.Open(t, sqltest.SQLite(t)))
	r := p.submit("m")
	for r.Progress.Step < 20 {
		r, _ = p.pass(r.ID)
	}
	if _, err := p.train.Stop(t.Context(), p.who.Project, r.ID); err != nil {
		t.Fatal(err)
	}
	for !r.State.Final() {
		r, _ = p.pass(r.ID)
	}
	vs, err := p.db.Registry().Versions(t.Context(), p.who.Project, "m", page.All)
	if r.State != train.Cancelled || len(vs) != 0 || err != nil {
		t.Errorf("%s, %d versions, %v", r.State, len(vs), err)
	}
}
