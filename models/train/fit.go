package train

import (
	"context"
	"fmt"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/models/fit"
)

// sizer is a trainer that can say what memory a task takes without measuring anything, bytes.
type sizer interface {
	Memory(t Task) int64
}

// fits refuses a run that this machine, or the chips that it asks for, cannot hold.
func (s *Service) fits(ctx context.Context, r Run, t Task) error {
	err := fit.Memory(fit.Need{What: "The run", Bytes: r.Estimate.MemoryBytes, Has: s.MemoryLimit, Field: "recipe.batch",
		Detail: fmt.Sprintf("a batch of %d rows of %d tokens", r.Recipe.Batch, r.Recipe.SeqLen), Nearest: func() string { return s.nearest(t) }})
	if err != nil || r.Ask.Chips == 0 {
		return err
	}
	w := r.Recipe
	return s.Fit.Chips(ctx, fit.Work{What: "The run", Field: "chips", Shape: shapeOf(t), Chips: r.Ask.Chips, Classes: r.Ask.ChipTypes,
		Work: perf.Work{Task: perf.Train, Batch: max(w.Batch*w.Accumulate, r.Ask.Chips), Micro: 1, Context: w.SeqLen, Recompute: perf.Full}})
}

// nearest looks for a smaller batch, and then for shorter rows, that this machine holds.
func (s *Service) nearest(t Task) string {
	z, ok := s.Trainers[t.Trainer].(sizer)
	if !ok {
		return "take a smaller preset, batch or seq_len"
	}
	for t.Recipe.Batch > 1 || t.Recipe.SeqLen > 64 {
		if t.Recipe.Batch > 1 {
			t.Recipe.Batch /= 2
		} else {
			t.Recipe.SeqLen /= 2
		}
		if n := z.Memory(t); n > 0 && n <= s.MemoryLimit {
			return fmt.Sprintf("a batch of %d rows of %d tokens would take %s", t.Recipe.Batch, t.Recipe.SeqLen, fit.Size(n))
		}
	}
	return "take a smaller preset"
}

// shapeOf is the shape of the model that a task trains; nil where it is not known.
func shapeOf(t Task) *perf.Shape {
	if t.Base.ID != "" {
		return t.Base.Shape.Transformer
	}
	r := t.Recipe
	return &perf.Shape{Layers: r.Layers, Width: r.Dim, Heads: r.Heads, KVHeads: r.KVHeads, Head: r.HeadDim, Inner: r.FFN, Vocab: r.Vocab, Tied: !r.Untied}
}
