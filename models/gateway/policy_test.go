package gateway

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// Where a backend is full requests wait for their turn, and go on to the next tier when there is none in time.
func TestFullBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		busy, other := &script{says: []said{{body: fine, after: 10 * time.Second}}}, &script{says: []said{{body: fine}}}
		target := r.route(own("one", 0, 1, 2, busy))
		target.Route.Policy = serve.Policy{Concurrency: 2, Queue: 4, QueueWaitMS: 25_000}
		var mu sync.Mutex
		ends := map[string]int{}
		ask := func(n int) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					_, err := r.ask(t.Context(), "")
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						ends["served"]++
					} else {
						ends[fault.As(err).Code]++
					}
				})
			}
			wg.Wait()
		}
		began := time.Now()
		ask(10)
		if took := time.Since(began); took != 20*time.Second || ends["served"] != 8 || ends["queue_full"] != 2 {
			t.Errorf("after %v: %v", took, ends)
		}
		for _, replica := range []string{"one-a", "one-b"} {
			if n := r.replica(replica).running.Load(); n != 0 {
				t.Errorf("%d run on %s", n, replica)
			}
		}
		target.Backends = append(target.Backends, own("two", 1, 1, 1, other))
		target.Route.Policy.QueueWaitMS = 5_000
		clear(ends)
		ask(10)
		if ends["served"] != 10 || other.times() != 6 {
			t.Errorf("%v, %d elsewhere", ends, other.times())
		}
		if l := r.lane("one"); l.running != 0 || l.waiting != 0 {
			t.Errorf("%d run and %d wait", l.running, l.waiting)
		}
	})
}

func TestLeavingTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := &script{says: []said{{body: fine, after: time.Hour}}}
		r.route(own("one", 0, 1, 1, e)).Route.Policy = serve.Policy{Concurrency: 1}
		ctx, leave := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := r.ask(ctx, "")
				errs <- err
			}()
			synctest.Wait()
		}
		leave()
		for range 2 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if l := r.lane("one"); l.running != 0 || l.waiting != 0 || e.times() != 1 {
			t.Errorf("%d run, %d wait, %d were asked", l.running, l.waiting, e.times())
		}
	})
}

func TestSlowAnswersOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		lame, quick := &script{says: []said{{body: fine, after: 3 * time.Second}}}, &script{says: []said{{body: fine}}}
		r.route(own("one", 0, 1, 1, lame), own("two", 1, 1, 1, quick)).Route.Policy = serve.Policy{SlowMS: 2000}
		for range 10 {
			if _, err := r.ask(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		if lame.times() != breakerRow {
			t.Errorf("it was asked %d times", lame.times())
		}
	})
}

// sleepy are routes whose deployment answers some time after it was woken.
type sleepy struct {
	*table
	takes time.Duration
	up    *serve.Target
	woken []string
}

func (s *sleepy) Lookup(_, _, _ string) (*serve.Target, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.targets["m"]
	return t, ok
}

func (s *sleepy) Wake(_ context.Context, _, deployment string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken = append(s.woken, deployment); len(s.woken) == 1 {
		time.AfterFunc(s.takes, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.targets["m"] = s.up
		})
	}
	return nil
}

func TestWake(t *testing.T) {
	for takes, code := range map[time.Duration]string{20 * time.Second: "", 40 * time.Second: "model_not_ready"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			e := &script{says: []said{{body: fine}}}
			down := r.route(own("one", 0, 1, 0, e))
			down.Route.Policy = serve.Policy{WakeMS: 30_000}
			up := *down
			up.Backends = []*serve.Upstream{own("one", 0, 1, 1, e)}
			s := &sleepy{table: r.routes, takes: takes, up: &up}
			r.Routes = s
			began := time.Now()
			_, err := r.ask(t.Context(), "")
			if code == "" && (err != nil || e.times() != 1 || time.Since(began) < takes) || code != "" && fault.As(err).Code != code {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			if len(s.woken) != 1 || s.woken[0] != "one" || r.waking.Load() != 0 {
				t.Errorf("woken %v, %d wait", s.woken, r.waking.Load())
			}
			time.Sleep(time.Minute)
			s.mu.Lock()
			down.Route.Policy.WakeMS = 0
			r.routes.targets["m"] = down
			s.mu.Unlock()
			if _, err := r.ask(t.Context(), ""); !fault.Is(err, fault.Unavailable) || len(s.woken) != 1 {
				t.Errorf("a route that wakes nothing: %v, woken %v", err, s.woken)
			}
		})
	}
}

var _ engine.Engine = (*script)(nil)

// unwakeable are routes whose deployment no machine can hold.
type unwakeable struct{ *table }

func (unwakeable) Wake(context.Context, string, string) error {
	return fault.New(fault.Invalid, "It does not fit.", fault.Code("memory"))
}

// Nobody waits for what cannot be woken.
func TestWakeThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.route(own("one", 0, 1, 0, &script{})).Route.Policy = serve.Policy{WakeMS: 30_000}
		r.Routes = unwakeable{r.routes}
		began := time.Now()
		if _, err := r.ask(t.Context(), ""); !fault.Is(err, fault.Unavailable) || time.Since(began) > 0 || r.waking.Load() != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
