package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"pgregory.net/rapid"
)

// TestCallsAreReadFromPieces cuts answers at random places: content and calls are the same however they come.
func TestCallsAreReadFromPieces(t *testing.T) {
	const call = `<tool_call>
{"name": "add", "arguments": {"a": 1}}
</tool_call>`
	for _, c := range []struct {
		style   tokenizer.CallStyle
		text    string
		content string
		calls   string
	}{
		{tokenizer.TaggedCalls, "just text <tool", "just text <tool", ""},
		{tokenizer.TaggedCalls, " a < b  \n", " a < b  \n", ""},
		{tokenizer.TaggedCalls, call, "", `add{"a":1}`},
		{tokenizer.TaggedCalls, "Let me see.\n" + call + "\n" + call + "\n", "Let me see.", `add{"a":1}add{"a":1}`},
		{tokenizer.TaggedCalls, call + "\nand text", "and text", `add{"a":1}`},
		{tokenizer.TaggedCalls, "<tool_call>{\"name\":\"add\",\"arguments\":\"{\\\"b\\\":2}\"}", "", `add{"b":2}`},
		{tokenizer.TaggedCalls, "<tool_call>no JSON</tool_call> x", "<tool_call>no JSON</tool_call> x", ""},
		{tokenizer.TaggedCalls, `<tool_call>{"name":"other","arguments":{}}</tool_call>`, `<tool_call>{"name":"other","arguments":{}}</tool_call>`, ""},
		{tokenizer.TaggedCalls, "<tool_call>{\"name\":", "<tool_call>{\"name\":", ""},
		{tokenizer.BareCalls, ` {"name": "add", "parameters": {"a": 1}}; {"name": "add", "parameters": {}}`, "", `add{"a":1}add{}`},
		{tokenizer.BareCalls, ` {"name": "other", "parameters": {}}`, ` {"name": "other", "parameters": {}}`, ""},
		{tokenizer.BareCalls, ` text with {"name": "add", "parameters": {}}`, ` text with {"name": "add", "parameters": {}}`, ""},
		{tokenizer.BareCalls, `{"name": "add"`, `{"name": "add"`, ""},
	} {
		rapid.Check(t, func(rt *rapid.T) {
			r := &callReader{style: c.style, known: func(name string) bool { return name == "add" }, newID: func() string { return "call_1" }}
			var content bytes.Buffer
			var calls strings.Builder
			take := func(text []byte, list []toolCall) {
				content.Write(text)
				for _, call := range list {
					calls.WriteString(call.name + string(call.arguments))
				}
			}
			for rest := c.text; rest != ""; {
				n := rapid.IntRange(1, len(rest)).Draw(rt, "bytes")
				take(r.push([]byte(rest[:n])))
				rest = rest[n:]
			}
			take(r.end())
			if content.String() != c.content || calls.String() != c.calls {
				rt.Fatalf("%q: content %q, calls %q", c.text, content.String(), calls.String())
			}
		})
	}
}

// called is an answer with calls, whole or one chunk of a stream.
type called struct {
	Choices []struct {
		Index          int
		Message, Delta struct {
			Content *string
			Calls   []struct {
				Index    int
				ID, Type string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		Finish *string `json:"finish_reason"`
	}
}

const twoTools = `"tools":[{"type":"function","function":{"name":"add","description":"adds","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}}},
	{"type":"function","function":{"name":"say","parameters":{"type":"object","properties":{"text":{"enum":["hi","ho"]}},"required":["text"],"additionalProperties":false}}}]`

func TestToolsThatMustBeCalled(t *testing.T) {
	r := start(t, Options{Dir: folder(t, 2048)})
	for choice, names := range map[string][]string{`"required"`: {"add", "say"}, `{"type":"function","function":{"name":"say"}}`: {"say"}} {
		for seed := range 6 {
			body := fmt.Sprintf(`{"messages":[{"role":"user","content":"hi"}],%s,"tool_choice":%s,"seed":%d,"max_tokens":90`, twoTools, choice, seed)
			status, got := r.call("POST", "/v1/chat/completions", body+"}")
			var a called
			if err := json.Unmarshal([]byte(got), &a); err != nil || status != 200 || len(a.Choices) != 1 {
				t.Fatalf("%d %s", status, got)
			}
			m := a.Choices[0].Message
			if m.Content != nil || len(m.Calls) == 0 || *a.Choices[0].Finish != "tool_calls" {
				t.Fatalf("%s: %s", choice, got)
			}
			var whole []string
			for _, c := range m.Calls {
				var v map[string]any
				if err := json.Unmarshal([]byte(c.Function.Arguments), &v); err != nil || len(v) != 1 || c.Type != "function" || !strings.HasPrefix(c.ID, "call_") {
					t.Errorf("%+v: %v", c, err)
				}
				if c.Function.Name != names[0] && c.Function.Name != names[len(names)-1] {
					t.Errorf("%s: %s was called", choice, c.Function.Name)
				}
				whole = append(whole, c.Function.Name+c.Function.Arguments)
			}
			if d := cmp.Diff(whole, r.streamCalls(body+`,"stream":true}`)); d != "" {
				t.Errorf("whole and streamed: %s", d)
			}
		}
	}
}

// streamCalls reads the calls of a stream with one choice.
func (r *running) streamCalls(body string) []string {
	r.t.Helper()
	status, got := r.call("POST", "/v1/chat/completions", body)
	if status != 200 {
		r.t.Fatalf("%d %s", status, got)
	}
	var calls []string
	finish := ""
	for line := range strings.SplitSeq(got, "\n") {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var a called
		if err := json.Unmarshal([]byte("{"+data), &a); err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
		for _, ch := range a.Choices {
			if ch.Delta.Content != nil && *ch.Delta.Content != "" {
				r.t.Errorf("content beside calls: %s", line)
			}
			for _, c := range ch.Delta.Calls {
				if c.Index != len(calls) {
					r.t.Errorf("call %d is numbered %d", len(calls), c.Index)
				}
				calls = append(calls, c.Function.Name+c.Function.Arguments)
			}
			if ch.Finish != nil {
				finish = *ch.Finish
			}
		}
	}
	if finish != "tool_calls" {
		r.t.Errorf("the stream ends with %q", finish)
	}
	return calls
}

func TestToolsThatMayBeCalled(t *testing.T) {
	r := start(t, Options{Dir: folder(t, 2048)})
	history := `"messages":[{"role":"user","content":"1+2?"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\":3}"}}]},
		{"role":"tool","tool_call_id":"c1","content":"3"}]`
	for name, params := range map[string]string{"auto": twoTools, "none": twoTools + `,"tool_choice":"none"`, "stop": twoTools + `,"stop":"zz"`,
		"schema": twoTools + `,"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"array","items":{"type":"integer"},"maxItems":3}}}`} {
		status, got := r.call("POST", "/v1/chat/completions", `{`+history+`,"max_tokens":60,"seed":4,`+params+`}`)
		var a called
		if err := json.Unmarshal([]byte(got), &a); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", name, status, got)
		}
		m := a.Choices[0].Message
		var list []int
		if name == "schema" && len(m.Calls) == 0 && (m.Content == nil || json.Unmarshal([]byte(*m.Content), &list) != nil) {
			t.Errorf("neither a call nor a document: %s", got)
		}
	}
	count := func(params string) int {
		_, got := r.call("POST", "/tokenize", `{`+history+params+`}`)
		var c struct{ Count int }
		if err := json.Unmarshal([]byte(got), &c); err != nil {
			t.Fatal(got)
		}
		return c.Count
	}
	if with, without := count(`,`+twoTools), count(`,`+twoTools+`,"tool_choice":"none"`); with < without+60 {
		t.Errorf("%d tokens with tools, %d without", with, without)
	}
}
