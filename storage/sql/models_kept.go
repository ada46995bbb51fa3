package sql

import (
	"context"
	"fmt"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/kept"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Kept is kept.Store on the database.
type Kept struct{ db *DB }

// Kept returns the store of what callers of the model API leave behind.
func (db *DB) Kept() *Kept { return &Kept{db} }

var _ kept.Store = (*Kept)(nil)

const (
	responseColumns = "id, project, previous, input, answer, created_at, expires_at"
	fileColumns     = "id, project, name, purpose, bytes, ref, created_by, created_at"
)

func scanResponse(s Scanner) (kept.Response, error) {
	var r kept.Response
	var input, answer string
	var created, expires int64
	err := s.Scan(&r.ID, &r.Project, &r.Previous, &input, &answer, &created, &expires)
	r.Input, r.Answer, r.CreatedAt, r.ExpiresAt = []byte(input), []byte(answer), fromMicros(created), fromMicros(expires)
	return r, err
}

func scanFile(s Scanner) (kept.File, error) {
	var f kept.File
	var ref string
	var at int64
	err := s.Scan(&f.ID, &f.Project, &f.Name, &f.Purpose, &f.Bytes, &ref, &f.CreatedBy, &at)
	f.Ref, f.CreatedAt = blob.Ref(ref), fromMicros(at)
	return f, err
}

// sums are what a project has.
type sums struct{ responses, responseBytes, files, fileBytes int64 }

// lockKept locks a project's sums, which are made where there are none.
func lockKept(ctx context.Context, tx *Tx, project string) (s sums, err error) {
	if _, err = tx.Exec(ctx, "INSERT INTO kept (project, responses, response_bytes, files, file_bytes) VALUES (?, 0, 0, 0, 0) ON CONFLICT (project) DO NOTHING", project); err != nil {
		return s, err
	}
	err = tx.QueryRow(ctx, "SELECT responses, response_bytes, files, file_bytes FROM kept WHERE project = ?"+tx.ForUpdate(), project).
		Scan(&s.responses, &s.responseBytes, &s.files, &s.fileBytes)
	return s, err
}

func putKept(ctx context.Context, tx *Tx, project string, s sums) error {
	_, err := tx.Exec(ctx, "UPDATE kept SET responses = ?, response_bytes = ?, files = ?, file_bytes = ? WHERE project = ?",
		s.responses, s.responseBytes, s.files, s.fileBytes, project)
	return err
}

// AddResponse implements kept.Store.
func (s *Kept) AddResponse(ctx context.Context, r kept.Response, within kept.Bounds) error {
	size := int64(len(r.Input) + len(r.Answer))
	if size > within.Bytes {
		return fault.New(fault.TooLarge, "The response is larger than all that a project may keep.")
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		have, err := lockKept(ctx, tx, r.Project)
		if err != nil {
			return err
		}
		have.responses, have.responseBytes = have.responses+1, have.responseBytes+size
		for have.responses > int64(within.Count) || have.responseBytes > within.Bytes {
			var oldest string
			var bytes int64
			if err := tx.QueryRow(ctx, "SELECT id, bytes FROM responses WHERE project = ? ORDER BY created_at, id LIMIT 1", r.Project).Scan(&oldest, &bytes); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "DELETE FROM responses WHERE id = ?", oldest); err != nil {
				return err
			}
			have.responses, have.responseBytes = have.responses-1, have.responseBytes-bytes
		}
		if err := putKept(ctx, tx, r.Project, have); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO responses ("+responseColumns+", bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			r.ID, r.Project, r.Previous, string(r.Input), string(r.Answer), micros(r.CreatedAt), micros(r.ExpiresAt), size)
		return err
	})
}

// Response implements kept.Store.
func (s *Kept) Response(ctx context.Context, project, id string) (r kept.Response, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		r, err = scanResponse(tx.QueryRow(ctx, "SELECT "+responseColumns+" FROM responses WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no response %s.", id)
	})
	return r, err
}

// RemoveResponse implements kept.Store.
func (s *Kept) RemoveResponse(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		have, err := lockKept(ctx, tx, project)
		if err != nil {
			return err
		}
		var bytes int64
		if err := tx.QueryRow(ctx, "SELECT bytes FROM responses WHERE project = ? AND id = ?", project, id).Scan(&bytes); err != nil {
			return missing(err, "There is no response %s.", id)
		}
		have.responses, have.responseBytes = have.responses-1, have.responseBytes-bytes
		if err := putKept(ctx, tx, project, have); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "DELETE FROM responses WHERE id = ?", id)
		return err
	})
}

// expiring is how many responses one transaction forgets.
const expiring = 200

// ExpireResponses implements kept.Store.
func (s *Kept) ExpireResponses(ctx context.Context, now time.Time) (n int64, err error) {
	type old struct{ id, project string }
	for {
		var list []old
		err := s.db.Read(ctx, func(tx *Tx) error {
			list, err = All(ctx, tx, func(r Scanner) (o old, err error) { return o, r.Scan(&o.id, &o.project) },
				"SELECT id, project FROM responses WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", micros(now), expiring)
			return err
		})
		if err != nil || len(list) == 0 {
			return n, err
		}
		for _, o := range list {
			if err := s.RemoveResponse(ctx, o.project, o.id); err != nil && !fault.Is(err, fault.NotFound) {
				return n, err
			}
			n++
		}
	}
}

// AddFile implements kept.Store.
func (s *Kept) AddFile(ctx context.Context, f kept.File, within kept.Bounds) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		have, err := lockKept(ctx, tx, f.Project)
		if err != nil {
			return err
		}
		have.files, have.fileBytes = have.files+1, have.fileBytes+f.Bytes
		if have.files > int64(within.Count) || have.fileBytes > within.Bytes {
			return fault.New(fault.Conflict, fmt.Sprintf("The project has no room for the file: it may have %d files of together %d bytes.", within.Count, within.Bytes),
				fault.Code("files_full"), fault.Fix("Delete files that are not needed."))
		}
		if err := putKept(ctx, tx, f.Project, have); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO files ("+fileColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			f.ID, f.Project, f.Name, f.Purpose, f.Bytes, string(f.Ref), f.CreatedBy, micros(f.CreatedAt))
		return err
	})
}

// File implements kept.Store.
func (s *Kept) File(ctx context.Context, project, id string) (f kept.File, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		f, err = scanFile(tx.QueryRow(ctx, "SELECT "+fileColumns+" FROM files WHERE project = ? AND id = ?", project, id))
		return missing(err, "There is no file %s.", id)
	})
	return f, err
}

// Files implements kept.Store.
func (s *Kept) Files(ctx context.Context, project, purpose string, p page.Page) (list []kept.File, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = paged(ctx, tx, scanFile, p, order{"created_at, id", "nt", true},
			"SELECT "+fileColumns+" FROM files WHERE project = ? AND (? = '' OR purpose = ?)", project, purpose, purpose)
		return err
	})
	return list, err
}

// RemoveFile implements kept.Store.
func (s *Kept) RemoveFile(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		have, err := lockKept(ctx, tx, project)
		if err != nil {
			return err
		}
		var bytes int64
		if err := tx.QueryRow(ctx, "SELECT bytes FROM files WHERE project = ? AND id = ?", project, id).Scan(&bytes); err != nil {
			return missing(err, "There is no file %s.", id)
		}
		have.files, have.fileBytes = have.files-1, have.fileBytes-bytes
		if err := putKept(ctx, tx, project, have); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "DELETE FROM files WHERE id = ?", id)
		return err
	})
}

// FileRefs implements kept.Store.
func (s *Kept) FileRefs(ctx context.Context, yield func(blob.Ref) bool) error {
	return s.db.Read(ctx, func(tx *Tx) error {
		refs, err := All(ctx, tx, func(r Scanner) (ref string, err error) { return ref, r.Scan(&ref) }, "SELECT DISTINCT ref FROM files")
		for _, ref := range refs {
			if !yield(blob.Ref(ref)) {
				break
			}
		}
		return err
	})
}
