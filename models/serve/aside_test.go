package serve_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// hindered is a blob store that is slow, or fails, at the files of one version.
type hindered struct {
	*file.Store
	files map[string]registry.File
	do    func() error
}

func (h hindered) Path(ref blob.Ref) (string, error) {
	for _, f := range h.files {
		if f.Ref == ref {
			if err := h.do(); err != nil {
				return "", err
			}
		}
	}
	return h.Store.Path(ref)
}

// hinder deploys a second model whose files are hindered, beside one that serves.
func hinder(t *testing.T, do func() error) (*world, *serve.Service) {
	t.Helper()
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	must(w.service(nil).Deploy(t.Context(), who, spec(1)))
	w.settle(t, w.service(nil))
	dir := t.TempDir()
	must(0, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"large":true}`), 0o600))
	large := must(w.models.ImportDir(t.Context(), project, dir, registry.NewVersion{Model: "large"}))
	w.models.Blobs = hindered{w.models.Blobs.(*file.Store), large.Files, do}
	s := w.service(nil)
	s.Patience = time.Millisecond
	d := spec(2)
	d.Model = "large"
	must(s.Deploy(t.Context(), who, d))
	t.Cleanup(s.Close)
	return w, s
}

// A model that takes long to lay out holds up neither the others' health checks nor the routes.
func TestALargeModelHoldsNothingUp(t *testing.T) {
	gate, asked := make(chan struct{}), atomic.Int32{}
	w, s := hinder(t, func() error { asked.Add(1); <-gate; return nil })
	passed := make(chan error, 1)
	go func() {
		for range 3 {
			if err := s.Reconcile(t.Context()); err != nil {
				passed <- err
			}
		}
		passed <- nil
	}()
	select {
	case err := <-passed:
		must(0, err)
	case <-time.After(30 * time.Second):
		close(gate)
		t.Fatal("a pass waits for a model to be laid out")
	}
	if x, ok := s.Snapshot().Lookup(project, org, "m"); !ok || len(x.Backends[0].Endpoints) != 1 {
		t.Errorf("the other deployment: %+v", x)
	}
	if d := must(s.Get(t.Context(), project, "large")); d.State != serve.Pending || !strings.Contains(d.Reason, "laid out") {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	close(gate)
	for range 5000 { // each waits a little for what goes on beside it
		must(0, s.Reconcile(t.Context()))
		if w.jobs.tick(); must(s.Get(t.Context(), project, "large")).State == serve.Serving {
			break
		}
	}
	if x, ok := s.Snapshot().Lookup(project, org, "large"); !ok || len(x.Backends[0].Endpoints) != 2 || asked.Load() != 1 {
		t.Errorf("in the end: %+v, laid out %d times", x, asked.Load())
	}
}

// What fails is told once for each try, and tries are not made in every pass.
func TestAFailureIsToldOnce(t *testing.T) {
	tries := atomic.Int32{}
	_, s := hinder(t, func() error { tries.Add(1); return errors.New("the disk is on fire") })
	now := time.Now()
	s.Now = func() time.Time { return now }
	s.Patience = time.Minute
	told := 0
	for range 5 {
		if s.Reconcile(t.Context()) != nil {
			told++
		}
	}
	if tries.Load() != 1 || told != 1 {
		t.Errorf("%d tries, told %d times", tries.Load(), told)
	}
	now = now.Add(time.Minute)
	if err := s.Reconcile(t.Context()); err == nil || tries.Load() != 2 {
		t.Errorf("later: %v after %d tries", err, tries.Load())
	}
	if d := must(s.Get(t.Context(), project, "large")); d.State != serve.Pending || d.Reason == "" {
		t.Errorf("%+v", d)
	}
}

func TestWhatTheMachineCannotHold(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	s.MemoryLimit = 1 << 30
	for field, change := range map[string]func(*serve.DeploySpec){
		"memory_bytes": func(d *serve.DeploySpec) { d.MemoryBytes = 2 << 30 },
		"replicas":     func(d *serve.DeploySpec) { d.Replicas, d.MemoryBytes = 3, 500<<20 },
	} {
		d := spec(1)
		change(&d)
		if _, err := s.Deploy(t.Context(), who, d); !fault.Is(err, fault.Invalid) || fault.As(err).Field != field || fault.As(err).Code != "memory" {
			t.Errorf("%s: %v", field, err)
		}
	}
	d := spec(2)
	d.MemoryBytes = 500 << 20
	must(s.Deploy(t.Context(), who, d))
	if _, err := s.Scale(t.Context(), project, "m", 3); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "replicas" {
		t.Errorf("scaled beyond the machine: %v", err)
	}
	must(s.Scale(t.Context(), project, "m", 1))
	w.settle(t, s)
	for _, j := range w.jobs.jobs {
		if j.MemoryBytes < 500<<20+1<<30 {
			t.Errorf("the replica is bounded to %d", j.MemoryBytes)
		}
	}
	if len(w.jobs.jobs) != 1 {
		t.Errorf("%d jobs", len(w.jobs.jobs))
	}
	s.MemoryLimit = 1 << 20
	other := spec(1)
	other.Name, other.Route = "other", nil
	if _, err := s.Deploy(t.Context(), who, other); fault.As(err).Field != "model" {
		t.Errorf("too large a model: %v", err)
	}
}
