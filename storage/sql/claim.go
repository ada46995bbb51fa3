package sql

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
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

// Claim is a name that this process alone holds in a database. Its number is raised by whoever takes it, so that what an
// earlier holder still writes is told apart: see DB.Under.
type Claim struct {
	name   string
	number int64
	conn   *stdsql.Conn // nil on SQLite
	locked int64        // the number of its advisory lock
	db     *DB
}

// Claim takes a name for as long as this process lives or until Release; while it is taken every other claim of it
// is fault.Conflict. On PostgreSQL it is an advisory lock of a connection kept for it: a dead process's claim is
// free as soon as the server sees the connection gone, and a living one must Check that its connection still
// stands. On SQLite the lock on the data directory keeps others away; a claim is taken from whoever had it.
func (db *DB) Claim(ctx context.Context, name string) (*Claim, error) {
	c := &Claim{name: name, db: db}
	var err error
	if c.conn, c.locked, err = db.lock(ctx, name); err != nil {
		return nil, err
	}
	err = db.Write(ctx, func(tx *Tx) error { // waits for what the last holder is writing
		return tx.QueryRow(ctx, `INSERT INTO claims (name, number) VALUES (?, 1)
 ON CONFLICT (name) DO UPDATE SET number = claims.number + 1 RETURNING number`, name).Scan(&c.number)
	})
	if err != nil {
		_ = c.Release() // the error of the write says more
		return nil, err
	}
	return c, nil
}

// Under is the same database for the holder of a claim: each Write first proves in its own transaction that nobody has
// taken the claim since, and is fault.Conflict with the code "claim_lost" and without effect otherwise. Whoever takes the
// claim waits for the writes that have proven it, so that of two holders only one writes at any moment, whatever either
// of them believes.
func (db *DB) Under(c *Claim) *DB {
	under := *db
	under.claim = c
	return &under
}

// prove holds the claim where it is until the transaction ends.
func (c *Claim) prove(ctx context.Context, tx *Tx) error {
	query := "SELECT number FROM claims WHERE name = ?"
	if tx.dialect == Postgres {
		query += " FOR SHARE"
	}
	var number int64
	err := tx.QueryRow(ctx, query, c.name).Scan(&number)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if number != c.number {
		return c.lost()
	}
	return nil
}

// lost says that somebody else has, or had, the claim since it was taken.
func (c *Claim) lost() error {
	return fault.New(fault.Conflict, "Another Triarch has become the "+c.name+" of this database.", fault.Field("database"), fault.Code("claim_lost"),
		fault.Fix("Stop that one or this one, and start again"))
}

// lock takes the advisory lock of a name by a connection of its own; nil where there is none.
func (db *DB) lock(ctx context.Context, name string) (conn *stdsql.Conn, number int64, err error) {
	if db.dialect != Postgres {
		return nil, 0, nil
	}
	if conn, err = db.write.Conn(ctx); err != nil {
		return nil, 0, mapErr(err)
	}
	var taken bool
	var schema string // such locks are of the whole database, in which each schema can be one of Triarch
	if err = conn.QueryRowContext(ctx, "SELECT current_schema()").Scan(&schema); err == nil {
		number = claimNumber(schema + " " + name)
		err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", number).Scan(&taken)
	}
	if err != nil {
		drop(conn)
		return nil, 0, mapErr(err)
	}
	if !taken {
		conn.Close()
		return nil, 0, fault.New(fault.Conflict, "Another Triarch is the "+name+" of this database.", fault.Field("database"),
			fault.Fix("Stop that one, or use a database of its own"))
	}
	return conn, number, nil
}

// Check says whether the claim still stands. An error means that another process may hold it by now; fault.Conflict, that
// one has taken it.
func (c *Claim) Check(ctx context.Context) error {
	if err := c.mine(ctx); fault.Is(err, fault.Conflict) || c.conn == nil {
		return err
	}
	var held bool
	err := c.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
		AND classid::bigint = ($1::bigint >> 32) & 4294967295 AND objid::bigint = $1::bigint & 4294967295 AND granted)`, c.locked).Scan(&held)
	if err == nil && !held {
		err = stdsql.ErrConnDone
	}
	if err != nil {
		return fault.New(fault.Unavailable, "The claim to be the "+c.name+" of the database is lost.",
			fault.Fix("Start again: another process may have taken it"), fault.Cause(err))
	}
	return nil
}

// mine says whether nobody has taken the claim since.
func (c *Claim) mine(ctx context.Context) error {
	return c.db.Read(ctx, func(tx *Tx) error {
		var number int64
		err := tx.QueryRow(ctx, "SELECT number FROM claims WHERE name = ?", c.name).Scan(&number)
		if err == nil && number != c.number || fault.Is(err, fault.NotFound) {
			return c.lost()
		}
		return err
	})
}

// Retake takes the claim again by a connection of its own, after Check found it lost: fault.Conflict when another
// process holds it now or did meanwhile, so that what this one knows is old; fault.Unavailable while the database is
// away, during which nobody can do anything with it.
func (c *Claim) Retake(ctx context.Context) error {
	if c.conn == nil {
		return c.mine(ctx)
	}
	conn, _, err := c.db.lock(ctx, c.name)
	if err != nil {
		return err
	}
	if err := c.mine(ctx); err != nil {
		drop(conn)
		return err
	}
	drop(c.conn) // it is broken, or does not hold the lock
	c.conn = conn
	return nil
}

// drop ends a connection, and with it what it locks; to close it would lend it to others, locks and all.
func drop(conn *stdsql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// Release gives the name back.
func (c *Claim) Release() error {
	if c.conn == nil {
		return nil
	}
	_, err := c.conn.ExecContext(context.Background(), "SELECT pg_advisory_unlock($1)", c.locked)
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
