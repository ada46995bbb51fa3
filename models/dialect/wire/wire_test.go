package wire

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestWhatIsNotOneObjectIsRefused(t *testing.T) {
	for _, s := range []string{"", "null", "[]", "5", `{"a":1} {}`, `{"a":1`, "{\"a\":\"\xff\"}", `{"a":01}`, `{"a":NaN}`, `{'a':1}`,
		`{"a":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + "}", strings.Repeat("[", 1<<20)} {
		doc, o := Parse([]byte(s))
		if !fault.Is(doc.Err(), fault.Invalid) || o.Has("a") {
			t.Errorf("%.40q is taken: %v", s, doc.Err())
		}
	}
}

func TestNamesThereTwice(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = `"k` + string(rune('\u0100'+i)) + `":1`
	}
	for _, c := range []struct {
		body   string
		folded bool
	}{{`{"a":1,"a":2}`, false}, {`{"a":1,"\u0061":null}`, false}, {`{"max_tokens":1,"maxTokens":1}`, true}, {"{" + strings.Join(many, ",") + `,"kĂ":2}`, false}} {
		doc, _ := Parse([]byte(c.body))
		if c.folded {
			doc, _ = ParseFolded([]byte(c.body))
		}
		if !fault.Is(doc.Err(), fault.Invalid) || !strings.Contains(doc.Err().Error(), "twice") {
			t.Errorf("%s: %v", c.body, doc.Err())
		}
	}
	doc, o := Parse([]byte(`{"a":{"x":1,"x":2}}`)) // not looked into
	if doc.Err() != nil || string(o.Raw("a")) != `{"x":1,"x":2}` {
		t.Error(doc.Err())
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]int64{"5": 5, "-3": -3, "1.0": 1, "1e3": 1000, "9223372036854775807": 1<<63 - 1} {
		doc, o := Parse([]byte(`{"n":` + text + `}`))
		if n := o.Int("n", -1<<63, 1<<63-1); doc.Err() != nil || n == nil || *n != want {
			t.Errorf("%s: %v %v", text, n, doc.Err())
		}
	}
	for _, text := range []string{"1.5", "1e400", "9223372036854775808", `"5"`, "true", "1e20"} {
		doc, o := Parse([]byte(`{"n":` + text + `}`))
		if n := o.Int("n", -1<<63, 1<<63-1); doc.Err() == nil {
			t.Errorf("%s is taken for %v", text, n)
		}
	}
	if doc, o := Parse([]byte(`{"n":1e999}`)); o.Num("n", -1, 1) == nil && doc.Err() == nil {
		t.Error("a number out of range")
	}
}

func TestRestIsWhatNobodyRead(t *testing.T) {
	doc, o := Parse([]byte("{\"a\":1,\"b\":null,\"c\":{ \"x\" :\n[1] },\"d\":2}"))
	if n := o.Int("d", 0, 9); *n != 2 || doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	if d := cmp.Diff([]Member{{"a", []byte("1")}, {"c", []byte(`{"x":[1]}`)}}, o.Rest()); d != "" {
		t.Error(d)
	}
}

func TestTextsAreWrittenAsTheyAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var back string
		if err := json.Unmarshal(AppendText(nil, s), &back); err != nil || back != strings.ToValidUTF8(s, "\uFFFD") {
			t.Fatalf("%q %q %v", s, back, err)
		}
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
		if b := AppendText(nil, string(raw)); !json.Valid(b) {
			t.Fatalf("%q", b)
		}
	})
}

// events of a stream, and how they are written.
func TestEventsWhereverTheyAreCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.StringMatching(`[a-z :]{0,6}`)
		end := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "end")
		var stream string
		var want []string
		for range rapid.IntRange(0, 5).Draw(t, "events") {
			name, a, b := rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "name"), line.Draw(t, "a"), line.Draw(t, "b")
			stream += ": comment" + end
			if name != "" {
				stream += "event: " + name + end
			}
			stream += "data: " + a + end + "data: " + b + end + "id: 5" + end + end
			want = append(want, name+"|"+a+"\n"+b)
		}
		if rapid.Bool().Draw(t, "bom") {
			stream = "\uFEFF" + stream
		}
		var got []string
		emit := func(event string, data []byte) error { got = append(got, event+"|"+string(data)); return nil }
		s := NewSSE(1 << 10)
		for len(stream) > 0 {
			n := rapid.IntRange(1, len(stream)).Draw(t, "n")
			if err := s.Feed([]byte(stream[:n]), emit); err != nil {
				t.Fatal(err)
			}
			stream = stream[n:]
		}
		if err := s.End(emit); err != nil || !cmp.Equal(got, want) {
			t.Fatalf("%q, not %q: %v", got, want, err)
		}
	})
}

func TestElementsComeAtOnce(t *testing.T) {
	var got []string
	emit := func(_ string, data []byte) error { got = append(got, string(data)); return nil }
	s := NewElements(64)
	for _, piece := range []string{" [", `{"a":"]},{\""`, `}`, " \n,", `{"b":[1]}`} {
		if err := s.Feed([]byte(piece), emit); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{`{"a":"]},{\""}`, `{"b":[1]}`}; !cmp.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	if err := s.End(emit); err == nil {
		t.Error("half an array passes for whole")
	}
	if err := s.Feed([]byte("]\n"), emit); err != nil || s.End(emit) != nil {
		t.Error("a whole array does not")
	}
	if err := s.Feed([]byte("x"), emit); err == nil {
		t.Error("something after the array")
	}
}
