package sql_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(ctx context.Context, tx *sql.Tx, q string, args ...any) error {
	_, err := tx.Exec(ctx, q, args...)
	return err
}

func TestWriteIsAllOrNothing(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		must(t, db.Write(ctx, func(tx *sql.Tx) error { return exec(ctx, tx, "CREATE TABLE x (k TEXT PRIMARY KEY, n BIGINT)") }))
		boom := errors.New("boom")
		err := db.Write(ctx, func(tx *sql.Tx) error {
			must(t, exec(ctx, tx, "INSERT INTO x VALUES (?, ?)", "a", 1))
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatalf("the error of the function was lost: %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.Write(ctx, func(tx *sql.Tx) error {
				must(t, exec(ctx, tx, "INSERT INTO x VALUES (?, ?)", "b", 1))
				panic("boom")
			})
		}()
		var n int64
		must(t, db.Read(ctx, func(tx *sql.Tx) error { return tx.QueryRow(ctx, "SELECT COUNT(*) FROM x").Scan(&n) }))
		if n != 0 {
			t.Fatalf("%d rows of failed transactions stayed", n)
		}
	})
}

func TestReadMayNotWrite(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		err := db.Read(ctx, func(tx *sql.Tx) error { return exec(ctx, tx, "CREATE TABLE y (k TEXT)") })
		if err == nil {
			t.Fatal("a reading transaction wrote")
		}
	})
}

func TestErrorsBecomeFaults(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		must(t, db.Write(ctx, func(tx *sql.Tx) error {
			return errors.Join(exec(ctx, tx, "CREATE TABLE x (k TEXT PRIMARY KEY, u TEXT UNIQUE)"),
				exec(ctx, tx, "CREATE TABLE y (k TEXT REFERENCES x (k))"), exec(ctx, tx, "INSERT INTO x VALUES ('a?', 'u')"))
		}))
		for _, c := range []struct {
			kind fault.Kind
			code string
			f    func(tx *sql.Tx) error
		}{
			{fault.Conflict, "exists", func(tx *sql.Tx) error { return exec(ctx, tx, "INSERT INTO x VALUES ('a?', ?)", "v") }},
			{fault.Conflict, "exists", func(tx *sql.Tx) error { return exec(ctx, tx, "INSERT INTO x VALUES ('b', ?)", "u") }},
			{fault.Conflict, "tied", func(tx *sql.Tx) error { return exec(ctx, tx, "INSERT INTO y VALUES (?)", "nope") }},
			{fault.Conflict, "tied", func(tx *sql.Tx) error {
				must(t, exec(ctx, tx, "INSERT INTO y VALUES ('a?')"))
				return exec(ctx, tx, "DELETE FROM x")
			}},
			{fault.NotFound, "", func(tx *sql.Tx) error { var s string; return tx.QueryRow(ctx, "SELECT k FROM y").Scan(&s) }},
			{fault.Internal, "", func(tx *sql.Tx) error { return exec(ctx, tx, "SELECT nonsense FROM nowhere") }},
		} {
			err := db.Write(ctx, c.f)
			if !fault.Is(err, c.kind) || fault.As(err).Code != c.code {
				t.Errorf("got %v (code %q), want %s %q", err, fault.As(err).Code, c.kind, c.code)
			}
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if err := db.Write(gone, func(*sql.Tx) error { return nil }); !fault.Is(err, fault.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// Many writers adding to one counter lose nothing on either database.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		must(t, db.Write(ctx, func(tx *sql.Tx) error {
			return errors.Join(exec(ctx, tx, "CREATE TABLE c (id BIGINT PRIMARY KEY, n BIGINT)"), exec(ctx, tx, "INSERT INTO c VALUES (1, 0), (2, 0)"))
		}))
		var wg sync.WaitGroup
		errs := make(chan error, 24)
		for i := range 24 {
			wg.Go(func() {
				errs <- db.Write(ctx, func(tx *sql.Tx) error {
					first, second := 1+i%2, 2-i%2 // opposite orders make PostgreSQL deadlock now and then
					for _, id := range []int{first, second} {
						var n int64
						if err := tx.QueryRow(ctx, "SELECT n FROM c WHERE id = ?"+tx.ForUpdate(), id).Scan(&n); err != nil {
							return err
						}
						if err := exec(ctx, tx, "UPDATE c SET n = ? WHERE id = ?", n+1, id); err != nil {
							return err
						}
					}
					return nil
				})
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			must(t, err)
		}
		var sum int64
		must(t, db.Read(ctx, func(tx *sql.Tx) error { return tx.QueryRow(ctx, "SELECT SUM(n) FROM c").Scan(&sum) }))
		if sum != 48 {
			t.Fatalf("counted %d of 48", sum)
		}
	})
}

func TestReopenKeepsAndNewerIsRefused(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		log := slog.New(slog.DiscardHandler)
		db, err := sql.Open(ctx, dsn, log)
		must(t, err)
		must(t, db.Write(ctx, func(tx *sql.Tx) error {
			return exec(ctx, tx, "INSERT INTO organisations (id, name, created_at) VALUES ('o', 'n', 1)")
		}))
		must(t, db.Close())
		db, err = sql.Open(ctx, dsn, log)
		must(t, err)
		must(t, db.Write(ctx, func(tx *sql.Tx) error {
			var n int64
			if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM organisations").Scan(&n); err != nil || n != 1 {
				return fmt.Errorf("%d rows after reopening: %w", n, err)
			}
			return exec(ctx, tx, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, ?)", 99999, db.Dialect() == sql.Postgres)
		}))
		must(t, db.Close())
		if _, err = sql.Open(ctx, dsn, log); !fault.Is(err, fault.Conflict) {
			t.Fatalf("a newer format was opened: %v", err)
		}
	})
}

func TestBadAddresses(t *testing.T) {
	for dsn, kind := range map[string]fault.Kind{
		"mysql://x": fault.Invalid, "": fault.Invalid, "sqlite:": fault.Invalid, "postgres://%zz": fault.Invalid,
		"sqlite:" + filepath.Join(t.TempDir(), "no", "folder.db"):                 fault.NotFound,
		"postgres://triarch:hush@127.0.0.1:1/x?sslmode=disable&connect_timeout=2": fault.Unavailable,
	} {
		_, err := sql.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
		if !fault.Is(err, kind) {
			t.Errorf("%q: got %v, want %s", dsn, err, kind)
		}
	}
}
