package decode

import (
	"context"
	"sync"
	"sync/atomic"
)

// FinishReason says why a choice ended; empty while it goes on.
type FinishReason string

// The reasons, in the words of the OpenAI interface.
const (
	FinishStop   FinishReason = "stop"   // end of sequence, a stop token or a stop string
	FinishLength FinishReason = "length" // MaxTokens, or the end of the context
)

// Event is one generated token of one choice. There is one for every token, also when its text is held back or when
// it has none, so counting events counts tokens.
type Event struct {
	Index   int            // prompt index * N + choice
	Token   int32          // the id
	Text    []byte         // whole UTF-8 characters that are free to show now; may be empty
	Logprob float32        // of Token, when asked for
	Top     []TokenLogprob // the likeliest, best first, when asked for
	Finish  FinishReason   // set on the last event of a choice
}

// Stream carries the events of one request, in the order they were generated. One goroutine reads it, to the end or
// until its context is cancelled or Close is called; a reader that stops without doing so keeps its place in the
// engine: generation waits for it.
type Stream struct {
	engine       *Engine
	ctx          context.Context
	promptTokens int
	cachedTokens atomic.Int64
	cancelled    atomic.Bool
	unwatch      func() bool
	ready        chan struct{} // capacity 1: something changed

	mu      sync.Mutex
	ring    []Event
	head, n int
	stalled bool  // the engine waits for room
	err     error // after the buffered events; io.EOF at the regular end

	live int // choices not finished; the loop's
	due  int // events of the step being planned; the loop's
}

func newStream(ctx context.Context, e *Engine, choices, promptTokens int) *Stream {
	s := &Stream{engine: e, ctx: ctx, promptTokens: promptTokens, live: choices,
		ready: make(chan struct{}, 1), ring: make([]Event, max(e.opt.Buffer, 2*choices))}
	return s
}

// CachedTokens is how many of the prompts' tokens were found in the cache, as far as they have been admitted.
func (s *Stream) CachedTokens() int { return int(s.cachedTokens.Load()) }

// PromptTokens is the number of tokens in all prompts together.
func (s *Stream) PromptTokens() int { return s.promptTokens }

// Next waits for the next event and stores it in ev, whose slices it reuses: they hold until the next call with the
// same ev. It returns io.EOF after the last event, the context's error once that is done, or the fault that ended
// the stream.
func (s *Stream) Next(ev *Event) error {
	for {
		if err := context.Cause(s.ctx); err != nil {
			return err
		}
		s.mu.Lock()
		if s.n > 0 {
			slot := &s.ring[s.head]
			*ev, *slot = *slot, *ev
			s.head = (s.head + 1) % len(s.ring)
			s.n--
			wake := s.stalled
			s.stalled = false
			s.mu.Unlock()
			if wake {
				s.engine.signal()
			}
			return nil
		}
		err := s.err
		s.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-s.ready:
		case <-s.ctx.Done():
		}
	}
}

// Buffered is the number of events that Next would return without waiting: a writer flushes when it is 0.
func (s *Stream) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Close cancels what is left of the request. Its slots are free again after the step in progress.
func (s *Stream) Close() {
	s.unwatch()
	s.cancel()
}

func (s *Stream) cancel() {
	if !s.cancelled.Swap(true) {
		s.engine.signal()
	}
}

// reserve books n events of the coming step if there is room for them; if not, the engine is signalled once the
// reader has made some.
func (s *Stream) reserve(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = len(s.ring)-s.n < s.due+n
	if s.stalled {
		return false
	}
	s.due += n
	return true
}

// slot is where the next event goes. The reader does not see it before commit.
func (s *Stream) slot() *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &s.ring[(s.head+s.n)%len(s.ring)]
}

// commit shows the reader the event in slot.
func (s *Stream) commit() {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	s.due--
	s.notify()
}

// end closes the stream with err, io.EOF when all went well. Only the first end counts.
func (s *Stream) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.unwatch()
	s.notify()
}

func (s *Stream) notify() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
