package system

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// patience is how long a request waits for money that others only hold.
const patience = 2 * time.Second

// openBook opens the book that requests are reserved in. On SQLite this process alone spends the limits, and what was
// spent is known now that the ledger is shipped. On PostgreSQL it spends leases, of which it had none left when the
// ledger was shipped.
func (s *System) openBook(ctx context.Context) error {
	if s.db.Dialect() != sql.Postgres {
		spent, err := s.db.Meter().Spent(ctx)
		if err != nil {
			return err
		}
		s.Book = quota.NewBook(s.Keyring, time.Now)
		s.Book.Patience = patience
		s.Book.Load(spent, s.Keyring.Charged)
		return nil
	}
	leases, err := s.db.Begin(ctx, s.node)
	if err != nil {
		return err
	}
	s.Book = quota.NewLeased(s.Keyring, time.Now, leases, s.Log)
	s.Book.Patience = patience
	s.onStop("the leases", func(ctx context.Context) error {
		if err := s.Shipper.Flush(ctx); err != nil {
			return err // the next start gives them back
		}
		return leases.End(ctx)
	})
	return nil
}

// spent is what has gone of a budget, micro-units.
func (s *System) spent(ctx context.Context, scope, id string) int64 {
	if s.db.Dialect() == sql.Postgres { // other nodes spend as well
		n, err := s.db.Meter().SpentBy(ctx, id)
		s.complain(ctx, "what was spent cannot be read", err)
		return n
	}
	raw, err := auth.Raw(scope, id)
	if err != nil {
		return 0
	}
	return s.Book.Spent(raw)
}
