package seen

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// Kinds of spans, as OTLP numbers them.
const (
	innerKind  = 1
	serverKind = 2
	clientKind = 3
)

// span is one span, in times since its request began.
type span struct {
	id, parent [8]byte
	name       string
	kind       int
	from, to   time.Duration
	attrs      attributes
	failed     string // error.type; empty: it did not fail
}

// attributes are written as OTLP's JSON has them.
type attributes struct{ b []byte }

func (a *attributes) key(k string) {
	if len(a.b) > 0 {
		a.b = append(a.b, ',')
	}
	a.b = append(append(append(a.b, `{"key":"`...), k...), `","value":{`...)
}

func (a *attributes) text(k, v string) {
	if v == "" {
		return
	}
	a.key(k)
	a.b = append(quote(append(a.b, `"stringValue":`...), v), "}}"...)
}

func (a *attributes) number(k string, v int64) {
	a.key(k)
	a.b = append(strconv.AppendInt(append(a.b, `"intValue":"`...), v, 10), `"}}`...)
}

func (a *attributes) flag(k string, v bool) {
	a.key(k)
	a.b = append(strconv.AppendBool(append(a.b, `"boolValue":`...), v), "}}"...)
}

func (a *attributes) seconds(k string, v time.Duration) {
	a.key(k)
	a.b = append(strconv.AppendFloat(append(a.b, `"doubleValue":`...), v.Seconds(), 'f', -1, 64), "}}"...)
}

// quote writes a JSON string of any text.
func quote(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // a string cannot fail
		return append(b, `""`...)
	}
	return append(b, text...)
}

// spans are the spans of one request as OTLP's JSON has them, with commas between.
type spans struct {
	trace string
	began time.Time
	out   []byte
	n     int
}

func (b *spans) add(s *span) {
	if s.failed != "" {
		s.attrs.text("error.type", s.failed)
	}
	o := b.out
	if b.n++; b.n > 1 {
		o = append(o, ',')
	}
	o = append(append(append(o, `{"traceId":"`...), b.trace...), `","spanId":"`...)
	o = hex.AppendEncode(o, s.id[:])
	if s.parent != [8]byte{} {
		o = hex.AppendEncode(append(o, `","parentSpanId":"`...), s.parent[:])
	}
	o = quote(append(o, `","name":`...), s.name)
	o = strconv.AppendInt(append(o, `,"kind":`...), int64(s.kind), 10)
	o = strconv.AppendInt(append(o, `,"startTimeUnixNano":"`...), b.began.Add(s.from).UnixNano(), 10)
	o = strconv.AppendInt(append(o, `","endTimeUnixNano":"`...), b.began.Add(max(s.to, s.from)).UnixNano(), 10)
	o = append(append(append(o, `","attributes":[`...), s.attrs.b...), ']')
	if s.failed != "" {
		o = append(o, `,"status":{"code":2}`...)
	}
	b.out = append(o, '}')
}
