package sql_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// columns lists every column as "table.column type nullable".
func columns(t *testing.T, db *sql.DB) []string {
	t.Helper()
	query := `SELECT m.name || '.' || c.name || ' ' || c.type || CASE WHEN c."notnull" = 1 OR c.pk > 0 THEN '' ELSE ' null' END
		FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE 'goose%' ORDER BY 1`
	if db.Dialect() == sql.Postgres {
		query = `SELECT table_name || '.' || column_name || ' ' || data_type || CASE WHEN is_nullable = 'NO' THEN '' ELSE ' null' END
			FROM information_schema.columns WHERE table_schema = current_schema() AND table_name NOT LIKE 'goose%' ORDER BY 1`
	}
	var out []string
	must(t, db.Read(t.Context(), func(tx *sql.Tx) error {
		var err error
		out, err = sql.All(t.Context(), tx, func(r sql.Scanner) (s string, err error) {
			err = r.Scan(&s)
			return strings.ToLower(s), err
		}, query)
		return err
	}))
	return out
}

// One set of migrations makes the same tables on both databases, of the two portable types alone.
func TestBothDatabasesHaveOneSchema(t *testing.T) {
	lite, post := columns(t, sqltest.Open(t, sqltest.SQLite(t))), columns(t, sqltest.Open(t, sqltest.Postgres(t)))
	if d := cmp.Diff(lite, post); d != "" {
		t.Errorf("SQLite (-) and PostgreSQL (+) differ:\n%s", d)
	}
	if len(lite) < 40 {
		t.Errorf("only %d columns were found", len(lite))
	}
	for _, c := range lite {
		if typ := strings.Fields(c)[1]; typ != "text" && typ != "bigint" {
			t.Errorf("%s is of a type that is not portable", c)
		}
	}
}

// Several control planes starting at once on one new database migrate it once.
func TestOpeningAtOnce(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		var wg sync.WaitGroup
		if strings.HasPrefix(dsn, "sqlite:") {
			must(t, sqltest.Open(t, dsn).Close()) // the data directory's lock keeps SQLite to one process; reopening must do
		}
		for range 4 {
			wg.Go(func() {
				db, err := sql.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Error(err)
					return
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}
