package front

import (
	"context"
	"slices"
	"sync"
	"time"
)

// span is the context of one request. It ends when the client hangs up and when the handler has returned. It does less
// than the standard contexts and so costs less: it has the values of the server's context, but does not end with it. One
// whose Done nobody asked for serves the connection's next request as well.
type span struct {
	values context.Context

	mu    sync.Mutex
	done  chan struct{} // made when somebody asks for it
	err   error
	hooks []hook
	last  uint64 // id of the last hook
}

// hook is a function to be called at the end.
type hook struct {
	id uint64
	f  func()
}

var _ context.Context = (*span)(nil)

// Deadline says that there is none.
func (s *span) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is the server's.
func (s *span) Value(key any) any { return s.values.Value(key) }

// Done is closed at the end.
func (s *span) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.err != nil {
			close(s.done)
		}
	}
	return s.done
}

// Err is context.Canceled after the end.
func (s *span) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// AfterFunc calls f in a goroutine of its own after the end, unless stop returns true. Package context uses it for
// contexts made from this one, and so does whoever wants to spare the rest of context.AfterFunc.
func (s *span) AfterFunc(f func()) (stop func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		go f()
		return func() bool { return false }
	}
	s.last++
	id := s.last
	s.hooks = append(s.hooks, hook{id, f})
	return func() bool { return s.stop(id) }
}

func (s *span) stop(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.hooks {
		if s.hooks[i].id == id {
			s.hooks = slices.Delete(s.hooks, i, i+1)
			return true
		}
	}
	return false
}

func (s *span) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = context.Canceled
	if s.done != nil {
		close(s.done)
	}
	for _, h := range s.hooks {
		go h.f()
	}
	clear(s.hooks)
	s.hooks = s.hooks[:0]
}

// renew begins the time of another request; false if somebody may wait for the end of the last one.
func (s *span) renew() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done != nil {
		return false
	}
	s.err = nil
	return true
}
