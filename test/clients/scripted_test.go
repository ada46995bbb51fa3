package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidwall/gjson"
)

// A scripted provider answers in four dialects as the real ones do, by the shapes that they document:
//
//	chat       https://platform.openai.com/docs/api-reference/chat and .../chat-streaming; reasoning_content as in
//	           https://api-docs.deepseek.com/guides/reasoning_model
//	responses  https://platform.openai.com/docs/api-reference/responses and .../responses-streaming
//	anthropic  https://platform.claude.com/docs/en/api/messages and .../build-with-claude/streaming, .../api/errors
//	google     https://ai.google.dev/api/generate-content, .../gemini-api/docs/thought-signatures,
//	           https://cloud.google.com/apis/design/errors
//
// What it says is what the request's model is called. It looks at what it is asked, and refuses what lacks what the
// client said.
type scripted struct {
	t    *testing.T
	said atomic.Int64
}

// turn is what a model says, in no dialect.
type turn struct {
	thought  string
	proof    bool // of the thought, or of the first call
	text     []string
	refusal  string
	calls    []call
	probs    bool
	id       string // of a response, which others go on from
	stop     string // end, length, sequence, tools, filter, refusal
	in       int
	cached   int // of in
	written  int // of in
	out      int
	reasoned int // of out
}

type call struct{ id, name, args string }

// proofs are opaque to everybody but their maker.
var proofs = map[string]string{"responses": "gAAAAABencrypted", "anthropic": "EqQBCgIYAhIMsigned", "google": "c2lnbmVkIGJ5IEdvb2dsZQ=="}

const (
	thinking = "Let me think."
	shortPNG = "iVBORw0KGgo="
	shortPDF = "JVBERi0xLjQK"
	imageURL = "https://example.org/cat.png"
)

// turns are what the scenarios say.
var turns = map[string]turn{
	"plain":     {text: []string{"Hello", " there", "."}, stop: "end", in: 12, out: 4},
	"reasoning": {thought: thinking, proof: true, text: []string{"It is ", "four."}, stop: "end", in: 20, out: 15, reasoned: 9},
	"tools": {thought: thinking, proof: true, text: []string{"I look it up."}, stop: "tools", in: 80, out: 40, reasoned: 9,
		calls: []call{{"call_1", "weather", `{"city":"Paris","days":2}`}, {"call_2", "clock", `{"city":"Oslo"}`}}},
	"media":    {text: []string{"A cat."}, stop: "end", in: 300, out: 3},
	"url":      {text: []string{"A cat."}, stop: "end", in: 300, out: 3},
	"file":     {text: []string{"A page."}, stop: "end", in: 300, out: 3},
	"schema":   {text: []string{`{"city":`, `"Paris"}`}, stop: "end", in: 30, out: 6},
	"refusal":  {refusal: "I cannot help with that.", stop: "refusal", in: 9, out: 6},
	"logprobs": {text: []string{"Yes"}, probs: true, stop: "end", in: 9, out: 1},
	"length":   {text: []string{"One two"}, stop: "length", in: 9, out: 5},
	"sequence": {text: []string{"One "}, stop: "sequence", in: 9, out: 2},
	"cache":    {text: []string{"Cached."}, stop: "end", in: 1500, cached: 1000, written: 300, out: 3},
}

type (
	obj = map[string]any
	arr = []any
)

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
		return
	}
	dialect, model, stream := "", gjson.GetBytes(body, "model").String(), gjson.GetBytes(body, "stream").Bool()
	switch path := r.URL.Path; {
	case path == "/v1/chat/completions":
		dialect = "chat"
	case path == "/v1/responses":
		dialect = "responses"
	case path == "/v1/messages":
		dialect = "anthropic"
	case strings.HasPrefix(path, "/v1beta/models/"):
		dialect = "google"
		var method string
		model, method, _ = strings.Cut(strings.TrimPrefix(path, "/v1beta/models/"), ":")
		if stream = method == "streamGenerateContent"; stream && r.URL.Query().Get("alt") != "sse" {
			s.t.Errorf("asked for %s", r.URL)
		}
		if method == "batchEmbedContents" {
			reply(w, 200, googleVectors(body))
			return
		}
	case path == "/v1/embeddings":
		reply(w, 200, openaiVectors(body))
		return
	default:
		reply(w, 404, failures["chat"](404))
		return
	}
	if status := 0; len(model) == 4 && model[0] == 'e' {
		if _, err := fmt.Sscan(model[1:], &status); err == nil {
			reply(w, status, failures[dialect](status))
			return
		}
	}
	t, ok := turns[model]
	if missing := lacks[model]; !ok || missing != nil && missing(dialect, body) != "" {
		why := "no such model: " + model
		if ok {
			why = missing(dialect, body)
		}
		s.t.Errorf("%s by %s: %s in %.2000s", model, dialect, why, body)
		reply(w, 400, obj{"error": obj{"message": why, "type": "invalid_request_error", "code": 400, "status": "INVALID_ARGUMENT"}, "type": "error"})
		return
	}
	t = shown(dialect, model, body, t)
	t.id = fmt.Sprintf("resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3%04d", s.said.Add(1))
	speak(w, dialect, stream, t)
}

// shown is what the request asked to be shown of a turn: reasoning is shown to who asked, and results are answered.
func shown(dialect, model string, body []byte, t turn) turn {
	asked := map[string]bool{"chat": true, "responses": gjson.GetBytes(body, "reasoning.summary").Exists(),
		"anthropic": strings.Contains("enabled adaptive", gjson.GetBytes(body, "thinking.type").String()) && gjson.GetBytes(body, "thinking").Exists(),
		"google":    gjson.GetBytes(body, "generationConfig.thinkingConfig.includeThoughts").Bool()}[dialect]
	if !asked {
		t.thought = ""
	}
	switch dialect {
	case "chat":
		t.proof = false
	case "responses":
		t.proof = t.proof && strings.Contains(gjson.GetBytes(body, "include").Raw, "reasoning.encrypted_content")
	case "anthropic":
		t.proof = t.proof && asked
	}
	if model == "tools" && strings.Contains(string(body), "18 degrees") {
		text := "no proof"
		if p := proofs[dialect]; p != "" && strings.Contains(string(body), p) {
			text = "proof"
		}
		if strings.Contains(string(body), shortPNG) {
			text += ", image"
		}
		return turn{text: []string{text}, stop: "end", in: 120, out: 5}
	}
	return t
}

// lacks says what a request of a scenario does not have though it should; empty if nothing.
var lacks = map[string]func(dialect string, body []byte) string{
	"tools": func(dialect string, body []byte) string {
		names := map[string]string{"chat": "tools.#.function.name", "responses": "tools.#.name", "anthropic": "tools.#.name", "google": "tools.0.functionDeclarations.#.name"}[dialect]
		if got := gjson.GetBytes(body, names).Raw; got != `["weather","clock"]` {
			return "tools are " + got
		}
		if text := string(body); strings.Contains(text, "18 degrees") && !strings.Contains(text, "12:00") {
			return "a result is missing"
		}
		return ""
	},
	"media": func(dialect string, body []byte) string {
		text, words := string(body), map[string][]string{"chat": {`"image_url"`, `"file_data"`}, "responses": {`"input_image"`, `"input_file"`},
			"anthropic": {`"image"`, `"document"`, "image/png", "application/pdf"}, "google": {"image/png", "application/pdf"}}[dialect]
		for _, part := range append(words, shortPNG, shortPDF) {
			if !strings.Contains(text, part) {
				return "no " + part
			}
		}
		return ""
	},
	"url": func(_ string, body []byte) string {
		if !strings.Contains(string(body), imageURL) {
			return "no " + imageURL
		}
		return ""
	},
	"file": func(dialect string, body []byte) string {
		if text := string(body); !strings.Contains(text, shortPDF) || strings.Contains(text, "file_id") || dialect != "google" && dialect != "anthropic" && !strings.Contains(text, "page.pdf") {
			return "no file's bytes"
		}
		return ""
	},
	"schema": func(dialect string, body []byte) string {
		at := map[string]string{"chat": "response_format.json_schema.schema", "responses": "text.format.schema", "anthropic": "output_config.format.schema",
			"google": "generationConfig.responseJsonSchema"}[dialect]
		if gjson.GetBytes(body, at+".properties.city.type").String() != "string" {
			return "no schema"
		}
		return ""
	},
	"reasoning": func(dialect string, body []byte) string {
		at := map[string][]string{"chat": {"reasoning_effort"}, "responses": {"reasoning.effort"}, "anthropic": {"thinking.type", "output_config.effort"},
			"google": {"generationConfig.thinkingConfig"}}[dialect]
		for _, name := range at {
			if gjson.GetBytes(body, name).Exists() {
				return ""
			}
		}
		return "nothing asks for reasoning"
	},
	"logprobs": func(dialect string, body []byte) string {
		at := map[string]string{"chat": "logprobs", "responses": "top_logprobs", "google": "generationConfig.responseLogprobs"}[dialect]
		if !gjson.GetBytes(body, at).Exists() {
			return "no logprobs are asked for"
		}
		return ""
	},
	"sequence": func(dialect string, body []byte) string {
		at := map[string]string{"chat": "stop", "anthropic": "stop_sequences", "google": "generationConfig.stopSequences"}[dialect]
		if !strings.Contains(gjson.GetBytes(body, at).Raw, "END") {
			return "no stop sequence"
		}
		return ""
	},
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	b, err := json.MarshalIndent(v, "", "  ") // as some of them do
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(b)
}

// failures are the bodies of refusals.
var failures = map[string]func(status int) any{"chat": openaiFailure, "responses": openaiFailure,
	"anthropic": func(status int) any {
		kind := map[int]string{400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
			429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}[status]
		if kind == "" {
			kind = "api_error"
		}
		return obj{"type": "error", "error": obj{"type": kind, "message": fmt.Sprintf("the provider's %d", status)}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}
	},
	"google": func(status int) any {
		word := map[int]string{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED", 413: "INVALID_ARGUMENT",
			422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 529: "UNAVAILABLE"}[status]
		return obj{"error": obj{"code": status, "message": fmt.Sprintf("the provider's %d", status), "status": word,
			"details": arr{obj{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "X", "domain": "googleapis.com"}}}}
	},
}

func openaiFailure(status int) any {
	return obj{"error": obj{"message": fmt.Sprintf("the provider's %d", status), "type": "invalid_request_error", "param": nil, "code": nil}}
}

func openaiVectors(body []byte) any {
	var data arr
	for i := range max(int(gjson.GetBytes(body, "input.#").Int()), 1) {
		data = append(data, obj{"object": "embedding", "index": i, "embedding": arr{0.6, -0.8}})
	}
	return obj{"object": "list", "data": data, "model": "text-embedding-3-small", "usage": obj{"prompt_tokens": 8, "total_tokens": 8}}
}

func googleVectors(body []byte) any {
	var list arr
	for range gjson.GetBytes(body, "requests.#").Int() {
		list = append(list, obj{"values": arr{0.6, -0.8}})
	}
	return obj{"embeddings": list, "usageMetadata": obj{"promptTokenCount": 8}}
}

// speak writes a turn.
func speak(w http.ResponseWriter, dialect string, stream bool, t turn) {
	v := voices[dialect]
	if !stream {
		reply(w, 200, v.whole(t))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	for _, e := range v.events(t) {
		b, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		if name, ok := e["type"].(string); ok && v.named {
			_, _ = fmt.Fprintf(w, "event: %s\n", name)
		}
		_, _ = fmt.Fprintf(w, "data: %s\n\n", b)
		_ = http.NewResponseController(w).Flush()
	}
	_, _ = io.WriteString(w, v.last)
}

// voice is how a dialect says a turn.
type voice struct {
	whole  func(turn) obj
	events func(turn) []obj
	named  bool   // events have names
	last   string // behind them
}

var voices = map[string]voice{"chat": {chatWhole, chatEvents, false, "data: [DONE]\n\n"}, "responses": {responsesWhole, responsesEvents, true, ""},
	"anthropic": {anthropicWhole, anthropicEvents, true, ""}, "google": {googleWhole, googleEvents, false, ""}}

// halves part a text as streams do.
func halves(s string) []string { return []string{s[:len(s)/2], s[len(s)/2:]} }
