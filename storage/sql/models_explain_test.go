package sql_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func TestExplanations(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, s := t.Context(), db.Explanations()
		at := time.Unix(1_800_000_000, 0).UTC()
		e := gateway.Explanation{Request: "req_1", At: at, Project: "prj_a", Model: "m", Outcome: "finished", CostMicros: 7, Took: time.Second,
			Tries: []gateway.Tried{{Backend: "dep_1", Replica: "rep_1", Status: 503, Again: true}, {Tier: 1, Backend: "prv_1/x", Waited: time.Minute}}}
		late := e
		late.Request, late.At = "req_2", at.Add(time.Hour)
		must(t, s.AddExplanations(ctx, []gateway.Explanation{e, late}))
		again := e
		again.Model = "another"
		must(t, s.AddExplanations(ctx, []gateway.Explanation{again}))
		got, err := s.Explanation(ctx, "prj_a", "req_1")
		if d := cmp.Diff(e, got); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
		if _, err := s.Explanation(ctx, "prj_b", "req_1"); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project's: %v", err)
		}
		must(t, s.DropExplanations(ctx, at.Add(time.Minute)))
		if _, err := s.Explanation(ctx, "prj_a", "req_1"); !fault.Is(err, fault.NotFound) {
			t.Errorf("an old one: %v", err)
		}
		if _, err := s.Explanation(ctx, "prj_a", "req_2"); err != nil {
			t.Error(err)
		}
	})
}
