package sql

import (
	"context"
	stdsql "database/sql"
	"hash/fnv"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Claim takes a name for as long as this process lives or until release is called; while it is taken every other
// claim of it is fault.Conflict. On PostgreSQL it is an advisory lock of a connection kept for it, so a dead
// process's claim is free as soon as the server sees the connection gone. On SQLite the lock on the data directory
// stands for every claim, and Claim always succeeds.
func (db *DB) Claim(ctx context.Context, name string) (release func() error, err error) {
	if db.dialect != Postgres {
		return func() error { return nil }, nil
	}
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return nil, mapErr(err)
	}
	var taken bool
	if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", claimNumber(name)).Scan(&taken); err != nil {
		conn.Close()
		return nil, mapErr(err)
	}
	if !taken {
		conn.Close()
		return nil, fault.New(fault.Conflict, "Another Triarch is the "+name+" of this database.", fault.Field("database"),
			fault.Fix("Stop that one, or use a database of its own"))
	}
	return func() error { return unclaim(conn, name) }, nil
}

func unclaim(conn *stdsql.Conn, name string) error {
	_, err := conn.ExecContext(context.Background(), "SELECT pg_advisory_unlock($1)", claimNumber(name))
	if e := conn.Close(); err == nil {
		err = e
	}
	return mapErr(err)
}

// claimNumber turns a name into the number PostgreSQL's advisory locks go by.
func claimNumber(name string) int64 {
	h := fnv.New64a()
	h.Write([]byte("triarch " + name))
	return int64(h.Sum64())
}
