package sql

import (
	"context"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/provider"
)

// Providers is provider.Store on the database.
type Providers struct{ db *DB }

// Providers returns the store of outside providers.
func (db *DB) Providers() *Providers { return &Providers{db} }

var _ provider.Store = (*Providers)(nil)

const (
	providerColumns    = "id, org, project, name, url, dialect, private, created_by, created_at"
	providerKeyColumns = "id, hint, sealed, created_by, created_at"
)

func scanProvider(s Scanner) (provider.Provider, error) {
	var p provider.Provider
	var private, at int64
	err := s.Scan(&p.ID, &p.Org, &p.Project, &p.Name, &p.URL, &p.Dialect, &private, &p.CreatedBy, &at)
	p.Private, p.CreatedAt = private != 0, fromMicros(at)
	return p, err
}

// providerKey is a key with the provider it is of.
type providerKey struct {
	of string
	provider.Key
}

func scanProviderKey(s Scanner) (providerKey, error) {
	var k providerKey
	var at int64
	err := s.Scan(&k.of, &k.ID, &k.Hint, &k.Sealed, &k.CreatedBy, &at)
	k.CreatedAt = fromMicros(at)
	return k, err
}

// withKeys fills in the keys of providers; where narrows them.
func withKeys(ctx context.Context, tx *Tx, list []provider.Provider, where string, args ...any) error {
	if len(list) == 0 {
		return nil
	}
	keys, err := All(ctx, tx, scanProviderKey, "SELECT provider_id, "+providerKeyColumns+" FROM provider_keys WHERE "+where+" ORDER BY created_at, id", args...)
	if err != nil {
		return err
	}
	at := make(map[string]int, len(list))
	for i := range list {
		at[list[i].ID] = i
	}
	for _, k := range keys {
		if i, ok := at[k.of]; ok {
			list[i].Keys = append(list[i].Keys, k.Key)
		}
	}
	return nil
}

// Add implements provider.Store.
func (s *Providers) Add(ctx context.Context, p provider.Provider) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO providers ("+providerColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
			p.ID, p.Org, p.Project, p.Name, p.URL, p.Dialect, bit(p.Private), p.CreatedBy, micros(p.CreatedAt))
		if err != nil {
			return exists(err, "There is a provider %s already.", p.Name)
		}
		for _, k := range p.Keys {
			if err := insertProviderKey(ctx, tx, p.ID, k); err != nil {
				return err
			}
		}
		return nil
	})
}

func insertProviderKey(ctx context.Context, tx *Tx, of string, k provider.Key) error {
	_, err := tx.Exec(ctx, "INSERT INTO provider_keys (provider_id, "+providerKeyColumns+") VALUES (?, ?, ?, ?, ?, ?)",
		of, k.ID, k.Hint, k.Sealed, k.CreatedBy, micros(k.CreatedAt))
	return err
}

// one reads a provider with its keys.
func (s *Providers) one(ctx context.Context, project, column, value string) (p provider.Provider, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		p, err = scanProvider(tx.QueryRow(ctx, "SELECT "+providerColumns+" FROM providers WHERE project = ? AND "+column+" = ?", project, value))
		if err != nil {
			return missing(err, "There is no provider %s.", value)
		}
		list := []provider.Provider{p}
		err := withKeys(ctx, tx, list, "provider_id = ?", p.ID)
		p = list[0]
		return err
	})
	return p, err
}

// Get implements provider.Store.
func (s *Providers) Get(ctx context.Context, project, id string) (provider.Provider, error) {
	return s.one(ctx, project, "id", id)
}

// ByName implements provider.Store.
func (s *Providers) ByName(ctx context.Context, project, name string) (provider.Provider, error) {
	return s.one(ctx, project, "name", name)
}

// List implements provider.Store.
func (s *Providers) List(ctx context.Context, project string, p page.Page) (list []provider.Provider, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = paged(ctx, tx, scanProvider, p, order{"name", "t", false}, "SELECT "+providerColumns+" FROM providers WHERE project = ?", project)
		if err != nil {
			return err
		}
		return withKeys(ctx, tx, list, "provider_id IN (SELECT id FROM providers WHERE project = ?)", project)
	})
	return list, err
}

// All implements provider.Store.
func (s *Providers) All(ctx context.Context) (list []provider.Provider, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		if list, err = All(ctx, tx, scanProvider, "SELECT "+providerColumns+" FROM providers ORDER BY created_at, id"); err != nil {
			return err
		}
		return withKeys(ctx, tx, list, "1 = 1")
	})
	return list, err
}

// lockProvider locks a provider's row, which guards its keys and the routes that lead to it.
func lockProvider(ctx context.Context, tx *Tx, project, id string) (provider.Provider, error) {
	p, err := scanProvider(tx.QueryRow(ctx, "SELECT "+providerColumns+" FROM providers WHERE project = ? AND id = ?"+tx.ForUpdate(), project, id))
	return p, missing(err, "There is no provider %s.", id)
}

// Remove implements provider.Store.
func (s *Providers) Remove(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		p, err := lockProvider(ctx, tx, project, id)
		if err != nil {
			return err
		}
		var route string
		err = tx.QueryRow(ctx, "SELECT r.name FROM routes r JOIN route_backends b ON b.route_id = r.id WHERE b.provider_id = ?"+
			" UNION SELECT r.name FROM routes r JOIN route_canaries c ON c.live_route = r.id WHERE c.provider_id = ? ORDER BY 1 LIMIT 1", id, id).Scan(&route)
		if err == nil {
			return fault.New(fault.Conflict, "The route "+route+" leads to the provider "+p.Name+".", fault.Fix("Remove the route or lead it elsewhere first."))
		}
		if !fault.Is(err, fault.NotFound) {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM provider_keys WHERE provider_id = ?", id); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "DELETE FROM providers WHERE id = ?", id)
		return err
	})
}

// AddKey implements provider.Store.
func (s *Providers) AddKey(ctx context.Context, project, id string, k provider.Key, most int) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		p, err := lockProvider(ctx, tx, project, id)
		if err != nil {
			return err
		}
		var have int
		if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM provider_keys WHERE provider_id = ?", id).Scan(&have); err != nil {
			return err
		}
		if have >= most {
			return fault.Newf(fault.Conflict, "The provider %s has %d keys, and can have no more.", p.Name, have)
		}
		return insertProviderKey(ctx, tx, id, k)
	})
}

// RemoveKey implements provider.Store.
func (s *Providers) RemoveKey(ctx context.Context, project, id, key string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		if _, err := lockProvider(ctx, tx, project, id); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, "DELETE FROM provider_keys WHERE provider_id = ? AND id = ?", id, key)
		if err == nil && n == 0 {
			return fault.Newf(fault.NotFound, "The provider has no key %s.", key)
		}
		return err
	})
}
