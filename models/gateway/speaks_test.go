package gateway

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

const wholeResponse = `{"id":"resp_up","object":"response","created_at":1,"status":"completed","model":"up","incomplete_details":null,"max_output_tokens":50,"output":[{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello there","annotations":[],"logprobs":[]}]}],"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":4},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":9}}`

// What a provider takes in the caller's own dialect of responses is untouched but for the model's name, in both
// directions, and the answer is kept as it was given.
func TestResponsesPassAsTheyAre(t *testing.T) {
	body := `{ "model" : "m", "x_unknown":[1], "max_output_tokens":50, "input":[{"role":"user","content":[{"type":"input_text","text":"Hello"}]}], "include":["reasoning.encrypted_content"], "stream":STREAM }`
	var told bytes.Buffer
	for _, c := range streams[engine.Responses] {
		told.Write(c.Data)
	}
	for stream, answer := range map[string]said{"false": {body: wholeResponse}, "true": {chunks: streams[engine.Responses]}} {
		r := newRig(t)
		e := &script{says: []said{answer}}
		r.route(spokenBy(engine.OpenAIResponses, abroad("up", 0, 1, e)))
		sent := strings.Replace(body, "STREAM", stream, 1)
		c := r.call(dialect.Responses, sent, false)
		var kept string
		c.Keep = func(b []byte) error { kept = string(b); return nil }
		w, err := r.run(c)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Replace(sent, `"m"`, `"up"`, 1); string(e.asked[0].Body) != want || e.asked[0].Path != openai.ResponsesPath {
			t.Errorf("asked %s %s", e.asked[0].Path, e.asked[0].Body)
		}
		want := wholeResponse
		usage := meter.Usage{Input: 7, Cached: 4, Output: 2, Reasoning: 1}
		if stream == "true" {
			want, usage = told.String(), meter.Usage{Input: 7, Output: 2} // the script's counts
		}
		if w.body.String() != want || kept != wholeResponse {
			t.Errorf("stream %s: got %s\nkept %s", stream, w.body.String(), kept)
		}
		if b := r.booked(); len(b) != 1 || b[0].Usage != usage || b[0].Kind != meter.Response || b[0].Outcome != meter.Finished {
			t.Errorf("booked %+v", b)
		}
	}
}

// A conversation is kept here: what came before stands in the input, and the provider is told of no other response.
func TestResponsesGoOnFromWhatIsKeptHere(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{body: wholeResponse}}}
	r.route(spokenBy(engine.OpenAIResponses, abroad("up", 0, 1, e)))
	c := r.call(dialect.Responses, `{"model":"m","previous_response_id":"resp_1","input":"and then?","store":true}`, false)
	c.Earlier = []byte(`[{"type":"message","role":"user","content":"first"},{"id":"rs_68ab","type":"reasoning","summary":[],"encrypted_content":"gAAAA"},{"id":"rs_0abc_1","type":"reasoning","summary":[],"encrypted_content":"triarch:anthropic:SIG"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"yes"}]}]`)
	if _, err := r.run(c); err != nil {
		t.Fatal(err)
	}
	want := `{"model":"up","previous_response_id":null,"input":[{"type":"message","role":"user","content":"first"},{"id":"rs_68ab","type":"reasoning","summary":[],"encrypted_content":"gAAAA"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"yes"}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"and then?"}]}],"store":true,"stream":true}`
	if d := cmp.Diff(want, string(e.asked[0].Body)); d != "" {
		t.Error(d)
	}
}

func TestResponsesThatLeanOnTheirProviderAreRefused(t *testing.T) {
	for field, body := range map[string]string{
		"conversation": `{"model":"m","input":"x","conversation":"conv_1"}`, "prompt": `{"model":"m","prompt":{"id":"pmpt_1"}}`,
		"background": `{"model":"m","input":"x","background":true}`, "input": `{"model":"m","input":[{"type":"item_ref\u0065rence","id":"msg_1"}]}`,
	} {
		r := newRig(t)
		e := &script{says: []said{{body: wholeResponse}}}
		r.route(spokenBy(engine.OpenAIResponses, abroad("up", 0, 1, e)))
		_, err := r.run(r.call(dialect.Responses, body, false))
		if f := fault.As(err); f.Kind != fault.Unsupported || f.Field != field || e.times() != 0 {
			t.Errorf("%s: %v", body, err)
		}
	}
	r := newRig(t)
	e := &script{says: []said{{body: wholeResponse}}}
	r.route(spokenBy(engine.OpenAIResponses, abroad("up", 0, 1, e)))
	if _, err := r.run(r.call(dialect.Responses, `{"model":"m","input":"x","conversation":null,"prompt":null,"background":false}`, false)); err != nil {
		t.Error(err)
	}
}

// The bound that the money sets is sent, and an answer that ended there says so.
func TestMoneyEndsAResponse(t *testing.T) {
	cut := strings.NewReplacer(`"status":"completed","model"`, `"status":"incomplete","model"`, `"incomplete_details":null`, `"incomplete_details": {"reason": "max_output_tokens"}`).Replace(wholeResponse)
	stream := []engine.Chunk{streams[engine.Responses][0], streams[engine.Responses][1],
		chunk("event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"sequence_number\":3,\"response\":"+cut+"}\n\n", 7, 2, true)}
	for body, answer := range map[string]said{`{"model":"m","input":"Hello"}`: {body: cut}, `{"model":"m","input":"Hello","stream":true}`: {chunks: stream}} {
		r := newRig(t)
		prompt := int64(len(body) + promptSlack)
		r.Quota = quota.NewBook(bounded{prompt + 4}, r.Now)
		e := &script{says: []said{answer}}
		r.route(spokenBy(engine.OpenAIResponses, abroad("up", 0, 1, e)))
		w, err := r.run(r.call(dialect.Responses, body, false))
		if err != nil {
			t.Fatal(err)
		}
		if n := gjson.GetBytes(e.asked[0].Body, "max_output_tokens").Int(); n != 2 {
			t.Errorf("asked %s", e.asked[0].Body)
		}
		if said := w.body.String(); w.header.Get(cutHeader) != "budget" && (!strings.Contains(said, "insufficient_quota") || strings.Contains(said, "response.incomplete")) {
			t.Errorf("not said to be cut: %s", said)
		}
		if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.OutOfMoney {
			t.Errorf("booked %+v", b)
		}
	}
}

func TestAFailedResponseIsNoGoodOne(t *testing.T) {
	r := newRig(t)
	failed := "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":3,\"response\":{\"id\":\"resp_up\",\"object\":\"response\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"oh\"},\"output\":[]}}\n\n"
	r.route(spokenBy(engine.OpenAIResponses, abroad("up", 0, 1, &script{says: []said{{chunks: []engine.Chunk{streams[engine.Responses][0], chunk(failed, 0, 1, true)}}}})))
	c := r.call(dialect.Responses, requests[dialect.Responses][1], true)
	c.Keep = func([]byte) error { t.Error("it was kept"); return nil }
	w, err := r.run(c)
	if err != nil || !strings.Contains(w.body.String(), "response.failed") {
		t.Errorf("%v: %s", err, w.body.String())
	}
	if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.Broke {
		t.Errorf("booked %+v", b)
	}
}

func TestVectorsOfGoogle(t *testing.T) {
	const answer = `{"embeddings":[{"values":[0.5,-0.5]},{"values":[0.25,0]}],"usageMetadata":{"promptTokenCount":9}}`
	r := newRig(t)
	e := &script{says: []said{{body: answer}}}
	target := r.route(spokenBy(engine.Google, abroad("up", 0, 1, e)))
	target.Route.Prices = meter.Prices{Input: 1_000_000, CachedInput: meter.Same, Output: 1_000_000, Reasoning: meter.Same, Embedding: 3_000_000}
	ask := func(k dialect.Kind, body string) (*written, error) {
		c := r.call(k, body, false)
		c.Path = openai.EmbeddingsPath
		return r.run(c)
	}
	w, err := ask(dialect.Chat, `{"model":"m","input":["one","two"],"dimensions":2,"user":"u","encoding_format":"base64"}`)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"requests":[{"model":"models/up","content":{"parts":[{"text":"one"}]},"outputDimensionality":2},{"model":"models/up","content":{"parts":[{"text":"two"}]},"outputDimensionality":2}]}`
	if q := e.asked[0]; string(q.Body) != want || q.Path != "/v1beta/models/up:batchEmbedContents" {
		t.Errorf("asked %s %s", q.Path, q.Body)
	}
	if got := w.body.String(); gjson.Get(got, "data.1.embedding").String() != "AACAPgAAAAA=" || gjson.Get(got, "usage.prompt_tokens").Int() != 9 || gjson.Get(got, "model").String() != "m" {
		t.Errorf("answered %s", got)
	}
	if w.header.Get(DroppedHeader) != "user" {
		t.Errorf("dropped %q", w.header.Get(DroppedHeader))
	}
	w, err = ask(dialect.Google, `{"requests":[{"model":"models/m","content":{"parts":[{"text":"one"}]},"taskType":"RETRIEVAL_QUERY","autoTruncate":false},{"model":"models/m","content":{"parts":[{"text":"two"}]}}]}`)
	if err != nil || gjson.Get(w.body.String(), "embeddings.1.values.0").Float() != 0.25 {
		t.Errorf("%v: %s", err, w.body.String())
	}
	if q := string(e.asked[1].Body); !strings.Contains(q, `"taskType":"RETRIEVAL_QUERY"`) || !strings.Contains(q, `"autoTruncate":false`) || strings.Contains(q, "models/m\"") {
		t.Errorf("asked %s", q)
	}
	for _, b := range r.booked() {
		if b.Usage != (meter.Usage{Embedding: 9}) || b.CostMicros != 27 {
			t.Errorf("booked %+v", b)
		}
	}
	if _, err = ask(dialect.Chat, `{"model":"m","input":[[1,2]]}`); !fault.Is(err, fault.Unsupported) {
		t.Errorf("tokens: %v", err)
	}
	// What tells no count is billed by what texts usually have.
	r.route(spokenBy(engine.Google, abroad("up", 0, 1, &script{says: []said{{body: `{"embeddings":[{"values":[1]}]}`}}})))
	if _, err = ask(dialect.Chat, `{"model":"m","input":"twelve bytes"}`); err != nil {
		t.Fatal(err)
	}
	if b := r.booked(); b[len(b)-1].Usage != (meter.Usage{Embedding: 4, Estimated: true}) {
		t.Errorf("booked %+v", b)
	}
	// A refusal is told in the caller's words.
	r.route(spokenBy(engine.Google, abroad("up", 0, 1, &script{says: []said{{status: 400, body: `{"error":{"code":400,"message":"too long","status":"INVALID_ARGUMENT"}}`}}})))
	if _, err = ask(dialect.Chat, `{"model":"m","input":"x"}`); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.As(err).Message, "too long") {
		t.Errorf("refused with %v", err)
	}
}

func TestWhoHasNoVectorsOrRanksSaysSo(t *testing.T) {
	for _, c := range []struct {
		d    engine.Dialect
		path string
		says string
	}{{engine.Anthropic, openai.EmbeddingsPath, "no embeddings"}, {engine.Anthropic, openai.RerankPath, "no reranking"}, {engine.Google, openai.RerankPath, "no reranking"}} {
		r := newRig(t)
		e := &script{says: []said{{body: "{}"}}}
		r.route(spokenBy(c.d, abroad("up", 0, 1, e)))
		q := r.call(dialect.Chat, `{"model":"m","input":"x","query":"q","documents":["d"]}`, false)
		q.Path = c.path
		_, err := r.run(q)
		if f := fault.As(err); f.Kind != fault.Unsupported || !strings.Contains(f.Message, c.says) || e.times() > 0 {
			t.Errorf("%s by %s: %v", c.path, c.d, err)
		}
	}
}

// A caller in Anthropic's dialect is told how many tokens its prompt has when the answer begins, as well as can be known
// then, and exactly when it ends.
func TestTheBeginningTellsThePrompt(t *testing.T) {
	at := func(w *written, name string) gjson.Result {
		for line := range strings.Lines(w.body.String()) {
			if data, ok := strings.CutPrefix(line, "data: "); ok && gjson.Get(data, "type").String() == name {
				if u := gjson.Get(data, "message.usage"); u.Exists() {
					return u
				}
				return gjson.Get(data, "usage")
			}
		}
		t.Errorf("no %s in %s", name, w.body.String())
		return gjson.Result{}
	}
	late := append([]engine.Chunk{}, streams[engine.OpenAI]...)
	late[0].Prompt, late[1].Prompt = 0, 0
	for name, c := range map[string]struct {
		d     engine.Dialect
		says  []engine.Chunk
		first int64
	}{
		"told at once":   {engine.OpenAI, streams[engine.OpenAI], 7},
		"told by Google": {engine.Google, streams[engine.Google], 7},
		"told late":      {engine.OpenAI, late, int64(len(requests[dialect.Anthropic][1])/usualToken + 1)},
	} {
		r := newRig(t)
		r.route(spokenBy(c.d, abroad("up", 0, 1, &script{says: []said{{chunks: c.says}}})))
		w, err := r.run(r.call(dialect.Anthropic, requests[dialect.Anthropic][1], true))
		if err != nil {
			t.Fatal(err)
		}
		if n := at(w, "message_start").Get("input_tokens").Int(); n != c.first {
			t.Errorf("%s: it begins with %d", name, n)
		}
		if u := at(w, "message_delta"); u.Get("input_tokens").Int() != 7 || u.Get("output_tokens").Int() != 2 {
			t.Errorf("%s: it ends with %s", name, u.Raw)
		}
	}
}

func TestAConflictStaysOne(t *testing.T) {
	for _, d := range []engine.Dialect{engine.Anthropic, engine.Responses} {
		r := newRig(t)
		r.route(spokenBy(d, abroad("up", 0, 1, &script{says: []said{{status: 409, body: `{"type":"error","error":{"type":"x","message":"busy"}}`}}})))
		_, err := r.run(r.call(dialect.Chat, requests[dialect.Chat][0], false))
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", d, errors.Unwrap(err))
		}
	}
}
