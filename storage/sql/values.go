package sql

import (
	stdsql "database/sql"
	"encoding/json"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// micros is a time as stored: microseconds UTC since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the reverse of micros.
func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// microsOrNull stores an optional time.
func microsOrNull(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UnixMicro()
}

// timeOrNil reads an optional time.
func timeOrNil(n stdsql.NullInt64) *time.Time {
	if !n.Valid {
		return nil
	}
	t := time.UnixMicro(n.Int64).UTC()
	return &t
}

// bit is a boolean as stored.
func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// toJSON is a value as stored in a JSON column. It fails only on types that cannot be written as JSON.
func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), fault.Wrap(err, "writing a stored value")
}

// fromJSON reads a JSON column.
func fromJSON(s string, into any) error {
	return fault.Wrap(json.Unmarshal([]byte(s), into), "reading a stored value")
}

// missing turns the NotFound of a query into a sentence that names the object; other errors pass.
func missing(err error, format string, args ...any) error {
	if fault.Is(err, fault.NotFound) {
		return fault.Newf(fault.NotFound, format, args...)
	}
	return err
}

// exists turns the Conflict of a taken name into a sentence that names it; other errors pass.
func exists(err error, format string, args ...any) error {
	if fault.Is(err, fault.Conflict) && fault.As(err).Code == "exists" {
		f := fault.Newf(fault.Conflict, format, args...)
		f.Code = "exists"
		return f
	}
	return err
}
