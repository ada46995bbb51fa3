package sql

import (
	"context"
	stdsql "database/sql"
	"hash/fnv"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Installation binds a database and a data directory to each other: work, checkpoints and blobs that the one names
// lie in the other, and each alone would take the other's for nobody's.
type Installation struct {
	ID   string // made once for both
	Node string // the data directory's name
}

// Bind returns the database's installation, after making it want where there is none yet.
func (db *DB) Bind(ctx context.Context, want Installation) (got Installation, err error) {
	err = db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO installation (one, id, node) VALUES (1, ?, ?) ON CONFLICT (one) DO NOTHING", want.ID, want.Node); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT id, node FROM installation WHERE one = 1").Scan(&got.ID, &got.Node)
	})
	return got, err
}

// Bound returns the installation the database is bound to; fault.NotFound when it is bound to none yet.
func (db *DB) Bound(ctx context.Context) (got Installation, err error) {
	err = db.Read(ctx, func(tx *Tx) error {
		return tx.QueryRow(ctx, "SELECT id, node FROM installation WHERE one = 1").Scan(&got.ID, &got.Node)
	})
	return got, err
}

// Claim is a name that this process alone holds in a database.
type Claim struct {
	name string
	conn *stdsql.Conn // nil on SQLite
	db   *DB
}

// Claim takes a name for as long as this process lives or until Release; while it is taken every other claim of it
// is fault.Conflict. On PostgreSQL it is an advisory lock of a connection kept for it: a dead process's claim is
// free as soon as the server sees the connection gone, and a living one must Check that its connection still
// stands. On SQLite the lock on the data directory stands for every claim, and Claim always succeeds.
func (db *DB) Claim(ctx context.Context, name string) (*Claim, error) {
	if db.dialect != Postgres {
		return &Claim{name: name}, nil
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
	return &Claim{name: name, conn: conn, db: db}, nil
}

// Check says whether the claim still stands. An error means that another process may hold it by now.
func (c *Claim) Check(ctx context.Context) error {
	if c.conn == nil {
		return nil
	}
	var held bool
	err := c.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
		AND classid::bigint = ($1::bigint >> 32) & 4294967295 AND objid::bigint = $1::bigint & 4294967295 AND granted)`, claimNumber(c.name)).Scan(&held)
	if err == nil && !held {
		err = stdsql.ErrConnDone
	}
	if err != nil {
		return fault.New(fault.Unavailable, "The claim to be the "+c.name+" of the database is lost.",
			fault.Fix("Start again: another process may have taken it"), fault.Cause(err))
	}
	return nil
}

// Retake takes the claim again by a connection of its own, after Check found it lost: fault.Conflict when another
// process holds it now, fault.Unavailable while the database is away, during which nobody can do anything with it.
func (c *Claim) Retake(ctx context.Context) error {
	if c.conn == nil {
		return nil
	}
	again, err := c.db.Claim(ctx, c.name)
	if err != nil {
		return err
	}
	_ = c.conn.Close() // it is broken, or does not hold the lock
	c.conn = again.conn
	return nil
}

// Release gives the name back.
func (c *Claim) Release() error {
	if c.conn == nil {
		return nil
	}
	_, err := c.conn.ExecContext(context.Background(), "SELECT pg_advisory_unlock($1)", claimNumber(c.name))
	if e := c.conn.Close(); err == nil {
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
