package seen

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/gateway"
)

// shelf keeps blocks in memory, as LogStore says.
type shelf struct {
	mu     sync.Mutex
	blocks []Block
	broken error
}

func (s *shelf) AddBlocks(_ context.Context, list []Block) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks = append(s.blocks, list...)
	return s.broken
}

func (s *shelf) Blocks(_ context.Context, project, least, below string, after page.Key, limit int) (out []Block, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.blocks, func(a, b Block) int { return cmp.Or(cmp.Compare(b.Last, a.Last), cmp.Compare(b.ID, a.ID)) })
	for _, b := range s.blocks {
		before := len(after) == 0 || b.Last < after[0] || b.Last == after[0] && b.ID < after[1]
		if b.Project == project && b.Last >= least && (below == "" || b.First < below) && before && len(out) < limit {
			out = append(out, b)
		}
	}
	return out, nil
}

func (s *shelf) DropBlocks(_ context.Context, before string) error {
	s.blocks = slices.DeleteFunc(s.blocks, func(b Block) bool { return b.Last < before })
	return nil
}

func newLog(s LogStore) *Log {
	return &Log{Store: s, IDs: id.Default(), Now: time.Now, Keep: time.Hour, Log: slog.New(slog.DiscardHandler)}
}

func TestEachRequestHasARow(t *testing.T) {
	l := newLog(&shelf{})
	r := newRig(t, &Watch{Log: l})
	const tag = "team-a"
	served, err := r.ask(stream, func(c *gateway.Call) { c.Tag = tag })
	if err != nil {
		t.Fatal(err)
	}
	refused, _ := r.ask(`{"model":"nothing"}`)
	ctx := t.Context()
	rows, err := l.List(ctx, r.who.ProjectID, Filter{}, page.All)
	if len(rows) == 2 && rows[0].Request == served { // of one millisecond, in no certain order
		rows[0], rows[1] = rows[1], rows[0]
	}
	if err != nil || len(rows) != 2 || rows[0].Request != refused || rows[1].Request != served {
		t.Fatalf("%v %+v", err, rows)
	}
	got := rows[1]
	if got.FirstByte <= 0 || got.Took < got.FirstByte || time.Since(got.At) > time.Minute || got.Tag != tag {
		t.Errorf("%+v", got)
	}
	got.FirstByte, got.Took, got.At, got.Tag = 0, 0, time.Time{}, ""
	want := Row{Request: served, Project: r.who.ProjectID, Key: r.who.KeyID, Model: "m", Route: r.routes["m"].Route.ID, Backend: "dep_m", Dialect: "openai-chat", Kind: "chat",
		Stream: true, Outcome: "finished", Status: 200, Input: 9, Cached: 3, Output: 4, Reasoning: 2, CostMicros: 17, Tries: 1}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if x := rows[0]; x.Outcome != "refused" || x.Code != "model_not_found" || x.Status != 404 || x.Model != "nothing" {
		t.Errorf("%+v", x)
	}
	if x, err := l.Get(ctx, r.who.ProjectID, served); err != nil || x.Request != served {
		t.Errorf("%v %+v", err, x)
	}
	for _, q := range [][2]string{{"prj_other", served}, {r.who.ProjectID, "req_nothing"}, {r.who.ProjectID, id.Default().New("req")}} {
		if _, err := l.Get(ctx, q[0], q[1]); !fault.Is(err, fault.NotFound) {
			t.Errorf("%v: %v", q, err)
		}
	}
	for name, f := range map[string]Filter{"status": {Status: 404}, "model": {Model: "nothing"}, "outcome": {Outcome: "refused"}} {
		if rows, _ := l.List(ctx, r.who.ProjectID, f, page.All); len(rows) != 1 || rows[0].Request != refused {
			t.Errorf("by %s: %+v", name, rows)
		}
	}
	for name, f := range map[string]Filter{"later": {Since: time.Now().Add(time.Hour)}, "earlier": {Until: time.Now().Add(-time.Hour)}, "key": {Key: "key_x"}} {
		if rows, _ := l.List(ctx, r.who.ProjectID, f, page.All); len(rows) != 0 {
			t.Errorf("%s: %+v", name, rows)
		}
	}
}

// Whatever blocks rows lie in, pages of any size make the whole, newest first.
func TestPagesOfRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shelf{}
		l := newLog(s)
		at := time.UnixMilli(1_800_000_000_000)
		ids := &id.Maker{Now: func() time.Time { return at }, Rand: id.Default().Rand}
		var all []string
		for range rapid.IntRange(1, 8).Draw(t, "blocks") {
			var rows []Row
			for range rapid.IntRange(1, 6).Draw(t, "rows") {
				at = time.UnixMilli(1_800_000_000_000 + rapid.Int64Range(0, 50).Draw(t, "at"))
				rows = append(rows, Row{Request: ids.New("req"), At: at, Project: "p", Status: 200 + rapid.IntRange(0, 1).Draw(t, "status")})
			}
			for _, r := range rows {
				all = append(all, r.Request)
			}
			if err := l.store(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(all)
		slices.Reverse(all)
		limit := rapid.IntRange(1, 9).Draw(t, "limit")
		var got []string
		for p := (page.Page{Limit: limit}); ; {
			rows, err := l.List(t.Context(), "p", Filter{}, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				got = append(got, r.Request)
			}
			if len(rows) < limit {
				break
			}
			p.After = page.Key{rows[len(rows)-1].Request}
		}
		if d := gocmp.Diff(all, got); d != "" {
			t.Fatalf("in pages of %d: %s", limit, d)
		}
		since := time.UnixMilli(1_800_000_000_000 + rapid.Int64Range(0, 50).Draw(t, "since"))
		rows, err := l.List(t.Context(), "p", Filter{Since: since, Status: 201}, page.All)
		for _, r := range rows {
			if err != nil || r.At.Before(since) || r.Status != 201 {
				t.Fatalf("%v %+v", err, r)
			}
		}
		for _, name := range all {
			if r, err := l.Get(t.Context(), "p", name); err != nil || r.Request != name {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

func TestTheLogIsBounded(t *testing.T) {
	s := &shelf{broken: errors.New("away")}
	l := newLog(s)
	r := newRig(t, nil)
	call := &gateway.Call{Who: r.who, RequestID: "req_1"}
	for range shardRows + 10 { // one shard
		l.end(&gateway.Sight{Call: call})
	}
	if n := l.dropped.Load(); n != 10 {
		t.Errorf("%d rows of a full shard were dropped", n)
	}
	l.flush(t.Context())
	if n := l.dropped.Load(); n != 10+shardRows || !l.failing {
		t.Errorf("%d rows were dropped when the store was away", n)
	}
	old := id.Maker{Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }, Rand: id.Default().Rand}
	s.blocks, s.broken = nil, nil
	if err := l.store(t.Context(), []Row{{Request: old.New("req"), Project: "p"}, {Request: id.Default().New("req"), Project: "q"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.DropBlocks(t.Context(), FirstID(time.Now().Add(-l.Keep))); err != nil || len(s.blocks) != 1 || s.blocks[0].Project != "q" {
		t.Errorf("%v %+v", err, s.blocks)
	}
}

func FuzzUnpack(f *testing.F) {
	b, _ := pack([]Row{{Request: "req_1"}, {Request: "req_2"}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := unpack(&Block{Data: b, Project: "p"})
		for _, r := range rows {
			if r.Project != "p" && err == nil {
				t.Error("a row of another project")
			}
		}
	})
}
