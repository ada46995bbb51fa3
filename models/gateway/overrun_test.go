package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// A stream that merely stops is an answer cut short: its caller is told so, unless the engine did.
func TestAStreamThatStopsIsSaidToBe(t *testing.T) {
	for name, x := range map[string]struct {
		last string
		told bool // by the gateway
	}{
		"in silence":        {"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\n", true},
		"an empty member":   {"data: {\"choices\":[],\"error\":null}\n\n", true},
		"with its own word": {"data: {\"error\":{\"message\":\"out of memory\"}}\n\n", false},
	} {
		r := newRig(t)
		r.route(abroad("one", 0, 1, &outside{script{says: []said{{chunks: []engine.Chunk{chunk("data: 1\n\n", 5, 1, false), chunk(x.last, 5, 2, false)}}}}}))
		w, err := r.ask(t.Context(), streamed)
		if err != nil || strings.Contains(w.body.String(), "engine_failed") != x.told || strings.Contains(w.body.String(), "[DONE]") {
			t.Errorf("%s: %v, %s", name, err, w.body.String())
		}
		if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.Broke || b[0].Usage.Output != 2 {
			t.Errorf("%s: booked %+v", name, b)
		}
	}
}

// Without a budget, too, an answer ends where it was asked to, and what an engine says beyond that is not billed.
func TestAnswersEndWhereTheyWereAskedTo(t *testing.T) {
	var endless []engine.Chunk
	for i := range 1000 {
		endless = append(endless, chunk(fmt.Sprintf("data: %d\n\n", i), 5, i+1, false))
	}
	r := newRig(t)
	r.route(abroad("one", 0, 1, &outside{script{says: []said{{chunks: endless}}}}))
	w, err := r.ask(t.Context(), `{"model":"m","stream":true,"max_tokens":5,"messages":[]}`)
	if err != nil || !strings.Contains(w.body.String(), "engine_overran") || strings.Contains(w.body.String(), "data: 200\n") || strings.Contains(w.body.String(), "budget") {
		t.Errorf("%v, %s", err, w.body.String())
	}
	if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.Broke || b[0].Usage.Output != 5 {
		t.Errorf("booked %+v", b)
	}

	r = newRig(t)
	r.route(abroad("one", 0, 1, &outside{script{says: []said{{body: `{"usage":{"prompt_tokens":1000000000,"completion_tokens":1000000000}}`}}}}))
	if w, err = r.ask(t.Context(), `{"model":"m","max_tokens":5,"messages":[]}`); err != nil || w.status != 200 {
		t.Fatal(err)
	}
	if b := r.booked(); len(b) != 1 || b[0].Usage.Output != 5 || b[0].Usage.Input > hiddenPrompt+100 {
		t.Errorf("booked %+v", b)
	}
}

// What a request only names, such as an image, can be more tokens than it has bytes: the budget pays for them where it
// can, and only where it cannot it ends the answer.
func TestPromptsOfMoreTokensThanBytes(t *testing.T) {
	for budget, whole := range map[int64]bool{1_000_000: true, 400: false} {
		r := newRig(t)
		r.Quota = quota.NewBook(bounded{budget}, r.Now)
		r.route(abroad("one", 0, 1, &outside{script{says: []said{{chunks: []engine.Chunk{
			chunk("data: 1\n\n", 0, 1, false), chunk("data: 2\n\n", 5000, 2, false), chunk("data: [DONE]\n\n", 5000, 2, true)}}}}}))
		w, err := r.ask(t.Context(), `{"model":"m","stream":true,"max_tokens":5,"messages":[]}`)
		if err != nil || strings.Contains(w.body.String(), "insufficient_quota") == whole {
			t.Errorf("budget %d: %v, %s", budget, err, w.body.String())
		}
		b := r.booked()
		if len(b) != 1 || whole && b[0].CostMicros != 5004 || b[0].CostMicros > budget {
			t.Errorf("budget %d: booked %+v", budget, b)
		}
		if spent := r.Quota.Spent(r.who.Key); spent != b[0].CostMicros {
			t.Errorf("budget %d: spent %d of a bill of %d", budget, spent, b[0].CostMicros)
		}
	}
}

// A provider's own word of when to try again is handed on, if it can be one and nothing else answered.
func TestRetryAfterIsHandedOn(t *testing.T) {
	for said1, want := range map[string]string{"7": "7", "": "", "soon": "", "99999999": "", "-1": "", "1\r\nX: y": ""} {
		r := newRig(t)
		bad := &outside{script{says: []said{{status: 429, header: map[string]string{"Retry-After": said1}}}}}
		r.route(abroad("one", 0, 1, bad))
		if w, err := r.ask(t.Context(), ""); err == nil || w.header.Get("Retry-After") != want {
			t.Errorf("%q: %v, %q", said1, err, w.header.Get("Retry-After"))
		}
		r.route(abroad("two", 0, 1, bad), own("three", 1, 1, 1, &script{says: []said{{body: fine}}}))
		if w, err := r.ask(t.Context(), ""); err != nil || w.header.Get("Retry-After") != "" {
			t.Errorf("%q, then another: %v, %q", said1, err, w.header.Get("Retry-After"))
		}
	}
}

// Where nothing can answer, the caller is told the soonest time at which something may: that of the first key that is used
// again, or of the first breaker that lets somebody try. That keys rest is no failure of the provider.
func TestTheSoonestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rests := func(after time.Duration) *outside {
			return &outside{script{says: []said{{err: fault.New(fault.Unavailable, "resting", fault.Code(engine.KeysRest), fault.After(after))}}}}
		}
		r := newRig(t)
		one := rests(90 * time.Second)
		r.route(abroad("one", 0, 1, one), abroad("two", 0, 1, rests(41500*time.Millisecond)))
		for range 2 * breakerRow {
			w, err := r.ask(t.Context(), "")
			if !fault.Is(err, fault.Unavailable) || w.header.Get("Retry-After") != "42" {
				t.Fatalf("%v, %q", err, w.header.Get("Retry-After"))
			}
		}
		if one.times() != 2*breakerRow {
			t.Errorf("it was asked %d times", one.times())
		}
		lame := &script{says: []said{{err: died()}}}
		r.route(own("three", 0, 1, 1, lame))
		for range breakerRow {
			_, _ = r.ask(t.Context(), "")
		}
		time.Sleep(300 * time.Millisecond)
		for _, v := range []verdict{failed, failed, failed} { // two, four and eight seconds
			time.Sleep(r.replica("three-a").breaker.rests(time.Now()))
			r.replica("three-a").breaker.enter(time.Now())
			r.replica("three-a").breaker.leave(time.Now(), v)
		}
		time.Sleep(2500 * time.Millisecond)
		if w, err := r.ask(t.Context(), ""); err == nil || w.header.Get("Retry-After") != "6" || lame.times() != breakerRow {
			t.Errorf("%v, %q, asked %d times", err, w.header.Get("Retry-After"), lame.times())
		}
	})
}
