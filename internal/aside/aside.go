// Package aside does slow things beside a loop that must stay quick: each in its own goroutine, one at a time for a
// key, and after a failure again only when a while has passed, which doubles.
//
// Rules for callers: call Do in every pass until it says that the work is done, with work that may be begun anew after
// a crash; Forget a key whose work is no longer wanted. Close ends what runs and waits for it.
package aside

import (
	"context"
	"sync"
	"time"
)

// How long a failed try rests before the next.
const (
	shortestRest = time.Second
	longestRest  = time.Minute
)

// patience is how long Do waits for work, if Tasks says nothing else.
const patience = 50 * time.Millisecond

// Tasks is work by key with results of type T. Its methods may be called from any goroutine.
type Tasks[T any] struct {
	Now func() time.Time
	// Patience is how long after its begin Do waits for work, so that quick work needs one pass only; 0 is 50 ms, a
	// negative one has Do wait to the work's end.
	Patience time.Duration

	mu      sync.Mutex
	all     map[string]*task[T]
	running sync.WaitGroup
	closed  bool
	ends    map[*task[T]]context.CancelFunc // of running work
}

// Result is how the work for a key stands. While it runs and has not failed before, it is zero.
type Result[T any] struct {
	Value T     // once Done
	Done  bool  // it was done without an error
	Err   error // of the last try that ended
	New   bool  // Err is told for the first time
}

// task is the newest try for a key.
type task[T any] struct {
	ended chan struct{} // closed when the try has ended
	value T
	err   error
	told  bool
	rest  time.Duration
	next  time.Time // when to try again
	last  error     // of the try before
	began time.Time
}

// Do starts work for the key unless it runs, was done, or rests after a failure, and says how it stands. The context
// that work gets ends with ctx and with Close; work that ends because of it is as if it had never begun.
func (s *Tasks[T]) Do(ctx context.Context, key string, work func(context.Context) (T, error)) Result[T] {
	t := s.begin(ctx, key, work)
	if t == nil {
		return Result[T]{}
	}
	s.await(ctx, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-t.ended:
	default:
		return Result[T]{Err: t.last}
	}
	r := Result[T]{Value: t.value, Done: t.err == nil, Err: t.err, New: t.err != nil && !t.told}
	t.told = true
	return r
}

// await waits while there is patience with a try.
func (s *Tasks[T]) await(ctx context.Context, t *task[T]) {
	left := s.Patience
	if left == 0 {
		left = patience
	}
	var enough <-chan time.Time
	if left > 0 {
		timer := time.NewTimer(max(0, left-s.Now().Sub(t.began)))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-t.ended:
	case <-enough:
	case <-ctx.Done():
	}
}

// begin finds the try for the key, or starts one; nil after Close.
func (s *Tasks[T]) begin(ctx context.Context, key string, work func(context.Context) (T, error)) *task[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	rest, last := shortestRest, error(nil)
	if t := s.all[key]; t != nil {
		select {
		case <-t.ended:
		default:
			return t
		}
		if t.err == nil || s.Now().Before(t.next) {
			return t
		}
		rest, last = min(2*t.rest, longestRest), t.err
	}
	t := &task[T]{ended: make(chan struct{}), rest: rest, last: last, began: s.Now()}
	if s.all == nil {
		s.all, s.ends = map[string]*task[T]{}, map[*task[T]]context.CancelFunc{}
	}
	ctx, cancel := context.WithCancel(ctx)
	s.all[key], s.ends[t] = t, cancel
	s.running.Go(func() {
		defer cancel()
		value, err := work(ctx)
		s.end(ctx, key, t, value, err)
	})
	return t
}

func (s *Tasks[T]) end(ctx context.Context, key string, t *task[T], value T, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.value, t.err, t.next = value, err, s.Now().Add(t.rest)
	delete(s.ends, t)
	if err != nil && ctx.Err() != nil && s.all[key] == t {
		delete(s.all, key)
	}
	close(t.ended)
}

// Forget drops what is known about a key; work that runs is told to end, and nobody hears of its result.
func (s *Tasks[T]) Forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.all[key]; t != nil {
		if end := s.ends[t]; end != nil {
			end()
		}
		delete(s.all, key)
	}
}

// ForgetDone drops the results of all work that was done.
func (s *Tasks[T]) ForgetDone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, t := range s.all {
		if s.ends[t] == nil && t.err == nil {
			delete(s.all, key)
		}
	}
}

// Close ends all work and waits for it; Do does nothing afterwards.
func (s *Tasks[T]) Close() {
	s.mu.Lock()
	s.closed = true
	for _, end := range s.ends {
		end()
	}
	s.mu.Unlock()
	s.running.Wait()
}
