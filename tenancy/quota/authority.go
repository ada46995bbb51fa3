package quota

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Authority grants leases of limits that several nodes share, to one node. storage/sql has one for PostgreSQL.
//
// All amounts in a Claim are absolute, so that one that was lost, or answered without the answer arriving, does no
// harm: the next one brings both sides together again. An authority holds to `spent + leased <= limit` at every moment as
// far as it is asked, counts requests and tokens in fixed minutes of its own clock, and takes no claim of a node whose
// place another process has taken (ErrFenced).
type Authority interface {
	// Renew answers every claim, in their order.
	Renew(ctx context.Context, claims []Claim) (Answer, error)
	// Beat says that this node lives, and asks which of the accounts others are short of.
	Beat(ctx context.Context, accounts []string) (Pulse, error)
}

// Claim is what a node says and asks of one account.
type Claim struct {
	Account string // org_..., prj_..., key_..., rte_..., or tenancy.MemberID

	// Of each kind Need is the least that is of any use beside what is kept, and Want what would be welcome; both 0 asks for
	// nothing. Money is in micro-units: Settled since this node began, Held for what runs, Keep free and kept.
	Money                           bool // the next line is meant
	Settled, Held, Keep, Need, Want int64

	Minute                                             int64 // of the next two lines
	Requests, KeepRequests, NeedRequests, WantRequests int64 // counted, and so on
	Tokens, KeepTokens, NeedTokens, WantTokens         int64

	Running, KeepPlaces, NeedPlaces, WantPlaces int64
}

// Grant is the answer to a Claim.
type Grant struct {
	Granted int64 // money in all since the node began: Settled + Held + Keep and what was added
	Room    int64 // money that nobody has
	Others  int64 // money that other nodes have leases of
	Over    bool  // the limit is passed: keep nothing back

	Minute                       int64 // of the next line, by the authority's clock
	Requests, Tokens             int64 // leased in it to this node
	OthersRequests, OthersTokens int64 // leased in it to the others

	Places       int64 // leased to this node
	OthersPlaces int64 // leased to the others that live
}

// Answer is what Renew returns.
type Answer struct {
	Grants []Grant
	Now    time.Time // the authority's clock
}

// ErrFenced is the fault of a node whose place another process has taken: it must admit nothing more.
var ErrFenced = fault.New(fault.Conflict, "Another process has taken this node's place.", fault.Code("fenced"),
	fault.Fix("Start it anew, with a data directory that no other process has."))

// Pulse is what Beat returns.
type Pulse struct {
	Short []string // accounts that another node is short of
	Nodes int64    // how many nodes live, this one among them
	Now   time.Time
}
