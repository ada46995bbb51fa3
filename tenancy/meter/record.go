// Package meter is the book of what was used: a crash-safe ledger in mapped files that a request writes while it
// runs, and the shipper that moves settled records into the database, once each.
//
// Rules for callers: Begin before the engine is asked, Live before every write to the client, and Settle or Void
// exactly once, whatever happened. Tokens that a client received are then never missing, even after kill -9.
// Totals are sums of stored costs; a cost is rounded up once per record (Cost).
package meter

import (
	"math"
	"math/bits"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
)

// Identity is what is known of a request before it is served. A record carries all of it, prices included, so
// that it can be settled and priced with nothing else at hand.
type Identity struct {
	Request  id.Raw
	Org      id.Raw
	Project  id.Raw
	Key      id.Raw
	Route    id.Raw
	Version  id.Raw // model version
	Model    string // public name of the route, at most MaxModel bytes (longer ones are cut)
	PriceIn  int64  // micro-units per million prompt tokens
	PriceOut int64  // micro-units per million completion tokens
	Start    time.Time
	Kind     Kind
	Stream   bool
}

// MaxModel is how many bytes of the model's name a record keeps.
const MaxModel = 71

// Kind is the endpoint that was called. The numbers are stored; never renumber.
type Kind uint8

// The kinds of call.
const (
	Chat       Kind = 1
	Completion Kind = 2
)

// String is the word stored in the database.
func (k Kind) String() string {
	switch k {
	case Chat:
		return "chat"
	case Completion:
		return "completion"
	}
	return "other"
}

// Outcome says how a request ended. The numbers are stored; never renumber.
type Outcome uint8

// The outcomes.
const (
	Finished   Outcome = 1 // the engine's answer was complete
	HungUp     Outcome = 2 // the client went away; billed for what was streamed
	Broke      Outcome = 3 // the engine failed in mid-answer; billed for what was streamed
	OutOfMoney Outcome = 4 // the answer was cut where the budget ended
	Cut        Outcome = 5 // the gateway was killed; settled on restart from the live word
	voided     Outcome = 6 // nothing was served: no row, no bill
)

// String is the word stored in the database.
func (o Outcome) String() string {
	words := [...]string{"open", "finished", "hung_up", "broke", "out_of_money", "cut", "void"}
	if int(o) < len(words) {
		return words[o]
	}
	return "unknown"
}

// Record is one settled request. (Node, Segment, Slot) is its key for ever.
type Record struct {
	Node    string
	Segment int64
	Slot    int64
	Identity
	End        time.Time
	Outcome    Outcome
	Prompt     int64 // tokens
	Completion int64 // tokens, over all choices
	CostMicros int64
}

// Day is the UTC day a record is booked on: that of its start.
func (r *Record) Day() string { return r.Start.UTC().Format(time.DateOnly) }

// Cost is the price of a request in micro-units: prompt and completion tokens at their prices per million tokens,
// rounded up once. It is exact wherever the result fits; beyond, it is the largest int64. Negative numbers count as 0.
func Cost(prompt, completion, priceIn, priceOut int64) int64 {
	hi, lo := worth(prompt, completion, priceIn, priceOut)
	lo, carry := bits.Add64(lo, million-1, 0) // to round up
	if hi += carry; hi >= million {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, million)
	return int64(min(q, math.MaxInt64))
}

// Affordable is how many completion tokens money pays for once the prompt is paid: the largest c for which
// Cost(prompt, c, priceIn, priceOut) <= money. It is 0 when not even the prompt is paid, and the largest int64 when
// tokens cost nothing.
func Affordable(money, prompt, priceIn, priceOut int64) int64 {
	if money < 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(money), million)
	inHi, inLo := worth(prompt, 0, priceIn, 0)
	lo, borrow := bits.Sub64(lo, inLo, 0)
	hi, borrow = bits.Sub64(hi, inHi, borrow)
	switch {
	case borrow != 0:
		return 0
	case priceOut <= 0 || hi >= uint64(priceOut):
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(priceOut))
	return int64(min(q, math.MaxInt64))
}

const million = 1_000_000

// worth is a cost in millionths of micro-units, 128 bits wide; two products of 63 bits each cannot overflow it.
func worth(prompt, completion, priceIn, priceOut int64) (hi, lo uint64) {
	hi, lo = bits.Mul64(natural(prompt), natural(priceIn))
	h, l := bits.Mul64(natural(completion), natural(priceOut))
	lo, carry := bits.Add64(lo, l, 0)
	hi, _ = bits.Add64(hi, h, carry)
	return hi, lo
}

func natural(n int64) uint64 { return uint64(max(n, 0)) }
