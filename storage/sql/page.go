package sql

import (
	"context"
	"strings"

	"github.com/triarch-ai/triarch/internal/page"
)

// order is what a paged list is ordered by. Text columns are compared byte by byte on both databases (see bytes).
type order struct {
	columns string // with commas
	numbers string // 'n' for each column that is a number, 't' for text
	down    bool   // greatest first
}

// bytes has a text column compared byte by byte, as SQLite does by itself: PostgreSQL would ask the database's
// collation.
func (t *Tx) bytes(column string) string {
	if t.dialect == Postgres {
		return column + ` COLLATE "C"`
	}
	return column
}

// paged is All of a page. query ends within its WHERE clause, and args are the query's.
func paged[T any](ctx context.Context, t *Tx, scan func(Scanner) (T, error), p page.Page, o order, query string, args ...any) ([]T, error) {
	columns := strings.Split(o.columns, ", ")
	for i := range columns {
		if o.numbers[i] == 't' {
			columns[i] = t.bytes(columns[i])
		}
	}
	than, way := ">", ""
	if o.down {
		than, way = "<", " DESC"
	}
	if len(p.After) > 0 {
		query += " AND (" + strings.Join(columns, ", ") + ") " + than + " (" + strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ") + ")"
		for i := range columns {
			if o.numbers[i] == 't' {
				args = append(args, p.After[i])
				continue
			}
			n, err := p.Number(i)
			if err != nil {
				return nil, err
			}
			args = append(args, n)
		}
	}
	query += " ORDER BY " + strings.Join(columns, way+", ") + way
	if p.Limit > 0 {
		query += " LIMIT ?"
		args = append(args, p.Limit)
	}
	return All(ctx, t, scan, query, args...)
}
