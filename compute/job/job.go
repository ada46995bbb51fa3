// Package job keeps work going: it admits jobs, queues them, has an executor start one attempt of each at a
// time, and brings every job to its end whatever dies on the way.
//
// A job is an opaque command with limits; an attempt is one try at running it. The attempt's number is the
// fencing number: it only grows, is durable before anything is started under it, and a worker checks it
// (CheckFence) before it writes anything that others will read.
//
// Rules for callers: everything is asked of the Keeper; nobody else writes to the Store or speaks to the
// Executor. Create is idempotent by owner. A job's project is part of every question: another project's job is
// not found. Reconcile compares what should be with what is and may be run at any moment, any number of times.
// A dead keeper stops nothing: a new one on the same store and executor goes on where the old one was.
package job

import (
	"time"

	"github.com/triarch-ai/triarch/internal/page"
)

// State is where a job is in its life. Succeeded, failed and cancelled are final, the others open.
type State string

// The states. A job waiting for its next attempt after a failure is queued, with NextStartAt set and the reason
// of the last failure.
const (
	Queued   State = "queued"   // waits for its turn, for CPUs, or for its back-off to pass
	Starting State = "starting" // its attempt has a number, and is being started
	Running  State = "running"  // its attempt is known to run
	Stopping State = "stopping" // cancelled, or at its time limit; its attempt is being ended
	// Preempting is a job that makes way: its attempt is being ended with its grace, and then it is queued again.
	Preempting State = "preempting"
	Succeeded  State = "succeeded" // ended by itself with exit code 0
	Failed     State = "failed"    // ended, and will not be tried again
	Cancelled  State = "cancelled" // ended because somebody asked
)

// Final says whether a job in this state will never change again.
func (s State) Final() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Who must act on a failure.
const (
	FaultNode     = "node"     // the machine: out of memory, killed from outside, restarted
	FaultProgram  = "program"  // the command: its exit code or its crash
	FaultPlatform = "platform" // Triarch: a supervisor lost, a start that failed
)

// Words that an executor replaces in Command.Argv and in the values of Command.Env when it starts an attempt;
// the folders are not known before.
const (
	Self       = "{self}"    // the path of the Triarch program itself
	AttemptDir = "{attempt}" // the attempt's own folder
	JobDir     = "{job}"     // the job's folder: state/ and out/ live here and outlast attempts
)

// Environment of every attempt, set by the executor.
const (
	EnvJobDir     = "TRIARCH_JOB_DIR"     // absolute path of the job's folder
	EnvAttemptDir = "TRIARCH_ATTEMPT_DIR" // absolute path of the attempt's folder; the working directory
	EnvFence      = "TRIARCH_FENCE"       // decimal attempt number, for CheckFence
)

// Names inside the folders of a job and of an attempt that workers may rely on.
const (
	StateDir     = "state"          // in the job's folder: checkpoints; outlasts attempts
	OutDir       = "out"            // in the job's folder: results
	ProgressFile = "progress.jsonl" // in the attempt's folder: one JSON object per line, see Line
)

// Command is what an attempt runs. Text is UTF-8.
type Command struct {
	Argv  []string          `json:"argv"`            // program and arguments; Self, AttemptDir and JobDir are replaced anywhere in them
	Env   []string          `json:"env,omitempty"`   // "NAME=value", added to a small fixed environment (PATH, HOME, TMPDIR, LANG, TZ)
	Files map[string][]byte `json:"files,omitempty"` // relative name -> content, written 0600 into the attempt's folder before the start
	// Dir is the working directory: StateDir or OutDir, which are the job's and outlast attempts; empty: the attempt's folder.
	Dir string `json:"dir,omitempty"`
	// Literal has Argv and Env stay as they are: nothing in them is replaced. It is for words of people.
	Literal bool `json:"literal,omitempty"`
}

// Restart says how often and how soon a job that died is tried again.
type Restart struct {
	// Max is the number of restarts in a row; the row ends when an attempt stays up for Healthy. 0 = never.
	Max int `json:"max"`
	// Forever restarts whatever happens, even after exit code 0: for replicas.
	Forever bool `json:"forever"`
	// Innocent has a job whose attempt ended through no doing of its own (the machine restarted, all was taken down) tried
	// again even if Max is 0, as a batch system does. ExitMachine and ExitStopped are exit codes like others then.
	Innocent    bool          `json:"innocent,omitempty"`
	BackoffBase time.Duration `json:"backoff_base_ns"` // wait before the first restart of a row, then doubled; default 1 s
	BackoffMax  time.Duration `json:"backoff_max_ns"`  // longest wait; default 1 min
	Healthy     time.Duration `json:"healthy_ns"`      // an attempt that lived this long begins a new row; default 10 min
}

// Spec is what a caller asks for. Text is UTF-8. The tags are the stored form: they do not change.
type Spec struct {
	Project string `json:"project"` // owner of the job; every question must name it
	Kind    string `json:"kind"`    // "train", "replica", ...: for filters and people
	Name    string `json:"name"`    // for people
	Owner   string `json:"owner"`   // id of the run or replica it belongs to, opaque; unique within a project and kind if not empty
	// Priority orders the queue: higher first, then the older job first.
	Priority int     `json:"priority"`
	Command  Command `json:"command"`
	CPUs     int     `json:"cpus"` // CPUs it uses, counted against the keeper's capacity; 0 = takes no slot in the queue
	// MemoryBytes bounds the memory of an attempt; 0 = no bound. Attempts' Limits say by which means.
	MemoryBytes int64         `json:"memory_bytes"`
	Restart     Restart       `json:"restart"`
	Grace       time.Duration `json:"grace_ns"` // between SIGTERM and SIGKILL; default 10 s
	Ask         Ask           `json:"ask,omitzero"`
}

// Job is a spec and what became of it. Zero times mean "not yet".
type Job struct {
	ID string // "job_..."
	Spec
	State    State
	Reason   string // why it is in this state, one sentence for people; empty when there is nothing to say
	Fault    string // who must act on Reason: FaultNode, FaultProgram, FaultPlatform, or empty
	Attempt  int    // number of the newest attempt = the fencing number; 0 = none yet
	Restarts int    // attempts that died and were followed, or are to be followed, by another
	Streak   int    // restarts since the last attempt that stayed up for Restart.Healthy; decides back-off and Max
	ExitCode int    // of the last attempt that ended; -1 if a signal ended it, or it was lost
	Limits   string // by which means the newest attempt is bounded, for people

	CreatedAt   time.Time
	StartedAt   time.Time // first time an attempt was seen running
	AttemptAt   time.Time // when the newest attempt was seen running
	EndedAt     time.Time // when the state became final
	NextStartAt time.Time // not before this; set during back-off

	Standing  Standing // what scheduling has made of it
	Tally     *Tally   // of a job that stands for a whole array: what became of its elements; not stored
	Discarded bool     // its state/ and out/ folders are no longer needed (Keeper.Discard)
	Revision  int64    // counts the changes of the stored row; the Store compares it
}

// Filter narrows a list; zero fields do not filter.
type Filter struct {
	Kind  string
	Owner string
	State State
	Open  bool // only jobs whose state is not final
	Limit int  // at most so many, the newest first; 0 = 1000
	Name  string
	Array string // id of an array, for its elements
	// Element is one of them by its index; nil: all.
	Element *int
	// Fold leaves of each array the element that leads it, which counts as open while any is. State is not looked at then.
	Fold bool
	// After begins after the job of this key: its time of creation in microseconds since 1970 and its id.
	After page.Key
}
