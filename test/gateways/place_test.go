package gateways

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/test/built"
)

// patience bounds a failing test; it asserts nothing about speed.
const patience = time.Minute

var rig string

func TestMain(m *testing.M) {
	os.Exit(built.Run(m, built.Program{From: "../kill/rig", Path: &rig}))
}

// process is the program on a data directory.
type process struct {
	t    *testing.T
	args []string
	dir  string
	env  []string
	cmd  *exec.Cmd
	url  string
}

// start runs it and waits until it answers.
func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	os.Remove(filepath.Join(p.dir, "endpoint"))
	p.cmd = exec.Command(rig, append(p.args, "--data", p.dir, "--listen", "127.0.0.1:0")...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, p.dir+" to answer", func() bool {
		if syscall.Kill(p.cmd.Process.Pid, 0) != nil {
			p.t.Fatal("the program ended")
		}
		text, _ := os.ReadFile(filepath.Join(p.dir, "endpoint"))
		p.url = strings.TrimSpace(string(text))
		resp, err := http.Get(p.url + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// end sends a signal and waits for the end.
func (p *process) end(s syscall.Signal) {
	if p.cmd != nil {
		p.cmd.Process.Signal(s)
		p.cmd.Wait()
		p.cmd = nil
	}
}

func (p *process) logged() string {
	text, _ := os.ReadFile(p.dir + ".log")
	return string(text[max(0, len(text)-3000):])
}

// run is the program as a person types it.
func run(env []string, args ...string) (string, error) {
	cmd := exec.Command(rig, args...)
	cmd.Env = env
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}

// place is a control plane that serves the paced engine, and gateways beside it, on one PostgreSQL.
type place struct {
	t        *testing.T
	dsn      string
	env      []string
	control  *process
	gateways []*process
	api      *api.Client
	version  string // of the model that is served
	listen   string // where replicas are told to listen; empty: they are not
	client   *http.Client
}

func newPlace(t *testing.T, gateways int) *place {
	return newPlaceOn(t, sqltest.Postgres(t), make([]string, gateways)...)
}

// newPlaceOn has gateways each with an environment of its own, as lines, beside that of all.
func newPlaceOn(t *testing.T, dsn string, gateways ...string) *place {
	p := &place{t: t, dsn: dsn}
	p.env = built.Environment()
	if runtime.GOOS == "linux" { // all of 127.0.0.0/8 is this machine's; elsewhere replicas listen where they do by themselves
		p.listen = "127.0.0.2"
		p.env = append(p.env, "TRIARCH_SERVE_LISTEN="+p.listen)
	}
	p.env = append(p.env, "TRIARCH_DATABASE="+p.dsn) // the last one
	dir := t.TempDir()
	p.control = &process{t: t, args: []string{"up", "--no-starter", "--roles", "control"}, dir: filepath.Join(dir, "control"), env: p.env}
	t.Cleanup(p.leave)
	p.control.start()
	key, err := os.ReadFile(filepath.Join(p.control.dir, "owner.key"))
	ok(t, err)
	p.api = api.New(p.control.url, strings.TrimSpace(string(key)))
	p.furnish()
	tr := &http.Transport{MaxIdleConnsPerHost: 512}
	p.client = &http.Client{Transport: tr}
	t.Cleanup(tr.CloseIdleConnections)
	for _, own := range gateways {
		g := p.newGateway(own)
		p.gateways = append(p.gateways, g)
		g.start()
	}
	return p
}

// newGateway is one more gateway, with an environment of its own beside that of all.
func (p *place) newGateway(own string) *process {
	return &process{t: p.t, dir: filepath.Join(filepath.Dir(p.control.dir), fmt.Sprintf("gateway%d", len(p.gateways))),
		env: append(slices.Clone(p.env), strings.Fields(own)...), args: []string{"gateway", "--secret-key", filepath.Join(p.control.dir, "secret.key")}}
}

// furnish serves a model by the paced engine.
func (p *place) furnish() {
	t, ctx := p.t, p.t.Context()
	_, err := p.api.ImportData(ctx, api.Import{Name: "notes", Format: "text"}, strings.NewReader(strings.Repeat("a line of text\n", 200)))
	ok(t, err)
	r, err := p.api.CreateRun(ctx, api.NewRun{Model: "m", Data: "notes", Recipe: api.Recipe{Preset: "nano", Context: 8192, SeqLen: 64, Batch: 1, Steps: 1}})
	ok(t, err)
	eventually(t, "a model", func() bool {
		r, err = p.api.Run(ctx, r.ID)
		ok(t, err)
		if r.State == "failed" {
			t.Fatal(r.Reason)
		}
		return r.ModelVersion != ""
	})
	p.version = r.ModelVersion
	_, err = p.api.Deploy(ctx, api.NewDeployment{Name: "paced", Model: r.ModelVersion, Engine: "paced", Threads: 1,
		Route: &api.NewRoute{PriceIn: new(int64(1_000_000)), PriceOut: new(int64(2_000_000))}})
	ok(t, err)
	eventually(t, "a replica", func() bool {
		d, err := p.api.Deployment(ctx, "paced")
		ok(t, err)
		return d.Ready == 1
	})
}

func (p *place) leave() {
	for _, g := range p.gateways {
		g.end(syscall.SIGTERM)
		if p.t.Failed() {
			p.t.Logf("%s:\n%s", g.dir, g.logged())
		}
	}
	if p.t.Failed() {
		p.t.Logf("control plane:\n%s", p.control.logged())
	}
	p.control.end(syscall.SIGTERM)
	if text, err := run(p.env, "down", "--data", p.control.dir); err != nil {
		p.t.Errorf("down: %v %s", err, text)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key makes a key and waits until every gateway knows it and the model.
func (p *place) key(n api.NewKey) api.MadeKey {
	p.t.Helper()
	return p.keys(n)[0]
}

// keys makes keys and waits until every gateway knows them and the model.
func (p *place) keys(all ...api.NewKey) (made []api.MadeKey) {
	p.t.Helper()
	for _, n := range all {
		k, err := p.api.CreateKey(p.t.Context(), n)
		ok(p.t, err)
		made = append(made, k)
	}
	for _, g := range p.gateways {
		for _, k := range made {
			p.knows(g, k.Key)
		}
	}
	return made
}

func (p *place) knows(g *process, key string) { p.knowsModel(g, key, "paced") }

func (p *place) knowsModel(g *process, key, model string) {
	p.t.Helper()
	eventually(p.t, "a gateway to know key and model", func() bool {
		req, err := http.NewRequestWithContext(p.t.Context(), "GET", g.url+"/v1/models", nil)
		ok(p.t, err)
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := p.client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusOK && bytes.Contains(text, []byte(`"id":"`+model+`"`))
	})
}

// answer is what a request came to.
type answer struct {
	status int
	code   string // of the error
	cost   int64  // micro-units
	err    error  // the connection broke
}

// ask sends a request of a fixed length to a gateway.
func (p *place) ask(ctx context.Context, g *process, key string) (a answer) {
	req, err := http.NewRequestWithContext(ctx, "POST", g.url+"/v1/chat/completions",
		strings.NewReader(`{"model":"paced","max_tokens":5,"messages":[{"role":"user","content":"what is a ledger?"}]}`))
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	var body struct {
		Usage struct {
			Prompt     int64 `json:"prompt_tokens"`
			Completion int64 `json:"completion_tokens"`
		}
		Error struct{ Code string }
	}
	a.status = resp.StatusCode
	a.err = json.NewDecoder(resp.Body).Decode(&body)
	a.code, a.cost = body.Error.Code, body.Usage.Prompt+2*body.Usage.Completion
	return a
}
