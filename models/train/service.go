package train

import (
	"context"

	"github.com/triarch-ai/triarch/compute/job"
)

// Jobs is what runs need of the job keeper. Create is idempotent by owner.
type Jobs interface {
	Create(ctx context.Context, s job.Spec) (job.Job, error)
	Get(ctx context.Context, project, id string) (job.Job, error)
	Cancel(ctx context.Context, project, id, reason string) error
}
