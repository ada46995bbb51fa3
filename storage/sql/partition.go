package sql

import (
	"context"
	stdsql "database/sql"
	"regexp"
	"strings"

	"github.com/pressly/goose/v3"
)

// partitions makes usage_records a table with a partition for each day on PostgreSQL, where dropping one costs nothing, and
// gives it an index by day on SQLite, which deletes by it.
func partitions(dialect string) *goose.Migration {
	up, down := `CREATE INDEX usage_records_by_day ON usage_records (day)`, `DROP INDEX usage_records_by_day`
	if dialect == Postgres {
		up = `ALTER INDEX usage_records_pkey RENAME TO usage_records_whole_pkey;
ALTER TABLE usage_records RENAME TO usage_records_whole;
CREATE TABLE usage_records (LIKE usage_records_whole INCLUDING DEFAULTS, PRIMARY KEY (node, segment, slot, day)) PARTITION BY LIST (day);
DO $$ DECLARE d TEXT; BEGIN
 FOR d IN SELECT DISTINCT day FROM usage_records_whole LOOP
  EXECUTE format('CREATE TABLE %I PARTITION OF usage_records FOR VALUES IN (%L)', 'usage_records_' || replace(d, '-', ''), d);
 END LOOP;
END $$;
INSERT INTO usage_records SELECT * FROM usage_records_whole;
DROP TABLE usage_records_whole`
		down = `ALTER INDEX usage_records_pkey RENAME TO usage_records_days_pkey;
ALTER TABLE usage_records RENAME TO usage_records_days;
CREATE TABLE usage_records (LIKE usage_records_days INCLUDING DEFAULTS, PRIMARY KEY (node, segment, slot));
INSERT INTO usage_records SELECT * FROM usage_records_days;
DROP TABLE usage_records_days`
	}
	run := func(text string) *goose.GoFunc {
		return &goose.GoFunc{RunTx: func(ctx context.Context, tx *stdsql.Tx) error {
			for _, statement := range statements(text) {
				if _, err := tx.ExecContext(ctx, statement); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	return goose.NewGoMigration(partitionVersion, run(up), run(down))
}

// partitionVersion is the number of the migration that is no file.
const partitionVersion = 22

// statements cuts a text at the ends of lines with a semicolon, but not within $$.
func statements(text string) []string {
	var out []string
	for i, part := range strings.Split(text, "$$") {
		if i%2 == 1 {
			out[len(out)-1] += "$$" + part + "$$"
			continue
		}
		for n, s := range strings.Split(part, ";\n") {
			if n == 0 && i > 0 {
				out[len(out)-1] += s
			} else {
				out = append(out, s)
			}
		}
	}
	return out
}

var isDay = regexp.MustCompile(`^[0-9]{4,6}-[0-9]{2}-[0-9]{2}$`)

// partitionOf is the table of a day's records on PostgreSQL; empty for what is no day.
func partitionOf(day string) string {
	if !isDay.MatchString(day) {
		return ""
	}
	return "usage_records_" + strings.ReplaceAll(day, "-", "")
}

// makePartitions makes the tables of days that have none. It has a transaction of its own, so that the lock it takes on the
// whole table is held for an instant.
func (m *Meter) makePartitions(ctx context.Context, days []string) error {
	if m.db.dialect != Postgres {
		return nil
	}
	for _, day := range days {
		table := partitionOf(day)
		if _, known := m.db.partitions.Load(day); known || table == "" {
			continue
		}
		err := m.db.Write(ctx, func(tx *Tx) error {
			var floor string // the row's lock lets one at a time make tables, and none make one that is to go
			if err := tx.QueryRow(ctx, "SELECT floor FROM usage_retention WHERE id = 1 FOR UPDATE").Scan(&floor); err != nil || day < floor {
				return err
			}
			_, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+table+" PARTITION OF usage_records FOR VALUES IN ('"+day+"')")
			return err
		})
		if err != nil {
			return err
		}
		m.db.partitions.Store(day, true)
	}
	return nil
}
