package job_test

import (
	"context"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
)

// leaving is an executor whose one attempt has ended and whose supervisor goes at the third look.
type leaving struct {
	job.Executor
	looks int
}

func (l *leaving) List(context.Context) ([]job.Status, error) {
	l.looks++
	return []job.Status{{Job: "job_x", Attempt: 1, Phase: job.PhaseEnded, Exit: &job.Exit{}, Leaving: l.looks < 3}}, nil
}

// Down must not say that nothing lives while a supervisor is still on its way out.
func TestDownWaitsForWhatIsLeaving(t *testing.T) {
	x := &leaving{}
	ended, err := job.Down(t.Context(), x, time.Second)
	if err != nil || ended != 0 || x.looks != 3 {
		t.Fatalf("ended %d after %d looks, %v", ended, x.looks, err)
	}
}
