// Package sql keeps everything that needs transactions, on SQLite or PostgreSQL with one text for both.
//
// Rules for callers (and for each domain's file in this package):
//   - Statements are portable: placeholders are `?`, types TEXT and BIGINT (booleans 0 and 1, times microseconds UTC,
//     JSON and hashes as text), upserts `INSERT ... ON CONFLICT (...) DO UPDATE`. Sort names in Go where order
//     matters to the byte: databases collate differently.
//   - Write runs its function in one transaction and may run it again after a conflict, so the function must change
//     nothing outside the database until it has returned. When Write returns nil the change is durable.
//   - SQLite has one writer at a time. PostgreSQL runs READ COMMITTED: a row that is read to decide on a write is
//     read with ForUpdate.
//   - After a failed statement a PostgreSQL transaction is dead: return the error. Use ON CONFLICT DO NOTHING where a
//     duplicate is expected.
//   - Do not call Write or Read inside Write.
package sql

import (
	"context"
	stdsql "database/sql"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// The dialects.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// DB is an open, migrated database.
type DB struct {
	dialect string
	write   *stdsql.DB // SQLite: one connection
	read    *stdsql.DB // PostgreSQL: the same pool as write
	log     *slog.Logger
	lines   *lineCache // of keys

	partitions *sync.Map // days whose records have a table, PostgreSQL
	claim      *Claim    // whose holder alone may write; nil: anybody may
}

// Open opens "sqlite:PATH" or a "postgres://" URL and brings its schema up to date. A schema newer than this program
// is fault.Conflict, a database that cannot be reached fault.Unavailable.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	db, err := connect(ctx, dsn, log)
	if err != nil {
		return nil, err
	}
	if err := db.migrate(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func connect(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	switch {
	case strings.HasPrefix(dsn, "sqlite:"):
		return openSQLite(ctx, strings.TrimPrefix(dsn, "sqlite:"), log)
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		return openPostgres(ctx, dsn, log)
	}
	return nil, fault.New(fault.Invalid, "The database address is neither sqlite:PATH nor postgres://...",
		fault.Field("database"), fault.Fix("Leave it empty for SQLite in the data directory."))
}

// Close waits for running transactions and closes all connections, those of every Under as well.
func (db *DB) Close() error {
	err := db.write.Close()
	if db.read != db.write {
		if rerr := db.read.Close(); err == nil {
			err = rerr
		}
	}
	return err
}

// Dialect is SQLite or Postgres.
func (db *DB) Dialect() string { return db.dialect }

// attempts bounds how often Write tries again after losing against another transaction: some seconds, so that only a
// transaction that can never win fails.
const (
	attempts  = 40
	longPause = 8 // the longest pause is a random one up to this power of two in milliseconds
)

// Write runs f in one transaction and commits it; an error or panic of f rolls back. A transaction that lost
// against another is run again. Faults of f come back as they are.
func (db *DB) Write(ctx context.Context, f func(*Tx) error) error {
	for n := 1; ; n++ {
		err := db.run(ctx, db.write, nil, f)
		if err == nil || n == attempts || !retryable(err) {
			return err
		}
		wait := time.Millisecond + rand.N(time.Millisecond<<min(n, longPause)) // the more fail, the further apart they come back
		select {
		case <-ctx.Done():
			return fault.Wrap(ctx.Err(), "writing to the database")
		case <-time.After(wait):
		}
	}
}

// Read runs f in one transaction that sees one state of the database and may not write.
func (db *DB) Read(ctx context.Context, f func(*Tx) error) error {
	var opts *stdsql.TxOptions
	if db.dialect == Postgres {
		opts = &stdsql.TxOptions{Isolation: stdsql.LevelRepeatableRead, ReadOnly: true}
	}
	return db.run(ctx, db.read, opts, f)
}

func (db *DB) run(ctx context.Context, pool *stdsql.DB, opts *stdsql.TxOptions, f func(*Tx) error) error {
	tx, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return mapErr(err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; before it the error of f says more
	t := &Tx{tx: tx, dialect: db.dialect}
	if db.claim != nil && opts == nil && pool == db.write {
		if err := db.claim.prove(ctx, t); err != nil {
			return err
		}
	}
	if err := f(t); err != nil {
		return err
	}
	return mapErr(tx.Commit())
}

// Tx is a transaction. Its methods take portable SQL and return faults.
type Tx struct {
	tx      *stdsql.Tx
	dialect string
}

// Exec runs a statement and returns how many rows it changed.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := t.tx.ExecContext(ctx, rebind(t.dialect, query), args...)
	if err != nil {
		return 0, mapErr(err)
	}
	n, err := res.RowsAffected()
	return n, mapErr(err)
}

// Query runs a query; the caller closes the rows and checks their Err. Scan all of them before the next statement:
// PostgreSQL has one result at a time on a connection. Most callers want All instead.
func (t *Tx) Query(ctx context.Context, query string, args ...any) (*stdsql.Rows, error) {
	rows, err := t.tx.QueryContext(ctx, rebind(t.dialect, query), args...)
	return rows, mapErr(err)
}

// QueryRow runs a query of which only the first row matters.
func (t *Tx) QueryRow(ctx context.Context, query string, args ...any) *Row {
	return &Row{t.tx.QueryRowContext(ctx, rebind(t.dialect, query), args...)}
}

// ForUpdate is the suffix of a SELECT whose rows decide what the transaction writes: " FOR UPDATE" on PostgreSQL,
// empty on SQLite, where writers never overlap.
func (t *Tx) ForUpdate() string {
	if t.dialect == Postgres {
		return " FOR UPDATE"
	}
	return ""
}

// Row is the result of QueryRow.
type Row struct{ row *stdsql.Row }

// Scan copies the columns; no row is fault.NotFound.
func (r *Row) Scan(dest ...any) error { return mapErr(r.row.Scan(dest...)) }

// Scanner is what a row of any kind offers; domains write one scan function for Row and Rows.
type Scanner interface{ Scan(dest ...any) error }

// All runs a query and scans every row.
func All[T any](ctx context.Context, t *Tx, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := t.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, mapErr(err)
		}
		out = append(out, v)
	}
	return out, mapErr(rows.Err())
}
