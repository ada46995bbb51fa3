package perf

import (
	"fmt"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Reason says why there is no answer.
type Reason string

// The reasons.
const (
	NoFit   Reason = "does not fit"
	Unknown Reason = "figure unknown"
	Invalid Reason = "invalid question"
)

// Refusal is why there is no answer, for programs and for people.
type Refusal struct {
	Reason  Reason   `json:"reason"`
	Chip    string   `json:"chip,omitempty"`
	Needs   float64  `json:"needs,omitempty"`   // NoFit: bytes on the fullest chip
	Has     float64  `json:"has,omitempty"`     // NoFit: bytes of it that can be used
	Missing []string `json:"missing,omitempty"` // Unknown: the chip's figures
	Field   string   `json:"field,omitempty"`   // Invalid
	Detail  string   `json:"detail,omitempty"`  // Invalid
}

// Error is the sentence for people.
func (r *Refusal) Error() string {
	switch r.Reason {
	case NoFit:
		return fmt.Sprintf("It does not fit: a chip needs %s, %s has %s of use.", chip.FormatQuantity(r.Needs, chip.Bytes), r.Chip, chip.FormatQuantity(r.Has, chip.Bytes))
	case Unknown:
		return fmt.Sprintf("Of %s nobody has told %s.", r.Chip, strings.Join(r.Missing, ", "))
	}
	return fmt.Sprintf("The question cannot be answered: %s: %s.", r.Field, r.Detail)
}

func invalid(field, format string, args ...any) *Refusal {
	return &Refusal{Reason: Invalid, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// check refuses questions with sizes that make no sense.
func (q Question) check() *Refusal {
	if r := q.Shape.Check(); r != nil {
		return r
	}
	w, l := q.Work, q.Layout
	if q.Shape.Encoder && (w.Task == Decode || w.Task == Serve) {
		return invalid("work.task", "an encoder answers with vectors, it does not %s", w.Task)
	}
	switch w.Task {
	case Train, PostTrain, Prefill, Decode, Embed:
		if w.Context < 1 || w.Context > limit {
			return invalid("work.context", "%d tokens", w.Context)
		}
	case Serve:
		if w.Prompt < 1 || w.Prompt > limit || w.Output < 1 || w.Output > limit {
			return invalid("work.prompt", "%d tokens and an answer of %d", w.Prompt, w.Output)
		}
	default:
		return invalid("work.task", "%q is no task", w.Task)
	}
	for _, n := range []struct {
		field string
		n     int
	}{{"work.batch", w.Batch}, {"work.micro", w.Micro}, {"work.at_most", w.AtMost}, {"layout.tensor", l.Tensor}, {"layout.pipeline", l.Pipeline}, {"layout.data", l.Data},
		{"layout.sequence", l.Sequence}, {"layout.expert", l.Expert}, {"layout.virtual", l.Virtual}, {"node", q.Node}} {
		if n.n < 0 || n.n > limit {
			return invalid(n.field, "%d is out of range", n.n)
		}
	}
	if w.Task.trains() && w.Batch < 1 {
		return invalid("work.batch", "training needs the sequences of a step")
	}
	for _, n := range []struct {
		field   string
		n, most float64
	}{{"work.weight_bytes", w.WeightBytes, 64}, {"work.cache_bytes", w.CacheBytes, 64}, {"net", q.Net, 1e18}} {
		if !(n.n >= 0 && n.n <= n.most) {
			return invalid(n.field, "%v is out of range", n.n)
		}
	}
	if !(w.Trained >= 0 && w.Trained <= 1) {
		return invalid("work.trained", "%v is not between 0 and 1", w.Trained)
	}
	if width(w.Precision) == 0 {
		return invalid("work.precision", "%q is no precision", w.Precision)
	}
	switch w.Recompute {
	case "", KeepAll, Fused, Full:
	default:
		return invalid("work.recompute", "%q is no way of recomputing", w.Recompute)
	}
	if r := q.checkChip(); r != nil {
		return r
	}
	return q.checkLayout()
}

// checkChip refuses figures that no device has; those of the catalogue are bounded closer.
func (q Question) checkChip() *Refusal {
	c := &q.Chip
	type named struct {
		name string
		*chip.Figure
	}
	figures := [...]named{{"memory", c.Memory}, {"bandwidth", c.Bandwidth}, {"power", c.Power}, {"flops." + string(q.Work.Precision), c.Flops[q.Work.Precision]}, {"link", nil}}
	if c.Link != nil {
		figures[4].Figure = &c.Link.Figure
	}
	for _, f := range figures {
		if f.Figure != nil && !(f.Value >= 1 && f.Value <= 1e24) {
			return invalid("chip."+f.name, "%v of %s is not possible", f.Value, c.ID)
		}
	}
	return nil
}

func (q Question) checkLayout() *Refusal {
	l, s := q.Layout.filled(), q.Shape
	switch {
	case s.Heads%l.Tensor != 0:
		return invalid("layout.tensor", "%d heads cannot be split by %d", s.Heads, l.Tensor)
	case l.Pipeline > s.Layers:
		return invalid("layout.pipeline", "%d layers cannot be split by %d", s.Layers, l.Pipeline)
	case l.Expert > 1 && (s.Experts == nil || l.Expert > s.Experts.Count || l.Expert > l.Data*l.Tensor):
		return invalid("layout.expert", "%d chips cannot share the experts", l.Expert)
	case q.Work.Task.trains() && q.Work.Batch < l.Data:
		return invalid("work.batch", "%d sequences are too few for %d ranks", q.Work.Batch, l.Data)
	case l.Shard < ShardNone || l.Shard > ShardWeights:
		return invalid("layout.shard", "%d is no stage", l.Shard)
	case float64(l.Tensor)*float64(l.Pipeline)*float64(l.Data)*float64(l.Sequence) > limit:
		return invalid("layout", "%d chips", l.Chips())
	}
	return nil
}
