package sql

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/gateway/seen"
)

// RequestLog is seen.LogStore on the database.
type RequestLog struct{ db *DB }

// RequestLog returns the store of the request log.
func (db *DB) RequestLog() *RequestLog { return &RequestLog{db} }

var _ seen.LogStore = (*RequestLog)(nil)

// AddBlocks implements seen.LogStore.
func (s *RequestLog) AddBlocks(ctx context.Context, list []seen.Block) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		for _, b := range list {
			if _, err := tx.Exec(ctx, "INSERT INTO request_log (id, project, first, last, entries, data) VALUES (?, ?, ?, ?, ?, ?)",
				b.ID, b.Project, b.First, b.Last, b.Rows, base64.StdEncoding.EncodeToString(b.Data)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Blocks implements seen.LogStore.
func (s *RequestLog) Blocks(ctx context.Context, project, least, below string, after page.Key, limit int) (list []seen.Block, err error) {
	var where strings.Builder
	where.WriteString("SELECT id, project, first, last, entries, data FROM request_log WHERE project = ?")
	args := []any{project}
	for _, c := range []struct {
		text string
		args []any
		use  bool
	}{
		{" AND last >= ?", []any{least}, least != ""},
		{" AND first < ?", []any{below}, below != ""},
	} {
		if c.use {
			where.WriteString(c.text)
			args = append(args, c.args...)
		}
	}
	if len(after) == 2 {
		where.WriteString(" AND (last < ? OR last = ? AND id < ?)")
		args = append(args, after[0], after[0], after[1])
	}
	where.WriteString(" ORDER BY last DESC, id DESC LIMIT ?")
	args = append(args, limit)
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = All(ctx, tx, scanBlock, where.String(), args...)
		return err
	})
	return list, err
}

func scanBlock(r Scanner) (b seen.Block, err error) {
	var data string
	if err = r.Scan(&b.ID, &b.Project, &b.First, &b.Last, &b.Rows, &data); err != nil {
		return b, err
	}
	b.Data, err = base64.StdEncoding.DecodeString(data)
	return b, err
}

// DropBlocks implements seen.LogStore.
func (s *RequestLog) DropBlocks(ctx context.Context, before string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM request_log WHERE last < ?", before)
		return err
	})
}
