package tokenizer

import (
	"container/heap"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
)

const (
	maxTrainPiece = 256     // bytes; a longer piece is no word and teaches nothing
	maxTrainWords = 2 << 20 // different words held; beyond it those seen once are forgotten
	maxMerged     = 32      // bytes of a learnt token
)

// Train learns a vocabulary of at most vocabSize tokens from texts: the specials with ids from 0, the 256 bytes,
// then merges of the most frequent neighbours. The result depends on texts and arguments alone: of equally
// frequent pairs the one with the lower ids goes first. It stops early when no pair occurs twice, so ask
// VocabSize. progress, if not nil, hears the number of tokens made so far out of vocabSize.
// Errors: fault.Invalid with the field vocab_size or specials.
func Train(texts iter.Seq[string], vocabSize int, specials []string, progress func(done, total int)) (*Tokenizer, error) {
	t, err := newBase(vocabSize, specials)
	if err != nil {
		return nil, err
	}
	words := countWords(texts, t.pre.chain)
	tr := newTrainer(t, words)
	for t.VocabSize() < vocabSize {
		p, ok := tr.best()
		if !ok {
			break
		}
		tr.apply(p)
		if progress != nil {
			progress(t.VocabSize(), vocabSize)
		}
	}
	t.finish()
	return t, nil
}

// newBase makes the tokenizer without merges.
func newBase(vocabSize int, specials []string) (*Tokenizer, error) {
	if len(specials) > maxAdded {
		return nil, fault.InvalidField("specials", "%d special tokens are more than %d", len(specials), maxAdded)
	}
	if least := 256 + len(specials); vocabSize < least || vocabSize > MaxVocab {
		return nil, fault.InvalidField("vocab_size", "must be from %d to %d, got %d", least, MaxVocab, vocabSize)
	}
	t := &Tokenizer{merges: map[uint64]merge{}, normal: map[string]int32{}, addedID: map[string]int32{}, pre: preTriarch}
	for _, s := range specials {
		if _, twice := t.addedID[s]; twice || s == "" || len(s) > maxContent || !utf8.ValidString(s) {
			return nil, fault.InvalidField("specials", "%q is empty, too long, repeated or not UTF-8", s)
		}
		t.addedID[s] = t.add([]byte(s), special)
	}
	for b := range 256 {
		id := t.add([]byte{byte(b)}, normal)
		t.byteID[b] = id
		t.normal[string([]byte{byte(b)})] = id
	}
	return t, nil
}

func (t *Tokenizer) add(raw []byte, kind uint8) int32 {
	t.tokens = append(t.tokens, raw)
	t.kinds = append(t.kinds, kind)
	return int32(len(t.tokens) - 1)
}

type word struct {
	text  string
	count int64
}

// countWords lists the different pieces of all texts in order of first sight with their numbers. Pieces of one
// byte have nothing to merge.
func countWords(texts iter.Seq[string], chain []splitter) []word {
	var words []word
	index := make(map[string]int32)
	see := func(piece string) {
		if len(piece) < 2 || len(piece) > maxTrainPiece {
			return
		}
		if i, ok := index[piece]; ok {
			words[i].count++
			return
		}
		if len(words) >= maxTrainWords {
			words, index = forgetRare(words)
		}
		key := strings.Clone(piece)
		index[key] = int32(len(words))
		words = append(words, word{key, 1})
	}
	for text := range texts {
		pieces(text, chain, see)
	}
	return words
}

// forgetRare drops the rarer half at least, so that counting takes bounded memory whatever the corpus.
func forgetRare(words []word) ([]word, map[string]int32) {
	for least := int64(2); ; least *= 2 {
		kept := make([]word, 0, len(words)/2)
		for _, w := range words {
			if w.count >= least {
				kept = append(kept, w)
			}
		}
		if len(kept) <= len(words)/2 {
			index := make(map[string]int32, len(kept))
			for i, w := range kept {
				index[w.text] = int32(i)
			}
			return kept, index
		}
	}
}

type pair struct{ left, right int32 }

// trainer keeps for every pair how often it occurs and in which words, and a heap of the pairs by frequency.
type trainer struct {
	t      *Tokenizer
	ids    [][]int32
	counts []int64
	pairs  map[pair]*pairInfo
	queue  pairQueue
}

type pairInfo struct {
	count int64
	words []int32 // may repeat a word and may name words that lost the pair since
}

func newTrainer(t *Tokenizer, words []word) *trainer {
	tr := &trainer{t: t, pairs: make(map[pair]*pairInfo), ids: make([][]int32, len(words)), counts: make([]int64, len(words))}
	for i, w := range words {
		ids := make([]int32, len(w.text))
		for j := range len(w.text) {
			ids[j] = t.byteID[w.text[j]]
		}
		tr.ids[i], tr.counts[i] = ids, w.count
		for j := 0; j+1 < len(ids); j++ {
			tr.change(pair{ids[j], ids[j+1]}, w.count, int32(i), true)
		}
	}
	for p, info := range tr.pairs {
		tr.queue = append(tr.queue, queued{p, info.count})
	}
	heap.Init(&tr.queue)
	return tr
}

// change adds n to the count of p in a word, which is listed under p if fresh; pairs that must never merge are
// not counted.
func (tr *trainer) change(p pair, n int64, word int32, fresh bool) {
	info := tr.pairs[p]
	if info == nil {
		if n < 0 || !mergeable(tr.t.tokens[p.left], tr.t.tokens[p.right]) {
			return
		}
		info = &pairInfo{}
		tr.pairs[p] = info
	}
	info.count += n
	if fresh && (len(info.words) == 0 || info.words[len(info.words)-1] != word) {
		info.words = append(info.words, word)
	}
}

// best takes the most frequent pair off the queue. Queue entries are not updated in place: one whose count has
// fallen goes back with its present count, and every rise queues the pair anew.
func (tr *trainer) best() (pair, bool) {
	for len(tr.queue) > 0 {
		q := heap.Pop(&tr.queue).(queued)
		info := tr.pairs[q.p]
		switch {
		case info == nil || info.count < 2:
			continue
		case info.count < q.count:
			heap.Push(&tr.queue, queued{q.p, info.count})
			continue
		}
		return q.p, true
	}
	return pair{}, false
}

// apply makes p a token and merges it in every word that has it.
func (tr *trainer) apply(p pair) {
	t := tr.t
	raw := append(append([]byte{}, t.tokens[p.left]...), t.tokens[p.right]...)
	id, known := t.normal[string(raw)]
	if !known {
		id = t.add(raw, normal)
		t.normal[string(raw)] = id
	}
	// A pair comes back when a later merge makes one of its sides again; it keeps its first rank.
	if _, again := t.merges[pairKey(p.left, p.right)]; !again {
		t.merges[pairKey(p.left, p.right)] = merge{rank: int32(len(t.order)), id: id}
		t.order = append(t.order, [2]int32{p.left, p.right})
	}
	risen := make(map[pair]bool)
	for _, w := range tr.pairs[p].words {
		tr.mergeWord(w, p, id, risen)
	}
	delete(tr.pairs, p)
	for q := range risen {
		if info := tr.pairs[q]; info != nil && info.count > 1 {
			heap.Push(&tr.queue, queued{q, info.count})
		}
	}
}

// mergeWord replaces p by id in word w and moves the counts of the pairs around it.
func (tr *trainer) mergeWord(w int32, p pair, id int32, risen map[pair]bool) {
	ids, n := tr.ids[w], tr.counts[w]
	has := false
	for i := 0; i+1 < len(ids) && !has; i++ {
		has = ids[i] == p.left && ids[i+1] == p.right
	}
	if !has {
		return
	}
	for i := 0; i+1 < len(ids); i++ {
		tr.change(pair{ids[i], ids[i+1]}, -n, w, false)
	}
	out := ids[:0]
	for i := 0; i < len(ids); i++ {
		if i+1 < len(ids) && ids[i] == p.left && ids[i+1] == p.right {
			out = append(out, id)
			i++
		} else {
			out = append(out, ids[i])
		}
	}
	tr.ids[w] = out
	for i := 0; i+1 < len(out); i++ {
		q := pair{out[i], out[i+1]}
		made := q.left == id || q.right == id
		tr.change(q, n, w, made)
		if made {
			risen[q] = true
		}
	}
}

// mergeable says whether two neighbours may become one token: whole characters with whole characters, or parts
// of one character. A token that ended within a character and began in the one before could merge across a
// border that this package's splitting keeps and another program's does not.
func mergeable(a, b []byte) bool {
	if len(a)+len(b) > maxMerged {
		return false
	}
	if utf8.Valid(a) && utf8.Valid(b) {
		return true
	}
	if slices.ContainsFunc(b, utf8.RuneStart) {
		return false
	}
	need := 4
	if utf8.RuneStart(a[0]) {
		need = charLen(a[0])
	} else {
		need-- // only the tail of a character
	}
	if slices.ContainsFunc(a[1:], utf8.RuneStart) {
		return false
	}
	return len(a)+len(b) <= need
}

// charLen is how many bytes the character that starts with lead has.
func charLen(lead byte) int {
	switch {
	case lead >= 0xF0:
		return 4
	case lead >= 0xE0:
		return 3
	case lead >= 0xC0:
		return 2
	}
	return 1
}

type queued struct {
	p     pair
	count int64
}

type pairQueue []queued

func (q pairQueue) Len() int { return len(q) }
func (q pairQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	if a.count != b.count {
		return a.count > b.count
	}
	if a.p.left != b.p.left {
		return a.p.left < b.p.left
	}
	return a.p.right < b.p.right
}
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *pairQueue) Push(x any)   { *q = append(*q, x.(queued)) }
func (q *pairQueue) Pop() any {
	s := *q
	last := s[len(s)-1]
	*q = s[:len(s)-1]
	return last
}
