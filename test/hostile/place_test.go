package hostile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/test/built"
)

// patience bounds a failing test; it asserts nothing about speed.
const patience = time.Minute

var program string

func TestMain(m *testing.M) {
	os.Exit(built.Run(m, built.Program{From: "../../cmd/triarch", Path: &program}))
}

// place is the program on a data directory, with a provider.
type place struct {
	t        *testing.T
	dir, url string
	env      []string
	cmd      *exec.Cmd
	api      *api.Client
	client   *http.Client
	provider *provider
	stop     func()
	most     atomic.Int64 // bytes of memory at most
}

func newPlace(t *testing.T, env ...string) *place {
	p := &place{t: t, dir: filepath.Join(t.TempDir(), "data"), env: env, stop: func() {}}
	p.env = built.Environment(append(p.env, "PROVIDER_KEY=sk-provider")...)
	t.Cleanup(p.leave)
	p.up()
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	p.client = &http.Client{Transport: tr}
	t.Cleanup(tr.CloseIdleConnections)
	p.provider = newProvider(t)
	for _, v := range voices {
		p.run("provider", "add", v.provider, "--url", p.provider.url, "--key-env", "PROVIDER_KEY", "--allow-private", "--dialect", v.dialect)
	}
	return p
}

// up starts the program and waits until it answers.
func (p *place) up() {
	p.t.Helper()
	log, err := os.OpenFile(p.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ok(p.t, err)
	defer log.Close()
	p.cmd = exec.Command(program, "up", "--no-starter", "--data", p.dir, "--listen", "127.0.0.1:0")
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, log, log
	ok(p.t, p.cmd.Start())
	eventually(p.t, "the API to answer", func() bool {
		p.url = p.file("endpoint")
		p.api = api.New(p.url, p.file("owner.key"))
		_, err := p.api.Status(p.t.Context())
		return p.url != "" && err == nil
	})
	p.watch()
}

// watch measures the memory of the program until it is stopped.
func (p *place) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			p.most.Store(max(p.most.Load(), p.memory()))
			time.Sleep(20 * time.Millisecond)
		}
	})
	p.stop = func() { cancel(); done.Wait() }
}

// memory is what the program's process has resident, bytes.
func (p *place) memory() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(rest, " kB")
	kb, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return kb << 10
}

// within fails the test if the program ever had more memory than that, and begins anew.
func (p *place) within(what string, bound int64) {
	p.t.Helper()
	most := p.most.Swap(0)
	p.t.Logf("%s: %d MiB resident at most, allowed %d", what, most>>20, bound>>20)
	if most == 0 || most > bound {
		p.t.Errorf("%s: %d MiB resident, allowed %d", what, most>>20, bound>>20)
	}
}

func (p *place) leave() {
	p.stop()
	if p.t.Failed() {
		text, _ := os.ReadFile(p.dir + ".log")
		p.t.Logf("the end of the program's log:\n%s", text[max(0, len(text)-5000):])
	}
	if p.cmd != nil && p.cmd.Process != nil {
		p.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
		p.cmd.Wait()
		kill.Stop()
	}
}

// run is the program as a person types it.
func (p *place) run(args ...string) string {
	p.t.Helper()
	cmd := exec.Command(program, append([]string{"--data", p.dir}, args...)...)
	cmd.Env = p.env
	text, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("triarch %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return string(text)
}

func (p *place) file(name string) string {
	text, _ := os.ReadFile(filepath.Join(p.dir, name))
	return strings.TrimSpace(string(text))
}

// route gives a model of the provider a public name of its own: one micro-unit a token in, two a token out.
func (p *place) route(name string) { p.routeTo("hostile", name) }

func (p *place) routeTo(provider, name string) {
	p.t.Helper()
	in, out := int64(1_000_000), int64(2_000_000)
	_, err := p.api.CreateRoute(p.t.Context(), api.NewRoute{Name: name, PriceIn: &in, PriceOut: &out,
		Backends: []api.NewBackend{{Provider: provider, Model: name}}})
	ok(p.t, err)
}

// key makes a key with money.
func (p *place) key(name string) api.MadeKey {
	p.t.Helper()
	money := int64(1 << 40)
	k, err := p.api.CreateKey(p.t.Context(), api.NewKey{Name: name, BudgetMicros: &money})
	ok(p.t, err)
	return k
}

// used is what the records of a key sum to, once nothing of it is under way.
func (p *place) used(k api.MadeKey) api.Totals {
	p.t.Helper()
	_, err := p.api.VerifyUsage(p.t.Context()) // ships what is settled
	ok(p.t, err)
	u, err := p.api.Usage(p.t.Context(), api.UsageQuery{Key: k.Object.ID})
	ok(p.t, err)
	return u.Totals
}

// reconcile proves every book.
func (p *place) reconcile() {
	p.t.Helper()
	if text := p.run("reconcile"); !strings.Contains(text, "every book agrees") {
		p.t.Errorf("reconcile: %s", text)
	}
}

// well proves that others are served, in every dialect.
func (p *place) well() {
	p.t.Helper()
	for _, d := range dialects {
		a := p.ask(p.t.Context(), d, "good", p.good().Key, 16)
		if wrong := d.wrong(a, true); wrong != "" || a.tokens != 3 {
			p.t.Errorf("others, by %s: %s, %d tokens: %d %s", d.name, wrong, a.tokens, a.status, a.text)
		}
	}
}

var goodKeys sync.Map // of each place

func (p *place) good() api.MadeKey {
	if k, ok := goodKeys.Load(p); ok {
		return k.(api.MadeKey)
	}
	p.route("good")
	k := p.key("good")
	goodKeys.Store(p, k)
	return k
}

// answer is what a request came to.
type answer struct {
	status int
	text   []byte // up to keepText of it
	tokens int
	err    error
}

const keepText = 64 << 20

// ask sends a request and reads the answer to its end.
func (p *place) ask(ctx context.Context, d dialect, model, key string, most int) (a answer) {
	req, err := http.NewRequestWithContext(ctx, "POST", p.url+strings.ReplaceAll(d.path, "MODEL", model),
		strings.NewReader(d.request(model, most)))
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	a.text, a.err = io.ReadAll(io.LimitReader(resp.Body, keepText))
	a.tokens = bytes.Count(a.text, []byte(d.token))
	return a
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
