package serve

import (
	"cmp"
	"context"
	"fmt"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/registry"
)

// What a replica takes beside weights and key-value cache, and the cache where neither it nor the context is bounded:
// engines take no more for it by themselves.
const (
	slack        = 1 << 30
	defaultCache = 1 << 30
	leastCache   = 64 << 20
	maxMemory    = 1 << 50 // that may be asked for; beyond it sums would overflow
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

// weigher is an engine that keeps weights in another form than they are stored in.
type weigher interface {
	WeightBytes(s registry.Shape) int64
}

// resident is the least memory that a version's weights take in an engine, bytes.
func (s *Service) resident(eng string, v registry.Version) int64 {
	if w, ok := s.Engines[eng].(weigher); ok {
		return max(stored(v), w.WeightBytes(v.Shape))
	}
	return stored(v)
}

// fits refuses replicas that this machine, or the chips that they ask for, cannot hold even if they take little.
func (s *Service) fits(ctx context.Context, spec DeploySpec, v registry.Version) error {
	if err := s.holds(spec.MemoryBytes, s.resident(spec.Engine, v), spec.Replicas); err != nil {
		return err
	}
	w := works(spec, v)
	w.Batch, w.AtMost = 1, 0
	return s.Fit.Chips(ctx, fit.Work{What: "A replica", Field: "chips", Shape: v.Shape.Transformer, Chips: spec.Ask.Chips, Classes: spec.Ask.ChipTypes, Work: w})
}

// works is what a replica computes, with as many sequences at once as fit.
func works(spec DeploySpec, v registry.Version) perf.Work {
	x := v.Shape
	longest := cmp.Or(spec.MaxContext, min(cmp.Or(x.Context, shortContext), shortContext))
	w := perf.Work{Task: perf.Decode, AtMost: busy, Context: longest, WeightBytes: x.PerWeight()}
	if x.Transformer != nil && x.Transformer.Encoder {
		w.Task, w.Batch, w.AtMost = perf.Embed, busy, 0
	}
	return w
}

// busy is the sequences at once by which the chips of replicas are compared.
const busy = 32

// work is what replicas of a version tell the scheduler; nil where the shape is not known.
func work(spec DeploySpec, v registry.Version) *job.Work {
	if v.Shape.Transformer == nil {
		return nil
	}
	w := job.Work{Shape: *v.Shape.Transformer, Work: works(spec, v)}
	w.Work.Engine = spec.Engine
	w.Shape.Name = v.Model // the shape's own is that of its architecture
	if w.Check() != nil {
		return nil
	}
	return &w
}

// shortContext is the length of the one sequence that a replica without a bound of its own must be able to hold.
const shortContext = 2048

// holds refuses replicas with weights of so many bytes and caches of so many, 0 being the least there is.
func (s *Service) holds(asked, weights int64, replicas int) error {
	if replicas == 0 {
		return nil
	}
	one := weights + max(asked, leastCache)
	field := "replicas"
	switch {
	case one <= s.MemoryLimit:
	case asked > 0 && weights+leastCache <= s.MemoryLimit:
		field = "memory_bytes"
	default:
		field = "model"
	}
	return fit.Memory(fit.Need{What: "The deployment", Bytes: fit.Times(one, int64(replicas)), Has: s.MemoryLimit, Field: field, Detail: fmt.Sprintf("%d of its replicas", replicas),
		Nearest: func() string {
			switch field {
			case "replicas":
				return fmt.Sprintf("%d of its replicas would take %s", s.MemoryLimit/one, fit.Size(one*(s.MemoryLimit/one)))
			case "memory_bytes":
				return fmt.Sprintf("a cache of %s would fit", fit.Size((s.MemoryLimit-weights)>>20<<20))
			}
			return fmt.Sprintf("its weights alone take %s; take a smaller or more strongly quantised model, or an engine on another machine", fit.Size(weights))
		}})
}

// shape is what passes need to know of a model version, which never changes.
type shape struct {
	context int // longest sequence
	version registry.Version
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
	x = shape{context: v.Shape.Context, version: v}
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
	if d.Forced != "" {
		return longest, "", nil
	}
	if e := s.holds(d.MemoryBytes, s.resident(d.Engine, x.version), 1); e != nil {
		unfit = fault.As(e).Sentence()
	}
	return longest, unfit, nil
}

// Close ends what goes on beside the passes and waits for it. Call it after the last Reconcile.
func (s *Service) Close() {
	s.dirs.Close()
	s.jobs.Close()
}
