package meter

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/triarch-ai/triarch/internal/id"
)

// A segment is one file: a header page, then slots of recordSize bytes, one request each. A slot is a disk sector of
// 512 bytes. Integers are in the byte order of the machine: a ledger is read where it was written.
//
//	identity  [0,316)    what Begin knows; checksum in the last 4 bytes
//	live      [320,336)  two 64-bit words, replaced in place: output tokens high and input tokens low (embedded ones for
//	                     an embedding), then reasoning tokens high and cached ones low
//	backend   [336,404)  who was asked: length and name; checksum in the last 4 bytes
//	flags     [404,405)  of the live words: 1 where they are estimated in part
//	settled   [416,512)  what Settle knows; checksum in the last 4 bytes
//
// A slot whose identity does not match its checksum was never promised to anybody. A slot with a good identity and
// no good settled part was open when its process died: its live words are what had been delivered.
const (
	recordSize = 512
	headerSize = 4096
	version    = 2

	offNode = 64 // in the header: the ledger's name, zeros after it

	offKind       = 4
	offStream     = 5
	offTagLen     = 6
	offModelLen   = 7
	offStart      = 8
	offRequest    = 16
	offOrg        = 32
	offProject    = 48
	offKey        = 64
	offRoute      = 80
	offVersion    = 96
	offPriceVer   = 112
	offPrices     = 128 // six of 8 bytes, in the order of Prices.Each
	offModel      = 176
	offTag        = 248
	offIdentSum   = 312
	offLive       = 320
	offParts      = 328
	offBackend    = 336
	offBackSum    = 400
	offLiveFlags  = 404
	offEnd        = 416
	offCost       = 424
	offInput      = 432
	offOutput     = 436
	offCached     = 440
	offReasoning  = 444
	offEmbedding  = 448
	offFirstToken = 452 // microseconds
	offChipMillis = 456
	offChipNanos  = 464
	offOutcome    = 472
	offChipLen    = 473
	offChip       = 474
	offFlags      = 506
	offSetSum     = 508
)

var (
	magicRecord = [4]byte{'T', 'R', 'L', '2'}
	magicFile   = [8]byte{'T', 'R', 'I', 'L', 'E', 'D', 'G', 'E'}
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	order       = binary.NativeEndian
)

// estimated is the flag of usage that was estimated.
const estimated = 1

func flags(u Usage) byte {
	if u.Estimated {
		return estimated
	}
	return 0
}

// settledSalt separates the checksum of an all-zero part from zero.
const settledSalt = 0x5e77

func putIdentity(b []byte, i *Identity) {
	copy(b[0:4], magicRecord[:])
	b[offKind], b[offStream] = byte(i.Kind), 0
	if i.Stream {
		b[offStream] = 1
	}
	order.PutUint64(b[offStart:], uint64(i.Start.UnixMicro()))
	copy(b[offRequest:], i.Request[:])
	copy(b[offOrg:], i.Org[:])
	copy(b[offProject:], i.Project[:])
	copy(b[offKey:], i.Key[:])
	copy(b[offRoute:], i.Route[:])
	copy(b[offVersion:], i.Version[:])
	copy(b[offPriceVer:], i.PriceVer[:])
	for n, p := range i.Prices.Each() {
		order.PutUint64(b[offPrices+8*n:], uint64(p))
	}
	b[offModelLen] = byte(copy(b[offModel:offModel+MaxModel], clean(i.Model, MaxModel)))
	b[offTagLen] = byte(copy(b[offTag:offTag+MaxTag], CleanTag(i.Tag)))
	order.PutUint32(b[offIdentSum:], crc32.Checksum(b[:offIdentSum], castagnoli))
}

// getIdentity reads the identity part; false when its checksum does not match or it is empty.
func getIdentity(b []byte, i *Identity) bool {
	if [4]byte(b[0:4]) != magicRecord || order.Uint32(b[offIdentSum:]) != crc32.Checksum(b[:offIdentSum], castagnoli) {
		return false
	}
	model, tag := int(b[offModelLen]), int(b[offTagLen])
	if model > MaxModel || tag > MaxTag {
		return false
	}
	*i = Identity{
		Kind: Kind(b[offKind]), Stream: b[offStream] == 1,
		Start:   time.UnixMicro(int64(order.Uint64(b[offStart:]))).UTC(),
		Request: id.Raw(b[offRequest:]), Org: id.Raw(b[offOrg:]), Project: id.Raw(b[offProject:]),
		Key: id.Raw(b[offKey:]), Route: id.Raw(b[offRoute:]), Version: id.Raw(b[offVersion:]), PriceVer: id.Raw(b[offPriceVer:]),
		Prices: getPrices(b), Model: string(b[offModel : offModel+model]), Tag: string(b[offTag : offTag+tag]),
	}
	return true
}

func getPrices(b []byte) Prices {
	at := func(n int) int64 { return int64(order.Uint64(b[offPrices+8*n:])) }
	return Prices{Input: at(0), CachedInput: at(1), Output: at(2), Reasoning: at(3), Embedding: at(4), Request: at(5)}
}

// putLive replaces the live words, the parts first: what is read of them is clamped to the whole. Segments are mapped
// at page boundaries, so the words are aligned.
func putLive(b []byte, u Usage) {
	in := u.Input
	if Kind(b[offKind]) == Embedding {
		in = u.Embedding
	}
	if u.Estimated { // before the words: what is estimated is never taken for exact
		b[offLiveFlags] = estimated
	}
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&b[offParts])), packLive(u.Cached, u.Reasoning))
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&b[offLive])), packLive(in, u.Output))
	if !u.Estimated && b[offLiveFlags] != 0 {
		b[offLiveFlags] = 0
	}
}

func getLive(b []byte) Usage {
	in, out := unpackLive(order.Uint64(b[offLive:]))
	cached, reasoning := unpackLive(order.Uint64(b[offParts:]))
	u := Usage{Input: int64(in), Cached: int64(cached), Output: int64(out), Reasoning: int64(reasoning), Estimated: b[offLiveFlags]&estimated != 0}
	if Kind(b[offKind]) == Embedding {
		u.Input, u.Embedding = 0, int64(in)
	}
	return u.Clamped()
}

func packLive(low, high int64) uint64 { return uint64(clamp32(high))<<32 | uint64(clamp32(low)) }

func putBackend(b []byte, backend string) {
	clear(b[offBackend:offBackSum])
	b[offBackend] = byte(copy(b[offBackend+1:offBackSum], clean(backend, MaxBackend)))
	order.PutUint32(b[offBackSum:], backendSum(b))
}

func backendSum(b []byte) uint32 {
	return crc32.Update(settledSalt, castagnoli, b[offBackend:offBackSum])
}

// getBackend is empty when nobody was asked or what stands there is torn.
func getBackend(b []byte) string {
	n := int(b[offBackend])
	if n > MaxBackend || order.Uint32(b[offBackSum:]) != backendSum(b) {
		return ""
	}
	return string(b[offBackend+1 : offBackend+1+n])
}

func settledSum(b []byte) uint32 {
	return crc32.Update(settledSalt, castagnoli, b[offEnd:offSetSum])
}

// putSettled writes the settled part, pricing it with the identity's prices, and returns the cost.
func putSettled(b []byte, o Outcome, u Usage, w Work, end time.Time) int64 {
	u = u.Clamped()
	for n, v := range [...]int64{u.Input, u.Output, u.Cached, u.Reasoning, u.Embedding} {
		order.PutUint32(b[offInput+4*n:], clamp32(v))
	}
	cost := Bill(o, getCounts(b), getPrices(b))
	order.PutUint64(b[offEnd:], uint64(end.UnixMicro()))
	order.PutUint64(b[offCost:], uint64(cost))
	order.PutUint32(b[offFirstToken:], clamp32(w.FirstToken.Microseconds()))
	order.PutUint64(b[offChipMillis:], natural(w.ChipMillis))
	order.PutUint64(b[offChipNanos:], natural(w.ChipNanos))
	b[offOutcome], b[offFlags] = byte(o), flags(u)
	b[offChipLen] = byte(copy(b[offChip:offChip+MaxChip], clean(w.Chip, MaxChip)))
	order.PutUint32(b[offSetSum:], settledSum(b))
	return cost
}

func getCounts(b []byte) Usage {
	at := func(n int) int64 { return int64(order.Uint32(b[offInput+4*n:])) }
	return Usage{Input: at(0), Output: at(1), Cached: at(2), Reasoning: at(3), Embedding: at(4), Estimated: b[offFlags]&estimated != 0}
}

// getSettled reads the settled part into r; false when there is none or its checksum does not match.
func getSettled(b []byte, r *Record) bool {
	chip := int(b[offChipLen])
	if b[offOutcome] == 0 || chip > MaxChip || order.Uint32(b[offSetSum:]) != settledSum(b) {
		return false
	}
	r.End = time.UnixMicro(int64(order.Uint64(b[offEnd:]))).UTC()
	r.CostMicros = int64(order.Uint64(b[offCost:]))
	r.Usage = getCounts(b)
	r.Work = Work{Chip: string(b[offChip : offChip+chip]), ChipMillis: int64(order.Uint64(b[offChipMillis:])),
		ChipNanos: int64(order.Uint64(b[offChipNanos:])), FirstToken: time.Duration(order.Uint32(b[offFirstToken:])) * time.Microsecond}
	r.Outcome = Outcome(b[offOutcome])
	return true
}

// slotState is what a reader finds in a slot.
type slotState uint8

const (
	slotEmpty slotState = iota // nothing was ever begun here
	slotTorn                   // begun, but not whole: nobody was promised anything
	slotOpen                   // begun and not settled
	slotDone                   // settled
)

// readSlot classifies a slot of either format and fills r with as much as is whole.
func readSlot(b []byte, r *Record) slotState {
	identity, settled := getIdentity, getSettled
	if len(b) == recordSize1 {
		identity, settled = getIdentity1, getSettled1
	}
	if !identity(b, &r.Identity) {
		for _, c := range b {
			if c != 0 {
				return slotTorn
			}
		}
		return slotEmpty
	}
	if len(b) == recordSize {
		r.Backend = getBackend(b)
	}
	if settled(b, r) {
		return slotDone
	}
	return slotOpen
}

// cutSlot settles an open slot from its live words.
func cutSlot(b []byte, end time.Time) {
	if len(b) == recordSize1 {
		settle1(b, end)
		return
	}
	putSettled(b, Cut, getLive(b), Work{}, end)
}

func putHeader(b []byte, node string, number int64, slots int) {
	copy(b, magicFile[:])
	order.PutUint32(b[8:], version)
	order.PutUint32(b[12:], recordSize)
	order.PutUint64(b[16:], uint64(slots))
	order.PutUint64(b[24:], uint64(number))
	copy(b[offNode:headerSize-4], node)
	order.PutUint32(b[headerSize-4:], crc32.Checksum(b[:headerSize-4], castagnoli))
}

// headerVersion returns the format version of a whole header and 0 for one that is not.
func headerVersion(b []byte) uint32 {
	if len(b) < headerSize || [8]byte(b[:8]) != magicFile ||
		order.Uint32(b[headerSize-4:]) != crc32.Checksum(b[:headerSize-4], castagnoli) {
		return 0
	}
	return order.Uint32(b[8:])
}

// slotSize is the size of a segment's slots. Where the header does not tell, the first record that begins like one does.
func slotSize(data []byte) int64 {
	switch headerVersion(data) {
	case 0:
	case 1:
		return recordSize1
	default:
		return recordSize
	}
	for off := headerSize; off+recordSize1 <= len(data); off += recordSize1 {
		switch [4]byte(data[off : off+4]) {
		case magicRecord1:
			return recordSize1
		case magicRecord:
			if (off-headerSize)%recordSize == 0 {
				return recordSize
			}
		}
	}
	return recordSize
}

// headerNode is the name of the ledger that a whole header was written for.
func headerNode(b []byte) string { return string(bytes.TrimRight(b[offNode:headerSize-4], "\x00")) }
