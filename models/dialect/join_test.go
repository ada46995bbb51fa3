package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

// same compares JSON by its values; numbers by their text.
func same(t interface {
	Helper()
	Fatalf(string, ...any)
}, want, got string) {
	t.Helper()
	value := func(text string) (v any) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return v
	}
	if diff := cmp.Diff(value(want), value(got)); diff != "" {
		t.Fatalf("(-whole +joined)\n%s\nof %s", diff, got)
	}
}

// joined joins a stream that arrives in pieces of some size.
func joined(k Kind, stream string, size int) (string, error) {
	j := NewJoiner(k, 1<<20, 1<<20)
	for rest := []byte(stream); len(rest) > 0; {
		n := min(size, len(rest))
		if err := j.Feed(rest[:n]); err != nil {
			return "", err
		}
		rest = rest[n:]
	}
	b, err := j.Answer()
	return string(b), err
}

// Streams and whole answers in the shapes that the providers document, with members that are theirs alone.
var documented = map[string]struct {
	kind          Kind
	stream, whole string
}{
	"chat": {Chat, `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":{"content":[],"refusal":null},"finish_reason":null}],"usage":null,"obfuscation":"aXkq"}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":"Hello \ud83d"},"logprobs":{"content":[{"token":"Hello","logprob":-0.31725305,"bytes":[72,101],"top_logprobs":[{"token":"Hello","logprob":-0.31725305,"bytes":[72]}]}],"refusal":null},"finish_reason":null}],"usage":null,"obfuscation":"x"}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":"\ude00!\n"},"logprobs":{"content":[{"token":"!","logprob":-1e-05,"bytes":null,"top_logprobs":[]}],"refusal":null},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0}}}

data: [DONE]

`, `{"id":"chatcmpl-123","object":"chat.completion","created":1694268190,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"message":{"role":"assistant","content":"Hello \ud83d\ude00!\n","refusal":null},"logprobs":{"content":[{"token":"Hello","logprob":-0.31725305,"bytes":[72,101],"top_logprobs":[{"token":"Hello","logprob":-0.31725305,"bytes":[72]}]},{"token":"!","logprob":-1e-05,"bytes":null,"top_logprobs":[]}],"refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0}}}`},
	"several tools": {Chat, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get_weather","arguments":""}}]},"finish_reason":null}]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"location\":"}}]},"finish_reason":null}]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"get_weather","arguments":"\"Paris\"}"}},{"index":1,"id":"call_2","type":"function","function":{"name":"now","arguments":"{}"}}]},"finish_reason":null}]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: [DONE]

`, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"location\":\"Paris\"}"}},{"id":"call_2","type":"function","function":{"name":"now","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`},
	"reasoning and extras": {Chat, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","provider":"P","citations":["a","b"],"prompt_filter_results":[{"prompt_index":0}],"choices":[]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","citations":["a","b","c"],"choices":[{"index":1,"delta":{"role":"assistant","content":"two"},"native_finish_reason":null,"finish_reason":null},{"index":0,"delta":{"role":"assistant","reasoning_content":"Let me ","reasoning_details":[{"type":"reasoning.text","text":"Let me ","format":"f","index":0}]},"finish_reason":null}]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":"think","reasoning_details":[{"type":"reasoning.text","text":"think","signature":"sig","format":"f","index":0}]},"finish_reason":null}]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"one"},"native_finish_reason":"end","finish_reason":"stop","content_filter_results":{"hate":{"filtered":false}}},{"index":1,"delta":{},"finish_reason":"length"}],"x_groq":{"id":"req_1","usage":{"queue_time":0.01}}}

data: [DONE]

`, `{"id":"c","object":"chat.completion","created":1,"model":"m","provider":"P","citations":["a","b","c"],"prompt_filter_results":[{"prompt_index":0}],"choices":[{"index":0,"message":{"role":"assistant","content":"one","reasoning_content":"Let me think","reasoning_details":[{"type":"reasoning.text","text":"Let me think","signature":"sig","format":"f","index":0}]},"native_finish_reason":"end","finish_reason":"stop","content_filter_results":{"hate":{"filtered":false}}},{"index":1,"message":{"role":"assistant","content":"two"},"native_finish_reason":null,"finish_reason":"length"}],"x_groq":{"id":"req_1","usage":{"queue_time":0.01}}}`},
	"completions": {Completions, `data: {"id":"cmpl-1","object":"text_completion","created":1,"choices":[{"text":"Say ","index":0,"logprobs":{"tokens":["Say"," "],"token_logprobs":[-0.1,null],"top_logprobs":[{"Say":-0.1},null],"text_offset":[0,3]},"finish_reason":null}],"model":"m"}

data: {"id":"cmpl-1","object":"text_completion","created":1,"choices":[{"text":"it","index":0,"logprobs":{"tokens":["it"],"token_logprobs":[-2.5],"top_logprobs":[{"it":-2.5}],"text_offset":[4]},"finish_reason":"length"}],"model":"m"}

data: {"id":"cmpl-1","object":"text_completion","created":1,"choices":[],"model":"m","usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}

data: [DONE]

`, `{"id":"cmpl-1","object":"text_completion","created":1,"choices":[{"text":"Say it","index":0,"logprobs":{"tokens":["Say"," ","it"],"token_logprobs":[-0.1,null,-2.5],"top_logprobs":[{"Say":-0.1},null,{"it":-2.5}],"text_offset":[0,3,4]},"finish_reason":"length"}],"model":"m","usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}`},
	"messages": {Anthropic, `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":472,"cache_read_input_tokens":3,"output_tokens":2,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm\u00e4, "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"yes."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCgIYAhIM"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":"","citations":null}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Okay, let's"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"char_location","cited_text":"x","document_index":0}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" check."}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"location\": \"San"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" Francisco\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"now","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null,"container":{"id":"c"}},"usage":{"output_tokens":89,"server_tool_use":{"web_search_requests":1}},"context_management":{"applied_edits":[]}}

event: message_stop
data: {"type":"message_stop"}

`, `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"thinking","thinking":"Hmä, yes.","signature":"EqQBCgIYAhIM"},{"type":"text","text":"Okay, let's check.","citations":[{"type":"char_location","cited_text":"x","document_index":0}]},{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"location": "San Francisco"}},{"type":"tool_use","id":"toolu_2","name":"now","input":{}}],"model":"claude","stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":472,"cache_read_input_tokens":3,"output_tokens":89,"service_tier":"standard","server_tool_use":{"web_search_requests":1}},"container":{"id":"c"},"context_management":{"applied_edits":[]}}`},
	"generate": {Google, `data: {"candidates":[{"content":{"parts":[{"text":"I think","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8},"modelVersion":"gemini","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":" so.","thought":true}],"role":"model"},"index":0,"safetyRatings":[{"category":"A","probability":"LOW"}]}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":3,"totalTokenCount":11},"modelVersion":"gemini","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":"Hello "},{"text":"wor"}],"role":"model"},"index":0}],"modelVersion":"gemini","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":"ld","thoughtSignature":"c2ln"},{"functionCall":{"name":"f","args":{"a":1.50}}}],"role":"model"},"finishReason":"STOP","index":0,"safetyRatings":[{"category":"A","probability":"NEGLIGIBLE"}],"groundingMetadata":{"webSearchQueries":["q"]}}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":7,"totalTokenCount":15},"modelVersion":"gemini","responseId":"r1"}

`, `{"candidates":[{"content":{"parts":[{"text":"I think so.","thought":true},{"text":"Hello world","thoughtSignature":"c2ln"},{"functionCall":{"name":"f","args":{"a":1.50}}}],"role":"model"},"index":0,"finishReason":"STOP","safetyRatings":[{"category":"A","probability":"NEGLIGIBLE"}],"groundingMetadata":{"webSearchQueries":["q"]}}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":7,"totalTokenCount":15},"modelVersion":"gemini","responseId":"r1"}`},
	"responses": {Responses, `event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","status":"in_progress","output":[],"usage":null}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}

event: response.completed
data: {"type":"response.completed","sequence_number":2,"response":{"id":"resp_1","object":"response","status":"completed","output":[{"id":"msg_1","type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":1,"output_tokens":1}}}

`, `{"id":"resp_1","object":"response","status":"completed","output":[{"id":"msg_1","type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":1,"output_tokens":1}}`},
}

func TestJoinedIsTheWholeAnswer(t *testing.T) {
	for name, c := range documented {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 7, 1 << 20} {
				got, err := joined(c.kind, c.stream, size)
				if err != nil {
					t.Fatal(err)
				}
				same(t, c.whole, got)
			}
			if got, err := joined(c.kind, c.stream[:len(c.stream)/3], 64); err == nil {
				t.Errorf("a part of the stream is whole: %s", got)
			}
		})
	}
}

// said draws a text with escapes, quotes and characters outside of the first plane.
func saidText(t *rapid.T, label string) string {
	return rapid.StringOfN(rapid.SampledFrom([]rune("ab \"\\\n\t<é漢😀\u2028")), 0, 30, -1).Draw(t, label)
}

// pieces cuts a text between characters.
func pieces(t *rapid.T, text string) (out []string) {
	for len(text) > 0 {
		n := 0
		for range rapid.IntRange(1, 6).Draw(t, "piece") {
			_, size := utf8.DecodeRuneInString(text[n:])
			n += size
		}
		out, text = append(out, text[:n]), text[n:]
	}
	return out
}

func quote(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSpace(b.String())
}

// For any answer of chat completions, parted into chunks in any way, the joined answer is the same: texts, calls of tools,
// reasoning, probabilities, choices in any order, and members of a provider's own.
func TestAnyChatIsJoined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const head = `"id":"c","created":1,"model":"m","x_extra":{"a":[1,2]}`
		var events, choices []string
		type delta struct {
			choice int
			text   string
		}
		var queues [][]delta
		n := rapid.IntRange(1, 3).Draw(t, "choices")
		for i := range n {
			content, thought := saidText(t, "content"), saidText(t, "thought")
			queue := []delta{{i, `"delta":{"role":"assistant","content":""}`}}
			message := []string{`"role":"assistant"`}
			for _, p := range pieces(t, thought) {
				queue = append(queue, delta{i, `"delta":{"reasoning":` + quote(p) + `}`})
			}
			if thought != "" {
				message = append(message, `"reasoning":`+quote(thought))
			}
			var probs []string
			for k, p := range pieces(t, content) {
				prob := fmt.Sprintf(`{"token":%s,"logprob":-%d.5}`, quote(p), k)
				probs = append(probs, prob)
				queue = append(queue, delta{i, `"delta":{"content":` + quote(p) + `},"logprobs":{"content":[` + prob + `]}`})
			}
			message = append(message, `"content":`+quote(content))
			var calls []string
			for k := range rapid.IntRange(0, 2).Draw(t, "calls") {
				args := quote(map[string]string{"a": saidText(t, "argument")})
				id := "call_" + strconv.Itoa(k)
				queue = append(queue, delta{i, fmt.Sprintf(`"delta":{"tool_calls":[{"index":%d,"id":%q,"type":"function","function":{"name":"f","arguments":""}}]}`, k, id)})
				for _, p := range pieces(t, args) {
					queue = append(queue, delta{i, fmt.Sprintf(`"delta":{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}`, k, quote(p))})
				}
				calls = append(calls, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":"f","arguments":%s}}`, id, quote(args)))
			}
			if len(calls) > 0 {
				message = append(message, `"tool_calls":[`+strings.Join(calls, ",")+`]`)
			}
			queue = append(queue, delta{i, `"delta":{},"finish_reason":"stop"`})
			choice := fmt.Sprintf(`{"index":%d,"message":{%s},"finish_reason":"stop"`, i, strings.Join(message, ","))
			if len(probs) > 0 {
				choice += `,"logprobs":{"content":[` + strings.Join(probs, ",") + `]}`
			}
			choices, queues = append(choices, choice+"}"), append(queues, queue)
		}
		for len(queues) > 0 {
			at := rapid.IntRange(0, len(queues)-1).Draw(t, "next")
			d := queues[at][0]
			if queues[at] = queues[at][1:]; len(queues[at]) == 0 {
				queues = append(queues[:at], queues[at+1:]...)
			}
			finish := ""
			if !strings.Contains(d.text, "finish_reason") {
				finish = `,"finish_reason":null`
			}
			events = append(events, fmt.Sprintf(`data: {%s,"object":"chat.completion.chunk","choices":[{"index":%d,%s%s}]}`, head, d.choice, d.text, finish))
		}
		events = append(events, `data: {`+head+`,"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1}}`, "data: [DONE]", "")
		got, err := joined(Chat, strings.Join(events, "\n\n"), rapid.IntRange(1, 400).Draw(t, "size"))
		if err != nil {
			t.Fatal(err)
		}
		same(t, `{`+head+`,"object":"chat.completion","choices":[`+strings.Join(choices, ",")+`],"usage":{"prompt_tokens":1}}`, got)
	})
}

// What is cut ends as its dialect ends what met its output bound, with the counts of what was delivered.
func TestCutAnswers(t *testing.T) {
	for name, want := range map[string]string{"chat": `"finish_reason":"length"`, "several tools": `"finish_reason":"length"`, "completions": `"finish_reason":"length"`,
		"messages": `"stop_reason":"max_tokens"`, "generate": `"finishReason":"MAX_TOKENS"`, "responses": `"reason":"max_output_tokens"`} {
		c := documented[name]
		j := NewJoiner(c.kind, 1<<20, 1<<20)
		events := strings.SplitAfter(c.stream, "\n\n")
		for _, e := range events[:max(len(events)/2, 1)] {
			if err := j.Feed([]byte(e)); err != nil {
				t.Fatal(err)
			}
		}
		b, err := j.Cut(Usage{Input: 11, Output: 4242})
		if err != nil || !json.Valid(b) || !strings.Contains(string(b), want) || !strings.Contains(string(b), ":4242") {
			t.Errorf("%s: %v, %s", name, err, b)
		}
		if _, err := NewJoiner(c.kind, 1<<20, 1<<20).Cut(Usage{}); err == nil {
			t.Errorf("%s: nothing was cut", name)
		}
	}
}

func TestJoiningFails(t *testing.T) {
	for name, c := range map[string]struct {
		kind   Kind
		stream string
		says   string
	}{
		"no JSON":        {Chat, "data: {\n\n", "cannot be read"},
		"deep":           {Chat, "data: {\"choices\":" + strings.Repeat("[", 100_000) + "\n\n", "cannot be read"},
		"a list":         {Chat, "data: []\n\n", "cannot be read"},
		"far choice":     {Chat, "data: {\"choices\":[{\"index\":1000000}]}\n\n", "cannot be read"},
		"a failure":      {Chat, "data: {\"error\":{\"message\":\"out of memory\"}}\n\n", "out of memory"},
		"an overload":    {Anthropic, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", "Overloaded"},
		"no beginning":   {Anthropic, "data: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n", "cannot be read"},
		"a failed one":   {Responses, "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"oh\"}}}\n\n", "oh"},
		"google's":       {Google, "data: {\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}\n\n", "busy"},
		"too long":       {Chat, strings.Repeat("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""+strings.Repeat("x", 1<<19)+"\"}}]}\n\n", 4), "too long"},
		"nothing at all": {Chat, "data: [DONE]\n\n", "cannot be read"},
	} {
		if _, err := joined(c.kind, c.stream, 1<<20); err == nil || !strings.Contains(fault.As(err).Sentence(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an upstream makes up takes no more memory than answers may, is counted as it comes, and no more time than its bytes are
// worth: members by the hundred thousand, elements of three bytes, members of a new name with each event.
func TestJoiningIsBounded(t *testing.T) {
	const limit = 4 << 20
	many := func(each string, n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.ReplaceAll(each, "#", strconv.Itoa(i)))
		}
		return b.String()
	}
	once := func(data string) func(int) string { return func(int) string { return data } }
	for name, c := range map[string]struct {
		kind Kind
		each func(int) string
	}{
		"members of chunks": {Chat, func(i int) string { return fmt.Sprintf(`{"x%d":%q,"choices":[]}`, i, strings.Repeat("y", 9000)) }},
		"members of choices": {Chat, func(i int) string {
			return fmt.Sprintf(`{"choices":[{"index":0,"x%d":%q}]}`, i, strings.Repeat("y", 9000))
		}},
		"members of deltas":  {Chat, once(`{"choices":[{"index":0,"delta":{` + many(`"x#":0`, 200_000) + `}}]}`)},
		"elements of deltas": {Chat, once(`{"choices":[{"index":0,"delta":{"tool_calls":[` + many(`{}`, 200_000) + `]}}]}`)},
		"numbered elements":  {Chat, once(`{"choices":[{"index":0,"delta":{"tool_calls":[` + many(`{"index":#}`, 20_000) + `]}}]}`)},
		"members of usage": {Chat, func(i int) string {
			return fmt.Sprintf(`{"choices":[],"usage":{"x%d":%q}}`, i, strings.Repeat("y", 5<<20))
		}},
		"members of pieces": {Google, func(i int) string { return fmt.Sprintf(`{"x%d":%q,"candidates":[]}`, i, strings.Repeat("y", 9000)) }},
		"members of parts":  {Google, once(`{"candidates":[{"content":{"parts":[{` + many(`"x#":0`, 200_000) + `}]}}]}`)},
		"parts":             {Google, once(`{"candidates":[{"content":{"parts":[` + many(`{"x":0}`, 50_000) + `]}}]}`)},
		"members of an ending": {Anthropic, func(i int) string {
			return fmt.Sprintf(`{"type":"message_delta","delta":{},"x%d":%q}`, i, strings.Repeat("y", 9000))
		}},
		"items": {Responses, func(i int) string {
			return fmt.Sprintf(`{"type":"response.output_item.added","delta":"","output_index":%d,"item":{"x":%q}}`, i, strings.Repeat("y", 9000))
		}},
	} {
		j := NewJoiner(c.kind, 8<<20, limit)
		var err error
		events := 0
		for ; err == nil && events < 1000; events++ {
			err = j.Feed([]byte("data: " + c.each(events) + "\n\n"))
			if j.Size() > 3*limit {
				t.Errorf("%s: %d bytes", name, j.Size())
			}
		}
		if err == nil || j.Size() < limit/8 {
			t.Errorf("%s: %d events of %d bytes: %v", name, events, j.Size(), err)
		}
	}
}

// The same of answers that are put together through the inner form.
func TestAssemblingIsBounded(t *testing.T) {
	long := strings.Repeat("y", 100_000)
	for name, e := range map[string]Event{
		"tokens":             {Kind: TextDelta, Logprobs: []Logprob{{Token: long}}},
		"bytes":              {Kind: TextDelta, Logprobs: []Logprob{{Bytes: []byte(long)}}},
		"tokens of the rest": {Kind: TextDelta, Logprobs: []Logprob{{Top: []Logprob{{Token: long}}}}},
		"proofs":             {Kind: Signed, Text: long},
	} {
		a := Assembler{Limit: 4 << 20}
		n := 0
		for a.Add(e) == nil && n < 1000 {
			n++
		}
		if n > 45 {
			t.Errorf("%s: %d events", name, n)
		}
	}
}

func FuzzJoin(f *testing.F) {
	kinds := []Kind{Chat, Completions, Anthropic, Google, Responses}
	for _, c := range documented {
		for i, k := range kinds {
			if k == c.kind {
				f.Add(uint8(i), c.stream)
			}
		}
	}
	f.Fuzz(func(t *testing.T, k uint8, stream string) {
		kind := kinds[int(k)%len(kinds)]
		for _, cut := range []bool{false, true} {
			j := NewJoiner(kind, 1<<16, 1<<16)
			_ = j.Feed([]byte(stream))
			b, err := j.Answer()
			if cut {
				b, err = j.Cut(Usage{Output: 3})
			}
			if err == nil && !json.Valid(b) {
				t.Errorf("no JSON: %s", b)
			}
		}
	})
}
