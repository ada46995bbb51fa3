package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
)

// shelf is a store of explanations in memory.
type shelf struct {
	mu      sync.Mutex
	all     map[string]Explanation
	dropped time.Time
}

func (s *shelf) AddExplanations(_ context.Context, list []Explanation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list {
		s.all[e.Request] = e
	}
	return nil
}

func (s *shelf) Explanation(_ context.Context, project, request string) (Explanation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.all[request]; ok && e.Project == project {
		return e, nil
	}
	return Explanation{}, fault.New(fault.NotFound, "none")
}

func (s *shelf) DropExplanations(_ context.Context, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = before
	return nil
}

func TestExplain(t *testing.T) {
	r := newRig(t)
	r.Explain = &Explanations{}
	bad, good := &script{says: []said{{err: unreached()}}}, &outside{script{says: []said{{body: fine}}}}
	target := r.route(own("one", 0, 1, 2, bad), abroad("two", 1, 1, good))
	target.Route.Priced.ID = "pv_1"
	for _, names := range []bool{false, true} {
		w := &written{header: http.Header{}}
		raw := id.Default().Raw()
		if err := r.Do(t.Context(), w, &Call{Who: r.who, Path: "/v1/chat/completions", Body: []byte(`{"model":"m"}`), Request: raw, Explain: true, Names: names}); err != nil {
			t.Fatal(err)
		}
		header := w.header.Get(explainHeader)
		if !strings.HasPrefix(header, "tries=3; tier=1; waited_ms=0") || strings.Contains(header, "prv_two") != names {
			t.Errorf("header %q", header)
		}
		x, err := r.Explain.Get(t.Context(), r.who.ProjectID, "req_"+raw.String())
		if err != nil {
			t.Fatal(err)
		}
		if x.Outcome != "finished" || x.Route != target.Route.ID || x.PriceVersion != "pv_1" || x.Input != 5 || x.CostMicros != 9 || len(x.Tries) != 3 ||
			!x.Tries[0].Again || x.Tries[0].Status != 0 || x.Tries[2].Backend != "prv_two" || x.Tries[2].Status != 200 || x.Tries[2].Again || x.Took <= 0 {
			t.Errorf("%+v", x)
		}
		if _, err := r.Explain.Get(t.Context(), "prj_b", "req_"+raw.String()); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project's: %v", err)
		}
	}
	raw := id.Default().Raw()
	_ = r.Do(t.Context(), &written{header: http.Header{}}, &Call{Who: r.who, Path: "/v1/chat/completions", Body: []byte(`{"model":"nothing"}`), Request: raw})
	if x, err := r.Explain.Get(t.Context(), r.who.ProjectID, "req_"+raw.String()); err != nil || x.Outcome != "refused" || x.Code != "model_not_found" || x.Model != "nothing" || len(x.Tries) != 0 {
		t.Errorf("%+v, %v", x, err)
	}
	for _, odd := range []string{"", "req_", "req_x", "key_" + raw.String(), raw.String()} {
		if _, err := r.Explain.Get(t.Context(), r.who.ProjectID, odd); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", odd, err)
		}
	}
}

// Failures and the share are stored, the rest is forgotten with time; nothing waits for the store.
func TestExplanationsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		kept := &shelf{all: map[string]Explanation{}}
		r.Explain = &Explanations{Store: kept, Share: 0.25, Log: slog.New(slog.DiscardHandler)}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Explain.Loop(ctx, time.Now)
		}()
		r.route(own("one", 0, 1, 1, &script{says: []said{{body: fine}}}))
		ask := func(model string) string {
			raw := id.Default().Raw()
			_ = r.Do(ctx, &written{header: http.Header{}}, &Call{Who: r.who, Path: "/v1/chat/completions", Body: []byte(`{"model":"` + model + `"}`), Request: raw})
			return "req_" + raw.String()
		}
		failure := ask("nothing")
		for range 400 {
			ask("m")
		}
		time.Sleep(2 * time.Second)
		kept.mu.Lock()
		n := len(kept.all)
		kept.mu.Unlock()
		if n < 96 || n > 106 {
			t.Errorf("%d are stored", n)
		}
		for range 40 * explainShards * explainEach / 10 {
			ask("m")
		}
		if x, err := r.Explain.Get(ctx, r.who.ProjectID, failure); err != nil || x.Code != "model_not_found" {
			t.Errorf("%+v, %v", x, err)
		}
		time.Sleep(time.Hour)
		kept.mu.Lock()
		dropped := kept.dropped
		kept.mu.Unlock()
		if want := time.Now().Add(-explainKeep); want.Sub(dropped) > time.Hour {
			t.Errorf("dropped before %v", dropped)
		}
		stop()
		<-done
	})
}

// Who asks for what was decided is told in every dialect, through a codec too.
func TestEveryDialectIsTold(t *testing.T) {
	for _, k := range []dialect.Kind{dialect.Chat, dialect.Responses, dialect.Anthropic, dialect.Google} {
		for _, up := range []engine.Dialect{engine.OpenAI, engine.Anthropic} {
			for i, stream := range []bool{false, true} {
				if same := k == dialect.Chat && up == engine.OpenAI || k == dialect.Anthropic && up == engine.Anthropic; same && !stream {
					continue // TestExplain has it
				}
				r := newRig(t)
				r.route(spokenBy(up, abroad("up", 0, 1, &script{says: []said{{chunks: streams[up]}}})))
				c := r.call(k, requests[k][i], stream)
				c.Explain = true
				if w, err := r.run(c); err != nil || !strings.HasPrefix(w.header.Get(explainHeader), "tries=1; tier=0") {
					t.Errorf("%s to %s, stream %v: header %q, %v", k, up, stream, w.header.Get(explainHeader), err)
				}
			}
		}
	}
}
