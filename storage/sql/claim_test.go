package sql_test

import (
	"log/slog"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func TestAClaimIsHeldByOne(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		claim, err := db.Claim(t.Context(), "gateway")
		must(t, err)
		must(t, claim.Check(t.Context()))
		if db.Dialect() == sql.Postgres {
			if _, err := db.Claim(t.Context(), "gateway"); !fault.Is(err, fault.Conflict) {
				t.Fatalf("claimed twice: %v", err)
			}
			other, err := db.Claim(t.Context(), "control")
			must(t, err)
			must(t, other.Release())
			if other.Check(t.Context()) == nil {
				t.Fatal("a claim given back is said to stand")
			}
		}
		must(t, claim.Release())
		again, err := db.Claim(t.Context(), "gateway")
		must(t, err)
		must(t, again.Release())
	})
}

// A claim whose connection the server ended must say so: somebody else can take it.
func TestAClaimKnowsWhenItIsLost(t *testing.T) {
	db, err := sql.Open(t.Context(), sqltest.Postgres(t), slog.New(slog.DiscardHandler))
	must(t, err)
	defer db.Close()
	claim, err := db.Claim(t.Context(), "gateway")
	must(t, err)
	must(t, db.Write(t.Context(), func(tx *sql.Tx) error {
		return exec(t.Context(), tx, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	}))
	if err := claim.Check(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("a lost claim: %v", err)
	}
}

func TestADatabaseIsBoundOnce(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		if _, err := db.Bound(t.Context()); !fault.Is(err, fault.NotFound) {
			t.Fatalf("a new database is bound: %v", err)
		}
		first := sql.Installation{ID: "inst_a", Node: "node_a"}
		for _, want := range []sql.Installation{first, {ID: "inst_b", Node: "node_b"}} {
			got, err := db.Bind(t.Context(), want)
			must(t, err)
			if got != first {
				t.Fatalf("bound to %+v", got)
			}
		}
		if got, err := db.Bound(t.Context()); err != nil || got != first {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}
