package sql_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/gateway/capture"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func TestCaptured(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, s, now := t.Context(), db.Captured(), time.Now().UTC().Truncate(time.Microsecond)
		rec := func(request, project string, in time.Duration) capture.Record {
			return capture.Record{Request: request, Project: project, Until: now.Add(in), Data: []byte{0, 1, 0xff}}
		}
		a, b, c := rec("req_01", "prj_a", time.Hour), rec("req_02", "prj_a", 2*time.Hour), rec("req_03", "prj_b", time.Hour)
		must(t, s.AddBodies(ctx, []capture.Record{a, c}))
		if got, err := s.Bodies(ctx, "prj_a", "", "", 9); err != nil || len(got) != 0 {
			t.Errorf("kept without consent: %v %v", got, err)
		}
		if _, err := s.Consent(ctx, "prj_a"); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
		give := capture.Consent{Project: "prj_a", Share: 0.125, Most: 4096, Keep: time.Hour, Redact: []capture.Class{capture.Email}, By: "key_1", At: now}
		must(t, s.PutConsent(ctx, capture.Consent{Project: "prj_a", Share: 1, Most: 1, Keep: 1, By: "key_0", At: now}))
		must(t, s.PutConsent(ctx, give))
		all, err := s.Consents(ctx)
		if d := cmp.Diff([]capture.Consent{give}, all); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
		must(t, s.AddBodies(ctx, []capture.Record{a, b, c}))
		must(t, s.AddBodies(ctx, []capture.Record{a})) // once
		for name, q := range map[string]struct {
			least, below string
			limit        int
			want         []capture.Record
		}{
			"all":   {limit: 9, want: []capture.Record{b, a}},
			"first": {limit: 1, want: []capture.Record{b}},
			"below": {below: "req_02", limit: 9, want: []capture.Record{a}},
			"least": {least: "req_02", limit: 9, want: []capture.Record{b}},
		} {
			got, err := s.Bodies(ctx, "prj_a", q.least, q.below, q.limit)
			if d := cmp.Diff(q.want, got); d != "" || err != nil {
				t.Errorf("%s: %v\n%s", name, err, d)
			}
		}
		if _, err := s.Body(ctx, "prj_b", "req_01"); !fault.Is(err, fault.NotFound) {
			t.Error("another project reads it:", err)
		}
		must(t, s.DropBodies(ctx, now.Add(time.Hour), 1<<20)) // a's time is over
		if got, err := s.Body(ctx, "prj_a", "req_02"); err != nil || cmp.Diff(b, got) != "" {
			t.Error(got, err)
		}
		if _, err := s.Body(ctx, "prj_a", "req_01"); !fault.Is(err, fault.NotFound) {
			t.Error("what was to be kept for an hour is there after it:", err)
		}
		must(t, s.DropBodies(ctx, now, 3)) // more than the project may keep
		if got, err := s.Bodies(ctx, "prj_a", "", "", 9); err != nil || len(got) != 0 {
			t.Error(got, err)
		}
		must(t, s.AddBodies(ctx, []capture.Record{b}))
		must(t, s.Withdraw(ctx, "prj_a", false))
		if got, err := s.Bodies(ctx, "prj_a", "", "", 9); err != nil || len(got) != 1 {
			t.Error("withdrawing alone forgets nothing:", got, err)
		}
		must(t, s.Withdraw(ctx, "prj_a", true))
		if got, err := s.Bodies(ctx, "prj_a", "", "", 9); err != nil || len(got) != 0 {
			t.Error("forgotten is forgotten:", got, err)
		}
		if err := s.Withdraw(ctx, "prj_a", true); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
		must(t, s.AddBodies(ctx, []capture.Record{a}))
		if got, err := s.Bodies(ctx, "prj_a", "", "", 9); err != nil || len(got) != 0 {
			t.Error("kept after the consent was withdrawn:", got, err)
		}
	})
}
