package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/models/starter"
	"github.com/triarch-ai/triarch/system"
)

// The test binary stands in for the program when supervisors and workers start it.
func TestMain(m *testing.M) {
	if handled, code := system.Inner(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

const route = "clients-test"

// Each client gets keys of its own: what one of them spends must not refuse another.
func TestOfficialClients(t *testing.T) {
	node, python := nodeClient(t), pythonClient(t)
	commands := map[string][]string{"go": goClient(t, "."), "go, Anthropic": goClient(t, "./anthropic"), "node": node, "python": python}
	if node != nil {
		commands["node, Anthropic"], commands["node, Google"] = []string{node[0], "node/anthropic.mjs"}, []string{node[0], "node/google.mjs"}
	}
	if python != nil {
		commands["python, Anthropic"] = []string{python[0], "python/anthropic_check.py"}
	}
	url, owner := serving(t)
	for _, lang := range []string{"go", "node", "python", "go, Anthropic", "node, Anthropic", "node, Google", "python, Anthropic"} {
		t.Run(lang, func(t *testing.T) {
			if commands[lang] == nil {
				t.Skipf("the client for %s is not installed", lang)
			}
			drive(t, commands[lang], environment(t, lang, url, owner))
		})
	}
}

// drive runs a client's script and holds it to its own count of passed checks.
func drive(t *testing.T, command, env []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	passed := bytes.Count(out, []byte("\nok ")) + 1
	if err != nil || !bytes.HasSuffix(bytes.TrimSpace(out), fmt.Appendf(nil, "%d passed, 0 failed", passed)) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%d checks", passed)
}

// environment makes the keys of one client: an ordinary one, a revoked one, one without money and one of one request
// a minute.
func environment(t *testing.T, lang, url, owner string) []string {
	c := api.New(url, owner)
	key := func(n api.NewKey) api.MadeKey {
		t.Helper()
		n.Name += " of " + lang
		k, err := c.CreateKey(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	none := int64(0)
	revoked := key(api.NewKey{Name: "revoked"})
	if err := c.RevokeKey(t.Context(), "", revoked.Object.ID, false); err != nil {
		t.Fatal(err)
	}
	return []string{"TRIARCH_URL=" + url, "TRIARCH_MODEL=" + route, "TRIARCH_KEY=" + key(api.NewKey{Name: "good"}).Key,
		"TRIARCH_KEY_REVOKED=" + revoked.Key, "TRIARCH_KEY_POOR=" + key(api.NewKey{Name: "poor", BudgetMicros: &none}).Key,
		"TRIARCH_KEY_SLOW=" + key(api.NewKey{Name: "slow", RPM: 1}).Key}
}

// serving starts Triarch and trains, deploys and serves a model, all through the control API. It returns the address and
// the owner's key.
func serving(t *testing.T) (url, owner string) {
	url, owner = started(t)
	c := api.New(url, owner)
	train(t, c)
	deploy(t, c)
	return url, owner
}

// started starts Triarch on an empty data directory.
func started(t *testing.T) (url, owner string) {
	dir := t.TempDir()
	cfg := system.DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Starter = dir, "127.0.0.1:0", false
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := system.Start(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended by now
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if _, err := system.Down(ctx, dir, 5*time.Second, log); err != nil {
			t.Error(err)
		}
	})
	return s.URL, s.OwnerKey
}

// train makes a model that answers in whole sentences: a few conversations of the starter, learnt by heart.
func train(t *testing.T, c *api.Client) {
	var conversations bytes.Buffer
	if err := starter.Write(&conversations, starter.Mix{Seed: 1, Conversations: 400}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ImportData(t.Context(), api.Import{Name: route, Format: "chat"}, &conversations); err != nil {
		t.Fatal(err)
	}
	r, err := c.CreateRun(t.Context(), api.NewRun{Model: route, Data: route, Recipe: api.Recipe{Preset: "nano", Context: 256, Batch: 4, Steps: 60, LR: 0.01}})
	if err == nil {
		r, err = c.WatchRun(t.Context(), r.ID, 0, func(api.ProgressLine) error { return nil })
	}
	if err != nil || r.State != "succeeded" {
		t.Fatalf("%+v, %v", r, err)
	}
}

func deploy(t *testing.T, c *api.Client) {
	d, err := c.Deploy(t.Context(), api.NewDeployment{Model: route, Route: &api.NewRoute{PriceIn: new(int64(1_000_000)), PriceOut: new(int64(2_000_000))}})
	for ; err == nil && d.Ready == 0 && d.State != "failed"; d, err = c.Deployment(t.Context(), d.ID) {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil || d.Ready == 0 {
		t.Fatalf("%+v, %v", d, err)
	}
}

// missing fails the test for a client that is not there, or leaves it out where that is allowed.
func missing(t *testing.T, format string, args ...any) []string {
	t.Helper()
	if os.Getenv("TRIARCH_ALLOW_SKIP") != "1" {
		t.Fatalf(format+"; .ci/run installs it, TRIARCH_ALLOW_SKIP=1 leaves it out", args...)
	}
	return nil
}

// The binary is kept: linking it anew would take longer than all the rest.
func goClient(t *testing.T, pkg string) []string {
	to, err := filepath.Abs("../../bin/test/client-" + filepath.Base(pkg))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", to, pkg)
	cmd.Dir = "go"
	if out, err := cmd.CombinedOutput(); err != nil {
		return missing(t, "the client for Go cannot be built: %v\n%s", err, out)
	}
	return []string{to}
}

func nodeClient(t *testing.T) []string {
	node, err := exec.LookPath("node")
	if err != nil {
		return missing(t, "Node is not installed: %v", err)
	}
	type manifest struct {
		Version      string
		Dependencies map[string]string
	}
	var want manifest
	if err := readJSON("node/package.json", &want); err != nil {
		t.Fatal(err)
	}
	for name, version := range want.Dependencies {
		var have manifest
		if err := readJSON("node/node_modules/"+name+"/package.json", &have); err != nil {
			return missing(t, "the client %s for Node is not installed: %v", name, err)
		}
		if have.Version != version {
			return missing(t, "the client %s for Node is of version %s, not %s", name, have.Version, version)
		}
	}
	return []string{node, "node/check.mjs"}
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func pythonClient(t *testing.T) []string {
	python, err := filepath.Abs("../../.venv-clients/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"openai", "anthropic"} {
		out, err := exec.CommandContext(t.Context(), python, "-c", "import "+name+"; print("+name+".__version__)").CombinedOutput()
		if err != nil {
			return missing(t, "the client %s for Python is not installed: %v\n%s", name, err, out)
		}
		if want := pinned(t, name); strings.TrimSpace(string(out)) != want {
			return missing(t, "the client %s for Python is of version %s, not %s", name, strings.TrimSpace(string(out)), want)
		}
	}
	return []string{python, "python/check.py"}
}

// pinned is the version that requirements.txt names.
func pinned(t *testing.T, name string) string {
	f, err := os.Open("python/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), name+"=="); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("requirements.txt does not pin %s", name)
	return ""
}
