package meter

import (
	"hash/crc32"
	"math"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
)

// Format 1, which earlier versions wrote and this one reads and settles: slots of 256 bytes.
//
//	identity  [0,216)    what Begin knows; checksum in the last 4 bytes
//	live      [216,224)  one 64-bit word, prompt tokens low and completion tokens high; replaced in place
//	settled   [224,256)  what Settle knows; checksum in the last 4 bytes
const (
	recordSize1 = 256

	offPriceIn1  = 112
	offPriceOut1 = 120
	offModelLen1 = 128
	offModel1    = 129
	offIdentSum1 = 212
	offLive1     = 216
	offEnd1      = 224
	offCost1     = 232
	offPrompt1   = 240
	offComplete1 = 244
	offOutcome1  = 248
	offSetSum1   = 252
)

var magicRecord1 = [4]byte{'T', 'R', 'L', '1'}

func getIdentity1(b []byte, i *Identity) bool {
	if [4]byte(b[0:4]) != magicRecord1 || order.Uint32(b[offIdentSum1:]) != crc32.Checksum(b[:offIdentSum1], castagnoli) {
		return false
	}
	n := int(b[offModelLen1])
	if n > MaxModel {
		return false
	}
	*i = Identity{
		Kind: Kind(b[4]), Stream: b[5] == 1,
		Start:   time.UnixMicro(int64(order.Uint64(b[offStart:]))).UTC(),
		Request: id.Raw(b[offRequest:]), Org: id.Raw(b[offOrg:]), Project: id.Raw(b[offProject:]),
		Key: id.Raw(b[offKey:]), Route: id.Raw(b[offRoute:]), Version: id.Raw(b[offVersion:]),
		Prices: Flat(int64(order.Uint64(b[offPriceIn1:])), int64(order.Uint64(b[offPriceOut1:]))).Resolved(),
		Model:  string(b[offModel1 : offModel1+n]),
	}
	return true
}

// settle1 writes the settled part from the live word.
func settle1(b []byte, end time.Time) {
	prompt, completion := unpackLive(order.Uint64(b[offLive1:]))
	p := Flat(int64(order.Uint64(b[offPriceIn1:])), int64(order.Uint64(b[offPriceOut1:])))
	order.PutUint64(b[offEnd1:], uint64(end.UnixMicro()))
	order.PutUint64(b[offCost1:], uint64(Bill(Cut, Usage{Input: int64(prompt), Output: int64(completion)}, p)))
	order.PutUint32(b[offPrompt1:], prompt)
	order.PutUint32(b[offComplete1:], completion)
	b[offOutcome1] = byte(Cut)
	order.PutUint32(b[offSetSum1:], settledSum1(b))
}

func settledSum1(b []byte) uint32 {
	return crc32.Update(settledSalt, castagnoli, b[offEnd1:offSetSum1])
}

func getSettled1(b []byte, r *Record) bool {
	if b[offOutcome1] == 0 || order.Uint32(b[offSetSum1:]) != settledSum1(b) {
		return false
	}
	r.End = time.UnixMicro(int64(order.Uint64(b[offEnd1:]))).UTC()
	r.CostMicros = int64(order.Uint64(b[offCost1:]))
	r.Usage = Usage{Input: int64(order.Uint32(b[offPrompt1:])), Output: int64(order.Uint32(b[offComplete1:]))}
	r.Outcome = Outcome(b[offOutcome1])
	return true
}

func unpackLive(w uint64) (low, high uint32) { return uint32(w), uint32(w >> 32) }

func clamp32(n int64) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }
