package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// judging is an engine with a model that judges: what has the word "wicked" is unsafe.
type judging struct {
	mu    sync.Mutex
	asked []string // last turns
	says  string   // instead of a verdict
	after time.Duration
}

func (*judging) Name() string                                  { return "judging" }
func (*judging) Command(engine.Spec) (job.Command, error)      { return job.Command{}, nil }
func (*judging) Health(context.Context, engine.Endpoint) error { return nil }
func (j *judging) Open(ctx context.Context, _ engine.Endpoint, q engine.Request) (engine.Stream, error) {
	turns := gjson.GetBytes(q.Body, "messages").Array()
	text := turns[len(turns)-1].Get("content").Str
	j.mu.Lock()
	j.asked = append(j.asked, text)
	j.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(j.after):
	}
	says := j.says
	if says == "" {
		if says = "safe"; strings.Contains(text, "wicked") {
			says = "unsafe\nS1,S10"
		}
	}
	body, _ := json.Marshal(map[string]any{"choices": []any{map[string]any{"message": map[string]any{"content": says}}},
		"usage": map[string]any{"prompt_tokens": 11, "completion_tokens": 3}})
	return &spoken{said: said{body: string(body)}, by: &script{}, stream: false}, nil
}

// guardedRig is a rig whose route "m" is judged by the model "judge".
func guardedRig(t testing.TB, p guard.Policy, backends ...*serve.Upstream) (*rig, *judging) {
	r := newRig(t)
	return r, r.guarded(p, backends...)
}

// guarded makes the routes anew.
func (r *rig) guarded(p guard.Policy, backends ...*serve.Upstream) *judging {
	r.IDs = id.Default()
	r.Guards = &guard.Client{}
	r.Explain = &Explanations{}
	j := &judging{}
	judge := r.route(own("judge", 0, 1, 1, j))
	judge.Route.Name, judge.Route.Prices = "judge", meter.Flat(1_000_000, 1_000_000)
	r.routes.targets["judge"] = judge
	if p.URL == "" && p.Model == "" {
		p.Model = "judge"
	}
	r.route(backends...).Route.Policy.Guard = p
	return j
}

func both() guard.Policy { return guard.Policy{Before: true, After: true} }

// A prompt that is refused is refused in each dialect's own words, before anything is asked of an engine, and for nothing.
func TestPromptsAreJudged(t *testing.T) {
	for _, k := range dialect.Kinds {
		for i, stream := range []bool{false, true} {
			e := &script{says: []said{{chunks: streams[engine.OpenAI]}}}
			r, _ := guardedRig(t, both(), own("one", 0, 1, 1, e))
			w, err := r.run(r.call(k, strings.Replace(requests[k][i], "Hello", "something wicked", 1), stream))
			x := fault.As(err)
			if x == nil || x.Kind != fault.Invalid || x.Code != "content_policy_violation" || w.status != 0 || w.body.Len() > 0 || e.times() != 0 {
				t.Fatalf("%s: %v, wrote %d %s, %d asked", k, err, w.status, w.body.String(), e.times())
			}
			status, body := dialect.WriteError(k, err)
			if status != 400 {
				t.Errorf("%s: %d %s", k, status, body)
			}
			all := r.booked()
			if len(all) != 1 || all[0].Model != "judge" || all[0].Tag != "guard" || all[0].Key != (id.Raw{}) || all[0].Project != r.who.Project || all[0].CostMicros != 14 {
				t.Errorf("%s: booked %+v", k, all)
			}
		}
	}
}

// What a guard lets through reaches the caller byte by byte as without one.
func TestGuardsChangeNothing(t *testing.T) {
	synctest.Test(t, guardsChangeNothing) // where no second passes between two answers
}

func guardsChangeNothing(t *testing.T) {
	r, _ := guardedRig(t, both())
	for _, up := range []engine.Dialect{engine.OpenAI, engine.Anthropic, engine.Google} {
		for _, k := range dialect.Kinds {
			for i, stream := range []bool{false, true} {
				for _, array := range []bool{false, true}[:1+b2i(k == dialect.Google && stream)] {
					var bodies [2]string
					var costs [2]int64
					for n := range 2 {
						e := &script{says: []said{{chunks: streams[up]}}}
						r.guarded(both(), spokenBy(up, abroad("up", 0, 1, e)))
						if n == 0 {
							r.routes.targets["m"].Route.Policy.Guard = guard.Policy{}
						}
						c := r.call(k, requests[k][i], stream)
						c.Array = array
						if probe := (&flight{Gateway: r.Gateway, call: c}); probe.read() == nil && probe.alike(r.routes.targets["m"].Backends[0]) && (!stream || k == dialect.Completions) {
							continue
						}
						w, err := r.run(c)
						if err != nil {
							t.Fatal(k, up, stream, err)
						}
						bodies[n] = strings.ReplaceAll(w.body.String(), c.Request.String(), "ID")
						for _, b := range r.booked() {
							if b.Model == "m" {
								costs[n] = b.CostMicros
							}
						}
					}
					if bodies[0] != bodies[1] || costs[0] != costs[1] {
						t.Errorf("%s to %s, stream %v: %d and %d\n%s\n%s", k, up, stream, costs[0], costs[1], bodies[0], bodies[1])
					}
				}
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lengthy is a stream of an OpenAI upstream that says these words, a token each, and finishes.
func lengthy(words []string) []engine.Chunk {
	var out []engine.Chunk
	for i, word := range words {
		text, _ := json.Marshal(word)
		out = append(out, chunk(fmt.Sprintf("data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%s}}]}\n\n", text), 7, i+1, false))
	}
	return append(out, chunk("data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", 7, len(words), true))
}

// filters is how each dialect says that a filter cut an answer.
var filters = map[dialect.Kind]string{dialect.Chat: `"finish_reason":"content_filter"`, dialect.Completions: `"finish_reason":"content_filter"`,
	dialect.Responses: `"reason":"content_filter"`, dialect.Anthropic: `"stop_reason":"refusal"`, dialect.Google: `"finishReason":"SAFETY"`}

// Of an answer that is refused nothing leaves that was not judged, its end is the dialect's own and can be read, and what
// the engine made is paid for.
func TestAnswersAreJudged(t *testing.T) {
	r, _ := guardedRig(t, both())
	words := strings.SplitAfter("The first sentence is harmless and long enough. So is another one, about the weather of today. Now something truly wicked is said here, and more of it.", " ")
	for _, k := range dialect.Kinds {
		for i, stream := range []bool{false, true} {
			for _, piece := range []int{16, 60, 4096} {
				for _, array := range []bool{false, true}[:1+b2i(k == dialect.Google && stream)] {
					e := &script{says: []said{{chunks: lengthy(words)}}}
					p := both()
					p.Piece = piece
					u := abroad("up", 0, 1, e)
					body := requests[k][i]
					if !stream && (k == dialect.Chat || k == dialect.Completions) { // in the caller's own bytes
						text, _ := json.Marshal(strings.Join(words, ""))
						e.says = []said{{body: fmt.Sprintf(`{"id":"x","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"text":%s,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":%d}}`, text, text, len(words))}}
					}
					if k == dialect.Completions && stream {
						for n := range e.says[0].chunks {
							c := &e.says[0].chunks[n]
							c.Data = []byte(strings.ReplaceAll(strings.ReplaceAll(string(c.Data), `"delta":{"content":`, `"text":`), "}}]}", "}]}"))
						}
					}
					j := r.guarded(p, u)
					c := r.call(k, body, stream)
					c.Array = array
					kept := false
					if k == dialect.Responses {
						c.Keep = func([]byte) error { kept = true; return nil }
					}
					w, err := r.run(c)
					if err != nil {
						t.Fatal(k, stream, err)
					}
					got := w.body.String()
					if strings.Contains(got, "wicked") || strings.Contains(got, "truly") && piece > 16 || kept {
						t.Errorf("%s, stream %v, piece %d: what was refused left (kept %v): %s", k, stream, piece, kept, got)
					}
					if strings.Count(got, filters[k]) == 0 || !stream && strings.Contains(got, "harmless") || stream && piece < 100 && !strings.Contains(got, "harmless") {
						t.Errorf("%s, stream %v, piece %d: %s", k, stream, piece, got)
					}
					readable(t, k, stream, array, got)
					bill := r.booked()
					whole, judged := meter.Record{}, 0
					for _, b := range bill {
						if b.Model == "m" {
							whole = b
						} else {
							judged++
						}
					}
					if whole.Usage.Input != 7 || !stream && k != dialect.Completions && whole.Usage.Output != int64(len(words)) || whole.Usage.Output < 15 || whole.Outcome != meter.Finished || judged != len(j.asked) {
						t.Errorf("%s, stream %v: %+v, %d judgements booked", k, stream, whole, judged)
					}
					x, err := r.Explain.Get(t.Context(), r.who.ProjectID, c.RequestID)
					if err != nil || len(x.Judgements) != judged || x.Judgements[judged-1].Verdict != Refused || x.Judgements[judged-1].Passed || len(x.Judgements[judged-1].Categories) != 2 || x.Judgements[0].When != guard.Before {
						t.Errorf("%s: %v, %+v", k, err, x.Judgements)
					}
				}
			}
		}
	}
}

// readable says of an answer that its own dialect reads it to its end.
func readable(t *testing.T, k dialect.Kind, stream, array bool, got string) {
	t.Helper()
	switch {
	case array:
		if !json.Valid([]byte(got)) {
			t.Errorf("no array: %s", got)
		}
	case stream:
		d := dialect.NewDecoder(k, 1<<20)
		stops := 0
		count := func(events []dialect.Event) {
			for _, e := range events {
				if e.Kind == dialect.Stopped {
					stops++
				}
			}
		}
		events, err := d.Feed([]byte(got))
		count(events)
		if err == nil {
			events, err = d.End()
			count(events)
		}
		if err != nil || stops != 1 {
			t.Errorf("%s: %v, %d stops in %s", k, err, stops, got)
		}
	default:
		if _, err := dialect.ParseAnswer(k, []byte(got)); err != nil {
			t.Errorf("%s: %v in %s", k, err, got)
		}
	}
}

// Where no verdict is to be had, a closed guard lets nothing pass, and an open one everything.
func TestGuardsThatDoNotJudge(t *testing.T) {
	for name, says := range map[string]string{"talks": "I think that this is fine.", "slow": "slow", "empty": " "} {
		for _, open := range []bool{false, true} {
			for _, when := range []guard.When{guard.Before, guard.After} {
				for i, stream := range []bool{false, true} {
					e := &script{says: []said{{chunks: lengthy([]string{"Some ", "words."})}}}
					if !stream {
						e.says = []said{{body: `{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}`}}
					}
					r, j := guardedRig(t, guard.Policy{Before: when == guard.Before, After: when == guard.After, Open: open, WaitMS: 20}, own("one", 0, 1, 1, e))
					if j.says = says; says == "slow" {
						j.after = time.Second
					}
					c := r.call(dialect.Chat, requests[dialect.Chat][i], stream)
					w, err := r.run(c)
					if open != (err == nil) || open && w.body.Len() == 0 || !open && (fault.KindOf(err) != fault.Unavailable || fault.As(err).Code != guardCode || w.body.Len() > 0) {
						t.Errorf("%s %s, open %v, stream %v: %v %s", name, when, open, stream, err, w.body.String())
					}
					x, err := r.Explain.Get(t.Context(), r.who.ProjectID, c.RequestID)
					if err != nil || len(x.Judgements) == 0 || x.Judgements[0].Verdict != Unjudged || x.Judgements[0].Passed != open || x.Judgements[0].Reason == "" {
						t.Errorf("%s: %v %+v", name, err, x)
					}
				}
			}
		}
	}
}

// A guard whose route has a guard is not asked, whatever was written.
func TestGuardsAreNotGuarded(t *testing.T) {
	e := &script{says: []said{{body: fine}}}
	r, j := guardedRig(t, both(), own("one", 0, 1, 1, e))
	r.routes.targets["judge"].Route.Policy.Guard = guard.Policy{Model: "judge", Before: true}
	if _, err := r.ask(t.Context(), ""); err != nil { // nothing to judge before, but after
		if fault.As(err).Code != guardCode {
			t.Error(err)
		}
	} else {
		t.Error("it passed")
	}
	if len(j.asked) != 0 {
		t.Errorf("asked %v", j.asked)
	}
}

// An outside guard is asked in the contract, and what it must not do does not help it.
func TestOutsideGuards(t *testing.T) {
	var mu sync.Mutex
	var got []string
	answer := func(w http.ResponseWriter, r *http.Request) {
		var b strings.Builder
		_, _ = fmt.Fprint(&b, r.Header.Get("Authorization"), " ")
		body := make([]byte, 4096)
		n, _ := r.Body.Read(body)
		b.Write(body[:n])
		mu.Lock()
		got = append(got, b.String())
		mu.Unlock()
		if strings.Contains(b.String(), "wicked") {
			_, _ = w.Write([]byte(`{"verdict":"mask","reason":"a secret","categories":["pii"]}`))
			return
		}
		_, _ = w.Write([]byte(`{"verdict":"allow"}`))
	}
	s := httptest.NewServer(http.HandlerFunc(answer))
	defer s.Close()
	e := &script{says: []said{{body: fine}}}
	r, _ := guardedRig(t, guard.Policy{URL: s.URL, Private: true, Before: true}, own("one", 0, 1, 1, e))
	if _, err := r.ask(t.Context(), `{"model":"m","messages":[{"role":"user","content":"hello"}]}`); err != nil {
		t.Fatal(err)
	}
	if !gjson.Valid(got[0][1:]) || gjson.Get(got[0][1:], "text").Str != "hello" || gjson.Get(got[0][1:], "when").Str != "before" {
		t.Errorf("asked %s", got)
	}
	_, err := r.ask(t.Context(), `{"model":"m","messages":[{"role":"user","content":"wicked"}]}`)
	if fault.As(err).Code != "content_policy_violation" || e.times() != 1 {
		t.Error(err)
	}
}

// Whatever the pieces of a stream are, nothing leaves that no judgement saw.
func TestNothingUnjudgedLeaves(t *testing.T) {
	r, _ := guardedRig(t, both())
	rapid.Check(t, func(x *rapid.T) {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"one ", "two. ", "wick", "ed ", "é", "\n", "a longer piece of text, ", "!"}), 1, 60).Draw(x, "words")
		p := guard.Policy{After: true, Piece: rapid.IntRange(16, 80).Draw(x, "piece")}
		up := rapid.SampledFrom([]engine.Dialect{engine.OpenAI}).Draw(x, "upstream")
		e := &script{says: []said{{chunks: lengthy(words)}}}
		j := r.guarded(p, spokenBy(up, abroad("up", 0, 1, e)))
		k := rapid.SampledFrom([]dialect.Kind{dialect.Chat, dialect.Anthropic, dialect.Google, dialect.Responses}).Draw(x, "dialect")
		w, err := r.run(r.call(k, requests[k][1], true))
		if err != nil {
			x.Fatal(err)
		}
		all := strings.Join(words, "")
		left := textOf(k, w.body.String(), true)
		refused := strings.Contains(w.body.String(), filters[k])
		if !strings.HasPrefix(all, left) || strings.Contains(left, "wicked") || refused != strings.Contains(all, "wicked") || !refused && left != all {
			x.Fatalf("%s: %q of %q, refused %v, judged %q", k, left, all, refused, j.asked)
		}
		for word := range strings.FieldsSeq(left) { // each was shown to the guard
			if len(word) <= 8 && !strings.Contains(strings.Join(j.asked, "\n"), word) { // longer ones may be shown in parts
				x.Fatalf("%q left, %q was judged", word, j.asked)
			}
		}
	})
}

// sours is a judge that judges once.
type sours struct{ judging }

func (s *sours) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	a, err := s.judging.Open(ctx, to, q)
	s.says = "who knows"
	return a, err
}

// A stream whose end could not be judged is no answer to be given again.
func TestUnjudgedStreamsAreNotKept(t *testing.T) {
	e := &script{says: []said{{chunks: lengthy([]string{strings.Repeat("All is well. ", 40), "And so on."})}}}
	r, _ := guardedRig(t, guard.Policy{After: true, Piece: 200}, own("one", 0, 1, 1, e))
	j := &sours{}
	r.routes.targets["judge"].Backends[0].Engine = j
	for i := range 2 {
		c := r.call(dialect.Chat, requests[dialect.Chat][1], true)
		c.Again = "k"
		w, err := r.run(c)
		if err != nil || !strings.Contains(w.body.String(), "All is well") || !strings.Contains(w.body.String(), guardCode) || w.header.Get(replayedHeader) != "" {
			t.Fatalf("%d: %v %v %s", i, err, w.header, w.body.String())
		}
		j.says = ""
	}
}
