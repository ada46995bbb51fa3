package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

var update = flag.Bool("update", false, "write the documents that hold what commands print")

// run runs a command line without a server and gives what it prints.
func runLine(t testing.TB, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	screen := ui.NewScreen()
	screen.Out, screen.Err = &out, &out
	root := newRoot(screen)
	root.SetArgs(append(args, "--data", filepath.Join(t.TempDir(), "nothing")))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// words splits a command line at spaces outside quotes.
func words(line string) (list []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|\S+`).FindAllStringSubmatch(line, -1) {
		if m[1] != "" {
			m[0] = m[1]
		}
		list = append(list, m[0])
	}
	return list
}

// The tables of docs/estimate.md are what the program prints, in a hundred columns.
func TestEstimateDoc(t *testing.T) {
	const name = "../docs/estimate.md"
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	made := regexp.MustCompile("(?s)```console\n\\$ triarch ([^\n]*)\n.*?```").ReplaceAllStringFunc(string(old), func(block string) string {
		line, _, _ := strings.Cut(strings.TrimPrefix(block, "```console\n$ triarch "), "\n")
		out, err := runLine(t, append(words(line), "--local")...)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		for row := range strings.Lines(out) {
			if row = strings.TrimRight(row, "\n"); ui.Columns(row) > 100 && !strings.Contains(row, "https://") {
				t.Errorf("%s prints %d columns: %s", line, ui.Columns(row), row)
			}
		}
		n++
		return "```console\n$ triarch " + line + "\n" + out + "```"
	})
	if n < 8 {
		t.Errorf("%d commands in %s", n, name)
	}
	if *update {
		if err := os.WriteFile(name, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(strings.Split(string(old), "\n"), strings.Split(made, "\n")); d != "" {
		t.Errorf("%s differs from what the commands print; write it with -update (- is the document)\n%s", name, d)
	}
}

func TestEstimateBadFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for want, args := range map[string][]string{
		"MODEL":                  {},
		"llama-3-70b":            {"llama-3-7b0"},
		"nvidia-h100-sxm":        {"llama-3-8b", "--chips", "nvidia-h100-smx"},
		"NVIDIA":                 {"llama-3-8b", "--make", "nvida"},
		"task":                   {"llama-3-8b", "--task", "sing"},
		"--tokens":               {"llama-3-8b", "--tokens", "many"},
		"--within":               {"llama-3-8b", "--within", "-3d"},
		"--net":                  {"llama-3-8b", "--net", "50"},
		"--link":                 {"llama-3-8b", "--link", "NaN GB/s"},
		"--count":                {"llama-3-8b", "--count", "0"},
		"best":                   {"llama-3-8b", "--count", "best,8"},
		"--price":                {"llama-3-8b", "--price", "h100=-2"},
		"two prices":             {"llama-3-8b", "--price", "h100=2", "--price", "h100=3"},
		"h9000":                  {"llama-3-8b", "--price", "h9000=2"},
		"line 2":                 {"llama-3-8b", "--prices", file("gap.yaml", "h100: 2\na100:\n")},
		"line 1":                 {"llama-3-8b", "--prices", file("list.yaml", "h100: [2]\n")},
		"not a YAML":             {"llama-3-8b", "--prices", file("text.yaml", "dear\n")},
		"no regular file":        {"llama-3-8b", "--prices", dir},
		"lora":                   {"llama-3-8b", "--lora", "16"},
		"requests":               {"llama-3-8b", "--task", "train", "--requests", "5"},
		"not JSON":               {"--shape", file("a.json", "{")},
		"layers":                 {"--shape", file("b.json", `{"layers":-1,"width":8}`)},
		"unheard-of":             {"--shape", file("c.json", `{"model_type":"unheard-of"}`)},
		"pue":                    {"llama-3-8b", "--pue", "0.3"},
		"user":                   {"llama-3-8b", "--user-rate", "NaN"},
		"--explain":              {"llama-3-8b", "--chips", "h100", "--explain", "a100"},
		"Triarch is not running": {"llama-3-8b", "--fleet"},
	} {
		out, err := runLine(t, append([]string{"estimate"}, args...)...)
		if err == nil || fault.ExitCode(err) == 1 {
			t.Errorf("%s: %v\n%s", args, err, out)
			continue
		}
		f := fault.As(err)
		if text := f.Field + " " + err.Error() + " " + f.Sentence(); !strings.Contains(text, want) {
			t.Errorf("%s says nothing of %s: %s", args, want, text)
		}
	}
}

// A config.json and a name give the same; a chip that nothing fits on ends with the code of what is not found.
func TestEstimateOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	text := `{"model_type":"llama","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256}`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := runLine(t, "estimate", "--shape", path, "--chips", "h100")
	b, err2 := runLine(t, "estimate", "llama-3-8b", "--chips", "h100")
	if err != nil || err2 != nil || slices.Compare(strings.Split(a, "\n")[1:], strings.Split(b, "\n")[1:]) != 0 {
		t.Errorf("%v %v\n%s%s", err, err2, a, b)
	}
	out, err := runLine(t, "estimate", "llama-3-70b", "--chips", "h100", "--count", "1")
	if !fault.Is(err, fault.NotFound) || !strings.Contains(strings.Join(strings.Fields(out), " "), "2 chips hold it") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for v, want := range map[float64]string{0.94712: "0.947", 83.72: "83.7", 1234: "1230", 25246: "25.2k", 999999: "1M", 1.5e12: "1.5T", 70.553706496e9: "70.6B"} {
		if got := short(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
	for text, want := range map[string]float64{"15T": 15e12, "300M": 300e6, "7": 7, "1.5k": 1500} {
		if v, ok := parseCount(text); !ok || v != want {
			t.Errorf("%s is %v", text, v)
		}
	}
	for text, want := range map[string]float64{"50 GB/s": 50e9, "400 Gb/s": 50e9} {
		if v, ok := parseBandwidth(text); !ok || v != want {
			t.Errorf("%s is %v", text, v)
		}
	}
	for _, text := range []string{"", "x", "-3M", "1e30", "0x10", "Inf", "NaN"} {
		if v, ok := parseCount(text); ok {
			t.Errorf("%q is %v", text, v)
		}
	}
	if s := timeText(&api.Span{Low: 2780, Is: 4530, High: 7380}); s != "75.5 min (46.3-123)" {
		t.Error(s)
	}
	if s := spanText(&api.Span{Low: 86400 * 3, High: 86400 * 9}, func(float64) string { return "3 d" }); s != "3-3" {
		t.Error(s)
	}
}
