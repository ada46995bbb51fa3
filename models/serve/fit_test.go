package serve_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// shaped is a codec that finds one shape everywhere.
type shaped registry.Shape

func (s shaped) Inspect(context.Context, string) (registry.Shape, error) {
	return registry.Shape(s), nil
}

// choosy is an engine that runs no foreign models and keeps weights in a wide form.
type choosy struct{ *fakeEngine }

func (choosy) Runs(s registry.Shape) error {
	if s.Foreign != "" {
		return fault.New(fault.Unsupported, s.Foreign, fault.Field("engine"))
	}
	return nil
}

func (choosy) WeightBytes(s registry.Shape) int64 { return 4 * s.Params }

// add registers a model of a shape.
func (w *world) add(t *testing.T, name string, s registry.Shape) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	must(0, os.Mkdir(dir, 0o700))
	must(0, os.WriteFile(filepath.Join(dir, "config.json"), []byte(name), 0o600))
	models := registry.Service{Store: w.models.Store, Blobs: w.models.Blobs, Codec: shaped(s), Dir: w.models.Dir, IDs: w.models.IDs, Now: w.models.Now}
	must(models.ImportDir(t.Context(), project, dir, registry.NewVersion{Model: name}))
}

// What was refused and forced stays with the deployment, and forcing overrides nothing else.
func TestForcedDeployments(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		s := w.service(nil)
		s.MemoryLimit = 1 << 30
		d := spec(1)
		d.MemoryBytes = 4 << 30
		_, err := s.Deploy(t.Context(), who, d)
		if f := fault.As(err); f.Code != "memory" || f.Field != "memory_bytes" || !strings.Contains(f.Message, "4.0 GiB") || !strings.Contains(f.Message, "has 1.0 GiB") || !strings.Contains(f.Fix, "A cache of 1023 MiB would fit") {
			t.Errorf("%v", err)
		}
		d.Force = true
		if _, err := s.Deploy(t.Context(), who, d); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a tenant fills the machine: %v", err)
		}
		operator := who
		operator.Machine = true
		made := must(s.Deploy(t.Context(), operator, d))
		d.Name, d.MemoryBytes = "overflows", 1<<62
		if _, err := s.Deploy(t.Context(), operator, d); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "memory_bytes" {
			t.Errorf("%v", err)
		}
		if kept := must(s.Get(t.Context(), project, "m")); !strings.Contains(made.Forced, "4.0 GiB") || kept.Forced != made.Forced {
			t.Errorf("kept %q of %q", kept.Forced, made.Forced)
		}
		w.settle(t, s)
		if d := must(s.Get(t.Context(), project, "m")); d.Ready != 1 {
			t.Errorf("%+v", d)
		}
		if d := must(s.Scale(t.Context(), project, "m", 2)); d.Replicas != 2 {
			t.Errorf("what was forced is not checked again: %+v", d)
		}
		d = spec(1)
		d.Name, d.Engine, d.Force, d.Route = "other", "magic", true, nil
		if _, err := s.Deploy(t.Context(), who, d); !fault.Is(err, fault.Unsupported) {
			t.Errorf("an engine that is not there was forced: %v", err)
		}
		d.Engine = "fake"
		if d := must(s.Deploy(t.Context(), who, d)); d.Forced != "" {
			t.Errorf("what fits is not forced: %q", d.Forced)
		}
	})
}

func TestDeployingWhatIsNotKnown(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	s.Engines["choosy"] = choosy{w.engine}
	s.MemoryLimit = 1 << 30
	w.add(t, "strange", registry.Shape{Unknown: "Its shape is not known here: the family is not."})
	w.add(t, "foreign", registry.Shape{Arch: "qwen2", Params: 7, Foreign: "It is of another family."})
	w.add(t, "wide", registry.Shape{Arch: "llama", Params: 300 << 20})
	deploy := func(model, engine string, change func(*serve.DeploySpec)) error {
		_, err := s.Deploy(t.Context(), who, func() serve.DeploySpec {
			d := serve.DeploySpec{Model: model, Engine: engine}
			if change != nil {
				change(&d)
			}
			return d
		}())
		return err
	}
	if f := fault.As(deploy("strange", "fake", nil)); f.Field != "memory_bytes" || f.Code != "unknown_shape" || !strings.Contains(f.Sentence(), "--memory") {
		t.Errorf("an unknown shape: %v", f)
	}
	if err := deploy("strange", "fake", func(d *serve.DeploySpec) { d.MemoryBytes = 64 << 20 }); err != nil {
		t.Errorf("with memory: %v", err)
	}
	if err := deploy("foreign", "choosy", nil); !fault.Is(err, fault.Unsupported) || fault.As(err).Message != "It is of another family." {
		t.Errorf("a foreign model: %v", err)
	}
	if err := deploy("foreign", "fake", nil); err != nil {
		t.Errorf("an engine that is not choosy: %v", err)
	}
	if f := fault.As(deploy("wide", "choosy", nil)); f.Code != "memory" || f.Field != "model" || !strings.Contains(f.Message, "1.2 GiB") {
		t.Errorf("weights that become wider: %v", f)
	}
	if err := deploy("wide", "fake", nil); err != nil {
		t.Errorf("as they are stored: %v", err)
	}
}

// Replicas that ask for chips are held against them before anything is submitted.
func TestDeployingOnChips(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	s := w.service(nil)
	c := must(chip.Builtin())
	s.Fit = &fit.Service{Market: func() (estimate.Market, error) { return estimate.Market{Catalogue: c}, nil },
		Stock: func(context.Context) ([]estimate.Stock, error) {
			return []estimate.Stock{{Class: "nvidia-l4", Chips: 4, Node: 4}}, nil
		}}
	large, _ := perf.Named("llama-3-70b")
	w.add(t, "large", registry.Shape{Arch: "llama", Params: large.Parameters(), WeightBytes: 2 * large.Parameters(), Context: 8192, Transformer: &large})
	d := serve.DeploySpec{Model: "large", Engine: "fake", Ask: job.Ask{Chips: 2, ChipTypes: []string{"nvidia-l4"}}}
	_, err := s.Deploy(t.Context(), who, d)
	if f := fault.As(err); f.Code != "memory" || f.Field != "chips" || !strings.Contains(f.Message, "2 nvidia-l4") || !strings.Contains(f.Fix, "8 nvidia-l4") {
		t.Errorf("%v", err)
	}
	if len(w.jobs.jobs) != 0 {
		t.Errorf("%d jobs", len(w.jobs.jobs))
	}
	d.Ask.ChipTypes = append(d.Ask.ChipTypes, "amd-mi300x")
	if _, err := s.Deploy(t.Context(), who, d); err != nil {
		t.Errorf("one of the classes holds it: %v", err)
	}
	d.Name, d.Force, d.Ask.ChipTypes = "forced", true, d.Ask.ChipTypes[:1]
	if d := must(s.Deploy(t.Context(), who, d)); !strings.Contains(d.Forced, "nvidia-l4") {
		t.Errorf("%+v", d)
	}
}

var _ engine.Engine = choosy{}
