package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// named makes a request with an Idempotency-Key.
func (r *rig) named(name, body string) (*written, error) {
	w := &written{header: http.Header{}}
	return w, r.Do(r.t.Context(), w, &Call{Who: r.who, Path: "/v1/chat/completions", Body: []byte(body), Request: id.Default().Raw(), Again: name})
}

func TestIdempotencyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var later time.Duration
		r.Now = func() time.Time { return time.Now().Add(later) }
		e := &script{says: []said{{body: fine}}}
		r.route(own("one", 0, 1, 1, e))
		const body = `{"model":"m","messages":[]}`
		for i := range 3 {
			w, err := r.named("k", body)
			if err != nil || w.body.String() != fine || (w.header.Get(replayedHeader) == "hit") != (i > 0) {
				t.Errorf("%d: %v, %s, %v", i, err, w.body.String(), w.header)
			}
		}
		if e.times() != 1 || len(r.booked()) != 1 {
			t.Errorf("asked %d times", e.times())
		}
		if _, err := r.named("k", `{"model":"m","messages":[1]}`); fault.As(err).Code != "idempotency_key_reused" {
			t.Errorf("another request of the name: %v", err)
		}
		if _, err := r.named("other", body); err != nil || e.times() != 2 {
			t.Errorf("another name: %v, asked %d times", err, e.times())
		}
		another := *r.who
		another.Key = id.Raw{9}
		w := &written{header: http.Header{}}
		if err := r.Do(t.Context(), w, &Call{Who: &another, Path: "/v1/chat/completions", Body: []byte(body), Again: "k"}); err != nil || e.times() != 3 {
			t.Errorf("another key's: %v, asked %d times", err, e.times())
		}
		later = againFor
		if _, err := r.named("k", body); err != nil || e.times() != 4 {
			t.Errorf("after a day: %v, asked %d times", err, e.times())
		}
		if _, err := r.named(strings.Repeat("k", maxAgain+1), body); !fault.Is(err, fault.Invalid) {
			t.Errorf("a long name: %v", err)
		}
	})
}

// The same words ask for another answer where they ask for another form of it.
func TestIdempotencyKeysKnowTheForm(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{chunks: []engine.Chunk{chunk("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\n\n", 4, 1, true)}}}}
	u := own("one", 0, 1, 1, e)
	u.Dialect = engine.Google
	r.route(u)
	for _, array := range []bool{false, true} {
		w := &written{header: http.Header{}}
		err := r.Do(t.Context(), w, &Call{Who: r.who, Dialect: dialect.Google, Model: "m", Stream: true, Array: array, Body: []byte(`{"contents":[{"parts":[{"text":"x"}]}]}`), Again: "k"})
		if array != (fault.As(err).Code == "idempotency_key_reused") || !array && w.body.Len() == 0 {
			t.Errorf("as an array %v: %v %s", array, err, w.body.String())
		}
	}
}

// A second request while the first runs is told so; a failure is forgotten, so that it can be asked again.
func TestIdempotencyKeysOfWhatRunsAndFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := &script{says: []said{{err: unreached(), after: time.Second}, {body: fine}, {chunks: []engine.Chunk{chunk("data: 1\n\n", 4, 1, false)}}, {body: fine}}}
		r.route(own("one", 0, 1, 1, e))
		done := make(chan error)
		go func() {
			_, err := r.named("k", `{"model":"m"}`)
			done <- err
		}()
		synctest.Wait()
		if _, err := r.named("k", `{"model":"m"}`); fault.As(err).Code != "idempotency_running" || !fault.Is(err, fault.Conflict) {
			t.Errorf("while it runs: %v", err)
		}
		if err := <-done; !fault.Is(err, fault.Unavailable) {
			t.Errorf("it ended with %v", err)
		}
		if _, err := r.named("k", `{"model":"m"}`); err != nil {
			t.Errorf("after a failure: %v", err)
		}
		if _, err := r.named("s", streamed); err != nil { // it breaks off
			t.Error(err)
		}
		if w, err := r.named("s", `{"model":"m"}`); err != nil || w.header.Get(replayedHeader) != "" {
			t.Errorf("after half an answer: %v, %v", err, w.header)
		}
	})
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := &script{says: []said{{body: fine}}}
		r.route(own("one", 0, 1, 1, e)).Route.Policy = serve.Policy{CacheS: 60}
		for _, c := range []struct {
			body  string
			times int // asked, of two requests
		}{
			{`{"model":"m","temperature":0}`, 1}, {`{"model":"m","seed":7}`, 1}, {`{"model":"m","temperature":0.5}`, 2}, {`{"model":"m"}`, 2},
			{`{"model":"m","temperature":0,"messages":[1]}`, 1},
		} {
			before := e.times()
			for i := range 2 {
				w, err := r.ask(t.Context(), c.body)
				if err != nil || w.body.String() != fine || (w.header.Get(cacheHeader) == "hit") != (i == 1 && c.times == 1) {
					t.Errorf("%s: %v, %v", c.body, err, w.header)
				}
			}
			if got := e.times() - before; got != c.times {
				t.Errorf("%s was asked %d times", c.body, got)
			}
		}
		before := e.times()
		another := *r.who
		another.Project = id.Raw{9}
		if err := r.Do(t.Context(), &written{header: http.Header{}}, &Call{Who: &another, Path: "/v1/chat/completions", Body: []byte(`{"model":"m","temperature":0}`)}); err != nil || e.times() != before+1 {
			t.Errorf("another project was given the answer: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := r.ask(t.Context(), `{"model":"m","temperature":0}`); err != nil || e.times() != before+2 {
			t.Errorf("an old answer: %v", err)
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	var a answers
	now := time.Unix(1000, 0)
	big := make([]byte, answerMost)
	for i := range 200 {
		a.put(sum(id.Raw{}, fmt.Append(nil, i)), &kept{status: 200, body: big}, now.Add(time.Hour))
		if a.get(sum(id.Raw{}, fmt.Append(nil, 0)), now) == nil {
			t.Fatalf("what is used was forgotten after %d", i)
		}
	}
	if a.bytes > answersBytes || len(a.byKey) != a.used.Len() || len(a.byKey) > answersBytes/answerMost {
		t.Errorf("%d bytes in %d answers, %d in order", a.bytes, len(a.byKey), a.used.Len())
	}
	var b answers
	for i := range 3 * answersMost / 2 {
		b.put(sum(id.Raw{}, fmt.Append(nil, i)), &kept{status: 200}, now.Add(time.Hour))
	}
	if len(b.byKey) > answersMost {
		t.Errorf("%d answers", len(b.byKey))
	}
	if sum(id.Raw{}, []byte("ab"), []byte("c")) == sum(id.Raw{}, []byte("a"), []byte("bc")) {
		t.Error("parts run together")
	}
}
