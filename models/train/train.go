// Package train turns a data version and a recipe into a model version: it checks the request, pins its inputs,
// estimates memory and time, hands the work to a job and registers what the job made.
//
// Rules for callers: an acknowledged Submit is durable and its run ends exactly once, in succeeded, failed or
// cancelled; Reconcile compares runs with jobs and may be called at any time, by several callers, after any crash.
// A run gives at most one model version. The package owns the Trainer contract; drivers live below it.
package train

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/registry"
)

// State is where a run stands.
type State string

// The states of a run. Succeeded, Failed and Cancelled are final.
const (
	Queued      State = "queued"      // waits for its job to start
	Running     State = "running"     // the job works
	Registering State = "registering" // the job has ended well, its model is being stored
	Stopping    State = "stopping"    // asked to stop, the job has not ended yet
	Succeeded   State = "succeeded"   // ModelVersion is set
	Failed      State = "failed"      // Reason says why and who must act
	Cancelled   State = "cancelled"   // stopped on request
)

// Final says whether nothing more happens to a run in this state.
func (s State) Final() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Who asks: the project the work belongs to and the key that asked, kept with the run.
type Who struct {
	Project string // prj_...
	Key     string // key_..., may be empty
	Machine bool   // may fill this machine beyond its memory
}

// Spec is a request to train.
type Spec struct {
	Name    string // name of the run; default: the model's name
	Model   string // name of the model that the result becomes a version of
	Data    string // data version: dv_ id, name or name@number
	Base    string // model version to start from: mv_ id, name or name@number; empty starts from fresh weights
	Trainer string // driver; default "native"
	Recipe  Recipe
	CPUs    int // cores the job asks for; default 1
	// Priority orders waiting jobs, higher first.
	Priority int
	Ask      job.Ask // what else is asked of the scheduler; User and Saves are filled in
	Force    bool    // goes on where it does not fit; what it was refused for is kept
	// Array, if set, makes a run NAME-INDEX for each index, see job.ParseArray; each has the seed of the one before and as
	// much more as its index is higher.
	Array string
}

// Progress is the newest line of a run's progress.
type Progress struct {
	Attempt         int     `json:"attempt"`
	Step            int     `json:"step"`
	Steps           int     `json:"steps"`
	Loss            float64 `json:"loss"`
	LR              float64 `json:"lr"`
	Tokens          int64   `json:"tokens"`
	TokensPerSecond float64 `json:"tps"`
	Checkpoint      string  `json:"checkpoint,omitempty"`
}

// Estimate is what a run is expected to take.
type Estimate struct {
	Params          int64         `json:"params"`            // parameters of the model
	MemoryBytes     int64         `json:"memory_bytes"`      // of the training process
	DiskBytes       int64         `json:"disk_bytes"`        // checkpoints and result
	Tokens          int64         `json:"tokens"`            // tokens trained on, all steps
	TokensPerSecond float64       `json:"tokens_per_second"` // on the cores asked for
	Duration        time.Duration `json:"duration"`          // nanoseconds
	Steps           int           `json:"steps"`             // optimiser steps
}

// Run is one training run.
type Run struct {
	ID           string // run_...
	Project      string
	Name         string
	Model        string // name of the model
	Trainer      string
	DataVersion  string // dv_...
	Base         string // mv_..., empty for fresh weights
	Recipe       Recipe // with defaults filled in
	CPUs         int
	Priority     int
	Ask          job.Ask
	Forced       string // what it was refused for before its caller went on all the same; empty: nothing
	JobID        string // job_..., empty until the job is made
	State        State
	Reason       string // a sentence: why it waits, failed or was stopped
	Fault        string // who must act when it failed: "node", "program" or "platform"
	Stop         bool   // a stop was asked for
	Estimate     Estimate
	Progress     Progress // newest
	Metrics      map[string]float64
	ModelVersion string // mv_..., set when succeeded
	CreatedBy    string
	CreatedAt    time.Time
	StartedAt    time.Time // zero until it starts
	EndedAt      time.Time // zero until it ends
}

// Store keeps runs.
type Store interface {
	// Create inserts runs, all or none, if their data version and base version (when set), which are the same for all, still
	// exist in their project, else fault.NotFound; all in one transaction, so that a pinned version cannot be removed in
	// between.
	Create(ctx context.Context, rs ...Run) error
	// Get returns a run; fault.NotFound.
	Get(ctx context.Context, project, id string) (Run, error)
	// List lists the project's runs, newest first; the key of a page is the time of creation in microseconds since 1970
	// and the id.
	List(ctx context.Context, project string, p page.Page) ([]Run, error)
	// Open lists the runs of every project that have not ended, oldest first.
	Open(ctx context.Context) ([]Run, error)
	// Unended lists the project's runs that have not ended, newest first.
	Unended(ctx context.Context, project string) ([]Run, error)
	// Update writes the run's changing fields (job, state, reason, fault, progress, metrics, model version, times)
	// unless it has ended in the store, and says whether it wrote. Stop is never cleared by it.
	Update(ctx context.Context, r Run) (bool, error)
	// RequestStop sets Stop on a run that has not ended; fault.Conflict when it has, fault.NotFound.
	RequestStop(ctx context.Context, project, id string) error
}

// Task is what a trainer is asked to do: a run with its inputs as local paths.
type Task struct {
	Run      string // run_ id
	Trainer  string // the driver's name
	Recipe   Recipe // checked, defaults filled in
	Data     data.Version
	DataPath string           // file with the data version's records; empty in Check and Estimate
	Base     registry.Version // zero when starting fresh
	BaseDir  string           // folder of the base version; empty when starting fresh, and in Check and Estimate
	CPUs     int
	Memory   int64  // bytes it should stay within, 0 for no bound
	Code     string // version of the program, for the lineage
}

// Trainer is the contract of a training engine. Drivers are safe for concurrent use.
type Trainer interface {
	// Name is the driver's word in Spec.Trainer.
	Name() string
	// Check says whether the driver can do the task, field by field, beyond Recipe.Validate.
	Check(t Task) error
	// Estimate says what the task will take here. It may measure for a fraction of a second the first time.
	Estimate(ctx context.Context, t Task) (Estimate, error)
	// Command renders the process to run. It must leave in the job's folder out/model a Hugging Face folder and
	// out/result.json (Result), write progress lines, and resume from the job's folder state when it exists.
	Command(t Task) (job.Command, error)
}

// Result is what a trainer leaves in out/result.json beside out/model.
type Result struct {
	Metrics     map[string]float64 `json:"metrics"`
	CodeVersion string             `json:"code_version,omitempty"`
	Tokens      int64              `json:"tokens"`
	Steps       int                `json:"steps"`
	FinalLoss   float64            `json:"final_loss"`
}

// Failure is what a trainer leaves in out/failure.json when trying again cannot help, such as data it cannot learn
// from. The run then fails at once with its reason.
type Failure struct {
	Attempt int    `json:"attempt"`
	Reason  string `json:"reason"` // one sentence for people
	Field   string `json:"field,omitempty"`
}

// Names in the job's folder "out" that trainers and this package agree on.
const (
	ModelDir    = "model"        // the Hugging Face folder
	ResultFile  = "result.json"  // Result
	FailureFile = "failure.json" // Failure
)
