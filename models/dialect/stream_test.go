package dialect

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

// golden streams are written after the public references of each API: what an upstream sends, and what it says.
var goldenStreams = []struct {
	name string
	d    Kind
	wire string
	want Answer
}{
	{"chat", Chat, `data: {"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

: keep-alive

data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":"2+2"},"finish_reason":null}]}

data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"fo"},"logprobs":{"content":[{"token":"fo","logprob":-0.5,"bytes":[102,111],"top_logprobs":[{"token":"x","logprob":-1,"bytes":null}]}]},"finish_reason":null}]}

data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"ur"},"finish_reason":null}]}

data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}

data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]},"finish_reason":null}]}

data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}},{"index":1,"id":"t2","function":{"name":"g","arguments":"{}"}}]},"finish_reason":null}]}

data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"c1","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}

data: [DONE]

`, Answer{ID: "c1", Model: "m", Created: 7, Choices: []Choice{{Stop: StopTools,
		Parts:    []Part{{Kind: Thought, Text: "2+2"}, {Text: "four"}, {Kind: ToolCall, ToolID: "t1", Name: "f", Text: `{"a":1}`}, {Kind: ToolCall, ToolID: "t2", Name: "g", Text: "{}"}},
		Logprobs: []Logprob{{Token: "fo", Logprob: -0.5, Bytes: []byte("fo"), Top: []Logprob{{Token: "x", Logprob: -1}}}}}},
		Usage: Usage{Known: true, Input: 9, CachedInput: 4, Output: 5, Reasoning: 2}}},
	{"two choices, no end", Chat, `data: {"id":"c","model":"m","choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"},{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}` + "\n",
		Answer{ID: "c", Model: "m", Choices: []Choice{{Parts: []Part{{Text: "a"}}, Stop: StopEnd}, {Parts: []Part{{Text: "b"}}, Stop: StopLength}}}},
	{"completions", Completions, "data: {\"id\":\"c\",\"created\":3,\"model\":\"m\",\"choices\":[{\"text\":\"ab\",\"index\":0,\"logprobs\":{\"tokens\":[\"ab\"],\"token_logprobs\":[null],\"top_logprobs\":[{\"ab\":-0.25}],\"text_offset\":[0]},\"finish_reason\":null}]}\r\n\r\n" +
		"data: {\"id\":\"c\",\"choices\":[{\"text\":\"\",\"index\":0,\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\r\n\r\ndata: [DONE]\r\n\r\n",
		Answer{ID: "c", Model: "m", Created: 3, Choices: []Choice{{Parts: []Part{{Text: "ab"}}, Stop: StopLength, Logprobs: []Logprob{{Token: "ab", Top: []Logprob{{Token: "ab", Logprob: -0.25}}}}}},
			Usage: Usage{Known: true, Input: 1, Output: 2}}},
	{"anthropic", Anthropic, `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"2+2"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"SIG"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"RED"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"fo"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"ur"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s1","name":"web_search","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"q\":1}"}}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

`, Answer{ID: "msg_1", Model: "m", Choices: []Choice{{Stop: StopSequence, Sequence: "END", Parts: []Part{
		{Kind: Thought, Text: "2+2", Signature: "SIG", SignedBy: Anthropic}, {Kind: Redacted, Signature: "RED", SignedBy: Anthropic},
		{Text: "four"}, {Kind: ToolCall, ToolID: "t1", Name: "f", Text: `{"a":1}`}}}},
		Usage: Usage{Known: true, Input: 10, CachedInput: 3, CacheWrite: 2, Output: 15}}},
	{"google events", Google, "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"2+2\",\"thought\":true}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\",\"responseId\":\"r\",\"usageMetadata\":{\"promptTokenCount\":4}}\r\n\r\n" +
		"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"four\"},{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":1}},\"thoughtSignature\":\"SIG\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":2,\"totalTokenCount\":11,\"cachedContentTokenCount\":1}}\r\n\r\n",
		googleWant},
	{"google array", Google, `[{"candidates":[{"content":{"parts":[{"text":"2+2","thought":true}],"role":"model"},"index":0}],"model_version":"m","response_id":"r"}
,
{"candidates":[{"content":{"parts":[{"text":"four"},{"function_call":{"name":"f","args":{"a":1}},"thought_signature":"SIG"}],"role":"model"},"finish_reason":"STOP","index":0}],"usage_metadata":{"prompt_token_count":4,"candidates_token_count":5,"thoughts_token_count":2,"cached_content_token_count":1}}
]
`, googleWant},
	{"google blocked", Google, `data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4},"modelVersion":"m"}`,
		Answer{Model: "m", Choices: []Choice{{Stop: StopFilter}}, Usage: Usage{Known: true, Input: 4}}},
	{"responses", Responses, `event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":7.5,"status":"in_progress","model":"m","output":[]}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","sequence_number":2,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"2+2"}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"2+2"}],"encrypted_content":"ENC"}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"four","logprobs":[]}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":5,"output_index":2,"item":{"id":"fc_1","type":"function_call","call_id":"t1","name":"f","arguments":""}}

event: response.function_call_arguments.delta
data: {"type":"response.function_call_arguments.delta","sequence_number":6,"item_id":"fc_1","output_index":2,"delta":"{\"a\":1}"}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":7,"output_index":2,"item":{"id":"fc_1","type":"function_call","call_id":"t1","name":"f","arguments":"{\"a\":1}"}}

event: response.completed
data: {"type":"response.completed","sequence_number":8,"response":{"id":"resp_1","object":"response","status":"completed","model":"m","output":[],"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":14}}}

`, Answer{ID: "resp_1", Model: "m", Created: 7, Choices: []Choice{{Stop: StopTools, Parts: []Part{{Kind: Thought, Text: "2+2", Signature: "ENC", SignedBy: Responses},
		{Text: "four"}, {Kind: ToolCall, ToolID: "t1", Name: "f", Text: `{"a":1}`}}}},
		Usage: Usage{Known: true, Input: 9, CachedInput: 4, Output: 5, Reasoning: 2}}},
}

var googleWant = Answer{ID: "r", Model: "m", Choices: []Choice{{Stop: StopTools, Parts: []Part{{Kind: Thought, Text: "2+2"}, {Text: "four"},
	{Kind: ToolCall, ToolID: "call_r_0_0", Name: "f", Text: `{"a":1}`, Signature: "SIG", SignedBy: Google}}}},
	Usage: Usage{Known: true, Input: 4, CachedInput: 1, Output: 7, Reasoning: 2}}

// read decodes a stream that comes in pieces ending at cuts, and assembles it.
func read(d Kind, stream string, cut func(left int) int) (*Answer, error) {
	dec := NewDecoder(d, 1<<20)
	asm := Assembler{Limit: 1 << 20}
	add := func(events []Event, err error) error {
		for _, e := range events {
			if aerr := asm.Add(e); aerr != nil {
				return aerr
			}
		}
		return err
	}
	for len(stream) > 0 {
		n := cut(len(stream))
		if err := add(dec.Feed([]byte(stream[:n]))); err != nil {
			return nil, err
		}
		stream = stream[n:]
	}
	if err := add(dec.End()); err != nil {
		return nil, err
	}
	return asm.Answer()
}

func TestGoldenStreamsWhereverTheyAreCut(t *testing.T) {
	for _, g := range goldenStreams {
		t.Run(g.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				most := rapid.SampledFrom([]int{1, 2, 7, 100, 1 << 20}).Draw(t, "most")
				got, err := read(g.d, g.wire, func(left int) int { return rapid.IntRange(1, min(most, left)).Draw(t, "n") })
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(&g.want, got); d != "" {
					t.Fatal(d)
				}
			})
		})
	}
}

// A stream that breaks off is an error, never an answer that looks whole.
func TestStreamsThatBreakOff(t *testing.T) {
	for _, g := range goldenStreams {
		for n := 0; n < len(g.wire); n += 1 + len(g.wire)/97 {
			got, err := read(g.d, g.wire[:n], func(left int) int { return left })
			if err == nil && !cmp.Equal(got.Choices, g.want.Choices) {
				t.Fatalf("%s cut at %d passes for %+v", g.name, n, got)
			}
			if err != nil && !fault.Is(err, fault.Unavailable) {
				t.Fatalf("%s cut at %d: %v", g.name, n, err)
			}
		}
	}
}

func TestFailuresInTheMiddleOfAStream(t *testing.T) {
	for d, c := range map[Kind]struct {
		wire string
		kind fault.Kind
	}{
		Chat:        {`data: {"error":{"message":"too busy","type":"server_error","code":null}}` + "\n\n", fault.Unavailable},
		Completions: {`data: {"error":{"message":"too busy","type":"x","code":429}}` + "\n\n", fault.RateLimited},
		Anthropic:   {"event: error\n" + `data: {"type":"error","error":{"type":"overloaded_error","message":"too busy"}}` + "\n\n", fault.Unavailable},
		Google:      {`data: {"error":{"code":429,"message":"too busy","status":"RESOURCE_EXHAUSTED"}}` + "\n\n", fault.RateLimited},
		Responses:   {`data: {"type":"error","code":"x","message":"too busy","param":null,"sequence_number":1}` + "\n\n", fault.Unavailable},
	} {
		_, err := read(d, c.wire, func(left int) int { return left })
		if !fault.Is(err, c.kind) || !strings.Contains(fault.As(err).Sentence(), "too busy") {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// whole are requests of clients that want everything there is.
func clients(stream bool) map[Kind]*Request {
	out := map[Kind]*Request{}
	for _, d := range Kinds {
		out[d] = &Request{From: d, Model: "m", Stream: stream, Usage: true, Reasoning: Reasoning{Show: true}}
	}
	return out
}

func genAnswer(t *rapid.T) *Answer {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab \n\"\\{}<&é世🎈\u0001")), 1, 12, -1)
	a := &Answer{ID: "id", Model: "m", Created: 9, Usage: Usage{Known: true, Input: rapid.Int64Range(20, 99).Draw(t, "in"),
		CachedInput: rapid.Int64Range(0, 9).Draw(t, "cached"), Output: rapid.Int64Range(10, 99).Draw(t, "out"), Reasoning: rapid.Int64Range(0, 9).Draw(t, "reasoning")}}
	c := Choice{Stop: rapid.SampledFrom([]Stop{StopEnd, StopLength, StopFilter}).Draw(t, "stop")}
	if rapid.Bool().Draw(t, "thought") {
		c.Parts = append(c.Parts, Part{Kind: Thought, Text: text.Draw(t, "t")})
	}
	if rapid.Bool().Draw(t, "text") {
		c.Parts = append(c.Parts, Part{Text: text.Draw(t, "x")})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "calls") {
		args, _ := json.Marshal(map[string]string{"a": text.Draw(t, "arg")})
		p := Part{Kind: ToolCall, ToolID: fmt.Sprint("c", i), Name: "f", Text: string(compactJSON(args))}
		if rapid.Bool().Draw(t, "proof") {
			p.Signature, p.SignedBy = "P=/+", Google
		}
		c.Parts, c.Stop = append(c.Parts, p), StopTools
	}
	a.Choices = []Choice{c}
	return a
}

// parted cuts the texts of events, as engines give them.
func parted(t *rapid.T, events []Event) (out []Event) {
	for _, e := range events {
		for (e.Kind == TextDelta || e.Kind == ThoughtDelta || e.Kind == ToolDelta) && len(e.Text) > 1 && e.Logprobs == nil && rapid.Bool().Draw(t, "cut") {
			r := []rune(e.Text)
			if len(r) < 2 {
				break
			}
			first := e
			first.Text, e.Text = string(r[:1]), string(r[1:])
			out = append(out, first)
		}
		out = append(out, e)
	}
	return out
}

// What a client is sent says what the upstream said: streamed and whole alike, in every dialect.
func TestAnswersSurviveEveryDialect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := genAnswer(t)
		for d, r := range clients(true) {
			if d == Completions {
				continue // has neither thoughts nor tools
			}
			h := Head{Array: d == Google && rapid.Bool().Draw(t, "array")}
			enc := NewEncoder(r, h)
			var stream []byte
			for _, e := range parted(t, a.Events()) {
				stream = enc.Encode(stream, e)
			}
			streamed, err := read(d, string(stream), func(left int) int { return rapid.IntRange(1, left).Draw(t, "n") })
			if err != nil {
				t.Fatalf("%s: %v in\n%s", d, err, stream)
			}
			whole, err := ParseAnswer(d, WriteAnswer(r, a, Head{}))
			if err != nil {
				t.Fatalf("%s: %v", d, err)
			}
			want := expected(a, d)
			if diff := cmp.Diff(want, unpacked(streamed, d)); diff != "" {
				t.Fatalf("%s streamed:\n%s\n%s", d, diff, stream)
			}
			if diff := cmp.Diff(want, unpacked(whole, d)); diff != "" {
				t.Fatalf("%s whole:\n%s", d, diff)
			}
		}
	})
}

// expected is the answer as a dialect can say it.
func expected(a *Answer, d Kind) *Answer {
	want := *a
	if d == Anthropic || d == Google {
		want.Created = 0
	}
	c := want.Choices[0]
	if c.Stop == StopFilter && d == Anthropic {
		c.Stop = StopRefusal
	}
	want.Choices = []Choice{c}
	return &want
}

// unpacked takes proofs out of ids, as parsing the client's next request does.
func unpacked(a *Answer, d Kind) *Answer {
	for i := range a.Choices[0].Parts {
		if p := &a.Choices[0].Parts[i]; p.Kind == ToolCall && d != Google {
			p.setID(p.ToolID)
		}
		if p := &a.Choices[0].Parts[i]; p.Kind == Thought && d == Responses && p.Signature == "" {
			p.SignedBy = ""
		}
	}
	return a
}

func TestProofsComeBackToTheirMaker(t *testing.T) {
	for d, r := range clients(false) {
		if d == Completions || d == Google || d == Chat {
			continue
		}
		for _, by := range []Kind{Anthropic, Google, Responses} {
			a := &Answer{ID: "i", Choices: []Choice{{Stop: StopEnd, Parts: []Part{{Kind: Thought, Text: "x", Signature: "S:1", SignedBy: by}, {Text: "y"}}}}}
			got, err := ParseAnswer(d, WriteAnswer(r, a, Head{}))
			if err != nil {
				t.Fatal(err)
			}
			p := got.Choices[0].Parts[0]
			if proof, maker := unseal(p.Signature, d); proof != "S:1" || maker != by {
				t.Errorf("%s by %s: %q %q", d, by, proof, maker)
			}
		}
	}
}

func TestLogprobsSurviveEveryDialectThatHasThem(t *testing.T) {
	for d, r := range clients(true) {
		if d == Anthropic {
			continue
		}
		probs := []Logprob{{Token: "a", Logprob: -0.5, Bytes: []byte("a"), Top: []Logprob{{Token: "a", Logprob: -0.5}, {Token: "z", Logprob: -2}}}, {Token: "é", Logprob: -1, Bytes: []byte("é")}}
		a := &Answer{ID: "i", Model: "m", Choices: []Choice{{Stop: StopEnd, Parts: []Part{{Text: "aé"}}, Logprobs: probs}}}
		enc := NewEncoder(r, Head{})
		var stream []byte
		for _, e := range a.Events() {
			stream = enc.Encode(stream, e)
		}
		streamed, err := read(d, string(stream), func(left int) int { return left })
		if err != nil {
			t.Fatal(d, err)
		}
		whole, err := ParseAnswer(d, WriteAnswer(r, a, Head{}))
		if err != nil {
			t.Fatal(d, err)
		}
		if d == Completions || d == Google {
			for i := range probs { // these have no bytes
				probs[i].Bytes = nil
			}
		}
		for _, got := range []*Answer{streamed, whole} {
			if diff := cmp.Diff(probs, got.Choices[0].Logprobs); diff != "" {
				t.Errorf("%s:\n%s\n%s", d, diff, stream)
			}
		}
	}
}

// Engines that give two calls' arguments in turns must not have them mixed up.
func TestMixedCallsAreNotSpoilt(t *testing.T) {
	for d, r := range clients(true) {
		if d == Completions {
			continue
		}
		enc := NewEncoder(r, Head{})
		var stream []byte
		for _, e := range []Event{{Kind: Started, ID: "i", Model: "m"}, {Kind: ToolStart, Tool: 0, ToolID: "a", Name: "f"}, {Kind: ToolStart, Tool: 1, ToolID: "b", Name: "g"},
			{Kind: ToolDelta, Tool: 0, Text: "{}"}, {Kind: ToolDelta, Tool: 1, Text: `{"b":1}`}, {Kind: Stopped, Stop: StopTools}, {Kind: Counted}, {Kind: Ended}} {
			stream = enc.Encode(stream, e)
		}
		got, err := read(d, string(stream), func(left int) int { return left })
		if err != nil {
			if !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s: %v", d, err)
			}
			continue
		}
		if p := got.Choices[0].Parts; len(p) != 2 || p[0].Text != "{}" || p[1].Text != `{"b":1}` {
			t.Errorf("%s: %+v", d, p)
		}
	}
}

func TestFailureEndsEveryStreamInItsOwnWords(t *testing.T) {
	for d, r := range clients(true) {
		enc := NewEncoder(r, Head{})
		stream := enc.Encode(nil, Event{Kind: Started, ID: "i", Model: "m"})
		stream = enc.Encode(stream, Event{Kind: TextDelta, Text: "half"})
		stream = enc.Encode(stream, Event{Kind: Failed, Err: fault.New(fault.Unavailable, "It broke.", fault.Cause(errors.New("secret")))})
		n := len(stream)
		if stream = enc.Encode(stream, Event{Kind: TextDelta, Text: "more"}); len(stream) != n {
			t.Errorf("%s: something follows the failure", d)
		}
		_, err := read(d, string(stream), func(left int) int { return left })
		if err == nil || !strings.Contains(err.Error(), "It broke.") || strings.Contains(string(stream), "secret") {
			t.Errorf("%s: %v\n%s", d, err, stream)
		}
	}
}

func TestEveryFaultHasItsStatusInEveryDialect(t *testing.T) {
	for _, k := range []fault.Kind{fault.Invalid, fault.Unauthenticated, fault.Forbidden, fault.NotFound, fault.Conflict, fault.TooLarge,
		fault.RateLimited, fault.NoMoney, fault.Unsupported, fault.Unavailable, fault.Timeout, fault.Canceled, fault.Internal} {
		for _, d := range Kinds {
			status, body := WriteError(d, fault.New(k, "Sentence.", fault.Field("the.field"), fault.Fix("Mend it."), fault.Cause(errors.New("secret"))))
			if status < 400 || status > 599 || !json.Valid(body) || strings.Contains(string(body), "secret") ||
				!strings.Contains(string(body), "Sentence. Mend it.") || !strings.Contains(string(body), "the.field") {
				t.Errorf("%s %s: %d %s", d, k, status, body)
			}
			back := ParseError(d, status, body)
			switch k {
			case fault.Invalid, fault.TooLarge, fault.RateLimited, fault.Unavailable, fault.Timeout:
				if !fault.Is(back, k) || !strings.Contains(fault.As(back).Message, "Sentence.") {
					t.Errorf("%s %s comes back as %v", d, k, back)
				}
			case fault.Unauthenticated, fault.Forbidden, fault.NotFound: // the gateway's own standing there
				if !fault.Is(back, fault.Unavailable) || strings.Contains(back.Error(), "Sentence") {
					t.Errorf("%s %s comes back as %v", d, k, back)
				}
			}
		}
	}
	for _, rubbish := range []string{"", "<html>", `{"error":5}`, `{"error":{"message":5}}`, `[1]`} {
		for _, d := range Kinds {
			if err := ParseError(d, 500, []byte(rubbish)); fault.As(err).Message == "" {
				t.Errorf("%s: %q has no sentence", d, rubbish)
			}
		}
	}
}

func TestHostileStreamsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 4096)
	for name, c := range map[string]struct {
		d    Kind
		wire string
	}{
		"a line without end":  {Chat, "data: " + long},
		"an event in lines":   {Chat, strings.Repeat("data: "+long[:100]+"\n", 100)},
		"an element":          {Google, `[{"a":"` + long},
		"depth":               {Google, "[" + strings.Repeat("[", 1000)},
		"depth in an event":   {Chat, "data: " + strings.Repeat("[", 1000) + "\n\n"},
		"a choice far out":    {Chat, `data: {"choices":[{"index":99999999,"delta":{"content":"x"}}]}` + "\n\n"},
		"a huge index":        {Completions, `data: {"choices":[{"index":1e30,"text":"x"}]}` + "\n\n"},
		"negative usage":      {Chat, `data: {"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":5}}` + "\n\n"},
		"a name twice":        {Anthropic, `data: {"type":"ping","type":"message_stop"}` + "\n\n"},
		"no JSON":             {Responses, "data: <html>\n\n"},
		"arguments of nobody": {Responses, `data: {"type":"response.function_call_arguments.delta","output_index":3,"delta":"x"}` + "\n\n"},
		"a block twice":       {Anthropic, strings.Repeat(`data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"b","input":{}}}`+"\n\n", 2)},
	} {
		dec := NewDecoder(c.d, 1024)
		_, err := dec.Feed([]byte(c.wire))
		if err == nil {
			_, err = dec.End()
		}
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := dec.Feed([]byte("data: {}\n\n")); again == nil {
			t.Errorf("%s: goes on after an error", name)
		}
	}
	var flood strings.Builder
	for i := range maxCalls + 1 {
		fmt.Fprintf(&flood, `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"a","function":{"name":"f"}}]}}]}`+"\n\n", i)
	}
	if _, err := NewDecoder(Chat, 1<<20).Feed([]byte(flood.String())); err == nil {
		t.Error("a flood of calls")
	}
	asm := Assembler{Limit: 100}
	var err error
	for range 200 {
		err = asm.Add(Event{Kind: TextDelta, Text: "xx"})
	}
	if _, aerr := asm.Answer(); err == nil || aerr == nil {
		t.Error("an answer above the limit")
	}
}
