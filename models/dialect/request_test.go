package dialect

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

// golden requests: what a client of one dialect sends, and what each upstream is sent for it.
var goldenRequests = []struct {
	name string
	from Kind
	to   Kind
	in   string
	want string
}{
	{"tools to Anthropic", Chat, Anthropic,
		`{"model":"m","messages":[{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},
		{"role":"assistant","content":"","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":""}}]},
		{"role":"tool","tool_call_id":"a","content":"1"},{"role":"tool","tool_call_id":"b","content":"2"},{"role":"user","content":"so?"}],
		"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"type":"function","function":{"name":"g"}}],"tool_choice":"required","parallel_tool_calls":false,"stop":"END","max_tokens":9,"reasoning_effort":"minimal"}`,
		`{"model":"m","max_tokens":9,"system":[{"type":"text","text":"S"}],"messages":[{"role":"user","content":[{"type":"text","text":"look"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},` +
			`{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"x":1}},{"type":"tool_use","id":"b","name":"g","input":{}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"1"}]},{"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"2"}]},{"type":"text","text":"so?"}]}],` +
			`"tools":[{"name":"f","input_schema":{"type":"object"}},{"name":"g","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true},"output_config":{"effort":"low"},"stop_sequences":["END"]}`},
	{"what tools gave to see", Anthropic, Chat,
		`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"b","name":"f","input":{}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"1"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},{"type":"tool_result","tool_use_id":"b","content":"2"},{"type":"text","text":"so?"}]}]}`,
		`{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]},` +
			`{"role":"tool","tool_call_id":"a","content":"1"},{"role":"tool","tool_call_id":"b","content":"2"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},{"role":"user","content":"so?"}],"max_completion_tokens":9}`},
	{"tools to Google", Anthropic, Google,
		`{"model":"m","max_tokens":9,"stream":true,"system":[{"type":"text","text":"S"}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"w"},{"type":"tool_use","id":"a__proof_R1NJRw","name":"f","input":{"x":1}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"a__proof_R1NJRw","is_error":true,"content":"bad"},{"type":"text","text":"so?"}]}],"tools":[{"name":"f","description":"D","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"},"thinking":{"type":"enabled","budget_tokens":2000},"top_k":3}`,
		`{"systemInstruction":{"parts":[{"text":"S"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"w"},{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"GSIG"}]},` +
			`{"role":"user","parts":[{"functionResponse":{"id":"a","name":"f","response":{"error":"bad"}}},{"text":"so?"}]}],"tools":[{"functionDeclarations":[{"name":"f","description":"D","parametersJsonSchema":{"type":"object"}}]}],` +
			`"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},"generationConfig":{"topK":3,"maxOutputTokens":9,"thinkingConfig":{"thinkingBudget":2000,"includeThoughts":true}}}`},
	{"Google to chat", Google, Chat,
		`{"system_instruction":{"parts":[{"text":"S"}]},"contents":[{"parts":[{"text":"hi"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"x":1}}},{"functionCall":{"name":"f","args":{"x":2}}}]},
		{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"one"}}},{"functionResponse":{"name":"f","response":{"v":2}}}]}],"tools":[{"function_declarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"max_items":{"type":"STRING","nullable":true},"l":{"type":"ARRAY","items":{"type":"INTEGER"},"maxItems":"3"}},"propertyOrdering":["l"]}}]}],
		"generation_config":{"max_output_tokens":9,"response_mime_type":"application/json","response_schema":{"type":"BOOLEAN"},"top_k":40.0}}`,
		`{"model":"g","messages":[{"role":"system","content":"S"},{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"x\":2}"}}]},` +
			`{"role":"tool","tool_call_id":"call_0","content":"one"},{"role":"tool","tool_call_id":"call_1","content":"{\"v\":2}"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"max_items":{"type":["string","null"]},"l":{"type":"array","maxItems":3,"items":{"type":"integer"}}}}}}],` +
			`"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"boolean"}}},"max_completion_tokens":9,"top_k":40}`},
	{"responses to chat", Responses, Chat,
		`{"model":"m","instructions":"S","input":[{"role":"developer","content":"D"},{"role":"user","content":[{"type":"input_text","text":"hi"}]},{"type":"message","id":"x","status":"completed","role":"assistant","content":[{"type":"output_text","text":"w","annotations":[]}]},{"type":"function_call","id":"fc","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"4"}],
		"tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true}],"tool_choice":{"type":"function","name":"f"},"text":{"format":{"type":"json_object"},"verbosity":"low"},"max_output_tokens":9,"stream":true,"store":false}`,
		`{"model":"m","messages":[{"role":"system","content":"S"},{"role":"developer","content":"D"},{"role":"user","content":"hi"},{"role":"assistant","content":"w","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"4"}],` +
			`"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"},"strict":true}}],"tool_choice":{"type":"function","function":{"name":"f"}},"response_format":{"type":"json_object"},"max_completion_tokens":9,"verbosity":"low","stream":true,"stream_options":{"include_usage":true},"store":false}`},
	{"chat to responses", Chat, Responses,
		`{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"w","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"4"}]}],"logprobs":true,"top_logprobs":2,"max_tokens":9,"tools":[{"type":"function","function":{"name":"f"}}]}`,
		`{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"w","annotations":[]}]},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"4"}],` +
			`"tools":[{"type":"function","name":"f","strict":false}],"max_output_tokens":9,"top_logprobs":2,"include":["message.output_text.logprobs"]}`},
}

func TestGoldenRequests(t *testing.T) {
	for _, g := range goldenRequests {
		r, err := ParseRequest(g.from, []byte(g.in), Call{Model: "g"})
		if err != nil {
			t.Errorf("%s: %v", g.name, err)
			continue
		}
		out, dropped, err := WriteRequest(g.to, r)
		if err != nil || len(dropped) > 0 {
			t.Errorf("%s: dropped %v: %v", g.name, dropped, err)
		}
		if d := cmp.Diff(g.want, string(out)); d != "" {
			t.Errorf("%s:\n%s\n%s", g.name, d, out)
		}
	}
}

func TestBadRequestsAreRefusedByName(t *testing.T) {
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	for _, c := range []struct {
		d     Kind
		body  string
		field string
	}{
		{Chat, `{"model":"m"}`, "messages"}, {Chat, `{"model":"m","messages":[]}`, "messages"}, {Chat, `{"messages":[{"role":"user","content":"x"}]}`, "model"},
		{Chat, `{"model":"m","messages":[{"role":"king","content":"x"}]}`, "messages[].role"},
		{Chat, `{"model":"m","messages":[{"role":"user","role":"system","content":"x"}]}`, "messages[].role"},
		{Chat, `{"model":"m","messages":[{"role":"user","content":"x"}],"seed":99999999999999999999}`, "seed"},
		{Chat, `{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}`, "temperature"},
		{Chat, `{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":3}`, "temperature"},
		{Chat, `{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":1.5}`, "max_tokens"},
		{Chat, `{"model":"m","messages":[{"role":"user","content":"x"}],"tools":{"a":1}}`, "tools"},
		{Chat, `{"model":"m","messages":[{"role":"user","content":"x"}],"x":` + deep + `}`, ""},
		{Chat, `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}`, "messages[].content[].image_url.url"},
		{Chat, `{"model":"m","messages":[{"role":"tool","content":"x"}]}`, "messages[].tool_call_id"},
		{Chat, `[]`, ""}, {Chat, ``, ""}, {Chat, `{"model":"m"} x`, ""}, {Chat, "{\"model\":\"\xff\"}", ""},
		{Completions, `{"model":"m"}`, "prompt"}, {Completions, `{"model":"m","prompt":[]}`, "prompt"}, {Completions, `{"model":"m","prompt":[1,"x"]}`, "prompt[]"},
		{Responses, `{"model":"m"}`, "input"}, {Responses, `{"model":"m","input":[{"type":"function_call_output","output":"x"}]}`, "input[].call_id"},
		{Anthropic, `{"model":"m","messages":[{"role":"user","content":"x"}]}`, "max_tokens"},
		{Anthropic, `{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}`, "max_tokens"},
		{Anthropic, `{"model":"m","max_tokens":5,"messages":[{"role":"user"}]}`, "messages[].content"},
		{Anthropic, `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"a b","data":"A"}}]}]}`, "messages[].content[].source.media_type"},
		{Google, `{}`, "contents"}, {Google, `{"contents":[{"role":"bot","parts":[]}]}`, "contents[].role"},
		{Google, `{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{}}}]}]}`, "contents[].parts[].functionResponse.name"},
		{Google, `{"contents":[{"parts":[{"fileData":{"fileUri":"file:///x"}}]}]}`, "contents[].parts[].fileData.fileUri"},
		{Google, `{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"topP":1,"top_p":1}}`, "generationConfig.topP"},
		{Google, `{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"responseSchema":` + strings.Repeat(`{"items":`, 40) + `{}` + strings.Repeat("}", 40) + `}}`, "items"},
	} {
		_, err := ParseRequest(c.d, []byte(c.body), Call{Model: "m"})
		if !fault.Is(err, fault.Invalid) || fault.As(err).Field != c.field {
			t.Errorf("%s: %.120s: %v (field %q, not %q)", c.d, c.body, err, fault.As(err).Field, c.field)
		}
	}
}

func TestTemperatureAboveAnthropicsEndIsRefused(t *testing.T) {
	r, err := ParseRequest(Chat, []byte(`{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1.5}`), Call{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := WriteRequest(Anthropic, r); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "temperature" {
		t.Fatal(err)
	}
}

// genRequest makes a conversation that every dialect but completions can hold.
func genRequest(t *rapid.T) *Request {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("ab \n\"\\{}<é世🎈")), 1, 8, -1)
	r := &Request{Model: "m", Usage: true, Stream: true}
	if rapid.Bool().Draw(t, "system") {
		r.Messages = append(r.Messages, Message{Role: System, Parts: []Part{{Text: word.Draw(t, "s")}}})
	}
	calls := 0
	for range rapid.IntRange(1, 3).Draw(t, "rounds") {
		u := Message{Role: User, Parts: []Part{{Text: word.Draw(t, "u")}}}
		if rapid.Bool().Draw(t, "image") {
			u.Parts = append(u.Parts, Part{Kind: Image, Media: "image/png", Data: "AAAA"})
		}
		r.Messages = append(r.Messages, u)
		a := Message{Role: Assistant, Parts: []Part{{Text: word.Draw(t, "a")}}}
		var results []Message
		for range rapid.IntRange(0, 2).Draw(t, "calls") {
			args, _ := json.Marshal(map[string]string{"k": word.Draw(t, "arg")})
			id := fmt.Sprint("c", calls)
			calls++
			a.Parts = append(a.Parts, Part{Kind: ToolCall, ToolID: id, Name: "f", Text: string(compactJSON(args))})
			results = append(results, Message{Role: ToolRole, Parts: []Part{{Kind: ToolResult, ToolID: id, Parts: []Part{{Text: "r" + word.Draw(t, "result")}}}}})
		}
		r.Messages = append(append(r.Messages, a), results...)
	}
	r.Messages = append(r.Messages, Message{Role: User, Parts: []Part{{Text: "go"}}})
	if calls > 0 {
		r.Tools = []Tool{{Name: "f", Description: word.Draw(t, "d"), Schema: []byte(schemaJSON)}}
		r.Choice = rapid.SampledFrom([]ToolChoice{{}, {Mode: ToolAuto}, {Mode: ToolAny}, {Mode: ToolNone}, {Mode: ToolOne, Names: []string{"f"}}}).Draw(t, "choice")
	}
	bound, temperature := rapid.Int64Range(1, 1<<20).Draw(t, "bound"), rapid.Float64Range(0, 1).Draw(t, "temperature")
	r.MaxTokens, r.Temperature = &bound, &temperature
	if rapid.Bool().Draw(t, "schema") {
		r.Format = Format{Kind: JSONSchema, Schema: []byte(schemaJSON)}
	}
	return r
}

// A request that goes through two dialects and back says what it said: client -> A -> inner -> B -> inner -> A.
func TestRequestsSurviveEveryPair(t *testing.T) {
	features := []Feature{fModel, fTurns, fImageData, fCalls, fResults, fTools, fChoice, fSchema, fMaxTokens, fTemperature}
	talkers := []Kind{Chat, Responses, Anthropic, Google}
	rapid.Check(t, func(t *rapid.T) {
		r := genRequest(t)
		for _, a := range talkers {
			for _, b := range talkers {
				now := r
				for _, d := range []Kind{a, b, a} {
					now.From = orKind(now.From, d)
					out, dropped, err := WriteRequest(d, now)
					if err != nil || len(dropped) > 0 {
						t.Fatalf("%s then %s: %v %v", a, b, dropped, err)
					}
					if now, err = ParseRequest(d, out, Call{Model: "m", Stream: true}); err != nil {
						t.Fatalf("%s: %v in %s", d, err, out)
					}
				}
				for _, f := range features {
					if d := cmp.Diff(meaning(r, f, a), meaning(now, f, a)); d != "" {
						t.Fatalf("%s then %s lost %q:\n%s", a, b, f, d)
					}
				}
			}
		}
	})
}

func orKind(k, d Kind) Kind {
	if k != "" {
		return k
	}
	return d
}
