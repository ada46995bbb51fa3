package worker

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestFormsOfAnswers(t *testing.T) {
	r := start(t, Options{})
	const schema = `{"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer"}},"required":["name","n"],"additionalProperties":false}`
	isObject := func(text string) bool {
		var v struct {
			Name *string
			N    *int
		}
		return json.Unmarshal([]byte(text), &v) == nil && v.Name != nil && v.N != nil
	}
	isYesNo := func(text string) bool { return text == "yes" || text == "no" }
	for params, ok := range map[string]func(string) bool{
		`"response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":` + schema + `}}`: isObject,
		`"guided_json":` + schema:                               isObject,
		`"guided_json":` + quote(schema):                        isObject,
		`"structured_outputs":{"json":` + schema + `}`:          isObject,
		`"response_format":{"type":"json_object"}`:              func(s string) bool { return json.Valid([]byte(s)) && s[0] == '{' },
		`"guided_choice":["yes","no"]`:                          isYesNo,
		`"guided_grammar":"root ::= \"yes\" | \"no\""`:          isYesNo,
		`"grammar":"root ::= \"yes\" | \"no\""`:                 isYesNo,
		`"guided_regex":"[ab]{3}"`:                              regexp.MustCompile(`^[ab]{3}$`).MatchString,
		`"response_format":{"type":"text"},"guided_regex":"水+"`: regexp.MustCompile(`^水+$`).MatchString,
	} {
		for seed := range 5 {
			body := fmt.Sprintf(`%s,"seed":%d,"max_tokens":40,"temperature":2}`, params, seed)
			for path, head := range map[string]string{"/v1/chat/completions": `{"messages":[{"role":"user","content":"hi"}],`, "/v1/completions": `{"prompt":"a",`} {
				text, finish, u := r.complete(path, head+body)
				if !ok(text) || finish != "stop" || u.Completion > 40 {
					t.Errorf("%s: %q, finish %q, %+v", params, text, finish, u)
				}
			}
		}
	}
	_, m := r.call("GET", "/metrics", "")
	if got := grep(m, "triarch_native_form_compile_seconds_count "); !strings.HasSuffix(strings.TrimSpace(got), " 6") {
		t.Errorf("six different forms were compiled, the metrics say %q", got)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	r := start(t, Options{})
	for params, want := range map[string][]string{
		`"response_format":{"type":"xml"}`:                                             {"response_format", "unsupported_value"},
		`"response_format":{"type":"json_schema"}`:                                     {"response_format.json_schema.schema", ""},
		`"response_format":{"type":"json_schema","json_schema":{"schema":{"not":{}}}}`: {"response_format.json_schema.schema", "unsupported_schema"},
		`"guided_choice":[]`:                                                           {"guided_choice", ""},
		`"guided_choice":["a",null]`:                                                   {"guided_choice", ""},
		`"guided_grammar":"x"`:                                                         {"guided_grammar", "unsupported_schema"},
		`"guided_regex":"("`:                                                           {"guided_regex", "unsupported_schema"},
		`"guided_regex":"a","guided_choice":["a"]`:                                     {"guided_choice", ""},
		`"guided_regex":"a{30}","max_tokens":3`:                                        {"max_tokens", "max_tokens_too_small"},
		`"guided_regex":"a{999}"`:                                                      {"messages", "context_length_exceeded"},
		`"guided_regex":"a","stop":"b"`:                                                {"stop", ""},
	} {
		status, got := r.call("POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],`+params+`}`)
		var a struct {
			Error struct{ Message, Param, Code string }
		}
		if err := json.Unmarshal([]byte(got), &a); err != nil || status != 400 || a.Error.Param != want[0] || a.Error.Code != want[1] {
			t.Errorf("%s: %d %s", params, status, got)
		}
	}
}
