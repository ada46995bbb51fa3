package native

import (
	"github.com/triarch-ai/triarch/internal/fault"
)

// Ignore is the target of a position that is not learned: padding, prompts, the end of a document.
const Ignore int32 = -1

// Padding is the segment of a position that holds no text. It attends to nothing and nothing attends to it.
const Padding int32 = -1

// Batch is B packed sequences of T tokens, row after row.
type Batch struct {
	B, T    int
	Tokens  []int32 // [B*T] inputs
	Targets []int32 // [B*T] the token to predict after each input, or Ignore
	// Segments names the document each position belongs to, [B*T]: within a row equal neighbours are one document,
	// which attends to itself alone and counts positions from 0. Nil means that each row is one document.
	Segments []int32
}

// NewBatch allocates a batch of one shape with segments.
func NewBatch(b, t int) *Batch {
	n := b * t
	return &Batch{B: b, T: t, Tokens: make([]int32, n), Targets: make([]int32, n), Segments: make([]int32, n)}
}

// check refuses a batch of another shape or with ids outside the vocabulary.
func (b *Batch) check(c Config, rows, length int) error {
	n := rows * length
	if b.B != rows || b.T != length || len(b.Tokens) != n || len(b.Targets) != n || (b.Segments != nil && len(b.Segments) != n) {
		return fault.InvalidField("batch", "the batch is %dx%d, it must be %dx%d with all arrays full", b.B, b.T, rows, length)
	}
	for i, id := range b.Tokens {
		if id < 0 || int(id) >= c.VocabSize {
			return fault.InvalidField("tokens", "token %d at position %d is outside the vocabulary of %d", id, i, c.VocabSize)
		}
	}
	for i, id := range b.Targets {
		if id != Ignore && (id < 0 || int(id) >= c.VocabSize) {
			return fault.InvalidField("targets", "target %d at position %d is outside the vocabulary of %d", id, i, c.VocabSize)
		}
	}
	return nil
}

// starts fills first[i] with the place in its row where the document of position i begins; padding gets its own
// place plus one, so that it attends to nothing. Within a row the values never fall, which attention relies on.
func (b *Batch) starts(first []int32) {
	for r := range b.B {
		row := first[r*b.T : (r+1)*b.T]
		if b.Segments == nil {
			clear(row)
			continue
		}
		seg := b.Segments[r*b.T : (r+1)*b.T]
		begin := 0
		for t := range row {
			if t > 0 && seg[t] != seg[t-1] {
				begin = t
			}
			row[t] = int32(begin)
			if seg[t] == Padding {
				row[t] = int32(t + 1)
			}
		}
	}
}
