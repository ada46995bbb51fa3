package hostile

import (
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// wire is the way to a database, which can be cut: connections break, and new ones are refused.
type wire struct {
	t    *testing.T
	addr string // of this end
	far  string
	mu   sync.Mutex
	ln   net.Listener
	open map[net.Conn]bool
}

// newWire leads to the server of a DSN and returns the DSN that goes through it.
func newWire(t *testing.T, dsn string) (*wire, string) {
	u, err := url.Parse(dsn)
	ok(t, err)
	w := &wire{t: t, addr: "127.0.0.1:0", far: u.Host, open: map[net.Conn]bool{}}
	w.join()
	t.Cleanup(w.cut)
	u.Host = w.addr
	return w, u.String()
}

// join lets connections through, at the same address as before.
func (w *wire) join() {
	w.t.Helper()
	ln, err := net.Listen("tcp", w.addr)
	ok(w.t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ln, w.addr = ln, ln.Addr().String()
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go w.carry(ln, near)
		}
	}()
}

func (w *wire) carry(ln net.Listener, near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.far)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	if w.ln != ln { // cut meanwhile
		w.mu.Unlock()
		return
	}
	w.open[near], w.open[far] = true, true
	w.mu.Unlock()
	go func() { _, _ = io.Copy(far, near); far.Close() }()
	_, _ = io.Copy(near, far)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, near)
	delete(w.open, far)
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ln != nil {
		w.ln.Close()
	}
	for c := range w.open {
		c.Close()
	}
	w.ln, w.open = nil, map[net.Conn]bool{}
}

func outage(t *testing.T) time.Duration {
	text := os.Getenv("TRIARCH_HOSTILE_OUTAGE")
	if text == "" {
		return 4 * time.Second
	}
	d, err := time.ParseDuration(text)
	ok(t, err)
	return d
}

// The database goes away under streams: they go on to their ends, requests meanwhile are served or refused as Unavailable,
// and when it is back every token is booked, once.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	w, dsn := newWire(t, sqltest.Postgres(t))
	p := newPlace(t, "TRIARCH_DATABASE="+dsn)
	p.route("paced")
	p.well()
	k := p.key("streams")
	var all sync.WaitGroup
	const n = 60
	for i := range n {
		d := dialects[i%len(dialects)]
		if !d.stream || d.name == "responses" { // which are kept in the database
			d = dialects[0]
		}
		all.Go(func() {
			if a := p.ask(t.Context(), d, "paced", k.Key, 400); d.wrong(a, true) != "" || a.tokens != 300 {
				t.Errorf("a stream by %s: %s: %d, %d tokens", d.name, d.wrong(a, true), a.status, a.tokens)
			}
		})
	}
	eventually(t, "all streams", func() bool { return p.provider.open.Load() == n })
	w.cut()
	end := time.Now().Add(outage(t))
	var served, refused atomic.Int64
	for time.Now().Before(end) {
		switch a := p.ask(t.Context(), dialects[0], "good", k.Key, 16); {
		case a.status == 200 && a.tokens == 3:
			served.Add(1)
		case a.status == 503 && gjson.GetBytes(a.text, "error.message").Exists():
			refused.Add(1)
		default:
			t.Errorf("without the database: %d %s %v", a.status, a.text, a.err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	all.Wait()
	w.join()
	t.Logf("without the database %d requests were served and %d refused", served.Load(), refused.Load())
	var u api.Totals
	eventually(t, "the records", func() bool {
		if _, err := p.api.VerifyUsage(t.Context()); err != nil {
			return false // not back yet
		}
		u = p.used(k)
		return u.Requests >= n+served.Load()
	})
	if want := 300*n + 3*served.Load(); u.CompletionTokens != want || u.Requests != n+served.Load() || u.CostMicros != u.PromptTokens+2*want {
		t.Errorf("%d tokens were delivered in %d requests, billed %+v", want, n+served.Load(), u)
	}
	eventually(t, "leases for others", func() bool { return p.ask(t.Context(), dialects[0], "good", p.good().Key, 16).status == 200 })
	p.well()
	p.reconcile()
}
