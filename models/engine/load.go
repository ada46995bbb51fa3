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
