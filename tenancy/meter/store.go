package meter

import (
	"context"

	"github.com/triarch-ai/triarch/internal/id"
)

// Store is where settled records end up. storage/sql implements it.
type Store interface {
	// Ship stores records under their key (Node, Segment, Slot). A record already stored is left alone. The
	// roll-up by day is written in the same transaction, for the newly stored records only.
	Ship(context.Context, []Record) error
	// Spent sums the stored costs by key, project, organisation and route: the starting point of budgets.
	Spent(context.Context) (map[id.Raw]int64, error)
	// Usage sums what was used, from the roll-up.
	Usage(context.Context, Filter) (Totals, []Row, error)
	// Records lists stored records of one segment of a node in slot order, for verification.
	Records(ctx context.Context, node string, segment int64) ([]Record, error)
	// Check compares stored costs with counts and prices, and the roll-up with the sums of the records.
	Check(context.Context) (Books, error)
	// Oldest says that a node's ledger holds no file with a lower number any more, durably: nothing in one is ever shipped
	// again.
	Oldest(ctx context.Context, node string, segment int64) error
	// Rebuild writes the roll-up anew from the records, in one transaction.
	Rebuild(context.Context) error
}

// FreshStore is a Store that takes records for less which it cannot have: of a segment that was begun by this process and of
// which no attempt to store anything has failed.
type FreshStore interface {
	// ShipFresh is Ship of such records.
	ShipFresh(context.Context, []Record) error
}

// Filter says whose usage of which days. Empty fields do not narrow, so the server must fill Project or Org.
type Filter struct {
	Org     string // org_...
	Project string // prj_...
	Key     string // key_...
	From    string // first UTC day, "2006-01-02"
	To      string // last UTC day, included
	Group   Group
}

// Group is what a usage row stands for.
type Group string

// The groupings.
const (
	ByDay     Group = "day"
	ByModel   Group = "model"
	ByKey     Group = "key"
	ByProject Group = "project"
	ByTag     Group = "tag" // requests without a tag are in no row; only of days whose records are kept
)

// Totals are sums of stored values.
type Totals struct {
	Requests         int64 `json:"requests"`
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	CachedTokens     int64 `json:"cached_tokens"`    // of PromptTokens
	ReasoningTokens  int64 `json:"reasoning_tokens"` // of CompletionTokens
	EmbeddingTokens  int64 `json:"embedding_tokens"`
	CostMicros       int64 `json:"cost_micros"`
	ChipMillis       int64 `json:"chip_millis"` // milliseconds of one chip
	ChipNanos        int64 `json:"chip_nanos"`  // what they cost the operator, in thousandths of a micro-unit
	Estimated        int64 `json:"estimated"`   // of Requests: whose tokens were estimated in part
}

// Add books a record.
func (t *Totals) Add(r *Record) {
	t.Requests++
	t.PromptTokens += r.Usage.Input
	t.CompletionTokens += r.Usage.Output
	t.CachedTokens += r.Usage.Cached
	t.ReasoningTokens += r.Usage.Reasoning
	t.EmbeddingTokens += r.Usage.Embedding
	t.CostMicros += r.CostMicros
	t.ChipMillis += r.Work.ChipMillis
	t.ChipNanos += r.Work.ChipNanos
	if r.Usage.Estimated {
		t.Estimated++
	}
}

// Row is the totals of one group.
type Row struct {
	Name string `json:"name"` // the day, model, key id or project id, as grouped
	Totals
}

// Books is what Check and Verify found. Everything agrees when Faults is empty.
type Books struct {
	Records int64    `json:"records"`
	Rollups int64    `json:"rollups"`
	Floor   string   `json:"floor"`  // first day whose records are kept; empty: all
	Ledger  int64    `json:"ledger"` // settled records still in ledger files, compared with their rows
	Faults  []string `json:"faults"` // sentences, at most 20
}
