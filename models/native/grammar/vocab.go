package grammar

import (
	"bytes"
	"slices"
)

// Vocab is the tokens of a tokenizer as a trie of their bytes. It is immutable.
type Vocab struct {
	size    int
	longest int // bytes of the longest token
	single  [256]bool

	// The trie's nodes in the order of their texts, the root left out: a node's descendants follow it.
	label []byte
	depth []int32
	skip  []int32 // the first node behind the descendants
	first []int32 // first[i] to first[i+1] are the places in ids of the tokens that end at node i
	ids   []int32
}

// NewVocab makes the trie. tokens holds the bytes of each id, none for tokens that are no text.
func NewVocab(tokens [][]byte) *Vocab {
	v := &Vocab{size: len(tokens)}
	order := make([]int32, 0, len(tokens))
	for id, t := range tokens {
		if len(t) > 0 {
			order = append(order, int32(id))
			v.longest = max(v.longest, len(t))
		}
		if len(t) == 1 {
			v.single[t[0]] = true
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int { return bytes.Compare(tokens[a], tokens[b]) })
	var path []int32 // nodes of the token before
	var last []byte
	for _, id := range order {
		t := tokens[id]
		same := 0
		for same < len(t) && same < len(last) && t[same] == last[same] {
			same++
		}
		for _, n := range path[same:] {
			v.skip[n] = int32(len(v.label))
		}
		path = path[:same]
		for d := same; d < len(t); d++ {
			path = append(path, int32(len(v.label)))
			v.label, v.depth = append(v.label, t[d]), append(v.depth, int32(d+1))
			v.skip, v.first = append(v.skip, 0), append(v.first, int32(len(v.ids)))
		}
		v.ids = append(v.ids, id)
		last = t
	}
	for _, n := range path {
		v.skip[n] = int32(len(v.label))
	}
	v.first = append(v.first, int32(len(v.ids)))
	return v
}

// Size is the number of ids.
func (v *Vocab) Size() int { return v.size }

// at is the tokens whose text ends at a node.
func (v *Vocab) at(node int32) []int32 { return v.ids[v.first[node]:v.first[node+1]] }

// fewest cuts text into the fewest tokens; ok is false if it cannot be cut.
func (v *Vocab) fewest(text []byte) (tokens []int32, ok bool) {
	const never = int32(1 << 30)
	type cut struct{ cost, token, length int32 }
	best := make([]cut, len(text)+1)
	for i := len(text) - 1; i >= 0; i-- {
		best[i].cost = never
		v.along(text[i:], func(token int32, length int) {
			if c := best[i+length].cost + 1; c < best[i].cost {
				best[i] = cut{c, token, int32(length)}
			}
		})
	}
	if best[0].cost >= never {
		return nil, false
	}
	for i := 0; i < len(text); i += int(best[i].length) {
		tokens = append(tokens, best[i].token)
	}
	return tokens, true
}

// along calls f for each token that text begins with.
func (v *Vocab) along(text []byte, f func(token int32, length int)) {
	from, to := int32(0), int32(len(v.label))
	for d := range len(text) {
		for from < to && v.label[from] != text[d] {
			from = v.skip[from]
		}
		if from >= to {
			return
		}
		if ids := v.at(from); len(ids) > 0 {
			f(ids[0], d+1)
		}
		from, to = from+1, v.skip[from]
	}
}
