package trainer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
)

// Source is an endless, repeatable stream of batches. Next fills a batch of the shape it is given. State names the
// place in the stream in a few bytes; Restore goes back to it, in another process too, and refuses the state of
// other data. Random numbers a source uses are part of its state.
type Source interface {
	Next(b *native.Batch) error
	State() []byte
	Restore(state []byte) error
}

// place is where a source stands: pieces (documents or examples) are visited in an order that depends on seed and
// epoch alone.
type place struct {
	Data  string `json:"data"`  // digest of data and seed, so that a state fits its data only
	Epoch int    `json:"epoch"` // passes begun, from 0
	Index int    `json:"index"` // piece within the epoch's order
	At    int    `json:"at"`    // token within the piece
}

// walk visits pieces epoch by epoch in shuffled order.
type walk struct {
	place
	count int
	seed  uint64
	order []int32 // of place.Epoch
}

func newWalk(count int, seed uint64, data string) walk {
	w := walk{place: place{Data: data}, count: count, seed: seed}
	w.shuffle()
	return w
}

func (w *walk) shuffle() {
	if w.order == nil {
		w.order = make([]int32, w.count)
	}
	for i := range w.order {
		w.order[i] = int32(i)
	}
	r := rand.New(rand.NewPCG(w.seed, uint64(w.Epoch)))
	for i := len(w.order) - 1; i > 0; i-- {
		j := r.Uint64N(uint64(i + 1))
		w.order[i], w.order[j] = w.order[j], w.order[i]
	}
}

func (w *walk) piece() int { return int(w.order[w.Index]) }

func (w *walk) advance() {
	w.At = 0
	if w.Index++; w.Index == w.count {
		w.Index = 0
		w.Epoch++
		w.shuffle()
	}
}

func (w *walk) state() []byte {
	b, err := json.Marshal(w.place)
	if err != nil {
		panic("trainer: a place does not marshal: " + err.Error()) // three integers and a hex string
	}
	return b
}

// restore goes to a state; size tells how long a piece is.
func (w *walk) restore(state []byte, size func(piece int) int) error {
	var p place
	if err := json.Unmarshal(state, &p); err != nil {
		return fault.New(fault.Invalid, "The place in the training data cannot be read.", fault.Field("state"), fault.Cause(err))
	}
	if p.Data != w.Data {
		return fault.New(fault.Conflict, "The checkpoint was made on other training data or with another seed.",
			fault.Field("data"), fault.Fix("Give the data and seed it was started with, or start in an empty folder."))
	}
	if p.Epoch < 0 || p.Index < 0 || p.Index >= w.count {
		return fault.InvalidField("state", "the place in the training data is outside of it")
	}
	old := w.place
	w.place = p
	w.shuffle()
	if p.At < 0 || p.At >= size(w.piece()) {
		w.place = old
		w.shuffle()
		return fault.InvalidField("state", "the place in the training data is outside of it")
	}
	return nil
}

// digester hashes what a source was made from.
type digester struct {
	buf []byte
	sum [32]byte
}

func (d *digester) ints(n int, at func(int) int32) {
	d.buf = append(d.buf[:0], d.sum[:]...)
	d.buf = binary.LittleEndian.AppendUint64(d.buf, uint64(n))
	for i := range n {
		d.buf = binary.LittleEndian.AppendUint32(d.buf, uint32(at(i)))
	}
	d.sum = sha256.Sum256(d.buf)
}

func (d *digester) seed(s uint64) string {
	d.ints(2, func(i int) int32 { return int32(s >> (32 * i)) })
	return hex.EncodeToString(d.sum[:16])
}

// PretrainSource streams documents end to end through rows that are always full.
type PretrainSource struct {
	docs   [][]int32
	across bool
	walk   walk
}

// NewPretrainSource makes a source over documents of at least two tokens each; order is shuffled anew every epoch.
// Unless across is set, documents do not attend to each other and the last token of one does not predict the next
// one's first; with across, a row is one running text, as plain training scripts have it.
func NewPretrainSource(docs [][]int32, seed uint64, across bool) (*PretrainSource, error) {
	if len(docs) == 0 || len(docs) > 1<<30 {
		return nil, fault.InvalidField("data", "there are %d documents to train on, there must be at least one", len(docs))
	}
	var d digester
	for i, doc := range docs {
		if len(doc) < 2 {
			return nil, fault.InvalidField("data", "document %d has %d tokens; one with fewer than two teaches nothing", i, len(doc))
		}
		d.ints(len(doc), func(j int) int32 { return doc[j] })
	}
	return &PretrainSource{docs: docs, across: across, walk: newWalk(len(docs), seed, d.seed(seed))}, nil
}

// Next fills the batch with the next b.B*b.T tokens of the stream; the token after a row's end is its last target
// and begins the next row.
func (s *PretrainSource) Next(b *native.Batch) error {
	if err := shaped(b); err != nil {
		return err
	}
	segment := int32(0)
	for i := range b.Tokens {
		if i%b.T == 0 {
			segment = 0
		}
		doc := s.docs[s.walk.piece()]
		b.Tokens[i], b.Segments[i] = doc[s.walk.At], segment
		if s.walk.At++; s.walk.At < len(doc) {
			b.Targets[i] = doc[s.walk.At]
			continue
		}
		s.walk.advance()
		b.Targets[i] = native.Ignore
		if s.across {
			b.Targets[i] = s.docs[s.walk.piece()][0]
		} else {
			segment++
		}
	}
	return nil
}

// State is the place in the stream.
func (s *PretrainSource) State() []byte { return s.walk.state() }

// Restore goes to a place State gave.
func (s *PretrainSource) Restore(state []byte) error {
	return s.walk.restore(state, func(i int) int { return len(s.docs[i]) })
}

// Epoch is how many passes over the documents have been completed.
func (s *PretrainSource) Epoch() int { return s.walk.Epoch }

// EpochBatches is how many batches of b rows of t tokens one pass over the documents takes, rounded up.
func (s *PretrainSource) EpochBatches(b, t int) int {
	var n int
	for _, d := range s.docs {
		n += len(d)
	}
	return (n + b*t - 1) / (b * t)
}

func shaped(b *native.Batch) error {
	if n := b.B * b.T; n == 0 || len(b.Tokens) != n || len(b.Targets) != n || len(b.Segments) != n {
		return fault.InvalidField("batch", "a batch of %dx%d must have tokens, targets and segments of that size", b.B, b.T)
	}
	return nil
}
