// Package sqltest gives tests fresh databases of both kinds.
//
// Each is what a suite uses: it runs once on a new SQLite file and once on a new schema of PostgreSQL. PostgreSQL is
// the server named by TRIARCH_TEST_POSTGRES (a postgres:// URL), or else one that the test process starts for itself
// from the installed programs and that ends with the process. Where there is none the test fails, unless
// TRIARCH_ALLOW_SKIP=1.
package sqltest

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver for making schemas

	"github.com/triarch-ai/triarch/storage/sql"
)

// Each runs f on a fresh, migrated database of each kind as a subtest.
func Each(t *testing.T, f func(t *testing.T, db *sql.DB)) {
	t.Helper()
	EachDSN(t, func(t *testing.T, dsn string) { f(t, Open(t, dsn)) })
}

// EachDSN runs f with the address of a fresh, empty database of each kind as a subtest.
func EachDSN(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run(sql.SQLite, func(t *testing.T) { f(t, SQLite(t)) })
	t.Run(sql.Postgres, func(t *testing.T) { f(t, Postgres(t)) })
}

// Open opens the database and closes it when the test ends.
func Open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(context.Background(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// SQLite is the address of a database file that does not exist yet.
func SQLite(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "state.db")
}

var schemas atomic.Int64

// Postgres is the address of a new, empty PostgreSQL schema, which is dropped when the test ends.
func Postgres(t *testing.T) string {
	t.Helper()
	server := os.Getenv("TRIARCH_TEST_POSTGRES")
	if server == "" {
		var err error
		if server, err = ownServer(); err != nil {
			if os.Getenv("TRIARCH_ALLOW_SKIP") == "1" {
				t.Skip(err)
			}
			t.Fatalf("%v\nInstall PostgreSQL 15, or set TRIARCH_TEST_POSTGRES, or TRIARCH_ALLOW_SKIP=1.", err)
		}
	}
	schema := fmt.Sprintf("t_%d_%d", os.Getpid(), schemas.Add(1))
	admin, err := stdsql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec("CREATE SCHEMA " + schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer admin.Close()
		if _, err := admin.Exec("DROP SCHEMA " + schema + " CASCADE"); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("TRIARCH_TEST_POSTGRES is not a URL: %v", err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}
