package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// noticed keeps what it is shown.
type noticed struct {
	begun, ended int
	keep         int
	last         Sight
	answer       string
	attempts     []Attempt
}

func (n *noticed) Begin(s *Sight) { n.begun++; s.Keep = n.keep }
func (n *noticed) End(s *Sight) {
	n.ended++
	n.last, n.answer, n.attempts = *s, string(s.Answer), nil
	for i := range s.Attempts() {
		n.attempts = append(n.attempts, s.Attempt(i))
	}
}

func TestWatchersSeeEveryEnd(t *testing.T) {
	for name, c := range map[string]struct {
		says    []said
		body    string
		gone    bool
		outcome meter.Outcome
		status  int
		used    meter.Usage
		tries   int
		first   bool
	}{
		"whole":                {says: []said{{body: fine}}, outcome: meter.Finished, status: 200, used: meter.Usage{Input: 5, Output: 2}, tries: 1, first: true},
		"a stream":             {says: []said{{chunks: []engine.Chunk{chunk("data: a\n\n", 5, 1, false), chunk("data: [DONE]\n\n", 5, 2, true)}}}, body: streamed, outcome: meter.Finished, status: 200, used: meter.Usage{Input: 5, Output: 2}, tries: 1, first: true},
		"a broken stream":      {says: []said{{chunks: []engine.Chunk{chunk("data: a\n\n", 5, 1, false)}, broken: died()}}, body: streamed, outcome: meter.Broke, status: 200, used: meter.Usage{Input: 5, Output: 1}, tries: 1, first: true},
		"the engine refuses":   {says: []said{{status: 400, body: `{}`}}, status: 400, tries: 1},
		"unreached, the other": {says: []said{{err: unreached()}, {body: fine}}, outcome: meter.Finished, status: 200, used: meter.Usage{Input: 5, Output: 2}, tries: 2, first: true},
		"none answers":         {says: []said{{err: unreached()}}, status: 503, tries: 2},
		"no such model":        {says: []said{{body: fine}}, body: `{"model":"x"}`, status: 404},
		"nonsense":             {says: []said{{body: fine}}, body: `{`, status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			r, n := newRig(t), &noticed{}
			r.Watch = n
			r.route(own("a", 0, 1, 2, &script{says: c.says}))
			_, err := r.ask(t.Context(), c.body)
			s := n.last
			if n.begun != 1 || n.ended != 1 {
				t.Fatalf("begun %d times, ended %d times", n.begun, n.ended)
			}
			if s.Outcome != c.outcome || s.Status != c.status || s.Used != c.used || len(n.attempts) != c.tries || s.First > 0 != c.first || !errors.Is(s.Err, err) {
				t.Errorf("got %v, %d, %+v, %d tries, first %v, %v", s.Outcome, s.Status, s.Used, len(n.attempts), s.First, s.Err)
			}
			if s.Dialect != dialect.Chat || s.Kind != meter.Chat || s.Took <= 0 || s.First > s.Took || s.Reserved > s.Took {
				t.Errorf("%s, %v, reserved %v, first %v, took %v", s.Dialect, s.Kind, s.Reserved, s.First, s.Took)
			}
			if c.outcome != 0 && s.Cost != s.Used.Input+2*s.Used.Output {
				t.Errorf("it cost %d", s.Cost)
			}
			for i, a := range n.attempts {
				if a.Backend == nil || a.Replica == "" || a.Began < s.Reserved || a.Again != (i+1 < len(n.attempts) || c.status == 503) {
					t.Errorf("attempt %d: %+v", i, a)
				}
			}
		})
	}
}

func TestWatchersSeeWhoLeaves(t *testing.T) {
	r, n := newRig(t), &noticed{}
	r.Watch = n
	r.route(own("a", 0, 1, 1, &script{says: []said{{after: time.Hour}}}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, _ = r.ask(ctx, "")
	if n.last.Status != 499 || n.ended != 1 {
		t.Errorf("status %d, ended %d times", n.last.Status, n.ended)
	}
}

// panics is an engine with a defect.
type panics struct{ script }

func (*panics) Open(context.Context, engine.Endpoint, engine.Request) (engine.Stream, error) {
	panic("a defect")
}

func TestWatchersSeePanics(t *testing.T) {
	r, n := newRig(t), &noticed{}
	r.Watch = n
	r.route(own("a", 0, 1, 1, &panics{}))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not go on")
			}
		}()
		_, _ = r.ask(t.Context(), "")
	}()
	if n.ended != 1 || n.last.Status != 500 {
		t.Errorf("ended %d times with %d", n.ended, n.last.Status)
	}
}

func TestAnswersAreKeptWithinBounds(t *testing.T) {
	for _, keep := range []int{10, len(fine), 1000} {
		r, n := newRig(t), &noticed{keep: keep}
		r.Watch = n
		r.route(own("a", 0, 1, 1, &script{says: []said{{body: fine}}}))
		w, err := r.ask(t.Context(), "")
		if err != nil || w.body.String() != fine {
			t.Fatalf("%v, %s", err, w.body.String())
		}
		if len(n.answer) != min(keep, len(fine)) || !strings.HasPrefix(fine, n.answer) || n.last.Whole != (keep >= len(fine)) {
			t.Errorf("of %d kept %q, whole: %v", keep, n.answer, n.last.Whole)
		}
	}
}

// panicsOnce has a defect that shows once.
type panicsOnce struct {
	script
	did bool
}

func (p *panicsOnce) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	if !p.did {
		p.did = true
		panic("a defect")
	}
	return p.script.Open(ctx, to, q)
}

// A panic leaves no place taken, no request running and no breaker waiting for word of it.
func TestPanicsLeaveNothingBehind(t *testing.T) {
	r := newRig(t)
	u := own("a", 0, 1, 1, &panicsOnce{script: script{says: []said{{body: fine}}}})
	r.route(u).Route.Policy = serve.Policy{Concurrency: 1, QueueWaitMS: 1}
	known := r.replica("a-a")
	known.breaker.shut(r.Now().Add(-time.Hour), time.Second, failed) // the next request tries
	func() {
		defer func() { _ = recover() }()
		_, _ = r.ask(t.Context(), "")
		t.Error("nothing panicked")
	}()
	if n := known.running.Load(); n != 0 {
		t.Errorf("%d requests are thought to run", n)
	}
	if w, err := r.ask(t.Context(), ""); err != nil || w.body.String() != fine {
		t.Errorf("the next request: %v", err)
	}
}

// Copies of answers have a bound together.
func TestCopiesAreBounded(t *testing.T) {
	r, n := newRig(t), &noticed{keep: 1000}
	r.Watch = n
	r.route(own("a", 0, 1, 1, &script{says: []said{{body: fine}}}))
	for _, taken := range []int64{0, copiesMost} {
		r.copies.Store(taken)
		w, err := r.ask(t.Context(), "")
		if err != nil || w.body.String() != fine || (n.answer == fine) != (taken == 0) || n.last.Whole != (taken == 0) || r.copies.Load() != taken {
			t.Errorf("with %d bytes taken: %v, kept %q, whole %v, then %d", taken, err, n.answer, n.last.Whole, r.copies.Load())
		}
	}
}
