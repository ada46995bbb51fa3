package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
)

// told are what a book has counted.
func (r *rig) told(t *testing.T) (trial, stable canary.Arm) {
	t.Helper()
	s := &teller{}
	if err := r.Trials.Tell(t.Context(), s, "life"); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.list {
		trial.Add(c.Trial)
		stable.Add(c.Stable)
	}
	return trial, stable
}

type teller struct{ list []canary.Count }

func (s *teller) TellCounts(_ context.Context, _ string, list []canary.Count) ([]canary.Key, error) {
	s.list = append(s.list, list...)
	return nil, nil
}

// onTrial gives the route "m" a canary with a share, whose draws are 0, 1, 2 and so on percent.
func (r *rig) onTrial(percent int, of *serve.Upstream, stable ...*serve.Upstream) *serve.Target {
	t := r.route(stable...)
	t.Trial = &serve.Trial{Canary: "can_1", Step: 2, Percent: percent, Via: of}
	r.Trials = &canary.Book{}
	n := uint64(0)
	r.Rand = func() uint64 { n++; return (n-1)%100*(1<<63/50) + 1<<56 }
	return t
}

func TestACanaryGetsItsShare(t *testing.T) {
	r := newRig(t)
	r.Explain = &Explanations{}
	fresh, old := &script{says: []said{{body: fine}}}, &script{says: []said{{body: fine}}}
	r.onTrial(5, own("new", 0, 1, 1, fresh), own("old", 0, 1, 1, old))
	for range 200 {
		if _, err := r.ask(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if fresh.times() != 10 || old.times() != 190 {
		t.Errorf("%d and %d were asked", fresh.times(), old.times())
	}
	trial, stable := r.told(t)
	if trial.Answers != 10 || stable.Answers != 190 || trial.Failed+stable.Failed != 0 || trial.First.Quantile(0.5) <= 0 {
		t.Errorf("%+v, %+v", trial, stable)
	}
	sides := map[string]int{} // sessions stay where they are, whichever dialect they are named in
	for i := range 400 {
		for _, c := range []Call{
			{Path: "/v1/chat/completions", Body: fmt.Appendf(nil, `{"model":"m","user":"u%d","messages":[]}`, i)},
			{Dialect: dialect.Responses, Body: fmt.Appendf(nil, `{"model":"m","user":"u%d","input":"x"}`, i)},
			{Dialect: dialect.Anthropic, Body: fmt.Appendf(nil, `{"model":"m","metadata":{"user_id":"u%d"},"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, i)},
		} {
			c.Who, c.Request = r.who, id.Default().Raw()
			_ = r.Do(t.Context(), &written{header: http.Header{}}, &c)
			x, err := r.Explain.Get(t.Context(), r.who.ProjectID, "req_"+c.Request.String())
			if err != nil || x.Drawn == nil || !x.Drawn.Session || x.Drawn.Percent != 5 || x.Drawn.Step != 2 {
				t.Fatalf("%+v, %v", x.Drawn, err)
			}
			if x.Drawn.On {
				sides[fmt.Sprint(i)]++
			}
		}
	}
	for i, n := range sides {
		if n != 3 {
			t.Errorf("the session %s was on both sides", i)
		}
	}
	if len(sides) < 8 || len(sides) > 36 {
		t.Errorf("%d of 400 sessions are on the canary", len(sides))
	}
}

// How a request ends on what was asked first for it is counted, once, for its side.
func TestWhatACanaryIsCountedBy(t *testing.T) {
	for name, x := range map[string]struct {
		says    said
		drained bool // the canary's breaker is open
		stream  bool
		served  bool
		want    canary.Arm // without First
		first   bool
	}{
		"good":            {says: said{body: fine}, served: true, want: canary.Arm{Answers: 1}, first: true},
		"a good stream":   {says: said{chunks: []engine.Chunk{chunk("data: {}\n\n", 5, 1, false), chunk("data: [DONE]\n\n", 5, 2, true)}}, stream: true, served: true, want: canary.Arm{Answers: 1}, first: true},
		"refused":         {says: said{status: 400, body: `{"error":{}}`}, served: true, want: canary.Arm{Answers: 1, Refused: 1}, first: true},
		"unreached":       {says: said{err: unreached()}, served: true, want: canary.Arm{Answers: 1, Failed: 1}},
		"died":            {says: said{err: died()}, want: canary.Arm{Answers: 1, Failed: 1}},
		"broke off":       {says: said{chunks: []engine.Chunk{chunk("data: {}\n\n", 5, 1, false)}, broken: errors.New("gone")}, stream: true, served: true, want: canary.Arm{Answers: 1, Failed: 1}},
		"rubbish":         {says: said{body: "rubbish"}, want: canary.Arm{Answers: 1, Failed: 1}},
		"full":            {says: said{status: 503}, served: true, want: canary.Arm{Answers: 1, Failed: 1}},
		"an open breaker": {says: said{body: fine}, drained: true, served: true, want: canary.Arm{Answers: 1, Failed: 1}},
	} {
		r := newRig(t)
		r.Explain = &Explanations{}
		old := &script{says: []said{{body: fine}}}
		if x.stream {
			old.says[0] = x.says
		}
		target := r.onTrial(100, own("new", 0, 1, 1, &script{says: []said{x.says}}), own("old", 0, 1, 1, old))
		if x.drained {
			for range breakerRow {
				r.replica("new-a").breaker.leave(time.Now(), failed)
			}
		}
		body := ""
		if x.stream {
			body = streamed
		}
		if _, err := r.ask(t.Context(), body); (err == nil) != x.served {
			t.Errorf("%s: %v", name, err)
		}
		trial, stable := r.told(t)
		began := trial.First.Quantile(0.5) > 0
		trial.First, stable.First = nil, nil
		if fmt.Sprint(trial) != fmt.Sprint(x.want) || stable.Answers != 0 || began != x.first {
			t.Errorf("%s: %+v, %+v, began %v", name, trial, stable, began)
		}
		// The same ends count alike on the other side.
		if x.drained {
			continue
		}
		target.Trial.Percent, target.Trial.Via, target.Backends = 0, target.Backends[0], []*serve.Upstream{target.Trial.Via}
		r.Trials = &canary.Book{}
		_, _ = r.ask(t.Context(), body)
		if trial, stable := r.told(t); stable.Failed != x.want.Failed || stable.Refused != x.want.Refused || stable.Answers != 1 || trial.Answers != 0 {
			t.Errorf("%s beside it: %+v, %+v", name, trial, stable)
		}
	}
}

// Who leaves before an answer begins has waited so long at least; what was refused before anything was asked is not counted.
func TestLeavingACanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.onTrial(100, own("new", 0, 1, 1, &script{says: []said{{body: fine, after: time.Hour}}}), own("old", 0, 1, 1, &script{says: []said{{body: fine}}}))
		ctx, leave := context.WithTimeout(t.Context(), 20*time.Second)
		defer leave()
		if _, err := r.ask(ctx, ""); err == nil {
			t.Error("it was served")
		}
		trial, _ := r.told(t)
		if s := trial.First.Quantile(0.5); trial.Answers != 1 || trial.Failed != 0 || s < 18 || s > 22 {
			t.Errorf("%+v, %v s", trial, s)
		}
		r.Trials = &canary.Book{}
		if _, err := r.ask(t.Context(), `{"model":"m","n":0}`); err == nil {
			t.Error("it was served")
		}
		if trial, stable := r.told(t); trial.Answers+stable.Answers != 0 {
			t.Errorf("%+v, %+v", trial, stable)
		}
	})
}

// An answer through a codec begins at its first byte, too.
func TestTranslatedAnswersBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := &script{says: []said{{after: 3 * time.Second, chunks: []engine.Chunk{
			chunk("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n", 5, 1, false), chunk("data: [DONE]\n\n", 5, 1, true)}}}}
		r.onTrial(100, own("new", 0, 1, 1, e), own("old", 0, 1, 1, e))
		for _, stream := range []string{"true", "false"} {
			w := &written{header: http.Header{}}
			err := r.Do(t.Context(), w, &Call{Who: r.who, Dialect: dialect.Anthropic, Request: id.Default().Raw(),
				Body: []byte(`{"model":"m","stream":` + stream + `,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`)})
			if err != nil || !strings.Contains(w.body.String(), "hi") {
				t.Fatal(w.body.String(), err)
			}
		}
		trial, _ := r.told(t)
		if s := trial.First.Quantile(0.5); trial.Answers != 2 || s < 2.7 || s > 3.3 {
			t.Errorf("%+v began after %v s", trial, s)
		}
	})
}

// A canary of a model that judges is counted by what it judges.
func TestACanaryOfAJudge(t *testing.T) {
	r, judge := guardedRig(t, guard.Policy{Before: true}, own("one", 0, 1, 1, &script{says: []said{{body: fine}}}))
	r.Trials = &canary.Book{}
	r.routes.targets["judge"].Trial = &serve.Trial{Canary: "can_1", Percent: 100, Via: own("new", 0, 1, 1, judge)}
	for range 3 {
		if _, err := r.ask(t.Context(), `{"model":"m","messages":[{"role":"user","content":"x"}]}`); err != nil {
			t.Fatal(err)
		}
	}
	if trial, stable := r.told(t); trial.Answers != 3 || trial.Failed != 0 || stable.Answers != 0 {
		t.Errorf("%+v, %+v", trial, stable)
	}
}
