package sql

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/models/gateway"
)

// Explanations is gateway.Explained on the database.
type Explanations struct{ db *DB }

// Explanations returns the store of explanations of requests.
func (db *DB) Explanations() *Explanations { return &Explanations{db} }

var _ gateway.Explained = (*Explanations)(nil)

// AddExplanations implements gateway.Explained. One that is there already stays.
func (s *Explanations) AddExplanations(ctx context.Context, list []gateway.Explanation) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		for _, e := range list {
			body, err := toJSON(e)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO request_explanations (request, project, at, body) VALUES (?, ?, ?, ?) ON CONFLICT (request) DO NOTHING",
				e.Request, e.Project, micros(e.At), body); err != nil {
				return err
			}
		}
		return nil
	})
}

// Explanation implements gateway.Explained.
func (s *Explanations) Explanation(ctx context.Context, project, request string) (e gateway.Explanation, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		var body string
		if err := tx.QueryRow(ctx, "SELECT body FROM request_explanations WHERE request = ? AND project = ?", request, project).Scan(&body); err != nil {
			return missing(err, "There is no explanation of the request %s.", request)
		}
		return fromJSON(body, &e)
	})
	return e, err
}

// DropExplanations implements gateway.Explained.
func (s *Explanations) DropExplanations(ctx context.Context, before time.Time) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM request_explanations WHERE at < ?", micros(before))
		return err
	})
}
