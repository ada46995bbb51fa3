package sql

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Accounts are the organisations, projects, keys, members and models that usage is charged to, by the ids that budgets
// have. A record's are its organisation, project, key and route, the keys above that key, and the members of all these
// keys.

// charge adds what newly stored records cost to the accounts that have a row, and takes it off their node's leases. The
// accounts are locked in one order by all.
func charge(ctx context.Context, tx *Tx, cache *lineCache, node string, sums map[day]*meter.Totals) error {
	if tx.dialect != Postgres || len(sums) == 0 {
		return nil
	}
	costs := map[string]int64{}
	for d, t := range sums {
		line, err := cache.lineOf(ctx, tx, d.key)
		if err != nil {
			return err
		}
		for _, account := range append([]string{d.org, d.project, d.route}, line...) {
			costs[account] = min(costs[account], math.MaxInt64-t.CostMicros) + t.CostMicros
		}
	}
	ids := slices.Sorted(maps.Keys(costs))
	amounts := make([]int64, len(ids))
	for i, id := range ids {
		amounts[i] = costs[id]
	}
	if _, err := All(ctx, tx, scanText, "SELECT id FROM accounts WHERE id = ANY(?) ORDER BY id FOR UPDATE", ids); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE accounts SET spent = accounts.spent + v.cost FROM unnest(CAST(? AS TEXT[]), CAST(? AS BIGINT[])) AS v (id, cost)
 WHERE accounts.id = v.id`, ids, amounts); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO leases (account, node, granted, shipped, minute, requests, tokens, places)
 SELECT v.id, CAST(? AS TEXT), 0, v.cost, 0, 0, 0, 0 FROM unnest(CAST(? AS TEXT[]), CAST(? AS BIGINT[])) AS v (id, cost)
 ON CONFLICT (account, node) DO UPDATE SET shipped = leases.shipped + excluded.shipped`, node, ids, amounts)
	return err
}

// lineCache keeps the accounts of keys: who made a key and whose it is never changes.
type lineCache struct {
	mu sync.Mutex
	of map[string][]string
}

// cachedLines bounds the cache; beyond it, it begins anew.
const cachedLines = 100_000

func (c *lineCache) lineOf(ctx context.Context, tx *Tx, key string) ([]string, error) {
	c.mu.Lock()
	line, ok := c.of[key]
	c.mu.Unlock()
	if ok {
		return line, nil
	}
	line, known, err := lineOf(ctx, tx, key)
	if err != nil || !known {
		return line, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil || len(c.of) >= cachedLines {
		c.of = map[string][]string{}
	}
	c.of[key] = line
	return line, nil
}

// lineOf lists the accounts of a key: itself, the keys above it, and their members. known says that there is such a key.
func lineOf(ctx context.Context, tx *Tx, key string) (out []string, known bool, err error) {
	out = []string{key}
	rows, err := All(ctx, tx, func(s Scanner) (r [3]string, err error) { return r, s.Scan(&r[0], &r[1], &r[2]) },
		`WITH RECURSIVE line (id, org_id, project_id, member, created_by) AS (
 SELECT id, org_id, project_id, member, created_by FROM api_keys WHERE id = ?
 UNION SELECT k.id, k.org_id, k.project_id, k.member, k.created_by FROM api_keys k JOIN line l ON k.id = l.created_by AND k.org_id = l.org_id)
 SELECT id, project_id, member FROM line`, key)
	for _, r := range rows {
		of := []string{r[0]}
		if r[2] != "" {
			of = append(of, tenancy.MemberID(r[1], r[2]))
		}
		for _, account := range of {
			if !slices.Contains(out, account) {
				out = append(out, account)
			}
		}
	}
	return out, len(rows) > 0, err
}

// below are the keys that where finds and those that they made.
const below = `WITH RECURSIVE below (id, org_id) AS (SELECT id, org_id FROM api_keys WHERE %s
 UNION SELECT k.id, k.org_id FROM api_keys k JOIN below b ON k.created_by = b.id AND k.org_id = b.org_id) `

const sumDays = "SELECT CAST(COALESCE(SUM(cost_micros), 0) AS BIGINT) FROM usage_days WHERE "

// spentBy sums what the stored records of an account cost.
func spentBy(ctx context.Context, tx *Tx, account string) (spent int64, err error) {
	query, args := "", []any{account}
	switch project, email, member := strings.Cut(account, ":"); {
	case member:
		query, args = fmt.Sprintf(below, "project_id = ? AND member = ?")+sumDays+"key_id IN (SELECT id FROM below)", []any{project, email}
	case strings.HasPrefix(account, "org_"):
		query = sumDays + "org_id = ?"
	case strings.HasPrefix(account, "prj_"):
		query = sumDays + "project_id = ?"
	case strings.HasPrefix(account, "rte_"):
		query = sumDays + "route_id = ?"
	default:
		query = fmt.Sprintf(below, "id = ?") + sumDays + "key_id IN (SELECT id FROM below)"
	}
	return spent, tx.QueryRow(ctx, query, args...).Scan(&spent)
}

// SpentBy is what the stored records of an organisation, project, key, member or model cost, micro-units; id is as in its
// budget.
func (m *Meter) SpentBy(ctx context.Context, id string) (spent int64, err error) {
	err = m.db.Read(ctx, func(tx *Tx) error {
		err := tx.QueryRow(ctx, "SELECT spent FROM accounts WHERE id = ?", id).Scan(&spent)
		if fault.Is(err, fault.NotFound) { // nobody has leased money of it
			spent, err = spentBy(ctx, tx, id)
		}
		return err
	})
	return spent, err
}

// checkAccounts compares what accounts are said to have spent with the sums by day.
func checkAccounts(ctx context.Context, tx *Tx, b *meter.Books) error {
	type account struct {
		id    string
		spent int64
	}
	all, err := All(ctx, tx, func(s Scanner) (a account, err error) { return a, s.Scan(&a.id, &a.spent) }, "SELECT id, spent FROM accounts ORDER BY id")
	for _, a := range all {
		sum, err := spentBy(ctx, tx, a.id)
		if err != nil {
			return err
		}
		if sum != a.spent && len(b.Faults) < 20 {
			b.Faults = append(b.Faults, fmt.Sprintf("%s is said to have spent %d micro-units, its records sum to %d.", a.id, a.spent, sum))
		}
	}
	return err
}
