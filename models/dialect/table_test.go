package dialect

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

var update = flag.Bool("update", false, "write docs/dialects.md and the golden files anew")

func TestThePublishedTableIsTheOneThatRuns(t *testing.T) {
	const path = "../../docs/dialects.md"
	if *update {
		if err := os.WriteFile(path, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Markdown(), string(have)); d != "" {
		t.Fatalf("docs/dialects.md is not the table; go test ./models/dialect -update writes it:\n%s", d)
	}
}

func TestEveryFeatureHasARow(t *testing.T) {
	used := map[Feature]bool{fPart: true, fEcho: true}
	for _, k := range Kinds {
		seen := map[string]bool{}
		for _, f := range fields[k] {
			used[f.feature] = true
			if len(reach[f.feature]) != len(Kinds) {
				t.Errorf("%s: %s has no outcome for each dialect", k, f.name)
			}
			if seen[f.name] {
				t.Errorf("%s: %s is there twice", k, f.name)
			}
			seen[f.name] = true
		}
	}
	for f := range reach {
		if !used[f] {
			t.Errorf("no field has the feature %q", f)
		}
	}
}

// base are whole requests of each dialect to which a row's field is added.
var base = map[Kind]string{
	Chat:        `{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
	Completions: `{"model":"m","prompt":"hi"}`,
	Responses:   `{"model":"m","input":"hi"}`,
	Anthropic:   `{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":"hi"}]}`,
	Google:      `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`,
}

const (
	schemaJSON = `{"type":"object","properties":{"a":{"type":"string"}}}`
	chatTool   = `[{"type":"function","function":{"name":"f","description":"d","parameters":` + schemaJSON + `}}]`
	respTool   = `[{"type":"function","name":"f","description":"d","parameters":` + schemaJSON + `}]`
	anthTool   = `[{"name":"f","description":"d","input_schema":` + schemaJSON + `}]`
	googTool   = `[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":` + schemaJSON + `}]}]`
)

// set is one change to a base request: a path of sjson and a value in JSON.
type set [2]string

func chatPart(part string) []set {
	return []set{{"messages.0.content", `[{"type":"text","text":"hi"},` + part + `]`}}
}

func respItem1(item string) []set {
	return []set{{"input", `[{"role":"user","content":"hi"},` + item + `]`}}
}

func respPart(part string) []set {
	return []set{{"input", `[{"role":"user","content":[{"type":"input_text","text":"hi"},` + part + `]}]`}}
}

func anthPart(part string) []set {
	return []set{{"messages.0.content", `[{"type":"text","text":"hi"},` + part + `]`}}
}

func anthTurn(block string) []set {
	return []set{{"messages.1", `{"role":"assistant","content":[` + block + `]}`}, {"messages.2", `{"role":"user","content":"go on"}`}}
}

func googPart(part string) []set { return []set{{"contents.0.parts.1", part}} }

func googTurn(part string) []set {
	return []set{{"contents.1", `{"role":"model","parts":[` + part + `]}`}, {"contents.2", `{"role":"user","parts":[{"text":"go on"}]}`}}
}

func googResult(rest string) []set {
	return []set{{"contents.1", `{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{"a":"x"}}}]}`},
		{"contents.2", `{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f",` + rest + `}}]}`}}
}

const (
	chatCalled = `{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":\"x\"}"}}]}`
	respCalled = `{"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":\"x\"}"}`
	anthCalled = `{"type":"tool_use","id":"c1","name":"f","input":{"a":"x"}}`
	image      = `"data:image/png;base64,AAAA"`
)

// samples make the base request have each field of the table.
var samples = map[Kind]map[string][]set{
	Chat: {
		"model": {}, "messages": {}, "messages[].name": {{"messages.0.name", `"Ann"`}},
		"messages[].content[]: image_url by URL":    chatPart(`{"type":"image_url","image_url":{"url":"https://x.test/a.png"}}`),
		"messages[].content[]: image_url as data":   chatPart(`{"type":"image_url","image_url":{"url":` + image + `}}`),
		"messages[].content[].image_url.detail":     chatPart(`{"type":"image_url","image_url":{"url":` + image + `,"detail":"low"}}`),
		"messages[].content[]: input_audio":         chatPart(`{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}`),
		"messages[].content[].file.file_data":       chatPart(`{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA"}}`),
		"messages[].content[].file.filename":        chatPart(`{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA","filename":"a.pdf"}}`),
		"messages[].content[].file.file_id":         chatPart(`{"type":"file","file":{"file_id":"file-1"}}`),
		"messages[].content[].cache_control":        chatPart(`{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}`),
		"messages[].tool_calls":                     {{"messages.1", chatCalled}, {"messages.2", `{"role":"tool","tool_call_id":"c1","content":"4"}`}},
		"messages[].role: tool":                     {{"messages.1", chatCalled}, {"messages.2", `{"role":"tool","tool_call_id":"c1","content":"4"}`}},
		"messages[].refusal":                        {{"messages.1", `{"role":"assistant","refusal":"no"}`}, {"messages.2", `{"role":"user","content":"why"}`}},
		"messages[].reasoning_content":              {{"messages.1", `{"role":"assistant","content":"4","reasoning_content":"2+2"}`}, {"messages.2", `{"role":"user","content":"why"}`}},
		"messages[].audio":                          {{"messages.1", `{"role":"assistant","audio":{"id":"a"}}`}},
		"tools":                                     {{"tools", chatTool}},
		"tools[].function.strict":                   {{"tools", chatTool}, {"tools.0.function.strict", `true`}},
		"tools[].type: custom":                      {{"tools", `[{"type":"custom","custom":{"name":"x"}}]`}},
		"tool_choice":                               {{"tools", chatTool}, {"tool_choice", `{"type":"function","function":{"name":"f"}}`}},
		"tool_choice: allowed_tools":                {{"tools", chatTool}, {"tool_choice", `{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}`}},
		"parallel_tool_calls":                       {{"tools", chatTool}, {"parallel_tool_calls", `false`}},
		"response_format: json_schema":              {{"response_format", `{"type":"json_schema","json_schema":{"name":"n","schema":` + schemaJSON + `}}`}},
		"response_format.json_schema.description":   {{"response_format", `{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":` + schemaJSON + `}}`}},
		"response_format.json_schema.strict: false": {{"response_format", `{"type":"json_schema","json_schema":{"name":"n","strict":false,"schema":` + schemaJSON + `}}`}},
		"response_format: json_object":              {{"response_format", `{"type":"json_object"}`}},
		"grammar":                                   {{"grammar", `"root ::= \"a\""`}},
		"max_completion_tokens":                     {{"max_completion_tokens", `77`}},
		"max_tokens":                                {{"max_tokens", `77`}},
		"temperature":                               {{"temperature", `0.25`}}, "top_p": {{"top_p", `0.5`}}, "top_k": {{"top_k", `40`}},
		"stop": {{"stop", `["END"]`}}, "seed": {{"seed", `7`}}, "n": {{"n", `2`}}, "logprobs": {{"logprobs", `true`}},
		"top_logprobs": {{"logprobs", `true`}, {"top_logprobs", `3`}}, "frequency_penalty": {{"frequency_penalty", `0.5`}},
		"presence_penalty": {{"presence_penalty", `0.5`}}, "reasoning_effort": {{"reasoning_effort", `"high"`}}, "user": {{"user", `"u1"`}},
		"verbosity": {{"verbosity", `"low"`}}, "stream": {{"stream", `true`}},
		"stream_options.include_usage": {{"stream", `true`}, {"stream_options", `{"include_usage":true}`}},
		"modalities: audio":            {{"modalities", `["text","audio"]`}}, "audio": {{"audio", `{"voice":"x","format":"wav"}`}},
		"web_search_options": {{"web_search_options", `{}`}}, "functions": {{"functions", `[{"name":"x"}]`}},
		"metadata": {{"metadata", `{"k":"v"}`}}, "store": {{"store", `true`}}, "service_tier": {{"service_tier", `"flex"`}},
		"logit_bias": {{"logit_bias", `{"5":1}`}}, "prompt_cache_key": {{"prompt_cache_key", `"k"`}},
		"prompt_cache_retention": {{"prompt_cache_retention", `"24h"`}}, "safety_identifier": {{"safety_identifier", `"s"`}},
		"prediction": {{"prediction", `{"type":"content","content":"x"}`}}, otherField: {{"made_up", `1`}},
	},
	Completions: {
		"model": {}, "prompt": {}, "prompt: several": {{"prompt", `["a","b"]`}}, "prompt: tokens": {{"prompt", `[1,2,3]`}},
		"suffix": {{"suffix", `"end"`}}, "echo": {{"echo", `true`}}, "best_of": {{"best_of", `2`}}, "max_tokens": {{"max_tokens", `77`}},
		"temperature": {{"temperature", `0.25`}}, "top_p": {{"top_p", `0.5`}}, "top_k": {{"top_k", `40`}}, "stop": {{"stop", `"END"`}},
		"seed": {{"seed", `7`}}, "n": {{"n", `2`}}, "logprobs": {{"logprobs", `3`}}, "frequency_penalty": {{"frequency_penalty", `0.5`}},
		"presence_penalty": {{"presence_penalty", `0.5`}}, "user": {{"user", `"u1"`}}, "logit_bias": {{"logit_bias", `{"5":1}`}},
		"response_format: json_schema":              {{"response_format", `{"type":"json_schema","json_schema":{"name":"n","schema":` + schemaJSON + `}}`}},
		"response_format.json_schema.description":   {{"response_format", `{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":` + schemaJSON + `}}`}},
		"response_format.json_schema.strict: false": {{"response_format", `{"type":"json_schema","json_schema":{"name":"n","strict":false,"schema":` + schemaJSON + `}}`}},
		"response_format: json_object":              {{"response_format", `{"type":"json_object"}`}},
		"grammar":                                   {{"grammar", `"root ::= \"a\""`}}, "stream": {{"stream", `true`}},
		"stream_options.include_usage": {{"stream", `true`}, {"stream_options", `{"include_usage":true}`}}, otherField: {{"made_up", `1`}},
	},
	Responses: {
		"model": {}, "input": {}, "instructions": {{"instructions", `"be brief"`}},
		"input[].content[]: input_image by URL":  respPart(`{"type":"input_image","image_url":"https://x.test/a.png"}`),
		"input[].content[]: input_image as data": respPart(`{"type":"input_image","image_url":` + image + `}`),
		"input[].content[]: input_image.file_id": respPart(`{"type":"input_image","file_id":"f1"}`),
		"input[].content[].detail":               respPart(`{"type":"input_image","image_url":` + image + `,"detail":"low"}`),
		"input[].content[].file_data":            respPart(`{"type":"input_file","file_data":"data:application/pdf;base64,AAAA"}`),
		"input[].content[].file_url":             respPart(`{"type":"input_file","file_url":"https://x.test/a.pdf"}`),
		"input[].content[].filename":             respPart(`{"type":"input_file","file_data":"data:application/pdf;base64,AAAA","filename":"a.pdf"}`),
		"input[].content[].file_id":              respPart(`{"type":"input_file","file_id":"f1"}`),
		"input[]: function_call":                 respItem1(respCalled + `,{"type":"function_call_output","call_id":"c1","output":"4"}`),
		"input[]: function_call_output":          respItem1(respCalled + `,{"type":"function_call_output","call_id":"c1","output":"4"}`),
		"input[].output[]: input_image":          respItem1(respCalled + `,{"type":"function_call_output","call_id":"c1","output":[{"type":"input_image","image_url":` + image + `}]}`),
		"input[].content[]: refusal":             respItem1(`{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}`),
		"input[]: reasoning":                     respItem1(`{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"2+2"}]}`),
		"input[].encrypted_content":              respItem1(`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"EEE"}`),
		"input[]: item of a hosted tool":         respItem1(`{"type":"web_search_call","id":"ws_1"}`),
		"tools":                                  {{"tools", respTool}}, "tools[].strict": {{"tools", respTool}, {"tools.0.strict", `true`}},
		"tools[]: hosted": {{"tools", `[{"type":"web_search"}]`}}, "tool_choice": {{"tools", respTool}, {"tool_choice", `"required"`}},
		"tool_choice: allowed_tools": {{"tools", respTool}, {"tool_choice", `{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]}`}},
		"parallel_tool_calls":        {{"tools", respTool}, {"parallel_tool_calls", `false`}},
		"text.format: json_schema":   {{"text", `{"format":{"type":"json_schema","name":"n","schema":` + schemaJSON + `}}`}},
		"text.format.description":    {{"text", `{"format":{"type":"json_schema","name":"n","description":"d","schema":` + schemaJSON + `}}`}},
		"text.format.strict: false":  {{"text", `{"format":{"type":"json_schema","name":"n","strict":false,"schema":` + schemaJSON + `}}`}},
		"text.format: json_object":   {{"text", `{"format":{"type":"json_object"}}`}}, "text.verbosity": {{"text", `{"verbosity":"low"}`}},
		"max_output_tokens": {{"max_output_tokens", `77`}}, "temperature": {{"temperature", `0.25`}}, "top_p": {{"top_p", `0.5`}},
		"top_logprobs": {{"top_logprobs", `3`}}, "reasoning.effort": {{"reasoning", `{"effort":"high"}`}},
		"reasoning.summary": {{"reasoning", `{"summary":"auto"}`}}, "user": {{"user", `"u1"`}}, "stream": {{"stream", `true`}},
		"background": {{"background", `true`}}, "conversation": {{"conversation", `"conv_1"`}}, "prompt": {{"prompt", `{"id":"p"}`}},
		"metadata": {{"metadata", `{"k":"v"}`}}, "store": {{"store", `true`}}, "service_tier": {{"service_tier", `"flex"`}},
		"prompt_cache_key": {{"prompt_cache_key", `"k"`}}, "prompt_cache_retention": {{"prompt_cache_retention", `"24h"`}},
		"safety_identifier": {{"safety_identifier", `"s"`}}, "truncation": {{"truncation", `"auto"`}}, "include": {{"include", `["x"]`}},
		"max_tool_calls": {{"max_tool_calls", `3`}}, otherField: {{"made_up", `1`}},
	},
	Anthropic: {
		"model": {}, "messages": {}, "system": {{"system", `"be brief"`}}, "cache_control": {{"cache_control", `{"type":"ephemeral"}`}},
		"messages[].content[]: image by URL":      anthPart(`{"type":"image","source":{"type":"url","url":"https://x.test/a.png"}}`),
		"messages[].content[]: image as data":     anthPart(`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}`),
		"messages[].content[]: document as data":  anthPart(`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}`),
		"messages[].content[]: document by URL":   anthPart(`{"type":"document","source":{"type":"url","url":"https://x.test/a.pdf"}}`),
		"messages[].content[]: document of text":  anthPart(`{"type":"document","source":{"type":"text","media_type":"text/plain","data":"once"}}`),
		"messages[].content[].title":              anthPart(`{"type":"document","title":"T","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}`),
		"messages[].content[].context":            anthPart(`{"type":"document","context":"C","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}`),
		"messages[].content[].citations":          anthPart(`{"type":"document","citations":{"enabled":true},"source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}`),
		"messages[].content[].source.file_id":     anthPart(`{"type":"image","source":{"type":"file","file_id":"f1"}}`),
		"messages[].content[]: tool_use":          {{"messages.1", `{"role":"assistant","content":[` + anthCalled + `]}`}, {"messages.2", `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"4"}]}`}},
		"messages[].content[]: tool_result":       {{"messages.1", `{"role":"assistant","content":[` + anthCalled + `]}`}, {"messages.2", `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"4"}]}`}},
		"messages[].content[].is_error":           {{"messages.1", `{"role":"assistant","content":[` + anthCalled + `]}`}, {"messages.2", `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","is_error":true,"content":"4"}]}`}},
		"messages[].content[].content[]: image":   {{"messages.1", `{"role":"assistant","content":[` + anthCalled + `]}`}, {"messages.2", `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}`}},
		"messages[].content[]: thinking":          anthTurn(`{"type":"thinking","thinking":"2+2","signature":"SSS"},{"type":"text","text":"4"}`),
		"messages[].content[].signature":          anthTurn(`{"type":"thinking","thinking":"2+2","signature":"SSS"},{"type":"text","text":"4"}`),
		"messages[].content[]: redacted_thinking": anthTurn(`{"type":"redacted_thinking","data":"RRR"},{"type":"text","text":"4"}`),
		"messages[].content[]: of a hosted tool":  anthTurn(`{"type":"server_tool_use","id":"s","name":"web_search","input":{}}`),
		"tools":                                   {{"tools", anthTool}}, "tools[].strict": {{"tools", anthTool}, {"tools.0.strict", `true`}},
		"tools[]: hosted": {{"tools", `[{"type":"web_search_20250305","name":"web_search"}]`}}, "tool_choice": {{"tools", anthTool}, {"tool_choice", `{"type":"any"}`}},
		"tool_choice.disable_parallel_tool_use": {{"tools", anthTool}, {"tool_choice", `{"type":"auto","disable_parallel_tool_use":true}`}},
		"output_config.format":                  {{"output_config", `{"format":{"type":"json_schema","schema":` + schemaJSON + `}}`}},
		"output_config.effort":                  {{"output_config", `{"effort":"high"}`}}, "thinking: enabled": {{"thinking", `{"type":"enabled","budget_tokens":2000}`}},
		"thinking: adaptive": {{"thinking", `{"type":"adaptive"}`}}, "thinking: disabled": {{"thinking", `{"type":"disabled"}`}},
		"thinking.display": {{"thinking", `{"type":"adaptive","display":"summarized"}`}}, "max_tokens": {{"max_tokens", `77`}},
		"temperature": {{"temperature", `0.25`}}, "top_p": {{"top_p", `0.5`}}, "top_k": {{"top_k", `40`}}, "stop_sequences": {{"stop_sequences", `["END"]`}},
		"metadata.user_id": {{"metadata", `{"user_id":"u1"}`}}, "stream": {{"stream", `true`}}, "service_tier": {{"service_tier", `"auto"`}},
		"inference_geo": {{"inference_geo", `"eu"`}}, "container": {{"container", `"c"`}}, "mcp_servers": {{"mcp_servers", `[{"url":"x"}]`}},
		"speed": {{"speed", `"fast"`}}, "context_management": {{"context_management", `{"edits":[]}`}}, otherField: {{"made_up", `1`}},
	},
	Google: {
		"contents": {}, "systemInstruction": {{"systemInstruction", `{"parts":[{"text":"be brief"}]}`}},
		"contents[].parts[].inlineData: image":               googPart(`{"inlineData":{"mimeType":"image/png","data":"AAAA"}}`),
		"contents[].parts[].inlineData: audio":               googPart(`{"inlineData":{"mimeType":"audio/wav","data":"AAAA"}}`),
		"contents[].parts[].inlineData: file":                googPart(`{"inlineData":{"mimeType":"application/pdf","data":"AAAA"}}`),
		"contents[].parts[].fileData: image":                 googPart(`{"fileData":{"mimeType":"image/png","fileUri":"https://x.test/a.png"}}`),
		"contents[].parts[].fileData: file":                  googPart(`{"fileData":{"mimeType":"application/pdf","fileUri":"https://x.test/a.pdf"}}`),
		"contents[].parts[].functionCall":                    googResult(`"response":{"output":"4"}`),
		"contents[].parts[].functionResponse":                googResult(`"response":{"output":"4"}`),
		"contents[].parts[].functionResponse.parts":          googResult(`"response":{"output":"4"},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]`),
		"contents[].parts[].functionResponse.response.error": googResult(`"response":{"error":"bad"}`),
		"contents[].parts[].thought":                         googTurn(`{"text":"2+2","thought":true},{"text":"4"}`),
		"contents[].parts[].thoughtSignature":                googTurn(`{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"SSS"}`),
		"contents[].parts[].executableCode":                  googTurn(`{"executableCode":{"language":"PYTHON","code":"1"}}`),
		"contents[].parts[].codeExecutionResult":             googTurn(`{"codeExecutionResult":{"outcome":"OUTCOME_OK"}}`),
		"tools[].functionDeclarations":                       {{"tools", googTool}}, "tools[]: hosted": {{"tools", `[{"googleSearch":{}}]`}},
		"toolConfig.functionCallingConfig.mode":                          {{"tools", googTool}, {"toolConfig", `{"functionCallingConfig":{"mode":"ANY"}}`}},
		"toolConfig.functionCallingConfig.allowedFunctionNames: several": {{"tools", googTool}, {"toolConfig", `{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f","g"]}}`}},
		"generationConfig.responseSchema":                                {{"generationConfig", `{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}}`}},
		"generationConfig.responseJsonSchema":                            {{"generationConfig", `{"responseMimeType":"application/json","responseJsonSchema":` + schemaJSON + `}`}},
		"generationConfig.responseMimeType: application/json":            {{"generationConfig", `{"responseMimeType":"application/json"}`}},
		"generationConfig.maxOutputTokens":                               {{"generationConfig", `{"maxOutputTokens":77}`}},
		"generationConfig.temperature":                                   {{"generationConfig", `{"temperature":0.25}`}}, "generationConfig.topP": {{"generationConfig", `{"topP":0.5}`}},
		"generationConfig.topK": {{"generationConfig", `{"topK":40.0}`}}, "generationConfig.stopSequences": {{"generationConfig", `{"stopSequences":["END"]}`}},
		"generationConfig.seed": {{"generationConfig", `{"seed":7}`}}, "generationConfig.candidateCount": {{"generationConfig", `{"candidateCount":2}`}},
		"generationConfig.responseLogprobs": {{"generationConfig", `{"responseLogprobs":true}`}}, "generationConfig.logprobs": {{"generationConfig", `{"responseLogprobs":true,"logprobs":3}`}},
		"generationConfig.frequencyPenalty": {{"generationConfig", `{"frequencyPenalty":0.5}`}}, "generationConfig.presencePenalty": {{"generationConfig", `{"presencePenalty":0.5}`}},
		"generationConfig.thinkingConfig.thinkingBudget":       {{"generationConfig", `{"thinkingConfig":{"thinkingBudget":2000}}`}},
		"generationConfig.thinkingConfig.thinkingBudget: -1":   {{"generationConfig", `{"thinkingConfig":{"thinkingBudget":-1}}`}},
		"generationConfig.thinkingConfig.thinkingLevel":        {{"generationConfig", `{"thinkingConfig":{"thinkingLevel":"HIGH"}}`}},
		"generationConfig.thinkingConfig.includeThoughts":      {{"generationConfig", `{"thinkingConfig":{"includeThoughts":true}}`}},
		"generationConfig.responseModalities: other than TEXT": {{"generationConfig", `{"responseModalities":["TEXT","IMAGE"]}`}},
		"generationConfig.speechConfig":                        {{"generationConfig", `{"speechConfig":{}}`}}, "generationConfig.mediaResolution": {{"generationConfig", `{"mediaResolution":"MEDIA_RESOLUTION_LOW"}`}},
		"safetySettings": {{"safetySettings", `[]`}}, "labels": {{"labels", `{"a":"b"}`}}, "cachedContent": {{"cachedContent", `"cachedContents/1"`}},
		otherField: {{"madeUp", `1`}},
	},
}

func sample(t *testing.T, d Kind, name string) []byte {
	t.Helper()
	sets, ok := samples[d][name]
	if !ok {
		t.Fatalf("%s: no sample for %s", d, name)
	}
	body := []byte(base[d])
	for _, s := range sets {
		var err error
		if body, err = sjson.SetRawBytes(body, s[0], []byte(s[1])); err != nil {
			t.Fatal(err)
		}
	}
	return body
}

// path is the field's name as faults and headers say it: without the value after the colon.
func path(d Kind, name string) string {
	if name == otherField {
		if d == Google {
			return "madeUp"
		}
		return "made_up"
	}
	name, _, _ = strings.Cut(name, ":")
	return name
}

// Every row of the table is proven by converting a request that has the field.
func TestEveryRowIsTrue(t *testing.T) {
	rows := 0
	for _, row := range Table() {
		t.Run(string(row.From)+" to "+string(row.To)+" "+row.Field, func(t *testing.T) { proveRow(t, row) })
		rows++
	}
	if rows < 600 {
		t.Fatalf("only %d rows", rows)
	}
}

func proveRow(t *testing.T, row Row) {
	body := sample(t, row.From, row.Field)
	left := featureOf(row) == fLeft
	if left {
		body = withLeft(t, row.From, body)
	}
	r, err := ParseRequest(row.From, body, Call{Model: "m"})
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	name := path(row.From, row.Field)
	feature := featureOf(row)
	if feature != fOther && !left && !asks(r, feature, name) {
		t.Fatalf("the parser does not see %s (%q) in %s: %+v %+v", name, feature, body, r.Uses, r.Extra)
	}
	out, dropped, err := WriteRequest(row.To, r)
	if row.To == Completions && row.From != Completions {
		if !fault.Is(err, fault.Unsupported) {
			t.Fatalf("a conversation reached completions: %s %v", out, err)
		}
		return
	}
	switch row.Outcome {
	case Refused:
		if f := fault.As(err); !fault.Is(err, fault.Unsupported) || f.Field == "" {
			t.Fatalf("not refused: %s %v", out, err)
		}
	case Dropped:
		if err != nil || !contains(dropped, name) {
			t.Fatalf("%s is not named among %v: %v", name, dropped, err)
		}
		plainDrop(t, row, r, out)
	case Mapped:
		if err != nil || contains(dropped, name) {
			t.Fatalf("not mapped: %v %v", dropped, err)
		}
		back, err := ParseRequest(row.To, out, Call{Model: "m"})
		if err != nil {
			t.Fatalf("what was written cannot be read: %v in %s", err, out)
		}
		if d := cmp.Diff(meaning(r, feature, row.To), meaning(back, feature, row.To)); d != "" {
			t.Fatalf("%s\nto %s\nlost its meaning:\n%s", body, out, d)
		}
	}
}

// plainDrop proves that what is said to be dropped is really not in what was written.
func plainDrop(t *testing.T, row Row, r *Request, out []byte) {
	back, err := ParseRequest(row.To, out, Call{Model: "m"})
	if err != nil {
		t.Fatalf("what was written cannot be read: %v in %s", err, out)
	}
	if f := featureOf(row); asksAnything(back, f) && f != fOther {
		t.Fatalf("%q is said to be dropped but is there: %s", f, out)
	}
	if row.Field == otherField && gjson.GetBytes(out, path(row.From, row.Field)).Exists() {
		t.Fatalf("an unknown field is said to be dropped but is there: %s", out)
	}
}

func featureOf(row Row) Feature {
	for _, f := range fields[row.From] {
		if f.name == row.Field {
			return f.feature
		}
	}
	panic("no such field")
}

func asks(r *Request, f Feature, name string) bool {
	for _, u := range r.Uses {
		if u.Feature == f && (u.Field == name || strings.HasPrefix(u.Field, name+".") || strings.HasPrefix(name, u.Field)) {
			return true
		}
	}
	for _, x := range r.Extra {
		if x.Feature == f && x.Name == name {
			return true
		}
	}
	return false
}

func asksAnything(r *Request, f Feature) bool {
	for _, u := range r.Uses {
		if u.Feature == f {
			return true
		}
	}
	for _, x := range r.Extra {
		if x.Feature == f {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// withLeft puts a file in place of the id that a request names, without which it is refused.
func withLeft(t *testing.T, d Kind, body []byte) []byte {
	t.Helper()
	if _, err := ParseRequest(d, body, Call{Model: "m"}); !fault.Is(err, fault.Unsupported) || !strings.HasSuffix(fault.As(err).Field, "file_id") {
		t.Fatalf("a file that is not here: %v", err)
	}
	name := "a.pdf"
	if strings.Contains(string(body), "image") {
		name = "a.png"
	}
	out, err := WithFiles(d, body, func(id string) (LeftFile, error) { return LeftFile{Name: name, Data: []byte("\x89" + id)}, nil })
	if err != nil || NamesFiles(out) || !NamesFiles(body) {
		t.Fatalf("%s: %v", out, err)
	}
	r, err := ParseRequest(d, out, Call{Model: "m"})
	if err != nil || len(media(r, fLeft)) != 1 {
		t.Fatalf("%s: %v", out, err)
	}
	return out
}
