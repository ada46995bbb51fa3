package train_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// processor is one core of 100 GFLOP/s, and so many of it.
func processor(cores int) (chip.Chip, error) {
	f := func(v float64) *chip.Figure { return &chip.Figure{Value: v, Confidence: chip.Measured} }
	return chip.Chip{ID: chip.ProcessorID, Kind: chip.CPU, Memory: f(64e9), Bandwidth: f(20e9), Flops: map[chip.Precision]*chip.Figure{chip.FP32: f(1e11 * float64(cores))}}, nil
}

// TestRunsAreMeasured: what each attempt reached is told once, however often the control plane dies on the way, and
// short ones tell nothing.
func TestRunsAreMeasured(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, w := t.Context(), newWorld(t, db)
		log := slog.New(slog.DiscardHandler)
		book := &measured.Book{Now: time.Now}
		told := &measured.Service{Book: book, Store: db.Measured(), Now: time.Now, Log: log}
		service := func(c *crash) *train.Service {
			s := w.service(c)
			s.Measured, s.Processor = told, processor
			return s
		}
		x := spec()
		x.Recipe.Preset, x.CPUs = "tiny", 2
		r, err := service(nil).Submit(ctx, who, x)
		if err != nil {
			t.Fatal(err)
		}
		say := func(attempt int, rates ...float64) {
			for i, v := range rates {
				text, err := json.Marshal(train.Progress{Attempt: attempt, Step: i + 1, Steps: 10, Loss: 1, TokensPerSecond: v})
				if err != nil {
					t.Fatal(err)
				}
				w.jobs.lines[r.JobID] = append(w.jobs.lines[r.JobID], job.Line{Attempt: attempt, Step: int64(i + 1), Data: text})
			}
		}
		say(1, 10, 20, 9000, 9100, 9050, 100, 9020, 9060, 9030)
		say(2, 9000, 9000, 9000)
		say(3, 10, 20, 9200, 9300, 9250, 9220, 9210)
		w.jobs.leave(t, r.JobID)
		for n := range 12 { // it dies at each place on the way to the end
			_ = service(&crash{n: n + 1, after: n%2 == 1}).Reconcile(ctx)
		}
		if err := service(nil).Reconcile(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := service(nil).Get(ctx, project, r.ID); err != nil || got.State != train.Succeeded {
			t.Fatalf("%+v %v", got, err)
		}
		rows := book.Rows()
		if len(rows) != 1 || rows[0].Count < 1.99 || rows[0].Count > 2.01 || rows[0].Rate != 9220 {
			t.Fatalf("%+v", rows)
		}
		q := rows[0].Question
		if q.Work.Task != perf.PostTrain || q.Work.Engine != "fake" || q.Work.Batch != 8 || q.Work.Context != 256 || q.Shape.Layers != 4 || q.Shape.Width != 128 || q.Chip.Flops[chip.FP32].Value != 2e11 {
			t.Errorf("%+v", q)
		}
	})
}
