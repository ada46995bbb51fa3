package pulls_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
)

// codec takes every folder for a model.
type codec struct{}

func (codec) Inspect(context.Context, string) (registry.Shape, error) {
	return registry.Shape{Arch: "llama", Params: 5}, nil
}

// world is a service on a real registry and database, and a hub.
type world struct {
	*pulls.Service
	db    *sql.DB
	hub   *httptest.Server
	who   pulls.Who
	other pulls.Who // of another project
	now   time.Time
	mu    sync.Mutex
	auth  []string // what requests at the hub carried
	act   func(w http.ResponseWriter, r *http.Request) bool
}

const commit = "0123456789abcdef0123456789abcdef01234567"

var weights = strings.Repeat("weights of a model ", 1000)

func newWorld(t *testing.T, db *sql.DB) *world {
	t.Helper()
	w := &world{db: db, now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	ids, clock := id.Default(), func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }
	w.hub = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.hub.Close)
	ten := &tenancy.Service{Store: db.Tenancy(), IDs: ids, Now: clock, Rand: rand.Reader, Changed: func(context.Context) {}}
	org, project, _, _, err := ten.Bootstrap(t.Context())
	must(t, err)
	other, err := ten.CreateProject(t.Context(), org.ID, "other")
	must(t, err)
	blobs, err := file.Open(t.TempDir(), clock)
	must(t, err)
	box, err := seal.New(make([]byte, seal.KeySize), rand.Reader)
	must(t, err)
	reg := &registry.Service{Store: db.Registry(), Blobs: blobs, Codec: codec{}, Dir: t.TempDir(), IDs: ids, Now: clock}
	c := hub.New(nil, nil)
	c.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	w.Service = &pulls.Service{Store: db.Pulls(), Client: c, Registry: reg, Blobs: blobs, Box: box, Dir: t.TempDir(), IDs: ids, Now: clock, Log: slog.New(slog.DiscardHandler)}
	w.who, w.other = pulls.Who{Project: project.ID, Private: true}, pulls.Who{Project: other.ID, Private: true}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.auth = append(w.auth, r.URL.Path+" "+r.Header.Get("Authorization"))
	act := w.act
	w.mu.Unlock()
	if act != nil && act(rw, r) {
		return
	}
	switch r.URL.Path {
	case "/api/models/org/tiny/revision/main":
		h := sha256.Sum256([]byte(weights))
		fmt.Fprintf(rw, `{"sha":%q,"siblings":[{"rfilename":"config.json","size":2,"blobId":"9e26dfeeb6e641a33dae4961196235bdb965b21b"},{"rfilename":"deep/x.safetensors","size":1},{"rfilename":"model.safetensors","size":%d,"lfs":{"sha256":%q,"size":%d}}]}`,
			commit, len(weights), hex.EncodeToString(h[:]), len(weights))
	case "/org/tiny/resolve/" + commit + "/config.json":
		fmt.Fprint(rw, "{}")
	case "/org/tiny/resolve/" + commit + "/model.safetensors":
		http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(weights))
	default:
		http.NotFound(rw, r)
	}
}

func (w *world) request() pulls.Request {
	return pulls.Request{Spec: hub.Spec{Repo: "org/tiny"}, Endpoint: w.hub.URL, Private: true, Token: "hf_secret"}
}

// pass lets the service work until nothing more can be done now.
func (w *world) pass(t *testing.T) {
	t.Helper()
	must(t, w.Pass(t.Context()))
	w.Wait()
}

func (w *world) get(t *testing.T, id string) pulls.Pull {
	t.Helper()
	p, err := w.Get(t.Context(), w.who.Project, id)
	must(t, err)
	return p
}

func TestPullBecomesAVersion(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		mirror := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("a mirror got the token")
			}
			w.serve(rw, r)
		}))
		defer mirror.Close()
		r := w.request()
		r.Spec.Mirrors = []hub.Mirror{{URL: mirror.URL}}
		p, err := w.Begin(ctx, w.who, r)
		must(t, err)
		if p.State != pulls.Running || p.Model != "tiny" || strings.Contains(p.Sealed, "hf_secret") || p.Sealed == "" {
			t.Errorf("%+v", p)
		}
		w.pass(t)
		p = w.get(t, p.ID)
		if p.State != pulls.Done || p.Commit != commit || p.Sealed != "" || p.Progress.FilesDone != 2 || p.Progress.BytesDone != int64(len(weights)+2) {
			t.Fatalf("%+v", p)
		}
		v, err := w.Registry.Get(ctx, w.who.Project, "tiny")
		must(t, err)
		l := v.Lineage
		if v.ID != p.Version || l.Source != "pull" || l.Origin != "huggingface:org/tiny" || l.Revision != commit || l.Hash != p.Hash || l.Pull != p.ID || len(v.Files) != 2 {
			t.Errorf("%+v", v)
		}
		if _, err := os.Stat(filepath.Join(w.Dir, p.ID)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder of a pull that is done: %v", err)
		}
		w.auth = nil
		again, err := w.Begin(ctx, w.who, w.request()) // the same files: no second version, and no second time over the network
		must(t, err)
		w.pass(t)
		for _, asked := range w.auth {
			if !strings.HasPrefix(asked, "/api/") {
				t.Errorf("asked again for %s", asked)
			}
		}
		if q := w.get(t, again.ID); q.ID == p.ID || q.State != pulls.Done || q.Version != p.Version {
			t.Errorf("%+v", q)
		}
		if list, err := w.List(ctx, w.who.Project, page.All); err != nil || len(list) != 2 || list[0].ID != again.ID {
			t.Errorf("%v %+v", err, list)
		}
		if list, err := w.List(ctx, "prj_other", page.All); err != nil || len(list) != 0 {
			t.Errorf("another project sees %+v: %v", list, err)
		}
		if _, err := w.Get(ctx, "prj_other", p.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project sees it: %v", err)
		}
	})
}

func TestTokenGoesToTheEndpoint(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	_, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	w.pass(t)
	for _, a := range w.auth {
		if !strings.HasSuffix(a, " Bearer hf_secret") {
			t.Errorf("%s", a)
		}
	}
}

// forgetful is a store that is gone in the moment a pull ends, as when the process is killed there.
type forgetful struct{ pulls.Store }

func (forgetful) End(context.Context, pulls.Pull) error {
	return fault.New(fault.Unavailable, "Killed.")
}

// TestKilledBetweenVersionAndEnd registers the model and does not come to note it: the next start makes no second version.
func TestKilledBetweenVersionAndEnd(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		p, err := w.Begin(t.Context(), w.who, w.request())
		must(t, err)
		w.Store = forgetful{w.Store}
		w.pass(t)
		if p = w.get(t, p.ID); p.State != pulls.Running {
			t.Fatalf("%+v", p)
		}
		// Another version comes between, so that the newest is not the pull's.
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{ }"), 0o600))
		_, err = w.Registry.AddDir(t.Context(), w.who.Project, dir, registry.NewVersion{Model: "tiny"})
		must(t, err)
		next := &pulls.Service{Store: db.Pulls(), Client: w.Client, Registry: w.Registry, Box: w.Box, Dir: w.Dir, IDs: w.IDs, Now: w.Now, Log: w.Log}
		w.Service = next
		w.pass(t)
		p = w.get(t, p.ID)
		v, err := w.Registry.Get(t.Context(), w.who.Project, "tiny@1")
		if p.State != pulls.Done || err != nil || p.Version != v.ID {
			t.Fatalf("%v %+v", err, p)
		}
		if _, err := w.Registry.Get(t.Context(), w.who.Project, "tiny@3"); !fault.Is(err, fault.NotFound) {
			t.Errorf("a third version: %v", err)
		}
	})
}

// TestStopAndStartAgain stops the process in the middle of a file: the next one goes on, with the token that was sealed.
func TestStopAndStartAgain(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	p, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	w.act = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "model.safetensors") {
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	}
	must(t, w.Pass(ctx))
	w.Wait()
	if p = w.get(t, p.ID); p.State != pulls.Running || p.Sealed == "" {
		t.Fatalf("%+v", p)
	}
	w.mu.Lock()
	w.act, w.auth = nil, nil
	w.mu.Unlock()
	w.Service = &pulls.Service{Store: w.Store, Client: w.Client, Registry: w.Registry, Box: w.Box, Dir: w.Dir, IDs: w.IDs, Now: w.Now, Log: w.Log}
	w.pass(t)
	if p = w.get(t, p.ID); p.State != pulls.Done {
		t.Fatalf("%+v", p)
	}
	if len(w.auth) != 1 || !strings.HasSuffix(w.auth[0], "model.safetensors Bearer hf_secret") {
		t.Errorf("the second start asked for %q", w.auth)
	}
}

func TestFailedPullGoesOn(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	w.act = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "model.safetensors") {
			rw.Header().Set("X-Error-Code", "GatedRepo")
			rw.WriteHeader(403)
			return true
		}
		return false
	}
	p, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	w.pass(t)
	if p = w.get(t, p.ID); p.State != pulls.Failed || p.Code != "gated" || p.Kind != fault.Forbidden || p.Sealed != "" || !strings.Contains(p.Fix, "HF_TOKEN") {
		t.Fatalf("%+v", p)
	}
	must(t, w.Sweep(t.Context()))
	if _, err := os.Stat(filepath.Join(w.Dir, p.ID, hub.Files, "config.json")); err != nil {
		t.Errorf("what came is gone: %v", err)
	}
	w.act = nil
	again, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	if again.ID != p.ID || again.State != pulls.Running || again.Reason != "" {
		t.Fatalf("%+v", again)
	}
	must(t, w.Pass(t.Context())) // the failed attempt is put away
	w.pass(t)
	if p = w.get(t, p.ID); p.State != pulls.Done {
		t.Fatalf("%+v", p)
	}
}

func TestFailedPullIsSweptAfterAWeek(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	w.act = func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(404); return true }
	p, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	w.pass(t)
	for _, days := range []int{6, 2} {
		w.mu.Lock()
		w.now = w.now.AddDate(0, 0, days)
		w.mu.Unlock()
		must(t, w.Sweep(t.Context()))
		_, err := os.Stat(filepath.Join(w.Dir, p.ID))
		if there := err == nil; there != (days == 6) {
			t.Errorf("after %d days more: %v", days, err)
		}
	}
}

func TestHubThatWantsRestIsLeftAlone(t *testing.T) {
	for asks, rests := range map[string]time.Duration{"7200": 2 * time.Hour, "1000000000": 24 * time.Hour} { // no rest is for ever
		t.Run(asks, func(t *testing.T) { restsFor(t, asks, rests) })
	}
}

func restsFor(t *testing.T, asks string, rests time.Duration) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	busy := true
	w.act = func(rw http.ResponseWriter, _ *http.Request) bool {
		if busy {
			rw.Header().Set("Retry-After", asks)
			rw.WriteHeader(429)
		}
		return busy
	}
	p, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	w.pass(t)
	asked := len(w.auth)
	w.pass(t)
	if p = w.get(t, p.ID); p.State != pulls.Running || p.Progress.Note == "" || len(w.auth) != asked {
		t.Fatalf("%d requests, then %d: %+v", asked, len(w.auth), p)
	}
	busy = false
	w.mu.Lock()
	w.now = w.now.Add(rests + time.Second)
	w.mu.Unlock()
	w.pass(t)
	if p = w.get(t, p.ID); p.State != pulls.Done {
		t.Fatalf("%+v", p)
	}
}

func TestRemovedPullEnds(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	held := make(chan struct{})
	w.act = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "model.safetensors") {
			close(held)
			<-r.Context().Done()
			return true
		}
		return false
	}
	p, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	must(t, w.Pass(t.Context()))
	<-held
	must(t, w.Sweep(t.Context()))
	if _, err := os.Stat(filepath.Join(w.Dir, p.ID)); err != nil {
		t.Errorf("the folder of a running pull: %v", err)
	}
	if err := w.Remove(t.Context(), "prj_other", p.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another project removed it: %v", err)
	}
	must(t, w.Remove(t.Context(), w.who.Project, p.ID))
	w.Wait()
	if _, err := os.Stat(filepath.Join(w.Dir, p.ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a removed pull: %v", err)
	}
	if _, err := w.Get(t.Context(), w.who.Project, p.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}

func TestBeginRefuses(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	tenant := pulls.Who{Project: w.who.Project}
	for name, c := range map[string]struct {
		who  pulls.Who
		r    pulls.Request
		kind fault.Kind
	}{
		"inner addresses of a tenant": {tenant, pulls.Request{Spec: hub.Spec{Repo: "a/b"}, Private: true}, fault.Forbidden},
		"an inner mirror":             {tenant, pulls.Request{Spec: hub.Spec{Repo: "a/b", Mirrors: []hub.Mirror{{URL: "https://169.254.169.254"}}}}, fault.Forbidden},
		"one that says it may":        {tenant, pulls.Request{Spec: hub.Spec{Repo: "a/b", Mirrors: []hub.Mirror{{URL: "http://10.0.0.1", Private: true}}}}, fault.Invalid},
		"an inner endpoint":           {tenant, pulls.Request{Spec: hub.Spec{Repo: "a/b"}, Endpoint: "http://127.0.0.1:1"}, fault.Invalid},
		"no model":                    {tenant, pulls.Request{Spec: hub.Spec{Repo: "b"}}, fault.Invalid},
		"a name that cannot be":       {tenant, pulls.Request{Spec: hub.Spec{Repo: "a/b"}, Model: "../x"}, fault.Invalid},
		"a token with a line":         {tenant, pulls.Request{Spec: hub.Spec{Repo: "a/b"}, Token: "x\r\ny"}, fault.Invalid},
	} {
		if _, err := w.Begin(t.Context(), c.who, c.r); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range pulls.MostRunning {
		_, err := w.Begin(t.Context(), tenant, pulls.Request{Spec: hub.Spec{Repo: fmt.Sprintf("a/b%d", i)}})
		must(t, err)
	}
	if _, err := w.Begin(t.Context(), tenant, pulls.Request{Spec: hub.Spec{Repo: "a/more"}}); fault.As(err).Code != "too_many" {
		t.Errorf("%v", err)
	}
	if _, err := w.Begin(t.Context(), tenant, pulls.Request{Spec: hub.Spec{Repo: "a/b0"}}); err != nil {
		t.Errorf("one that runs already: %v", err)
	}
}

func TestBundleBecomesAVersion(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	m := hub.Manifest{Model: "travelled", Origin: "huggingface:org/tiny", Revision: commit, Card: "# Of far away",
		Files: []hub.Entry{{Path: "config.json", Size: 2, SHA256: sum("{}")}, {Path: "model.safetensors", Size: int64(len(weights)), SHA256: sum(weights)}}}
	var b bytes.Buffer
	out, err := hub.NewBundle(&b, m)
	must(t, err)
	must(t, out.Add("config.json", strings.NewReader("{}")))
	must(t, out.Add("model.safetensors", strings.NewReader(weights)))
	must(t, out.Close())
	bad := bytes.Replace(b.Bytes(), []byte("weights of"), []byte("weight5 of"), 1)
	if _, err := w.TakeBundle(t.Context(), w.who, "", bytes.NewReader(bad), 0); fault.As(err).Code != "bad_bundle" {
		t.Fatalf("%v", err)
	}
	if _, err := w.Registry.Get(t.Context(), w.who.Project, "travelled"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("a broken bundle was registered: %v", err)
	}
	v, err := w.TakeBundle(t.Context(), w.who, "", bytes.NewReader(b.Bytes()), 0)
	must(t, err)
	if l := v.Lineage; v.Model != "travelled" || l.Source != "bundle" || l.Origin != m.Origin || l.Revision != commit || l.Hash != m.Hash() || v.Card != m.Card || len(v.Files) != 2 {
		t.Errorf("%+v", v)
	}
	again, err := w.TakeBundle(t.Context(), w.who, "travelled", bytes.NewReader(b.Bytes()), 0)
	if err != nil || again.ID != v.ID {
		t.Errorf("%v %+v", err, again)
	}
	if left, err := os.ReadDir(w.Dir); err != nil || len(left) > 0 {
		t.Errorf("left %v: %v", left, err)
	}
}
