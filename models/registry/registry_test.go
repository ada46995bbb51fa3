package registry_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

const project = "prj_a"

// codec takes every folder with a config.
type codec struct{}

func (codec) Inspect(_ context.Context, dir string) (registry.Shape, error) {
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return registry.Shape{}, fault.New(fault.Invalid, "The folder holds no model.")
	}
	return registry.Shape{Arch: "llama", Params: 1234567, Vocab: 300, Context: 64, DType: "f32", Chat: true}, nil
}

func (codec) GGUF(_ context.Context, dir string) (registry.GGUFFile, error) {
	b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	return ggufFile(append([]byte("GGUF"), b...)), err
}

type ggufFile []byte

func (f ggufFile) Size() int64  { return int64(len(f)) }
func (f ggufFile) Close() error { return nil }
func (f ggufFile) Write(w io.Writer) error {
	_, err := w.Write(f)
	return err
}

// copying is a blob store that keeps no local files, as a remote one.
type copying struct{ blob.Store }

func service(t testing.TB, db *sql.DB) *registry.Service {
	t.Helper()
	dir := t.TempDir()
	blobs, err := file.Open(filepath.Join(dir, "blobs"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s := &registry.Service{Blobs: blobs, Codec: codec{}, Dir: filepath.Join(dir, "models"), IDs: id.Default(), Now: time.Now}
	if db != nil {
		s.Store = db.Registry()
	}
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// folder is a model folder with some files that are no part of a model.
func folder(t testing.TB, weights string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"config.json": "{}", "model.safetensors": weights, "tokenizer.json": "tok",
		"pytorch_model.bin": "pickle", "modeling.py": "code", ".hidden.safetensors": "x"} {
		must(0, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	must(0, os.Symlink("/etc/passwd", filepath.Join(dir, "README.md")))
	must(0, os.Mkdir(filepath.Join(dir, "sub.safetensors"), 0o700))
	return dir
}

func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, e := range must(os.ReadDir(dir)) {
		out[e.Name()] = string(must(os.ReadFile(filepath.Join(dir, e.Name()))))
	}
	return out
}

func files(weights string) map[string]string {
	return map[string]string{"config.json": "{}", "model.safetensors": weights, "tokenizer.json": "tok"}
}

func TestVersionsOfAModel(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, s := t.Context(), service(t, db)
		var curve []registry.Point
		for i := range 2000 {
			curve = append(curve, registry.Point{Step: i + 1, Loss: 1 / float64(i+1), LR: 1e-3})
		}
		a, err := s.AddDir(ctx, project, folder(t, "w1"), registry.NewVersion{Model: "m", LossCurve: curve, CreatedBy: "key_1",
			Metrics: map[string]float64{"loss": 0.25, "bad": math.NaN()}, Lineage: registry.Lineage{RunID: "run_1", DataVersion: "dv_1", Recipe: []byte(`{"lr":1}`), Source: "run"}})
		if err != nil {
			t.Fatal(err)
		}
		again := must(s.AddDir(ctx, project, "/nowhere", registry.NewVersion{Model: "m", Lineage: registry.Lineage{RunID: "run_1"}}))
		b := must(s.ImportDir(ctx, project, folder(t, "w2"), registry.NewVersion{Model: "m"}))
		if again.ID != a.ID || a.Number != 1 || b.Number != 2 || b.ModelID != a.ModelID || b.Lineage.Source != "import" {
			t.Fatalf("%+v\n%+v", a, b)
		}
		got := must(s.Get(ctx, project, "m@1"))
		if got.Shape.Params != 1234567 || got.Metrics["loss"] != 0.25 || len(got.LossCurve) != registry.CurvePoints || got.LossCurve[0].Step != 1 ||
			got.LossCurve[registry.CurvePoints-1].Step != 2000 || string(got.Lineage.Recipe) != `{"lr":1}` || got.Bytes() != 7 {
			t.Errorf("%+v", got)
		}
		for _, part := range []string{"1,234,567", "run_1", "dv_1", "loss | 0.25"} {
			if !strings.Contains(got.Card, part) {
				t.Errorf("the card does not say %q:\n%s", part, got.Card)
			}
		}
		if names := slices.Sorted(maps.Keys(got.Files)); !cmp.Equal(names, []string{"config.json", "model.safetensors", "tokenizer.json"}) {
			t.Errorf("files: %v", names)
		}
		if v := must(s.Get(ctx, project, "m")); v.ID != b.ID {
			t.Errorf("the newest is %s", v.ID)
		}
		for _, p := range []string{a.ID, "m", "m@2"} {
			if _, err := s.Get(ctx, "prj_b", p); !fault.Is(err, fault.NotFound) {
				t.Errorf("another project sees %s: %v", p, err)
			}
		}
		ms := must(s.Models(ctx, project, page.All))
		if len(ms) != 1 || ms[0].Versions != 2 || ms[0].Latest != 2 {
			t.Errorf("models: %+v", ms)
		}
		if vs := must(s.Versions(ctx, project, "m", page.All)); len(vs) != 2 || vs[0].Number != 2 || vs[1].LossCurve != nil {
			t.Errorf("versions: %+v", vs)
		}
		refs := map[blob.Ref]bool{}
		must(0, s.Refs(ctx, func(r blob.Ref) bool { refs[r] = true; return true }))
		if len(refs) != 4 { // config and tokenizer are the same in both
			t.Errorf("%d refs", len(refs))
		}
	})
}

func TestOneVersionARun(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s, dir := service(t, db), folder(t, "w")
		var wg sync.WaitGroup
		ids := make([]string, 8)
		for i := range ids {
			wg.Go(func() {
				v, err := s.AddDir(t.Context(), project, dir, registry.NewVersion{Model: "m", Lineage: registry.Lineage{RunID: fmt.Sprint("run_", i%2)}})
				if err != nil {
					t.Error(err)
				}
				ids[i] = v.ID
			})
		}
		wg.Wait()
		vs := must(s.Versions(t.Context(), project, "m", page.All))
		if len(vs) != 2 || ids[0] != ids[2] || ids[1] != ids[3] || ids[0] == ids[1] {
			t.Fatalf("%d versions, ids %v", len(vs), ids)
		}
	})
}

func TestAVersionInUseStays(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx, s := t.Context(), service(t, db)
		v := must(s.ImportDir(ctx, project, folder(t, "w"), registry.NewVersion{Model: "m"}))
		d := serve.Deployment{ID: "dep_1", Project: project, Name: "d", ModelVersion: v.ID, Replicas: 1, State: serve.Pending}
		must(0, db.Serve().AddDeployment(ctx, d, nil))
		if err := s.Remove(ctx, project, v.ID); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "deployment d") {
			t.Fatalf("removed while deployed: %v", err)
		}
		must(0, db.Serve().BeginRemove(ctx, project, "dep_1"))
		must(0, db.Serve().DeleteDeployment(ctx, "dep_1"))
		if _, err := db.Data().Sets(ctx, project, page.All); err != nil {
			t.Fatal(err)
		}
		dir := must(s.Materialise(ctx, v))
		half := filepath.Join(s.Dir, ".tmp-import-1")
		must(0, os.Mkdir(half, 0o700))
		must(0, s.Sweep(ctx))
		for _, dir := range []string{dir, half} {
			if _, err := os.Stat(dir); err != nil {
				t.Fatalf("what is alive was swept: %v", err)
			}
		}
		s.Now = func() time.Time { return time.Now().Add(25 * time.Hour) }
		must(0, s.Sweep(ctx))
		if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("what a killed process left stays: %v", err)
		}
		if err := s.Remove(ctx, project, "m@1"); err != nil {
			t.Fatal(err)
		}
		must(0, s.Sweep(ctx))
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the folder of a removed version stays: %v", err)
		}
		if err := db.Serve().AddDeployment(ctx, d, nil); !fault.Is(err, fault.NotFound) {
			t.Fatalf("deployed a removed version: %v", err)
		}
		if err := db.Runs().Create(ctx, train.Run{ID: "run_9", Project: project, Base: v.ID}); !fault.Is(err, fault.NotFound) {
			t.Fatalf("trains from a removed version: %v", err)
		}
	})
}

func TestMaterialise(t *testing.T) {
	s := service(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx := t.Context()
	v := must(s.ImportDir(ctx, project, folder(t, "weights"), registry.NewVersion{Model: "m"}))
	local := s.Blobs
	for _, store := range []blob.Store{local, copying{local}} {
		s.Blobs = store
		must(0, os.RemoveAll(s.Dir))
		dir := must(s.Materialise(ctx, v))
		if d := cmp.Diff(files("weights"), read(t, dir)); d != "" {
			t.Error(d)
		}
		before := must(os.Stat(dir))
		if again := must(s.Materialise(ctx, v)); again != dir || !os.SameFile(before, must(os.Stat(dir))) {
			t.Error("a whole folder was made again")
		}
		must(0, os.Remove(filepath.Join(dir, "config.json")))
		must(s.Materialise(ctx, v))
		if d := cmp.Diff(files("weights"), read(t, dir)); d != "" {
			t.Errorf("a damaged folder was kept: %s", d)
		}
		if entries := must(os.ReadDir(s.Dir)); len(entries) != 1 {
			t.Errorf("left behind: %v", entries)
		}
	}
	// A damaged blob never becomes a folder.
	s.Blobs = local
	must(0, os.RemoveAll(s.Dir))
	path := must(local.(blob.Pather).Path(v.Files["model.safetensors"].Ref))
	must(0, os.Chmod(path, 0o600))
	must(0, os.WriteFile(path, []byte("Weights"), 0o600))
	if dir, err := s.Materialise(ctx, v); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%s: %v", dir, err)
	}
	if entries := must(os.ReadDir(s.Dir)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestExportAndImportAgain(t *testing.T) {
	s := service(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx := t.Context()
	v := must(s.ImportDir(ctx, project, folder(t, "weights"), registry.NewVersion{Model: "m"}))
	want := files("weights")
	want["README.md"] = v.Card

	dir := filepath.Join(t.TempDir(), "out")
	must(s.Export(ctx, project, "m", registry.HF, dir))
	if d := cmp.Diff(want, read(t, dir)); d != "" {
		t.Error(d)
	}
	if _, err := s.Export(ctx, project, "m", registry.HF, dir); !fault.Is(err, fault.Conflict) {
		t.Errorf("wrote over a folder: %v", err)
	}
	var hf, gguf bytes.Buffer
	must(0, s.ExportTar(ctx, project, "m", registry.HF, &hf))
	if d := cmp.Diff(want, untar(t, hf.Bytes())); d != "" {
		t.Error(d)
	}
	must(0, s.ExportTar(ctx, project, "m", registry.GGUF, &gguf))
	if d := cmp.Diff(map[string]string{"model.gguf": "GGUFweights", "README.md": v.Card}, untar(t, gguf.Bytes())); d != "" {
		t.Error(d)
	}
	back := must(s.ImportTar(ctx, project, &hf, registry.NewVersion{Model: "again"}))
	if back.Files["model.safetensors"] != v.Files["model.safetensors"] || back.Number != 1 || back.Model != "again" {
		t.Errorf("imported again: %+v", back)
	}
	if err := s.ExportTar(ctx, "prj_b", "m", registry.HF, io.Discard); !fault.Is(err, fault.NotFound) {
		t.Errorf("another project exports it: %v", err)
	}
	if entries := must(os.ReadDir(s.Dir)); len(entries) != 1 || entries[0].Name() != v.ID {
		t.Errorf("left behind: %v", entries)
	}
}

func untar(t *testing.T, b []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(must(io.ReadAll(tr)))
	}
}

// entry is one entry of a hostile archive.
type entry struct {
	name string
	kind byte
	link string
	text string
}

func archive(entries ...entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		must(0, w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.text)), Mode: 0o777}))
		must(w.Write([]byte(e.text)))
	}
	must(0, w.Close())
	return b.Bytes()
}

// sparse is a tar of a few blocks that says it holds a file of a great many zeros.
func sparse(name string, size int64) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	digits := fmt.Sprint(size)
	pax := ""
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, "GNU.sparse.realsize=" + digits} {
		n := len(kv) + 4 // two digits, a space, a newline
		pax += fmt.Sprintf("%d %s\n", n, kv)
	}
	holes := make([]byte, 512)
	copy(holes, "1\n"+digits+"\n0\n")
	for _, e := range []struct {
		kind byte
		text []byte
	}{{tar.TypeXHeader, []byte(pax)}, {tar.TypeReg, holes}} {
		h := make([]byte, 512)
		copy(h, "x")
		copy(h[100:], "0000600\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00        ", len(e.text), 0))
		h[156] = e.kind
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(h)
		b.Write(e.text)
		b.Write(make([]byte, (512-len(e.text)%512)%512))
	}
	must(0, w.Close())
	return b.Bytes()
}

func TestHostileArchivesAreRefused(t *testing.T) {
	s := service(t, sqltest.Open(t, sqltest.SQLite(t)))
	s.MaxImport = 1000
	ok := entry{name: "config.json", text: "{}"}
	weights := entry{name: "model.safetensors", text: "w"}
	for name, c := range map[string]struct {
		tar  []byte
		kind fault.Kind
	}{
		"up":             {archive(ok, entry{name: "../model.safetensors", text: "x"}), fault.Invalid},
		"up inside":      {archive(ok, entry{name: "a/../../model.safetensors", text: "x"}), fault.Invalid},
		"absolute":       {archive(ok, entry{name: "/tmp/model.safetensors", text: "x"}), fault.Invalid},
		"backslash":      {archive(ok, entry{name: "..\\model.safetensors", text: "x"}), fault.Invalid},
		"symbolic link":  {archive(ok, entry{name: "model.safetensors", kind: tar.TypeSymlink, link: "/etc/passwd"}), fault.Invalid},
		"hard link":      {archive(ok, entry{name: "model.safetensors", kind: tar.TypeLink, link: "config.json"}), fault.Invalid},
		"device":         {archive(ok, entry{name: "model.safetensors", kind: tar.TypeChar}), fault.Invalid},
		"pipe":           {archive(ok, entry{name: "model.safetensors", kind: tar.TypeFifo}), fault.Invalid},
		"twice":          {archive(ok, ok), fault.Invalid},
		"two folders":    {archive(entry{name: "a/config.json", text: "{}"}, entry{name: "b/config.json", text: "{}"}), fault.Invalid},
		"too large":      {archive(ok, entry{name: "model.safetensors", text: strings.Repeat("x", 1000)}), fault.TooLarge},
		"sparse":         {sparse("model.safetensors", 900), fault.Invalid},
		"cut":            {archive(ok, weights)[:700], fault.Invalid},
		"no tar":         {[]byte(strings.Repeat("not a tar ", 200)), fault.Invalid},
		"no model in it": {archive(weights), fault.Invalid},
	} {
		if v, err := s.ImportTar(t.Context(), project, bytes.NewReader(c.tar), registry.NewVersion{Model: "m"}); !fault.Is(err, c.kind) || name == "sparse" && fault.As(err).Code != "hostile_archive" {
			t.Errorf("%s: %v %v", name, v.ID, err)
		}
		if name == "sparse" && must(tar.NewReader(bytes.NewReader(c.tar)).Next()).Size != 900 {
			t.Error("the sparse archive is none: the case says nothing")
		}
		if entries := must(os.ReadDir(s.Dir)); len(entries) != 0 {
			t.Errorf("%s left %v", name, entries)
		}
	}
	good := archive(entry{name: "./", kind: tar.TypeDir}, entry{name: "./config.json", text: "{}"}, entry{name: "./model.safetensors", text: "w"},
		entry{name: "./pytorch_model.bin", text: "x"}, entry{name: "./onnx/model.safetensors", text: "y"})
	_, err := s.ImportTar(t.Context(), project, bytes.NewReader(good), registry.NewVersion{Model: "m"})
	if err == nil || !strings.Contains(err.Error(), "another folder") {
		t.Errorf("weights in a second folder: %v", err)
	}
	nested := archive(entry{name: "m", kind: tar.TypeDir}, entry{name: "m/config.json", text: "{}"}, entry{name: "m/x.py", text: "y"}, entry{name: "m/model.safetensors", text: "w"})
	v, err := s.ImportTar(t.Context(), project, bytes.NewReader(nested), registry.NewVersion{Model: "m"})
	if err != nil || len(v.Files) != 2 {
		t.Errorf("a model in one folder: %v %v", v.Files, err)
	}
}

// Whatever an archive is called inside, nothing lands outside the folder it is unpacked to.
func TestNoNameLeadsOut(t *testing.T) {
	s := service(t, nil)
	s.Store = nothing{}
	parent := filepath.Dir(s.Dir)
	part := rapid.SampledFrom([]string{"..", ".", "", "a", "config.json", "model.safetensors", "...", "a\\..", " "})
	rapid.Check(t, func(rt *rapid.T) {
		name := strings.Join(rapid.SliceOfN(part, 1, 5).Draw(rt, "name"), "/")
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, n := range []string{"config.json", name} {
			if w.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeReg, Size: 1, Mode: 0o600}) == nil {
				must(w.Write([]byte("x")))
			}
		}
		_ = w.Close()
		_, _ = s.ImportTar(context.Background(), project, &b, registry.NewVersion{Model: "m"})
		for _, dir := range []string{parent, s.Dir} {
			for _, e := range must(os.ReadDir(dir)) {
				if n := e.Name(); n != "blobs" && n != "models" {
					rt.Fatalf("%q made %s", name, n)
				}
			}
		}
	})
}

// nothing is a store that refuses, for tests that end before it matters.
type nothing struct{ registry.Store }

func (nothing) Add(context.Context, registry.Model, registry.Version) (registry.Version, error) {
	return registry.Version{}, fault.New(fault.Unavailable, "no store")
}

// slowCodec counts who reads a folder at once.
type slowCodec struct {
	codec
	now, most atomic.Int64
}

func (c *slowCodec) GGUF(ctx context.Context, dir string) (registry.GGUFFile, error) {
	if n := c.now.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	for range 100 {
		runtime.Gosched()
	}
	defer c.now.Add(-1)
	return c.codec.GGUF(ctx, dir)
}

// Each preparation may take much memory, so they come one after another; a caller who waits can leave.
func TestOneGGUFExportIsPreparedAtATime(t *testing.T) {
	s := service(t, sqltest.Open(t, sqltest.SQLite(t)))
	slow := &slowCodec{}
	s.Codec = slow
	must(s.AddDir(t.Context(), project, folder(t, "weights"), registry.NewVersion{Model: "m"}))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if err := s.ExportTar(t.Context(), project, "m", registry.GGUF, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := slow.most.Load(); n != 1 {
		t.Errorf("%d at once", n)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.ExportTar(gone, project, "m", registry.GGUF, io.Discard); !fault.Is(err, fault.Canceled) {
		t.Errorf("a caller who left: %v", err)
	}
}
