package sql

import (
	"context"
	stdsql "database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
)

// openSQLite opens the file with write-ahead logging. synchronous=FULL makes a commit durable before it returns.
func openSQLite(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	if path == "" {
		return nil, fault.InvalidField("database", "sqlite: needs a path")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.Wrap(err, "finding "+path)
	}
	if err := touch(abs); err != nil {
		return nil, err
	}
	base := "file:" + (&url.URL{Path: abs}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_time_format=sqlite"
	write, err := stdsql.Open("sqlite", base+"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return nil, mapErr(err)
	}
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil { // makes the file a WAL database before readers open it
		write.Close()
		return nil, mapErr(err)
	}
	read, err := stdsql.Open("sqlite", base+"&_query_only=1")
	if err != nil {
		write.Close()
		return nil, mapErr(err)
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	return &DB{dialect: SQLite, write: write, read: read, log: log, lines: &lineCache{}, partitions: &sync.Map{}}, nil
}

// touch makes the file, durably, readable by its owner alone before SQLite makes it readable by all.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "The folder of the database "+path+" does not exist.", fault.Cause(err))
	}
	if err != nil {
		return fault.New(fault.Unavailable, "The database file "+path+" cannot be opened.",
			fault.Fix("Check that it belongs to you and that the disk is writable."), fault.Cause(err))
	}
	return nil
}

func openPostgres(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The cause is left out: it can repeat the address with its password.
		return nil, fault.InvalidField("database", "The PostgreSQL address cannot be read.")
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "triarch"
	}
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(16)
	pool.SetMaxIdleConns(8)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if err := pool.PingContext(ctx); err != nil {
		pool.Close()
		return nil, mapErr(err)
	}
	return &DB{dialect: Postgres, write: pool, read: pool, log: log, lines: &lineCache{}, partitions: &sync.Map{}}, nil
}

var rebound sync.Map // query with ? -> query with $n; queries are constants, so it stays small

// rebind writes ? as $1, $2, ... for PostgreSQL, leaving strings, quoted names and comments alone.
func rebind(dialect, query string) string {
	if dialect != Postgres || !strings.Contains(query, "?") {
		return query
	}
	if q, ok := rebound.Load(query); ok {
		return q.(string)
	}
	q := numbered(query)
	rebound.Store(query, q)
	return q
}

func numbered(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	var quote byte // the quote, or '\n' inside a comment, that ends what is left alone
	for i := range len(query) {
		c := query[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '-' && strings.HasPrefix(query[i:], "--"):
			quote = '\n'
		case c == '?':
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// retryable says whether a transaction lost against another and may win when run again: PostgreSQL's serialization
// failures and deadlocks. SQLite's busy_timeout has waited already.
func retryable(err error) bool {
	var p *pgconn.PgError
	return errors.As(err, &p) && (p.Code == "40001" || p.Code == "40P01")
}

// mapErr makes a fault of a database error: the kind for programs, the error itself as cause for the log.
func mapErr(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, stdsql.ErrNoRows) {
		return fault.New(fault.NotFound, "There is no such object.", fault.Cause(err))
	}
	if p, ok := errors.AsType[*pgconn.PgError](err); ok {
		return mapPostgres(p)
	}
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		return mapSQLite(s)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return fault.New(fault.Unavailable, "The PostgreSQL database cannot be reached.",
			fault.Fix("Check that it runs and that the setting database is right."), fault.Cause(err))
	}
	return fault.Wrap(err, "using the database")
}

func mapPostgres(e *pgconn.PgError) error {
	switch {
	case e.Code == "23505":
		return taken(e)
	case e.Code == "23503":
		return tied(e)
	case e.Code == "53100":
		return full(e)
	case e.Code == "57014":
		return fault.New(fault.Canceled, "The database stopped the statement.", fault.Cause(e))
	case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "57P"),
		strings.HasPrefix(e.Code, "28"), e.Code == "3D000", e.Code == "40001", e.Code == "40P01":
		return fault.New(fault.Unavailable, "The PostgreSQL database is not available.", fault.Cause(e))
	}
	return fault.Wrap(e, "using the database")
}

func mapSQLite(e *sqlite.Error) error {
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return taken(e)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return tied(e)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return full(e)
	case sqlite3.SQLITE_BUSY:
		return fault.New(fault.Unavailable, "Another process holds the database.", fault.Cause(e))
	case sqlite3.SQLITE_INTERRUPT:
		return fault.New(fault.Canceled, "The request was cancelled.", fault.Cause(e))
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fault.New(fault.Unavailable, "The database file is damaged or no SQLite database.",
			fault.Fix("Restore it from a copy."), fault.Cause(e))
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fault.New(fault.Unavailable, "The database file cannot be written.",
			fault.Fix("Check that it belongs to you and that the disk is writable."), fault.Cause(e))
	}
	return fault.Wrap(e, "using the database")
}

func taken(err error) error {
	return fault.New(fault.Conflict, "An object of that name or id exists already.", fault.Code("exists"), fault.Cause(err))
}

func tied(err error) error {
	return fault.New(fault.Conflict, "It belongs with an object that is not there, or another still needs it.", fault.Code("tied"), fault.Cause(err))
}

func full(err error) error {
	return fault.New(fault.Unavailable, "The disk of the database is full.", fault.Fix("Free some space and try again."), fault.Cause(err))
}
