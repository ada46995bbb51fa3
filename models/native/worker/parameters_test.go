package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// complete asks for a completion and returns its only choice's text, its finish reason and its usage.
func (r *running) complete(path, body string) (text, finish string, u usage) {
	r.t.Helper()
	status, got := r.call("POST", path, body)
	var a answer
	if err := json.Unmarshal([]byte(got), &a); err != nil || status != 200 || len(a.Choices) != 1 {
		r.t.Fatalf("%s: %d %s", body, status, got)
	}
	return a.Choices[0].Text + a.Choices[0].Message.Content, *a.Choices[0].Finish, *a.Usage
}

func TestParametersReachTheEngine(t *testing.T) {
	r := start(t, Options{})
	const text = "/v1/completions"
	greedy, _, _ := r.complete(text, `{"prompt":"fox","temperature":0,"ignore_eos":true,"max_tokens":30}`)
	free, _, _ := r.complete(text, `{"prompt":"fox","temperature":2,"ignore_eos":true,"max_tokens":30,"seed":1}`)
	if greedy == free {
		t.Fatal("the temperature does nothing")
	}
	for name, params := range map[string]string{"top_p": `"top_p":0`, "top_k": `"top_k":1`, "min_p": `"min_p":1`} {
		if got, _, _ := r.complete(text, `{"prompt":"fox","temperature":2,"ignore_eos":true,"max_tokens":30,`+params+`}`); got != greedy {
			t.Errorf("%s that leaves one token gave %q, not %q", name, got, greedy)
		}
	}
	if got, _, _ := r.complete(text, `{"prompt":"fox","temperature":2,"ignore_eos":true,"max_tokens":30,"seed":1}`); got != free {
		t.Errorf("the same seed gave %q and %q", free, got)
	}
	for name, params := range map[string]string{"presence_penalty": `"presence_penalty":2`, "frequency_penalty": `"frequency_penalty":2`,
		"repetition_penalty": `"repetition_penalty":3`, "logit_bias": `"logit_bias":{"50":100}`} {
		if got, _, _ := r.complete(text, `{"prompt":"fox fox","temperature":0,"ignore_eos":true,"max_tokens":100,`+params+`}`); strings.HasPrefix(got, greedy) {
			t.Errorf("%s does nothing", name)
		}
	}
	m := `"messages":[{"role":"user","content":"hi"}],"ignore_eos":true`
	for body, want := range map[string]int{
		`{"prompt":"fox","ignore_eos":true}`:                     16,
		`{"prompt":"fox","ignore_eos":true,"max_tokens":3}`:      3,
		`{"prompt":[7,8,9],"ignore_eos":true,"max_tokens":1000}`: 125, // what the context leaves
	} {
		if _, finish, u := r.complete(text, body); u.Completion != want || finish != "length" {
			t.Errorf("%s: %d tokens, finish %q", body, u.Completion, finish)
		}
	}
	if _, _, u := r.complete("/v1/chat/completions", `{`+m+`,"max_tokens":9,"max_completion_tokens":4}`); u.Completion != 4 {
		t.Errorf("of both limits, the newer name: %d tokens", u.Completion)
	}
	if _, _, u := r.complete("/v1/chat/completions", `{`+m+`}`); u.Total != 128 {
		t.Errorf("without a limit: %+v", u)
	}
	if got, finish, u := r.complete(text, `{"prompt":"fox","logit_bias":{"3":100}}`); got != "" || finish != "stop" || u.Completion != 1 {
		t.Errorf("the end of the turn: %q, %q, %+v", got, finish, u)
	}
	if got, finish, u := r.complete(text, `{"prompt":"fox","logit_bias":{"50":100},"stop_token_ids":[50]}`); got != "" || finish != "stop" || u.Completion != 1 {
		t.Errorf("a stop token: %q, %q, %+v", got, finish, u)
	}
	at := strings.IndexFunc(free, func(r rune) bool { return r > ' ' && r < 0x7f })
	if got, finish, _ := r.complete(text, `{"prompt":"fox","temperature":2,"ignore_eos":true,"max_tokens":30,"seed":1,"stop":`+quote(free[at:at+1])+`}`); finish != "stop" ||
		got != free[:at] {
		t.Errorf("stop %q in %q: %q, finish %q", free[at:at+1], free, got, finish)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestScopesAndNames(t *testing.T) {
	r := start(t, Options{})
	long := quote(strings.Repeat("a b c ", 12))
	cached := func() string {
		_, m := r.call("GET", "/metrics", "")
		return grep(m, "triarch_native_prompt_tokens_cached_total ")
	}
	r.complete("/v1/completions", `{"prompt":`+long+`,"max_tokens":1}`)
	before := cached()
	r.header = map[string]string{"X-Cache-Scope": "another", "X-Request-Id": "req_7"}
	r.complete("/v1/completions", `{"prompt":`+long+`,"max_tokens":1}`)
	if cached() != before {
		t.Error("another scope found the prompt")
	}
	r.complete("/v1/completions", `{"prompt":`+long+`,"max_tokens":1}`)
	if cached() == before {
		t.Error("the same scope did not find it")
	}
	_, plain := r.call("POST", "/v1/completions", `{"prompt":`+long+`,"max_tokens":1}`)
	_, stream := r.call("POST", "/v1/completions", `{"prompt":`+long+`,"max_tokens":1,"stream":true}`)
	n := gjson.Get(plain, "usage.prompt_tokens_details.cached_tokens").Int()
	if told := fmt.Sprintf(": t %d 1 %d\n", gjson.Get(plain, "usage.prompt_tokens").Int(), n); n < 16 || !strings.Contains(stream, told) {
		t.Errorf("cached tokens are not told: %s\n%s", plain, stream)
	}
	res, err := r.do(t.Context(), "POST", "/v1/completions", `{"prompt":"a","model":"public/name","max_tokens":1}`)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var a answer
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil || a.Model != "public/name" || res.Header.Get("X-Request-Id") != "req_7" {
		t.Errorf("%v, model %q, request id %q", err, a.Model, res.Header.Get("X-Request-Id"))
	}
}
