package trainer

import (
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
)

// Example is one rendered conversation.
type Example struct {
	IDs  []int32
	Mask []bool // of the same length: which tokens are to be learned (the assistant's)
}

// ChatSource packs whole conversations into rows; none is cut apart and none attends to another.
type ChatSource struct {
	examples []Example
	seqLen   int
	dropped  int
	walk     walk
}

// NewChatSource makes a source of rows of seqLen tokens. An example longer than seqLen+1 tokens is cut at its end;
// one with nothing left to learn is dropped (Dropped counts them), and it is an error when none remains.
func NewChatSource(examples []Example, seqLen int, seed uint64) (*ChatSource, error) {
	if seqLen < 2 {
		return nil, fault.InvalidField("seq_len", "seq_len is %d, it must be at least 2", seqLen)
	}
	s := &ChatSource{seqLen: seqLen}
	var d digester
	for i, e := range examples {
		if len(e.IDs) != len(e.Mask) {
			return nil, fault.InvalidField("data", "example %d has %d tokens and %d mask values", i, len(e.IDs), len(e.Mask))
		}
		n := min(len(e.IDs), seqLen+1)
		e.IDs, e.Mask = e.IDs[:n], e.Mask[:n]
		if !e.teaches() {
			s.dropped++
			continue
		}
		s.examples = append(s.examples, e)
		d.ints(2*n, func(j int) int32 {
			switch {
			case j < n:
				return e.IDs[j]
			case e.Mask[j-n]:
				return 1
			}
			return 0
		})
	}
	if len(s.examples) == 0 || len(s.examples) > 1<<30 {
		return nil, fault.New(fault.Invalid, "No conversation has anything to learn within the length of a sequence.",
			fault.Field("data"), fault.Fix("Give conversations with assistant turns, or raise seq_len."))
	}
	s.walk = newWalk(len(s.examples), seed, d.seed(seed))
	return s, nil
}

func (e Example) teaches() bool {
	for i, m := range e.Mask {
		if m && i > 0 { // the first token has nothing before it to be predicted from
			return true
		}
	}
	return false
}

// Dropped is how many examples had nothing to learn.
func (s *ChatSource) Dropped() int { return s.dropped }

// Next fills the batch: each example goes to the first row with room, until one fits nowhere; it begins the next
// batch. The rest of each row is padding.
func (s *ChatSource) Next(b *native.Batch) error {
	if err := shaped(b); err != nil {
		return err
	}
	if b.T != s.seqLen {
		return fault.InvalidField("seq_len", "the batch has rows of %d tokens, the examples were cut for %d", b.T, s.seqLen)
	}
	for i := range b.Tokens {
		b.Tokens[i], b.Targets[i], b.Segments[i] = 0, native.Ignore, native.Padding
	}
	s.pack(&s.walk, newRows(b.B, b.T), func(row, at, segment int, e Example) {
		o := row*b.T + at
		for i, id := range e.IDs[:len(e.IDs)-1] {
			b.Tokens[o+i], b.Segments[o+i] = id, int32(segment)
			if e.Mask[i+1] {
				b.Targets[o+i] = e.IDs[i+1]
			}
		}
	})
	return nil
}

// rows is how full each row of a batch is.
type rows struct{ used, segments []int }

func newRows(b, t int) *rows { return &rows{used: make([]int, b), segments: make([]int, b)} }

// pack takes examples from the walk into rows until the next one fits nowhere.
func (s *ChatSource) pack(w *walk, r *rows, put func(row, at, segment int, e Example)) {
	for {
		e := s.examples[w.piece()]
		n, row := len(e.IDs)-1, 0
		for row < len(r.used) && r.used[row]+n > s.seqLen {
			row++
		}
		if row == len(r.used) {
			return
		}
		put(row, r.used[row], r.segments[row], e)
		r.used[row] += n
		r.segments[row]++
		w.advance()
	}
}

// State is the place in the stream.
func (s *ChatSource) State() []byte { return s.walk.state() }

// Restore goes to a place State gave.
func (s *ChatSource) Restore(state []byte) error {
	return s.walk.restore(state, func(int) int { return 1 })
}

// Epoch is how many passes over the examples have been completed.
func (s *ChatSource) Epoch() int { return s.walk.Epoch }

// EpochBatches is how many batches of b rows the first pass over the examples takes, the last one counted whole.
func (s *ChatSource) EpochBatches(b int) int {
	w := newWalk(len(s.examples), s.walk.seed, "")
	n := 0
	for ; w.Epoch == 0; n++ {
		s.pack(&w, newRows(b, s.seqLen), func(int, int, int, Example) {})
	}
	return n
}
