package blob

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Collected is what one collection found and did.
type Collected struct {
	Kept    int   // blobs that something names
	Young   int   // blobs nothing names, younger than the grace
	Deleted int   // blobs removed
	Freed   int64 // bytes of the removed ones
}

// Collect deletes every blob that named does not yield and that was last put before `before`. named must yield
// every reference of the database; if it fails nothing is deleted.
//
// The order makes it safe beside writers: blobs are listed first and names read after, so a blob named between the
// two is kept, and one that was put but is not named yet is younger than the grace. A blob put again after it was
// listed is kept because its time is looked at again in the moment of deletion.
func Collect(ctx context.Context, s Store, named func(ctx context.Context, yield func(Ref) bool) error, before time.Time) (Collected, error) {
	var done Collected
	var old []Info
	err := s.List(ctx, func(i Info) bool {
		if i.At.Before(before) {
			old = append(old, i)
		} else {
			done.Young++
		}
		return true
	})
	if err != nil {
		return done, fault.Wrap(err, "listing blobs")
	}
	keep := make(map[Ref]struct{})
	if err := named(ctx, func(r Ref) bool { keep[r] = struct{}{}; return true }); err != nil {
		return done, fault.Wrap(err, "reading which blobs are named")
	}
	for _, i := range old {
		if _, ok := keep[i.Ref]; ok {
			done.Kept++
			continue
		}
		gone, err := expire(ctx, s, i.Ref, before)
		if err != nil {
			return done, fault.Wrap(err, "deleting "+string(i.Ref))
		}
		if gone {
			done.Deleted++
			done.Freed += i.Size
		} else {
			done.Young++
		}
	}
	return done, nil
}

func expire(ctx context.Context, s Store, ref Ref, before time.Time) (bool, error) {
	if e, ok := s.(Expirer); ok {
		return e.Expire(ctx, ref, before)
	}
	i, err := s.Stat(ctx, ref)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil || !i.At.Before(before) {
		return false, err
	}
	return true, s.Delete(ctx, ref)
}
