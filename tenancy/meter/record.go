// Package meter is the book of what was used: a crash-safe ledger in mapped files that a request writes while it
// runs, and the shipper that moves settled records into the database, once each.
//
// Rules for callers: Begin before the engine is asked, Live before every write to the client, and Settle or Void
// exactly once, whatever happened. Tokens that a client received are then never missing, even after kill -9.
// Totals are sums of stored costs; a cost is rounded up once per record (Cost).
package meter

import (
	"strings"
	"time"
	"unicode/utf8"

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
	Prices   Prices // a record has them Resolved
	PriceVer id.Raw // which version of the route's prices these are; zero where nobody keeps versions
	Tag      string // the caller's, for charging back; at most MaxTag bytes (longer ones are cut)
	Start    time.Time
	Kind     Kind
	Stream   bool
}

// How many bytes of the model's name and of the caller's tag a record keeps.
const (
	MaxModel = 71
	MaxTag   = 64
)

// CleanTag is what a record keeps of a tag.
func CleanTag(tag string) string { return clean(tag, MaxTag) }

// clean is what every database takes of a text: whole characters up to a number of bytes, none of them zero.
func clean(s string, most int) string {
	if len(s) > most || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
		for len(s) > most {
			_, n := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-n]
		}
	}
	return s
}

// Kind is the endpoint that was called. The numbers are stored; never renumber.
type Kind uint8

// The kinds of call.
const (
	Chat       Kind = 1
	Completion Kind = 2
	Embedding  Kind = 3
	Response   Kind = 4 // of the OpenAI dialect's responses
	Message    Kind = 5 // of the Anthropic dialect
	Generate   Kind = 6 // of the Google dialect
	Rerank     Kind = 7
	Moderation Kind = 8
)

// String is the word for people and files.
func (k Kind) String() string {
	words := [...]string{"other", "chat", "completion", "embedding", "response", "message", "generate", "rerank", "moderation"}
	if int(k) < len(words) {
		return words[k]
	}
	return words[0]
}

// Outcome says how a request ended. The numbers are stored; never renumber.
type Outcome uint8

// The outcomes.
const (
	Finished   Outcome = 1 // the engine's answer was complete
	HungUp     Outcome = 2 // the client went away; billed for what was streamed
	Broke      Outcome = 3 // the engine failed in mid-answer, or nobody could tell whether there is money for more; billed for what was streamed
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
	Usage      Usage
	Backend    string // the deployment or the provider's model that was asked last, at most MaxBackend bytes; empty when none was
	Work       Work
	CostMicros int64
}

// Work is what a request took of the machines, as far as its gateway lived to see it.
type Work struct {
	Chip       string        // class of chip that worked on it, at most MaxChip bytes; empty for outside providers
	ChipMillis int64         // milliseconds of one chip
	ChipNanos  int64         // what they cost the operator, in thousandths of a micro-unit
	FirstToken time.Duration // from Start to the first byte for the client, whole microseconds; 0 when there was none
}

// How many bytes of a class of chip and of the name of a backend a record keeps.
const (
	MaxChip    = 32
	MaxBackend = 63
)

// Day is the UTC day a record is booked on: that of its start.
func (r *Record) Day() string { return r.Start.UTC().Format(time.DateOnly) }
