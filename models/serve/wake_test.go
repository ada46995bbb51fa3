package serve_test

import (
	"context"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// A gateway of its own wakes what the control plane's machine can hold, and refuses in its words what it cannot.
func TestWakingHeedsTheMachine(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	for name, memory := range map[string]int64{"small": 64 << 20, "large": 800 << 20} {
		d := spec(1)
		d.Name, d.MemoryBytes, d.Route = name, memory, nil
		must(s.Deploy(t.Context(), who, d))
		must(s.Scale(t.Context(), project, name, 0))
	}
	w.settle(t, s)
	s.MemoryLimit = 500 << 20 // the installation moved to a smaller machine
	w.settle(t, s)
	small, large := must(s.Get(t.Context(), project, "small")), must(s.Get(t.Context(), project, "large"))

	generation := int64(0)
	f := &serve.Follower{Store: w.db.Serve(), Engines: map[string]engine.Engine{"fake": w.engine}, Now: time.Now,
		Read: func(_ context.Context, known int64) (int64, []byte, error) {
			text, err := s.Publication()
			generation++
			return generation, text, err
		}}
	must(0, f.Follow(t.Context()))
	refused := s.Wake(t.Context(), project, large.ID)
	err := f.Wake(t.Context(), project, large.ID)
	if !fault.Is(refused, fault.Invalid) || !fault.Is(err, fault.Invalid) || fault.As(err).Code != "memory" || fault.As(err).Sentence() != fault.As(refused).Sentence() {
		t.Errorf("the control plane says %v, the gateway %v", refused, err)
	}
	if d := must(s.Get(t.Context(), project, "large")); d.Replicas != 0 {
		t.Errorf("it was given %d replicas", d.Replicas)
	}
	must(0, f.Wake(t.Context(), project, small.ID))
	if d := must(s.Get(t.Context(), project, "small")); d.Replicas != 1 {
		t.Errorf("what fits has %d replicas", d.Replicas)
	}
	must(0, s.Store.SetReplicas(t.Context(), project, large.ID, 1))
	if err := f.Wake(t.Context(), project, large.ID); err != nil {
		t.Errorf("one that is to have a replica needs none: %v", err)
	}
	must(0, s.Store.SetReplicas(t.Context(), project, large.ID, 0))
	s.MemoryLimit = 4 << 30
	must(0, s.Reconcile(t.Context()))
	must(0, f.Follow(t.Context()))
	if err := f.Wake(t.Context(), project, large.ID); err != nil {
		t.Errorf("on a larger machine: %v", err)
	}
}
