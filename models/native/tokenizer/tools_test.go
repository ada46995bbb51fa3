package tokenizer

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestToolsAsPlainMessages(t *testing.T) {
	tok, err := Train(slices.Values([]string{"a text"}), 300, append(Specials(), "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tools := []json.RawMessage{[]byte(`{"type":"function","function":{"name":"add","parameters":{"x":"a:b,\"c"}}}`)}
	turns := []Turn{
		{Message: Message{"system", "Be kind."}},
		{Message: Message{"user", "1+2?"}},
		{Message: Message{"assistant", "Let me see."}, Calls: []Call{{"add", `{"a":1,"b":2}`}, {"add", `{}`}}},
		{Message: Message{"tool", "3"}},
		{Message: Message{"tool", "0"}},
	}
	own := LoadChat(tok, ownJinja).Plain(turns[:2], tools)
	if want := (Message{"system", "Be kind.\n\n<tools>\n" + `{"name": "add", "parameters": {"x": "a:b,\"c"}}` + "\n</tools>"}); !cmp.Equal(own[0], want) {
		t.Errorf("our own form: %+v", own)
	}
	tagged := LoadChat(tok, chatMLJinja)
	got := tagged.Plain(turns, tools)
	want := []Message{
		{"system", "Be kind.\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n" +
			`{"type": "function", "function": {"name": "add", "parameters": {"x": "a:b,\"c"}}}` +
			"\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n" +
			`{"name": <function-name>, "arguments": <args-json-object>}` + "\n</tool_call>"},
		{"user", "1+2?"},
		{"assistant", "Let me see.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": 2}}\n</tool_call>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>"},
		{"user", "<tool_response>\n3\n</tool_response>\n<tool_response>\n0\n</tool_response>"},
	}
	if d := cmp.Diff(want, got); d != "" || tagged.CallStyle() != TaggedCalls {
		t.Error(d)
	}
	if got := tagged.Plain(turns[1:2], nil); !cmp.Equal(got, []Message{{"user", "1+2?"}}) {
		t.Errorf("without tools: %v", got)
	}
	bare := LoadChat(tok, llama3Jinja)
	got = bare.Plain(turns, tools)
	if bare.CallStyle() != BareCalls || got[0].Content != "Be kind." || !strings.HasPrefix(got[1].Content, bareBefore+"{\n    \"type\": \"function\"") ||
		!strings.HasSuffix(got[1].Content, "}\n\n1+2?") || !strings.HasSuffix(got[2].Content, `{"name": "add", "parameters": {"a": 1, "b": 2}}; {"name": "add", "parameters": {}}`) ||
		!cmp.Equal(got[3], Message{"ipython", "3"}) {
		t.Errorf("bare: %+v", got)
	}
	for _, m := range [][]Message{got, want} { // what is written can be rendered
		for _, c := range []*Chat{tagged, bare} {
			if _, _, err := c.Render(m, true); err != nil {
				t.Error(err)
			}
		}
	}
	if got := bare.Plain([]Turn{{Message: Message{"system", "s"}}}, tools); len(got) != 2 || got[1].Role != "user" {
		t.Errorf("without a user: %+v", got)
	}
}
