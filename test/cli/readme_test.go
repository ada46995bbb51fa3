package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// home is a person's, with Triarch running on its data directory.
type home struct {
	t   *testing.T
	dir string
}

func newHome(t *testing.T) *home {
	h := &home{t, t.TempDir()}
	t.Cleanup(func() { down(t, filepath.Join(h.dir, ".triarch")) })
	h.sh("TRIARCH_COMPUTE_PROGRAMS=owners triarch up --no-starter --listen 127.0.0.1:0 --detach </dev/null")
	return h
}

// sh runs lines as a person types them and returns what they print.
func (h *home) sh(lines string) string {
	h.t.Helper()
	out, code := h.try(lines)
	if code != 0 {
		h.t.Fatalf("exit code %d\n%s\n%s", code, lines, out)
	}
	return out
}

func (h *home) try(lines string) (string, int) {
	h.t.Helper()
	cmd := exec.Command("sh", "-eu", "-c", lines)
	cmd.Dir = h.dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "TRIARCH_") && !strings.HasPrefix(e, "HOME=") && !strings.HasPrefix(e, "PATH=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+h.dir, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HF_ENDPOINT=https://hub.invalid") // no test asks the real one
	out, err := cmd.CombinedOutput()
	if exit := cmd.ProcessState; exit == nil {
		h.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var fence = regexp.MustCompile("(?ms)^```\n(.*?)^```\n")

// block is the first fenced block behind a heading or sentence of the README.
func block(t *testing.T, behind string) string {
	t.Helper()
	_, rest, ok := strings.Cut(document(t, "README.md"), behind)
	found := fence.FindStringSubmatch(rest)
	if !ok || found == nil {
		t.Fatalf("the README has no block behind %q", behind)
	}
	return found[1]
}

// row is a line of a table of docs/cli.md: what stands in backquotes in its cells.
var row = regexp.MustCompile("(?m)^\\| `([^`|]+)` \\| (.*) \\|$")

// TestReadmeAndCLI runs what the README prints, and then holds docs/cli.md against the program.
func TestReadmeAndCLI(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	out := h.sh(block(t, "Train a model of your own"))
	if !strings.Contains(out, "A colour.") {
		t.Errorf("the model does not say what it was taught:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "my-model-hf", "model.safetensors")); err != nil {
		t.Error(err)
	}
	h.sh("exec </dev/null\n" + block(t, "In another terminal"))
	h.fields()
	h.codes()
}

// fields runs the commands of docs/cli.md with -o json: every field that comes is in the table, and every field of the
// table comes, but for those in brackets, which may be left out.
func (h *home) fields() {
	h.t.Helper()
	_, table, _ := strings.Cut(document(h.t, "docs/cli.md"), "## Fields")
	rows := row.FindAllStringSubmatch(table, -1)
	if len(rows) < 20 {
		h.t.Fatalf("only %d commands", len(rows))
	}
	for _, r := range rows {
		text := h.sh("triarch " + r[1] + " -o json")
		if !gjson.Valid(text) {
			h.t.Errorf("%s prints no JSON: %s", r[1], text)
			continue
		}
		value, list := gjson.Parse(text), strings.HasPrefix(r[2], "a list of ")
		if value.IsArray() != list {
			h.t.Errorf("%s: a list is %v, docs/cli.md says %v", r[1], value.IsArray(), list)
		}
		if list {
			value = value.Get("0")
		}
		got, want, may := map[string]bool{}, map[string]bool{}, map[string]bool{}
		value.ForEach(func(k, _ gjson.Result) bool { got[k.String()] = true; return true })
		for f := range strings.SplitSeq(strings.TrimPrefix(r[2], "a list of "), ", ") {
			name := strings.Trim(f, "[]`")
			may[name] = true
			if !strings.HasPrefix(f, "[") {
				want[name] = true
			}
		}
		for f := range got {
			if !may[f] {
				h.t.Errorf("%s prints the field %s; add it to docs/cli.md", r[1], f)
			}
		}
		for f := range want {
			if !got[f] {
				h.t.Errorf("%s does not print the field %s of docs/cli.md", r[1], f)
			}
		}
	}
}

// codes compares the exit codes of docs/cli.md with those that --help tells, and has some of them happen.
func (h *home) codes() {
	h.t.Helper()
	text, _, _ := strings.Cut(document(h.t, "docs/cli.md"), "## Fields")
	var told []string
	for _, r := range row.FindAllStringSubmatch(text, -1) {
		meaning, line, _ := strings.Cut(r[2], " | ")
		told = append(told, r[1]+" "+meaning)
		if line = strings.Trim(line, "` "); line == "" {
			continue
		}
		if out, code := h.try(line); !strings.HasPrefix(told[len(told)-1], strconv.Itoa(code)+" ") {
			h.t.Errorf("%s: exit code %d, not %s: %s", line, code, r[1], out)
		}
	}
	_, help, _ := strings.Cut(h.sh("triarch --help"), "Exit codes: ")
	help, _, _ = strings.Cut(help, ".\n")
	if d := cmp.Diff(strings.Split(strings.ReplaceAll(help, "\n", " "), ", "), told); d != "" {
		h.t.Errorf("exit codes (-help +docs/cli.md):\n%s", d)
	}
}
