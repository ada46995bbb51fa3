package queue

import (
	"context"
	"time"
)

// Quota is what the queue of a project is promised and bounded by.
type Quota struct {
	Project   string
	Weight    int64            // parts of what its organisation gets of the rest; 1 to 1,000,000; default 1
	Guarantee map[string]int64 // chips it gets whenever it asks for them, by class
	Ceiling   map[string]int64 // chips it never exceeds, by class; a class that is missing has no ceiling
}

// Row is a queue as it is stored: a project with its quota, if it has one.
type Row struct {
	Quota
	Name      string // of the project
	Org       string
	OrgName   string
	OrgWeight int64 // parts of the fleet for the organisation; default 1
	Set       bool  // it has a quota
}

// NodeMark is what an operator said of a node.
type NodeMark struct {
	Node     string
	Draining bool
	Reason   string
	Since    time.Time
}

// Store keeps quotas, marks and windows. Every change is durable when the method returns.
type Store interface {
	// Queues gives every project, by id.
	Queues(ctx context.Context) ([]Row, error)
	// SetQuota inserts or replaces the quota of a project; fault.NotFound without the project.
	SetQuota(ctx context.Context, q Quota) error
	// RemoveQuota is idempotent.
	RemoveQuota(ctx context.Context, project string) error
	// SetOrgWeight sets an organisation's parts; fault.NotFound without the organisation.
	SetOrgWeight(ctx context.Context, org string, weight int64) error
	// Marks gives what was said of nodes, by name.
	Marks(ctx context.Context) ([]NodeMark, error)
	// SetMark replaces what was said of a node.
	SetMark(ctx context.Context, m NodeMark) error
	// Windows gives all windows, by name.
	Windows(ctx context.Context) ([]Window, error)
	// AddWindow adds a window; fault.Conflict where one of its name is there.
	AddWindow(ctx context.Context, w Window) error
	// RemoveWindow takes a window away; fault.NotFound without it.
	RemoveWindow(ctx context.Context, name string) error
}

// Memory keeps what a planner learnt, as one piece.
type Memory interface {
	// Load gives what was saved last; nil without an error where nothing was.
	Load() ([]byte, error)
	Save([]byte) error
}
