package sql_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func TestRequestLog(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, s := t.Context(), db.RequestLog()
		block := func(id, project, first, last string) seen.Block {
			return seen.Block{ID: id, Project: project, First: first, Last: last, Rows: 2, Data: []byte{0, 1, 0xff}}
		}
		a, b, c := block("rlb_1", "prj_a", "req_01", "req_05"), block("rlb_2", "prj_a", "req_03", "req_09"), block("rlb_3", "prj_a", "req_04", "req_09")
		must(t, s.AddBlocks(ctx, []seen.Block{a, b, c, block("rlb_4", "prj_b", "req_03", "req_09")}))
		for name, q := range map[string]struct {
			least, below string
			after        page.Key
			limit        int
			want         []seen.Block
		}{
			"all":    {limit: 9, want: []seen.Block{c, b, a}},
			"first":  {limit: 1, want: []seen.Block{c}},
			"next":   {after: page.Key{"req_09", "rlb_3"}, limit: 9, want: []seen.Block{b, a}},
			"least":  {least: "req_06", limit: 9, want: []seen.Block{c, b}},
			"below":  {below: "req_03", limit: 9, want: []seen.Block{a}},
			"within": {least: "req_02", below: "req_020", limit: 9, want: []seen.Block{a}},
		} {
			got, err := s.Blocks(ctx, "prj_a", q.least, q.below, q.after, q.limit)
			if d := cmp.Diff(q.want, got); d != "" || err != nil {
				t.Errorf("%s: %v\n%s", name, err, d)
			}
		}
		must(t, s.DropBlocks(ctx, "req_06"))
		if got, err := s.Blocks(ctx, "prj_a", "", "", nil, 9); err != nil || len(got) != 2 {
			t.Errorf("%v %+v", err, got)
		}
	})
}
