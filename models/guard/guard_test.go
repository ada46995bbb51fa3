package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/seal"
)

func TestVerdicts(t *testing.T) {
	for text, want := range map[string]*Verdict{
		`{"verdict":"allow"}`: {},
		`{"verdict":"refuse","reason":"bad\nword","categories":["S1","hate"]}`: {Refused: true, Reason: "bad word", Categories: []string{"S1", "hate"}},
		`{"verdict":"mask"}`:  {Refused: true, Masks: true},
		`{"verdict":"ALLOW"}`: nil, `{"verdict":true}`: nil, `{"verdict":"allow"`: nil, `[]`: nil, `"allow"`: nil, ``: nil, `{}`: nil,
		`{"results":[{"flagged":false,"categories":{"hate":false}}]}`: {},
		`{"results":[{"flagged":false},{"flagged":true,"categories":{"hate":true,"violence":false},"category_scores":{"hate":0.9,"x":7}}]}`: {Refused: true,
			Categories: []string{"hate"}, Scores: map[string]float64{"hate": 0.9, "x": 1}},
		`{"results":[]}`: nil, `{"results":[{"flagged":"no"}]}`: nil, `{"results":[{}]}`: nil, `{"flagged":true}`: {Refused: true},
	} {
		v, err := Parse([]byte(text))
		if (err == nil) != (want != nil) || want != nil && !cmp.Equal(v, *want) {
			t.Errorf("%s: %+v, %v", text, v, err)
		}
	}
	if _, err := Parse([]byte(`{"verdict":"allow","reason":"` + strings.Repeat("x", maxVerdict) + `"}`)); err == nil {
		t.Error("an endless verdict is one")
	}
}

func TestWordsOfModels(t *testing.T) {
	for text, want := range map[string]*Verdict{
		"safe": {}, "\n\nsafe\n": {}, "Safe.": {}, "unsafe": {Refused: true}, "unsafe\nS1,S3": {Refused: true, Categories: []string{"S1", "S3"}},
		"unsafe\nS1, S3\nS4": {Refused: true, Categories: []string{"S1", "S3", "S4"}}, "safe to say that this is wrong": nil, "": nil,
		"safe\nunless you mean it": nil, "I cannot judge that.": nil, "unsafest": nil, "not safe": nil,
		` {"flagged":true}`: {Refused: true}, `{"verdict":"allow"}`: {}, `{"safe":true}`: nil,
	} {
		v, err := ParseWords(text)
		if (err == nil) != (want != nil) || want != nil && !cmp.Equal(v, *want) {
			t.Errorf("%q: %+v, %v", text, v, err)
		}
	}
}

// What a judge sends is a verdict within bounds or an error.
func FuzzVerdicts(f *testing.F) {
	f.Add([]byte(`{"verdict":"refuse","categories":["a"]}`))
	f.Add([]byte("unsafe\nS1,S2"))
	f.Add([]byte(`{"results":[{"flagged":true,"categories":{"a":true}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func() (Verdict, error){func() (Verdict, error) { return Parse(b) }, func() (Verdict, error) { return ParseWords(string(b)) }} {
			v, err := read()
			if err != nil && (v.Refused || v.Reason != "") {
				t.Errorf("an error with a verdict: %+v", v)
			}
			if len(v.Reason) > maxReason || len(v.Categories) > maxCategories || !utf8.ValidString(v.Reason) || v.Masks && !v.Refused {
				t.Errorf("out of bounds: %+v", v)
			}
			if err == nil {
				if _, err := WriteModeration("x", "m", []Verdict{v}); err != nil {
					t.Error(err)
				}
			}
		}
		_, _ = Prompt(b)
		_, _ = Answer(b)
		Delta(b, func(int, string) {})
	})
}

// The text of a request is all that a model may be shown of it, in every dialect, and not the words of the dialect.
func TestPrompts(t *testing.T) {
	for name, body := range map[string]string{
		"chat": `{"model":"NO","user":"NO","metadata":{"a":"NO"},"messages":[{"role":"system","content":"ONE"},{"role":"user","name":"TWO","content":[{"type":"text","text":"THREE"},{"type":"image_url","image_url":{"url":"data:image/png;base64,NONO"}}]},
			{"role":"assistant","tool_calls":[{"id":"NO","type":"function","function":{"name":"FOUR","arguments":"{\"a\":\"FIVE\"}"}}]},{"role":"tool","tool_call_id":"NO","content":"SIX"}],"tools":[{"type":"function","function":{"name":"SEVEN","description":"EIGHT","parameters":{"type":"NINE"}}}]}`,
		"completions": `{"model":"NO","prompt":["ONE","TWO THREE"],"suffix":"FOUR FIVE SIX SEVEN EIGHT NINE"}`,
		"anthropic":   `{"model":"NO","system":[{"type":"text","text":"ONE"}],"messages":[{"role":"user","content":"TWO"},{"role":"assistant","content":[{"type":"tool_use","id":"NO","name":"THREE","input":{"id":"FOUR","FIVE":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"NO","content":"SIX SEVEN EIGHT NINE"},{"type":"image","source":{"type":"base64","media_type":"NO","data":"data:NO"}}]}]}`,
		"google":      `{"systemInstruction":{"parts":[{"text":"ONE"}]},"contents":[{"role":"user","parts":[{"text":"TWO"},{"inlineData":{"mimeType":"NO","data":"data:NO"}}]},{"role":"model","parts":[{"functionCall":{"name":"THREE","args":{"type":"FOUR","role":"FIVE SIX SEVEN EIGHT NINE"}}}]}]}`,
		"responses":   `{"model":"NO","instructions":"ONE","previous_response_id":"NO","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE"}]}]}`,
		"rerank":      `{"model":"NO","query":"ONE TWO THREE","documents":["FOUR FIVE","SIX SEVEN EIGHT NINE"]}`,
	} {
		text, ok := Prompt(nil, []byte(body))
		if !ok || strings.Contains(text, "NO\n") || strings.HasSuffix(text, "NO") {
			t.Errorf("%s: %v %q", name, ok, text)
		}
		at := 0
		for _, word := range []string{"ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"} {
			i := strings.Index(text[at:], word)
			if i < 0 {
				t.Errorf("%s: no %s in its place in %q", name, word, text)
				break
			}
			at += i
		}
	}
	for _, body := range []string{`{"prompt":[1,2,3]}`, `{"prompt":[[1,2],[3]]}`, `{"input":[7]}`, `{"messages":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`} {
		if _, ok := Prompt([]byte(body)); ok {
			t.Errorf("%.40s can be judged", body)
		}
	}
}

// Whatever a model says in an answer is found, wherever an extension puts it; the words of the dialect are not.
func TestAnswers(t *testing.T) {
	for body, want := range map[string]string{
		`{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"A","reasoning_details":[{"text":"B"}],"tool_calls":[{"id":"i","type":"function","function":{"name":"C","arguments":"D"}}]},"logprobs":{"content":[{"token":"x"}]},"finish_reason":"stop"}],"usage":{"x":"y"}}`: "A\nB\nC\nD",
		`{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"A","signature":"s"},{"type":"tool_use","id":"x","name":"B","input":{"id":"C"}}],"stop_reason":"end_turn","stop_sequence":"D"}`:                                                                                             "A\nB\nid\nC\nD",
		`{"candidates":[{"content":{"parts":[{"text":"A","thoughtSignature":"s"},{"functionCall":{"name":"B","args":{"type":"C"}}}],"role":"model"},"finishReason":"STOP"}],"modelVersion":"m"}`:                                                                                                                                        "A\nB\ntype\nC",
		`{"id":"r","object":"response","status":"completed","instructions":"no","tools":[{"name":"no"}],"model":"m","output":[{"type":"message","id":"i","role":"assistant","content":[{"type":"output_text","text":"A"}]},{"type":"function_call","call_id":"c","name":"B","arguments":"C"}]}`:                                         "A\nB\nC",
	} {
		if got, ok := Answer([]byte(body)); !ok || got != want {
			t.Errorf("%q, want %q of %s", got, want, body)
		}
	}
	said := map[int]string{}
	Delta([]byte(`{"choices":[{"index":1,"delta":{"content":"A"}},{"index":0,"delta":{"content":"B"}}],"extra":"C"}`), func(i int, s string) { said[i] += s })
	if diff := cmp.Diff(map[int]string{1: "A", 0: "BC"}, said); diff != "" {
		t.Error(diff)
	}
}

// Parts have all of a text, each but the first begins within the one before, and none cuts a character.
func TestParts(t *testing.T) {
	rapid.Check(t, func(x *rapid.T) {
		var b strings.Builder
		gap := rapid.SampledFrom([]string{"a", "é", "漢", "😀x"}).Draw(x, "s")
		for i := range rapid.IntRange(0, 15_000).Draw(x, "n") {
			b.WriteString(strconv.Itoa(i) + gap) // no two parts are alike
		}
		text := b.String()
		at := 0
		for _, p := range Parts(text) {
			if len(p) > partSize || !utf8.ValidString(p) {
				x.Fatalf("%d bytes", len(p))
			}
			i := strings.Index(text[max(0, at-overlap-4):], p)
			if i < 0 {
				x.Fatal("not of the text")
			}
			at = max(at, max(0, at-overlap-4)+i+len(p))
		}
		if at != len(text) {
			x.Fatalf("%d of %d bytes", at, len(text))
		}
	})
}

func TestChanges(t *testing.T) {
	is := func(s string) *string { return &s }
	yes := true
	p, key, err := (&Change{URL: is("https://judge.example"), Key: is(" a-secret-of-enough-bytes\n")}).Over(Policy{})
	if err != nil || key != "a-secret-of-enough-bytes" || p.When() != Both || p.Hint != "ytes" || !p.On() {
		t.Fatalf("%+v %q %v", p, key, err)
	}
	p.Sealed = "sealed"
	if q, _, err := (&Change{Open: &yes, When: is("after")}).Over(p); err != nil || q.Sealed == "" || !q.Open || q.Before || !q.After {
		t.Errorf("%+v %v", q, err)
	}
	if q, _, err := (&Change{URL: is("https://elsewhere.example")}).Over(p); err != nil || q.Sealed != "" || q.Hint != "" {
		t.Errorf("another address gets the key: %+v %v", q, err)
	}
	if q, _, err := (&Change{Model: is("judge")}).Over(p); err != nil || q.URL != "" || q.Sealed != "" {
		t.Errorf("%+v %v", q, err)
	}
	if q, _, err := (&Change{Model: is("")}).Over(p); err != nil || q != (Policy{}) {
		t.Errorf("%+v %v", q, err)
	}
	if q, _, err := (*Change)(nil).Over(p); err != nil || q != p {
		t.Errorf("%+v %v", q, err)
	}
	for name, c := range map[string]Change{
		"both": {URL: is("https://a.example"), Model: is("b")}, "nobody": {Open: &yes}, "plain": {URL: is("http://a.example")}, "inner": {URL: is("https://10.0.0.1")},
		"when": {Model: is("m"), When: is("never")}, "a model's key": {Model: is("m"), Key: is("k")}, "a bad key": {URL: is("https://a.example"), Key: is("a b")},
		"form": {URL: is("https://a.example"), Form: is("x")}, "piece": {Model: is("m"), Piece: new(int)}, "time": {Model: is("m"), WaitMS: new(int)},
	} {
		if c.Piece != nil {
			*c.Piece = 3
		}
		if c.WaitMS != nil {
			*c.WaitMS = 1 << 20
		}
		if _, _, err := c.Over(Policy{}); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An outside judge is asked in the contract, with the key opened, and follows no redirect; nothing of it can make more
// than an error.
func TestClient(t *testing.T) {
	box, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize), bytes.NewReader(bytes.Repeat([]byte("nonce-nonce-"), 9)))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := box.Seal(Purpose("rte_1"), []byte("the-key"))
	if err != nil {
		t.Fatal(err)
	}
	var got, bearer string
	elsewhere := 0
	mux := http.NewServeMux()
	mux.HandleFunc("/judge", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, bearer = string(b), r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{"verdict":"refuse","reason":"no"}`))
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/allow", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/allow", func(w http.ResponseWriter, _ *http.Request) {
		elsewhere++
		_, _ = w.Write([]byte(`{"verdict":"allow"}`))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"verdict":"allow","reason":"`))
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that nobody waits
		<-r.Context().Done()
	})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	s := httptest.NewServer(mux)
	defer s.Close()
	c := &Client{Box: box}
	defer c.Close()
	judge := func(p Policy) (Verdict, error) {
		p.WaitMS = 200
		return c.Judge(context.Background(), "rte_1", &p, &Ask{When: After, Request: "req_1", Project: "prj_1", Model: "m", Prompt: "ask", Text: "say", Part: 2, Last: true})
	}
	v, err := judge(Policy{URL: s.URL + "/judge", Private: true, Sealed: sealed})
	if err != nil || !v.Refused || v.Reason != "no" || bearer != "Bearer the-key" {
		t.Errorf("%+v %v %q", v, err, bearer)
	}
	if want := `{"when":"after","request":"req_1","project":"prj_1","model":"m","text":"say","prompt":"ask","part":2,"last":true}`; got != want {
		t.Errorf("asked %s", got)
	}
	if _, err := judge(Policy{URL: s.URL + "/judge", Private: true, Form: Moderation}); err != nil || got != `{"input":"say"}` {
		t.Errorf("asked %s, %v", got, err)
	}
	for name, p := range map[string]Policy{
		"redirects": {URL: s.URL + "/redirect", Private: true}, "endless": {URL: s.URL + "/endless", Private: true}, "silent": {URL: s.URL + "/silent", Private: true},
		"broken": {URL: s.URL + "/broken", Private: true}, "nobody": {URL: "http://127.0.0.1:1", Private: true}, "inner": {URL: strings.Replace(s.URL, "http:", "https:", 1) + "/judge"},
		"another's key": {URL: s.URL + "/judge", Private: true, Sealed: sealed + "x"},
	} {
		began := time.Now()
		v, err := judge(p)
		if !fault.Is(err, fault.Unavailable) || fault.As(err).Code != "guard_unavailable" || v.Refused || strings.Contains(err.Error(), "the-key") {
			t.Errorf("%s: %+v %v after %v", name, v, err, time.Since(began))
		}
	}
	if elsewhere != 0 {
		t.Error("a redirect was followed")
	}
}

func TestModerations(t *testing.T) {
	for body, want := range map[string][]string{
		`{"input":"a"}`: {"a"}, `{"input":["a","b"],"model":"m"}`: {"a", "b"}, `{"input":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`: {"a\nb"},
		`{"input":[]}`: nil, `{"input":7}`: nil, `{}`: nil, `[]`: nil, `{"input":[{"type":"image_url","image_url":{"url":"x"}}]}`: nil, `{"input":"a","model":7}`: nil,
		`{"input":[` + strings.Repeat(`"x",`, MaxInputs) + `"x"]}`: nil,
	} {
		_, got, err := ParseModeration([]byte(body))
		if (err == nil) != (want != nil) || !cmp.Equal(got, want) && err == nil {
			t.Errorf("%s: %v %v", body, got, err)
		}
	}
	b, err := WriteModeration("1", "judge", []Verdict{{}, {Refused: true, Categories: []string{"S10", "own"}, Scores: map[string]float64{"hate": 0.5}}})
	if err != nil || !json.Valid(b) {
		t.Fatal(err)
	}
	x := gjson.ParseBytes(b)
	if x.Get("results.0.flagged").Bool() || len(x.Get("results.0.categories").Map()) != 13 || !x.Get("results.1.flagged").Bool() || !x.Get("results.1.categories.hate").Bool() ||
		!x.Get("results.1.categories.own").Bool() || x.Get("results.1.categories.violence").Bool() || x.Get("results.1.category_scores.hate").Num != 0.5 || x.Get("model").Str != "judge" {
		t.Errorf("%s", b)
	}
}

// What is no text at all, as a hostile caller sends it, is parted like any other.
func TestPartsOfWhatIsNoText(t *testing.T) {
	for _, head := range []string{"", "a", strings.Repeat("a", overlap), strings.Repeat("a", overlap+1), "ä"} {
		text := head + strings.Repeat("\x80", 3*partSize)
		list := Parts(text)
		size := 0
		for _, p := range list {
			if size += len(p); len(p) > partSize {
				t.Fatalf("a part of %d bytes", len(p))
			}
		}
		if len(list) != 4 || size != len(text)+3*overlap || !strings.HasSuffix(text, list[3]) {
			t.Errorf("%d parts of %d bytes", len(list), size)
		}
	}
}
