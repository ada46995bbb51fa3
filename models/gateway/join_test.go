package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// texts are a stream of text completions.
var texts = []engine.Chunk{
	chunk("data: {\"id\":\"x\",\"object\":\"text_completion\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"text\":\"Hello\",\"finish_reason\":null}]}\n\n", 7, 1, false),
	chunk("data: {\"id\":\"x\",\"object\":\"text_completion\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"text\":\" there\",\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"x\",\"object\":\"text_completion\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n", 7, 2, true),
}

// longWhole asks for an answer in one piece that may be long, shortWhole for one that may not.
var longWhole = map[dialect.Kind]string{
	dialect.Chat:        `{"model":"m","max_tokens":5000,"stream":false,"messages":[{"role":"user","content":"Hello"}]}`,
	dialect.Completions: `{"model":"m","max_tokens":5000,"prompt":"Hello"}`,
	dialect.Responses:   `{"model":"m","max_output_tokens":5000,"input":"Hello"}`,
	dialect.Anthropic:   `{"model":"m","max_tokens":5000,"messages":[{"role":"user","content":"Hello"}]}`,
	dialect.Google:      `{"contents":[{"role":"user","parts":[{"text":"Hello"}]}],"generationConfig":{"maxOutputTokens":5000}}`,
}

func spokenIn(k dialect.Kind) (engine.Dialect, []engine.Chunk) {
	switch k {
	case dialect.Completions:
		return engine.OpenAI, texts
	case dialect.Responses:
		return engine.OpenAIResponses, streams[engine.Responses]
	case dialect.Anthropic:
		return engine.Anthropic, streams[engine.Anthropic]
	case dialect.Google:
		return engine.Google, streams[engine.Google]
	}
	return engine.OpenAI, streams[engine.OpenAI]
}

// An answer in one piece that may be long is asked for as a stream and put together, in every dialect; one that may not is
// asked for as it is, and so is what no stream can be.
func TestLongAnswersInOnePieceAreStreamedHere(t *testing.T) {
	for k, body := range longWhole {
		d, chunks := spokenIn(k)
		r := newRig(t)
		e := &outside{script{says: []said{{chunks: chunks}}}}
		r.route(spokenBy(d, abroad("up", 0, 1, e)))
		w, err := r.run(r.call(k, body, false))
		if err != nil || !gjson.Valid(w.body.String()) || !strings.Contains(w.body.String(), "Hello there") || w.header.Get(contentType) != "application/json" {
			t.Fatalf("%s: %v, %s", k, err, w.body.String())
		}
		q := e.asked[0]
		if told := gjson.GetBytes(q.Body, "stream").Bool() || strings.Contains(q.Path, ":streamGenerateContent"); !q.Stream || !q.Usage || !told {
			t.Errorf("%s: asked %s %s", k, q.Path, q.Body)
		}
		if openAI := k == dialect.Chat || k == dialect.Completions; gjson.GetBytes(q.Body, "stream_options.include_usage").Bool() != openAI {
			t.Errorf("%s: asked %s", k, q.Body)
		}
		u := meter.Usage{Input: 7, Output: 2}
		if k == dialect.Responses {
			u.Cached, u.Reasoning = 4, 1
		}
		if b := r.booked(); len(b) != 1 || b[0].Usage != u || b[0].Outcome != meter.Finished || b[0].Stream {
			t.Errorf("%s: booked %+v", k, b)
		}
		short := strings.Replace(body, "5000", "1024", 1)
		_, _ = r.run(r.call(k, short, false))
		if q := e.asked[1]; q.Stream || strings.Contains(string(q.Body), `"stream":true`) || strings.Contains(q.Path, "stream") {
			t.Errorf("%s: a short one was asked %s %s", k, q.Path, q.Body)
		}
	}
	r := newRig(t)
	e := &outside{script{says: []said{{body: fine}}}}
	r.route(abroad("up", 0, 1, e))
	for _, body := range []string{`{"model":"m","prompt":"x","max_tokens":5000,"best_of":2}`, `{"model":"m","messages":[],"max_tokens":5000,"audio":{"format":"mp3"}}`} {
		if _, err := r.ask(t.Context(), body); err != nil || e.asked[len(e.asked)-1].Stream {
			t.Errorf("%v: asked %s", err, e.asked[len(e.asked)-1].Body)
		}
	}
}

// Where the money ends, an answer in one piece is cut there, and billed for what it has.
func TestLongAnswersInOnePieceAreCut(t *testing.T) {
	body := `{"model":"m","max_tokens":32000,"messages":[]}`
	for money, want := range map[int64]int{1 << 40: 3000, 2 * 2000: 2000, 0: 0} {
		x := long(3000)
		x.chunks[3000] = chunk("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3000}}\n\ndata: [DONE]\n\n", 5, 3000, true)
		r := newRig(t)
		r.Quota = quota.NewBook(bounded{int64(len(body)+promptSlack) + money}, r.Now)
		r.route(abroad("one", 0, 1, &outside{script{says: []said{x}}}))
		w, err := r.ask(t.Context(), body)
		if want == 0 {
			if !fault.Is(err, fault.NoMoney) || len(r.booked()) != 0 {
				t.Errorf("no money: %v", err)
			}
			continue
		}
		got := w.body.String()
		said := gjson.Get(got, "choices.0.message.content").String()
		reason := map[bool]string{true: "stop", false: "length"}[want == 3000]
		if err != nil || strings.Count(said, " ") != want || gjson.Get(got, "usage.completion_tokens").Int() != int64(want) || gjson.Get(got, "choices.0.finish_reason").String() != reason ||
			(w.header.Get(cutHeader) == "budget") != (want < 3000) {
			t.Errorf("money for %d: %v, %d tokens, %v: %s", want, err, strings.Count(said, " "), w.header, got[max(0, len(got)-200):])
		}
		outcome := map[bool]meter.Outcome{true: meter.Finished, false: meter.OutOfMoney}[want == 3000]
		if b := r.booked(); len(b) != 1 || b[0].Usage != (meter.Usage{Input: 5, Output: int64(want)}) || b[0].Outcome != outcome || r.Quota.Spent(r.who.Key) != b[0].CostMicros {
			t.Errorf("money for %d: booked %+v", want, b)
		}
	}
}

// Who leaves before a long answer in one piece is there pays for what was made; a backend that breaks off is not paid; one
// that knows no streams is as good as others.
func TestLongAnswersInOnePieceThatEndOtherwise(t *testing.T) {
	body := `{"model":"m","max_tokens":32000,"messages":[]}`
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := &slowly{pieces: 100, piece: "data: {\"choices\":[{\"delta\":{\"content\":\"t \"}}]}\n\n"}
		e.says = []said{{}}
		r.route(abroad("one", 0, 1, leaves{chatty{e}}))
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(10500*time.Millisecond, leave)
		if _, err := r.ask(ctx, body); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if b := r.booked(); len(b) != 1 || b[0].Usage != (meter.Usage{Input: 5, Output: 1}) || b[0].Outcome != meter.HungUp {
			t.Errorf("booked %+v", b)
		}
	})
	for name, x := range map[string]said{"broken off": {chunks: long(5).chunks[:5], broken: errors.New("gone")}, "no end": {chunks: long(5).chunks[:5]},
		"a failure": {chunks: append(long(5).chunks[:5], chunk("data: {\"error\":{\"message\":\"oh\"}}\n\n", 5, 5, false))}} {
		r := newRig(t)
		r.route(abroad("one", 0, 1, &outside{script{says: []said{x}}}))
		if w, err := r.ask(t.Context(), body); err == nil || w.body.Len() > 0 || len(r.booked()) != 0 {
			t.Errorf("%s: %v, %s", name, err, w.body.String())
		}
	}
	r := newRig(t)
	r.route(abroad("one", 0, 1, &outside{script{says: []said{{body: fine}}}}))
	if w, err := r.ask(t.Context(), body); err != nil || w.body.String() != fine || r.booked()[0].Usage.Output != 2 {
		t.Errorf("%v, %s", err, w.body.String())
	}
}

// leaves ends a stream when its caller left.
type leaves struct{ chatty }

func (l leaves) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	s, err := l.chatty.Open(ctx, to, q)
	return left{s, ctx}, err
}

type left struct {
	engine.Stream
	ctx context.Context
}

func (l left) Next() (engine.Chunk, error) {
	c, err := l.Stream.Next()
	if l.ctx.Err() != nil {
		return engine.Chunk{}, l.ctx.Err()
	}
	return c, err
}

// A backend that refuses the stream, which its caller did not ask for, is asked for the answer in one piece, if the money for
// all of it is there; any other refusal is the caller's.
func TestBackendsThatTakeNoStreams(t *testing.T) {
	const refusal = `{"error":{"message":"Your organization must be verified to stream this model.","param":"stream","code":"unsupported_value"}}`
	body := `{"model":"m","max_tokens":32000,"messages":[]}`
	for money, asked := range map[int64]int{1 << 40: 2, 10_000: 1} {
		r := newRig(t)
		r.Quota = quota.NewBook(bounded{money}, r.Now)
		e := &outside{script{says: []said{{status: 400, body: refusal}, {body: fine}}}}
		r.route(abroad("one", 0, 1, e))
		other, err := r.Quota.Reserve(t.Context(), quota.Ask{Who: r.who, Prices: meter.Flat(1_000_000, 0), Prompt: 100})
		if err != nil {
			t.Fatal(err)
		}
		w, err := r.ask(t.Context(), body)
		if err != nil || e.times() != asked || (w.body.String() == fine) != (asked == 2) || asked == 1 && w.body.String() != refusal {
			t.Errorf("money %d: %v, asked %d times, %d %s", money, err, e.times(), w.status, w.body.String())
		}
		if asked == 2 && (e.asked[1].Stream || strings.Contains(string(e.asked[1].Body), "stream") || len(r.booked()) != 1) {
			t.Errorf("asked %s", e.asked[1].Body)
		}
		other.Settle(0, 0, 0)
		if s := r.Quota.State(); s.Open != 0 || s.Held != 0 || r.replica("prv_one").running.Load() != 0 {
			t.Errorf("%+v, %d run", s, r.replica("prv_one").running.Load())
		}
	}
	r := newRig(t)
	e := &outside{script{says: []said{{status: 400, body: `{"error":{"message":"too long"}}`}}}}
	r.route(abroad("one", 0, 1, e))
	if w, err := r.ask(t.Context(), body); err != nil || w.status != 400 || e.times() != 1 {
		t.Errorf("%v, %d", err, w.status)
	}
}
