package aside

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowWorkHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Tasks[int]{Now: time.Now}
		runs := atomic.Int32{}
		slow := func(ctx context.Context) (int, error) {
			runs.Add(1)
			time.Sleep(time.Hour)
			return 7, nil
		}
		begin := time.Now()
		for range 3 {
			if r := s.Do(t.Context(), "a", slow); r != (Result[int]{}) {
				t.Fatalf("at once: %+v", r)
			}
		}
		if r := s.Do(t.Context(), "b", func(context.Context) (int, error) { return 1, nil }); !r.Done || r.Value != 1 {
			t.Errorf("quick work beside it: %+v", r)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if r := s.Do(t.Context(), "a", slow); !r.Done || r.Value != 7 || runs.Load() != 1 {
			t.Errorf("later: %+v, begun %d times", r, runs.Load())
		}
		s.ForgetDone()
		if r := s.Do(t.Context(), "a", slow); r.Done || runs.Load() != 2 {
			t.Errorf("forgotten: %+v, begun %d times", r, runs.Load())
		}
		s.Close()
	})
}

func TestFailuresRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Tasks[int]{Now: time.Now}
		tries, told := 0, 0
		for begin := time.Now(); time.Since(begin) < 10*time.Minute; time.Sleep(500 * time.Millisecond) {
			r := s.Do(t.Context(), "a", func(context.Context) (int, error) { tries++; return 0, errors.New("full") })
			if r.Done || r.Err == nil {
				t.Fatalf("%+v", r)
			}
			if r.New {
				told++
			}
		}
		if tries != told || tries < 10 || tries > 17 {
			t.Errorf("%d tries, told %d times", tries, told)
		}
		s.Forget("a")
		if r := s.Do(t.Context(), "a", func(context.Context) (int, error) { return 3, nil }); !r.Done {
			t.Errorf("begun anew: %+v", r)
		}
	})
}

func TestCloseEndsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Tasks[int]{Now: time.Now}
		ended := 0
		until := func(ctx context.Context) (int, error) { <-ctx.Done(); ended++; return 0, ctx.Err() }
		s.Do(t.Context(), "forgotten", until)
		s.Forget("forgotten")
		synctest.Wait()
		if ended != 1 {
			t.Error("forgotten work goes on")
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.Do(ctx, "a", until)
		cancel()
		synctest.Wait()
		if r := s.Do(t.Context(), "a", until); r.Err != nil || ended != 2 { // as if it had never begun
			t.Errorf("after its context: %+v, %d ended", r, ended)
		}
		s.Close()
		if ended != 3 {
			t.Errorf("%d ended", ended)
		}
		if r := s.Do(t.Context(), "a", until); r != (Result[int]{}) {
			t.Errorf("after Close: %+v", r)
		}
	})
}
