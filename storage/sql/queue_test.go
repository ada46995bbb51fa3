package sql_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
)

func TestQuotasAndMarksAreKept(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, s, ids := t.Context(), db.Queue(), id.Default()
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		o := tenancy.Organisation{ID: ids.New("org"), Name: "o", CreatedAt: time.Now()}
		p := tenancy.Project{ID: ids.New("prj"), OrgID: o.ID, Name: "p", CreatedAt: time.Now()}
		k := tenancy.Key{ID: ids.New("key"), OrgID: o.ID, ProjectID: p.ID, Name: "k", Role: tenancy.Owner, CreatedAt: time.Now()}
		_, err := db.Tenancy().AddOrganisation(ctx, o, p, k, [32]byte{1}, false)
		ok(err)
		rows := func() []queue.Row {
			t.Helper()
			all, err := s.Queues(ctx)
			ok(err)
			return all
		}
		row := queue.Row{Quota: queue.Quota{Project: p.ID, Weight: 1}, Name: "p", Org: o.ID, OrgName: "o", OrgWeight: 1}
		if d := cmp.Diff([]queue.Row{row}, rows()); d != "" {
			t.Error(d)
		}
		for _, q := range []queue.Quota{{Project: p.ID, Weight: 3, Guarantee: map[string]int64{"slot": 4, "cpu": 1}},
			{Project: p.ID, Weight: 2, Ceiling: map[string]int64{"slot": 6}}} {
			ok(s.SetQuota(ctx, q))
			row.Quota, row.Set = q, true
			if d := cmp.Diff([]queue.Row{row}, rows()); d != "" {
				t.Error(d)
			}
		}
		ok(s.SetOrgWeight(ctx, o.ID, 5))
		ok(s.SetOrgWeight(ctx, o.ID, 7))
		ok(s.RemoveQuota(ctx, p.ID))
		ok(s.RemoveQuota(ctx, p.ID))
		row.Quota, row.Set, row.OrgWeight = queue.Quota{Project: p.ID, Weight: 1}, false, 7
		if d := cmp.Diff([]queue.Row{row}, rows()); d != "" {
			t.Error(d)
		}
		if err := s.SetQuota(ctx, queue.Quota{Project: "prj_none"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a quota of no project: %v", err)
		}
		if err := s.SetOrgWeight(ctx, "org_none", 1); !fault.Is(err, fault.NotFound) {
			t.Errorf("a weight of no organisation: %v", err)
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		for _, m := range []queue.NodeMark{{Node: "b", Draining: true, Reason: "fan", Since: at}, {Node: "B"}, {Node: "b", Since: at}} {
			ok(s.SetMark(ctx, m))
		}
		marks, err := s.Marks(ctx)
		if d := cmp.Diff([]queue.NodeMark{{Node: "B"}, {Node: "b", Since: at}}, marks); d != "" || err != nil {
			t.Error(d, err)
		}
	})
}

func TestWindowsAreKept(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, s := t.Context(), db.Queue()
		at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		b := queue.Window{Name: "b", Nodes: []string{"n1", "n2"}, From: at, Until: at.Add(time.Hour), Project: "prj_1", Reason: "course", CreatedAt: at}
		upper := queue.Window{Name: "B", Nodes: []string{"n1"}, From: at, Until: at.Add(time.Minute), CreatedAt: at}
		for _, w := range []queue.Window{b, upper} {
			if err := s.AddWindow(ctx, w); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.AddWindow(ctx, b); !fault.Is(err, fault.Conflict) {
			t.Errorf("the same name again: %v", err)
		}
		list, err := s.Windows(ctx)
		if d := cmp.Diff([]queue.Window{upper, b}, list); d != "" || err != nil {
			t.Error(d, err)
		}
		if err := s.RemoveWindow(ctx, "B"); err != nil {
			t.Error(err)
		}
		if err := s.RemoveWindow(ctx, "B"); !fault.Is(err, fault.NotFound) {
			t.Errorf("removed twice: %v", err)
		}
		list, err = s.Windows(ctx)
		if d := cmp.Diff([]queue.Window{b}, list); d != "" || err != nil {
			t.Error(d, err)
		}
	})
}
