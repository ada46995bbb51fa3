package system

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/starter"
)

// starterMark stands in the data directory from its first start until the starter is made, so that an
// interrupted making goes on and a removed starter stays away.
const starterMark = "starter.pending"

// TrainingTime is how long making the starter should train at most, unless told otherwise; its size is chosen to fit.
const TrainingTime = 100 * time.Second

// markStarter notes on the very first start, before anything is in the database, that a starter is wanted.
func (s *System) markStarter() error {
	if _, err := os.Stat(s.dir.File("owner.key")); err == nil || !s.Config.Starter {
		return nil
	}
	return diskFault(durable.WriteFile(s.dir.File(starterMark), nil, 0o600), "noting that a starter is wanted")
}

// WantsStarter says whether the starter is still to be made.
func (s *System) WantsStarter() bool {
	_, err := os.Stat(s.dir.File(starterMark))
	return err == nil && s.Config.Starter && s.Config.has("control")
}

// MakeStarter makes the starter model, of a size that trains within limit here, and tells show how it goes. It may
// be called again after any interruption.
func (s *System) MakeStarter(ctx context.Context, limit time.Duration, show func(starter.Progress)) error {
	m := &starter.Maker{Data: s.Data, Train: s.Train, Serve: s.Serve, CPUs: s.cores(), Limit: limit, Poll: 200 * time.Millisecond, Show: show, Now: time.Now}
	if err := m.Make(ctx, serve.Who{Org: s.Org.ID, Project: s.Project.ID, Pricing: true, Sharing: true}); err != nil {
		return err
	}
	if err := os.Remove(s.dir.File(starterMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskFault(err, "noting that the starter is made")
	}
	return nil
}

// RouteNames are the public names that the first project may call now: routes with a replica that answers.
func (s *System) RouteNames() []string {
	var names []string
	for _, t := range s.Serve.Snapshot().List(s.Project.ID, s.Org.ID) {
		names = append(names, t.Route.Name)
	}
	return names
}

// AwaitRoutes waits until some route answers, at most for the given time.
func (s *System) AwaitRoutes(ctx context.Context, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for len(s.RouteNames()) == 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
