package meter

import (
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// segment1 is a segment as format 1 wrote it: a settled record, an open one, a torn one, and empty slots after them.
func segment1(number int64) []byte {
	b := make([]byte, headerSize+6*recordSize1)
	putHeader(b, "node", number, 6)
	order.PutUint32(b[8:], 1)
	order.PutUint32(b[12:], recordSize1)
	resum(b)
	for n := range 3 {
		s := b[headerSize+n*recordSize1:][:recordSize1]
		i := identity(uint64(n))
		copy(s, magicRecord1[:])
		s[offKind] = byte(i.Kind)
		order.PutUint64(s[offStart:], uint64(i.Start.UnixMicro()))
		copy(s[offRequest:], i.Request[:])
		copy(s[offOrg:], i.Org[:])
		copy(s[offProject:], i.Project[:])
		copy(s[offKey:], i.Key[:])
		copy(s[offRoute:], i.Route[:])
		copy(s[offVersion:], i.Version[:])
		order.PutUint64(s[offPriceIn1:], 1_000_000)
		order.PutUint64(s[offPriceOut1:], 2_000_000)
		s[offModelLen1] = byte(copy(s[offModel1:offModel1+MaxModel], i.Model))
		order.PutUint32(s[offIdentSum1:], crc32.Checksum(s[:offIdentSum1], castagnoli))
		order.PutUint64(s[offLive1:], packLive(10, int64(n+1)))
	}
	s := b[headerSize:]
	settle1(s, time.UnixMicro(1_800_000_000_000_009))
	s[offOutcome1] = byte(Finished)
	order.PutUint32(s[offSetSum1:], settledSum1(s))
	b[headerSize+2*recordSize1+offRequest] ^= 1
	return b
}

// What an earlier version left is settled, shipped and dropped as its own.
func TestFormat1IsRecoveredAndShipped(t *testing.T) {
	for name, damage := range map[string]func([]byte){"whole": func([]byte) {}, "header damaged": func(b []byte) { b[20]++ }} {
		dir := t.TempDir()
		b := segment1(5)
		damage(b)
		if err := os.WriteFile(filepath.Join(dir, segmentName(5)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir, 4)
		if r := l.Recovered(); r != (Recovery{Settled: 1, Cut: 1, Torn: 1}) {
			t.Errorf("%s: recovered %+v", name, r)
		}
		i := identity(7)
		e, err := l.Begin(&i)
		if err != nil {
			t.Fatal(err)
		}
		e.Settle(Finished, tokens(3, 3), Work{})
		s := newShelf()
		sh := &Shipper{Ledger: l, Store: s}
		if books, err := sh.Verify(t.Context()); err != nil || len(books.Faults) != 0 || len(s.rows) != 3 {
			t.Errorf("%s: %d rows, %+v, %v", name, len(s.rows), books, err)
		}
		got := s.byRequest()
		for n, want := range map[uint64]struct {
			o    Outcome
			used Usage
			cost int64
		}{0: {Finished, tokens(10, 1), 12}, 1: {Cut, tokens(10, 2), 14}} {
			r := got[raw(n)]
			if r.Outcome != want.o || r.Usage != want.used || r.CostMicros != want.cost || r.Model != "starter" ||
				r.Prices != Flat(1_000_000, 2_000_000).Resolved() || r.Segment != 5 {
				t.Errorf("%s: record %d is %+v", name, n, r)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, segmentName(5))); err == nil {
			t.Errorf("%s: the shipped segment is still there", name)
		}
		shut(t, l)
	}
}
