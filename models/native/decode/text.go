package decode

import "unicode/utf8"

// stopPattern is one stop string with the failure table of Knuth, Morris and Pratt, so that it is found in a
// stream of bytes whatever the tokens cut it into.
type stopPattern struct {
	text []byte
	fail []int32 // fail[i]: length of the longest proper prefix of text that ends text[:i+1]
}

func newStopPattern(s string) stopPattern {
	p := stopPattern{text: []byte(s), fail: make([]int32, len(s))}
	for i, k := 1, int32(0); i < len(s); i++ {
		for k > 0 && s[i] != s[k] {
			k = p.fail[k-1]
		}
		if s[i] == s[k] {
			k++
		}
		p.fail[i] = k
	}
	return p
}

// step advances a match of length k by one byte.
func (p *stopPattern) step(k int32, c byte) int32 {
	if int(k) == len(p.text) { // not reached in use: a full match ends the text
		k = p.fail[k-1]
	}
	for k > 0 && p.text[k] != c {
		k = p.fail[k-1]
	}
	if p.text[k] == c {
		k++
	}
	return k
}

// textState turns the bytes of one choice's tokens into text: it holds back what may become a stop string and what
// is not yet a whole character, replaces each maximal invalid run with U+FFFD, and ends at the first stop string to
// be completed (of several completed by the same byte, the longest). What comes out in sum does not depend on how
// the bytes were cut into tokens.
type textState struct {
	stops []stopPattern
	state []int32 // length matched of each stop
	held  []byte
}

func newTextState(stops []stopPattern) textState {
	return textState{stops: stops, state: make([]int32, len(stops)), held: make([]byte, 0, 64)}
}

// push appends to dst the text that token bytes b set free; stopped says that a stop string was completed, after
// which nothing more may be pushed.
func (t *textState) push(dst, b []byte) (out []byte, stopped bool) {
	for _, c := range b {
		t.held = append(t.held, c)
		longest := 0
		for i := range t.stops {
			t.state[i] = t.stops[i].step(t.state[i], c)
			if n := len(t.stops[i].text); int(t.state[i]) == n {
				longest = max(longest, n)
			}
		}
		if longest > 0 {
			dst, _ = appendText(dst, t.held[:len(t.held)-longest], true)
			t.held = t.held[:0]
			return dst, true
		}
	}
	keep := 0
	for _, k := range t.state {
		keep = max(keep, int(k))
	}
	dst, n := appendText(dst, t.held[:len(t.held)-keep], false)
	t.held = t.held[:copy(t.held, t.held[n:])]
	return dst, false
}

// flush appends what is still held back: the choice has ended without completing a stop string.
func (t *textState) flush(dst []byte) []byte {
	dst, _ = appendText(dst, t.held, true)
	t.held = t.held[:0]
	return dst
}

// appendText appends the characters of b to dst and says how many bytes it used. An incomplete character at the end
// is left unless this is the end; invalid bytes become one U+FFFD for each maximal part of a character, as the
// Unicode standard recommends (section 3.9) and the Hugging Face decoders do.
func appendText(dst, b []byte, end bool) ([]byte, int) {
	used := 0
	for used < len(b) {
		rest := b[used:]
		if rest[0] < utf8.RuneSelf {
			dst = append(dst, rest[0])
			used++
			continue
		}
		r, n := utf8.DecodeRune(rest)
		if r != utf8.RuneError || n > 1 {
			dst = append(dst, rest[:n]...)
			used += n
			continue
		}
		if !utf8.FullRune(rest) && !end {
			break
		}
		n = 1
		for n < len(rest) && n < utf8.UTFMax && !utf8.FullRune(rest[:n+1]) {
			n++
		}
		dst = utf8.AppendRune(dst, utf8.RuneError)
		used += n
	}
	return dst, used
}
