package tokenizer

import "unicode/utf8"

// Files of byte-level tokenizers spell raw bytes as printable characters: the printable Latin-1 bytes stand for
// themselves and the rest, in order, for the characters from U+0100 on. The table is part of the file format.
var (
	byteRune [256]rune
	runeByte = map[rune]byte{}
)

func init() {
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(r >= '!' && r <= '~' || r >= 0xA1 && r <= 0xAC || r >= 0xAE && r <= 0xFF) {
			r = next
			next++
		}
		byteRune[b] = r
		runeByte[r] = byte(b)
	}
}

// spell writes raw bytes in the printable alphabet of tokenizer files.
func spell(raw []byte) string {
	out := make([]byte, 0, 2*len(raw))
	for _, b := range raw {
		out = utf8.AppendRune(out, byteRune[b])
	}
	return string(out)
}

// unspell is the inverse of spell; ok is false if s holds a character outside the alphabet.
func unspell(s string) (raw []byte, ok bool) {
	raw = make([]byte, 0, len(s))
	for _, r := range s {
		b, known := runeByte[r]
		if !known {
			return nil, false
		}
		raw = append(raw, b)
	}
	return raw, true
}

// Spell gives the printable form a token's bytes have in tokenizer.json and GGUF files.
func Spell(raw []byte) string { return spell(raw) }
