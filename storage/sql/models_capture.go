package sql

import (
	"context"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/gateway/capture"
)

// Captured is capture.Store on the database.
type Captured struct{ db *DB }

// Captured returns the store of consents and of what was kept by them.
func (db *DB) Captured() *Captured { return &Captured{db} }

var _ capture.Store = (*Captured)(nil)

const consentColumns = "SELECT project, share, most, keep_ms, redact, given_by, created_at FROM consents"

func scanConsent(r Scanner) (c capture.Consent, err error) {
	var share, redact string
	var keep, at int64
	if err = r.Scan(&c.Project, &share, &c.Most, &keep, &redact, &c.By, &at); err != nil {
		return c, err
	}
	c.Keep, c.At = time.Duration(keep)*time.Millisecond, fromMicros(at)
	if c.Share, err = strconv.ParseFloat(share, 64); err != nil {
		return c, err
	}
	return c, fromJSON(redact, &c.Redact)
}

// Consents implements capture.Store.
func (s *Captured) Consents(ctx context.Context) (list []capture.Consent, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = All(ctx, tx, scanConsent, consentColumns)
		return err
	})
	return list, err
}

// Consent implements capture.Store.
func (s *Captured) Consent(ctx context.Context, project string) (c capture.Consent, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		c, err = scanConsent(tx.QueryRow(ctx, consentColumns+" WHERE project = ?", project))
		return missing(err, "The project %s has not consented to keeping what is asked and answered.", project)
	})
	return c, err
}

// PutConsent implements capture.Store.
func (s *Captured) PutConsent(ctx context.Context, c capture.Consent) error {
	redact, err := toJSON(c.Redact)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO consents (project, share, most, keep_ms, redact, given_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (project) DO UPDATE SET share = excluded.share, most = excluded.most, keep_ms = excluded.keep_ms, redact = excluded.redact,
			given_by = excluded.given_by, created_at = excluded.created_at`,
			c.Project, strconv.FormatFloat(c.Share, 'g', -1, 64), c.Most, c.Keep.Milliseconds(), redact, c.By, micros(c.At))
		return err
	})
}

// Withdraw implements capture.Store. The consent's row is taken first, as in AddBodies, so that whichever comes first is
// whole before the other: what is stored in spite of a withdrawal would have been stored before it, and is deleted with it.
func (s *Captured) Withdraw(ctx context.Context, project string, forget bool) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM consents WHERE project = ?", project)
		if err == nil && forget {
			var gone int64
			gone, err = tx.Exec(ctx, "DELETE FROM captured WHERE project = ?", project)
			n += gone
		}
		if err == nil && n == 0 {
			err = fault.Newf(fault.NotFound, "The project %s has not consented to keeping what is asked and answered.", project)
		}
		return err
	})
}

// AddBodies implements capture.Store.
func (s *Captured) AddBodies(ctx context.Context, list []capture.Record) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		leave := map[string]bool{}
		for _, r := range list {
			ok, known := leave[r.Project]
			if !known {
				given, err := All(ctx, tx, scanConsent, consentColumns+" WHERE project = ?"+tx.ForUpdate(), r.Project)
				if err != nil {
					return err
				}
				ok = len(given) == 1
				leave[r.Project] = ok
			}
			if !ok {
				continue
			}
			text := base64.StdEncoding.EncodeToString(r.Data)
			if _, err := tx.Exec(ctx, "INSERT INTO captured (request, project, until_at, bytes, data) VALUES (?, ?, ?, ?, ?) ON CONFLICT (request) DO NOTHING",
				r.Request, r.Project, micros(r.Until), len(text), text); err != nil {
				return err
			}
		}
		return nil
	})
}

const capturedColumns = "SELECT request, project, until_at, data FROM captured"

func scanCaptured(r Scanner) (x capture.Record, err error) {
	var until int64
	var data string
	if err = r.Scan(&x.Request, &x.Project, &until, &data); err != nil {
		return x, err
	}
	x.Until = fromMicros(until)
	x.Data, err = base64.StdEncoding.DecodeString(data)
	return x, err
}

// Bodies implements capture.Store.
func (s *Captured) Bodies(ctx context.Context, project, least, below string, limit int) (list []capture.Record, err error) {
	where, args := " WHERE project = ? AND request >= ?", []any{project, least}
	if below != "" {
		where += " AND request < ?"
		args = append(args, below)
	}
	args = append(args, limit)
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = All(ctx, tx, scanCaptured, capturedColumns+where+" ORDER BY request DESC LIMIT ?", args...)
		return err
	})
	return list, err
}

// Body implements capture.Store.
func (s *Captured) Body(ctx context.Context, project, request string) (r capture.Record, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		r, err = scanCaptured(tx.QueryRow(ctx, capturedColumns+" WHERE request = ? AND project = ?", request, project))
		return missing(err, "Nothing was kept of the request %s.", request)
	})
	return r, err
}

// dropAtOnce is how many bodies a project that has too many loses in one transaction.
const dropAtOnce = 256

// DropBodies implements capture.Store.
func (s *Captured) DropBodies(ctx context.Context, now time.Time, most int64) error {
	if err := s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM captured WHERE until_at <= ?", micros(now))
		return err
	}); err != nil {
		return err
	}
	for {
		more := false
		err := s.db.Write(ctx, func(tx *Tx) error {
			over, err := All(ctx, tx, func(r Scanner) (p string, err error) { return p, r.Scan(&p) },
				"SELECT project FROM captured GROUP BY project HAVING SUM(bytes) > ?", most)
			more = len(over) > 0
			for _, p := range over {
				if _, err := tx.Exec(ctx, "DELETE FROM captured WHERE request IN (SELECT request FROM captured WHERE project = ? ORDER BY request LIMIT ?)", p, dropAtOnce); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}
