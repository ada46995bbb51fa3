package sql

import (
	"context"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// ChipPrices lists what chips cost, by class.
func (m *Meter) ChipPrices(ctx context.Context) (ps []meter.ChipPrice, err error) {
	err = m.db.Read(ctx, func(tx *Tx) error {
		ps, err = All(ctx, tx, func(s Scanner) (p meter.ChipPrice, err error) { return p, s.Scan(&p.Chip, &p.HourMicros) },
			"SELECT chip, hour_micros FROM chip_prices")
		return err
	})
	slices.SortFunc(ps, func(a, b meter.ChipPrice) int { return strings.Compare(a.Chip, b.Chip) })
	return ps, err
}

// SetChipPrice sets what a class costs from now on; what is booked keeps its cost.
func (m *Meter) SetChipPrice(ctx context.Context, p meter.ChipPrice) error {
	return m.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO chip_prices (chip, hour_micros) VALUES (?, ?) ON CONFLICT (chip) DO UPDATE SET hour_micros = excluded.hour_micros",
			p.Chip, p.HourMicros)
		return err
	})
}

// RemoveChipPrice has a class cost nothing; fault.NotFound when it has no price.
func (m *Meter) RemoveChipPrice(ctx context.Context, chip string) error {
	return m.db.Write(ctx, func(tx *Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM chip_prices WHERE chip = ?", chip)
		if err == nil && n == 0 {
			return fault.Newf(fault.NotFound, "Chips of the class %s have no price.", chip)
		}
		return err
	})
}
