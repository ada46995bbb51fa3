package hostile

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/test/wire"
)

// The database goes away under streams: they go on to their ends, requests meanwhile are served or refused as Unavailable,
// and when it is back every token is booked, once.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	w, dsn := wire.New(t, sqltest.Postgres(t))
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
	w.Cut()
	end := time.Now().Add(wire.Outage(t))
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
	w.Join()
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
