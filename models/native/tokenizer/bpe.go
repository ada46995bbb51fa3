package tokenizer

import (
	"slices"
	"strings"
	"sync"
)

// merge is what a pair of tokens becomes. A lower rank merges first.
type merge struct{ rank, id int32 }

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

const (
	cacheShards   = 16
	cachePerShard = 2048 // pieces; a full shard is emptied, so the cache stays below about 8 MiB
	cacheMaxPiece = 64   // bytes; longer pieces rarely repeat
	smallPiece    = 48   // symbols; up to here scanning for the best pair beats a heap
)

// cache remembers the ids of pieces seen before. Texts repeat their words, so nearly all pieces hit.
type cache [cacheShards]struct {
	mu sync.RWMutex
	m  map[string][]int32
}

func shardOf(s string) int {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return int(h>>16) % cacheShards
}

func (c *cache) get(s string) ([]int32, bool) {
	sh := &c[shardOf(s)]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	ids, ok := sh.m[s]
	return ids, ok
}

func (c *cache) put(s string, ids []int32) {
	sh := &c[shardOf(s)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.m == nil || len(sh.m) >= cachePerShard {
		sh.m = make(map[string][]int32)
	}
	sh.m[strings.Clone(s)] = ids
}

// appendPiece appends the ids of one piece.
func (t *Tokenizer) appendPiece(ids []int32, piece string) []int32 {
	switch {
	case len(piece) == 0:
		return ids
	case len(piece) == 1:
		return append(ids, t.byteID[piece[0]])
	case len(piece) > cacheMaxPiece:
		return append(ids, t.encodePiece(piece)...)
	}
	if known, ok := t.cache.get(piece); ok {
		return append(ids, known...)
	}
	fresh := t.encodePiece(piece)
	t.cache.put(piece, fresh)
	return append(ids, fresh...)
}

// encodePiece merges the bytes of a piece: always the pair of lowest rank, the leftmost of equals, until no pair
// merges. The result owns its memory.
func (t *Tokenizer) encodePiece(piece string) []int32 {
	if t.wholeFirst {
		if id, ok := t.normal[piece]; ok {
			return []int32{id}
		}
	}
	ids := make([]int32, len(piece))
	for i := range len(piece) {
		ids[i] = t.byteID[piece[i]]
	}
	if len(ids) <= smallPiece {
		return t.mergeSmall(ids)
	}
	return t.mergeLarge(ids)
}

func (t *Tokenizer) mergeSmall(ids []int32) []int32 {
	for {
		best, at := merge{rank: -1}, -1
		for i := 0; i+1 < len(ids); i++ {
			m, ok := t.merges[pairKey(ids[i], ids[i+1])]
			if ok && (at < 0 || m.rank < best.rank) {
				best, at = m, i
			}
		}
		if at < 0 {
			return slices.Clip(ids)
		}
		ids[at] = best.id
		ids = append(ids[:at+1], ids[at+2:]...)
	}
}

// mergeLarge does the same in n log n with a linked list of symbols and a heap of candidate pairs, so that one
// endless word cannot occupy a server.
func (t *Tokenizer) mergeLarge(ids []int32) []int32 {
	n := int32(len(ids))
	next, prev := make([]int32, n), make([]int32, n)
	for i := range n {
		next[i], prev[i] = i+1, i-1
	}
	var h pairHeap
	consider := func(i int32) {
		if i >= 0 && next[i] < n {
			if m, ok := t.merges[pairKey(ids[i], ids[next[i]])]; ok {
				h.push(candidate{m.rank, i, ids[i], ids[next[i]]})
			}
		}
	}
	for i := range n {
		consider(i)
	}
	for len(h) > 0 {
		c := h.pop()
		j := next[c.at]
		// A symbol that was merged away has id -1; a candidate whose pair changed meanwhile is stale.
		if ids[c.at] != c.left || j >= n || ids[j] != c.right {
			continue
		}
		ids[c.at] = t.merges[pairKey(c.left, c.right)].id
		ids[j] = -1
		next[c.at] = next[j]
		if next[j] < n {
			prev[next[j]] = c.at
		}
		consider(prev[c.at])
		consider(c.at)
	}
	out := make([]int32, 0, 16)
	for i := int32(0); i < n; i = next[i] {
		out = append(out, ids[i])
	}
	return out
}

type candidate struct{ rank, at, left, right int32 }

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.at < b.at
}

type pairHeap []candidate

func (h *pairHeap) push(c candidate) {
	*h = append(*h, c)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s[i].before(s[up]) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *pairHeap) pop() candidate {
	s := *h
	top := s[0]
	last := len(s) - 1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(s) {
			return top
		}
		if c+1 < len(s) && s[c+1].before(s[c]) {
			c++
		}
		if !s[c].before(s[i]) {
			return top
		}
		s[i], s[c] = s[c], s[i]
		i = c
	}
}
