package engine

import "context"

// Load is what a replica says of its work. A sequence is one choice of one prompt.
type Load struct {
	Slots   int // sequences that it runs at once, at most; 0 = it does not say
	Running int // sequences that run
	Waiting int // sequences that wait until they can
}

// Reporter is what an engine offers whose replicas tell their Load.
type Reporter interface {
	// Load asks a replica. A replica that does not tell answers with the zero Load and no error; an error means that none
	// came.
	Load(ctx context.Context, to Endpoint) (Load, error)
}

// Spent is steps of an engine, the time they took, their tokens, and the positions that each of these attended to.
type Spent struct {
	Nanos, Steps, Rows, Seen uint64
}

// Work is what a replica has done since it began: steps in which sequences only generated, and steps in which prompts were
// only read.
type Work struct {
	Decode, Prefill Spent
}

// Worker is what an engine offers whose replicas tell their Work.
type Worker interface {
	// Work asks a replica; one that does not tell answers with the zero Work and no error.
	Work(ctx context.Context, to Endpoint) (Work, error)
}
