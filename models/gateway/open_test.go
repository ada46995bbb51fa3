package gateway

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// What fails before the first byte is followed by the next replica, the next backend and the next tier, and the caller
// gets one answer and one bill.
func TestFallback(t *testing.T) {
	for name, first := range map[string]said{
		"unreached":          {err: unreached()},
		"refused":            {status: 401},
		"busy":               {status: 503},
		"of another version": {status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			bad, good := &script{says: []said{first}}, &outside{script{says: []said{{body: fine}}}}
			r.route(own("one", 0, 1, 2, bad), abroad("two", 1, 1, good))
			w, err := r.ask(t.Context(), `{"model":"m","messages":[],"max_tokens":9}`)
			if err != nil || w.status != 200 || w.body.String() != fine {
				t.Fatalf("%v, %d %s", err, w.status, w.body.String())
			}
			if len(bad.of) != 2 || bad.of[0] == bad.of[1] || len(good.asked) != 1 {
				t.Errorf("asked %v and %d", bad.of, len(good.asked))
			}
			if got := string(good.asked[0].Body); got != `{"model":"two","messages":[],"max_tokens":9}` || string(bad.asked[0].Body) != `{"model":"m","messages":[],"max_tokens":9}` {
				t.Errorf("the provider was sent %s", got)
			}
			if b := r.booked(); len(b) != 1 || b[0].Usage.Input != 5 || b[0].Usage.Output != 2 {
				t.Errorf("booked %+v", b)
			}
		})
	}
}

func TestProviderStatuses(t *testing.T) {
	for status, again := range map[int]bool{400: false, 422: false, 413: false, 401: true, 402: true, 403: true, 404: true, 429: true, 500: true, 502: true, 529: true, 302: true} {
		r := newRig(t)
		bad, good := &outside{script{says: []said{{status: status, body: "secret words"}}}}, &script{says: []said{{body: fine}}}
		r.route(abroad("one", 0, 1, bad), own("two", 1, 1, 1, good))
		w, err := r.ask(t.Context(), "")
		if again && (err != nil || w.status != 200) || !again && (w.status != status || good.times() > 0) {
			t.Errorf("%d: %v, %d %s", status, err, w.status, w.body.String())
		}
		r.route(abroad("three", 0, 1, bad)) // with nothing behind it
		w, err = r.ask(t.Context(), "")
		if again && (!fault.Is(err, fault.Unavailable) || w.status != 0 || strings.Contains(err.Error(), "secret words")) {
			t.Errorf("%d alone: %v, %d %s", status, err, w.status, w.body.String())
		}
		if b := r.booked(); len(b) > 1 {
			t.Errorf("%d: booked %+v", status, b)
		}
	}
}

// What somebody outside may have worked on, and will bill, is not asked of another.
func TestNothingIsAskedTwiceThatDied(t *testing.T) {
	r := newRig(t)
	bad, good := &outside{script{says: []said{{err: died()}}}}, &script{says: []said{{body: fine}}}
	r.route(abroad("one", 0, 1, bad), own("two", 1, 1, 1, good))
	if _, err := r.ask(t.Context(), ""); !fault.Is(err, fault.Unavailable) || good.times() != 0 {
		t.Errorf("%v, asked %d times", err, good.times())
	}
}

// A stream that broke off after its first byte is not begun anew elsewhere.
func TestNoRetryBehindTheFirstByte(t *testing.T) {
	r := newRig(t)
	bad := &script{says: []said{{chunks: []engine.Chunk{chunk("data: 1\n\n", 4, 1, false)}, broken: io.ErrUnexpectedEOF}}}
	good := &script{says: []said{{body: fine}}}
	r.route(own("one", 0, 1, 1, bad), own("two", 1, 1, 1, good))
	w, err := r.ask(t.Context(), streamed)
	if err != nil || good.times() != 0 || !strings.HasPrefix(w.body.String(), "data: 1\n\n") {
		t.Errorf("%v, %d, %s", err, good.times(), w.body.String())
	}
	contains(t, w.body.String(), "engine_failed")
	if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.Broke || b[0].Usage.Output != 1 {
		t.Errorf("booked %+v", b)
	}
}

func TestWhoHasNoVectorsIsNotAsked(t *testing.T) {
	r := newRig(t)
	e := &outside{script{says: []said{{body: fine}}}}
	u := abroad("claude", 0, 1, e)
	u.Dialect = engine.Anthropic
	r.route(u)
	c := r.call(dialect.Chat, `{"model":"m","input":"x"}`, false)
	c.Path = openai.EmbeddingsPath
	if _, err := r.run(c); !fault.Is(err, fault.Unsupported) || e.times() != 0 {
		t.Errorf("%v", err)
	}
	r.route(u, own("two", 1, 1, 1, &script{says: []said{{body: fine}}}))
	if _, err := r.run(c); err != nil {
		t.Error(err)
	}
}

// Weights show after few requests already, and a weight of nothing takes nothing.
func TestWeights(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		var list []*serve.Upstream
		var each []*script
		sum := 0
		for i, weight := range rapid.SliceOfN(rapid.IntRange(0, 9), 1, 6).Draw(rt, "weights") {
			e := &script{says: []said{{body: fine}}}
			each, sum = append(each, e), sum+weight
			list = append(list, own(string(rune('a'+i)), 0, weight, 1, e))
		}
		r.route(list...)
		const n = 120
		for range n {
			if _, err := r.ask(t.Context(), ""); (err == nil) != (sum > 0) {
				rt.Fatal(err)
			}
		}
		for i, e := range each {
			want := 0.0
			if sum > 0 {
				want = n * float64(list[i].Weight) / float64(sum)
			}
			if got := float64(e.times()); math.Abs(got-want) > 6 || want == 0 && got > 0 {
				rt.Errorf("weight %d of %d was asked %v times of %d", list[i].Weight, sum, got, n)
			}
		}
	})
}

// A client that leaves a provider's stream pays for what the provider bills: it is read on.
func TestProvidersAreDrained(t *testing.T) {
	for name, leave := range map[string]func(w *written, cancel func()){
		"the write fails": func(w *written, _ func()) { w.gone = true },
		"the context":     func(_ *written, cancel func()) { cancel() },
	} {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		e := &outside{script{says: []said{{chunks: []engine.Chunk{chunk("data: 1\n\n", 0, 1, false)}, broken: context.Canceled, rest: engine.Chunk{Prompt: 9, Completion: 7}}}}}
		r.route(abroad("one", 0, 1, e))
		w := &written{header: http.Header{}}
		leave(w, cancel)
		if name == "the context" {
			e.says[0].broken = fault.Wrap(context.Canceled, "left")
			cancel = func() {}
			ctx2, stop := context.WithCancel(t.Context())
			ctx = ctx2
			e.says[0].chunks = append(e.says[0].chunks, engine.Chunk{})
			w2 := &leaving{written: w, stop: stop}
			_ = r.Do(ctx, w2, &Call{Who: r.who, Path: "/v1/chat/completions", Body: []byte(streamed)})
		} else {
			_ = r.Do(ctx, w, &Call{Who: r.who, Path: "/v1/chat/completions", Body: []byte(streamed)})
		}
		cancel()
		if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.HungUp || b[0].Usage.Input != 9 || b[0].Usage.Output != 7 || e.drain != 1 {
			t.Errorf("%s: booked %+v, drained %d times", name, b, e.drain)
		}
	}
}

// leaving is a client that goes after its first piece.
type leaving struct {
	*written
	stop func()
}

func (l *leaving) Flush() error {
	l.stop()
	return nil
}

func TestRetriesHaveABudget(t *testing.T) {
	r := newRig(t)
	bad, good := &script{says: []said{{status: 503}}}, &script{says: []said{{body: fine}}}
	r.route(own("one", 0, 1, 1, bad), own("two", 1, 1, 1, good))
	served := 0
	for range 1000 {
		if _, err := r.ask(t.Context(), ""); err == nil && good.times() > served {
			served = good.times()
		}
	}
	if served < 290 || served > 310 { // a hundred at first, and then a fifth
		t.Errorf("%d retries for 1,000 requests", served)
	}
}

func TestRenamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SampledFrom([]string{``, `"a":{"model":"x"},`, ` "b" : [1,"\"model\""] , `}).Draw(t, "before")
		old := rapid.SampledFrom([]string{`"m"`, `"m\u00e9\""`, `"a/b:c"`}).Draw(t, "old")
		name := rapid.StringMatching(`[!-~]{1,40}`).Draw(t, "name")
		body := []byte(`{` + before + `"model" : ` + old + ` ,"z":{"model":1}}`)
		f, err := readFields(body)
		if err != nil {
			t.Fatal(err)
		}
		out := renamed(body, f.modelAt, f.modelEnd, name)
		if !gjson.ValidBytes(out) || gjson.GetBytes(out, "model").String() != name || gjson.GetBytes(out, "z.model").Int() != 1 {
			t.Fatalf("%s became %s", body, out)
		}
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		bad, good := &script{says: []said{{err: unreached()}}}, &script{says: []said{{body: fine}}}
		r.route(own("one", 0, 1, 1, bad), own("two", 1, 1, 1, good))
		for range 20 {
			if _, err := r.ask(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		if bad.times() != breakerRow {
			t.Errorf("asked %d times before it opened", bad.times())
		}
		for rest := breakerRest; rest < breakerLongest; rest *= 2 { // one tries after each rest, which grows
			time.Sleep(rest + time.Millisecond)
			before := bad.times()
			for range 5 {
				_, _ = r.ask(t.Context(), "")
			}
			if got := bad.times() - before; got != 1 {
				t.Fatalf("after %v %d tried", rest, got)
			}
		}
		time.Sleep(breakerLongest + time.Millisecond)
		bad.mu.Lock()
		bad.says = []said{{body: fine}}
		bad.mu.Unlock()
		before := good.times()
		for range 5 {
			_, _ = r.ask(t.Context(), "")
		}
		if good.times() != before {
			t.Error("it is not asked though it is well again")
		}
	})
}

// A breaker lets exactly one request try, opens by share as well, forgets with time, and is not opened by what says
// nothing about the backend.
func TestBreakerStates(t *testing.T) {
	now := time.Unix(1000, 0)
	var b breaker
	for range 1000 {
		b.leave(now, unknown)
	}
	for i := range 19 {
		if b.leave(now, verdict(i%2)*failed) {
			t.Fatalf("opened after %d", i)
		}
	}
	if b.row > 0 {
		b.leave(now, good)
	}
	now = now.Add(breakerSlots * breakerSlot)
	for range 4 {
		b.leave(now, failed)
	}
	if !b.enter(now) {
		t.Fatal("old failures count")
	}
	if !b.leave(now, failed) || b.enter(now) || b.ready(now) {
		t.Fatal("five in a row leave it closed")
	}
	b.leave(now, good) // of a request that began before
	if b.enter(now) {
		t.Fatal("an old success closed it")
	}
	now = now.Add(breakerRest)
	if ready, first, second := b.ready(now), b.enter(now), b.enter(now); !ready || !first || second || b.ready(now) {
		t.Fatal("half open it lets one through")
	}
	b.leave(now, unknown)
	if !b.enter(now) {
		t.Fatal("after one that says nothing another tries")
	}
	b.leave(now, good)
	if first, second := b.enter(now), b.enter(now); !first || !second {
		t.Fatal("it did not close")
	}
	for range 10 {
		b.leave(now, good)
		b.leave(now, slow)
	}
	if b.enter(now) {
		t.Fatal("half of its answers being slow leaves it closed")
	}
}

// What is known of replicas that are gone does not grow for ever.
func TestReplicasThatAreGoneAreForgotten(t *testing.T) {
	r, now := newRig(t), time.Unix(1_800_000_000, 0)
	r.Now = func() time.Time { return now }
	for _, name := range []string{"gone", "runs", "lives"} {
		r.replica(name).breaker.leave(now, good)
	}
	r.replica("runs").running.Add(1)
	now = now.Add(forgetAfter + time.Hour)
	r.replica("lives").breaker.leave(now, good)
	for i := range forgetEach {
		r.replica(fmt.Sprint("new", i))
	}
	left := map[string]bool{}
	r.Backends(func(name string, _ int64, _ bool) { left[name] = true })
	if left["gone"] || !left["runs"] || !left["lives"] || len(left) != forgetEach+2 {
		t.Errorf("%d are known: %v", len(left), left)
	}
}
