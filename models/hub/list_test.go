package hub

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

func entries(names ...string) (out []Entry) {
	for _, n := range names {
		out = append(out, Entry{Path: n, Size: 10})
	}
	return out
}

func TestChoose(t *testing.T) {
	both := entries("README.md", "config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
		"model.safetensors.index.json", "pytorch_model.bin", "consolidated.safetensors", "original/consolidated.00.pth", "onnx/model.onnx", ".gitattributes", "flax_model.msgpack")
	ggufs := entries("README.md", "config.json", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "mmproj-m-f16.gguf", "m-IQ4_XS.gguf")
	for name, c := range map[string]struct {
		files []Entry
		spec  Spec
		want  string // or the fault's code
	}{
		"safetensors over all else": {both, Spec{}, "README.md config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json tokenizer.json"},
		"included only":             {both, Spec{Include: []string{"*.bin", "config.json"}}, "config.json pytorch_model.bin"},
		"included folder":           {both, Spec{Include: []string{"original/*"}}, "original/consolidated.00.pth"},
		"excluded":                  {both, Spec{Exclude: []string{"*.md", "model-*"}}, "config.json model.safetensors.index.json tokenizer.json"},
		"one quantisation":          {ggufs, Spec{File: "Q4_K_M"}, "README.md config.json m-Q4_K_M.gguf"},
		"in small letters":          {ggufs, Spec{File: "q4_k_s"}, "README.md config.json m-Q4_K_S.gguf"},
		"split":                     {ggufs, Spec{File: "Q8_0"}, "README.md config.json m-Q8_0-00001-of-00002.gguf m-Q8_0-00002-of-00002.gguf"},
		"by its name":               {ggufs, Spec{File: "m-IQ4_XS.gguf"}, "README.md config.json m-IQ4_XS.gguf"},
		"by a pattern":              {ggufs, Spec{File: "*IQ4*"}, "README.md config.json m-IQ4_XS.gguf"},
		"no part of a word":         {ggufs, Spec{File: "Q4_K"}, "several_files"},
		"none said":                 {ggufs, Spec{}, "several_files"},
		"the only one":              {entries("a/x-Q4_0.gguf"), Spec{}, "a/x-Q4_0.gguf"},
		"pickled":                   {entries("config.json", "pytorch_model.bin"), Spec{}, "pickled"},
		"no weights":                {entries("config.json"), Spec{}, "no_weights"},
		"nothing wanted":            {both, Spec{Include: []string{"nothing"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Choose(c.files, c.spec)
			if err != nil {
				if f := fault.As(err); f.Code != c.want {
					t.Fatalf("%v", err)
				}
				return
			}
			var names []string
			for _, f := range got {
				names = append(names, f.Path)
			}
			slices.Sort(names)
			if s := strings.Join(names, " "); s != c.want {
				t.Errorf("%s\nwant %s", s, c.want)
			}
		})
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	for _, p := range []string{"../x", "/etc/passwd", "a/../../x", `a\b`, "C:/x", "c:x", "a\x00b", "a/..", "..", `\\server\share`} {
		if !leaves(p) {
			t.Errorf("%q does not lead out of its folder", p)
		}
		b, _ := json.Marshal(map[string]any{"sha": commit, "siblings": []any{map[string]any{"rfilename": p, "size": 1}}})
		if _, err := HuggingFace.ParseList(b); fault.As(err).Code != "hostile_list" {
			t.Errorf("a list with %q: %v", p, err)
		}
		b, _ = json.Marshal(map[string]any{"Code": 200, "Data": map[string]any{"Files": []any{map[string]any{"Path": p, "Type": "blob", "Size": 1}}}})
		if _, err := ModelScope.ParseList(b); fault.As(err).Code != "hostile_list" {
			t.Errorf("a list with %q: %v", p, err)
		}
	}
	for _, p := range []string{"", ".", "a//b", "a/", "a/./b", "con", "CON.json", "a/Nul.txt", "lpt1", "a.", "a ", " a", "a/b./c", "a:b", "what?.json", "a\nb", "\xff", strings.Repeat("a", 300), strings.Repeat("a/", 300) + "a"} {
		if err := checkPath(p); fault.As(err).Code != "hostile_list" {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"config.json", "1_Pooling/config.json", "console.txt", "模型.safetensors", "a b.json", "model-00001-of-00002.safetensors"} {
		if err := checkPath(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, names := range [][]string{{"a.json", "A.json"}, {"é.json", "e\u0301.json"}, {"ß", "SS"}, {"a", "a/b"}, {"A", "a/b/c"}, {"a", "a"}} {
		if err := checkPaths(entries(names...)); fault.As(err).Code != "hostile_list" {
			t.Errorf("%q: %v", names, err)
		}
	}
}

func TestSpecs(t *testing.T) {
	for _, s := range []Spec{{Repo: "x"}, {Repo: "a/b/c"}, {Repo: "../b"}, {Repo: "a/.."}, {Repo: "a/b?x"}, {Repo: "a/b", Revision: "../x"}, {Repo: "a/b", Revision: "x y"},
		{Repo: "a/b", Source: "ollama"}, {Repo: "a/b", Include: []string{"["}}, {Repo: "a/b", Exclude: []string{""}}} {
		if err := s.Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	a, b := Spec{Repo: "a/b"}, Spec{Repo: "a/b", Revision: "main", Mirrors: []Mirror{{URL: "https://x.example"}}}
	if a.Check() != nil || b.Check() != nil || a.Key() != b.Key() {
		t.Error("the same files from elsewhere are another pull")
	}
	for _, m := range []Mirror{{URL: "http://127.0.0.1"}, {URL: "ftp://x"}, {URL: "https://10.0.0.1"}, {URL: "http://x.example"}} {
		if _, err := (Spec{Mirrors: []Mirror{m}}).sources(); err == nil {
			t.Errorf("%v is taken", m)
		}
	}
}

func TestAddresses(t *testing.T) {
	base := parse(t, "https://hub.example/base")
	for want, got := range map[string]string{
		"https://hub.example/base/api/models/a/b/revision/refs%2Fpr%2F1?blobs=true":               Spec{Source: HuggingFace, Repo: "a/b", Revision: "refs/pr/1"}.listURL(base).String(),
		"https://hub.example/base/a/b/resolve/main/x%20y/z%23.json":                               Spec{Source: HuggingFace, Repo: "a/b"}.fileURL(base, "main", "x y/z#.json").String(),
		"https://hub.example/base/api/v1/models/a/b/repo/files?Recursive=True&Revision=master":    Spec{Source: ModelScope, Repo: "a/b", Revision: "master"}.listURL(base).String(),
		"https://hub.example/base/api/v1/models/a/b/repo?FilePath=x%2Fy%26z.json&Revision=master": Spec{Source: ModelScope, Repo: "a/b"}.fileURL(base, "master", "x/y&z.json").String(),
	} {
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestRestOf(t *testing.T) {
	c, k := client()
	for _, x := range []struct {
		head, value string
		want        time.Duration
	}{
		{"Retry-After", "12", 12 * time.Second}, {"Retry-After", k.now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{"Retry-After", k.now.Add(-time.Hour).Format(http.TimeFormat), 0}, {"Retry-After", "-5", 0}, {"Retry-After", "soon", 0},
		{"RateLimit", `"api";r=0;t=55`, 55 * time.Second}, {"RateLimit", `"api";r=489;t=189`, 0}, {"RateLimit", `;;;`, 0}, {"X", "", 0},
	} {
		if got := c.restOf(http.Header{http.CanonicalHeaderKey(x.head): {x.value}}); got != x.want {
			t.Errorf("%s: %s is a rest of %s", x.head, x.value, got)
		}
	}
}

// TestJournalIsReadAsFarAsItIsWhole cuts a journal everywhere: what is read are whole lines, and what is not there is missing.
func TestJournalIsReadAsFarAsItIsWhole(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	b, err := openBlocks(root, "x", 10, 4)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []string{"abcd", "efgh", "ij"} {
		if _, err := b.put(i, []byte(s), "0123456789abcdef"); err != nil {
			t.Fatal(err)
		}
	}
	b.drop([]int{1})
	b.close()
	whole, _ := os.ReadFile(filepath.Join(dir, "x.journal"))
	ends := map[int]int{} // of whole lines, and how many blocks are there after each
	n := -1
	for i, c := range whole {
		if c == '\n' {
			n++
			ends[i+1] = []int{0, 1, 2, 3, 2}[n]
		}
	}
	want := 0
	for cut := range len(whole) + 1 {
		if k, ok := ends[cut]; ok {
			want = k
		}
		for _, tail := range []string{"", "\x00\x00\x00", "+ 9 zz\n"} {
			os.WriteFile(filepath.Join(dir, "x.journal"), append(slices.Clone(whole[:cut]), tail...), 0o600)
			b, err := openBlocks(root, "x", 10, 4)
			if err != nil {
				t.Fatal(err)
			}
			if got := 3 - len(b.missing()); got != want {
				t.Errorf("cut at %d with %q: %d blocks instead of %d", cut, tail, got, want)
			}
			b.close()
		}
	}
	b, err = openBlocks(root, "x", 11, 4) // another size
	if err != nil || len(b.missing()) != 3 {
		t.Errorf("%v %v", err, b.missing())
	}
	b.close()
}

func FuzzParseList(f *testing.F) {
	h := &hubServer{files: tiny()}
	f.Add(false, h.listHF())
	f.Add(true, h.listMS())
	f.Add(false, []byte(`{"sha":"x","siblings":[{"rfilename":"../a","size":-5,"lfs":{"sha256":"zz"}}]}`))
	f.Add(false, []byte(`{"siblings":[{"rfilename":"a","size":1e300}]}`))
	f.Add(true, []byte(`{"Code":404,"Success":false,"Message":"no","Data":null}`))
	f.Add(true, []byte(`{"Code":200,"Data":{"Files":[{"Path":"A"},{"Path":"a"},{"Path":"a/b","Size":9223372036854775807}]}}`))
	f.Fuzz(func(t *testing.T, scope bool, b []byte) {
		source := HuggingFace
		if scope {
			source = ModelScope
		}
		l, err := source.ParseList(b)
		if err != nil {
			if fault.KindOf(err) == fault.Internal || len(fault.As(err).Sentence()) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, e := range l.Files {
			if e.Size < -1 || leaves(e.Path) || e.SHA256 != "" && !hexDigits(e.SHA256, 64) {
				t.Fatalf("%+v", e)
			}
		}
		chosen, err := Choose(l.Files, Spec{Include: []string{"*"}})
		if err != nil {
			return
		}
		dir := t.TempDir()
		for _, e := range chosen {
			at := filepath.Join(dir, filepath.FromSlash(e.Path))
			if rel, err := filepath.Rel(dir, at); err != nil || strings.HasPrefix(rel, "..") || !filepath.IsLocal(rel) {
				t.Fatalf("%q is at %s", e.Path, at)
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("triarch blocks 1 10 4\n+ 0 00112233445566778899aabbccddeeff 0123456789abcdef\n- 0\n"))
	f.Add([]byte("triarch blocks 1 10 4\n+ 99999999999999999999 0 0\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.journal"), log, 0o600); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		b, err := openBlocks(root, "x", 10, 4)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		for i := range b.have {
			b.older("0123456789abcdef")
			if b.have[i] && len(b.tags[i]) != 16 {
				t.Fatal("a tag of another length")
			}
		}
	})
}
