// Package pulls has the control plane pull models from hubs: each pull is a row that outlives the process, and a folder in
// which it continues. It runs in the server and not in the program that asked, so that the bytes go once, straight to where
// they are kept, and the person may leave: the same request finds the same pull again, at whatever point it is.
//
// Rules for callers: run Loop in one process at a time, the control plane; Begin, Get, List and Remove may be called anywhere
// in it. A pull's token is sealed while it is stored and forgotten when the pull is done. Inner addresses ask for Who.Private,
// as in package provider. The model's version is registered in one step that a repeated run finds done.
package pulls

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/hub"
)

// State of a pull.
type State string

// The states. A failed pull keeps what came, and the same request continues it.
const (
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Pull is a model on its way from a hub.
type Pull struct {
	ID      string // pull_...
	Project string
	Model   string   // name in the registry
	Spec    hub.Spec // without tokens
	State   State
	Reason  string     // why it failed, a sentence
	Kind    fault.Kind // of the reason
	Code    string     // stable word for programs; may be empty
	Fix     string
	Commit  string // the revision that it found; empty before the end
	Listed  string // host that told the checksums
	Hash    string // of the files, see hub.Result
	Version string // mv_...; empty before the end
	Sealed  string // token, by seal.Box for what purpose says; empty: none

	Progress hub.Progress // lately; of a pull that does not run, what was stored last

	CreatedBy string // key id
	CreatedAt time.Time
	ChangedAt time.Time // when its state became this one
}

// Who asks.
type Who struct {
	Project string
	Key     string
	Private bool // may allow inner addresses
}

// Request asks for a pull.
type Request struct {
	Spec     hub.Spec // its Mirrors come first, in order
	Endpoint string   // stands in the place of the source's own host, and gets the token; empty: that host
	Private  bool     // mirrors and endpoint may be inner addresses
	Model    string   // empty: the repository's name
	Token    string
}

// Store keeps pulls.
type Store interface {
	// Begin inserts a pull, or, where the project has one that is not done of the same key and model, has that one run again with
	// the new one's spec and token, and returns it. fault.Conflict when the project has most of them running.
	Begin(ctx context.Context, p Pull, most int) (Pull, error)
	Get(ctx context.Context, project, id string) (Pull, error)
	// List lists a project's pulls, newest first; the key of a page is time and id.
	List(ctx context.Context, project string, p page.Page) ([]Pull, error)
	// Running lists what runs, of all projects, oldest first.
	Running(ctx context.Context) ([]Pull, error)
	// End stores how a running pull ended; one that does not run any more stays as it is, and so does one that failed with other
	// mirrors or another token than it was asked for with since.
	End(ctx context.Context, p Pull) error
	// Tell stores a running pull's progress.
	Tell(ctx context.Context, id string, p hub.Progress) error
	// Remove deletes a pull; fault.NotFound.
	Remove(ctx context.Context, project, id string) error
	// Kept says which of the ids are pulls that may continue: they run, or failed after the given time.
	Kept(ctx context.Context, ids []string, after time.Time) (map[string]bool, error)
}
