package dialect

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// kindOf picks a dialect by a byte of the fuzzer's.
func kindOf(b byte) Kind { return Kinds[int(b)%len(Kinds)] }

func FuzzRequest(f *testing.F) {
	for i, d := range Kinds {
		for name := range samples[d] {
			f.Add(byte(i), sampleFor(d, name))
		}
	}
	for _, g := range goldenRequests {
		for i, d := range Kinds {
			if d == g.from {
				f.Add(byte(i), []byte(g.in))
			}
		}
	}
	f.Fuzz(func(t *testing.T, k byte, body []byte) {
		d := kindOf(k)
		r, err := ParseRequest(d, body, Call{Model: "m"})
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Unsupported) && !fault.Is(err, fault.TooLarge) {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, to := range Kinds {
			out, _, err := WriteRequest(to, r)
			if err != nil {
				if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Unsupported) {
					t.Fatalf("%v", err)
				}
				continue
			}
			if !json.Valid(out) {
				t.Fatalf("to %s: no JSON: %s", to, out)
			}
			if bytes.ContainsAny(out, "\n\r") {
				t.Fatalf("to %s: a line breaks: %q", to, out)
			}
		}
	})
}

func sampleFor(d Kind, name string) []byte { return sample(&testing.T{}, d, name) }

func FuzzStream(f *testing.F) {
	for _, g := range goldenStreams {
		for i, d := range Kinds {
			if d == g.d {
				f.Add(byte(i), byte(3), []byte(g.wire))
			}
		}
	}
	clients := clients(true)
	f.Fuzz(func(t *testing.T, k, cut byte, stream []byte) {
		d := kindOf(k)
		one, err1 := read(d, string(stream), func(left int) int { return left })
		two, err2 := read(d, string(stream), func(left int) int { return min(left, 1+int(cut)%16) })
		if (err1 == nil) != (err2 == nil) || !cmp.Equal(one, two) {
			t.Fatalf("cuts change what is read: %v %v\n%s", err1, err2, cmp.Diff(one, two))
		}
		if err1 != nil {
			if fault.As(err1).Sentence() == "" {
				t.Fatal("no sentence")
			}
			return
		}
		for _, r := range clients {
			enc := NewEncoder(r, Head{})
			var out []byte
			for _, e := range one.Events() {
				out = enc.Encode(out, e)
			}
			if _, err := read(r.From, string(out), func(left int) int { return left }); err != nil && len(one.Choices) == 1 && r.From != Completions {
				t.Fatalf("%s cannot read its own: %v\n%s", r.From, err, out)
			}
			if !json.Valid(WriteAnswer(r, one, Head{})) {
				t.Fatalf("%s: no JSON", r.From)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for i, d := range Kinds {
		r := clients(false)[d]
		f.Add(byte(i), WriteAnswer(r, &googleWant, Head{}))
		f.Add(byte(i), []byte(`{"error":{"message":"x","code":5}}`))
	}
	f.Fuzz(func(t *testing.T, k byte, body []byte) {
		d := kindOf(k)
		if fault.As(ParseError(d, 400, body)).Sentence() == "" {
			t.Fatal("no sentence")
		}
		_, _ = ParseEmbedAnswer(body, 2)
		_, _ = ParseRerankAnswer(body, 2)
		a, err := ParseAnswer(d, body)
		if err != nil {
			return
		}
		for _, r := range clients(false) {
			if !json.Valid(WriteAnswer(r, a, Head{})) {
				t.Fatalf("%s: no JSON", r.From)
			}
		}
	})
}

func FuzzScan(f *testing.F) {
	for i, d := range Kinds {
		for name := range samples[d] {
			f.Add(byte(i), sampleFor(d, name))
		}
	}
	f.Add(byte(0), []byte(`{"model":"a","stream_options":{}, "max_tokens":5}`))
	f.Fuzz(func(t *testing.T, k byte, body []byte) {
		d := kindOf(k)
		_, _ = ReadUsage(d, body, Usage{})
		_, _ = ParseEmbed(body)
		_, _ = ParseRerank(body)
		_, _ = Items(body)
		_, _ = ParseGoogleEmbedAnswer(body, 2)
		if e, _, err := ParseGoogleEmbed(body, "m"); err == nil {
			if out, _, err := WriteGoogleEmbed(e); err == nil && !json.Valid(out) {
				t.Fatalf("no JSON: %s", out)
			}
		}
		placed, err := WithFiles(d, body, func(string) (LeftFile, error) { return LeftFile{Name: "a.pdf", Data: []byte("x")}, nil })
		if err == nil && !json.Valid(placed) {
			t.Fatalf("no JSON with files: %s", placed)
		}
		if again, err2 := WithFiles(d, placed, nil); err == nil && (err2 != nil || !bytes.Equal(again, placed)) { // none is left: nothing is asked for
			t.Fatalf("a file is left in %s: %v", placed, err2)
		}
		s, err := Scan(d, body, Call{Model: "m"})
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		if _, err := Continued([]byte(`[{"type":"message","role":"user","content":"a"}]`), body); err == nil && d == Responses {
			_ = s.Leans(body)
		}
		out := Edit{Model: "b", Output: 5, Usage: true, Stream: true, Input: []byte(`["a"]`)}.Apply(d, body, s)
		now, err := Scan(d, out, Call{Model: "b", Stream: true})
		if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if d == Responses && (now.Previous != "" || gjson.GetBytes(out, "input").Raw != `["a"]`) {
			t.Fatalf("%s goes on as %s", body, out)
		}
		if now.Model != "b" || now.Output != 5 || !now.Stream || !now.Usage || now.Choices != s.Choices || now.Prompts != s.Prompts {
			t.Fatalf("%s became %s: %+v", body, out, now)
		}
	})
}
