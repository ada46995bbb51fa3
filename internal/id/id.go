// Package id makes the identifiers of everything Triarch stores: a short noun, an underscore and 26 characters
// of Crockford base 32 over 48 bits of milliseconds and 80 random bits (the ULID layout), so that ids sort by
// time, need no coordination and fit a fixed 16-byte field of the ledger.
package id

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// Raw is an id without its noun: the fixed-size form for binary records.
type Raw [16]byte

// Maker makes ids from a clock and a source of randomness, both of which tests replace.
type Maker struct {
	Now  func() time.Time
	Rand io.Reader
	mu   sync.Mutex
	few  [64 * fresh]byte // read ahead of the system's source
	left int              // of few
}

const fresh = 10 // random bytes of an id

// Default is the Maker of running programs: wall clock and the operating system's randomness.
func Default() *Maker { return &Maker{Now: time.Now, Rand: rand.Reader} }

// New returns noun_ followed by a fresh id. It panics if the source of randomness fails, since no program can
// go on safely without one.
func (m *Maker) New(noun string) string { return m.Raw().Named(noun) }

// Raw returns a fresh id without a noun.
func (m *Maker) Raw() Raw {
	var r Raw
	binary.BigEndian.PutUint64(r[:8], uint64(m.Now().UnixMilli())<<16)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		n := len(m.few)
		if m.Rand != rand.Reader { // a test's, which may count them
			n = fresh
		}
		if _, err := io.ReadFull(m.Rand, m.few[len(m.few)-n:]); err != nil {
			panic("id: no randomness: " + err.Error())
		}
		m.left = n
	}
	copy(r[6:], m.few[len(m.few)-m.left:])
	m.left -= fresh
	return r
}

// String is the 26-character form.
func (r Raw) String() string {
	var out [length]byte
	r.write(&out)
	return string(out[:])
}

// Named is String behind a noun and an underscore.
func (r Raw) Named(noun string) string {
	var out [length]byte
	r.write(&out)
	var b [48]byte
	return string(append(append(append(b[:0], noun...), '_'), out[:]...))
}

const length = 26

func (r Raw) write(out *[length]byte) {
	hi, lo := binary.BigEndian.Uint64(r[:8]), binary.BigEndian.Uint64(r[8:])
	for i := length - 1; i >= 0; i-- {
		out[i] = alphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
}

// ParseRaw reads the 26-character form, with or without a noun before it.
func ParseRaw(s string) (Raw, error) {
	if i := strings.LastIndexByte(s, '_'); i >= 0 {
		s = s[i+1:]
	}
	var r Raw
	if len(s) != 26 || s[0] > '7' {
		return r, fmt.Errorf("id: %q is not an id", s)
	}
	var hi, lo uint64
	for i := range len(s) {
		v := digits[s[i]]
		if v == 0 {
			return r, fmt.Errorf("id: %q is not an id", s)
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v-1)
	}
	binary.BigEndian.PutUint64(r[:8], hi)
	binary.BigEndian.PutUint64(r[8:], lo)
	return r, nil
}

// digits are the values of the alphabet's bytes, plus one; 0 is no digit.
var digits = func() (t [256]uint8) {
	for i := range len(alphabet) {
		t[alphabet[i]] = uint8(i + 1)
	}
	return t
}()

// Valid says whether s is noun_ followed by a well-formed id.
func Valid(noun, s string) bool {
	rest, ok := strings.CutPrefix(s, noun+"_")
	if !ok || strings.Contains(rest, "_") {
		return false
	}
	_, err := ParseRaw(rest)
	return err == nil
}
