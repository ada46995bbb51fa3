package data_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

const project = "prj_a"

func service(t *testing.T, store data.Store) *data.Service {
	t.Helper()
	blobs, err := file.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &data.Service{Store: store, Blobs: blobs, IDs: id.Default(), Now: time.Now}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func imp(t *testing.T, s *data.Service, name string, f data.Format, text string, opt data.Options) (data.Version, error) {
	t.Helper()
	return s.Import(t.Context(), project, name, f, strings.NewReader(text), opt)
}

func stored(t *testing.T, s *data.Service, v data.Version) string {
	t.Helper()
	_, r, err := s.Open(t.Context(), v.Project, v.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return string(must(io.ReadAll(r)))
}

func TestFormatsBecomeRecords(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s := service(t, db.Data())
		for _, c := range []struct {
			name         string
			format       data.Format
			text, stored string
			chars        int64
		}{
			{"text", data.Text, "\xef\xbb\xbfone\r\nstill one\n\n \t\n两个 <b>\n", `{"text":"one\nstill one"}` + "\n" + `{"text":"两个 <b>"}` + "\n", 13 + 6},
			{"no newline at the end", data.Text, "a", `{"text":"a"}` + "\n", 1},
			{"jsonl", data.JSONL, "{\"id\": 3, \"text\": \"a\\u4e2d\"}\n\n{\"text\":\" b\"}", "{\"text\":\"a中\"}\n{\"text\":\" b\"}\n", 4},
			{"chat", data.Chat, `{"messages":[{"role":"system","content":""},{"role":"user","content":"hi","name":"x"},{"role":"assistant","content":"&yo"}],"src":1}`,
				`{"messages":[{"role":"system","content":""},{"role":"user","content":"hi"},{"role":"assistant","content":"&yo"}]}` + "\n", 5},
		} {
			v, err := imp(t, s, "set."+strings.ReplaceAll(c.name, " ", "-"), c.format, c.text, data.Options{CreatedBy: "key_1"})
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			got := stored(t, s, v)
			if got != c.stored {
				t.Errorf("%s: stored %q, want %q", c.name, got, c.stored)
			}
			want := data.Version{ID: v.ID, Project: project, DataSet: v.DataSet, Number: 1, Format: c.format, Ref: v.Ref, Bytes: int64(len(c.stored)),
				Records: int64(strings.Count(c.stored, "\n")), Chars: c.chars, CreatedBy: "key_1", CreatedAt: v.CreatedAt}
			again := must(s.Get(t.Context(), project, v.ID))
			want.CreatedAt = again.CreatedAt
			if d := cmp.Diff(want, again); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
	})
}

func TestBrokenLinesAreNamed(t *testing.T) {
	s := service(t, newMemory())
	s.Limits = data.Limits{Line: 40, Bytes: 1000}
	long := strings.Repeat("x", 41)
	for _, c := range []struct {
		format data.Format
		text   string
		line   int64
		reason string
	}{
		{data.Text, "fine\n\xff\n", 2, "UTF-8"},
		{data.Text, "fine\nfine\n" + long, 3, "longer than 40 bytes"},
		{data.JSONL, "{\"text\":\"a\"}\nnot json\n", 2, "not a JSON object"},
		{data.JSONL, `{"text":"a"`, 1, "not valid JSON"},
		{data.JSONL, `{"text":"a"} {"text":"b"}`, 1, "not valid JSON"},
		{data.JSONL, `["text"]`, 1, "not a JSON object"},
		{data.JSONL, `{"text": 3}`, 1, `"text" is a number where a string belongs`},
		{data.JSONL, `{"txt": "a"}`, 1, `no field "text"`},
		{data.JSONL, `{"text": null}`, 1, `no field "text"`},
		{data.JSONL, `{"text": " \n"}`, 1, `"text" is empty`},
		{data.Chat, `{"text": "a"}`, 1, `no "messages"`},
		{data.Chat, `{"messages": "a"}`, 1, `"messages" is a string where a list belongs`},
	} {
		_, err := imp(t, s, "x", c.format, c.text, data.Options{})
		var bad *data.BadLines
		if !fault.Is(err, fault.Invalid) || !errors.As(err, &bad) || len(bad.Lines) != 1 {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if bad.Lines[0].Line != c.line || !strings.Contains(bad.Lines[0].Reason, c.reason) {
			t.Errorf("%q: line %d: %s", c.text, bad.Lines[0].Line, bad.Lines[0].Reason)
		}
		if sentence := fault.As(err).Sentence(); !strings.Contains(sentence, fmt.Sprintf("line %d", c.line)) || !strings.Contains(sentence, "--skip-bad") {
			t.Errorf("%q: the sentence is %q", c.text, sentence)
		}
	}
}

func TestConversationsAreChecked(t *testing.T) {
	s := service(t, newMemory())
	for reason, messages := range map[string]string{
		"role":                 `[{"role":"robot","content":"a"},{"role":"assistant","content":"b"}]`,
		"system message":       `[{"role":"user","content":"a"},{"role":"system","content":"a"},{"role":"assistant","content":"b"}]`,
		`no "content"`:         `[{"role":"assistant"}]`,
		"no assistant message": `[{"role":"user","content":"a"},{"role":"assistant","content":" "}]`,
	} {
		_, err := imp(t, s, "x", data.Chat, `{"messages":`+messages+`}`, data.Options{})
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

func TestSkipBadCounts(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s := service(t, db.Data())
		var file strings.Builder
		for i := range 100 {
			if i%3 == 0 {
				fmt.Fprintf(&file, "bad %d\n", i)
			} else {
				fmt.Fprintf(&file, "{\"text\":\"good %d\"}\n", i)
			}
		}
		_, err := imp(t, s, "x", data.JSONL, file.String(), data.Options{})
		var bad *data.BadLines
		if !errors.As(err, &bad) || len(bad.Lines) != data.KeepBad || !bad.More || bad.Lines[1].Line != 4 {
			t.Fatalf("without skip-bad: %v", err)
		}
		if sets := must(s.Sets(t.Context(), project, page.All)); len(sets) != 0 {
			t.Fatalf("a failed import left %v", sets)
		}
		must(imp(t, s, "x", data.JSONL, file.String(), data.Options{SkipBad: true}))
		v := must(s.Get(t.Context(), project, "x"))
		if v.Bad != 34 || v.Records != 66 || len(v.BadLines) != data.KeepBad || v.BadLines[2].Line != 7 {
			t.Fatalf("with skip-bad: %+v", v)
		}
		again := must(imp(t, s, "x", data.JSONL, "bad\n"+file.String(), data.Options{SkipBad: true}))
		if again.ID != v.ID || again.Bad != 35 || again.BadLines[0].Line != 1 {
			t.Errorf("the same records from another file: %+v", again)
		}
		if _, err := imp(t, s, "y", data.JSONL, "bad\n", data.Options{SkipBad: true}); !fault.Is(err, fault.Invalid) {
			t.Fatalf("a file of broken lines alone: %v", err)
		}
	})
}

func TestAFailedImportStoresNothing(t *testing.T) {
	s := service(t, newMemory())
	s.Limits.Bytes = 100
	for name, r := range map[string]io.Reader{
		"broken":    strings.NewReader(`{"text":"a"}` + "\nx"),
		"too large": strings.NewReader(strings.Repeat(`{"text":"a"}`+"\n", 20)),
		"cut":       io.MultiReader(strings.NewReader(`{"text":"a"}`+"\n"), failing{}),
		"empty":     strings.NewReader("\n\n"),
	} {
		_, err := s.Import(t.Context(), project, "x", data.JSONL, r, data.Options{})
		if err == nil {
			t.Errorf("%s: imported", name)
		}
		if name == "too large" && !fault.Is(err, fault.TooLarge) {
			t.Errorf("too large: %v", err)
		}
		if err := s.Blobs.List(t.Context(), func(i blob.Info) bool { t.Errorf("%s: stored %s", name, i.Ref); return true }); err != nil {
			t.Fatal(err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the line went dead") }

func TestVersionsAreNumberedAndSingle(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		s := service(t, db.Data())
		a := must(imp(t, s, "words", data.Text, "a", data.Options{}))
		b := must(imp(t, s, "words", data.Text, "b", data.Options{}))
		same := must(imp(t, s, "words", data.Text, "\n\na\n\n", data.Options{})) // the same record in another file
		if a.Number != 1 || b.Number != 2 || same.ID != a.ID {
			t.Fatalf("numbers %d %d, same %v", a.Number, b.Number, same.ID == a.ID)
		}
		for ref, want := range map[string]string{"words": b.ID, "words@1": a.ID, "words@2": b.ID, a.ID: a.ID} {
			if v, err := s.Get(ctx, project, ref); err != nil || v.ID != want {
				t.Errorf("%s: %v %v", ref, v.ID, err)
			}
		}
		for _, ref := range []string{"words@3", "word", id.Default().New("dv")} {
			if _, err := s.Get(ctx, project, ref); !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %v", ref, err)
			}
		}
		for _, ref := range []string{"words@0", "words@x", "", "../words", "words@"} {
			if _, err := s.Get(ctx, project, ref); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", ref, err)
			}
		}
		if _, err := s.Get(ctx, "prj_b", a.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project sees it: %v", err)
		}
		if err := s.Remove(ctx, "prj_b", a.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project removes it: %v", err)
		}
		if err := s.Remove(ctx, project, "words@2"); err != nil {
			t.Fatal(err)
		}
		if c := must(imp(t, s, "words", data.Text, "c", data.Options{})); c.Number != 3 {
			t.Errorf("a number was used again: %d", c.Number)
		}
		sets := must(s.Sets(ctx, project, page.All))
		if len(sets) != 1 || sets[0].Versions != 2 || sets[0].Latest.Number != 3 {
			t.Errorf("sets: %+v", sets)
		}
		if vs := must(s.Versions(ctx, project, "words", page.All)); len(vs) != 2 || vs[0].Number != 3 || vs[1].Number != 1 {
			t.Errorf("versions: %+v", vs)
		}
		refs := 0
		if err := s.Refs(ctx, func(blob.Ref) bool { refs++; return true }); err != nil || refs != 2 {
			t.Errorf("%d refs, %v", refs, err)
		}
	})
}

func TestConcurrentImportsMakeOneVersionEach(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s := service(t, db.Data())
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				if _, err := imp(t, s, "x", data.Text, fmt.Sprint("text ", i%4), data.Options{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		vs := must(s.Versions(t.Context(), project, "x", page.All))
		if len(vs) != 4 || vs[0].Number != 4 || vs[3].Number != 1 {
			t.Fatalf("%d versions: %+v", len(vs), vs)
		}
	})
}

func TestAVersionInUseStays(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		s := service(t, db.Data())
		v := must(imp(t, s, "x", data.Text, "a", data.Options{}))
		r := train.Run{ID: "run_1", Project: project, DataVersion: v.ID, State: train.Queued, CreatedAt: time.Now()}
		if err := db.Runs().Create(ctx, r); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(ctx, project, v.ID); !fault.Is(err, fault.Conflict) {
			t.Fatalf("removed under a run: %v", err)
		}
		r.State = train.Failed
		must(db.Runs().Update(ctx, r))
		if err := s.Remove(ctx, project, v.ID); err != nil {
			t.Fatal(err)
		}
		r.ID = "run_2"
		if err := db.Runs().Create(ctx, r); !fault.Is(err, fault.NotFound) {
			t.Fatalf("a run on a removed version: %v", err)
		}
	})
}

// TestARemovedVersionStaysInTheLineage removes what an ended run used, and what none used.
func TestARemovedVersionStaysInTheLineage(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		s := service(t, db.Data())
		used := must(imp(t, s, "x", data.JSONL, "broken\n{\"text\":\"a\"}\n", data.Options{SkipBad: true}))
		other := must(imp(t, s, "x", data.Text, "b", data.Options{}))
		r := train.Run{ID: "run_1", Project: project, DataVersion: used.ID, State: train.Failed, CreatedAt: time.Now()}
		must(0, db.Runs().Create(ctx, r))
		for _, v := range []data.Version{used, other} {
			must(0, s.Remove(ctx, project, v.ID))
			if err := s.Remove(ctx, project, v.ID); !fault.Is(err, fault.NotFound) {
				t.Errorf("removed twice: %v", err)
			}
			if _, _, err := s.Open(ctx, project, v.ID); !fault.Is(err, fault.NotFound) {
				t.Errorf("the records can still be read: %v", err)
			}
		}
		if _, err := s.Get(ctx, project, other.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("what no run used is still known: %v", err)
		}
		want := used
		want.BadLines = nil
		for _, name := range []string{used.ID, "x@1"} {
			got := must(s.Get(ctx, project, name))
			if got.RemovedAt.IsZero() || fault.As(got.Present()).Code != "removed" {
				t.Errorf("%s: %+v", name, got)
			}
			got.RemovedAt = time.Time{}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if _, err := s.Get(ctx, project, "x"); !fault.Is(err, fault.NotFound) {
			t.Errorf("the newest version is a removed one: %v", err)
		}
		if sets := must(s.Sets(ctx, project, page.All)); len(sets) != 0 {
			t.Errorf("removed versions are listed: %+v", sets)
		}
		must(0, s.Refs(ctx, func(blob.Ref) bool { t.Error("a removed version keeps its records"); return false }))
		again := must(imp(t, s, "x", data.Text, "a", data.Options{})) // another format is another version
		if again.Number != 3 || again.Ref != used.Ref {
			t.Errorf("%+v", again)
		}
		back := must(imp(t, s, "x", data.JSONL, "{\"text\":\"a\"}\n", data.Options{}))
		if back.ID != used.ID || !back.RemovedAt.IsZero() || must(s.Get(ctx, project, used.ID)).Present() != nil {
			t.Errorf("imported again: %+v", back)
		}
		if sets := must(s.Sets(ctx, project, page.All)); len(sets) != 1 || sets[0].Versions != 2 || sets[0].Latest.ID != again.ID {
			t.Errorf("%+v", sets)
		}
	})
}

// What Import stores reads back as the records that went in, whatever they hold, and importing the stored form again
// stores the same bytes.
func TestRecordsSurviveImport(t *testing.T) {
	s := service(t, newMemory())
	s.Blobs = &memoryBlobs{}
	rapid.Check(t, func(rt *rapid.T) {
		texts := rapid.SliceOfN(rapid.String().Filter(func(s string) bool { return utf8.ValidString(s) && strings.TrimSpace(s) != "" }), 1, 8).Draw(rt, "texts")
		var in bytes.Buffer
		for _, x := range texts {
			in.Write(must(json.Marshal(map[string]any{"text": x, "n": 1})))
			in.WriteByte('\n')
		}
		v, err := s.Import(context.Background(), project, "x", data.JSONL, bytes.NewReader(in.Bytes()), data.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		_, r, err := s.Open(context.Background(), project, v.ID)
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		var text bytes.Buffer
		var got []string
		for rec, err := range data.Records(io.TeeReader(r, &text)) {
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, rec.Text)
		}
		if d := cmp.Diff(texts, got); d != "" {
			rt.Fatal(d)
		}
		again, err := s.Import(context.Background(), project, "x", data.JSONL, &text, data.Options{})
		if err != nil || again.ID != v.ID {
			rt.Fatalf("imported again: %v %v", again.ID, err)
		}
	})
}

// Documents of plain text, joined by blank lines, are the file's lines in order, each at most as long as asked.
func TestTextIsCutAtLineEnds(t *testing.T) {
	s := service(t, newMemory())
	s.Blobs = &memoryBlobs{}
	s.Limits.Record = 20
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[a-z ]{0,12}`), 1, 30).Draw(rt, "lines")
		file := strings.Join(lines, "\n")
		var want []string
		for _, l := range lines {
			if strings.TrimSpace(l) != "" {
				want = append(want, l)
			}
		}
		v, err := s.Import(context.Background(), project, "x", data.Text, strings.NewReader(file), data.Options{})
		if len(want) == 0 {
			if err == nil {
				rt.Fatal("a file without a record was imported")
			}
			return
		}
		if err != nil {
			rt.Fatal(err)
		}
		_, r, err := s.Open(context.Background(), project, v.ID)
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		var got []string
		for rec, err := range data.Records(r) {
			if err != nil {
				rt.Fatal(err)
			}
			if len(rec.Text) > 20 {
				rt.Fatalf("a document of %d bytes", len(rec.Text))
			}
			got = append(got, strings.Split(rec.Text, "\n")...)
		}
		if d := cmp.Diff(want, got); d != "" {
			rt.Fatal(d)
		}
	})
}

// A file of any size takes constant memory: near the end of a made-up one no more is held than at its start.
func TestMemoryIsConstant(t *testing.T) {
	s := service(t, newMemory())
	const line = `{"text":"the same line over and over again, as long as it takes to see that nothing piles up"}` + "\n"
	const size = len(line) * 100_000
	var held [2]uint64
	watch := func(i int) io.Reader {
		return readerFunc(func([]byte) (int, error) {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			held[i] = m.HeapAlloc
			return 0, io.EOF
		})
	}
	e := &endless{text: line}
	r := io.MultiReader(io.LimitReader(e, int64(size/100)), watch(0), io.LimitReader(e, int64(size)), watch(1), io.LimitReader(e, int64(size/100)))
	if _, err := s.Import(t.Context(), project, "x", data.JSONL, r, data.Options{}); err != nil {
		t.Fatal(err)
	}
	if grown := int64(held[1]) - int64(held[0]); grown > int64(size/10) {
		t.Errorf("%d bytes more are held after %d", grown, size)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], e.text[e.at:])
		n += c
		e.at = (e.at + c) % len(e.text)
	}
	return n, nil
}

func FuzzImport(f *testing.F) {
	f.Add([]byte("{\"text\":\"a\"}\n"), uint8(1))
	f.Add([]byte("a\n\nb\r\n\xff"), uint8(0))
	f.Add([]byte(`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`), uint8(2))
	f.Add([]byte(`{"messages":[{"role":"user","content":[]}]}`), uint8(2))
	f.Add([]byte("\xef\xbb\xbf{\"text\":\"\\ud800\"}"), uint8(1))
	formats := []data.Format{data.Text, data.JSONL, data.Chat}
	f.Fuzz(func(t *testing.T, in []byte, which uint8) {
		blobs := &memoryBlobs{}
		s := &data.Service{Store: newMemory(), Blobs: blobs, IDs: id.Default(), Now: time.Now, Limits: data.Limits{Line: 256, Record: 64, Bytes: 4096}}
		v, err := s.Import(t.Context(), project, "x", formats[int(which)%3], bytes.NewReader(in), data.Options{SkipBad: which&4 != 0})
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.TooLarge {
				t.Fatalf("%v: %v", k, err)
			}
			return
		}
		n := int64(0)
		for rec, err := range data.Records(bytes.NewReader(blobs.last)) {
			if err != nil || rec.Text == "" && len(rec.Messages) == 0 {
				t.Fatalf("record %d: %+v %v", n, rec, err)
			}
			n++
		}
		if n != v.Records || int64(len(blobs.last)) != v.Bytes {
			t.Fatalf("%d records of %d, %d bytes of %d", n, v.Records, len(blobs.last), v.Bytes)
		}
	})
}
