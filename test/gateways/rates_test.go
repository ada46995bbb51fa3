package gateways

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// clock is a database's own, which the test puts to just before the end of a minute.
type clock struct {
	db    *sql.DB
	ahead time.Duration // of this machine's
}

// ownClock gives a database a clock that can be put; it returns the address under which it is seen.
func ownClock(t *testing.T, dsn string) (*clock, string) {
	u, err := url.Parse(dsn)
	ok(t, err)
	q := u.Query()
	q.Set("search_path", q.Get("search_path")+",pg_catalog") // in this order its own functions come first
	u.RawQuery = q.Encode()
	c := &clock{}
	c.db, err = sql.Open("pgx", u.String())
	ok(t, err)
	t.Cleanup(func() { c.db.Close() })
	for _, query := range []string{
		"CREATE TABLE shift (by INTERVAL NOT NULL)", "INSERT INTO shift VALUES ('0')",
		"CREATE FUNCTION clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE SQL VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + by FROM shift'",
	} {
		_, err := c.db.Exec(query)
		ok(t, err)
	}
	return c, u.String()
}

// put has the present minute end after some time.
func (c *clock) put(t *testing.T, rest time.Duration) {
	now := time.Now()
	c.ahead = now.Truncate(time.Minute).Add(2*time.Minute - rest).Sub(now)
	_, err := c.db.Exec(fmt.Sprintf("UPDATE shift SET by = INTERVAL '%d microseconds'", c.ahead.Microseconds()))
	ok(t, err)
}

func (c *clock) minute(at time.Time) int64 { return at.Add(c.ahead).Unix() / 60 }

// paced is a key under full load: what it was given and refused in each minute.
type paced struct {
	made      api.MadeKey
	what      string
	cap, each int64 // of a minute; of a request
	served    [2]atomic.Int64
	refused   [2]atomic.Int64
}

// Three gateways under full load on a key of 600 requests a minute and one of so many tokens: in no minute of the
// database's clock is more leased or served than the cap, and at least 98 % of it; of the minute in which a gateway is
// killed, 98 % less what it had leased and not used. It comes again within the minute, and still there is no more.
func TestRatesOverThreeGateways(t *testing.T) {
	t.Parallel()
	at, dsn := ownClock(t, sqltest.Postgres(t))
	p := newPlaceOn(t, dsn)
	probe := p.key(api.NewKey{Name: "probe"})
	at.put(t, 22*time.Second) // before any gateway has seen it
	for len(p.gateways) < 3 {
		p.addGateway("")
	}
	p.knows(p.gateways[2], probe.Key)
	var each int64
	for _, g := range p.gateways { // they learn what such a request takes
		for range 3 {
			if a := p.ask(t.Context(), g, probe.Key); a.status != 200 {
				t.Fatalf("%+v", a)
			}
		}
	}
	eventually(t, "a record", func() bool {
		u := p.used(probe.Object.ID)
		each = (u.PromptTokens + u.CompletionTokens) / max(1, u.Requests)
		return u.Requests == 9
	})
	const perMinute = 600
	keys := p.keys(api.NewKey{Name: "requests", RPM: perMinute}, api.NewKey{Name: "tokens", TPM: perMinute * each})
	loads := []*paced{{made: keys[0], what: "requests", cap: perMinute, each: 1}, {made: keys[1], what: "tokens", cap: perMinute * each, each: each}}
	first := at.minute(time.Now())
	stop := p.watchRates(at.db, keys[0].Object.ID, keys[1].Object.ID, perMinute, perMinute*each)
	defer stop()

	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, l := range loads {
		for i := range 18 {
			all.Go(func() { p.press(ctx, at, l, i%3, first) })
		}
	}
	defer all.Wait()
	defer end()
	for at.minute(time.Now()) == first {
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "the second minute's requests", func() bool { return loads[0].served[1].Load() > perMinute/4 && loads[1].served[1].Load() > perMinute/4 })
	victim := p.gateways[2]
	victim.cmd.Process.Kill()
	victim.end(syscall.SIGKILL)
	dead, killed := p.nodeOf(victim), time.Now()
	var leased [2]int64
	for i, column := range []string{"requests", "tokens"} {
		ok(t, at.db.QueryRow("SELECT COALESCE(SUM("+column+"), 0) FROM leases WHERE node = $1 AND account = $2 AND minute = $3", dead, loads[i].made.Object.ID, first+1).Scan(&leased[i]))
	}
	victim.start()
	eventually(t, "refusals of the second minute", func() bool { return loads[0].refused[1].Load() > 100 && loads[1].refused[1].Load() > 100 })
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until) && at.minute(time.Now()) == first+1; { // what lies idle goes where it is asked for
		time.Sleep(50 * time.Millisecond)
	}
	end()
	all.Wait()
	if at.minute(time.Now()) != first+1 {
		t.Fatal("the second minute was over before its requests were made")
	}
	time.Sleep(time.Second) // the records
	for i, l := range loads {
		p.holdRate(at, l, first, leased[i], dead, killed)
	}
}

// addGateway starts one more.
func (p *place) addGateway(own string) {
	g := p.newGateway(own)
	p.gateways = append(p.gateways, g)
	g.start()
}

// nodeOf is the name of a gateway's data directory.
func (p *place) nodeOf(g *process) string {
	text, err := os.ReadFile(filepath.Join(g.dir, "node"))
	ok(p.t, err)
	return strings.TrimSpace(string(text))
}

// press asks a gateway on and on.
func (p *place) press(ctx context.Context, at *clock, l *paced, gateway int, first int64) {
	for ctx.Err() == nil {
		began := at.minute(time.Now())
		a := p.ask(ctx, p.gateways[gateway], l.made.Key)
		i := began - first
		switch {
		case ctx.Err() != nil:
		case a.err != nil: // it was killed
			time.Sleep(50 * time.Millisecond)
		case a.status != 200 && a.status != 429 && a.status != 503:
			p.t.Errorf("answered %+v", a)
		case i > 1:
		case a.status == 200:
			l.served[i].Add(1)
		case a.status == 429:
			l.refused[i].Add(1)
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// watchRates proves at every moment that no more of a minute is leased than there is.
func (p *place) watchRates(db *sql.DB, requests, tokens string, rpm, tpm int64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			var over int
			err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM leases WHERE account IN ($1, $2) GROUP BY account, minute
 HAVING account = $1 AND SUM(requests) > $3 OR account = $2 AND SUM(tokens) > $4) AS x`, requests, tokens, rpm, tpm).Scan(&over)
			if ctx.Err() == nil && (err != nil || over > 0) {
				p.t.Errorf("%d minutes are leased beyond themselves: %v", over, err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}

// holdRate holds the records of two minutes against the cap. A request that came in the last moment of a minute may have
// been admitted in the next; all together are exact.
func (p *place) holdRate(at *clock, l *paced, first, leased int64, dead string, killed time.Time) {
	p.t.Helper()
	const moment = 250 * time.Millisecond
	rows, err := at.db.Query("SELECT started_at, node FROM usage_records WHERE key_id = $1", l.made.Object.ID)
	ok(p.t, err)
	defer rows.Close()
	var sum, sure [2]int64
	var used int64 // of the killed gateway in the second minute, until then
	for rows.Next() {
		var micros int64
		var by string
		ok(p.t, rows.Scan(&micros, &by))
		began := time.UnixMicro(micros)
		i := at.minute(began) - first
		sum[i]++
		if at.minute(began.Add(moment)) == at.minute(began) {
			sure[i]++
		}
		if by == dead && i == 1 && began.Before(killed) {
			used++
		}
	}
	ok(p.t, rows.Err())
	most := l.cap / l.each
	lost := max(0, leased/l.each-used)
	p.t.Logf("%s: %d and %d of %d were served; the killed gateway had leased %d and used %d of the second minute", l.what, sum[0], sum[1], most, leased/l.each, used)
	if sum[0]+sum[1] > 2*most || sure[0] > most || sure[1] > most {
		p.t.Errorf("%s: %d and %d were served of %d", l.what, sum[0], sum[1], most)
	}
	if l.refused[0].Load() == 0 {
		p.t.Logf("%s: this machine was too slow to use up the first minute", l.what)
	} else if 100*sum[0] < 98*most {
		p.t.Errorf("%s: only %d of %d were served", l.what, sum[0], most)
	}
	if 100*sum[1] < 98*most-100*lost {
		p.t.Errorf("%s: only %d of %d were served, of which a killed gateway took %d with it", l.what, sum[1], most, lost)
	}
}
