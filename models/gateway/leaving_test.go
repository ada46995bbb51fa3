package gateway

import (
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// Who leaves a stream whose backend has not told the prompt pays for it all the same, whatever was drained.
func TestLeavingAStreamPaysItsPrompt(t *testing.T) {
	const body = `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`
	prompt := int64(len(body) / 4)
	for name, c := range map[string]struct {
		said said
		want meter.Usage
	}{
		"drained, prompt never told": {said{chunks: []engine.Chunk{chunk("data: 1\n\n", 0, 1, false)}, rest: engine.Chunk{Completion: 7, Guessed: true}},
			meter.Usage{Input: prompt, Output: 7, Estimated: true}},
		"drained, prompt told": {said{chunks: []engine.Chunk{chunk("data: 1\n\n", 0, 1, false)}, rest: engine.Chunk{Prompt: 9, Completion: 7}},
			meter.Usage{Input: 9, Output: 7}},
		"nothing told at all": {said{chunks: []engine.Chunk{chunk("data: 1\n\n", 0, 0, false)}}, meter.Usage{Input: prompt, Estimated: true}},
	} {
		for _, d := range []engine.Dialect{engine.OpenAI, engine.Anthropic} { // as it is, and through a codec
			x := c.said
			if d == engine.Anthropic {
				x.chunks = []engine.Chunk{c.said.chunks[0]}
				x.chunks[0].Data = []byte("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{}}}\n\n" +
					"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"a\"}}\n\n")
			}
			for _, budget := range []bool{false, true} {
				r := newRig(t)
				if budget {
					r.Quota = quota.NewBook(bounded{1 << 40}, r.Now)
				}
				r.route(spokenBy(d, abroad("up", 0, 1, &outside{script{says: []said{x}}})))
				if err := r.Do(t.Context(), &written{header: map[string][]string{}, gone: true}, r.call(dialect.Chat, body, true)); err != nil {
					t.Fatal(err)
				}
				if b := r.booked(); len(b) != 1 || b[0].Usage != c.want || b[0].Outcome != meter.HungUp {
					t.Errorf("%s, of %s, with a budget %v: booked %+v", name, d, budget, b)
				}
			}
		}
	}
}

// What a caller's texts usually have in tokens is learnt from all that a prompt is made of: a short input that goes on from a
// long conversation does not make the next estimate a hundred times too dear.
func TestEstimatesKnowConversations(t *testing.T) {
	r := newRig(t)
	answer := `{"id":"r","object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"0123"}]}]`
	u := spokenBy(engine.Responses, abroad("up", 0, 1, &script{says: []said{{body: answer + `,"usage":{"input_tokens":10000,"output_tokens":1}}`}, {body: answer + "}"}}}))
	u.Responses = true
	r.route(u)
	ask := func(body, earlier string) {
		t.Helper()
		raw := id.Default().Raw()
		q := &Call{Who: r.who, Path: "/v1/responses", Dialect: dialect.Responses, Body: []byte(body), Earlier: []byte(earlier), Request: raw, RequestID: "req_" + raw.String()}
		if err := r.Do(t.Context(), &written{header: map[string][]string{}}, q); err != nil {
			t.Fatal(err)
		}
	}
	ask(`{"model":"m","input":"x","max_output_tokens":100,"previous_response_id":"resp_1"}`, `[{"role":"user","content":"`+strings.Repeat("word ", 8000)+`"}]`)
	ask(`{"model":"m","input":"x","max_output_tokens":100}`, "")
	if b := r.booked(); len(b) != 2 || !b[1].Usage.Estimated || b[1].Usage.Input > 50 || b[1].Usage.Output > 4 {
		t.Errorf("booked %+v", b)
	}
}
