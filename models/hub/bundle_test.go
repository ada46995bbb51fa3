package hub

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

func bundleOf(t testing.TB, files map[string][]byte) []byte {
	m := Manifest{Model: "tiny", Number: 3, Origin: "huggingface:org/tiny", Revision: commit, Card: "# tiny", Made: time.Unix(5, 0).UTC()}
	for name, b := range files {
		m.Files = append(m.Files, Entry{Path: name, Size: int64(len(b)), SHA256: shaOf(b)})
	}
	slices.SortFunc(m.Files, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	var w bytes.Buffer
	out, err := NewBundle(&w, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if err := out.Add(f.Path, bytes.NewReader(files[f.Path])); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func TestBundleComesBackAsItWas(t *testing.T) {
	files := map[string][]byte{"config.json": []byte("{}"), "model.safetensors": noise(1, 70000), "empty.txt": {}}
	b := bundleOf(t, files)
	dir := t.TempDir()
	m, err := ReadBundle(t.Context(), bytes.NewReader(b), dir, 1<<20)
	if err != nil || m.Model != "tiny" || m.Number != 3 || m.Revision != commit || m.Bytes() != 70002 || m.Hash() != hashOf(m.Files) {
		t.Fatalf("%v %+v", err, m)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadBundle(t.Context(), bytes.NewReader(b), "", 70001); !fault.Is(err, fault.TooLarge) {
		t.Errorf("%v", err)
	}
}

// TestBrokenBundles cuts a bundle at many places and changes each part of it: it is refused, never taken.
func TestBrokenBundles(t *testing.T) {
	b := bundleOf(t, map[string][]byte{"config.json": []byte("{}"), "model.safetensors": noise(1, 3000)})
	end := len(bytes.TrimRight(b, "\x00"))
	for cut := 0; cut < end; cut += 97 {
		if _, err := ReadBundle(t.Context(), bytes.NewReader(b[:cut]), t.TempDir(), 0); fault.As(err).Code != "bad_bundle" {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	changed := bytes.Clone(b)
	changed[bytes.Index(b, noise(1, 3000))+1500] ^= 1
	if _, err := ReadBundle(t.Context(), bytes.NewReader(changed), "", 0); fault.As(err).Code != "bad_bundle" || !strings.Contains(err.Error(), "model.safetensors") {
		t.Errorf("a changed byte: %v", err)
	}
	entry := func(name string, kind byte, content string) []byte {
		var w bytes.Buffer
		tw := tar.NewWriter(&w)
		tw.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Size: int64(len(content)), Linkname: "/etc/passwd"})
		tw.Write([]byte(content))
		tw.Flush()
		return w.Bytes()
	}
	manifest := func(m Manifest) []byte {
		text, _ := json.Marshal(m)
		return entry(manifestName, tar.TypeReg, string(text))
	}
	good := Manifest{Format: bundleFormat, Model: "m", Files: []Entry{{Path: "a", Size: 1, SHA256: shaOf([]byte("x"))}}}
	with := func(f func(*Manifest)) []byte {
		m := good
		m.Files = slices.Clone(good.Files)
		f(&m)
		return manifest(m)
	}
	file := entry("a", tar.TypeReg, "x")
	for name, parts := range map[string][][]byte{
		"another first entry":    {file},
		"another form":           {with(func(m *Manifest) { m.Format = "other" }), file},
		"a path":                 {with(func(m *Manifest) { m.Files[0].Path = "b/a" }), entry("b/a", tar.TypeReg, "x")},
		"leads out":              {with(func(m *Manifest) { m.Files[0].Path = ".." }), file},
		"no name":                {with(func(m *Manifest) { m.Model = "" }), file},
		"no checksum":            {with(func(m *Manifest) { m.Files[0].SHA256 = "" }), file},
		"a negative size":        {with(func(m *Manifest) { m.Files[0].Size = -1 }), file},
		"two names for one file": {with(func(m *Manifest) { m.Files = append(m.Files, Entry{Path: "A", Size: 1, SHA256: shaOf([]byte("x"))}) }), file, entry("A", tar.TypeReg, "x")},
		"a file more":            {manifest(good), file, entry("b", tar.TypeReg, "y")},
		"a file twice":           {manifest(good), file, file},
		"a file less":            {manifest(good)},
		"a link":                 {manifest(good), entry("a", tar.TypeSymlink, "")},
		"another size":           {manifest(good), entry("a", tar.TypeReg, "xx")},
		"other content":          {manifest(good), entry("a", tar.TypeReg, "y")},
	} {
		text := append(bytes.Join(parts, nil), make([]byte, 1024)...)
		dir := t.TempDir()
		if _, err := ReadBundle(t.Context(), bytes.NewReader(text), dir, 0); err == nil || fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadBundle(t.Context(), bytes.NewReader(append(slices.Concat(manifest(good), file), make([]byte, 1024)...)), t.TempDir(), 0); err != nil {
		t.Errorf("the good one of these: %v", err)
	}
}

func TestBundleOfWrongFilesIsNotWritten(t *testing.T) {
	m := Manifest{Model: "m", Files: []Entry{{Path: "a", Size: 1, SHA256: shaOf([]byte("x"))}, {Path: "b", Size: 1, SHA256: shaOf([]byte("y"))}}}
	w, err := NewBundle(&bytes.Buffer{}, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add("b", strings.NewReader("y")); err == nil {
		t.Error("another order is taken")
	}
	if err := w.Add("a", strings.NewReader("z")); fault.As(err).Code != "bad_bundle" {
		t.Errorf("other content: %v", err)
	}
	if w.Close() == nil {
		t.Error("it is whole without a file")
	}
}

func FuzzReadBundle(f *testing.F) {
	f.Add(bundleOf(f, map[string][]byte{"a": []byte("x"), "b": noise(2, 600)}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		m, err := ReadBundle(t.Context(), bytes.NewReader(b), dir, 1<<20)
		if err != nil {
			return
		}
		there, _ := os.ReadDir(dir)
		if len(there) != len(m.Files) {
			t.Fatalf("%d files of %d", len(there), len(m.Files))
		}
		for _, e := range m.Files {
			got, err := os.ReadFile(filepath.Join(dir, e.Path))
			if err != nil || shaOf(got) != e.SHA256 {
				t.Fatalf("%s: %v", e.Path, err)
			}
		}
	})
}
