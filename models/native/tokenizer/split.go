package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// The regular expressions of the splitters below, as they stand in tokenizer.json files. Ours is GPT-2's with Han
// characters and numbers isolated one by one; it uses only what Oniguruma, PCRE-like engines and JavaScript read
// alike, and spells the Han ranges out so that no engine's Unicode version matters for them.
const (
	hanClass = "\u3005\u303B\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0003FFFD"

	regexTriarch = `'s|'t|'re|'ve|'m|'ll|'d|[` + hanClass + `]|\p{N}| ?[^\P{L}` + hanClass + `]+| ?[^\s\p{L}\p{N}` + hanClass + `]+|\s+(?!\S)|\s+`
	regexGPT2    = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	regexLlama3  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	regexQwen2   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// splitter gives the end of the piece of s that starts at i; i < len(s), the answer is above i.
type splitter func(s string, i int) int

// Classes of characters. An invalid byte counts as one character of class other.
const (
	other = iota
	space
	letter
	number
	han // in the Han ranges of our expression, assigned or not; only in ownClasses
)

const tableSize = 0x20000

// classes holds the classes of the first two planes, where nearly all text lies.
type classes struct {
	of    func(rune) uint8
	table [tableSize]uint8
}

// ownClasses tells Han from other letters, plainClasses does not: the expressions of others know no Han.
var (
	ownClasses   = sync.OnceValue(func() *classes { return tabulate(ownClass) })
	plainClasses = sync.OnceValue(func() *classes { return tabulate(plainClass) })
)

func tabulate(of func(rune) uint8) *classes {
	c := &classes{of: of}
	for r := range rune(tableSize) {
		c.table[r] = of(r)
	}
	return c
}

func ownClass(r rune) uint8 {
	if r >= 0x4E00 && r <= 0x9FFF || r >= 0x3400 && r <= 0x4DBF || r >= 0xF900 && r <= 0xFAFF ||
		r >= 0x20000 && r <= 0x3FFFD || r == 0x3005 || r == 0x303B {
		return han
	}
	return plainClass(r)
}

func plainClass(r rune) uint8 {
	switch {
	case unicode.Is(unicode.White_Space, r):
		return space
	case unicode.Is(unicode.L, r):
		return letter
	case unicode.Is(unicode.N, r):
		return number
	}
	return other
}

// at gives class and width of the character of s at i; width 0 at the end.
func (t *classes) at(s string, i int) (class uint8, width int) {
	if i >= len(s) {
		return other, 0
	}
	if s[i] < utf8.RuneSelf {
		return t.table[s[i]], 1
	}
	r, w := utf8.DecodeRuneInString(s[i:])
	switch {
	case w == 1:
		return other, 1
	case r < tableSize:
		return t.table[r], w
	}
	return t.of(r), w
}

// run gives the end of the longest stretch of one class from i on.
func (t *classes) run(s string, i int, class uint8) int {
	for {
		c, w := t.at(s, i)
		if w == 0 || c != class {
			return i
		}
		i += w
	}
}

// contraction gives the length of an English contraction of s at i ('s 't 're 've 'm 'll 'd), 0 for none.
// With fold letters match in either case; the long s folds to s, as it does in regular expressions.
func contraction(s string, i int, fold bool) int {
	if s[i] != '\'' || i+1 >= len(s) {
		return 0
	}
	a := lower(s[i+1], fold)
	switch a {
	case 's', 't', 'm', 'd':
		return 2
	}
	if fold && len(s) >= i+3 && s[i+1:i+3] == "\u017F" {
		return 3
	}
	if i+2 >= len(s) {
		return 0
	}
	b := lower(s[i+2], fold)
	if (a == 'r' || a == 'v') && b == 'e' || a == 'l' && b == 'l' {
		return 3
	}
	return 0
}

func lower(b byte, fold bool) byte {
	if fold && b >= 'A' && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// spaces ends a piece of white space at i as `\s+(?!\S)|\s+` does: before other text the last space is left out,
// unless it is the only one.
func (t *classes) spaces(s string, i int) int {
	end, last := i, i
	for {
		c, w := t.at(s, end)
		if w == 0 {
			return end
		}
		if c != space {
			break
		}
		last = end
		end += w
	}
	if last > i {
		return last
	}
	return end
}

// splitGPT2 is regexGPT2.
func splitGPT2(s string, i int) int {
	if n := contraction(s, i, false); n > 0 {
		return i + n
	}
	t := plainClasses()
	j := i
	c, w := t.at(s, i)
	if s[i] == ' ' {
		if c2, w2 := t.at(s, i+1); w2 > 0 && c2 != space {
			c, w, j = c2, w2, i+1
		}
	}
	switch c {
	case space:
		return t.spaces(s, i)
	}
	return t.run(s, j+w, c)
}

// splitTriarch is regexTriarch.
func splitTriarch(s string, i int) int {
	if n := contraction(s, i, false); n > 0 {
		return i + n
	}
	t := ownClasses()
	j := i
	c, w := t.at(s, i)
	if s[i] == ' ' {
		if c2, w2 := t.at(s, i+1); w2 > 0 && (c2 == letter || c2 == other) {
			c, w, j = c2, w2, i+1
		}
	}
	switch c {
	case space:
		return t.spaces(s, i)
	case han, number:
		return j + w
	}
	return t.run(s, j+w, c)
}

// splitLlama3 is regexLlama3.
func splitLlama3(s string, i int) int { return splitModern(s, i, 3) }

// splitQwen2 is regexQwen2.
func splitQwen2(s string, i int) int { return splitModern(s, i, 1) }

func splitModern(s string, i, digits int) int {
	if n := contraction(s, i, true); n > 0 {
		return i + n
	}
	t := plainClasses()
	c, w := t.at(s, i)
	c2, w2 := t.at(s, i+w)
	nextLetter := w2 > 0 && c2 == letter
	switch {
	case c == letter:
		return t.run(s, i, letter)
	case c == number:
		end := i + w
		for n := 1; n < digits; n++ {
			if c, w := t.at(s, end); w > 0 && c == number {
				end += w
			}
		}
		return end
	case nextLetter && s[i] != '\r' && s[i] != '\n':
		return t.run(s, i+w, letter)
	case c == other:
		return newlines(s, t.run(s, i, other))
	case s[i] == ' ' && w2 > 0 && c2 == other:
		return newlines(s, t.run(s, i+1, other))
	}
	return t.modernSpaces(s, i)
}

func newlines(s string, i int) int {
	for i < len(s) && (s[i] == '\r' || s[i] == '\n') {
		i++
	}
	return i
}

// modernSpaces is `\s*[\r\n]+|\s+(?!\S)|\s+`: white space up to its last line break, if it has one.
func (t *classes) modernSpaces(s string, i int) int {
	end, last := i, -1
	for {
		c, w := t.at(s, end)
		if w == 0 || c != space {
			break
		}
		if s[end] == '\r' || s[end] == '\n' {
			last = end
		}
		end += w
	}
	if last >= 0 {
		return last + 1
	}
	return t.spaces(s, i)
}

// splitDigits isolates each number character and leaves the text between as it is.
func splitDigits(s string, i int) int {
	t := plainClasses()
	for j := i; ; {
		c, w := t.at(s, j)
		switch {
		case w == 0 || c == number && j > i:
			return j
		case c == number:
			return j + w
		}
		j += w
	}
}

// pieces calls f with every piece of s under a chain of splitters, each splitting the pieces of the one before.
func pieces(s string, chain []splitter, f func(piece string)) {
	if len(chain) == 0 {
		f(s)
		return
	}
	for i := 0; i < len(s); {
		end := chain[0](s, i)
		if len(chain) == 1 {
			f(s[i:end])
		} else {
			pieces(s[i:end], chain[1:], f)
		}
		i = end
	}
}
