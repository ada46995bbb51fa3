// Package sim replays a trace of jobs on a fleet under any scheduling policy: arrivals, completions, preemptions,
// failures and repairs as events of a simulated clock, many thousands of times faster than life.
//
// A Policy is told what happened and answers by calling the World: Start, Preempt, Resize. The World checks every
// answer (never two owners of one chip, never a split gang, never a chip the job may not use) and a wrong one ends the
// replay with an error, so that no policy wins by a placement that could not be.
//
// Rules for callers: one Replay is one goroutine; same jobs, fleet, policy and options give the same Result. A policy
// sees what is known when a job is submitted (trace.Spec) and what became of it so far, never how long it will run,
// unless it declares itself an Oracle. Times count from the start of the trace.
//
// How a job runs. On one model of chip at one site; up to the size of a node it lies on one node, beyond that on whole
// nodes and one remainder; CPU and memory are split in proportion to chips. After a preemption it goes on from where
// it was, after a failure from its last checkpoint, in both cases after a restart cost during which it holds its chips
// and makes no progress (RestartCost; the figures of the Helios simulator, Hu et al., SC 2021). On fewer or more chips
// than it asked for, an elastic job is slower in proportion, or faster by ExtraChipPPM of the proportion.
package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// Policy decides what runs where.
type Policy interface {
	// Step is told everything that happened at one instant, in order, and acts through w, at once. The events are the
	// policy's until it returns. A Step may follow at the same instant, when what was started ends at once.
	Step(w *World, events []Event)
}

// Beginner is a Policy that prepares itself before the first event.
type Beginner interface {
	Begin(w *World)
}

// Ticker is a Policy that wants a Tick at every multiple of a quantum at which a job waits or runs.
type Ticker interface {
	Every() time.Duration
}

// Oracle is a Policy that may ask World.Remaining: perfect knowledge that no live scheduler has.
type Oracle interface {
	Oracle()
}

// Part is the chips that a job has on one node. Placements are slices of parts.
type Part struct {
	Node   int32
	Chips  int32 // whole chips, 1 for a share, 0 for CPU only
	Device int32 // of a share: which chip of the node; -1 lets the World take the fullest one that suffices
}

// Speeds says how fast types of jobs are on chips.
type Speeds struct {
	Types []string  // names as in trace.Spec.Type
	PPM   [][]int64 // by type, then by the fleet's chip: millionths of the reference speed; 0: cannot run there
}

// Options of a replay.
type Options struct {
	Seed       uint64        // of failures and repairs
	Checkpoint time.Duration // progress kept by a failure, in steps of this; 0 for DefaultCheckpoint
	Speeds     *Speeds       // nil: every job runs at reference speed everywhere
	Knowledge  Knowledge     // what policies are told of Speeds; nil: all of it
	Noise      float64       // standard deviation of what Knowledge is told of an attempt's speed, in natural logs

	// Measured leaves jobs outside [MeasureFrom, MeasureTo) of the order of submission out of the report, to look at
	// the steady state; MeasureTo 0 measures all. The replay ends with the last measured job.
	MeasureFrom, MeasureTo int

	// Until ends the replay at this time, whatever still runs; 0 for the end of the last job.
	Until time.Duration

	// BookFrom and BookTo bound the time that Result.Use counts; BookTo 0: to the end.
	BookFrom, BookTo time.Duration

	// Log is told each action when it is carried out; for tests of determinism and for explanation.
	Log func(Action)

	// Progress is told every few thousand events how many of the jobs have ended, and the simulated time.
	Progress func(ended, jobs int, now time.Duration)

	moment func(w *World, next time.Duration) // called before the clock moves to next
}

// DefaultCheckpoint is how often a job saves its progress where nothing else is said.
const DefaultCheckpoint = 30 * time.Minute

// ExtraChipPPM is what each chip beyond the number asked for adds, in millionths of a chip.
const ExtraChipPPM = 850_000

// Verb is what an Action does.
type Verb uint8

// The verbs.
const (
	Started Verb = iota + 1
	Preempted
	Resized
)

// Action is one thing a policy did. Parts may be read until Log returns.
type Action struct {
	At    time.Duration
	Verb  Verb
	Job   int32
	Parts []Part
}

// String is the action in a line, with all that tells it from another.
func (a Action) String() string {
	return fmt.Sprintf("%s %s job %d on %v", a.At, [...]string{"", "start", "preempt", "resize"}[a.Verb], a.Job, a.Parts)
}

// RestartCost is how long a job on so many chips holds them before it makes progress after a preemption, a failure or
// a resize: 7 s for one chip, 30 s for up to 8, 60 s for more.
func RestartCost(chips int32) time.Duration {
	switch {
	case chips <= 1:
		return 7 * time.Second
	case chips <= 8:
		return 30 * time.Second
	}
	return 60 * time.Second
}

// Replay runs the jobs, sorted by submission, on the fleet under the policy until all have ended.
func Replay(ctx context.Context, jobs []trace.Job, f *fleet.Fleet, p Policy, o Options) (*Result, error) {
	w, err := newWorld(jobs, f, p, o)
	if err != nil {
		return nil, err
	}
	if b, ok := p.(Beginner); ok {
		b.Begin(w)
	}
	if err := w.run(ctx, p); err != nil {
		return nil, err
	}
	return w.result(), nil
}
