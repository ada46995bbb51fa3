package sql_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func TestDevicesAreKept(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s, ctx := db.Devices(), t.Context()
		if b, err := s.Board(ctx, "m"); b != nil || err != nil {
			t.Errorf("%q %v", b, err)
		}
		for _, text := range []string{`{"nodes":[]}`, `{"nodes":null}`} {
			if err := s.SetBoard(ctx, "m", []byte(text)); err != nil {
				t.Fatal(err)
			}
			if b, err := s.Board(ctx, "m"); string(b) != text || err != nil {
				t.Errorf("%q %v", b, err)
			}
		}
		if b, err := s.Board(ctx, "other"); b != nil || err != nil {
			t.Errorf("%q %v", b, err)
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		want := []queue.Declaration{{Node: "a", Chip: "x", Chips: 8, Links: [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}}, CreatedAt: at}, {Node: "b", Chip: "y", Chips: 1, CreatedAt: at}}
		for _, d := range []queue.Declaration{{Node: "b", Chip: "z", Chips: 3, CreatedAt: at}, want[1], want[0]} {
			if err := s.Declare(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Declared(ctx)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if err := s.Undeclare(ctx, "a"); err != nil {
			t.Error(err)
		}
		if err := s.Undeclare(ctx, "a"); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
	})
}
