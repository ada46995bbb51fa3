package decode

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"pgregory.net/rapid"
)

// wholeText is what a choice's text must be, looked at as a whole: up to the stop string that is complete first, with
// U+FFFD for what is not UTF-8 (the standard library of text encodings being the judge).
func wholeText(raw string, stops []string) (text string, stopped bool) {
	end, cut := len(raw)+1, len(raw)
	for _, s := range stops {
		if i := strings.Index(raw, s); i >= 0 && (i+len(s) < end || (i+len(s) == end && i < cut)) {
			end, cut = i+len(s), i
		}
	}
	text, err := unicode.UTF8.NewDecoder().String(raw[:cut])
	if err != nil {
		panic(err)
	}
	return text, end <= len(raw)
}

var pieces = rapid.SampledFrom([]string{"a", "b", "ab", "aab", " ", "é", "水", "水能", "🙂", "\xf0", "\x9f", "\x99", "\x82", "\xe6", "\xb0", "\xb4",
	"\xed\xa0\x80", "\xc0", "\xff", "\uFFFD", "stop", "st"})

func TestTextDoesNotDependOnTokens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(pieces, 0, 30).Draw(rt, "text"), "")
		var stops []string
		for _, s := range rapid.SliceOfN(rapid.SliceOfN(pieces, 1, 3), 0, 4).Draw(rt, "stops") {
			if one := strings.Join(s, ""); utf8.ValidString(one) {
				stops = append(stops, one)
			}
		}
		if at := rapid.IntRange(0, len(raw)).Draw(rt, "from"); len(raw) > 0 {
			if cut := raw[at:min(len(raw), at+rapid.IntRange(1, 9).Draw(rt, "long"))]; cut != "" && utf8.ValidString(cut) {
				stops = append(stops, cut) // one that does occur
			}
		}
		want, wantStopped := wholeText(raw, stops)

		var patterns []stopPattern
		for _, s := range stops {
			patterns = append(patterns, newStopPattern(s))
		}
		state := newTextState(patterns)
		var got []byte
		stopped := false
		for rest := []byte(raw); len(rest) > 0 && !stopped; {
			n := rapid.IntRange(1, min(5, len(rest))).Draw(rt, "token")
			var piece []byte
			piece, stopped = state.push(nil, rest[:n])
			if !utf8.Valid(piece) {
				rt.Fatalf("not whole characters: %q", piece)
			}
			got, rest = append(got, piece...), rest[n:]
		}
		if !stopped {
			got = state.flush(got)
		}
		if string(got) != want || stopped != wantStopped {
			rt.Fatalf("%q with stops %q: got %q (%v), want %q (%v)", raw, stops, got, stopped, want, wantStopped)
		}
	})
}

func TestTextIsHeldNoLongerThanNeeded(t *testing.T) {
	state := newTextState([]stopPattern{newStopPattern("END"), newStopPattern("水能")})
	for _, step := range []struct{ token, text string }{
		{"abc", "abc"}, {"E", ""}, {"N", ""}, {"x", "ENx"}, {"EEN", "E"}, {" ", "EN "}, {"\xe6", ""}, {"\xb0\xb4", ""}, {"!", "水!"},
		{"\xf0\x9f", ""}, {"\x99\x82", "🙂"}, {"\xff", "\uFFFD"}, {"\xe6\xb0", ""}, {"z", "\uFFFDz"}, {"xEND", "x"},
	} {
		got, _ := state.push(nil, []byte(step.token))
		if string(got) != step.text {
			t.Fatalf("after %q: %q, want %q", step.token, got, step.text)
		}
	}
	for _, stops := range [][2]string{{"ab", "b"}, {"b", "ab"}} { // of those completed at once, the longest
		state = newTextState([]stopPattern{newStopPattern(stops[0]), newStopPattern(stops[1])})
		if got, stopped := state.push(nil, []byte("xabc")); string(got) != "x" || !stopped {
			t.Errorf("stops %q in xabc: %q, %v", stops, got, stopped)
		}
	}
	state = newTextState(nil)
	got, _ := state.push(nil, []byte("\xe6\xb0"))
	if got = state.flush(got); !bytes.Equal(got, []byte("\uFFFD")) {
		t.Errorf("an unfinished character at the end gave %q", got)
	}
}
