package sql

import (
	"context"
	stdsql "database/sql"
	"errors"

	"github.com/triarch-ai/triarch/compute/health"
	"github.com/triarch-ai/triarch/compute/queue"
)

// Devices is health.Store and queue.Declarer on the database.
type Devices struct{ db *DB }

// Devices returns the store of what is known of devices, and of nodes declared by hand.
func (db *DB) Devices() *Devices { return &Devices{db} }

var (
	_ health.Store   = (*Devices)(nil)
	_ queue.Declarer = (*Devices)(nil)
)

// Board implements health.Store.
func (s *Devices) Board(ctx context.Context, machine string) (board []byte, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		var text string
		err := tx.QueryRow(ctx, "SELECT board FROM device_boards WHERE machine = ?", machine).Scan(&text)
		if errors.Is(err, stdsql.ErrNoRows) {
			return nil
		}
		board = []byte(text)
		return err
	})
	return board, err
}

// SetBoard implements health.Store.
func (s *Devices) SetBoard(ctx context.Context, machine string, board []byte) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO device_boards (machine, board) VALUES (?, ?) ON CONFLICT (machine) DO UPDATE SET board = excluded.board", machine, string(board))
		return err
	})
}

// Declared implements queue.Declarer.
func (s *Devices) Declared(ctx context.Context) (list []queue.Declaration, err error) {
	scan := func(s Scanner) (queue.Declaration, error) {
		var d queue.Declaration
		var links string
		var created int64
		if err := s.Scan(&d.Node, &d.Chip, &d.Chips, &links, &created); err != nil {
			return d, err
		}
		d.CreatedAt = fromMicros(created)
		return d, fromJSON(links, &d.Links)
	}
	err = s.db.Read(ctx, func(tx *Tx) error {
		list, err = All(ctx, tx, scan, "SELECT node, chip, chips, links, created_at FROM declared_nodes ORDER BY "+tx.bytes("node"))
		return err
	})
	return list, err
}

// Declare implements queue.Declarer.
func (s *Devices) Declare(ctx context.Context, d queue.Declaration) error {
	links, err := toJSON(d.Links)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO declared_nodes (node, chip, chips, links, created_at) VALUES (?, ?, ?, ?, ?)"+
			" ON CONFLICT (node) DO UPDATE SET chip = excluded.chip, chips = excluded.chips, links = excluded.links", d.Node, d.Chip, d.Chips, links, micros(d.CreatedAt))
		return err
	})
}

// Undeclare implements queue.Declarer.
func (s *Devices) Undeclare(ctx context.Context, node string) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		var got string
		if err := tx.QueryRow(ctx, "SELECT node FROM declared_nodes WHERE node = ?", node).Scan(&got); err != nil {
			return missing(err, "There is no node %s that was declared by hand.", node)
		}
		_, err := tx.Exec(ctx, "DELETE FROM declared_nodes WHERE node = ?", node)
		return err
	})
}
