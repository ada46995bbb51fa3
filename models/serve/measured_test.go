package serve_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// tellsShape is a codec that reads the shape of a model.
type tellsShape struct{}

func (tellsShape) Inspect(context.Context, string) (registry.Shape, error) {
	return registry.Shape{Arch: "llama", Context: 256, Transformer: &perf.Shape{Layers: 4, Width: 128, Heads: 4, KVHeads: 4, Head: 32, Inner: 352, Vocab: 1024, Tied: true}}, nil
}

// working is an engine whose replicas tell what they have done.
type working struct {
	*fakeEngine
	done engine.Work
}

func (w *working) Work(context.Context, engine.Endpoint) (engine.Work, error) { return w.done, nil }

// TestReplicasAreMeasured: what a replica did between two looks is told once; little work waits for more, counts that
// began anew and a new control plane tell nothing twice.
func TestReplicasAreMeasured(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		w.models.Codec = tellsShape{}
		w.version = must(w.models.ImportDir(ctx, project, modelDir(t), registry.NewVersion{Model: "n"}))
		now := time.Unix(1_800_000_000, 0).UTC()
		clock := func() time.Time { return now }
		book := &measured.Book{Now: clock}
		told := &measured.Service{Book: book, Store: db.Measured(), Now: clock, Log: slog.New(slog.DiscardHandler)}
		eng := &working{fakeEngine: w.engine}
		service := func() *serve.Service {
			s := w.service(nil)
			s.Now, s.Measured = clock, told
			s.Engines = map[string]engine.Engine{"fake": eng}
			s.Processor = func(cores int) (chip.Chip, error) {
				f := func(v float64) *chip.Figure { return &chip.Figure{Value: v, Confidence: chip.Measured} }
				return chip.Chip{ID: chip.ProcessorID, Kind: chip.CPU, Memory: f(64e9), Bandwidth: f(20e9), Flops: map[chip.Precision]*chip.Figure{chip.FP32: f(1e11 * float64(max(1, cores)))}}, nil
			}
			return s
		}
		s := service()
		x := spec(1)
		x.Model, x.Threads = "n", 2
		must(s.Deploy(ctx, who, x))
		w.settle(t, s)
		look := func(s *serve.Service, want ...string) {
			t.Helper()
			now = now.Add(2 * time.Minute)
			must(0, s.Reconcile(ctx))
			var got []string
			for _, r := range book.Rows() {
				got = append(got, string(r.Question.Work.Task))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("told of %v, not of %v", got, want)
			}
		}
		look(s)
		eng.done.Decode = engine.Spent{Nanos: 1e8, Steps: 100, Rows: 400, Seen: 400 * 100}
		look(s) // too little
		eng.done.Decode = engine.Spent{Nanos: 1e9, Steps: 1000, Rows: 4000, Seen: 4000 * 100}
		look(s, "decode")
		look(s, "decode")
		eng.done.Prefill = engine.Spent{Nanos: 2e8, Steps: 40, Rows: 4000, Seen: 4000 * 32}
		look(s, "decode", "prefill")
		look(service(), "decode", "prefill") // a new control plane
		eng.done = engine.Work{}             // the replica began anew
		look(s, "decode", "prefill")
		for _, r := range book.Rows() {
			q := r.Question
			switch q.Work.Task {
			case perf.Decode:
				if r.Count != 1 || r.Rate != 4000 || q.Work.Batch != 4 || q.Work.Context != 100 || q.Chip.Flops[chip.FP32].Value != 2e11 || q.Work.Engine != "fake" {
					t.Errorf("%+v", r)
				}
			case perf.Prefill:
				if r.Count != 1 || r.Rate != 20000 || q.Work.Context != 64 || q.Work.Batch != 2 {
					t.Errorf("%+v", r)
				}
			}
		}
	})
}
