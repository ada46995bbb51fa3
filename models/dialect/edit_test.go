package dialect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestScan(t *testing.T) {
	for _, c := range []struct {
		d    Kind
		body string
		want Scanned
	}{
		{Chat, `{"model":"a","max_tokens":5,"max_completion_tokens":7,"n":3,"stream":true,"stream_options":{"include_usage":true}}`, Scanned{Model: "a", Stream: true, Usage: true, Output: 7, Choices: 3, Prompts: 1}},
		{Chat, ` {"messages":[{"model":"x","n":9}],"model" : "\u0061","n":null,"stream_options":null} `, Scanned{Model: "a", Choices: 1, Prompts: 1}},
		{Completions, `{"prompt":["x","y"],"model":"a","max_tokens":99999999999999999999}`, Scanned{}},
		{Completions, `{"prompt":["x","y"],"model":"a","max_tokens":9999999999}`, Scanned{Model: "a", Output: maxOutput, Choices: 1, Prompts: 2}},
		{Completions, `{"prompt":[1,2,3],"model":"a"}`, Scanned{Model: "a", Choices: 1, Prompts: 1}},
		{Responses, `{"model":"a","max_output_tokens":4,"max_tokens":"x"}`, Scanned{Model: "a", Usage: true, Output: 4, Choices: 1, Prompts: 1}},
		{Anthropic, `{"model":"a","max_tokens":4,"n":"many"}`, Scanned{Model: "a", Usage: true, Output: 4, Choices: 1, Prompts: 1}},
		{Google, `{"generation_config":{"max_output_tokens":4,"candidateCount":2},"model":5}`, Scanned{Model: "g", Usage: true, Output: 4, Choices: 2, Prompts: 1}},
		{Chat, `{"model":"a","model":"b"}`, Scanned{}}, {Chat, `{"model":"a","mod\u0065l":"b"}`, Scanned{}}, {Chat, `{}`, Scanned{}},
		{Chat, `{"model":"a","n":0}`, Scanned{}}, {Chat, `{"model":"a","n":1.5}`, Scanned{}}, {Chat, `{"model":"a","stream":"yes"}`, Scanned{}},
		{Chat, `{"model":"a","stream_options":5}`, Scanned{}}, {Chat, `{"model":{"a":1}}`, Scanned{}}, {Chat, `{"model":"a"`, Scanned{}},
		{Google, `{"generationConfig":{"maxOutputTokens":4,"max_output_tokens":9}}`, Scanned{}},
		{Anthropic, `{"model":"a","max_tokens":-4}`, Scanned{}}, {Chat, "{\"model\":\"a\xff\"}", Scanned{}},
	} {
		call := Call{}
		if c.d == Google {
			call.Model = "g"
		}
		got, err := Scan(c.d, []byte(c.body), call)
		if c.want.Model == "" {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %s is taken: %+v %v", c.d, c.body, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %s: %v", c.d, c.body, err)
			continue
		}
		s := Scanned{Model: got.Model, Stream: got.Stream, Usage: got.Usage, Output: got.Output, Choices: got.Choices, Prompts: got.Prompts}
		if d := cmp.Diff(c.want, s, cmp.AllowUnexported(Scanned{}, span{})); d != "" {
			t.Errorf("%s: %s:\n%s", c.d, c.body, d)
		}
	}
}

func TestEditLeavesEveryOtherByte(t *testing.T) {
	for _, c := range []struct {
		d          Kind
		body, want string
		e          Edit
	}{
		{Chat, `{ "model" : "a",  "x":[1, 2] }`, `{ "model" : "b/\"c",  "x":[1, 2] ,"stream_options":{"include_usage":true},"max_completion_tokens":5}`, Edit{Model: `b/"c`, Output: 5, Usage: true}},
		{Chat, `{"max_tokens":9,"model":"a","stream_options":{}}`, `{"max_tokens":5,"model":"a","stream_options":{"include_usage":true}}`, Edit{Output: 5, Usage: true}},
		{Chat, `{"model":"a","stream_options":null,"max_tokens":9,"max_completion_tokens":8}`, `{"model":"a","stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":5}`, Edit{Output: 5, Usage: true}},
		{Chat, `{"model":"a","stream_options":{"include_usage":false,"y":1}}`, `{"model":"a","stream_options":{"include_usage":true,"y":1},"stream":true}`, Edit{Usage: true, Stream: true}},
		{Responses, `{"model":"a"}`, `{"model":"a","max_output_tokens":5}`, Edit{Output: 5, Usage: true}},
		{Anthropic, `{"model":"a","max_tokens":9}`, `{"model":"m","max_tokens":5}`, Edit{Model: "m", Output: 5, Usage: true}},
		{Google, `{}`, `{"generationConfig":{"maxOutputTokens":5}}`, Edit{Model: "m", Output: 5, Stream: true}},
		{Google, `{"generation_config":{"max_output_tokens":9}}`, `{"generation_config":{"max_output_tokens":5}}`, Edit{Output: 5}},
		{Google, `{"generationConfig":{"topK":1}}`, `{"generationConfig":{"topK":1,"maxOutputTokens":5}}`, Edit{Output: 5}},
	} {
		s, err := Scan(c.d, []byte(c.body), Call{})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.e.Apply(c.d, []byte(c.body), s)); got != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.d, c.body, got, c.want)
		}
	}
}

// The edits say the same as a general JSON editor's.
func TestEditAgainstAnEditor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := []byte(`{}`)
		for _, m := range rapid.Permutation([]set{{"model", `"a"`}, {"messages", `[{"role":"user","content":"x } \" {","n":3}]`}, {"max_tokens", `9`}, {"max_completion_tokens", `9`},
			{"stream", `false`}, {"stream_options.z", `1`}, {"stream_options.include_usage", `false`}, {"q", `{"model":"no"}`}}).Draw(t, "order") {
			if m[0] == "model" || rapid.Bool().Draw(t, m[0]) {
				body, _ = sjson.SetRawBytes(body, m[0], []byte(m[1]))
			}
		}
		body = bytes.ReplaceAll(body, []byte(`,"`), []byte(rapid.SampledFrom([]string{`,"`, " ,\n\t\""}).Draw(t, "space")))
		s, err := Scan(Chat, body, Call{})
		if err != nil {
			t.Fatal(err)
		}
		got := Edit{Model: "b", Output: 5, Usage: true, Stream: true}.Apply(Chat, body, s)
		want, _ := sjson.SetBytes(body, "model", "b")
		want, _ = sjson.SetBytes(want, "stream", true)
		want, _ = sjson.SetBytes(want, "stream_options.include_usage", true)
		old, now := gjson.GetBytes(body, "max_tokens").Exists(), gjson.GetBytes(body, "max_completion_tokens").Exists()
		if old {
			want, _ = sjson.SetBytes(want, "max_tokens", 5)
		}
		if now || !old {
			want, _ = sjson.SetBytes(want, "max_completion_tokens", 5)
		}
		if canonical(got) != canonical(want) {
			t.Fatalf("%s\n got %s\nwant %s", body, got, want)
		}
	})
}

// An answer is not spoilt by what is told about it: its text comes whole, and its counts are not known.
func TestLiesAboutCountsSpoilNoAnswer(t *testing.T) {
	for d, stream := range map[Kind]string{
		Chat:      "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e300}}\n\ndata: [DONE]\n\n",
		Responses: "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"usage\":{\"input_tokens\":1.5,\"output_tokens\":\"x\"}}}\n\n",
		Anthropic: "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":-5}}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
		Google:    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":-5,\"candidatesTokenCount\":1}}\n\n",
	} {
		a, err := read(d, stream, func(left int) int { return left })
		if err != nil || len(a.Choices) != 1 || join(a.Choices[0].Parts, Text) != "a" || a.Usage.Known {
			t.Errorf("%s: %+v %v", d, a, err)
		}
	}
}

func TestReadUsage(t *testing.T) {
	for _, c := range []struct {
		d     Kind
		data  string
		want  Usage
		alone bool
	}{
		{Chat, `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}`, Usage{Known: true, Input: 3, CachedInput: 1, Output: 2}, true},
		{Chat, `{"choices":[{"delta":{"content":"the \"usage\""}}],"usage":null}`, Usage{}, false},
		{Chat, `{"choices":[{"delta":{}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`, Usage{Known: true, Input: 3, Output: 2}, false},
		{Chat, `{"choices":[],"prompt_filter_results":[]}`, Usage{}, false},
		{Chat, `{"usage":`, Usage{}, false},
		{Responses, `{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":2}}}`, Usage{Known: true, Input: 3, Output: 2}, false},
		{Google, `{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1,"thoughtsTokenCount":1}}`, Usage{Known: true, Input: 3, Output: 2, Reasoning: 1}, false},
		{Google, `{"usageMetadata":{"promptTokenCount":-3}}`, Usage{}, false},
	} {
		if got, alone := ReadUsage(c.d, []byte(c.data), Usage{}); got != c.want || alone != c.alone {
			t.Errorf("%s %s: %+v %v", c.d, c.data, got, alone)
		}
	}
	u, _ := ReadUsage(Anthropic, []byte(`{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"output_tokens":1}}}`), Usage{})
	u, _ = ReadUsage(Anthropic, []byte(`{"type":"message_delta","usage":{"output_tokens":15}}`), u)
	if want := (Usage{Known: true, Input: 10, CachedInput: 3, CacheWrite: 2, Output: 15}); u != want {
		t.Errorf("%+v", u)
	}
}

func TestVectors(t *testing.T) {
	e, err := ParseEmbed([]byte(`{"model":"m","input":["a",[1,2]],"encoding_format":"base64","dimensions":2,"made_up":true}`))
	if err != nil {
		t.Fatal(err)
	}
	written, err := WriteEmbed(e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseEmbed(written)
	if err != nil || !cmp.Equal(e, again) {
		t.Fatalf("%v\n%s", err, cmp.Diff(e, again))
	}
	a := &EmbedAnswer{Model: "m", Vectors: [][]float32{{0.1, -2e-30}, {3, 4}}, Input: 5}
	for _, enc := range []bool{true, false} {
		e.Base64 = enc
		got, err := ParseEmbedAnswer(WriteEmbedAnswer(e, a), 2)
		if err != nil || !cmp.Equal(got, a) {
			t.Errorf("%v %v", got, err)
		}
	}
	for _, body := range []string{`{"data":[]}`, `{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`, `{"data":[{"embedding":"AAA"},{"embedding":[1]}]}`,
		`{"data":[{"embedding":"AADAfw=="},{"embedding":[1]}]}`, `{"data":[{"index":7,"embedding":[1]},{"embedding":[1]}]}`, `{"error":{"message":"x"}}`, `x`} {
		if _, err := ParseEmbedAnswer([]byte(body), 2); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"model":"m"}`, `{"model":"m","input":[]}`, `{"model":"m","input":[{}]}`, `{"input":"x"}`, `{"model":"m","input":"x","dimensions":0}`, `{"model":"m","input":"x","encoding_format":"hex"}`} {
		if _, err := ParseEmbed([]byte(body)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestRerank(t *testing.T) {
	q, err := ParseRerank([]byte(`{"model":"m","query":"q","documents":["a",{"text":"b"}],"top_n":1,"return_documents":true}`))
	if err != nil || len(q.Documents) != 2 || q.Documents[1] != "b" {
		t.Fatal(q, err)
	}
	if got := string(WriteRerank(q)); got != `{"model":"m","query":"q","documents":["a","b"],"top_n":1}` {
		t.Error(got)
	}
	for _, body := range []string{`{"results":[{"index":1,"relevance_score":0.5}],"usage":{"total_tokens":7}}`, `{"id":"","results":[{"index":1,"relevance_score":0.5,"document":{"text":"b"}}],"meta":{"tokens":{"input_tokens":7}}}`} {
		a, err := ParseRerankAnswer([]byte(body), 2)
		if err != nil || a.Input != 7 || !cmp.Equal(a.Results, []Ranked{{1, 0.5}}) {
			t.Fatal(a, err)
		}
		if out := string(WriteRerankAnswer(q, a)); !strings.Contains(out, `"results":[{"index":1,"relevance_score":0.5,"document":{"text":"b"}}]`) || !strings.Contains(out, `"total_tokens":7`) {
			t.Error(out)
		}
	}
	for _, body := range []string{`{"results":[]}`, `{"results":[{"index":2,"relevance_score":1}]}`, `{"results":[{"index":0}]}`, `{"results":[{"index":0,"relevance_score":1},{"index":0,"relevance_score":1}]}`} {
		if _, err := ParseRerankAnswer([]byte(body), 2); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"model":"m","query":"q"}`, `{"model":"m","query":"q","documents":[5]}`, `{"model":"m","documents":["a"]}`} {
		if _, err := ParseRerank([]byte(body)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestItemsGoOn(t *testing.T) {
	first := []byte(`{"model":"m","input":"hi","instructions":"old"}`)
	items, err := Items(first)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRequest(Responses, first, Call{})
	if err != nil {
		t.Fatal(err)
	}
	a := &Answer{ID: "resp_1", Choices: []Choice{{Stop: StopTools, Parts: []Part{{Text: "wait"}, {Kind: ToolCall, ToolID: "c", Name: "f", Text: "{}"}}}}}
	output := gjson.GetBytes(WriteAnswer(r, a, Head{}), "output").Raw
	next, err := ParseRequest(Responses, []byte(`{"model":"m","previous_response_id":"resp_1","instructions":"new","input":[{"type":"function_call_output","call_id":"c","output":"4"}]}`),
		Call{Earlier: JoinItems(items, []byte("[]"), []byte(output))})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, m := range next.Messages {
		for _, p := range m.Parts {
			said = append(said, fmt.Sprint(m.Role, " ", p.Kind, " ", p.Text, p.ToolID, plain(p.Parts)))
		}
	}
	want := []string{"system 0 new", "user 0 hi", "assistant 0 wait", "assistant 6 {}c", "tool 7 c4"}
	if next.Previous != "resp_1" || !cmp.Equal(said, want) {
		t.Fatalf("%q %s", said, next.Previous)
	}
	if none := string(JoinItems()); none != "[]" {
		t.Error(none)
	}
}
