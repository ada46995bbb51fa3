package sql_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// gatewayNode is a node that spends leases: its book, and its ledger, which is a list here.
type gatewayNode struct {
	db   *sql.DB
	name string
	ring *auth.Keyring
	book *quota.Book

	stop  context.CancelFunc
	loops sync.WaitGroup

	shipping sync.Mutex

	mu     sync.Mutex
	ledger []meter.Record
	slot   int64
}

// start begins what a gateway does at its start: ship what the ledger has, take the node's place, spend.
func (n *gatewayNode) start(t *testing.T) {
	t.Helper()
	must(t, n.ship(context.Background()))
	leases, err := n.db.Begin(context.Background(), n.name)
	must(t, err)
	n.book = quota.NewLeased(n.ring, time.Now, leases, slog.New(slog.DiscardHandler))
	n.book.Patience = 2 * time.Second
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.loops.Go(func() { n.book.Keep(ctx) })
	n.loops.Go(func() {
		for ctx.Err() == nil {
			_ = n.ship(ctx)
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// kill ends the node's loops; its ledger and its leases stay as they are.
func (n *gatewayNode) kill() {
	n.stop()
	n.loops.Wait()
}

func (n *gatewayNode) ship(ctx context.Context) error {
	n.shipping.Lock() // the node's loop and the test at its end
	defer n.shipping.Unlock()
	n.mu.Lock()
	some := n.ledger
	n.mu.Unlock()
	if err := n.db.Meter().Ship(ctx, some); err != nil {
		return err
	}
	n.mu.Lock()
	n.ledger = n.ledger[len(some):]
	n.mu.Unlock()
	return nil
}

// settle books a request that cost prompt and completion tokens at 1 and 2 micro-units.
func (n *gatewayNode) settle(p *auth.Principal, r *quota.Reservation, route id.Raw, prompt, completion int) {
	use := meter.Usage{Input: int64(prompt), Output: int64(completion)}
	rec := meter.Record{Node: n.name, Segment: 1, Identity: meter.Identity{Request: id.Default().Raw(), Org: p.Org, Project: p.Project, Key: p.Key,
		Route: route, Model: "m", Prices: flat, Start: time.Now(), Kind: meter.Chat}, End: time.Now(), Outcome: meter.Finished, Usage: use}
	rec.CostMicros = meter.Bill(rec.Outcome, use, flat)
	n.mu.Lock()
	rec.Slot = n.slot
	n.slot++
	n.ledger = append(n.ledger, rec)
	n.mu.Unlock()
	r.Settle(rec.CostMicros, prompt, completion)
}

var flat = meter.Flat(1_000_000, 2_000_000).Resolved()

func gatewayNodes(t *testing.T, dsn string, h *house, n int) []*gatewayNode {
	var all []*gatewayNode
	for i := range n {
		node := &gatewayNode{db: sqltest.Open(t, dsn), name: fmt.Sprintf("node_%d", i), ring: h.ring}
		node.start(t)
		t.Cleanup(node.kill)
		all = append(all, node)
	}
	return all
}

// request is one of 10 prompt tokens, at most 40, and 5 completion tokens: 20 micro-units.
func request(p *auth.Principal) quota.Ask {
	return quota.Ask{Who: p, Prices: flat, Bytes: 40, Prompt: 40, Output: 5, Choices: 1, Count: func() (int, error) { return 10, nil }}
}

// held checks at every moment, until the returned function is called, that nothing is spent and leased beyond its budget.
func held(t *testing.T, db *sql.DB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			over, err := overspent(ctx, db)
			if ctx.Err() == nil && (err != nil || len(over) > 0) {
				t.Errorf("spent and leased beyond the budget: %v %v", over, err)
				return
			}
		}
	})
	return func() { cancel(); watch.Wait() }
}

func overspent(ctx context.Context, db *sql.DB) (out []string, err error) {
	err = db.Read(ctx, func(tx *sql.Tx) error {
		out, err = sql.All(ctx, tx, func(s sql.Scanner) (string, error) {
			var id string
			var limit, spent, leased int64
			err := s.Scan(&id, &limit, &spent, &leased)
			return fmt.Sprintf("%s: %d of %d, %d leased", id, spent, limit, leased), err
		}, `SELECT b.id, b.limit_micros, a.spent, CAST(COALESCE(SUM(GREATEST(0, l.granted - l.shipped)), 0) AS BIGINT) FROM budgets b JOIN accounts a ON a.id = b.id
 LEFT JOIN leases l ON l.account = b.id GROUP BY b.id, b.limit_micros, a.spent
 HAVING a.spent + COALESCE(SUM(GREATEST(0, l.granted - l.shipped)), 0) > b.limit_micros`)
		return err
	})
	return out, err
}

// Three nodes, 1,000 requests at once on money for ten: exactly ten are served, each to its end, and all is spent.
func TestMoneyForTenOnThreeNodes(t *testing.T) {
	dsn := sqltest.Postgres(t)
	db := sqltest.Open(t, dsn)
	h := newHouse(t, db)
	owner, _ := h.owner(t)
	nodes := gatewayNodes(t, dsn, h, 3)
	defer held(t, db)()
	for range 3 {
		began := time.Now()
		p := h.key(t, owner, tenancy.NewKey{Name: "ten", BudgetMicros: new(int64(200))})
		var served, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				n := nodes[i%3]
				r, err := n.book.Reserve(t.Context(), request(p))
				switch {
				case fault.Is(err, fault.NoMoney):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				default:
					time.Sleep(10 * time.Millisecond)
					served.Add(1)
					n.settle(p, r, id.Raw{}, 10, 5)
				}
			})
		}
		all.Wait()
		t.Log(time.Since(began))
		for _, n := range nodes {
			must(t, n.ship(t.Context()))
		}
		spent, err := db.Meter().SpentBy(t.Context(), p.KeyID)
		if must(t, err); served.Load() != 10 || spent != 200 {
			t.Errorf("%d served and %d refused, %d spent", served.Load(), refused.Load(), spent)
		}
	}
	books, err := db.Meter().Check(t.Context())
	if must(t, err); len(books.Faults) > 0 {
		t.Error(books.Faults)
	}
}

// A node that is killed keeps what it had leased until its ledger was read; then the rest is spendable to the last request.
func TestMoneyOfAKilledNode(t *testing.T) {
	dsn := sqltest.Postgres(t)
	db := sqltest.Open(t, dsn)
	h := newHouse(t, db)
	owner, _ := h.owner(t)
	p := h.key(t, owner, tenancy.NewKey{Name: "ten", BudgetMicros: new(int64(200))})
	nodes := gatewayNodes(t, dsn, h, 3)
	defer held(t, db)()
	serve := func(n *gatewayNode) bool {
		r, err := n.book.Reserve(t.Context(), request(p))
		if err != nil {
			return false
		}
		n.settle(p, r, id.Raw{}, 10, 5)
		return true
	}
	if !serve(nodes[0]) {
		t.Fatal("nothing is served")
	}
	lost, err := nodes[0].book.Reserve(t.Context(), request(p)) // under way when the node is killed
	must(t, err)
	_ = lost
	nodes[0].kill()
	served := 1
	for i := 0; served < 20 && serve(nodes[1+i%2]); i++ {
		served++
	}
	if served > 9 {
		t.Errorf("%d are served while the killed node has money for one", served)
	}
	old := nodes[0].book
	nodes[0].start(t)
	for i := 0; served < 20 && serve(nodes[i%3]); i++ {
		served++
	}
	if served != 10 {
		t.Errorf("%d are served after the recovery, want 10", served)
	}
	if _, err := old.Reserve(t.Context(), request(p)); err == nil {
		t.Error("the killed node's book still serves")
	}
}

// A node that is killed, or stopped, and comes again within the minute has not more of it than there is: what it used before
// is still used. The next minute is whole again.
func TestRatesOfAMinuteOutliveARestart(t *testing.T) {
	for name, l := range map[string]tenancy.Limits{"requests": {RPM: 60}, "tokens": {TPM: 60 * 15}} {
		t.Run(name, func(t *testing.T) {
			dsn := shifted(t, sqltest.Postgres(t))
			h := newHouse(t, sqltest.Open(t, dsn))
			owner, _ := h.owner(t)
			p := h.key(t, owner, tenancy.NewKey{Name: "p", Limits: l})
			all := gatewayNodes(t, dsn, h, 2)
			served := 0
			storm := func() {
				t.Helper()
				for refused := 0; refused < 20; { // a lease that lies idle on one goes to the other
					for _, n := range all {
						r, err := n.book.Reserve(t.Context(), request(p))
						switch {
						case err == nil:
							served++
							r.Settle(0, 10, 5)
						case !fault.Is(err, fault.RateLimited):
							t.Fatal(err)
						default:
							refused++
							time.Sleep(10 * time.Millisecond)
						}
					}
				}
			}
			for range 20 {
				r, err := all[1].book.Reserve(t.Context(), request(p))
				must(t, err)
				r.Settle(0, 10, 5)
				served++
			}
			for range 3 {
				all[1].kill()
				all[1].start(t)
			}
			storm()
			if served > 60 || served < 20 {
				t.Errorf("%d were served in a minute of 60", served)
			}
			t.Logf("%d of 60 were served, through three restarts", served)
			all[0].kill()
			all[1].kill()
			shift(t, dsn, time.Minute)
			served = 0
			all[0].start(t)
			all[1].start(t)
			storm()
			if served < 58 || served > 60 {
				t.Errorf("%d were served in the next minute of 60", served)
			}
		})
	}
}

// shifted gives a database a clock of its own, which stands at the beginning of a minute when the test does.
func shifted(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	q := u.Query()
	q.Set("search_path", q.Get("search_path")+",pg_catalog")
	u.RawQuery = q.Encode()
	db := sqltest.Open(t, u.String())
	must(t, db.Write(t.Context(), func(tx *sql.Tx) error {
		for _, query := range []string{
			"CREATE TABLE shift (by INTERVAL NOT NULL)",
			"INSERT INTO shift SELECT date_trunc('minute', pg_catalog.clock_timestamp()) + INTERVAL '1 minute 1 second' - pg_catalog.clock_timestamp()",
			"CREATE FUNCTION clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE SQL VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + by FROM shift'",
		} {
			if err := exec(t.Context(), tx, query); err != nil {
				return err
			}
		}
		return nil
	}))
	return u.String()
}

// shift puts the clock of a database forward.
func shift(t *testing.T, dsn string, by time.Duration) {
	t.Helper()
	must(t, sqltest.Open(t, dsn).Write(t.Context(), func(tx *sql.Tx) error {
		return exec(t.Context(), tx, fmt.Sprintf("UPDATE shift SET by = by + INTERVAL '%d milliseconds'", by.Milliseconds()))
	}))
}

// A process whose place was taken learns it, and admits nothing that is bounded.
func TestFenced(t *testing.T) {
	dsn := sqltest.Postgres(t)
	db := sqltest.Open(t, dsn)
	h := newHouse(t, db)
	owner, _ := h.owner(t)
	p := h.key(t, owner, tenancy.NewKey{Name: "p", Limits: tenancy.Limits{RPM: 100}})
	first := gatewayNodes(t, dsn, h, 1)[0]
	r, err := first.book.Reserve(t.Context(), request(p))
	must(t, err)
	r.Settle(0, 0, 0)
	beside, err := db.Begin(t.Context(), "beside")
	must(t, err)
	pulse, err := beside.Beat(t.Context(), nil)
	if must(t, err); pulse.Nodes != 2 {
		t.Errorf("%d nodes live", pulse.Nodes)
	}
	_, err = db.Begin(t.Context(), first.name)
	must(t, err)
	for range 100 {
		if _, err = first.book.Reserve(t.Context(), request(p)); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if fault.As(err).Code != "fenced" {
		t.Errorf("refused with %v", err)
	}
	if _, err := sqltest.Open(t, sqltest.SQLite(t)).Begin(t.Context(), "x"); !fault.Is(err, fault.Unsupported) {
		t.Errorf("leases on SQLite: %v", err)
	}
}

// However nodes come, spend, die and come again, whatever is bounded, nothing is ever spent or leased beyond it, and the
// accounts are what the records sum to.
func TestLeasesUnderChaos(t *testing.T) {
	dsn := sqltest.Postgres(t)
	db := sqltest.Open(t, dsn)
	h := newHouse(t, db)
	owner, _ := h.owner(t)
	must(t, only(h.PutMember(t.Context(), owner.Maker(), owner.ProjectID, "ann@example.org", tenancy.Owner)))
	top := h.key(t, owner, tenancy.NewKey{Name: "top", Role: tenancy.Owner, Scopes: tenancy.Ordinary, BudgetMicros: new(int64(9000))})
	keys := []*auth.Principal{h.key(t, top, tenancy.NewKey{Name: "a", BudgetMicros: new(int64(4000))}),
		h.key(t, top, tenancy.NewKey{Name: "b", Member: "ann@example.org"}), h.key(t, owner, tenancy.NewKey{Name: "c", Member: "ann@example.org"})}
	for _, b := range []tenancy.Budget{{Scope: tenancy.OfMember, ID: tenancy.MemberID(owner.ProjectID, "ann@example.org"), LimitMicros: 5000},
		{Scope: tenancy.OfOrganisation, ID: owner.OrgID, LimitMicros: 11000}} {
		must(t, only(h.SetBudget(t.Context(), owner.Maker(), b)))
	}
	nodes := gatewayNodes(t, dsn, h, 3)
	stop := held(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var served atomic.Int64
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(i)))
			for ctx.Err() == nil {
				var work sync.WaitGroup
				for range 30 {
					p := keys[r.IntN(len(keys))]
					completion, pause := r.IntN(6), time.Duration(r.IntN(4))*time.Millisecond
					work.Go(func() {
						x, err := n.book.Reserve(ctx, request(p))
						if err != nil {
							return
						}
						served.Add(1)
						time.Sleep(pause)
						_, most := x.Bounds()
						n.settle(p, x, id.Raw{}, 10, min(completion, most))
					})
				}
				work.Wait()
				if r.IntN(8) == 0 {
					n.kill()
					n.start(t)
				}
			}
		})
	}
	all.Wait()
	stop()
	for _, n := range nodes {
		must(t, n.ship(t.Context()))
	}
	over, err := overspent(t.Context(), db)
	must(t, err)
	books, err := db.Meter().Check(t.Context())
	if must(t, err); len(over)+len(books.Faults) > 0 || served.Load() < 500 {
		t.Errorf("%d served, %v, %v", served.Load(), over, books.Faults)
	}
}
