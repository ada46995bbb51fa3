package sql

import (
	"context"
	stdsql "database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"

	"github.com/triarch-ai/triarch/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate applies what is missing. The files are portable and run on both databases; each runs in a transaction, so
// a process killed in between leaves the version it had.
func (db *DB) migrate(ctx context.Context) error {
	p, err := db.provider()
	if err != nil {
		return fault.Wrap(err, "reading the migrations")
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fault.Wrap(mapErr(err), "reading the version of the database")
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	if have > newest {
		return fault.New(fault.Conflict,
			fmt.Sprintf("The database has format %d, newer than this program, which knows %d.", have, newest),
			fault.Code("newer_format"), fault.Fix("Start the newer triarch that wrote it."))
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fault.Wrap(mapErr(err), "migrating the database")
	}
	if len(done) > 0 {
		db.log.Info("database migrated", "dialect", db.dialect, "from", have, "to", newest)
	}
	return nil
}

// Join opens a database that another process keeps up to date. One of another version than this program's is
// fault.Conflict.
func Join(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	db, err := connect(ctx, dsn, log)
	if err != nil {
		return nil, err
	}
	if err := db.same(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// same says whether the database has the version that this program knows.
func (db *DB) same(ctx context.Context) error {
	p, err := db.provider()
	if err != nil {
		return fault.Wrap(err, "reading the migrations")
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fault.Wrap(mapErr(err), "reading the version of the database")
	}
	sources := p.ListSources()
	if newest := sources[len(sources)-1].Version; have != newest {
		return fault.New(fault.Conflict, fmt.Sprintf("The database has format %d; this program needs %d.", have, newest),
			fault.Field("database"), fault.Code("other_format"), fault.Fix("Start the control plane first, and both from the same release"))
	}
	return nil
}

func (db *DB) provider() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	opts := []goose.ProviderOption{goose.WithSlog(db.log), goose.WithGoMigrations(partitions(db.dialect))}
	dialect := goose.DialectSQLite3
	if db.dialect == Postgres { // several control planes may start at once on one PostgreSQL
		dialect = goose.DialectPostgres
		opts = append(opts, goose.WithSessionLocker(advisory{}))
	}
	return goose.NewProvider(dialect, db.write, files, opts...)
}

// advisory lets one process migrate a PostgreSQL server at a time. The others wait in the database and go on at
// once, where polling would cost each of them seconds of its start.
type advisory struct{}

const advisoryKey = 7_423_710_042 // any number that other programs on the same server do not use

// SessionLock implements lock.SessionLocker.
func (advisory) SessionLock(ctx context.Context, c *stdsql.Conn) error {
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(advisoryKey))
	return err
}

// SessionUnlock implements lock.SessionLocker.
func (advisory) SessionUnlock(ctx context.Context, c *stdsql.Conn) error {
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(advisoryKey))
	return err
}
