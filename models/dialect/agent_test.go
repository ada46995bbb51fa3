package dialect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// What coding agents send in the dialect they were made for reaches the engines of the others.
func TestAgentsReachEveryEngine(t *testing.T) {
	anthropic := `{"model":"m","max_tokens":32000,"stream":true,"temperature":1,"metadata":{"user_id":"u"},"thinking":{"type":"enabled","budget_tokens":31999},
		"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},
		"system":[{"type":"text","text":"You are an agent.","cache_control":{"type":"ephemeral"}},{"type":"text","text":"Rules."}],
		"tools":[{"name":"Read","description":"d","input_schema":{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false}}],
		"messages":[{"role":"user","content":[{"type":"text","text":"<reminder>"},{"type":"text","text":"go","cache_control":{"type":"ephemeral"}}]},
		{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"triarch:google:R1"},{"type":"text","text":"I read."},{"type":"tool_use","id":"toolu_1__proof_R1NJRw","name":"Read","input":{"path":"a"}}]},
		{"role":"user","content":[{"tool_use_id":"toolu_1__proof_R1NJRw","type":"tool_result","content":"1 line","is_error":false,"cache_control":{"type":"ephemeral"}}]}]}`
	responses := `{"model":"m","instructions":"You are an agent.","stream":true,"store":false,"parallel_tool_calls":false,"tool_choice":"auto","include":["reasoning.encrypted_content"],"prompt_cache_key":"k",
		"reasoning":{"effort":"medium","summary":"auto"},"text":{"verbosity":"low"},
		"tools":[{"type":"function","name":"shell","description":"d","strict":false,"parameters":{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"}}}}}],
		"input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"perm"}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"go"}]},
		{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"content":null,"encrypted_content":"triarch:anthropic:SIG"},
		{"type":"function_call","name":"shell","arguments":"{\"command\":[\"ls\"]}","call_id":"c1"},{"type":"function_call_output","call_id":"c1","output":"{\"output\":\"a\"}"}]}`
	google := `{"contents":[{"role":"user","parts":[{"text":"go"}]},{"role":"model","parts":[{"text":"hm","thought":true},{"functionCall":{"name":"ls","args":{"dir":"."}},"thoughtSignature":"S"}]},
		{"role":"user","parts":[{"functionResponse":{"id":"x","name":"ls","response":{"output":"a"}}}]}],"systemInstruction":{"role":"user","parts":[{"text":"You are an agent."}]},
		"tools":[{"functionDeclarations":[{"name":"ls","description":"d","parametersJsonSchema":{"type":"object"}}]}],"generationConfig":{"temperature":0,"topP":1,"topK":64,"thinkingConfig":{"includeThoughts":true,"thinkingBudget":-1}}}`
	for from, body := range map[Kind]string{Anthropic: anthropic, Responses: responses, Google: google} {
		r, err := ParseRequest(from, []byte(body), Call{Model: "m", Stream: true})
		if err != nil {
			t.Fatal(from, err)
		}
		for _, to := range []Kind{Chat, Responses, Anthropic, Google} {
			out, dropped, err := WriteRequest(to, r)
			if err != nil {
				t.Errorf("%s to %s: %v", from, to, err)
				continue
			}
			if from == Anthropic && to == Chat {
				want := []string{"context_management", "messages[].content[].cache_control", "messages[].content[].signature", "system[].cache_control"}
				if d := cmp.Diff(want, dropped); d != "" {
					t.Error(d)
				}
			}
			if strings.Contains(string(out), "__proof_") || strings.Contains(string(out), sealed) {
				t.Errorf("%s to %s: a proof is left in %s", from, to, out)
			}
			if call := gjson.GetBytes(out, "messages.2.tool_calls.0.id").Str; from == Google && to == Chat && (call == "" || call != gjson.GetBytes(out, "messages.3.tool_call_id").Str) {
				t.Errorf("a result lost its call: %s", out)
			}
			if proof := gjson.GetBytes(out, `contents.1.parts.#.thoughtSignature`); from == Anthropic && to == Google && proof.Raw != `["R1","GSIG"]` {
				t.Errorf("Google's proofs do not come back: %s", out)
			}
			if b := gjson.GetBytes(out, `messages.1.content.0`); from == Responses && to == Anthropic && (b.Get("signature").Str != "SIG" || b.Get("thinking").Str != "hm") {
				t.Errorf("Anthropic's proof does not come back: %s", out)
			}
		}
	}
}

// Google's client for Go leaves out empty texts: it gives back parts of nothing, which say nothing.
func TestEmptyPartsSayNothing(t *testing.T) {
	r, err := ParseRequest(Google, []byte(`{"contents":[{"role":"user","parts":[{"text":"go"}]},{"role":"model","parts":[{"text":"a"},{}]},{"role":"user","parts":[{"text":"on"}]}]}`), Call{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if out, dropped, err := WriteRequest(Chat, r); err != nil || len(dropped) > 0 || gjson.GetBytes(out, "messages.1.content").String() != "a" {
		t.Errorf("%s %v %v", out, dropped, err)
	}
}

func TestGooglePaths(t *testing.T) {
	for model, want := range map[string]string{"gemini": "/models/gemini:generateContent", "models/a b": "/models/a%20b:generateContent",
		"../x?y#z": "/models/..%2Fx%3Fy%23z:generateContent", "": "", "..": "", ".": "", strings.Repeat("x", 300): ""} {
		got, err := GooglePath(model, false)
		if got != want || (want == "") != fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %q %v", model, got, err)
		}
	}
	if got, err := GooglePath("m", true); got != "/models/m:streamGenerateContent?alt=sse" || err != nil {
		t.Error(got, err)
	}
	for rest, want := range map[string]string{"m:generateContent": "m generateContent", "org/m:v1:streamGenerateContent": "org/m:v1 streamGenerateContent",
		"m:countTokens": "m countTokens", "m": "", ":generateContent": "", "m:delete": "", strings.Repeat("x", 300) + ":countTokens": ""} {
		model, method, ok := ParseGooglePath(rest)
		if got := strings.TrimSpace(model + " " + method); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", rest, got, ok)
		}
	}
}
