package id

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Raw
		copy(r[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "raw"))
		back, err := ParseRaw("key_" + r.String())
		if err != nil || back != r {
			t.Fatalf("%v -> %s -> %v, %v", r, r, back, err)
		}
	})
}

func TestIdsSortByTime(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	m := &Maker{Now: func() time.Time { at = at.Add(time.Millisecond); return at }, Rand: bytes.NewReader(make([]byte, 1000))}
	prev := m.New("run")
	for range 20 {
		next := m.New("run")
		if next <= prev || !Valid("run", next) {
			t.Fatalf("%s after %s", next, prev)
		}
		prev = next
	}
}

func TestBadIds(t *testing.T) {
	for _, s := range []string{"", "run_", "run_x", "run_zzzzzzzzzzzzzzzzzzzzzzzzzz", "run_01hzzzzzzzzzzzzzzzzzzzzzi!", "../../etc/passwd"} {
		if Valid("run", s) {
			t.Errorf("%q taken for an id", s)
		}
	}
}
