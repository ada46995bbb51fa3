package gateways

import (
	"context"
	"database/sql"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // reads the database behind the programs' backs
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
)

// used is what the records of a key sum to.
func (p *place) used(key string) api.Totals {
	p.t.Helper()
	u, err := p.api.Usage(p.t.Context(), api.UsageQuery{Key: key})
	ok(p.t, err)
	return u.Totals
}

// funded makes a key with money for so many requests.
func (p *place) funded(requests, cost int64) api.MadeKey {
	money := requests * cost
	return p.key(api.NewKey{Name: "funded", BudgetMicros: &money})
}

// storm sends so many requests at once over all gateways, and returns how many were served.
func (p *place) storm(n int, key string, each func(served int64)) int64 {
	var served atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		g := p.gateways[i%len(p.gateways)]
		all.Go(func() {
			switch a := p.ask(p.t.Context(), g, key); {
			case a.err != nil: // its gateway was killed
			case a.status == 200:
				each(served.Add(1))
			case a.status != 429 && a.status != 503:
				p.t.Errorf("answered %+v", a)
			}
		})
	}
	all.Wait()
	return served.Load()
}

// watch proves at every moment that no key spent and leased more than it may, until the returned function is called.
func (p *place) watch() (stop func()) {
	db, err := sql.Open("pgx", p.dsn)
	ok(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		defer db.Close()
		for ctx.Err() == nil {
			var over int
			err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT b.id FROM budgets b JOIN accounts a ON a.id = b.id LEFT JOIN leases l ON l.account = b.id
 GROUP BY b.id, b.limit_micros, a.spent HAVING a.spent + COALESCE(SUM(GREATEST(0, l.granted - l.shipped)), 0) > b.limit_micros) AS x`).Scan(&over)
			if ctx.Err() == nil && (err != nil || over > 0) {
				p.t.Errorf("%d budgets are spent and leased beyond themselves: %v", over, err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}

// Three gateways, 1,000 requests at once on money for ten: exactly ten are served. With a gateway killed in the middle never
// more, and after its recovery the rest is spendable to the tenth. All goes on without the control plane.
func TestMoneyForTen(t *testing.T) {
	p := newPlace(t, 3)
	stop := p.watch()
	defer stop()
	free := p.key(api.NewKey{Name: "free"})
	probe := p.ask(t.Context(), p.gateways[0], free.Key)
	if probe.status != 200 || probe.cost == 0 {
		t.Fatalf("%+v", probe)
	}

	undisturbed := p.funded(10, probe.cost)
	if served := p.storm(1000, undisturbed.Key, func(int64) {}); served != 10 {
		t.Errorf("%d of 1,000 were served on money for ten", served)
	}
	eventually(t, "the records", func() bool { return p.used(undisturbed.Object.ID).Requests >= 10 })
	if u := p.used(undisturbed.Object.ID); u.Requests != 10 || u.CostMicros != 10*probe.cost {
		t.Errorf("booked %+v", u)
	}

	for _, recoverIt := range []bool{false, true} {
		k := p.funded(10, probe.cost)
		victim := p.gateways[2]
		var once sync.Once
		served := p.storm(1000, k.Key, func(int64) { once.Do(func() { victim.cmd.Process.Kill() }) })
		victim.end(syscall.SIGKILL)
		if served > 10 {
			t.Errorf("%d were served on money for ten", served)
		}
		rest := p.gateways[:2]
		if recoverIt {
			text, err := run(p.env, "gateway", "recover", victim.dir, "-o", "json")
			if err != nil || !strings.Contains(text, `"node"`) {
				t.Errorf("recover: %v %s", err, text)
			}
			p.gateways = rest // the victim will not come back
		} else {
			victim.start()
			p.knows(victim, k.Key)
			rest = p.gateways
		}
		for i := range 40 {
			if a := p.ask(t.Context(), rest[i%len(rest)], k.Key); a.status == 429 && a.code == "insufficient_quota" {
				break
			} else if a.status == 200 {
				served++
			} else {
				t.Errorf("%+v", a)
			}
		}
		var u api.Totals
		eventually(t, "all money to be booked", func() bool { u = p.used(k.Object.ID); return u.CostMicros >= 10*probe.cost })
		if u.CostMicros != 10*probe.cost || served > 10 {
			t.Errorf("recover %v: %d were served, booked %+v, want money for ten", recoverIt, served, u)
		}
	}

	books, err := p.api.VerifyUsage(t.Context())
	if ok(t, err); len(books.Faults) > 0 {
		t.Error(books.Faults)
	}
	alone := p.funded(3, probe.cost)
	p.control.end(syscall.SIGKILL)
	for i := range 4 {
		if a := p.ask(t.Context(), p.gateways[i%2], alone.Key); a.status != map[bool]int{true: 200, false: 429}[i < 3] {
			t.Errorf("request %d without the control plane: %+v", i, a)
		}
	}
	p.control.start()
}

// A gateway of its own needs PostgreSQL, a control plane that was there, its key, and a data directory of its own; a second
// control plane is refused.
func TestRefusals(t *testing.T) {
	p := newPlace(t, 1)
	none := append(strings.Split(strings.Join(p.env[:len(p.env)-1], "\n"), "\n"), "TRIARCH_LISTEN=127.0.0.1:0")
	with := append(none, "TRIARCH_DATABASE="+p.dsn)
	for name, c := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"on SQLite":                {none, []string{"gateway", "--data", t.TempDir()}, "PostgreSQL"},
		"without the key":          {with, []string{"gateway", "--data", t.TempDir()}, "installation's key"},
		"on the control plane's":   {with, []string{"gateway", "--data", p.control.dir}, "already runs"},
		"a second control plane":   {with, []string{"up", "--no-starter", "--data", t.TempDir()}, "belongs to another data directory"},
		"recover of a living one":  {with, []string{"gateway", "recover", p.gateways[0].dir}, "already runs"},
		"recover of another thing": {with, []string{"gateway", "recover", t.TempDir()}, "no data directory"},
	} {
		if text, err := run(c.env, c.args...); err == nil || !strings.Contains(text, c.want) {
			t.Errorf("%s: %v %s", name, err, text)
		}
	}
}

// Replicas listen where the control plane tells them to, gateways reach them there, and nobody does without the replica's
// secret.
func TestReplicasListenWhereTheyAreTold(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.reach(newProvider(t)) // another one, of the embedded engine
	k := p.key(api.NewKey{Name: "k"})
	if a := p.ask(t.Context(), p.gateways[0], k.Key); a.status != 200 {
		t.Errorf("%+v", a)
	}
	files, err := filepath.Glob(filepath.Join(p.control.dir, "work", "*", "attempts", "*", "endpoint.json"))
	if ok(t, err); len(files) != 2 {
		t.Fatalf("%d replicas announced themselves", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		ok(t, err)
		addr := gjson.GetBytes(text, "addr").String()
		if p.listen != "" && !strings.HasPrefix(addr, p.listen+":") {
			t.Errorf("a replica listens on %s", addr)
		}
		for _, path := range []string{"/health", "/v1/models", "/v1/chat/completions", "/tokenize", "/metrics"} {
			for _, secret := range []string{"", "Bearer ", "Bearer " + k.Key} {
				req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+path, strings.NewReader(`{"model":"m"}`))
				ok(t, err)
				req.Header.Set("Authorization", secret)
				resp, err := p.client.Do(req)
				ok(t, err)
				if resp.Body.Close(); resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s with %q: %d", path, secret, resp.StatusCode)
				}
			}
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", p.gateways[0].url+"/v1/files", nil)
	ok(t, err)
	req.Header.Set("Authorization", "Bearer "+k.Key)
	resp, err := p.client.Do(req)
	ok(t, err)
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNotImplemented || !strings.Contains(gjson.GetBytes(text, "error.message").String(), "control plane") {
		t.Errorf("files of a gateway alone: %d %s", resp.StatusCode, text)
	}
}

// Rates over three gateways in real minutes; long, so only when TRIARCH_RATE_MINUTES says how many.
func TestRateOfAMinute(t *testing.T) {
	if os.Getenv("TRIARCH_RATE_MINUTES") == "" {
		t.Log("TRIARCH_RATE_MINUTES is not set; tenancy/quota has the same with a clock of its own")
		return
	}
	minutes, err := time.ParseDuration(os.Getenv("TRIARCH_RATE_MINUTES") + "m")
	ok(t, err)
	p := newPlace(t, 3)
	const rpm = 600
	k := p.key(api.NewKey{Name: "paced", RPM: rpm})
	ctx, cancel := context.WithTimeout(t.Context(), minutes+time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			for ctx.Err() == nil {
				if a := p.ask(ctx, p.gateways[i%3], k.Key); ctx.Err() == nil && a.status != 200 && a.status != 429 {
					t.Errorf("%+v", a)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	all.Wait()
	time.Sleep(time.Second)
	db, err := sql.Open("pgx", p.dsn)
	ok(t, err)
	defer db.Close()
	rows, err := db.Query("SELECT started_at / 60000000, COUNT(*) FROM usage_records WHERE key_id = $1 GROUP BY 1 ORDER BY 1", k.Object.ID)
	ok(t, err)
	defer rows.Close()
	var counts []int
	for rows.Next() {
		var minute int64
		var n int
		ok(t, rows.Scan(&minute, &n))
		counts = append(counts, n)
	}
	ok(t, rows.Err())
	t.Logf("requests of each minute: %v", counts)
	for i, n := range counts {
		if whole := i > 0 && i < len(counts)-1; n > rpm || whole && 100*n < 98*rpm {
			t.Errorf("minute %d of %d had %d requests", i, len(counts), n)
		}
	}
}
