package sql_test

import (
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func TestAClaimIsHeldByOne(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		release, err := db.Claim(t.Context(), "gateway")
		must(t, err)
		if db.Dialect() == sql.Postgres {
			if _, err := db.Claim(t.Context(), "gateway"); !fault.Is(err, fault.Conflict) {
				t.Fatalf("claimed twice: %v", err)
			}
			other, err := db.Claim(t.Context(), "control plane")
			must(t, err)
			must(t, other())
		}
		must(t, release())
		again, err := db.Claim(t.Context(), "gateway")
		must(t, err)
		must(t, again())
	})
}
