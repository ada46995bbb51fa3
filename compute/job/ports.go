package job

import (
	"context"
	"time"
)

// Store remembers jobs. Every change is durable when the method returns. Missing jobs, and jobs of another
// project, are fault.NotFound.
type Store interface {
	// Create adds a job with Revision 1. If a job of the same project, kind and non-empty owner exists, it
	// changes nothing and returns fault.Conflict.
	Create(ctx context.Context, j Job) error
	// CreateAll adds jobs with Revision 1, all or none; they have no owners.
	CreateAll(ctx context.Context, js []Job) error
	// Get finds a job of a project.
	Get(ctx context.Context, project, id string) (Job, error)
	// List gives jobs of a project, the newest first.
	List(ctx context.Context, project string, f Filter) ([]Job, error)
	// Open gives every job of every project whose state is not final, in order of creation. It is the keeper's.
	Open(ctx context.Context) ([]Job, error)
	// Update replaces a job if its stored revision is still j.Revision, and adds one to the stored revision;
	// otherwise it changes nothing and returns fault.Conflict.
	Update(ctx context.Context, j Job) error
	// UpdateAll is Update for several jobs, all or none.
	UpdateAll(ctx context.Context, js []Job) error
	// Tally counts the elements of arrays of any project. It is the keeper's.
	Tally(ctx context.Context, arrays []string) (map[string]Tally, error)
	// Delete forgets a job of a project.
	Delete(ctx context.Context, project, id string) error
	// Find gives those of the ids that are jobs of any project. The id of an array gives a job that stands for it, with
	// its id, project and Tally.Prospect as its state. It is the keeper's.
	Find(ctx context.Context, ids []string) (map[string]Job, error)
}

// Task is one attempt to be started.
type Task struct {
	Job         string
	Attempt     int // the fencing number
	Command     Command
	CPUs        int           // 0 = no bound
	MemoryBytes int64         // 0 = no bound
	Grace       time.Duration // used when the machine, not the keeper, asks the attempt to end
}

// Phase is what an executor knows of an attempt.
type Phase string

// The phases.
const (
	PhaseAbsent   Phase = "absent"   // never started here; Start may start it
	PhaseStarting Phase = "starting" // on its way: asking again later is all there is to do
	PhaseRunning  Phase = "running"
	PhaseOrphaned Phase = "orphaned" // its supervisor is gone but some of its processes live: Stop ends them
	PhaseEnded    Phase = "ended"    // nothing of it lives, nor will again; Exit says how it ended
)

// Status is an attempt as its executor sees it.
type Status struct {
	Job       string
	Attempt   int
	Phase     Phase
	Exit      *Exit     // if and only if Phase is PhaseEnded
	StartedAt time.Time // when its process started, as far as known
	PID       int       // of its main process while it runs; 0 = not known
	Leaving   bool      // it has ended, and what watched it is about to be gone
	Limits    string    // by which means it is bounded, for people
	Touched   time.Time // when the executor last changed something of it, as far as known
}

// Exit is how an attempt ended.
type Exit struct {
	Code       int       `json:"code"`                  // exit code; -1 if there is none
	Signal     string    `json:"signal,omitempty"`      // "SIGKILL", ... if a signal ended it
	OOM        bool      `json:"oom,omitempty"`         // it ended for lack of memory
	Stopped    bool      `json:"stopped,omitempty"`     // it was asked to end
	StopReason string    `json:"stop_reason,omitempty"` // why it was asked, the words given to Stop
	Killed     bool      `json:"killed,omitempty"`      // it outlived its grace and was killed
	NotStarted string    `json:"not_started,omitempty"` // why the command could not be started at all
	Lost       string    `json:"lost,omitempty"`        // LostSupervisor or LostMachine: nobody saw its end; LostDevice
	Blame      string    `json:"-"`                     // with LostDevice: what is wrong with the device
	EndedAt    time.Time `json:"ended_at"`
	MaxRSS     int64     `json:"max_rss,omitempty"` // largest resident memory of its main process, bytes
}

// How an attempt can be lost: nobody was there to see how it ended.
const (
	LostSupervisor = "supervisor" // what watched it died, and it with it
	LostMachine    = "machine"    // the machine restarted
	// LostDevice is an end that was seen and is not the job's doing: a device that it ran on failed. Executors do not tell
	// of it, the keeper finds it by Options.Blame.
	LostDevice = "device"
)

// StopDown is the reason given to Stop when a whole data directory is taken down: the keeper that finds an
// attempt ended for it queues the job again and counts no restart.
const StopDown = "down"

// ExitStopped is the exit code by which a worker says that it ended before its work was done because it got
// SIGTERM, as a shell would report it. A worker must not exit with 0 then.
const ExitStopped = 143

// ExitMachine is the exit code by which a worker says that the machine failed it, as a full disk does: the program is
// not to blame and is tried again for as long as it takes.
const ExitMachine = 75

// Executor runs attempts. All methods may be called again after a crash at any moment, by a keeper that does not
// know what the one before it had already asked.
type Executor interface {
	// Start begins an attempt. It is idempotent per job and attempt: an attempt is started at most once in its
	// life, however often Start is called. The fence of the job is durable before anything runs. A task whose
	// attempt is below the fence is refused with fault.Conflict. Start may return before the process exists.
	Start(ctx context.Context, t Task) error
	// Status says what is known of an attempt; an unknown one is PhaseAbsent without an error.
	Status(ctx context.Context, job string, attempt int) (Status, error)
	// Stop asks an attempt to end: SIGTERM, then SIGKILL after grace. It returns without waiting and may be
	// repeated; the first call's grace and reason hold, but a later shorter grace shortens it. An attempt that
	// never started will never start.
	Stop(ctx context.Context, job string, attempt int, grace time.Duration, reason string) error
	// List gives the newest attempt of every job the executor has a trace of. With an error it gives those that
	// could be looked at.
	List(ctx context.Context) ([]Status, error)
	// Trim gives back what old attempts took: of attempts below keepFrom only how they ended and their progress
	// stays; with all also the job's state/ and out/.
	Trim(ctx context.Context, job string, keepFrom int, all bool) error
	// Remove deletes every trace of a job; fault.Conflict while anything of it lives.
	Remove(ctx context.Context, job string) error
	// Logs reads from an attempt's output, see LogChunk.
	Logs(ctx context.Context, job string, attempt int, offset int64, limit int) (LogChunk, error)
	// Progress reads an attempt's progress file from a byte offset: whole lines only, at most limit bytes of
	// them (at least one line if there is one). next is the offset to go on from.
	Progress(ctx context.Context, job string, attempt int, offset int64, limit int) (data []byte, next int64, err error)
}

// Watcher is an Executor that can tell when something changed, so that the keeper need not wait for its next
// pass. The function must not block; it may be called too often or too late.
type Watcher interface {
	Watch(changed func())
}

// Folders is an Executor whose attempts' folders are files of this machine.
type Folders interface {
	// Dir is the folder of a job; it exists once an attempt was started.
	Dir(job string) string
	// AttemptDir is the folder of an attempt.
	AttemptDir(job string, attempt int) string
}

// LogChunk is a piece of an attempt's output. Offsets count bytes of all the output there ever was, so they
// stay true when old output is thrown away.
type LogChunk struct {
	Offset int64  // where Data begins; later than what was asked for if that output is gone
	Data   []byte // empty at the end
	Next   int64  // offset to ask for next
	End    int64  // offset of the end of the output so far
	Ended  bool   // the attempt has ended and Next is the end: there will be no more
}
