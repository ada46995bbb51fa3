package modelapi

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

// Each class of refusal in each dialect has that dialect's status, word and shape, also before any handler.
func TestRefusalsInEveryDialect(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	_, good := r.key(tenancy.NewKey{Name: "good"})
	_, poor := r.funded(0)
	_, slow := r.key(tenancy.NewKey{Name: "slow", Limits: tenancy.Limits{RPM: 1}})
	huge := strings.Repeat("x", 1<<20+1)
	const google = "/v1beta/models/paced:generateContent"
	for name, c := range map[string]struct {
		method, path, key, body string
		status                  int
		at, word                string
	}{
		"messages: no key":        {"POST", "/v1/messages", "", `{}`, 401, "error.type", "authentication_error"},
		"messages: broken":        {"POST", "/v1/messages", good, `{`, 400, "error.type", "invalid_request_error"},
		"messages: no max_tokens": {"POST", "/v1/messages", good, `{"model":"paced","messages":[{"role":"user","content":"x"}]}`, 400, "error.type", "invalid_request_error"},
		"messages: no model":      {"POST", "/v1/messages", good, `{"model":"none","max_tokens":5,"messages":[]}`, 404, "error.type", "not_found_error"},
		"messages: method":        {"GET", "/v1/messages", good, ``, 405, "error.type", "invalid_request_error"},
		"messages: path":          {"POST", "/v1/messages/nothing", good, `{}`, 404, "error.type", "not_found_error"},
		"messages: large":         {"POST", "/v1/messages", good, huge, 413, "error.type", "request_too_large"},
		"messages: money":         {"POST", "/v1/messages", poor, `{"model":"paced","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`, 402, "error.type", "billing_error"},
		"google: no key":          {"POST", google, "", `{}`, 401, "error.status", "UNAUTHENTICATED"},
		"google: broken":          {"POST", google, good, `{`, 400, "error.status", "INVALID_ARGUMENT"},
		"google: no model":        {"POST", "/v1beta/models/none:generateContent", good, `{"contents":[{"parts":[{"text":"x"}]}]}`, 404, "error.status", "NOT_FOUND"},
		"google: method":          {"DELETE", google, good, ``, 405, "error.status", "INVALID_ARGUMENT"},
		"google: no such method":  {"POST", "/v1beta/models/paced:dance", good, `{}`, 404, "error.status", "NOT_FOUND"},
		"google: path":            {"GET", "/v1beta/nothing", good, ``, 404, "error.status", "NOT_FOUND"},
		"google: large":           {"POST", google, good, huge, 413, "error.status", "INVALID_ARGUMENT"},
		"google: money":           {"POST", google, poor, `{"contents":[{"parts":[{"text":"x"}]}]}`, 429, "error.status", "RESOURCE_EXHAUSTED"},
		"responses: broken":       {"POST", "/v1/responses", good, `{`, 400, "error.code", "invalid_json"},
		"responses: no key":       {"POST", "/v1/responses", "", `{}`, 401, "error.code", "invalid_api_key"},
		"responses: no such":      {"GET", "/v1/responses/resp_none", good, ``, 404, "error.code", "response_not_found"},
		"responses: gone on from": {"POST", "/v1/responses", good, `{"model":"paced","input":"x","previous_response_id":"resp_none"}`, 400, "error.code", "previous_response_not_found"},
		"responses: money":        {"POST", "/v1/responses", poor, `{"model":"paced","input":"x"}`, 429, "error.code", "insufficient_quota"},
		"moderations":             {"POST", "/v1/moderations", good, `{"input":"x"}`, 501, "error.code", "not_implemented"},
		"embeddings: none there":  {"POST", "/v1/embeddings", good, `{"model":"paced","input":"x"}`, 400, "error.code", "unsupported_endpoint"},
		"rerank: none there":      {"POST", "/v1/rerank", good, `{"model":"paced","query":"q","documents":["d"]}`, 400, "error.code", "unsupported_endpoint"},
		"files: no form":          {"POST", "/v1/files", good, `{}`, 400, "error.param", "file"},
		"files: no such":          {"GET", "/v1/files/file_none", good, ``, 404, "error.code", "file_not_found"},
	} {
		a := r.do(c.method, c.path, c.key, c.body)
		if got := gjson.Get(a.body, c.at).String(); a.status != c.status || got != c.word {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", name)
		}
	}
	body := `{"model":"paced","max_tokens":2,"messages":[{"role":"user","content":"x"}]}`
	if a := r.do("POST", "/v1/messages", slow, body); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.do("POST", "/v1/messages", slow, body); a.status != 429 || gjson.Get(a.body, "error.type").String() != "rate_limit_error" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if st := r.ledger.Stats(); st.Open != 0 {
		t.Errorf("refusals left %d records open", st.Open)
	}
}

// A key is taken from wherever the dialect's clients put it.
func TestKeysOfEveryDialect(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	for _, c := range []struct {
		path, header, value string
		status              int
	}{
		{"/v1/models", "Authorization", "Bearer " + secret, 200},
		{"/v1/models", "X-Api-Key", secret, 200},
		{"/v1beta/models", "X-Goog-Api-Key", secret, 200},
		{"/v1beta/models?key=" + secret, "X-Nothing", "", 200},
		{"/v1/models?key=" + secret, "X-Nothing", "", 401},
		{"/v1beta/models?key=wrong", "X-Nothing", "", 401},
	} {
		q, err := http.NewRequestWithContext(t.Context(), "GET", r.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set(c.header, c.value)
		resp, err := r.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s by %s: %d %s", strings.ReplaceAll(c.path, secret, "KEY"), c.header, resp.StatusCode, text)
		}
	}
}

func TestModelsInEveryDialect(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	q, _ := http.NewRequestWithContext(t.Context(), "GET", r.url+"/v1/models", nil)
	q.Header.Set("X-Api-Key", secret)
	q.Header.Set("Anthropic-Version", "2023-06-01")
	resp, err := r.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if gjson.GetBytes(text, "data.0.type").String() != "model" || gjson.GetBytes(text, "first_id").String() != "paced" {
		t.Errorf("Anthropic's: %s", text)
	}
	if a := r.do("GET", "/v1beta/models", secret, ""); gjson.Get(a.body, "models.0.name").String() != "models/paced" {
		t.Errorf("Google's: %s", a.body)
	}
	if a := r.do("GET", "/v1beta/models/paced", secret, ""); gjson.Get(a.body, "name").String() != "models/paced" {
		t.Errorf("Google's: %s", a.body)
	}
}

func TestEveryDialectIsServedAndBilledAlike(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 3})
	for _, c := range []struct{ path, body, at string }{
		{"/v1/messages", `{"model":"paced","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`, "content.0.text"},
		{"/v1/responses", `{"model":"paced","input":"x"}`, "output.0.content.0.text"},
		{"/v1beta/models/paced:generateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, "candidates.0.content.parts.0.text"},
		{"/v1beta/models/paced:streamGenerateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, "0.candidates.0.content.parts.0.text"},
	} {
		key, secret := r.key(tenancy.NewKey{Name: "k"})
		a := r.do("POST", c.path, secret, c.body)
		if got := gjson.Get(a.body, c.at).String(); a.status != 200 || !strings.HasPrefix("t1 t2 t3 ", got) || got == "" {
			t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
		if got := r.totals(key.ID); got.CompletionTokens != 3 || got.Requests != 1 || got.PromptTokens == 0 {
			t.Errorf("%s: billed %+v", c.path, got)
		}
	}
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	if a := r.do("POST", "/v1/messages/count_tokens", secret, `{"model":"paced","messages":[{"role":"user","content":"x"}]}`); gjson.Get(a.body, "input_tokens").Int() < 1 {
		t.Errorf("counted %d %s", a.status, a.body)
	}
	if a := r.do("POST", "/v1beta/models/paced:countTokens", secret, `{"contents":[{"parts":[{"text":"x"}]}]}`); gjson.Get(a.body, "totalTokens").Int() < 1 {
		t.Errorf("counted %d %s", a.status, a.body)
	}
}

// A conversation goes on by the id of its last response, for its own project alone, until it is deleted.
func TestConversationsByResponseID(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 3})
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	first := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"one"}`)
	id := gjson.Get(first.body, "id").String()
	streamed := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"two","stream":true,"previous_response_id":"`+id+`"}`)
	at := strings.LastIndex(streamed.body, "data: ")
	second := gjson.Get(streamed.body[at+6:], "response.id").String()
	if second == "" || gjson.Get(streamed.body[at+6:], "response.previous_response_id").String() != id {
		t.Fatalf("the stream ends with %s", streamed.body[at:])
	}
	third := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"three","previous_response_id":"`+second+`"}`)
	alone := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"three"}`)
	if more, less := gjson.Get(third.body, "usage.input_tokens").Int(), gjson.Get(alone.body, "usage.input_tokens").Int(); more <= less {
		t.Errorf("the earlier turns are not in the prompt: %d and %d tokens", more, less)
	}
	if a := r.do("GET", "/v1/responses/"+id, secret, ""); a.status != 200 || a.body != first.body {
		t.Errorf("read again: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/v1/responses/"+second+"/input_items", secret, ""); gjson.Get(a.body, "data.0.content.0.text").String() != "two" && gjson.Get(a.body, "data.0.content").String() != "two" {
		t.Errorf("items: %s", a.body)
	}
	unkept := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"x","store":false}`)
	if a := r.do("GET", "/v1/responses/"+gjson.Get(unkept.body, "id").String(), secret, ""); a.status != 404 {
		t.Errorf("what was not to be stored is there: %d", a.status)
	}
	if a := r.do("DELETE", "/v1/responses/"+id, secret, ""); a.status != 200 || !gjson.Get(a.body, "deleted").Bool() {
		t.Errorf("deleted: %d %s", a.status, a.body)
	}
	if a := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"x","previous_response_id":"`+second+`"}`); a.status != 400 {
		t.Errorf("gone on without its beginning: %d %s", a.status, a.body)
	}
}

func TestFiles(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	upload := func(purpose, text string) answer {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		_ = w.WriteField("purpose", purpose)
		part, _ := w.CreateFormFile("file", "lines.jsonl")
		_, _ = io.WriteString(part, text)
		_ = w.Close()
		q, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/files", &form)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+secret)
		q.Header.Set("Content-Type", w.FormDataContentType())
		resp, err := r.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, resp.Header, string(b), err}
	}
	a := upload("batch", "hello")
	id := gjson.Get(a.body, "id").String()
	if a.status != 200 || gjson.Get(a.body, "bytes").Int() != 5 || gjson.Get(a.body, "filename").String() != "lines.jsonl" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	upload("vision", "other")
	if a := upload("batch", strings.Repeat("x", 1<<16+1)); a.status != 413 {
		t.Errorf("too large: %d %s", a.status, a.body)
	}
	if a := upload("fun", "x"); a.status != 400 || gjson.Get(a.body, "error.param").String() != "purpose" {
		t.Errorf("purpose: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/v1/files?purpose=batch", secret, ""); gjson.Get(a.body, "data.#").Int() != 1 || gjson.Get(a.body, "data.0.id").String() != id {
		t.Errorf("listed %s", a.body)
	}
	page := r.do("GET", "/v1/files?limit=1", secret, "")
	if !gjson.Get(page.body, "has_more").Bool() {
		t.Errorf("first page: %s", page.body)
	}
	if a := r.do("GET", "/v1/files?limit=1&after="+gjson.Get(page.body, "last_id").String(), secret, ""); gjson.Get(a.body, "has_more").Bool() || gjson.Get(a.body, "data.0.id").String() != id {
		t.Errorf("second page: %s", a.body)
	}
	if a := r.do("GET", "/v1/files/"+id+"/content", secret, ""); a.body != "hello" {
		t.Errorf("content: %d %s", a.status, a.body)
	}
	for path, body := range map[string]string{
		"/v1/chat/completions":      `{"model":"paced","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"ID"}}]}]}`,
		"/v1/responses":             `{"model":"paced","input":[{"role":"user","content":[{"type":"input_file","file_id":"ID"}]}]}`,
		"/v1/messages":              `{"model":"paced","max_tokens":5,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"ID"}}]}]}`,
		"/v1/messages/count_tokens": `{"model":"paced","messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"ID"}}]}]}`,
	} {
		if a := r.do("POST", path, secret, strings.Replace(body, "ID", id, 1)); a.status == 400 && strings.Contains(a.body, "file_not_found") || a.status >= 500 {
			t.Errorf("%s with a file that is here: %d %s", path, a.status, a.body)
		}
		if a := r.do("POST", path, secret, strings.Replace(body, "ID", "file_of_another", 1)); a.status != 400 || !strings.Contains(a.body, "There is no file file_of_another here") {
			t.Errorf("%s with a file that is not here: %d %s", path, a.status, a.body)
		}
		if a := r.do("POST", path, secret, strings.Replace(body, "ID", strings.Repeat("x", 300), 1)); a.status != 400 {
			t.Errorf("%s with a long name: %d %s", path, a.status, a.body)
		}
	}
	if a := r.do("DELETE", "/v1/files/"+id, secret, ""); !gjson.Get(a.body, "deleted").Bool() {
		t.Errorf("deleted: %s", a.body)
	}
	if a := r.do("GET", "/v1/files/"+id+"/content", secret, ""); a.status != 404 {
		t.Errorf("still there: %d", a.status)
	}
}

// The statuses of faults are those of the table that clients were told of.
func TestDialectsAgreeOnWhoIsAtFault(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Invalid, fault.Unauthenticated, fault.Forbidden, fault.NotFound, fault.TooLarge} {
		for _, k := range dialect.Kinds {
			if status, _ := dialect.WriteError(k, fault.New(kind, "x")); status < 400 || status > 499 {
				t.Errorf("%s in %s: %d", kind, k, status)
			}
		}
	}
}
