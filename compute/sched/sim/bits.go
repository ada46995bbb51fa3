package sim

import "math/bits"

// set is a set of small numbers that finds the next member in a few steps: words of 64 and a summary of the words.
type set struct {
	words   []uint64
	summary []uint64
}

func newSet(n int) set {
	words := (n + 63) / 64
	return set{make([]uint64, words), make([]uint64, (words+63)/64)}
}

func (s *set) add(i int32) {
	s.words[i>>6] |= 1 << (i & 63)
	s.summary[i>>12] |= 1 << (i >> 6 & 63)
}

func (s *set) remove(i int32) {
	s.words[i>>6] &^= 1 << (i & 63)
	if s.words[i>>6] == 0 {
		s.summary[i>>12] &^= 1 << (i >> 6 & 63)
	}
}

// next is the least member at or above i, -1 where there is none.
func (s *set) next(i int32) int32 {
	w := int(i >> 6)
	if w >= len(s.words) {
		return -1
	}
	if rest := s.words[w] >> (i & 63); rest != 0 {
		return i + int32(bits.TrailingZeros64(rest))
	}
	w++
	for g := w >> 6; g < len(s.summary); g++ {
		rest := s.summary[g]
		if g == w>>6 {
			rest &= ^uint64(0) << (w & 63)
		}
		if rest != 0 {
			w = g<<6 + bits.TrailingZeros64(rest)
			return int32(w<<6 + bits.TrailingZeros64(s.words[w]))
		}
	}
	return -1
}
