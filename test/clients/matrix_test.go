package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/models/dialect"
)

// speaker is an official client in one of the dialects that it has.
type speaker struct {
	name, lang string
	api        string // chat, responses, anthropic, google
	command    []string
}

// kinds are the dialects by the names that scenarios use.
var kinds = map[string]dialect.Kind{"chat": dialect.Chat, "responses": dialect.Responses, "anthropic": dialect.Anthropic, "google": dialect.Google}

var (
	everyDialect = []string{"chat", "responses", "anthropic", "google"}
	statuses     = []int{400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 529}
)

// asks are the fields that a client in a dialect asks for a scenario with, as docs/dialects.md names them. Where the table
// says that one is refused towards a provider's dialect, the client must be told so, else the scenario must come true.
var asks = map[string]map[string][]string{
	"plain": {"chat": {"messages"}, "responses": {"input", "instructions"}, "anthropic": {"messages", "system"}, "google": {"contents", "systemInstruction"}},
	"reasoning": {"chat": {"reasoning_effort"}, "responses": {"reasoning.effort", "reasoning.summary"}, "anthropic": {"thinking: enabled"},
		"google": {"generationConfig.thinkingConfig.thinkingBudget", "generationConfig.thinkingConfig.includeThoughts"}},
	"tools": {"chat": {"tools", "messages[].role: tool"}, "responses": {"tools", "input[]: function_call_output", "input[].output[]: input_image"},
		"anthropic": {"tools", "messages[].content[]: tool_result", "messages[].content[].content[]: image"}, "google": {"tools[].functionDeclarations", "contents[].parts[].functionResponse.parts"}},
	"media": {"chat": {"messages[].content[]: image_url as data", "messages[].content[].file.file_data"}, "responses": {"input[].content[]: input_image as data", "input[].content[].file_data"},
		"anthropic": {"messages[].content[]: image as data", "messages[].content[]: document as data"}, "google": {"contents[].parts[].inlineData: image", "contents[].parts[].inlineData: file"}},
	"url":     {"chat": {"messages[].content[]: image_url by URL"}, "responses": {"input[].content[]: input_image by URL"}, "anthropic": {"messages[].content[]: image by URL"}, "google": {"contents[].parts[].fileData: image"}},
	"file":    {"chat": {"messages[].content[].file.file_id"}, "responses": {"input[].content[].file_id"}},
	"schema":  {"chat": {"response_format: json_schema"}, "responses": {"text.format: json_schema"}, "anthropic": {"output_config.format"}, "google": {"generationConfig.responseJsonSchema"}},
	"refusal": {"chat": nil, "responses": nil, "anthropic": nil, "google": nil}, "length": {"chat": nil, "responses": nil, "anthropic": nil, "google": nil},
	"logprobs": {"chat": {"logprobs", "top_logprobs"}, "responses": {"top_logprobs"}, "google": {"generationConfig.responseLogprobs"}},
	"sequence": {"chat": {"stop"}, "anthropic": {"stop_sequences"}, "google": {"generationConfig.stopSequences"}},
	"cache":    {"chat": nil, "responses": nil, "anthropic": {"cache_control"}, "google": nil},
}

// A case is one thing that a client is asked to do.
type oneCase struct {
	ID       int               `json:"id"`
	API      string            `json:"api"`
	Scenario string            `json:"scenario"`
	Model    string            `json:"model"`
	Stream   bool              `json:"stream"`
	Key      string            `json:"key,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`

	provider string
	want     obj
	status   int    // of the error that is due; 0 = none
	says     string // in its message
}

// line is what a client says of a case.
type line struct {
	Case  int
	Seen  obj
	Error *struct {
		Class, Message, Kind string
		Status               int
		ID                   bool
	}
}

// Every official client, unchanged, meets every provider's dialect: what docs/dialects.md calls mapped comes true in the
// client's own objects, streamed and whole, what it calls refused is one of its own exceptions, and so is every failure.
func TestClientsMeetEveryProvider(t *testing.T) {
	speakers := allSpeakers(t)
	url, owner := started(t)
	provided(t, api.New(url, owner))
	for _, s := range speakers {
		t.Run(s.name+", "+s.api, func(t *testing.T) {
			if s.command == nil {
				t.Skip("the client is not installed")
			}
			cases := s.cases(t, api.New(url, owner))
			judge(t, s, cases, run(t, s, url, owner, cases))
		})
	}
}

func allSpeakers(t *testing.T) []speaker {
	var out []speaker
	node, python := nodeClient(t), pythonClient(t)
	add := func(name, lang string, command []string, script string, apis ...string) {
		if command != nil && script != "" {
			command = []string{command[0], script}
		}
		for _, a := range apis {
			out = append(out, speaker{name, lang, a, command})
		}
	}
	add("OpenAI for Python", "python", python, "python/matrix_openai.py", "chat", "responses")
	add("Anthropic for Python", "python", python, "python/matrix_anthropic.py", "anthropic")
	add("OpenAI for Node", "node", node, "node/matrix_openai.mjs", "chat", "responses")
	add("Anthropic for Node", "node", node, "node/matrix_anthropic.mjs", "anthropic")
	add("Google for Node", "node", node, "node/matrix_google.mjs", "google")
	add("OpenAI for Go", "go", goClient(t, "./matrixopenai"), "", "chat", "responses")
	add("Anthropic for Go", "go", goClient(t, "./matrixanthropic"), "", "anthropic")
	add("Google for Go", "go", goClient(t, "./matrixgoogle"), "", "google")
	return out
}

// provided makes a provider of each dialect, and a route to each of its scenarios. What fails has a provider of its own,
// without a key that would rest.
func provided(t *testing.T, c *api.Client) {
	srv := httptest.NewServer(&scripted{t: t})
	t.Cleanup(srv.Close)
	provider := func(name, dialect, key string) {
		if _, err := c.AddProvider(t.Context(), api.NewProvider{Name: name, URL: srv.URL, Dialect: dialect, Key: key, AllowPrivate: true}); err != nil {
			t.Fatal(err)
		}
	}
	route := func(name, provider, model string) {
		if _, err := c.CreateRoute(t.Context(), api.NewRoute{Name: name, PriceIn: new(int64(1_000_000)), PriceOut: new(int64(2_000_000)),
			Backends: []api.NewBackend{{Provider: provider, Model: model}}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range everyDialect {
		word := map[string]string{"chat": "openai"}[d]
		if word == "" {
			word = d
		}
		provider(d, word, "the-providers-key")
		for s := range asks {
			route(d+"-"+s, d, s)
		}
		route(d+"-embeddings", d, "embeddings")
		provider(d+"-failing", word, "")
		for _, status := range statuses {
			route(fmt.Sprintf("%s-e%d", d, status), d+"-failing", fmt.Sprintf("e%d", status))
		}
	}
	provider("both", "openai,responses", "the-providers-key")
	route("both-plain", "both", "plain")
	if _, err := c.AddProvider(t.Context(), api.NewProvider{Name: "nobody", URL: "http://127.0.0.1:9", AllowPrivate: true}); err != nil {
		t.Fatal(err)
	}
	route("nobody", "nobody", "plain")
}

// cases are what a client is asked: every scenario of every provider that it has words for, streamed and whole, every
// failure of a provider, and every failure of Triarch's own.
func (s speaker) cases(t *testing.T, c *api.Client) []oneCase {
	var out []oneCase
	add := func(x oneCase) {
		x.ID, x.API = len(out), orText(x.API, s.api)
		out = append(out, x)
	}
	for _, p := range everyDialect {
		for scenario, fields := range asks {
			if names, ok := fields[s.api]; ok {
				for _, stream := range []bool{false, true} {
					x := oneCase{Scenario: scenario, Model: p + "-" + scenario, Stream: stream, provider: p}
					if field := refusedField(t, s.api, p, names); field != "" {
						x.status, x.says = 400, strings.TrimSuffix(strings.SplitN(field, ":", 2)[0], "[]")
					} else {
						x.want = s.wants(p, scenario)
					}
					add(x)
				}
			}
		}
		for _, status := range statuses {
			for _, stream := range []bool{false, true} {
				add(oneCase{Scenario: "plain", Model: fmt.Sprintf("%s-e%d", p, status), Stream: stream, provider: p, status: s.passedOn(p, status)})
			}
		}
		if s.api == "chat" || s.api == "google" {
			x := oneCase{API: "embeddings", Scenario: "embeddings", Model: p + "-embeddings", provider: p, want: obj{"text": "[[0.6,-0.8],[0.6,-0.8]]", "in": 8.0}}
			if p == "anthropic" {
				x.status, x.says, x.want = 400, "no embeddings", nil
			}
			add(x)
		}
	}
	if s.api == "chat" || s.api == "responses" {
		add(oneCase{Scenario: "plain", Model: "both-plain", provider: s.api, want: s.wants(s.api, "plain")})
	}
	return append(out, s.own(t, c, len(out))...)
}

// own are the failures of Triarch's own.
func (s speaker) own(t *testing.T, c *api.Client, first int) []oneCase {
	key := func(n api.NewKey) string {
		n.Name = fmt.Sprint(n.Name, " of ", s.name, " ", s.api)
		k, err := c.CreateKey(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return k.Key
	}
	none := int64(0)
	slow, again := key(api.NewKey{Name: "slow", RPM: 1}), map[string]string{"Idempotency-Key": s.name + s.api}
	unavailable, poor := 503, 429
	if s.api == "anthropic" {
		unavailable, poor = 529, 402
	}
	plain := s.wants("chat", "plain")
	delete(plain, "then")
	list := []oneCase{
		{Scenario: "plain", Model: "chat-plain", Key: "tri_nobody", status: 401},
		{Scenario: "plain", Model: "chat-plain", Key: key(api.NewKey{Name: "reader", Scopes: []string{"read"}}), status: 403},
		{Scenario: "plain", Model: "no-such-model", status: 404},
		{Scenario: "plain", Model: "chat-plain", Key: key(api.NewKey{Name: "poor", BudgetMicros: &none}), status: poor},
		{Scenario: "length", Model: "chat-plain", Headers: again, want: plain},
		{Scenario: "length", Model: "anthropic-plain", Headers: again, status: 409},
		{Scenario: "length", Model: "chat-plain", Key: slow, want: plain},
		{Scenario: "length", Model: "chat-plain", Key: slow, status: 429},
		{Scenario: "plain", Model: "nobody", status: unavailable},
	}
	for i := range list {
		list[i].ID, list[i].API, list[i].provider = first+i, s.api, "chat"
	}
	return list
}

func orText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// refusedField is the first of some fields that the published table refuses between two dialects.
func refusedField(t *testing.T, from, to string, names []string) string {
	if from == to {
		return ""
	}
	for _, name := range names {
		i := slices.IndexFunc(dialect.Table(), func(r dialect.Row) bool { return r.From == kinds[from] && r.To == kinds[to] && r.Field == name })
		if i < 0 {
			t.Fatalf("the table has no field %s of %s", name, from)
		}
		if dialect.Table()[i].Outcome == dialect.Refused {
			return name
		}
	}
	return ""
}

// passedOn is the status that a client gets where a provider answered with one. What the provider holds against the
// installation (its key, its balance, its room) is not the caller's doing.
func (s speaker) passedOn(p string, status int) int {
	switch {
	case status == 400, status == 409, status == 413:
		return status
	case status == 422 && s.api == p:
		return status
	case status == 422:
		return 400
	case s.api == "anthropic":
		return 529
	}
	return 503
}

// stops are the words that each dialect has for why an answer ended, by what each provider can say of it.
var stops = map[string]map[string]string{
	"chat":      {"end": "stop", "sequence": "stop", "length": "length", "tools": "tool_calls", "refusal": "content_filter", "filter": "content_filter"},
	"responses": {"end": "completed", "sequence": "completed", "length": "max_output_tokens", "tools": "completed", "refusal": "completed", "filter": "content_filter"},
	"anthropic": {"end": "end_turn", "sequence": "stop_sequence", "length": "max_tokens", "tools": "tool_use", "refusal": "refusal", "filter": "refusal"},
	"google":    {"end": "STOP", "sequence": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "refusal": "SAFETY", "filter": "SAFETY"},
}

// wants is what the client is to see of a scenario.
func (s speaker) wants(p, scenario string) obj {
	t := turns[scenario]
	openai := func(d string) bool { return d == "chat" || d == "responses" }
	want := obj{"text": strings.Join(t.text, ""), "in": float64(t.in), "cached": float64(t.cached), "out": float64(t.out), "reasoned": float64(t.reasoned)}
	stop := t.stop
	switch {
	case t.refusal != "" && openai(p) && openai(s.api):
		want["refusal"], stop = t.refusal, "end"
	case t.refusal != "" && openai(p):
		want["text"], stop = t.refusal, "end"
	case t.refusal != "" && p == "google":
		want["text"], stop = t.refusal, "filter"
	case t.refusal != "":
		want["text"] = t.refusal
	case stop == "sequence" && p != "anthropic":
		stop = "end"
	}
	want["stop"] = stops[s.api][stop]
	if s.api == "anthropic" && stop == "sequence" {
		want["sequence"] = "END"
	}
	if s.api == "anthropic" && p == "anthropic" {
		want["written"] = float64(t.written)
	}
	if t.thought != "" && (s.api != "chat" || p == "chat") { // chat has no way to ask for it
		want["thought"] = t.thought
	}
	carries := p == "google" || p == "anthropic" && s.api != "chat" || p == "responses" && (s.api == "responses" || s.api == "anthropic")
	if t.proof && carries {
		want["signed"] = s.signed(p)
	}
	var calls arr
	for _, c := range t.calls {
		var args any
		_ = json.Unmarshal([]byte(c.args), &args)
		calls = append(calls, arr{c.name, args})
	}
	if calls != nil {
		want["calls"] = calls
	}
	if t.probs {
		want["probs"] = arr{arr{"Yes", -0.01, 2.0}}
	}
	switch {
	case scenario == "tools":
		want["then"] = s.then(p)
	case scenario == "plain" && s.api == "responses" && s.lang == "python":
		want["then"] = want["text"]
	}
	return want
}

// signed says whether a client is shown a proof as such: Google's of a call stands in the call's id for all others, and
// its proofs of texts have no place in other dialects.
func (s speaker) signed(p string) bool {
	switch {
	case s.api == "chat":
		return false
	case s.api == "google":
		return p == "google"
	}
	return p != "google"
}

// then is what a provider answers to the results of its tools: whether its proof came back, and what a tool gave to see.
func (s speaker) then(p string) string {
	text := "no proof"
	back := map[string][]string{"google": everyDialect, "anthropic": {"anthropic", "responses"}, "responses": {"responses", "anthropic"}}
	if slices.Contains(back[p], s.api) {
		text = "proof"
	}
	if s.api != "chat" {
		text += ", image"
	}
	return text
}

// run has the client do all cases.
func run(t *testing.T, s speaker, url, owner string, cases []oneCase) map[int]line {
	plan, err := json.Marshal(obj{"media": obj{"png": shortPNG, "pdf": shortPDF, "url": imageURL}, "cases": cases})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(file, plan, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), s.command[0], s.command[1:]...)
	cmd.Env = append(os.Environ(), "TRIARCH_URL="+url, "TRIARCH_KEY="+owner, "TRIARCH_CASES="+file)
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, wrong.Bytes())
	}
	lines := map[int]line{}
	for text := range bytes.Lines(out) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		lines[l.Case] = l
	}
	return lines
}

// judge holds what the client saw against what was due.
func judge(t *testing.T, s speaker, cases []oneCase, lines map[int]line) {
	for _, c := range cases {
		l, name := lines[c.ID], fmt.Sprintf("%s of %s, stream %v", c.Scenario, c.Model, c.Stream)
		switch {
		case l.Seen == nil && l.Error == nil:
			t.Errorf("%s: nothing was said", name)
		case c.status == 0 && l.Error != nil:
			t.Errorf("%s: %+v", name, *l.Error)
		case c.status == 0:
			for k, v := range l.Seen {
				if zero := v == "" || v == false || v == 0.0 || fmt.Sprint(v) == "[]"; !zero || c.want[k] != nil {
					if d := cmp.Diff(c.want[k], v); d != "" {
						t.Errorf("%s: %s (-want +got):\n%s", name, k, d)
					}
				}
			}
		case l.Error == nil:
			t.Errorf("%s: served, not %d: %v", name, c.status, l.Seen)
		default:
			e := l.Error
			if e.Status != c.status || !strings.Contains(e.Message, c.says) || e.Class != s.class(c.status) || e.Kind == "" {
				t.Errorf("%s: %+v, want %d %s saying %q", name, *e, c.status, s.class(c.status), c.says)
			}
			if !e.ID && s.api != "google" {
				t.Errorf("%s: the exception has no request's id", name)
			}
		}
	}
	t.Logf("%d cases", len(cases))
}
