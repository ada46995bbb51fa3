package sql

import (
	"context"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// Leases is the quota.Authority of one node on PostgreSQL.
//
// `spent + leased <= limit` holds at every moment: a lease is granted while the account's row is locked, and falls by the
// cost of each record in the transaction that stores the record (Meter.Ship). What a dead node had leased stays leased
// until its ledger was shipped and Begin is called for it again.
type Leases struct {
	db    *DB
	node  string
	epoch int64
	known map[string]bool // accounts that have a row; quota asks one question at a time
}

var _ quota.Authority = (*Leases)(nil)

const (
	aliveFor = 10 * time.Second // after its last word a node's places are free
	shortFor = time.Second      // how long a node's want stands
)

// clock is the database's, in microseconds.
const clock = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"

// Begin takes the place of a node: whoever had it before is fenced, and what it had leased is given back, but for the
// requests and tokens of the present minute, which may be used. Call it only
// when the node's ledger is recovered and shipped, else what it still holds could be spent twice. fault.Unsupported where
// the database is no PostgreSQL.
func (db *DB) Begin(ctx context.Context, node string) (*Leases, error) {
	if db.dialect != Postgres {
		return nil, fault.New(fault.Unsupported, "Only PostgreSQL shares limits between nodes.", fault.Field("database"),
			fault.Fix("Give a database of PostgreSQL: postgres://..."))
	}
	l := &Leases{db: db, node: node, known: map[string]bool{}}
	err := db.Write(ctx, func(tx *Tx) error {
		err := tx.QueryRow(ctx, "INSERT INTO gateway_nodes (id, epoch, seen) VALUES (?, 1, "+clock+`) ON CONFLICT (id)
 DO UPDATE SET epoch = gateway_nodes.epoch + 1, seen = excluded.seen RETURNING epoch`, node).Scan(&l.epoch)
		if err != nil {
			return err
		}
		return giveUp(ctx, tx, node)
	})
	return l, err
}

// gone is the node that has what ended nodes were granted of the present minute's requests and tokens.
const gone = ""

// giveUp ends a node's leases. Money and places are free again; requests and tokens of the present minute may have been
// used, and stay taken until it is over: a gateway that comes again at once begins to count at nothing.
func giveUp(ctx context.Context, tx *Tx, node string) error {
	_, err := tx.Exec(ctx, `INSERT INTO leases (account, node, granted, shipped, minute, requests, tokens, places)
 SELECT account, CAST(? AS TEXT), 0, 0, minute, requests, tokens, 0 FROM leases
 WHERE node = ? AND minute = `+clock+` / 60000000 AND requests + tokens > 0 ORDER BY account
 ON CONFLICT (account, node) DO UPDATE SET minute = excluded.minute,
 requests = excluded.requests + CASE WHEN leases.minute = excluded.minute THEN leases.requests ELSE 0 END,
 tokens = excluded.tokens + CASE WHEN leases.minute = excluded.minute THEN leases.tokens ELSE 0 END`, gone, node)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DELETE FROM leases WHERE node = ?", node)
	return err
}

// End gives back what Begin does, for a node that stops after its records were shipped, and says that it lives no more.
func (l *Leases) End(ctx context.Context) error {
	return l.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "UPDATE gateway_nodes SET epoch = epoch + 1, seen = 0 WHERE id = ? AND epoch = ?", l.node, l.epoch)
		if err != nil || n == 0 {
			return err
		}
		return giveUp(ctx, tx, l.node)
	})
}

// alive says that the node lives, unless another has taken its place.
func (l *Leases) alive(ctx context.Context, tx *Tx) error {
	n, err := tx.Exec(ctx, "UPDATE gateway_nodes SET seen = "+clock+" WHERE id = ? AND epoch = ?", l.node, l.epoch)
	if err == nil && n == 0 {
		return quota.ErrFenced
	}
	return err
}

// Beat implements quota.Authority.
func (l *Leases) Beat(ctx context.Context, accounts []string) (p quota.Pulse, err error) {
	err = l.db.Write(ctx, func(tx *Tx) error {
		p = quota.Pulse{}
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil { // a beat that is lost is followed by another
			return err
		}
		if err := l.alive(ctx, tx); err != nil {
			return err
		}
		if len(accounts) > 0 {
			var err error
			if p.Short, err = All(ctx, tx, scanText, "SELECT id FROM accounts WHERE id = ANY(?) AND short_node <> ? AND short_until > "+clock, accounts, l.node); err != nil {
				return err
			}
		}
		var err error
		if p.Now, err = clockOf(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT COUNT(*) FROM gateway_nodes WHERE seen > ?", p.Now.Add(-aliveFor).UnixMicro()).Scan(&p.Nodes)
	})
	return p, err
}

func scanText(s Scanner) (t string, err error) { return t, s.Scan(&t) }

func clockOf(ctx context.Context, tx *Tx) (time.Time, error) {
	var micros int64
	err := tx.QueryRow(ctx, "SELECT "+clock).Scan(&micros)
	return time.UnixMicro(micros), err
}

// Renew implements quota.Authority.
func (l *Leases) Renew(ctx context.Context, claims []quota.Claim) (a quota.Answer, err error) {
	ids := make([]string, len(claims))
	for i := range claims {
		ids[i] = claims[i].Account
	}
	for range 2 { // a row can go when the books are rebuilt
		if err := l.know(ctx, ids); err != nil {
			return a, err
		}
		err = l.db.Write(ctx, func(tx *Tx) (err error) {
			a, err = l.renew(ctx, tx, claims, ids)
			return err
		})
		if !fault.Is(err, fault.NotFound) {
			return a, err
		}
		clear(l.known)
	}
	return a, err
}

// know makes the rows of accounts that have none: what their records sum to, while nobody adds to that.
func (l *Leases) know(ctx context.Context, ids []string) error {
	fresh := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return l.known[id] })
	if len(fresh) == 0 {
		return nil
	}
	slices.Sort(fresh)
	err := l.db.Write(ctx, func(tx *Tx) error {
		have, err := All(ctx, tx, scanText, "SELECT id FROM accounts WHERE id = ANY(?)", fresh)
		if err != nil {
			return err
		}
		fresh := slices.DeleteFunc(slices.Clone(fresh), func(id string) bool { return slices.Contains(have, id) })
		if len(fresh) == 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, "LOCK TABLE usage_days IN SHARE MODE"); err != nil {
			return err
		}
		for _, id := range fresh {
			spent, err := spentBy(ctx, tx, id)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO accounts (id, spent, short_until, short_node) VALUES (?, ?, 0, '') ON CONFLICT (id) DO NOTHING", id, spent); err != nil {
				return err
			}
		}
		return nil
	})
	for _, id := range fresh {
		l.known[id] = err == nil
	}
	return err
}

func (l *Leases) renew(ctx context.Context, tx *Tx, claims []quota.Claim, ids []string) (a quota.Answer, err error) {
	if err := l.alive(ctx, tx); err != nil {
		return a, err
	}
	all, err := locked(ctx, tx, ids)
	if err != nil {
		return a, err
	}
	if a.Now, err = clockOf(ctx, tx); err != nil { // after the locks: it is the minute in which this is granted
		return a, err
	}
	minute := a.Now.Unix() / 60
	var nodes int64
	if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM gateway_nodes WHERE seen > ?", a.Now.Add(-aliveFor).UnixMicro()).Scan(&nodes); err != nil {
		return a, err
	}
	if err := l.leased(ctx, tx, all, ids, minute, a.Now); err != nil {
		return a, err
	}
	var short []string
	for i := range claims {
		g, lacks := claims[i].Decide(all[ids[i]], nodes, minute)
		if a.Grants = append(a.Grants, g); lacks {
			short = append(short, ids[i])
		}
	}
	return a, l.write(ctx, tx, ids, a, short)
}

// locked reads the accounts, locked, with what bounds them.
func locked(ctx context.Context, tx *Tx, ids []string) (map[string]*quota.Standing, error) {
	all := make(map[string]*quota.Standing, len(ids))
	_, err := All(ctx, tx, func(s Scanner) (struct{}, error) {
		var id string
		x := &quota.Standing{}
		err := s.Scan(&id, &x.Spent)
		all[id] = x
		return struct{}{}, err
	}, "SELECT id, spent FROM accounts WHERE id = ANY(?) ORDER BY id FOR UPDATE", ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if all[id] == nil {
			return nil, fault.New(fault.NotFound, "An account is gone.")
		}
	}
	_, err = All(ctx, tx, func(s Scanner) (struct{}, error) {
		var id string
		var b tenancy.Bound
		if err := s.Scan(&id, &b.Budgeted, &b.Budget, &b.RPM, &b.TPM, &b.Concurrency); err != nil {
			return struct{}{}, err
		}
		x := all[id]
		if b.Budgeted {
			x.Budgeted, x.Budget = true, b.Budget
		} else {
			x.Limits = b.Limits
		}
		return struct{}{}, nil
	}, `SELECT id, TRUE, limit_micros, 0, 0, 0 FROM budgets WHERE id = ANY(?)
 UNION ALL SELECT id, FALSE, 0, rpm, tpm, concurrency FROM limits WHERE id = ANY(?)`, ids, ids)
	return all, err
}

// leased reads what the nodes have of the accounts.
func (l *Leases) leased(ctx context.Context, tx *Tx, all map[string]*quota.Standing, ids []string, minute int64, now time.Time) error {
	_, err := All(ctx, tx, func(s Scanner) (struct{}, error) {
		var account, node string
		var granted, shipped, of, requests, tokens, places, seen int64
		if err := s.Scan(&account, &node, &granted, &shipped, &of, &requests, &tokens, &places, &seen); err != nil {
			return struct{}{}, err
		}
		x := all[account]
		if node == l.node {
			x.Shipped = shipped
			return struct{}{}, nil
		}
		x.Others += max(0, granted-shipped)
		if of == minute {
			x.OthersRequests, x.OthersTokens = x.OthersRequests+requests, x.OthersTokens+tokens
		}
		if seen > now.Add(-aliveFor).UnixMicro() {
			x.OthersPlaces += places
		}
		return struct{}{}, nil
	}, `SELECT l.account, l.node, l.granted, l.shipped, l.minute, l.requests, l.tokens, l.places, COALESCE(n.seen, 0)
 FROM leases l LEFT JOIN gateway_nodes n ON n.id = l.node WHERE l.account = ANY(?)`, ids)
	return err
}

// write stores what was granted.
func (l *Leases) write(ctx context.Context, tx *Tx, ids []string, a quota.Answer, short []string) error {
	columns := make([][]int64, 5)
	for _, g := range a.Grants {
		for i, n := range []int64{g.Granted, g.Minute, g.Requests, g.Tokens, g.Places} {
			columns[i] = append(columns[i], n)
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO leases (account, node, granted, shipped, minute, requests, tokens, places)
 SELECT v.account, CAST(? AS TEXT), v.granted, 0, v.minute, v.requests, v.tokens, v.places FROM unnest(CAST(? AS TEXT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
 CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS v (account, granted, minute, requests, tokens, places)
 ON CONFLICT (account, node) DO UPDATE SET granted = excluded.granted, minute = excluded.minute, requests = excluded.requests,
 tokens = excluded.tokens, places = excluded.places`, l.node, ids, columns[0], columns[1], columns[2], columns[3], columns[4])
	if err != nil || len(short) == 0 {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE accounts SET short_until = ?, short_node = ? WHERE id = ANY(?)", a.Now.Add(shortFor).UnixMicro(), l.node, short)
	return err
}
