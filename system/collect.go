package system

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/storage/blob"
)

// How often what nothing names is collected, and how young a blob is left alone: an import or an upload that has
// stored its bytes names them well within that time.
const (
	collectEvery = time.Hour
	blobGrace    = 24 * time.Hour
)

// collectLoop gives back what nothing names any more: blobs, materialised models, old attempts' files and logs.
func (s *System) collectLoop(ctx context.Context) {
	first := time.NewTimer(time.Minute)
	defer first.Stop()
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-first.C:
		case <-t.C:
		}
		s.complain(ctx, "what nothing names could not all be collected", s.Collect(ctx, time.Now().Add(-blobGrace)))
	}
}

// Collect deletes blobs that no data or model version names and that were last put before the given time, then
// folders of models and attempts that nothing needs.
func (s *System) Collect(ctx context.Context, before time.Time) error {
	done, err := blob.Collect(ctx, s.blobs, s.named, before)
	if err != nil {
		return err
	}
	if done.Deleted > 0 {
		s.Log.Info("unnamed blobs were deleted", "blobs", done.Deleted, "bytes", done.Freed)
	}
	if _, err := s.control.Kept().ExpireResponses(ctx, s.Kept.Now()); err != nil {
		return err
	}
	if err := s.Registry.Sweep(ctx); err != nil {
		return err
	}
	if err := s.Pulls.Sweep(ctx); err != nil {
		return err
	}
	strangers, err := s.Keeper.Collect(ctx)
	for _, id := range strangers {
		s.Log.Warn("work runs here that this database does not know", "job", id)
	}
	return err
}

// named yields every blob that the database names.
func (s *System) named(ctx context.Context, yield func(blob.Ref) bool) error {
	if err := s.Data.Refs(ctx, yield); err != nil {
		return err
	}
	if err := s.Kept.Store.FileRefs(ctx, yield); err != nil {
		return err
	}
	return s.Registry.Refs(ctx, yield)
}
