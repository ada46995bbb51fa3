package sql

import (
	"context"
	"log/slog"
)

// Ping says whether the database of an address can be reached, changing nothing in it. Its errors are Open's.
func Ping(ctx context.Context, dsn string) error {
	db, err := connect(ctx, dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return db.Close()
}

// Alive says whether the database answers.
func (db *DB) Alive(ctx context.Context) error { return db.read.PingContext(ctx) }
