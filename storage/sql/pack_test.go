package sql

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func packable(n int64) meter.Record {
	return meter.Record{
		Node: "node_1", Segment: 1763830000000000, Slot: 7 + n,
		Identity: meter.Identity{
			Request: id.Raw{0: 1, 15: byte(n)}, Org: id.Raw{1: 1}, Project: id.Raw{2: 2}, Key: id.Raw{3: byte(1 + n%2)}, Route: id.Raw{4: 4}, Version: id.Raw{5: 5},
			Model: "starter", Prices: meter.Prices{Input: 1, CachedInput: 2, Output: 3, Reasoning: 4, Embedding: 5, Request: 6}, PriceVer: id.Raw{6: 6}, Tag: "team-ä",
			Start: time.UnixMicro(1763830000000000 - 1000*n).UTC(), Kind: meter.Rerank, Stream: true,
		},
		End: time.UnixMicro(1763830100000000 + n).UTC(), Outcome: meter.OutOfMoney, Usage: meter.Usage{Input: 10, Cached: 9, Output: 8, Reasoning: 7, Embedding: 1<<32 - 1, Estimated: true},
		Backend: "prv_1/m", Work: meter.Work{Chip: "cpu", ChipMillis: 1 << 40, ChipNanos: 1 << 62, FirstToken: 1234 * time.Microsecond}, CostMicros: 1 << 62,
	}
}

// zeros names the fields of a value that are zero.
func zeros(v reflect.Value, name string) (out []string) {
	if v.IsZero() {
		return []string{name}
	}
	if _, isTime := reflect.TypeAssert[time.Time](v); v.Kind() == reflect.Struct && !isTime {
		for i := range v.NumField() {
			out = append(out, zeros(v.Field(i), name+"."+v.Type().Field(i).Name)...)
		}
	}
	return out
}

// Nothing of a record is lost in a bundle, whatever fields records may get.
func TestPacking(t *testing.T) {
	if z := zeros(reflect.ValueOf(packable(0)), "Record"); len(z) > 0 {
		t.Fatalf("the test says nothing of %v", z)
	}
	var want []meter.Record
	var refs []*meter.Record
	for n := range int64(9) {
		want = append(want, packable((n*5)%9)) // slots in no order, keys in turn
	}
	want[3].Usage, want[4].Stream, want[5].Prices.Request = meter.Usage{}, false, 0
	for i := range want {
		refs = append(refs, &want[i])
	}
	data := newBill().pack(refs)
	got, err := unpackRecords(data, "node_1", 1763830000000000)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Fatal(err, d)
	}
	for n := range len(data) - 1 {
		if _, err := unpackRecords(data[:n], "node_1", 1); err == nil && n > 1 {
			if cut, _ := unpackRecords(data[:n], "node_1", 1); len(cut) == len(want) {
				t.Errorf("a bundle cut to %d of %d bytes has all records", n, len(data))
			}
		}
	}
}

func FuzzUnpack(f *testing.F) {
	one, two := packable(1), packable(2)
	f.Add(newBill().pack([]*meter.Record{&one, &two}))
	f.Add([]byte{packVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := unpackRecords(data, "n", 1)
		if err != nil || len(got) == 0 {
			return
		}
		if len(got) > len(data) {
			t.Errorf("%d records from %d bytes", len(got), len(data))
		}
		var refs []*meter.Record
		for i := range got {
			refs = append(refs, &got[i])
		}
		again, err := unpackRecords(newBill().pack(refs), "n", 1)
		if d := cmp.Diff(got, again); err != nil || d != "" {
			t.Error(err, d)
		}
	})
}
