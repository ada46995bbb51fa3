package sql_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func measurement(t *testing.T, batch int, ratio float64, at time.Time) measured.Measurement {
	t.Helper()
	c, err := chip.Builtin()
	must(t, err)
	h100, err := c.Find("nvidia-h100-sxm")
	must(t, err)
	shape, _ := perf.Named("llama-3-8b")
	q := perf.Question{Shape: shape, Chip: h100, Work: perf.Work{Task: perf.Decode, Engine: "vllm", Precision: chip.BF16, Batch: batch, Context: 500}}
	a, refused := perf.Predict(q)
	if refused != nil {
		t.Fatal(refused)
	}
	return measured.Measurement{Question: q, Rate: a.Rate * ratio, At: at, By: "run"}
}

func TestMeasured(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, at := t.Context(), time.Unix(1_800_000_000, 0).UTC()
		service := func() *measured.Service {
			now := func() time.Time { return at }
			return &measured.Service{Book: &measured.Book{Now: now}, Store: db.Measured(), Now: now, Log: slog.New(slog.DiscardHandler)}
		}
		s := service()
		m := measurement(t, 8, 1.5, at)
		for i, want := range []bool{true, false, false} {
			if first, err := s.Report(ctx, "run_1/1", m); err != nil || first != want {
				t.Errorf("report %d: first %v, %v", i, first, err)
			}
		}
		var all sync.WaitGroup // reports that come together are all kept
		for i := range 8 {
			all.Go(func() {
				if first, err := s.Report(context.WithoutCancel(ctx), fmt.Sprintf("run_2/%d", i), m); err != nil || !first {
					t.Errorf("report %d: first %v, %v", i, first, err)
				}
			})
		}
		all.Wait()
		again := service()
		must(t, again.Load(ctx))
		rows := again.Book.Rows()
		if len(rows) != 1 || rows[0].Count != 9 || rows[0].Ratio() < 1.49 || rows[0].Ratio() > 1.51 {
			t.Fatalf("%+v", rows)
		}
		if _, err := s.Report(ctx, "run_3/1", measured.Measurement{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("what is no measurement: %v", err)
		}
		if first, err := s.ReportOf(ctx, "prj_a", "x", measurement(t, 64, 2, at)); err != nil || !first {
			t.Errorf("of a project: %v %v", first, err)
		}
		if first, err := s.ReportOf(ctx, "prj_b", "x", measurement(t, 64, 2, at)); err != nil || !first {
			t.Errorf("of another project by the same name: %v %v", first, err)
		}
		if n := len(s.Seen("prj_a")); n != 2 || len(s.Seen("prj_c")) != 1 {
			t.Errorf("%d rows are seen", n)
		}
		native := measurement(t, 1, 1, at)
		native.Question.Work.Engine = perf.Native
		if _, err := s.ReportOf(ctx, "prj_a", "y", native); !fault.Is(err, fault.Invalid) {
			t.Errorf("the embedded engine by somebody else's word: %v", err)
		}
		if n, err := db.Measured().Reported(ctx, "prj_a", at.Add(-time.Hour)); n != 1 || err != nil {
			t.Errorf("%d reports, %v", n, err)
		}
		_, err := s.Report(ctx, "old", measurement(t, 1, 1, at.Add(-time.Hour)))
		must(t, err)
		must(t, db.Measured().Expire(ctx, at.Add(time.Second), measured.Keep{Rows: 1, Project: 3, Names: 3}))
		left, err := db.Measured().Rows(ctx)
		if n, _ := db.Measured().Reported(ctx, "prj_a", at.Add(-time.Hour)); err != nil || n != 0 || len(left) != 2 {
			t.Errorf("%d rows and %d reports are left, %v", len(left), n, err)
		}
	})
}

// Whoever reports most makes room; nobody else loses anything by it, neither now nor after a restart.
func TestNobodyPushesOthersOut(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, at := t.Context(), time.Unix(1_800_000_000, 0).UTC()
		now := func() time.Time { return at }
		s := &measured.Service{Book: &measured.Book{Now: now}, Store: db.Measured(), Now: now, Log: slog.New(slog.DiscardHandler)}
		_, err := s.Report(ctx, "run_1/1", measurement(t, 8, 1.5, at))
		must(t, err)
		_, err = s.ReportOf(ctx, "prj_small", "x", measurement(t, 16, 1.5, at))
		must(t, err)
		at = at.Add(time.Minute)
		for i := range 9 {
			_, err = s.ReportOf(ctx, "prj_loud", fmt.Sprint(i), measurement(t, 1<<i, 1.5, at))
			must(t, err)
		}
		must(t, db.Measured().Expire(ctx, at.Add(-time.Hour), measured.Keep{Rows: 4, Project: 5, Names: 6}))
		left := map[string]int{}
		rows, err := db.Measured().Rows(ctx)
		must(t, err)
		for _, text := range rows {
			r, err := measured.Decode(text)
			must(t, err)
			left[r.Scope]++
		}
		if left[""] != 1 || left["prj_small"] != 1 || left["prj_loud"] != 3 {
			t.Errorf("rows: %v", left)
		}
		for project, want := range map[string]int{"": 1, "prj_small": 1, "prj_loud": 6} {
			if n, err := db.Measured().Reported(ctx, project, time.Time{}); n != want || err != nil {
				t.Errorf("%d names of reports of %q, %v", n, project, err)
			}
		}
	})
}

// What answers everybody does not tell the names that a project gave its models.
func TestNamesOfModelsStayWithTheirProject(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, at := t.Context(), time.Unix(1_800_000_000, 0).UTC()
		now := func() time.Time { return at }
		s := &measured.Service{Book: &measured.Book{Now: now}, Store: db.Measured(), Now: now, Log: slog.New(slog.DiscardHandler)}
		secret := measurement(t, 8, 1.5, at)
		secret.Question.Shape.Name, secret.Question.Shape.Layers = "merger-with-acme", 31
		_, err := s.Report(ctx, "run_1/1", secret)
		must(t, err)
		published := measurement(t, 8, 1.5, at)
		published.Question.Shape.Name = "merger-with-acme"
		_, err = s.Report(ctx, "run_2/1", published)
		must(t, err)
		_, err = s.ReportOf(ctx, "prj_a", "x", secret)
		must(t, err)
		names := map[string]int{}
		for _, r := range s.Seen("prj_a") {
			names[r.Scope+"/"+r.Question.Shape.Name]++
		}
		if names["/"] != 1 || names["/llama-3-8b"] != 1 || names["prj_a/merger-with-acme"] != 1 {
			t.Errorf("%v", names)
		}
	})
}
