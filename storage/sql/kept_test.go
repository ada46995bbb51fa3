package sql_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/kept"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func keeper(t *testing.T, db *sql.DB, now *time.Time) *kept.Service {
	t.Helper()
	blobs, err := file.Open(t.TempDir(), time.Now)
	must(t, err)
	return &kept.Service{Store: db.Kept(), Blobs: blobs, IDs: id.Default(), Now: func() time.Time { return *now },
		Responses: kept.Bounds{Count: 3, Bytes: 1000}, Retention: time.Hour, Files: kept.Bounds{Count: 2, Bytes: 30}, FileBytes: 20}
}

func TestKeptResponses(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		now := time.Unix(1_800_000_000, 0)
		s, ctx := keeper(t, sqltest.Open(t, dsn), &now), t.Context()
		put := func(id, previous string) {
			t.Helper()
			must(t, s.KeepResponse(ctx, kept.Response{ID: id, Project: "p", Previous: previous, Input: []byte(`[{"q":"` + id + `"}]`), Answer: []byte(`{"output":[{"a":"` + id + `"}]}`)}))
			now = now.Add(time.Minute)
		}
		put("a", "")
		put("b", "a")
		put("c", "b")
		items, err := s.Earlier(ctx, "p", "c")
		must(t, err)
		if want := `[{"q":"a"},{"a":"a"},{"q":"b"},{"a":"b"},{"q":"c"},{"a":"c"}]`; string(items) != want {
			t.Errorf("earlier are %s", items)
		}
		if _, err := s.Response(ctx, "other", "c"); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project reads it: %v", err)
		}
		put("d", "c") // beyond the bound: the oldest goes
		if _, err := s.Response(ctx, "p", "a"); !fault.Is(err, fault.NotFound) {
			t.Errorf("the oldest is still there: %v", err)
		}
		if _, err := s.Earlier(ctx, "p", "d"); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "previous_response_id" {
			t.Errorf("a conversation without its beginning goes on: %v", err)
		}
		must(t, s.RemoveResponse(ctx, "p", "d"))
		put("e", "")
		put("f", "")
		if _, err := s.Response(ctx, "p", "b"); !fault.Is(err, fault.NotFound) {
			t.Error("the sums are wrong: b should be gone for f")
		}
		now = now.Add(time.Hour)
		n, err := s.Expire(ctx)
		if must(t, err); n != 3 {
			t.Errorf("%d expired", n)
		}
		if err := s.KeepResponse(ctx, kept.Response{ID: "huge", Project: "p", Input: bytes.Repeat([]byte(" "), 1001)}); !fault.Is(err, fault.TooLarge) {
			t.Errorf("huge: %v", err)
		}
	})
}

func TestKeptFiles(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		now := time.Unix(1_800_000_000, 0)
		s, ctx := keeper(t, sqltest.Open(t, dsn), &now), t.Context()
		add := func(text string) (kept.File, error) {
			now = now.Add(time.Second)
			f, err := s.Put(ctx, kept.File{Project: "p", Name: "n", Purpose: "batch", CreatedBy: "k"}, strings.NewReader(text))
			if err != nil {
				return f, err
			}
			return s.AddFile(ctx, f)
		}
		a, err := add("hello")
		must(t, err)
		if _, err := add(strings.Repeat("x", 21)); !fault.Is(err, fault.TooLarge) {
			t.Errorf("too large: %v", err)
		}
		b, err := add("world")
		must(t, err)
		if _, err := add("more"); !fault.Is(err, fault.Conflict) || fault.As(err).Code != "files_full" {
			t.Errorf("too many: %v", err)
		}
		list, err := s.List(ctx, "p", "batch", page.Page{})
		if must(t, err); len(list) != 2 || list[0].ID != b.ID {
			t.Errorf("listed %+v", list)
		}
		if list, err := s.List(ctx, "p", "vision", page.Page{}); err != nil || len(list) != 0 {
			t.Errorf("of another purpose: %+v, %v", list, err)
		}
		_, r, err := s.Open(ctx, "p", a.ID)
		must(t, err)
		if text, err := io.ReadAll(r); err != nil || string(text) != "hello" {
			t.Errorf("read %q, %v", text, err)
		}
		r.Close()
		if _, _, err := s.Open(ctx, "q", a.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project: %v", err)
		}
		must(t, s.RemoveFile(ctx, "p", a.ID))
		var refs []blob.Ref
		must(t, s.Store.FileRefs(context.WithoutCancel(ctx), func(r blob.Ref) bool { refs = append(refs, r); return true }))
		if len(refs) != 1 || refs[0] != b.Ref {
			t.Errorf("named are %v", refs)
		}
		if _, err := add("again"); err != nil {
			t.Errorf("the room was not given back: %v", err)
		}
	})
}
