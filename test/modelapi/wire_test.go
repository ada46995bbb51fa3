package modelapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

// expectError checks status and body of a refusal.
func expectError(t *testing.T, a answer, status int, kind, code, param string) {
	t.Helper()
	var b openai.ErrorBody
	if err := json.Unmarshal([]byte(a.body), &b); err != nil {
		t.Errorf("status %d, body %q: %v", a.status, a.body, err)
		return
	}
	str := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	if a.status != status || b.Error.Type != kind || str(b.Error.Code) != code || str(b.Error.Param) != param || b.Error.Message == "" {
		t.Errorf("got %d %s, want %d %s %q %q", a.status, a.body, status, kind, code, param)
	}
	if !strings.HasPrefix(a.header.Get("X-Request-Id"), "req_") {
		t.Errorf("x-request-id %q", a.header.Get("X-Request-Id"))
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	key, secret := r.key(tenancy.NewKey{Name: "k"})
	gone, goneSecret := r.key(tenancy.NewKey{Name: "gone"})
	if err := r.tenancy.RevokeKey(t.Context(), r.by, r.by.ProjectID, gone.ID, false); err != nil {
		t.Fatal(err)
	}
	_, reader := r.key(tenancy.NewKey{Name: "reader", Scopes: []tenancy.Scope{tenancy.Read}})
	_, poor := r.funded(0)
	r.addRoute("idle", 1, 1, 10, &native.Driver{})
	const chat, invalid = "/v1/chat/completions", "invalid_request_error"
	ask := func(extra string) string { return `{"model":"paced","messages":` + question + extra + `}` }
	for name, c := range map[string]struct {
		method, path, secret, body string
		status                     int
		kind, code, param          string
	}{
		"no key":            {"POST", chat, "", ask(""), 401, invalid, "invalid_api_key", ""},
		"unknown key":       {"POST", chat, "tri_x", ask(""), 401, invalid, "invalid_api_key", ""},
		"revoked key":       {"POST", chat, goneSecret, ask(""), 401, invalid, "invalid_api_key", ""},
		"key without scope": {"POST", chat, reader, ask(""), 403, invalid, "insufficient_permissions", ""},
		"no money":          {"POST", chat, poor, ask(""), 429, "insufficient_quota", "insufficient_quota", ""},
		"unknown model":     {"POST", chat, secret, `{"model":"x","messages":[]}`, 404, invalid, "model_not_found", "model"},
		"idle model":        {"POST", chat, secret, `{"model":"idle","messages":[]}`, 503, "server_error", "model_not_ready", ""},
		"no model":          {"POST", chat, secret, `{"messages":[]}`, 400, invalid, "missing_required_parameter", "model"},
		"model null":        {"POST", chat, secret, `{"model":null}`, 400, invalid, "", "model"},
		"model number":      {"POST", chat, secret, `{"model":5}`, 400, invalid, "", "model"},
		"model twice":       {"POST", chat, secret, `{"model":"paced","m\u006fdel":"x"}`, 400, invalid, "", "model"},
		"broken JSON":       {"POST", chat, secret, `{"model":"paced",`, 400, invalid, "invalid_json", ""},
		"no object":         {"POST", chat, secret, `[1,2]`, 400, invalid, "invalid_json", ""},
		"empty body":        {"POST", chat, secret, ``, 400, invalid, "invalid_json", ""},
		"trailing bytes":    {"POST", chat, secret, ask("") + "{}", 400, invalid, "invalid_json", ""},
		"stream word":       {"POST", chat, secret, ask(`,"stream":"yes"`), 400, invalid, "", "stream"},
		"options word":      {"POST", chat, secret, ask(`,"stream":true,"stream_options":1`), 400, invalid, "", "stream_options"},
		"usage word":        {"POST", chat, secret, ask(`,"stream":true,"stream_options":{"include_usage":1}`), 400, invalid, "", "stream_options.include_usage"},
		"max_tokens 0":      {"POST", chat, secret, ask(`,"max_tokens":0`), 400, invalid, "", "max_tokens"},
		"max_tokens word":   {"POST", chat, secret, ask(`,"max_tokens":"9"`), 400, invalid, "", "max_tokens"},
		"max_tokens twice":  {"POST", chat, secret, ask(`,"max_tokens":9,"max_tokens":9000`), 400, invalid, "", "max_tokens"},
		"completion -1":     {"POST", chat, secret, ask(`,"max_completion_tokens":-1`), 400, invalid, "", "max_completion_tokens"},
		"n 0":               {"POST", chat, secret, ask(`,"n":0`), 400, invalid, "", "n"},
		"n huge":            {"POST", chat, secret, ask(`,"n":99999999999999999999`), 400, invalid, "", "n"},
		"engine's own":      {"POST", chat, secret, ask(`,"temperature":-1`), 400, invalid, "", "temperature"},
		"body too large":    {"POST", chat, secret, ask(`,"x":"` + strings.Repeat("x", 1<<20) + `"`), 413, invalid, "request_too_large", ""},
		"unknown path":      {"POST", "/v1/nothing", secret, `{}`, 404, invalid, "unknown_url", ""},
		"wrong method":      {"GET", chat, secret, ``, 405, invalid, "method_not_allowed", ""},
		"model not there":   {"GET", "/v1/models/x", secret, ``, 404, invalid, "model_not_found", "model"},
		"model idle":        {"GET", "/v1/models/idle", secret, ``, 404, invalid, "model_not_found", "model"},
	} {
		t.Run(name, func(t *testing.T) {
			expectError(t, r.do(c.method, c.path, c.secret, c.body), c.status, c.kind, c.code, c.param)
		})
	}
	if got := r.totals(key.ID); got != (meter.Totals{}) {
		t.Errorf("refusals were billed: %+v", got)
	}
	if st := r.ledger.Stats(); st.Open != 0 {
		t.Errorf("refusals left %d records open", st.Open)
	}
}

func TestRateLimits(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	_, secret := r.key(tenancy.NewKey{Name: "k", Limits: tenancy.Limits{RPM: 2, TPM: 100_000}})
	body := `{"model":"paced","messages":` + question + `}`
	for left := 1; left >= 0; left-- {
		a := r.chat(secret, body)
		if h := a.header; a.status != 200 || h.Get("X-Ratelimit-Limit-Requests") != "2" || h.Get("X-Ratelimit-Remaining-Requests") != strconv.Itoa(left) ||
			h.Get("X-Ratelimit-Limit-Tokens") != "100000" {
			t.Errorf("status %d, headers %v", a.status, h)
		}
		if _, err := time.ParseDuration(a.header.Get("X-Ratelimit-Reset-Requests")); err != nil {
			t.Error(err)
		}
	}
	a := r.chat(secret, body)
	expectError(t, a, 429, "requests", "rate_limit_exceeded", "")
	after, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || after < 1 || after > 60 || a.header.Get("X-Should-Retry") != "" || a.header.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("headers %v", a.header)
	}
	_, secret = r.key(tenancy.NewKey{Name: "few tokens", Limits: tenancy.Limits{TPM: 1}})
	r.chat(secret, body)
	expectError(t, r.chat(secret, body), 429, "tokens", "rate_limit_exceeded", "")
}

// Requests that name no model, or are no requests, are requests too.
func TestRefusalsCountAgainstRateLimits(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	for _, body := range []string{`{"model":"nobody","messages":` + question + `}`, `{"model"`} {
		_, secret := r.key(tenancy.NewKey{Name: "k", Limits: tenancy.Limits{RPM: 2}})
		for range 2 {
			if a := r.chat(secret, body); a.status != 404 && a.status != 400 {
				t.Errorf("%s: status %d", body, a.status)
			}
		}
		a := r.chat(secret, body)
		expectError(t, a, 429, "requests", "rate_limit_exceeded", "")
		if a.header.Get("Retry-After") == "" || a.header.Get("X-Ratelimit-Remaining-Requests") != "0" {
			t.Errorf("headers %v", a.header)
		}
	}
}

func TestModels(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	_, secret := r.key(tenancy.NewKey{Name: "k", Role: tenancy.Viewer})
	r.addRoute("idle", 1, 1, 10, &native.Driver{})
	a := r.do("GET", "/v1/models", secret, "")
	want := fmt.Sprintf(`{"object":"list","data":[{"id":"paced","object":"model","created":1800000000,"owned_by":%q}]}`, r.by.ProjectID)
	if a.status != 200 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.do("GET", "/v1/models/paced", secret, ""); a.status != 200 || !strings.Contains(a.body, `"id":"paced"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A model that is not on a key's list is to that key as one that does not exist: to ask, to list, and in its error.
func TestModelsOfAKey(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	addr := strings.TrimPrefix(r.routes.targets["paced"].Backends[0].Endpoints[0].Replica, "rep_")
	r.addRoute("other", 1_000_000, 2_000_000, 1000, &native.Driver{}, addr)
	r.routes.targets["other"].Route.Aliases = []string{"second"}
	r.routes.targets["second"] = r.routes.targets["other"]
	ask := func(secret, model string) answer {
		return r.chat(secret, `{"model":"`+model+`","max_tokens":2,"messages":`+question+`}`)
	}
	for _, c := range []struct{ on, listed string }{{"paced", "paced"}, {"other", "other"}, {"second", "other"}} {
		_, secret := r.key(tenancy.NewKey{Name: "k", Role: tenancy.Viewer, Models: []string{c.on, "nobody"}})
		if a := r.do("GET", "/v1/models", secret, ""); strings.Count(a.body, `"id"`) != strings.Count(a.body, `"id":"`+c.listed+`"`) || !strings.Contains(a.body, c.listed) {
			t.Errorf("%s is on the list: %s", c.on, a.body)
		}
		for _, model := range []string{"paced", "other", "second"} {
			a, shown := ask(secret, model), r.do("GET", "/v1/models/"+model, secret, "")
			if (model == "paced") == (c.listed == "paced") {
				if a.status != 200 || shown.status != 200 {
					t.Errorf("%s is on the list, %s: %d %s, %d", c.on, model, a.status, a.body, shown.status)
				}
				continue
			}
			expectError(t, a, 404, "invalid_request_error", "model_not_found", "model")
			if none := ask(secret, "nobody"); strings.ReplaceAll(none.body, "nobody", model) != a.body || none.status != a.status || shown.status != 404 {
				t.Errorf("%s can be told from one that does not exist: %s, %s, %d", model, a.body, none.body, shown.status)
			}
			for _, x := range []struct{ path, body string }{
				{"/v1/messages", `{"model":"` + model + `","max_tokens":2,"messages":` + question + `}`},
				{"/v1/messages/count_tokens", `{"model":"` + model + `","messages":` + question + `}`},
				{"/v1/embeddings", `{"model":"` + model + `","input":"x"}`},
				{"/v1/responses", `{"model":"` + model + `","input":"x"}`},
				{"/v1beta/models/" + model + ":generateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`},
			} {
				if a := r.do("POST", x.path, secret, x.body); a.status != 404 {
					t.Errorf("%s of %s: %d %s", x.path, model, a.status, a.body)
				}
			}
		}
	}
}

func TestStreamsAndAnswers(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 6})
	key, secret := r.key(tenancy.NewKey{Name: "k"})
	a := r.chat(secret, `{"model":"paced","n":3,"messages":`+question+`}`)
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" || !strings.Contains(a.body, `"completion_tokens":18,`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
		for _, usage := range []bool{false, true} {
			body := `{"model":"paced","stream":true,"stream_options":{"include_usage":` + strconv.FormatBool(usage) + `},"prompt":"p","messages":` + question + `}`
			a := r.do("POST", path, secret, body)
			if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") || !strings.HasSuffix(a.body, "t6 \"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n") && path == openai.ChatPath && !usage {
				t.Errorf("%d %s", a.status, a.body)
			}
			if strings.Contains(a.body, `"usage":{`) != usage || strings.Contains(a.body, ": t ") || a.header.Get("X-Ratelimit-Limit-Requests") != "" {
				t.Errorf("usage %v: %s", usage, a.body)
			}
		}
	}
	if got := r.totals(key.ID); got.Requests != 5 || got.CompletionTokens != 18+4*6 {
		t.Errorf("booked %+v", got)
	}
}

func TestBrokenEngine(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 20, Break: 7, Pace: time.Millisecond})
	key, secret := r.key(tenancy.NewKey{Name: "k"})
	a := r.chat(secret, `{"model":"paced","stream":true,"messages":`+question+`}`)
	if a.status != 200 || a.err != nil || tokensIn([]byte(a.body)) != 7 || !strings.Contains(a.body, `"code":"engine_failed"`) || strings.Contains(a.body, "[DONE]") {
		t.Errorf("%d %v\n%s", a.status, a.err, a.body)
	}
	if got := r.totals(key.ID); got.Requests != 1 || got.CompletionTokens != 7 {
		t.Errorf("booked %+v", got)
	}
	if rec := r.records(); len(rec) != 1 || rec[0].Outcome != meter.Broke {
		t.Errorf("records %+v", rec)
	}
}

func TestDeadReplicaIsPassedOver(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	key, secret := r.key(tenancy.NewKey{Name: "k"})
	live := r.routes.targets["paced"].Backends[0].Endpoints[0].Addr
	r.addRoute("two", 1, 1, 100, &native.Driver{}, "127.0.0.1:1", live)
	for range 4 {
		if a := r.chat(secret, `{"model":"two","messages":`+question+`}`); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if got := <-r.routes.suspects; got != "rep_127.0.0.1:1" {
		t.Errorf("suspect %s", got)
	}
	r.addRoute("dead", 1, 1, 100, &native.Driver{}, "127.0.0.1:1", "127.0.0.1:2")
	a := r.chat(secret, `{"model":"dead","messages":`+question+`}`)
	expectError(t, a, 503, "server_error", "unavailable", "")
	if a.header.Get("Retry-After") == "" {
		t.Error("no retry-after")
	}
	r.routes.targets["two"].Backends[0].Endpoints[1].Secret = "wrong"
	a = r.chat(secret, `{"model":"two","messages":`+question+`}`)
	if !strings.Contains(a.body, `"code":"unavailable"`) { // the word of the one that was asked last, which chance decides
		expectError(t, a, 503, "server_error", "model_not_ready", "")
	}
	if got := r.totals(key.ID); got.Requests != 4 {
		t.Errorf("booked %+v", got)
	}
}

// A replica that says it is busy is passed over while there is another; the last one's word reaches the client.
func TestBusyReplicaIsPassedOver(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"error":{"message":"full","type":"server_error","param":null,"code":"queue_full"}}`)
	}))
	defer srv.Close()
	busy, live := strings.TrimPrefix(srv.URL, "http://"), r.routes.targets["paced"].Backends[0].Endpoints[0].Addr
	r.addRoute("two", 1, 1, 100, &native.Driver{}, busy, live)
	for range 3 {
		if a := r.chat(secret, `{"model":"two","messages":`+question+`}`); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	r.addRoute("busy", 1, 1, 100, &native.Driver{}, busy)
	a := r.chat(secret, `{"model":"busy","messages":`+question+`}`)
	expectError(t, a, 503, "server_error", "queue_full", "")
	if a.header.Get("Retry-After") != "7" {
		t.Errorf("headers %v", a.header)
	}
}

// faulty is an engine whose driver panics, gives more than it may, or something else than it should.
type faulty struct {
	chunks []engine.Chunk
	panic  bool   // after them
	kind   string // content type; text/event-stream if empty
	read   int
	closed bool
}

func (f *faulty) Name() string                                  { return "faulty" }
func (f *faulty) Command(engine.Spec) (job.Command, error)      { return job.Command{}, nil }
func (f *faulty) Health(context.Context, engine.Endpoint) error { return nil }
func (f *faulty) Open(context.Context, engine.Endpoint, engine.Request) (engine.Stream, error) {
	f.read, f.closed = 0, false
	return &faultyStream{f}, nil
}

type faultyStream struct{ *faulty }

func (s *faultyStream) Status() int { return http.StatusOK }
func (s *faultyStream) Header(string) string {
	if s.kind != "" {
		return s.kind
	}
	return "text/event-stream"
}
func (s *faultyStream) Close() error { s.closed = true; return nil }
func (s *faultyStream) Next() (engine.Chunk, error) {
	if s.read == len(s.chunks) {
		if s.panic {
			panic("a defect")
		}
		return engine.Chunk{}, io.EOF
	}
	s.read++
	return s.chunks[s.read-1], nil
}

func TestPanicSettles(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	key, secret := r.key(tenancy.NewKey{Name: "k", Limits: tenancy.Limits{Concurrency: 1}})
	for n, first := range []engine.Chunk{{Data: []byte("data: x\n\n"), Prompt: 3, Completion: 4}, {Prompt: 3}} {
		r.addRoute("faulty", 1_000_000, 1_000_000, 100, &faulty{chunks: []engine.Chunk{first}, panic: true}, "x")
		a := r.chat(secret, `{"model":"faulty","stream":true,"messages":[]}`)
		if n == 0 && (a.status != 200 || a.err == nil) {
			t.Errorf("a panic in mid-stream looked like an end: %d %q", a.status, a.body)
		}
		if n == 1 {
			expectError(t, a, 500, "server_error", "internal_error", "")
		}
	}
	if got := r.totals(key.ID); got.Requests != 1 || got.CompletionTokens != 4 {
		t.Errorf("booked %+v", got)
	}
	if st := r.ledger.Stats(); st.Open != 0 {
		t.Errorf("%d records left open", st.Open)
	}
}

// A stream whose engine gives more than the money pays for is cut there, with the reason, and the engine is stopped;
// nothing beyond is delivered or billed.
func TestOverrunningEngine(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	var chunks []engine.Chunk
	for n := 1; n <= 50; n++ {
		chunks = append(chunks, engine.Chunk{Data: fmt.Appendf(nil, "data: piece %d.\n\n", n), Prompt: 20, Completion: n})
	}
	for name, c := range map[string]struct {
		chunks            []engine.Chunk
		read              int
		prompt, completed int64
	}{
		"token by token": {chunks, 11, 20, 10},
		"all at once":    {chunks[49:], 1, 20, 0},
		"a long prompt":  {[]engine.Chunk{{Data: []byte("data: piece 1.\n\n"), Prompt: 5000, Completion: 1}}, 1, 100, 0},
	} {
		key, secret := r.funded(200)
		e := &faulty{chunks: c.chunks}
		r.addRoute("faulty", 1_000_000, 1_000_000, 100, e, "x")
		a := r.chat(secret, `{"model":"faulty","stream":true,"max_tokens":10,"messages":[]}`)
		if got := strings.Count(a.body, "piece"); got != int(c.completed) || !e.closed || e.read != c.read {
			t.Errorf("%s: %d pieces came; the engine was read %d times, stopped %v", name, got, e.read, e.closed)
		}
		if !strings.Contains(a.body, `"code":"insufficient_quota"`) || !strings.HasSuffix(a.body, "\n\ndata: [DONE]\n\n") {
			t.Errorf("%s: no reason: %s", name, a.body)
		}
		got := r.totals(key.ID)
		if got.CompletionTokens != c.completed || got.PromptTokens > c.prompt || got.CostMicros != got.PromptTokens+c.completed {
			t.Errorf("%s: booked %+v", name, got)
		}
		if rec := r.records(); rec[len(rec)-1].Outcome != meter.OutOfMoney {
			t.Errorf("%s: outcome %s", name, rec[len(rec)-1].Outcome)
		}
	}
}

// An answer in one piece that is longer than it was asked to be is made already: it is delivered, and billed within the
// money.
func TestOverrunningWhole(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	key, secret := r.funded(200)
	r.addRoute("faulty", 1_000_000, 1_000_000, 100, &faulty{kind: "application/json",
		chunks: []engine.Chunk{{Data: []byte(`{"usage":{"prompt_tokens":5000,"completion_tokens":5000}}`)}}}, "x")
	if a := r.chat(secret, `{"model":"faulty","max_tokens":10,"messages":[]}`); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := r.totals(key.ID); got.CostMicros > 200 || got.CompletionTokens != 10 {
		t.Errorf("booked %+v", got)
	}
}

// What of an answer was cached or reasoning is billed as that, streamed or not, and what cannot be true to the caller's advantage.
func TestPartsOfUsage(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	prices := meter.Prices{Input: 1_000_000, CachedInput: 100_000, Output: 2_000_000, Reasoning: 5_000_000, Embedding: meter.Same, Request: 3}
	whole := func(usage string) []engine.Chunk { return []engine.Chunk{{Data: []byte(`{"usage":{` + usage + `}}`)}} }
	streamed := func(c engine.Chunk) []engine.Chunk {
		c.Data, c.Done = []byte("data: x\n\ndata: [DONE]\n\n"), true
		return []engine.Chunk{{Data: []byte("data: x\n\n"), Prompt: c.Prompt}, c}
	}
	for name, c := range map[string]struct {
		chunks []engine.Chunk
		want   meter.Usage
		cost   int64
	}{
		"whole": {whole(`"prompt_tokens":50,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":4}`),
			meter.Usage{Input: 50, Cached: 40, Output: 10, Reasoning: 4}, 10 + 4 + 12 + 20 + 3},
		"stream": {streamed(engine.Chunk{Prompt: 50, Completion: 10, Cached: 40, Reasoning: 4}),
			meter.Usage{Input: 50, Cached: 40, Output: 10, Reasoning: 4}, 10 + 4 + 12 + 20 + 3},
		"more cached than read":   {whole(`"prompt_tokens":50,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":99}`), meter.Usage{Input: 50, Cached: 50, Output: 10}, 5 + 20 + 3},
		"more reasoned than made": {streamed(engine.Chunk{Prompt: 50, Completion: 10, Reasoning: 99}), meter.Usage{Input: 50, Output: 10}, 50 + 20 + 3},
		"negative":                {whole(`"prompt_tokens":-50,"completion_tokens":-1,"prompt_tokens_details":{"cached_tokens":-9}`), meter.Usage{}, 3},
		"beyond the bounds":       {whole(`"prompt_tokens":9e15,"completion_tokens":9e15,"prompt_tokens_details":{"cached_tokens":9e15}`), meter.Usage{Input: 100, Cached: 100, Output: 10}, 10 + 20 + 3},
	} {
		key, secret := r.funded(1000)
		r.addRoute("faulty", 0, 0, 100, &faulty{chunks: c.chunks, kind: map[bool]string{true: "application/json"}[len(c.chunks) == 1]}, "x")
		r.routes.targets["faulty"].Route.Prices = prices
		if a := r.chat(secret, `{"model":"faulty","stream":`+strconv.FormatBool(len(c.chunks) > 1)+`,"max_tokens":10,"messages":[]}`); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if got := r.totals(key.ID); got.CostMicros != c.cost || got.CachedTokens != c.want.Cached || got.ReasoningTokens != c.want.Reasoning {
			t.Errorf("%s: totals %+v", name, got)
		}
		rec := r.records()
		if got := rec[len(rec)-1]; got.Usage != c.want || got.CostMicros != c.cost || got.Prices != prices.Resolved() {
			t.Errorf("%s: booked %+v for %d", name, got.Usage, got.CostMicros)
		}
	}
	if books, err := r.db.Meter().Check(t.Context()); err != nil || len(books.Faults) > 0 {
		t.Errorf("%+v, %v", books, err)
	}
}

// What an engine sends behind the end of a stream reaches nobody.
func TestBehindTheEnd(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	key, secret := r.key(tenancy.NewKey{Name: "k"})
	r.addRoute("faulty", 1_000_000, 1_000_000, 100, &faulty{chunks: []engine.Chunk{
		{Data: []byte("data: x\n\ndata: [DONE]\n\n"), Prompt: 3, Completion: 4, Done: true},
		{Data: []byte("data: behind\n\n"), Prompt: 3, Completion: 5, Done: true}}}, "x")
	a := r.chat(secret, `{"model":"faulty","stream":true,"messages":[]}`)
	if a.status != 200 || a.err != nil || a.body != "data: x\n\ndata: [DONE]\n\n" {
		t.Errorf("%d %v %q", a.status, a.err, a.body)
	}
	if got := r.totals(key.ID); got.CompletionTokens != 4 {
		t.Errorf("booked %+v", got)
	}
}

// An engine that answers a request for a stream with something else is broken: what it says could not be metered.
func TestNoStreamWhereOneWasAsked(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{})
	key, secret := r.funded(1000)
	r.addRoute("faulty", 1_000_000, 1_000_000, 100, &faulty{kind: "application/json", chunks: []engine.Chunk{{Data: []byte(`{"free":"text"}`)}}}, "x")
	a := r.chat(secret, `{"model":"faulty","stream":true,"messages":[]}`)
	expectError(t, a, 503, "server_error", "engine_failed", "")
	if got := r.totals(key.ID); got != (meter.Totals{}) || strings.Contains(a.body, "free") {
		t.Errorf("booked %+v: %s", got, a.body)
	}
}

// Projects share no cache: the engine is told whose request it is.
func TestEnginesKnowTheProject(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	var scopes []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		scopes = append(scopes, q.Header.Get("X-Cache-Scope"))
		r.engine.ServeHTTP(w, q)
	}))
	defer srv.Close()
	r.addRoute("heard", 1, 1, 100, &native.Driver{}, strings.TrimPrefix(srv.URL, "http://"))
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	for _, options := range []string{"", `,"stream":true`} {
		if a := r.chat(secret, `{"model":"heard","messages":`+question+options+`}`); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if want := []string{r.by.ProjectID, r.by.ProjectID}; !slices.Equal(scopes, want) {
		t.Errorf("scopes %q, want %q", scopes, want)
	}
}

// With no room for the ledger nothing is served, and nothing is half done.
func TestFullDiskRefuses(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	key, secret := r.funded(1_000_000)
	i := meter.Identity{Start: time.Now()}
	l, err := meter.Open(t.TempDir()+"/full", "node_test", meter.Options{Slots: 1, MaxSegments: 1, SyncEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e, err := l.Begin(&i)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Void()
	r.gateway.Ledger = l
	a := r.chat(secret, `{"model":"paced","messages":`+question+`}`)
	expectError(t, a, 503, "server_error", "unavailable", "")
	if r.engine.Opened.Load() != 0 || r.book.Spent(raw(t, key.ID)) != 0 {
		t.Error("something was served or spent")
	}
	r.gateway.Ledger = r.ledger
	if a := r.chat(secret, `{"model":"paced","messages":`+question+`}`); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
