package sql

import (
	"context"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Publish stores what gateways are to know, in place of what was there.
func (db *DB) Publish(ctx context.Context, sealed string) error {
	return db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO published (one, generation, sealed) VALUES (1, 1, ?)
 ON CONFLICT (one) DO UPDATE SET generation = published.generation + 1, sealed = excluded.sealed`, sealed)
		return err
	})
}

// Published returns what was published last and its number, which rises each time; the same number as known and nothing
// else when that is it still, and 0 before the first time.
func (db *DB) Published(ctx context.Context, known int64) (generation int64, sealed string, err error) {
	err = db.Read(ctx, func(tx *Tx) error {
		return tx.QueryRow(ctx, "SELECT generation, CASE WHEN generation = ? THEN '' ELSE sealed END FROM published WHERE one = 1", known).Scan(&generation, &sealed)
	})
	if fault.Is(err, fault.NotFound) {
		return 0, "", nil
	}
	return generation, sealed, err
}
