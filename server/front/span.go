package front

import (
	"context"
	"slices"
	"sync"
	"time"
)

// span is the context of one request. It ends when the client hangs up and when the handler has returned. It does less
// than the standard contexts and so costs less: it has the values of the server's context, but does not end with it.
type span struct {
	values context.Context

	mu    sync.Mutex
	done  chan struct{} // made when somebody asks for it
	err   error
	hooks []*hook
}

// hook is a function to be called at the end.
type hook struct {
	of *span
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
	h := &hook{s, f}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		go f()
		return func() bool { return false }
	}
	s.hooks = append(s.hooks, h)
	return h.stop
}

func (h *hook) stop() bool {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	i := slices.Index(h.of.hooks, h)
	if i < 0 {
		return false
	}
	h.of.hooks = slices.Delete(h.of.hooks, i, i+1)
	return true
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
	s.hooks = nil
}
