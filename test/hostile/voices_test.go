package hostile

import (
	"encoding/json"
	"net/http"
	"strings"
)

// voice is how a provider's dialect says what every script says.
type voice struct {
	dialect, provider string
	tok               string // an event with one token
	open              string // the beginning of an event with a text
	begin             func(prompt string) string
	end               func(prompt, completion, cached string) string
	whole             func(prompt, completion, cached string) string
}

// said is what a request asks for: in which dialect, of which model, and whether as a stream; nil for none that is known.
func said(r *http.Request) (v *voice, model string, stream bool) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v1beta/models/"); ok {
		model, method, _ := strings.Cut(rest, ":")
		return &voices[2], model, method == "streamGenerateContent"
	}
	var q struct {
		Model  string
		Stream bool
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil {
		return nil, "", false
	}
	if r.URL.Path == "/v1/messages" {
		return &voices[1], q.Model, q.Stream
	}
	return &voices[0], q.Model, q.Stream
}

var voices = [3]voice{
	{"openai", "hostile", event(`"content":"tok "`, "null"), "data: {\"choices\":[{\"delta\":{\"content\":\"",
		func(string) string { return event(`"role":"assistant","content":""`, "null") },
		func(prompt, completion, cached string) string {
			return event("", `"stop"`) + "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[]," + openaiUsage(prompt, completion, cached) + "}\n\ndata: [DONE]\n\n"
		},
		func(prompt, completion, cached string) string {
			return `{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"tok tok tok "},"finish_reason":"stop"}],` +
				openaiUsage(prompt, completion, cached) + "}"
		}},
	{"anthropic", "hostile-anthropic", named("content_block_delta", `"index":0,"delta":{"type":"text_delta","text":"tok "}`),
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"",
		func(prompt string) string {
			return named("message_start", `"message":{"id":"msg_x","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":`+prompt+`,"output_tokens":1}}`) +
				named("content_block_start", `"index":0,"content_block":{"type":"text","text":""}`)
		},
		func(_, completion, _ string) string {
			return named("content_block_stop", `"index":0`) + named("message_delta", `"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":`+completion+`}`) + named("message_stop", `"x":0`)
		},
		func(prompt, completion, cached string) string {
			return `{"id":"msg_x","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"tok tok tok "}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":` +
				prompt + `,"output_tokens":` + completion + `,"cache_read_input_tokens":` + cached + "}}"
		}},
	{"google", "hostile-google", "data: " + google(`"parts":[{"text":"tok "}],"role":"model"`, "", "") + "\r\n\r\n", "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
		func(string) string { return "" },
		func(prompt, completion, cached string) string {
			return "data: " + google(`"parts":[{"text":""}],"role":"model"`, `"finishReason":"STOP",`, googleUsage(prompt, completion, cached)) + "\r\n\r\n"
		},
		func(prompt, completion, cached string) string {
			return google(`"parts":[{"text":"tok tok tok "}],"role":"model"`, `"finishReason":"STOP",`, googleUsage(prompt, completion, cached))
		}},
}

func event(delta, finish string) string {
	return `data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{` + delta + `},"finish_reason":` + finish + "}]}\n\n"
}

func openaiUsage(prompt, completion, cached string) string {
	return `"usage":{"prompt_tokens":` + prompt + `,"completion_tokens":` + completion + `,"total_tokens":0,"prompt_tokens_details":{"cached_tokens":` + cached + "}}"
}

func named(name, rest string) string {
	return "event: " + name + "\ndata: {\"type\":\"" + name + "\"," + rest + "}\n\n"
}

func google(content, finish, usage string) string {
	return `{"candidates":[{"content":{` + content + `},` + finish + `"index":0}],` + usage + `"modelVersion":"m","responseId":"x"}`
}

func googleUsage(prompt, completion, cached string) string {
	return `"usageMetadata":{"promptTokenCount":` + prompt + `,"candidatesTokenCount":` + completion + `,"totalTokenCount":0,"cachedContentTokenCount":` + cached + "},"
}
