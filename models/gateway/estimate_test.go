package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// An answer that tells no usage is given to its caller and billed by an estimate that says so; what is no answer is not.
func TestAnswersWithoutUsage(t *testing.T) {
	for name, c := range map[string]struct {
		kind   dialect.Kind
		d      engine.Dialect
		path   string
		answer string
		output int64 // a quarter of the bytes of its words; 0: it is no answer
	}{
		"chat":       {dialect.Chat, engine.OpenAI, openai.ChatPath, `{"choices":[{"message":{"role":"assistant","content":"0123456789ab","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{1}"}}]}}]}`, 4},
		"null usage": {dialect.Chat, engine.OpenAI, openai.ChatPath, `{"choices":[{"message":{"content":"0123456789ab"}}],"usage":null}`, 3},
		"text":       {dialect.Completions, engine.OpenAI, openai.CompletionPath, `{"choices":[{"text":"0123"},{"text":"4567"}]}`, 2},
		"messages":   {dialect.Anthropic, engine.Anthropic, "", `{"type":"message","content":[{"type":"text","text":"01234567"},{"type":"tool_use","id":"t","name":"abcd","input":{"a":"bcdef"}}]}`, 6},
		"generate":   {dialect.Google, engine.Google, "", `{"candidates":[{"content":{"parts":[{"text":"01234567"}],"role":"model"}}]}`, 2},
		"ranks":      {dialect.Chat, engine.OpenAI, openai.RerankPath, `{"results":[{"index":0,"relevance_score":1}]}`, -1},
		"empty":      {dialect.Chat, engine.OpenAI, openai.ChatPath, `{}`, 0},
		"no choices": {dialect.Chat, engine.OpenAI, openai.ChatPath, `{"choices":[]}`, 0},
		"no JSON":    {dialect.Chat, engine.OpenAI, openai.ChatPath, `{"choices":[{"message":{"content":"0123456789ab"}}]`, 0},
		"HTML":       {dialect.Chat, engine.OpenAI, openai.ChatPath, `<html>choices</html>`, 0},
	} {
		for _, budget := range []bool{false, true} {
			r := newRig(t)
			if budget {
				r.Quota = quota.NewBook(bounded{1 << 40}, r.Now)
			}
			r.route(spokenBy(c.d, abroad("up", 0, 1, &script{says: []said{{body: c.answer}}})))
			q := r.call(c.kind, requests[c.kind][0], false)
			if c.path != "" {
				q.Path = c.path
			}
			if c.path == openai.RerankPath {
				q.Body = []byte(`{"model":"m","query":"q","documents":["d"]}`)
			}
			w, err := r.run(q)
			b := r.booked()
			if c.output == 0 {
				if err == nil || len(b) != 0 {
					t.Errorf("%s: %v, booked %+v", name, err, b)
				}
				continue
			}
			want := meter.Usage{Input: int64(len(q.Body) / 4), Output: max(c.output, 0), Estimated: true}
			if err != nil || w.body.String() != c.answer || len(b) != 1 || b[0].Usage != want || b[0].Outcome != meter.Finished || b[0].CostMicros != want.Input+2*want.Output {
				t.Errorf("%s: %v, %s, booked %+v, want %+v", name, err, w.body.String(), b, want)
			}
		}
	}
}

// A stream's prompt is estimated until it is told; what ends before that, by whoever's hand, pays the estimate.
func TestStreamsWithoutUsage(t *testing.T) {
	prompt := int64(len(streamed) / 4)
	part := func(text string, completion int, done bool) engine.Chunk {
		c := chunk(text, 0, completion, done)
		c.Guessed = true
		return c
	}
	two := []engine.Chunk{part("data: 1\n\n", 1, false), part("data: 2\n\n", 2, false)}
	for name, c := range map[string]struct {
		said    said
		want    meter.Usage
		outcome meter.Outcome
	}{
		"never told":  {said{chunks: append(two[:2:2], part("data: [DONE]\n\n", 2, true))}, meter.Usage{Input: prompt, Output: 2, Estimated: true}, meter.Finished},
		"told late":   {said{chunks: append(two[:2:2], chunk("data: [DONE]\n\n", 9, 3, true))}, meter.Usage{Input: 9, Output: 3}, meter.Finished},
		"broken off":  {said{chunks: two, broken: errors.New("gone")}, meter.Usage{Input: prompt, Output: 2, Estimated: true}, meter.Broke},
		"prompt told": {said{chunks: []engine.Chunk{{Data: []byte("data: 1\n\n"), Prompt: 7, Completion: 1, Guessed: true}}}, meter.Usage{Input: 7, Output: 1, Estimated: true}, meter.Broke},
	} {
		r := newRig(t)
		r.route(abroad("one", 0, 1, &outside{script{says: []said{c.said}}}))
		if _, err := r.ask(t.Context(), streamed); err != nil {
			t.Fatal(err)
		}
		if b := r.booked(); len(b) != 1 || b[0].Usage != c.want || b[0].Outcome != c.outcome {
			t.Errorf("%s: booked %+v", name, b)
		}
	}
}

// Who leaves before there is anything, of an engine that cannot count, pays an estimate of the prompt.
func TestLeavingIsNotFree(t *testing.T) {
	for _, body := range []string{streamed, `{"model":"m","messages":[]}`} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.route(abroad("one", 0, 1, &script{says: []said{{after: time.Hour}}}))
			ctx, leave := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, leave)
			if _, err := r.ask(ctx, body); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			want := meter.Usage{Input: int64(len(body) / 4), Estimated: true}
			if b := r.booked(); len(b) != 1 || b[0].Usage != want || b[0].Outcome != meter.HungUp || b[0].CostMicros != want.Input {
				t.Errorf("%s: booked %+v", body, b)
			}
		})
	}
}

// What was estimated is said when the request is explained.
func TestEstimatesAreExplained(t *testing.T) {
	r := newRig(t)
	r.Explain = &Explanations{}
	r.route(abroad("one", 0, 1, &script{says: []said{{body: `{"choices":[{"message":{"content":"` + strings.Repeat("word ", 20) + `"}}]}`}}}))
	if _, err := r.ask(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	b := r.booked()
	x, err := r.Explain.Get(t.Context(), r.who.ProjectID, "req_"+b[0].Request.String())
	if err != nil || !x.Estimated || x.Output != 25 {
		t.Errorf("%+v, %v", x, err)
	}
}
