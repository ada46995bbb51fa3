package gateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Waker is what Routes offer that can give a deployment without replicas one.
type Waker interface {
	Wake(ctx context.Context, project, deployment string) error
}

// Wake implements Waker.
func (r served) Wake(ctx context.Context, project, deployment string) error {
	return r.t.Wake(ctx, project, deployment)
}

const (
	wakePoll = 50 * time.Millisecond
	wakeMost = 1024 // requests that wait for deployments to wake
)

// wake holds the request until something behind its route answers, having asked for it, or the route's patience ends.
// What it costs was reserved before and stays as it was.
func (f *flight) wake(ctx context.Context) error {
	w, ok := f.Routes.(Waker)
	if !ok || f.waking.Add(1) > wakeMost {
		if ok {
			f.waking.Add(-1)
		}
		return notServed(f.fields.model)
	}
	defer f.waking.Add(-1)
	hope := false
	for _, u := range f.target.Backends {
		if u.Outside() {
			continue
		}
		err := w.Wake(ctx, f.target.Route.Project, u.ID)
		if err != nil {
			f.Log.Warn("gateway: a deployment cannot be woken", slog.String("deployment", u.ID), slog.Any("error", err))
		}
		hope = hope || !fault.Is(err, fault.Invalid) // a database that is away comes back
	}
	if !hope {
		return notServed(f.fields.model)
	}
	patience := time.NewTimer(f.target.Route.Policy.Wake())
	defer patience.Stop()
	look := time.NewTicker(wakePoll)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return fault.New(fault.Unavailable, "The model `"+f.fields.model+"` did not wake in time.", fault.Code("model_not_ready"), fault.Fix("Try again in a moment: it goes on waking."))
		case <-look.C:
		}
		if t, ok := f.Routes.Lookup(f.call.Who.ProjectID, f.call.Who.OrgID, f.fields.model); ok && t.Route.ID == f.target.Route.ID && t.Serves() {
			woken := *t
			woken.Route = f.target.Route
			f.target = &woken
			return nil
		}
	}
}
