package webhook_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// taken is what a receiver was sent: thresholds by event, each event once.
type taken struct {
	mu       sync.Mutex
	secret   []byte
	now      func() time.Time
	refuse   int // of the requests to come
	requests int
	events   map[string]string
	bad      []string
}

func (k *taken) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	k.requests++
	if !webhook.Verify(k.secret, r.Header.Get(webhook.TimeHeader), r.Header.Get(webhook.SignatureHeader), body, k.now(), time.Minute) {
		k.bad = append(k.bad, string(body))
	}
	if k.refuse > 0 {
		k.refuse--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	k.events[r.Header.Get(webhook.EventHeader)] = string(body)
}

func (k *taken) thresholds(t *testing.T) map[string]int {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string]int{}
	for name, body := range k.events {
		var m struct {
			ID     string
			Type   string
			Budget struct {
				ID        string
				Spent     int64 `json:"spent_micros"`
				Threshold int   `json:"threshold_percent"`
			}
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil || m.ID != name || m.Type != "budget.threshold" {
			t.Errorf("event %s: %s, %v", name, body, err)
		}
		out[m.Budget.ID] = max(out[m.Budget.ID], m.Budget.Threshold)
	}
	return out
}

type world struct {
	db    *sql.DB
	ten   *tenancy.Service
	org   tenancy.Organisation
	prj   tenancy.Project
	box   *seal.Box
	mu    sync.Mutex
	spent map[id.Raw]int64
	now   time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T, db *sql.DB) *world {
	t.Helper()
	w := &world{db: db, spent: map[id.Raw]int64{}, now: time.Now()}
	var err error
	if w.box, err = seal.New(make([]byte, seal.KeySize), rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.ten = &tenancy.Service{Store: db.Tenancy(), IDs: id.Default(), Now: time.Now, Rand: rand.Reader, Changed: func(context.Context) {}}
	if w.org, w.prj, _, _, err = w.ten.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// service is another one each time, as after a restart.
func (w *world) service() *webhook.Service {
	return &webhook.Service{Store: w.db.Webhooks(), Box: w.box, IDs: id.Default(), Now: w.clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Spent: func(_ context.Context, _, of string) int64 {
			raw, _ := id.ParseRaw(of)
			return w.spent[raw]
		}}
}

func (w *world) budget(t *testing.T, scope, of string, limit int64) {
	t.Helper()
	if _, err := w.db.Tenancy().SetBudget(t.Context(), w.org.ID, tenancy.Budget{Scope: scope, ID: of, LimitMicros: limit, SetFrom: tenancy.Platform}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) spend(t *testing.T, of string, n int64) {
	t.Helper()
	raw, err := id.ParseRaw(of)
	if err != nil {
		t.Fatal(err)
	}
	w.spent[raw] = n
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each threshold of each limit is told once, whatever is restarted in between, and what does not arrive is sent again.
func TestThresholdsAreToldOnce(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w, ctx := newWorld(t, db), t.Context()
		k := &taken{events: map[string]string{}, now: w.clock}
		srv := httptest.NewServer(k)
		defer srv.Close()
		who := webhook.Who{Org: w.org.ID, Project: w.prj.ID, Key: "key_x", Wide: true, Private: true}
		h, secret, err := w.service().Add(ctx, who, webhook.Spec{URL: srv.URL, Private: true, Wide: true})
		do(t, err)
		k.secret = []byte(secret)
		w.budget(t, tenancy.OfProject, w.prj.ID, 1000)
		w.budget(t, tenancy.OfOrganisation, w.org.ID, 0)
		step := func(spent int64, want map[string]int, requests int) {
			t.Helper()
			w.spend(t, w.prj.ID, spent)
			for range 2 {
				s := w.service()
				do(t, s.Watch(ctx))
				do(t, s.Deliver(ctx))
			}
			if d := cmp.Diff(want, k.thresholds(t)); d != "" || k.requests != requests || len(k.bad) > 0 {
				t.Errorf("spent %d: %s%d requests, not signed: %v", spent, d, k.requests, k.bad)
			}
		}
		step(499, map[string]int{}, 0)
		step(500, map[string]int{w.prj.ID: 50}, 1)
		step(799, map[string]int{w.prj.ID: 50}, 1)
		k.refuse = 2
		step(1000, map[string]int{w.prj.ID: 50}, 2) // of 80 and 100 at once the higher, which is refused
		w.pass(5 * time.Second)
		step(1000, map[string]int{w.prj.ID: 50}, 3) // refused again
		w.pass(9 * time.Second)
		step(1000, map[string]int{w.prj.ID: 50}, 3) // not due yet
		if all, err := w.service().List(ctx, who, page.All); err != nil || len(all) != 1 || all[0].LastError != "it answers 500" || all[0].LastAt.IsZero() {
			t.Errorf("%+v, %v", all, err)
		}
		w.pass(time.Second)
		step(1000, map[string]int{w.prj.ID: 100}, 4)
		w.budget(t, tenancy.OfProject, w.prj.ID, 2000) // another limit is warned of anew
		step(1000, map[string]int{w.prj.ID: 100}, 5)
		do(t, w.service().Remove(ctx, who, h.ID))
		step(2000, map[string]int{w.prj.ID: 100}, 5)
	})
}

func TestWhatNeverArrivesIsGivenUp(t *testing.T) {
	w, ctx := newWorld(t, sqltest.Open(t, sqltest.SQLite(t))), t.Context()
	k := &taken{events: map[string]string{}, now: w.clock, refuse: 1 << 30}
	srv := httptest.NewServer(k)
	defer srv.Close()
	who := webhook.Who{Org: w.org.ID, Project: w.prj.ID, Private: true}
	_, secret, err := w.service().Add(ctx, who, webhook.Spec{URL: srv.URL, Private: true, Thresholds: []int{1}})
	do(t, err)
	k.secret = []byte(secret)
	w.budget(t, tenancy.OfProject, w.prj.ID, 100)
	w.spend(t, w.prj.ID, 100)
	s := w.service()
	do(t, s.Watch(ctx))
	for range 4 * 24 { // four days
		do(t, s.Deliver(ctx))
		w.pass(time.Hour)
	}
	if k.requests < 60 || k.requests > 75 {
		t.Errorf("%d attempts", k.requests)
	}
	do(t, db(s).Forget(ctx, w.clock().Add(-time.Hour)))
	if due, err := db(s).Due(ctx, w.clock().Add(1000*time.Hour), 10); err != nil || len(due) != 0 {
		t.Errorf("%+v, %v", due, err)
	}
}

func db(s *webhook.Service) webhook.Store { return s.Store }

// A hook reaches no inner address unless an operator allowed it, whatever its name resolves to, and follows nothing.
func TestInnerAddressesAreRefused(t *testing.T) {
	w, ctx := newWorld(t, sqltest.Open(t, sqltest.SQLite(t))), t.Context()
	reached := false
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer srv.Close()
	plain := webhook.Who{Org: w.org.ID, Project: w.prj.ID}
	for _, spec := range []webhook.Spec{{URL: srv.URL}, {URL: "https://10.0.0.1/"}, {URL: "http://example.org"}, {URL: "ftp://example.org"}, {URL: srv.URL, Private: true},
		{URL: "https://example.org", Wide: true}, {URL: "https://example.org", Thresholds: []int{101}}, {URL: "https://example.org", Thresholds: []int{0}}} {
		if _, _, err := w.service().Add(ctx, plain, spec); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Forbidden) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	h, _, err := w.service().Add(ctx, plain, webhook.Spec{URL: strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)})
	do(t, err)
	err = w.service().Test(ctx, plain, h.ID)
	if told := fault.As(err).Sentence(); !fault.Is(err, fault.Unavailable) || reached || strings.Contains(told, "127.0.0.1") || !strings.Contains(told, "not a public one") {
		t.Errorf("reached %v: %v", reached, err)
	}
	moved := httptest.NewServer(http.RedirectHandler(srv.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	operator := webhook.Who{Org: w.org.ID, Project: w.prj.ID, Private: true}
	h, _, err = w.service().Add(ctx, operator, webhook.Spec{URL: moved.URL, Private: true})
	do(t, err)
	if err := w.service().Test(ctx, operator, h.ID); !fault.Is(err, fault.Unavailable) || reached {
		t.Errorf("a redirect was followed: %v", err)
	}
	stranger := webhook.Who{Org: w.org.ID, Project: "prj_other"}
	if err := w.service().Test(ctx, stranger, h.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a stranger tests it: %v", err)
	}
	if err := w.service().Remove(ctx, stranger, h.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a stranger removes it: %v", err)
	}
}

func TestVerify(t *testing.T) {
	secret, body, now := []byte("s"), []byte("{}"), time.Unix(1_800_000_000, 0)
	good := webhook.Sign(secret, now.Unix(), body)
	for name, c := range map[string]struct {
		secret, at, sig, body string
		want                  bool
	}{
		"good":         {"s", "1800000000", good, "{}", true},
		"other secret": {"t", "1800000000", good, "{}", false},
		"other body":   {"s", "1800000000", good, "{ }", false},
		"other time":   {"s", "1800000001", good, "{}", false},
		"old":          {"s", "1799990000", webhook.Sign(secret, 1799990000, body), "{}", false},
		"no time":      {"s", "", good, "{}", false},
		"no signature": {"s", "1800000000", "", "{}", false},
	} {
		if got := webhook.Verify([]byte(c.secret), c.at, c.sig, []byte(c.body), now, time.Minute); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
