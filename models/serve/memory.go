package serve

import (
	"context"
	"fmt"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/registry"
)

// What a replica takes beside weights and key-value cache, and the cache where neither it nor the context is bounded:
// engines take no more for it by themselves.
const (
	slack        = 1 << 30
	defaultCache = 1 << 30
	leastCache   = 64 << 20
)

// stored is the size of a version's files, bytes.
func stored(v registry.Version) (n int64) {
	for _, f := range v.Files {
		n += f.Size
	}
	return n
}

// weights is the memory of a version's weights, bytes: as stored, or of four bytes for each parameter where that is
// more.
func weights(v registry.Version) int64 { return max(stored(v), 4*v.Shape.Params) }

// sizer is an engine that can say what it takes for its key-value cache, bytes.
type sizer interface {
	CacheBytes(s engine.Spec) (int64, error)
}

// runner is an engine that can say which models it runs: nil, or a fault that names the reason and what would help.
type runner interface {
	Runs(s registry.Shape) error
}

// memoryBound is the limit put on a replica's process: far enough above its need that only a defect meets it; 0, no
// bound, where the need is not known: a long context was asked for, and its engine does not tell what that takes.
func memoryBound(eng engine.Engine, s engine.Spec, v registry.Version) int64 {
	cache := s.MemoryBytes
	if z, ok := eng.(sizer); ok && cache == 0 {
		n, err := z.CacheBytes(s)
		if err != nil {
			return 0 // the replica itself will say what is wrong with its model
		}
		cache = n
	}
	switch {
	case cache == 0 && s.MaxContext > 0:
		return 0
	case cache == 0:
		cache = defaultCache
	}
	return 2*weights(v) + cache + cache/4 + slack
}

// fits refuses replicas that this machine cannot hold even if they take little.
func (s *Service) fits(spec DeploySpec, v registry.Version, replicas int) error {
	return s.holds(spec, stored(v), replicas)
}

// holds is fits of a version whose files have so many bytes.
func (s *Service) holds(spec DeploySpec, stored int64, replicas int) error {
	cache := max(spec.MemoryBytes, leastCache)
	one := stored + cache
	if s.MemoryLimit <= 0 || replicas == 0 || one <= s.MemoryLimit/int64(replicas) {
		return nil
	}
	field := "replicas"
	switch {
	case one <= s.MemoryLimit:
	case spec.MemoryBytes > 0 && stored+leastCache <= s.MemoryLimit:
		field = "memory_bytes"
	default:
		field = "model"
	}
	return fault.New(fault.Invalid, fmt.Sprintf("The deployment needs at least %d MiB of memory for %d of its replicas and this machine has %d MiB.",
		(one>>20)*int64(replicas), replicas, s.MemoryLimit>>20), fault.Field(field), fault.Code("memory"),
		fault.Fix("Take fewer replicas, a smaller cache or a smaller model."))
}

// shape is what passes need to know of a model version, which never changes.
type shape struct {
	context int   // longest sequence
	stored  int64 // bytes of its files
}

func (s *Service) shapeOf(ctx context.Context, d Deployment) (shape, error) {
	s.mu.Lock()
	x, known := s.shapes[d.ModelVersion]
	s.mu.Unlock()
	if known {
		return x, nil
	}
	v, err := s.Registry.Get(ctx, d.Project, d.ModelVersion)
	if err != nil {
		return shape{}, err
	}
	x = shape{context: v.Shape.Context, stored: stored(v)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shapes == nil {
		s.shapes = map[string]shape{}
	}
	s.shapes[d.ModelVersion] = x
	return x, nil
}

// foresee is the longest sequence of a deployment, its own bound or else its model's, and why this machine could not hold
// one replica of it; empty: it could.
func (s *Service) foresee(ctx context.Context, d Deployment) (longest int, unfit string, err error) {
	x, err := s.shapeOf(ctx, d)
	if d.MaxContext > 0 {
		longest = d.MaxContext
	} else {
		longest = x.context
	}
	if err != nil {
		return longest, "", err
	}
	if e := s.holds(DeploySpec{MemoryBytes: d.MemoryBytes}, x.stored, 1); e != nil {
		unfit = fault.As(e).Sentence()
	}
	return longest, unfit, nil
}

// Close ends what goes on beside the passes and waits for it. Call it after the last Reconcile.
func (s *Service) Close() {
	s.dirs.Close()
	s.jobs.Close()
}
