package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// requests of each dialect for the model "m"; stream for those whose body says it.
var requests = map[dialect.Kind][2]string{
	dialect.Chat:        {`{"model":"m","messages":[{"role":"user","content":"Hello"}]}`, `{"model":"m","messages":[{"role":"user","content":"Hello"}],"stream":true}`},
	dialect.Completions: {`{"model":"m","prompt":"Hello"}`, `{"model":"m","prompt":"Hello","stream":true}`},
	dialect.Responses:   {`{"model":"m","input":"Hello"}`, `{"model":"m","input":"Hello","stream":true}`},
	dialect.Anthropic:   {`{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"Hello"}]}`, `{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"Hello"}],"stream":true}`},
	dialect.Google:      {`{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}`, `{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}`},
}

// chunks are a stream of each upstream's dialect that says "Hello there", of 7 and 2 tokens.
var streams = map[engine.Dialect][]engine.Chunk{
	engine.OpenAI: {
		chunk("data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hello\"}}]}\n\n", 7, 1, false),
		chunk("data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" there\"}}]}\n\n", 7, 2, false),
		chunk("data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\ndata: [DONE]\n\n", 7, 2, true),
	},
	engine.Anthropic: {
		chunk("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"up\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":7,\"output_tokens\":0}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n", 7, 1, false),
		chunk("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" there\"}}\n\n", 7, 2, false),
		chunk("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", 7, 2, true),
	},
	engine.Responses: {
		chunk("event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_up\",\"object\":\"response\",\"created_at\":1,\"status\":\"in_progress\",\"model\":\"up\",\"output\":[],\"usage\":null}}\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"Hello\",\"logprobs\":[]}\n\n", 0, 1, false),
		chunk("event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":2,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\" there\",\"logprobs\":[]}\n\n", 0, 2, false),
		chunk("event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":3,\"response\":"+wholeResponse+"}\n\n", 7, 2, true),
	},
	engine.Google: {
		chunk("data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Hello\"}]},\"index\":0}],\"modelVersion\":\"up\",\"responseId\":\"r\"}\n\n", 7, 1, false),
		chunk("data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\" there\"}]},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":2,\"totalTokenCount\":9},\"modelVersion\":\"up\",\"responseId\":\"r\"}\n\n", 7, 2, true),
	},
}

func (r *rig) call(k dialect.Kind, body string, stream bool) *Call {
	raw := id.Default().Raw()
	c := &Call{Who: r.who, Path: openai.ChatPath, Body: []byte(body), Request: raw, RequestID: "req_" + raw.String(), Dialect: k}
	switch k {
	case dialect.Chat:
		c.Dialect = ""
	case dialect.Completions:
		c.Dialect, c.Path = "", openai.CompletionPath
	case dialect.Google:
		c.Model, c.Stream = "m", stream
	}
	return c
}

func (r *rig) run(c *Call) (*written, error) {
	w := &written{header: http.Header{}}
	return w, r.Do(context.Background(), w, c)
}

func spokenBy(d engine.Dialect, u *serve.Upstream) *serve.Upstream {
	u.Dialect, u.Responses = d.Main(), d.TakesResponses()
	return u
}

// textOf joins the text of an answer in one piece or as a stream.
func textOf(k dialect.Kind, body string, stream bool) string {
	paths := map[dialect.Kind][2]string{
		dialect.Chat: {"choices.0.message.content", "choices.0.delta.content"}, dialect.Completions: {"choices.0.text", "choices.0.text"},
		dialect.Responses: {"output.0.content.0.text", "delta"}, dialect.Anthropic: {"content.0.text", "delta.text"},
		dialect.Google: {"candidates.0.content.parts.0.text", "candidates.0.content.parts.0.text"},
	}[k]
	if !stream {
		return gjson.Get(body, paths[0]).String()
	}
	text := ""
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(line, "data: "); ok && json.Valid([]byte(data)) {
			text += gjson.Get(data, paths[1]).String()
		}
	}
	return text
}

func TestEveryDialectMeetsEveryBackend(t *testing.T) {
	for _, up := range []engine.Dialect{engine.OpenAI, engine.Responses, engine.Anthropic, engine.Google} {
		for _, k := range dialect.Kinds {
			for i, stream := range []bool{false, true} {
				r := newRig(t)
				e := &script{says: []said{{chunks: streams[up]}}}
				r.route(spokenBy(up, abroad("up", 0, 1, e)))
				u := r.routes.targets["m"].Backends[0]
				c := r.call(k, requests[k][i], stream)
				probe := &flight{Gateway: r.Gateway, call: c}
				if err := probe.read(); err != nil {
					t.Fatal(k, err)
				}
				if probe.alike(u) && (!stream || k == dialect.Completions || k == dialect.Responses) {
					continue // passed as it is, and the script has no such answer
				}
				w, err := r.run(c)
				if err != nil {
					t.Errorf("%s to %s: %v", k, up, err)
					continue
				}
				if got := textOf(k, w.body.String(), stream); got != "Hello there" {
					t.Errorf("%s to %s, stream %v: %q of %s", k, up, stream, got, w.body.String())
				}
				if !e.asked[0].Stream {
					t.Errorf("%s to %s: no stream was asked for", k, up)
				}
				if b := r.booked(); len(b) != 1 || b[0].Usage != (meter.Usage{Input: 7, Output: 2}) || b[0].Outcome != meter.Finished || b[0].Kind != probe.kind() {
					t.Errorf("%s to %s: booked %+v", k, up, b)
				}
			}
		}
	}
}

func TestTheSameDialectPassesAsItIs(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{chunks: streams[engine.Anthropic]}}}
	r.route(spokenBy(engine.Anthropic, abroad("up", 0, 1, e)))
	body := `{ "model": "m", "x_unknown":1, "max_tokens":50, "messages":[{"role":"user","content":"Hello"}], "stream":true}`
	w, err := r.run(r.call(dialect.Anthropic, body, true))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(body, `"m"`, `"up"`, 1); string(e.asked[0].Body) != want || e.asked[0].Path != "/v1/messages" {
		t.Errorf("asked %s %s", e.asked[0].Path, e.asked[0].Body)
	}
	want := ""
	for _, c := range streams[engine.Anthropic] {
		want += string(c.Data)
	}
	if w.body.String() != want {
		t.Errorf("got %s", w.body.String())
	}
}

func TestGooglePathsNameTheModel(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{chunks: streams[engine.Google]}}}
	r.route(spokenBy(engine.Google, abroad("up/../x", 0, 1, e)))
	if _, err := r.run(r.call(dialect.Google, requests[dialect.Google][1], true)); err != nil {
		t.Fatal(err)
	}
	if got := e.asked[0].Path; got != "/v1beta/models/up%2F..%2Fx:streamGenerateContent?alt=sse" {
		t.Error(got)
	}
}

func TestDroppedAndRefusedFields(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{chunks: streams[engine.Anthropic]}}}
	r.route(spokenBy(engine.Anthropic, abroad("up", 0, 1, e)))
	w, err := r.run(r.call(dialect.Chat, `{"model":"m","seed":1,"messages":[{"role":"user","content":"Hello"}]}`, false))
	if err != nil || w.header.Get(DroppedHeader) != "seed" {
		t.Errorf("%v, dropped %q", err, w.header.Get(DroppedHeader))
	}
	_, err = r.run(r.call(dialect.Chat, `{"model":"m","n":3,"messages":[{"role":"user","content":"Hello"}]}`, false))
	if f := fault.As(err); f.Kind != fault.Unsupported || f.Field != "n" {
		t.Errorf("refused with %v", err)
	}
}

// A field that one backend cannot be told is no reason to refuse when another can.
func TestWhatCannotBeSaidGoesToWhoUnderstands(t *testing.T) {
	r := newRig(t)
	first, second := &script{says: []said{{chunks: streams[engine.Anthropic]}}}, &script{says: []said{{body: fine}}}
	r.route(spokenBy(engine.Anthropic, abroad("one", 0, 1, first)), abroad("two", 1, 1, second))
	if _, err := r.run(r.call(dialect.Chat, `{"model":"m","n":3,"messages":[{"role":"user","content":"Hello"}]}`, false)); err != nil {
		t.Fatal(err)
	}
	if first.times() != 0 || second.times() != 1 {
		t.Errorf("asked %d and %d times", first.times(), second.times())
	}
}

func TestFailuresOfABackendInTheCallersWords(t *testing.T) {
	for _, k := range []dialect.Kind{dialect.Responses, dialect.Anthropic, dialect.Google} {
		for name, x := range map[string]said{
			"rubbish":        {chunks: []engine.Chunk{streams[engine.OpenAI][0], chunk("data: {rubbish\n\n", 7, 2, false)}},
			"breaks off":     {chunks: streams[engine.OpenAI][:2], broken: errors.New("reset")},
			"ends too early": {chunks: streams[engine.OpenAI][:2]},
		} {
			r := newRig(t)
			r.route(own("d", 0, 1, 1, &script{says: []said{x}}))
			w, err := r.run(r.call(k, requests[k][1], true))
			if err != nil {
				t.Fatal(k, name, err)
			}
			words := map[dialect.Kind]string{dialect.Responses: `response.failed`, dialect.Anthropic: `event: error`, dialect.Google: `"status":"UNAVAILABLE"`}[k]
			contains(t, w.body.String(), words)
			if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.Broke || b[0].Usage.Input != 7 || b[0].Usage.Output == 0 {
				t.Errorf("%s, %s: booked %+v", k, name, b)
			} else if name == "rubbish" && b[0].Usage.Output != 1 {
				t.Errorf("%s: what could not be read, and went nowhere, is booked: %+v", k, b)
			}
			_, err = r.run(r.call(k, requests[k][0], false))
			if !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s, %s: %v", k, name, err)
			}
			if b := r.booked(); len(b) != 0 && len(b) != 1 {
				t.Errorf("%s, %s: an answer that nobody got is booked: %+v", k, name, b)
			}
		}
	}
}

// bounded are bounds of money for everybody.
type bounded struct{ micros int64 }

func (bounded) Generation() int64 { return 1 }
func (b bounded) Bound(id.Raw) tenancy.Bound {
	return tenancy.Bound{Budgeted: true, Budget: b.micros}
}

func TestMoneyEndsATranslatedAnswer(t *testing.T) {
	for _, k := range []dialect.Kind{dialect.Responses, dialect.Anthropic, dialect.Google} {
		for i, stream := range []bool{false, true} {
			r := newRig(t)
			// The prompt is at most its bytes and 64; the rest pays for one token of the answer, though two come.
			prompt := int64(len(requests[k][i]) + promptSlack)
			r.Quota = quota.NewBook(bounded{prompt + 3}, r.Now)
			r.route(own("d", 0, 1, 1, &script{says: []said{{chunks: streams[engine.OpenAI]}}}))
			w, err := r.run(r.call(k, requests[k][i], stream))
			if err != nil {
				t.Fatalf("%s, stream %v: %v", k, stream, err)
			}
			if !stream && w.header.Get(cutHeader) != "budget" {
				t.Errorf("%s: not said to be cut: %s", k, w.body.String())
			}
			if stream && textOf(k, w.body.String(), true) != "Hello" {
				t.Errorf("%s: got %s", k, w.body.String())
			}
			b := r.booked()
			if len(b) != 1 || b[0].Outcome != meter.OutOfMoney || b[0].CostMicros > prompt+3 {
				t.Errorf("%s, stream %v: booked %+v", k, stream, b)
			}
		}
	}
}

func TestKeepIsGivenTheWholeAnswer(t *testing.T) {
	for i, stream := range []bool{false, true} {
		r := newRig(t)
		r.route(own("d", 0, 1, 1, &script{says: []said{{chunks: streams[engine.OpenAI]}}}))
		c := r.call(dialect.Responses, requests[dialect.Responses][i], stream)
		var kept string
		c.Keep = func(b []byte) error { kept = string(b); return nil }
		if _, err := r.run(c); err != nil {
			t.Fatal(err)
		}
		if textOf(dialect.Responses, kept, false) != "Hello there" || gjson.Get(kept, "id").String() != "resp_"+c.Request.String() {
			t.Errorf("kept %s", kept)
		}
		c = r.call(dialect.Responses, requests[dialect.Responses][i], stream)
		c.Keep = func([]byte) error { return fault.New(fault.Unavailable, "no room") }
		if w, err := r.run(c); err == nil && (!stream || !strings.Contains(w.body.String(), "no room")) {
			t.Error("an answer that could not be kept was given as whole")
		}
	}
}

func TestVectorsAndRanks(t *testing.T) {
	const vectors = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-0.5]}],"model":"up","usage":{"prompt_tokens":9,"total_tokens":9}}`
	r := newRig(t)
	e := &script{says: []said{{body: vectors}}}
	target := r.route(abroad("up", 0, 1, e))
	target.Route.Prices = meter.Prices{Input: 1_000_000, CachedInput: meter.Same, Output: 1_000_000, Reasoning: meter.Same, Embedding: 3_000_000}
	c := r.call(dialect.Chat, `{"model":"m","input":"some words"}`, false)
	c.Path = openai.EmbeddingsPath
	w, err := r.run(c)
	if err != nil || w.body.String() != vectors {
		t.Fatalf("%v: %s", err, w.body.String())
	}
	if got := string(e.asked[0].Body); got != `{"model":"up","input":"some words"}` {
		t.Errorf("asked %s", got)
	}
	c = r.call(dialect.Google, `{"content":{"parts":[{"text":"some words"}]}}`, false)
	c.Path = openai.EmbeddingsPath
	if w, err = r.run(c); err != nil || gjson.Get(w.body.String(), "embedding.values.1").Float() != -0.5 {
		t.Errorf("%v: %s", err, w.body.String())
	}
	for _, b := range r.booked() {
		if b.Kind != meter.Embedding || b.Usage != (meter.Usage{Embedding: 9}) || b.CostMicros != 27 {
			t.Errorf("booked %+v", b)
		}
	}
	rank := &script{says: []said{{body: `{"results":[{"index":0,"relevance_score":0.9}],"usage":{"total_tokens":12}}`}}}
	r.route(abroad("up", 0, 1, rank))
	c = r.call(dialect.Chat, `{"model":"m","query":"q","documents":["d"]}`, false)
	c.Path = openai.RerankPath
	if _, err = r.run(c); err != nil {
		t.Fatal(err)
	}
	if b := r.booked(); b[len(b)-1].Kind != meter.Rerank || b[len(b)-1].Usage.Input != 12 {
		t.Errorf("booked %+v", b)
	}
	r.route(own("d", 0, 1, 1, &script{says: []said{{status: 404, body: `{}`}}}))
	if _, err = r.run(c); !fault.Is(err, fault.Unsupported) || len(r.routes.suspects) != 0 {
		t.Errorf("an engine without ranks: %v, suspected %v", err, r.routes.suspects)
	}
}
