package meter

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"
	"unsafe"

	"github.com/triarch-ai/triarch/internal/id"
)

// A segment is one file: a header page, then slots of recordSize bytes, one request each. A slot never crosses a
// disk sector of 512 bytes. Integers are in the byte order of the machine: a ledger is read where it was written.
//
//	identity  [0,216)    what Begin knows; checksum in the last 4 bytes
//	live      [216,224)  one 64-bit word, prompt tokens low and completion tokens high; replaced in place
//	settled   [224,256)  what Settle knows; checksum in the last 4 bytes
//
// A slot whose identity does not match its checksum was never promised to anybody. A slot with a good identity and
// no good settled part was open when its process died: its live word is what had been delivered.
const (
	recordSize = 256
	headerSize = 4096
	version    = 1

	offNode = 64 // in the header: the ledger's name, zeros after it

	offStart    = 8
	offRequest  = 16
	offOrg      = 32
	offProject  = 48
	offKey      = 64
	offRoute    = 80
	offVersion  = 96
	offPriceIn  = 112
	offPriceOut = 120
	offModelLen = 128
	offModel    = 129
	offIdentSum = 212
	offLive     = 216
	offEnd      = 224
	offCost     = 232
	offPrompt   = 240
	offComplete = 244
	offOutcome  = 248
	offSetSum   = 252
)

var (
	magicRecord = [4]byte{'T', 'R', 'L', '1'}
	magicFile   = [8]byte{'T', 'R', 'I', 'L', 'E', 'D', 'G', 'E'}
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	order       = binary.NativeEndian
)

// settledSalt separates the checksum of an all-zero settled part from zero.
const settledSalt = 0x5e77

func putIdentity(b []byte, i *Identity) {
	copy(b[0:4], magicRecord[:])
	b[4], b[5] = byte(i.Kind), 0
	if i.Stream {
		b[5] = 1
	}
	order.PutUint64(b[offStart:], uint64(i.Start.UnixMicro()))
	copy(b[offRequest:], i.Request[:])
	copy(b[offOrg:], i.Org[:])
	copy(b[offProject:], i.Project[:])
	copy(b[offKey:], i.Key[:])
	copy(b[offRoute:], i.Route[:])
	copy(b[offVersion:], i.Version[:])
	order.PutUint64(b[offPriceIn:], uint64(i.PriceIn))
	order.PutUint64(b[offPriceOut:], uint64(i.PriceOut))
	n := copy(b[offModel:offModel+MaxModel], i.Model)
	b[offModelLen] = byte(n)
	order.PutUint32(b[offIdentSum:], crc32.Checksum(b[:offIdentSum], castagnoli))
}

// getIdentity reads the identity part; false when its checksum does not match or it is empty.
func getIdentity(b []byte, i *Identity) bool {
	if [4]byte(b[0:4]) != magicRecord || order.Uint32(b[offIdentSum:]) != crc32.Checksum(b[:offIdentSum], castagnoli) {
		return false
	}
	n := int(b[offModelLen])
	if n > MaxModel {
		return false
	}
	*i = Identity{
		Kind: Kind(b[4]), Stream: b[5] == 1,
		Start:   time.UnixMicro(int64(order.Uint64(b[offStart:]))).UTC(),
		Request: id.Raw(b[offRequest:]), Org: id.Raw(b[offOrg:]), Project: id.Raw(b[offProject:]),
		Key: id.Raw(b[offKey:]), Route: id.Raw(b[offRoute:]), Version: id.Raw(b[offVersion:]),
		PriceIn: int64(order.Uint64(b[offPriceIn:])), PriceOut: int64(order.Uint64(b[offPriceOut:])),
		Model: string(b[offModel : offModel+n]),
	}
	return true
}

// liveWord is the live word in place. Segments are mapped at page boundaries, so it is aligned.
func liveWord(b []byte) *uint64 { return (*uint64)(unsafe.Pointer(&b[offLive])) }

func packLive(prompt, completion uint32) uint64 { return uint64(completion)<<32 | uint64(prompt) }

func unpackLive(w uint64) (prompt, completion uint32) { return uint32(w), uint32(w >> 32) }

func settledSum(b []byte) uint32 {
	return crc32.Update(settledSalt, castagnoli, b[offEnd:offSetSum])
}

// putSettled writes the settled part, pricing it with the identity's prices, and returns the cost.
func putSettled(b []byte, o Outcome, prompt, completion uint32, end time.Time) int64 {
	cost := Cost(int64(prompt), int64(completion), int64(order.Uint64(b[offPriceIn:])), int64(order.Uint64(b[offPriceOut:])))
	order.PutUint64(b[offEnd:], uint64(end.UnixMicro()))
	order.PutUint64(b[offCost:], uint64(cost))
	order.PutUint32(b[offPrompt:], prompt)
	order.PutUint32(b[offComplete:], completion)
	b[offOutcome] = byte(o)
	order.PutUint32(b[offSetSum:], settledSum(b))
	return cost
}

// getSettled reads the settled part into r; false when there is none or its checksum does not match.
func getSettled(b []byte, r *Record) bool {
	if b[offOutcome] == 0 || order.Uint32(b[offSetSum:]) != settledSum(b) {
		return false
	}
	r.End = time.UnixMicro(int64(order.Uint64(b[offEnd:]))).UTC()
	r.CostMicros = int64(order.Uint64(b[offCost:]))
	r.Prompt = int64(order.Uint32(b[offPrompt:]))
	r.Completion = int64(order.Uint32(b[offComplete:]))
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

// readSlot classifies a slot and fills r with as much as is whole.
func readSlot(b []byte, r *Record) slotState {
	if !getIdentity(b, &r.Identity) {
		for _, c := range b {
			if c != 0 {
				return slotTorn
			}
		}
		return slotEmpty
	}
	if getSettled(b, r) {
		return slotDone
	}
	return slotOpen
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

// headerNode is the name of the ledger that a whole header was written for.
func headerNode(b []byte) string { return string(bytes.TrimRight(b[offNode:headerSize-4], "\x00")) }

func clamp32(n int) uint32 {
	if n < 0 {
		return 0
	}
	if n > math.MaxUint32 {
		return math.MaxUint32
	}
	return uint32(n)
}
