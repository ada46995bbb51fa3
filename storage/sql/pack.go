package sql

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// A bundle's bytes: a version, then groups to the end. A group is what records that are alike have in common, their
// number, and for each of them what it has alone. Numbers are varints; slots and times are differences to the record before.
// Bytes are never changed once written: a new form gets a new version.
const packVersion = 1

// pack writes records of one segment and day, alike ones beside each other.
func (b *bill) pack(records []*meter.Record) []byte {
	out := append(make([]byte, 0, 128+48*len(records)), packVersion)
	var slot, start int64
	for rest := records; len(rest) > 0; {
		n := 1
		for n < len(rest) && b.alike(rest[0], rest[n]) {
			n++
		}
		out = packCommon(out, rest[0])
		out = binary.AppendUvarint(out, uint64(n))
		for _, r := range rest[:n] {
			out = binary.AppendVarint(out, r.Slot-slot)
			out = append(out, r.Request[:]...)
			out = append(out, byte(r.Outcome)<<2|byte(bit(r.Usage.Estimated))<<1|byte(bit(r.Stream)))
			at := r.Start.UnixMicro()
			out = binary.AppendVarint(out, at-start)
			out = binary.AppendVarint(out, r.End.UnixMicro()-at)
			slot, start = r.Slot, at
			for _, v := range [...]int64{r.Usage.Input, r.Usage.Cached, r.Usage.Output, r.Usage.Reasoning, r.Usage.Embedding, r.CostMicros,
				r.Work.FirstToken.Microseconds(), r.Work.ChipMillis, r.Work.ChipNanos} {
				out = binary.AppendVarint(out, v)
			}
		}
		rest = rest[n:]
	}
	return out
}

func packCommon(out []byte, r *meter.Record) []byte {
	for _, x := range [...]*id.Raw{&r.Org, &r.Project, &r.Key, &r.Route, &r.Version, &r.PriceVer} {
		out = append(out, x[:]...)
	}
	out = append(out, byte(r.Kind))
	for _, p := range r.Prices.Each() {
		out = binary.AppendVarint(out, p)
	}
	for _, s := range [...]string{r.Model, r.Tag, r.Backend, r.Work.Chip} {
		out = append(binary.AppendUvarint(out, uint64(len(s))), s...)
	}
	return out
}

var errPacked = errors.New("sql: a bundle of usage records is damaged")

// unpacker reads what pack wrote; after the first thing that is not there it reads nothing but zeros.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) take(n uint64) []byte {
	if n > uint64(len(u.b)) {
		u.b, u.bad = nil, true
		return nil
	}
	out := u.b[:n]
	u.b = u.b[n:]
	return out
}

func (u *unpacker) raw() (x id.Raw) {
	copy(x[:], u.take(uint64(len(x))))
	return x
}

func (u *unpacker) one() byte {
	if b := u.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (u *unpacker) number() int64 {
	v, n := binary.Varint(u.b)
	if n <= 0 {
		u.b, u.bad = nil, true
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) count() uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.b, u.bad = nil, true
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) text() string { return string(u.take(u.count())) }

// common reads what the records of a group have alike.
func (u *unpacker) common() (r meter.Record) {
	for _, x := range [...]*id.Raw{&r.Org, &r.Project, &r.Key, &r.Route, &r.Version, &r.PriceVer} {
		*x = u.raw()
	}
	r.Kind = meter.Kind(u.one())
	p := &r.Prices
	for _, to := range [...]*int64{&p.Input, &p.CachedInput, &p.Output, &p.Reasoning, &p.Embedding, &p.Request} {
		*to = u.number()
	}
	for _, s := range [...]*string{&r.Model, &r.Tag, &r.Backend, &r.Work.Chip} {
		*s = u.text()
	}
	return r
}

// unpackRecords reads a bundle.
func unpackRecords(data []byte, node string, segment int64) ([]meter.Record, error) {
	u := unpacker{b: data}
	if u.one() != packVersion {
		return nil, errPacked
	}
	var out []meter.Record
	var slot, start int64
	for len(u.b) > 0 {
		like := u.common()
		like.Node, like.Segment = node, segment
		for n := u.count(); n > 0 && !u.bad; n-- {
			r := like
			slot += u.number()
			r.Slot, r.Request = slot, u.raw()
			how := u.one()
			r.Outcome, r.Usage.Estimated, r.Stream = meter.Outcome(how>>2), how&2 != 0, how&1 != 0
			start += u.number()
			r.Start, r.End = time.UnixMicro(start).UTC(), time.UnixMicro(start+u.number()).UTC()
			var first int64
			for _, to := range [...]*int64{&r.Usage.Input, &r.Usage.Cached, &r.Usage.Output, &r.Usage.Reasoning, &r.Usage.Embedding, &r.CostMicros,
				&first, &r.Work.ChipMillis, &r.Work.ChipNanos} {
				*to = u.number()
			}
			r.Work.FirstToken = time.Duration(first) * time.Microsecond
			if !u.bad {
				out = append(out, r)
			}
		}
	}
	if u.bad {
		return nil, errPacked
	}
	return out, nil
}
