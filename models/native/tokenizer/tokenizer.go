package tokenizer

import (
	"golang.org/x/text/unicode/norm"
)

// Limits on what a tokenizer may be, whether trained or read from a file.
const (
	MaxVocab   = 1 << 20 // tokens
	maxAdded   = 8192    // special and other added tokens
	maxContent = 256     // bytes of an added token
	maxToken   = 4096    // bytes of a token
)

// Kinds of tokens.
const (
	absent  = iota // an id the vocabulary skips
	normal         // made by merging bytes
	added          // matched whole in any text
	special        // matched whole in text the program rendered; decodes to nothing
)

// Tokenizer is byte-level byte-pair encoding. It is immutable and safe for concurrent use.
type Tokenizer struct {
	tokens  [][]byte // raw bytes of each id; the content of added and special tokens
	kinds   []uint8
	byteID  [256]int32
	merges  map[uint64]merge
	order   [][2]int32       // the merges by rank
	normal  map[string]int32 // raw bytes of the merged tokens
	addedID map[string]int32 // content of added and special tokens

	plain, rendered *trie // what Encode and EncodeSpecial match whole

	pre        preTokenizer
	nfc        bool
	wholeFirst bool // a piece that is a token is not merged (ignore_merges)
	post       []byte
	cache      *cache
}

// finish fills what follows from the tables.
func (t *Tokenizer) finish() {
	t.plain, t.rendered = &trie{}, &trie{}
	for content, id := range t.addedID {
		if t.kinds[id] == added {
			t.plain.insert(content, id)
		}
		t.rendered.insert(content, id)
	}
	t.cache = new(cache)
}

// VocabSize is the highest id plus one: the rows an embedding needs at least.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// ID finds a token by its text: the content of an added or special token, else the raw bytes of a merged one.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.addedID[token]; ok {
		return id, true
	}
	id, ok := t.normal[token]
	return id, ok
}

// IsSpecial says whether id is a special token.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.kind(id) == special }

// IsAdded says whether id is matched whole in text instead of made by merging: the special tokens and the other
// added ones.
func (t *Tokenizer) IsAdded(id int32) bool { return t.kind(id) == special || t.kind(id) == added }

func (t *Tokenizer) kind(id int32) uint8 {
	if id < 0 || int(id) >= len(t.kinds) {
		return absent
	}
	return t.kinds[id]
}

// TokenBytes gives the bytes that id adds to the text: none for special tokens and for ids outside the
// vocabulary. The caller must not change them.
func (t *Tokenizer) TokenBytes(id int32) []byte {
	switch t.kind(id) {
	case normal, added:
		return t.tokens[id]
	}
	return nil
}

// TokenText gives the name of id for people and files: the content of added and special tokens, else the printable
// spelling of tokenizer.json; empty for ids without a token.
func (t *Tokenizer) TokenText(id int32) string {
	switch t.kind(id) {
	case normal:
		return spell(t.tokens[id])
	case added, special:
		return string(t.tokens[id])
	}
	return ""
}

// Merges gives the pairs of ids that merge, first the one that merges first. The caller must not change them.
func (t *Tokenizer) Merges() [][2]int32 { return t.order }

// Encode gives the ids of text. The content of a special token in text is text like any other.
func (t *Tokenizer) Encode(text string) []int32 { return t.encode(text, t.plain) }

// EncodeSpecial gives the ids of text that the program itself rendered: the content of special tokens becomes
// those tokens. Never hand it what a user wrote.
func (t *Tokenizer) EncodeSpecial(text string) []int32 { return t.encode(text, t.rendered) }

func (t *Tokenizer) encode(text string, whole *trie) []int32 {
	ids := make([]int32, 0, len(text)/3+1)
	start := 0
	for i := 0; i < len(text) && !whole.empty(); {
		id, n := whole.longest(text, i)
		if n == 0 {
			i++
			continue
		}
		ids = t.appendText(ids, text[start:i])
		ids = append(ids, id)
		i += n
		start = i
	}
	return t.appendText(ids, text[start:])
}

func (t *Tokenizer) appendText(ids []int32, text string) []int32 {
	if t.nfc {
		text = norm.NFC.String(text)
	}
	pieces(text, t.pre.chain, func(piece string) { ids = t.appendPiece(ids, piece) })
	return ids
}

// Decode gives the text of ids, the bytes of all tokens one after the other; special tokens and unknown ids add
// nothing. The result is valid UTF-8 only if ids hold whole characters.
func (t *Tokenizer) Decode(ids []int32) string {
	n := 0
	for _, id := range ids {
		n += len(t.TokenBytes(id))
	}
	out := make([]byte, 0, n)
	for _, id := range ids {
		out = append(out, t.TokenBytes(id)...)
	}
	return string(out)
}

// trie finds the longest of a set of strings at a place of a text.
type trie struct {
	next map[byte]*trie
	id   int32
	end  bool
}

func (n *trie) empty() bool { return len(n.next) == 0 }

func (n *trie) insert(s string, id int32) {
	for i := range len(s) {
		if n.next == nil {
			n.next = make(map[byte]*trie)
		}
		child := n.next[s[i]]
		if child == nil {
			child = &trie{}
			n.next[s[i]] = child
		}
		n = child
	}
	n.id, n.end = id, true
}

// longest gives the id and length of the longest string that stands in s at i; length 0 for none.
func (n *trie) longest(s string, i int) (id int32, length int) {
	for j := i; j < len(s); j++ {
		if n = n.next[s[j]]; n == nil {
			break
		}
		if n.end {
			id, length = n.id, j+1-i
		}
	}
	return id, length
}
