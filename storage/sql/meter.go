package sql

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Meter keeps usage records and their sums by day.
type Meter struct{ db *DB }

var _ meter.Store = (*Meter)(nil)

// Meter is the usage part of the database.
func (db *DB) Meter() *Meter { return &Meter{db} }

const recordColumns = `node, segment, slot, request_id, org_id, project_id, key_id, route_id, version_id, model, kind, stream,
 outcome, day, started_at, ended_at, price_in, price_cached, price_out, price_reasoning, price_embedding, price_request, price_version, tag,
 backend, chip, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, embedding_tokens, cost_micros, first_token_micros,
 chip_millis, chip_nanos, estimated`

// shipRows is how many records one statement inserts. The statement is parsed once for each call of Ship.
const shipRows = 100

// shipText inserts records that have all in common but what is said for each: most of a batch does, and each value that
// is not bound again is time won.
func shipText(rows int) string {
	one := "(CAST(? AS BIGINT), CAST(? AS TEXT)" + strings.Repeat(", CAST(? AS BIGINT)", 14) + ")"
	text, big := "CAST(? AS TEXT)", "CAST(? AS BIGINT)"
	return "INSERT INTO usage_records (node, segment, org_id, project_id, key_id, route_id, version_id, model, kind, day," +
		" price_version, tag, backend, chip, price_in, price_cached, price_out, price_reasoning, price_embedding, price_request," +
		" slot, request_id, stream, outcome, started_at, ended_at, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens," +
		" embedding_tokens, cost_micros, first_token_micros, chip_millis, chip_nanos, estimated) SELECT " +
		strings.Join([]string{text, big, text, text, text, text, text, text, big, text, text, text, text, text, big, big, big, big, big, big}, ", ") +
		", v.* FROM (VALUES " +
		one + strings.Repeat(", "+one, rows-1) + ") AS v WHERE 1 = 1 ON CONFLICT DO NOTHING"
}

var (
	shipOne, shipMany = shipText(1), shipText(shipRows)

	casts = strings.NewReplacer("CAST(? AS BIGINT)", "?", "CAST(? AS TEXT)", "?")
)

// alike says whether two records have all in common but what shipText says for each.
func (b *bill) alike(r, s *meter.Record) bool {
	return r.Node == s.Node && r.Segment == s.Segment && r.Org == s.Org && r.Project == s.Project && r.Key == s.Key && r.Route == s.Route &&
		r.Version == s.Version && r.Model == s.Model && r.Kind == s.Kind && r.Prices == s.Prices && r.PriceVer == s.PriceVer && r.Tag == s.Tag &&
		r.Backend == s.Backend && r.Work.Chip == s.Work.Chip && b.day(r) == b.day(s)
}

// Ship stores records and adds those that were new to the sums of their days, in one transaction.
func (m *Meter) Ship(ctx context.Context, records []meter.Record) error {
	err := m.ship(ctx, records, shipRows)
	if errors.Is(err, errSomeKnown) { // after a crash: which ones, only single statements tell
		err = m.ship(ctx, records, 1)
	}
	return err
}

var errSomeKnown = errors.New("sql: some records of a group are stored already")

// ship inserts in groups of this many, the rest singly. A group of which not all were new fails with errSomeKnown.
func (m *Meter) ship(ctx context.Context, records []meter.Record, group int) error {
	if err := m.makePartitions(ctx, daysOf(records)); err != nil {
		return err
	}
	return m.db.Write(ctx, func(tx *Tx) error {
		b := newBill()
		var err error
		if b.floor, err = floorOf(ctx, tx); err != nil {
			return err
		}
		sorted := b.sort(records)
		for rest := sorted; len(rest) > 0; rest = rest[b.beside(rest):] { // which of them are stored only rows tell
			if err := b.unpackAll(ctx, tx, "node = ? AND segment = ?", rest[0].Node, rest[0].Segment); err != nil {
				return err
			}
		}
		for rest := sorted; len(rest) > 0; {
			if b.day(rest[0]) < b.floor {
				if err := b.late(ctx, tx, rest[0]); err != nil {
					return err
				}
				rest = rest[1:]
				continue
			}
			n := b.group(rest, group)
			if err := b.insert(ctx, tx, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return b.close(ctx, tx, m, records)
	})
}

// group is how many of the first records one statement stores: so many that are alike, or one.
func (b *bill) group(rest []*meter.Record, group int) int {
	if group > 1 && len(rest) >= group && b.alike(rest[0], rest[group-1]) {
		return group
	}
	return 1
}

// beside is how many of the first records are of one segment.
func (b *bill) beside(sorted []*meter.Record) int {
	for n, r := range sorted {
		if r.Node != sorted[0].Node || r.Segment != sorted[0].Segment {
			return n
		}
	}
	return len(sorted)
}

// close adds what is new to the sums.
func (b *bill) close(ctx context.Context, tx *Tx, m *Meter, records []meter.Record) error {
	if err := addTags(ctx, tx, b.tags); err != nil {
		return err
	}
	if err := addDays(ctx, tx, b.sums); err != nil || len(records) == 0 {
		return err
	}
	return charge(ctx, tx, m.db.lines, records[0].Node, b.sums)
}

// bill is one call of Ship.
type bill struct {
	one, many *stdsql.Stmt // prepared on first use; they end with the transaction
	names     map[id.Raw]string
	sums      map[day]*meter.Totals
	tags      map[tagDay]*meter.Totals
	floor     string // the first day whose records are kept
	args      []any
	date      time.Time // of today
	today     string
}

func newBill() *bill {
	return &bill{names: map[id.Raw]string{}, sums: map[day]*meter.Totals{}, tags: map[tagDay]*meter.Totals{}}
}

// put stores records that are alike, one or shipRows, and says how many of them were new.
func (b *bill) put(ctx context.Context, tx *Tx, records []*meter.Record) (int64, error) {
	text, known := shipOne, &b.one
	if len(records) > 1 {
		text, known = shipMany, &b.many
	}
	if *known == nil {
		if tx.dialect != Postgres { // which alone cannot tell the types of the values; a column of SQLite's gives its own
			text = casts.Replace(text)
		}
		stmt, err := tx.tx.PrepareContext(ctx, rebind(tx.dialect, text)) //nolint:sqlclosecheck // ends with the transaction
		if err != nil {
			return 0, mapErr(err)
		}
		*known = stmt
	}
	b.bind(records)
	res, err := (*known).ExecContext(ctx, b.args...)
	if err != nil {
		return 0, mapErr(err)
	}
	fresh, err := res.RowsAffected()
	return fresh, mapErr(err)
}

// insert stores records that are alike and adds those that were new to the sums.
func (b *bill) insert(ctx context.Context, tx *Tx, records []*meter.Record) error {
	fresh, err := b.put(ctx, tx, records)
	switch {
	case err != nil:
		return err
	case fresh == 0:
		return nil
	case fresh != int64(len(records)):
		return errSomeKnown
	}
	for _, r := range records {
		b.add(r)
	}
	return nil
}

// sort puts records that are alike beside each other, in the order in which the first of them came.
func (b *bill) sort(records []meter.Record) []*meter.Record {
	var kinds [][]*meter.Record
	last := 0
	for i := range records {
		r := &records[i]
		if last >= len(kinds) || !b.alike(kinds[last][0], r) {
			last = slices.IndexFunc(kinds, func(k []*meter.Record) bool { return b.alike(k[0], r) })
			if last < 0 {
				last, kinds = len(kinds), append(kinds, nil)
			}
		}
		kinds[last] = append(kinds[last], r)
	}
	return slices.Concat(kinds...)
}

func (b *bill) bind(records []*meter.Record) {
	r := records[0]
	b.args = append(b.args[:0], r.Node, r.Segment, b.name("org_", r.Org), b.name("prj_", r.Project), b.name("key_", r.Key),
		b.name("rte_", r.Route), b.name("mv_", r.Version), r.Model, int64(r.Kind), b.day(r),
		b.optional("pv_", r.PriceVer), r.Tag, r.Backend, r.Work.Chip)
	for _, p := range r.Prices.Each() {
		b.args = append(b.args, p)
	}
	for _, r := range records {
		b.args = append(b.args, r.Slot, "req_"+r.Request.String(), bit(r.Stream), int64(r.Outcome), r.Start.UnixMicro(), r.End.UnixMicro(),
			r.Usage.Input, r.Usage.Output, r.Usage.Cached, r.Usage.Reasoning, r.Usage.Embedding, r.CostMicros,
			r.Work.FirstToken.Microseconds(), r.Work.ChipMillis, r.Work.ChipNanos, bit(r.Usage.Estimated))
	}
}

// optional is the text of an id, empty for none.
func (b *bill) optional(noun string, raw id.Raw) string {
	if raw == (id.Raw{}) {
		return ""
	}
	return b.name(noun, raw)
}

// name is the text of an id; the same few come again and again.
func (b *bill) name(noun string, raw id.Raw) string {
	s, ok := b.names[raw]
	if !ok || !strings.HasPrefix(s, noun) {
		s = noun + raw.String()
		b.names[raw] = s
	}
	return s
}

func (b *bill) day(r *meter.Record) string {
	if since := r.Start.Sub(b.date); b.today == "" || since < 0 || since >= 24*time.Hour {
		b.date, b.today = r.Start.UTC().Truncate(24*time.Hour), r.Day()
	}
	return b.today
}

func (b *bill) add(r *meter.Record) {
	d := day{b.day(r), b.name("org_", r.Org), b.name("prj_", r.Project), b.name("key_", r.Key), b.name("rte_", r.Route), r.Model}
	t := b.sums[d]
	if t == nil {
		t = &meter.Totals{}
		b.sums[d] = t
	}
	t.Add(r)
	if r.Tag == "" || d.day < b.floor { // sums by tag end with the records
		return
	}
	k := tagDay{d.day, d.org, d.project, d.key, r.Tag}
	if t = b.tags[k]; t == nil {
		t = &meter.Totals{}
		b.tags[k] = t
	}
	t.Add(r)
}

func daysOf(records []meter.Record) []string {
	var days []string
	var last time.Time
	for i := range records {
		if d := records[i].Start.UTC().Truncate(24 * time.Hour); i == 0 || !d.Equal(last) {
			days, last = append(days, records[i].Day()), d
		}
	}
	return days
}

// day is the key of a sum, tagDay that of a sum by tag.
type (
	day    struct{ day, org, project, key, route, model string }
	tagDay struct{ day, org, project, key, tag string }
)

// addTags is addDays for the sums by tag.
func addTags(ctx context.Context, tx *Tx, sums map[tagDay]*meter.Totals) error {
	keys := make([]tagDay, 0, len(sums))
	for d := range sums {
		keys = append(keys, d)
	}
	slices.SortFunc(keys, func(a, b tagDay) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, d := range keys {
		if _, err := tx.Exec(ctx, addTag, append([]any{d.day, d.org, d.project, d.key, d.tag}, values(sums[d])...)...); err != nil {
			return err
		}
	}
	return nil
}

// addDays adds to the sums, in one order for all writers, so that they cannot wait for each other in a circle.
func addDays(ctx context.Context, tx *Tx, sums map[day]*meter.Totals) error {
	keys := make([]day, 0, len(sums))
	for d := range sums {
		keys = append(keys, d)
	}
	slices.SortFunc(keys, func(a, b day) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, d := range keys {
		t := sums[d]
		if _, err := tx.Exec(ctx, addDay, append([]any{d.day, d.org, d.project, d.key, d.route, d.model}, values(t)...)...); err != nil {
			return err
		}
	}
	return nil
}

// totalNames are the columns of meter.Totals, in the order of values and targets.
var totalNames = []string{"requests", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "embedding_tokens", "cost_micros",
	"chip_millis", "chip_nanos", "estimated"}

func values(t *meter.Totals) []any {
	return []any{t.Requests, t.PromptTokens, t.CompletionTokens, t.CachedTokens, t.ReasoningTokens, t.EmbeddingTokens, t.CostMicros, t.ChipMillis, t.ChipNanos, t.Estimated}
}

func targets(t *meter.Totals) []any {
	return []any{&t.Requests, &t.PromptTokens, &t.CompletionTokens, &t.CachedTokens, &t.ReasoningTokens, &t.EmbeddingTokens, &t.CostMicros, &t.ChipMillis,
		&t.ChipNanos, &t.Estimated}
}

// listed joins what a text makes of each column of the totals; % in it is the column.
func listed(each string, names []string) string {
	var out []string
	for _, n := range names {
		out = append(out, strings.ReplaceAll(each, "%", n))
	}
	return strings.Join(out, ", ")
}

const (
	dayKey   = "day, org_id, project_id, key_id, route_id, model"
	tagKey   = "day, org_id, project_id, key_id, tag"
	retained = " WHERE day >= (SELECT floor FROM usage_retention WHERE id = 1)" // days whose records are there
)

// adding adds to the sums of a table under a key.
func adding(table, key string) string {
	return "INSERT INTO " + table + " (" + key + ", " + listed("%", totalNames) + ") VALUES (" + strings.Repeat("?,", strings.Count(key, ",")+1) +
		listed("?", totalNames) + ") ON CONFLICT (" + key + ") DO UPDATE SET " + listed("% = "+table+".% + excluded.%", totalNames)
}

// summed makes the sums under a key from the records that are there.
func summed(key, where string) string {
	return "SELECT " + key + ", COUNT(*), " + listed("CAST(SUM(%) AS BIGINT)", totalNames[1:]) + " FROM usage_records" + where + " GROUP BY " + key
}

var (
	addDay, addTag = adding("usage_days", dayKey), adding("usage_tags", tagKey)
	totalColumns   = listed("CAST(COALESCE(SUM(%), 0) AS BIGINT)", totalNames)
	// sumRecords makes the roll-up from the records.
	sumRecords = summed(dayKey, retained)
	allDays    = "SELECT " + dayKey + ", " + listed("%", totalNames) + " FROM usage_days" + retained
	sumTags    = summed(tagKey, retained+" AND tag <> ''")
	allTags    = "SELECT " + tagKey + ", " + listed("%", totalNames) + " FROM usage_tags" + retained
)

// Spent sums the stored costs by key, project, organisation and route.
func (m *Meter) Spent(ctx context.Context) (map[id.Raw]int64, error) {
	out := map[id.Raw]int64{}
	err := m.db.Read(ctx, func(tx *Tx) error {
		clear(out)
		for _, column := range []string{"key_id", "project_id", "org_id", "route_id"} {
			_, err := All(ctx, tx, func(s Scanner) (struct{}, error) {
				var name string
				var cost int64
				if err := s.Scan(&name, &cost); err != nil {
					return struct{}{}, err
				}
				raw, err := id.ParseRaw(name)
				out[raw] = cost
				return struct{}{}, err
			}, "SELECT "+column+", CAST(SUM(cost_micros) AS BIGINT) FROM usage_days GROUP BY "+column)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

var groupColumns = map[meter.Group]string{
	meter.ByDay: "day", meter.ByModel: "model", meter.ByKey: "key_id", meter.ByProject: "project_id", meter.ByTag: "tag",
}

// Usage sums what was used; rows are sorted by name, and absent when no group is asked for.
func (m *Meter) Usage(ctx context.Context, f meter.Filter) (meter.Totals, []meter.Row, error) {
	column, grouped := groupColumns[f.Group]
	if !grouped && f.Group != "" {
		return meter.Totals{}, nil, fault.InvalidField("group", "Usage can be grouped by day, model, key, project or tag.")
	}
	where, args := usageWhere(f)
	var totals meter.Totals
	var rows []meter.Row
	err := m.db.Read(ctx, func(tx *Tx) error {
		err := tx.QueryRow(ctx, "SELECT "+totalColumns+" FROM usage_days"+where, args...).
			Scan(targets(&totals)...)
		if err != nil || !grouped {
			return err
		}
		rows, err = All(ctx, tx, func(s Scanner) (r meter.Row, err error) {
			return r, s.Scan(append([]any{&r.Name}, targets(&r.Totals)...)...)
		}, "SELECT "+column+", "+totalColumns+" FROM "+map[bool]string{true: "usage_tags", false: "usage_days"}[f.Group == meter.ByTag]+where+" GROUP BY "+column, args...)
		return err
	})
	slices.SortFunc(rows, func(a, b meter.Row) int { return strings.Compare(a.Name, b.Name) })
	return totals, rows, err
}

func usageWhere(f meter.Filter) (string, []any) {
	where, args := "", []any(nil)
	for _, c := range []struct{ test, value string }{
		{"org_id = ?", f.Org}, {"project_id = ?", f.Project}, {"key_id = ?", f.Key}, {"day >= ?", f.From}, {"day <= ?", f.To},
	} {
		if c.value == "" {
			continue
		}
		where += map[bool]string{true: " WHERE ", false: " AND "}[where == ""] + c.test
		args = append(args, c.value)
	}
	return where, args
}

// Records lists the stored records of a segment in slot order.
func (m *Meter) Records(ctx context.Context, node string, segment int64) ([]meter.Record, error) {
	if err := m.unpack(ctx, "node = ? AND segment = ?", node, segment); err != nil {
		return nil, err
	}
	var out []meter.Record
	err := m.db.Read(ctx, func(tx *Tx) (err error) {
		out, err = All(ctx, tx, scanRecord, "SELECT "+recordColumns+" FROM usage_records WHERE node = ? AND segment = ? ORDER BY slot",
			node, segment)
		return err
	})
	return out, err
}

func scanRecord(s Scanner) (meter.Record, error) {
	var r meter.Record
	var request, org, project, key, route, ver, dayText, priceVer string
	var kind, stream, outcome, start, end, first, estimated int64
	p, u := &r.Prices, &r.Usage
	err := s.Scan(&r.Node, &r.Segment, &r.Slot, &request, &org, &project, &key, &route, &ver, &r.Model, &kind, &stream, &outcome,
		&dayText, &start, &end, &p.Input, &p.CachedInput, &p.Output, &p.Reasoning, &p.Embedding, &p.Request, &priceVer, &r.Tag, &r.Backend, &r.Work.Chip,
		&u.Input, &u.Output, &u.Cached, &u.Reasoning, &u.Embedding, &r.CostMicros, &first, &r.Work.ChipMillis, &r.Work.ChipNanos, &estimated)
	if err != nil {
		return r, err
	}
	r.Kind, r.Stream, r.Outcome = meter.Kind(kind), stream == 1, meter.Outcome(outcome)
	r.Start, r.End, u.Estimated = fromMicros(start), fromMicros(end), estimated == 1
	r.Work.FirstToken = time.Duration(first) * time.Microsecond
	for _, x := range []struct {
		to   *id.Raw
		text string
	}{{&r.Request, request}, {&r.Org, org}, {&r.Project, project}, {&r.Key, key}, {&r.Route, route}, {&r.Version, ver}, {&r.PriceVer, priceVer}} {
		if x.text == "" {
			continue
		}
		if *x.to, err = id.ParseRaw(x.text); err != nil {
			return r, fault.Wrap(err, "reading a usage record")
		}
	}
	return r, nil
}

// hugeRecords are those whose cost a database could not compute without overflowing; there are hardly any.
const hugeRecords = `price_in >= 1000000000 OR price_out >= 1000000000 OR price_cached >= 1000000000 OR price_reasoning >= 1000000000 OR
 price_embedding >= 1000000000 OR price_request >= 1000000000000 OR prompt_tokens >= 1000000000 OR completion_tokens >= 1000000000 OR
 embedding_tokens >= 1000000000`

// dueOf is meter.Bill in SQL.
const dueOf = `CASE WHEN outcome <> 1 AND prompt_tokens + completion_tokens + embedding_tokens = 0 THEN 0 ELSE
 ((prompt_tokens - cached_tokens) * price_in + cached_tokens * price_cached + (completion_tokens - reasoning_tokens) * price_out +
 reasoning_tokens * price_reasoning + embedding_tokens * price_embedding + price_request * 1000000 + 999999) / 1000000 END`

// Check compares costs with counts and prices, looks for requests booked twice, and compares the sums by day with the records, both ways.
func (m *Meter) Check(ctx context.Context) (meter.Books, error) {
	var b meter.Books
	err := m.whole(ctx, func(tx *Tx) error {
		b = meter.Books{}
		if err := tx.QueryRow(ctx, "SELECT floor FROM usage_retention WHERE id = 1").Scan(&b.Floor); err != nil {
			return err
		}
		var priced, doubled int64
		for _, q := range []struct {
			into *int64
			text string
		}{
			{&b.Records, "SELECT COUNT(*) FROM usage_records" + retained},
			{&b.Rollups, "SELECT COUNT(*) FROM usage_days"},
			{&priced, "SELECT COUNT(*) FROM usage_records WHERE CASE WHEN " + hugeRecords + ` THEN 0
 WHEN cost_micros <> ` + dueOf + " THEN 1 ELSE 0 END = 1"},
			{&doubled, "SELECT COUNT(*) FROM (SELECT request_id FROM usage_records GROUP BY request_id HAVING COUNT(*) > 1) AS twice"},
		} {
			if err := tx.QueryRow(ctx, q.text).Scan(q.into); err != nil {
				return err
			}
		}
		huge, err := All(ctx, tx, scanRecord, "SELECT "+recordColumns+" FROM usage_records WHERE "+hugeRecords)
		if err != nil {
			return err
		}
		for _, r := range huge {
			if r.CostMicros != meter.Bill(r.Outcome, r.Usage, r.Prices) {
				priced++
			}
		}
		if priced > 0 {
			b.Faults = append(b.Faults, fmt.Sprintf("%d records cost something else than their tokens at their prices.", priced))
		}
		if doubled > 0 {
			b.Faults = append(b.Faults, fmt.Sprintf("%d requests have more than one record.", doubled))
		}
		for _, text := range []string{sumTags + " EXCEPT " + allTags, allTags + " EXCEPT " + sumTags} {
			bad, err := All(ctx, tx, func(s Scanner) (d tagDay, err error) {
				var t meter.Totals
				return d, s.Scan(append([]any{&d.day, &d.org, &d.project, &d.key, &d.tag}, targets(&t)...)...)
			}, text+" LIMIT 10")
			if err != nil {
				return err
			}
			for _, d := range bad {
				b.Faults = append(b.Faults, fmt.Sprintf("The sum of %s, project %s, key %s, tag %s is not that of its records.", d.day, d.project, d.key, d.tag))
			}
		}
		for _, q := range []struct{ text, sentence string }{
			{sumRecords + " EXCEPT " + allDays, "The records of %s, project %s, key %s, model %s do not sum to the roll-up."},
			{allDays + " EXCEPT " + sumRecords, "The roll-up of %s, project %s, key %s, model %s is not the sum of its records."},
		} {
			bad, err := All(ctx, tx, scanDay, q.text+" LIMIT 10")
			if err != nil {
				return err
			}
			for _, d := range bad {
				b.Faults = append(b.Faults, fmt.Sprintf(q.sentence, d.day, d.project, d.key, d.model))
			}
		}
		return checkAccounts(ctx, tx, &b)
	})
	return b, err
}

func scanDay(s Scanner) (day, error) {
	var d day
	var t meter.Totals
	return d, s.Scan(append([]any{&d.day, &d.org, &d.project, &d.key, &d.route, &d.model}, targets(&t)...)...)
}

// Rebuild writes the sums by day anew from the records.
func (m *Meter) Rebuild(ctx context.Context) error {
	if err := m.unpack(ctx, "1 = 1"); err != nil {
		return err
	}
	return m.db.Write(ctx, func(tx *Tx) error {
		if m.db.dialect == Postgres { // nobody may ship between the two statements
			if _, err := tx.Exec(ctx, "LOCK TABLE usage_records, usage_days, usage_tags IN SHARE ROW EXCLUSIVE MODE"); err != nil {
				return err
			}
		}
		if err := newBill().unpackAll(ctx, tx, "1 = 1"); err != nil { // of what came meanwhile
			return err
		}
		for _, text := range []string{"DELETE FROM usage_days" + retained, "DELETE FROM usage_tags",
			"INSERT INTO usage_tags (" + tagKey + ", " + listed("%", totalNames) + ") " + sumTags} {
			if _, err := tx.Exec(ctx, text); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, "INSERT INTO usage_days ("+dayKey+", "+listed("%", totalNames)+") "+sumRecords); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM accounts") // made anew when they are asked for
		return err
	})
}
