package gateway

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
)

// Memory bounds the bytes that answers in one piece take while they are read or put together, of all requests of a process
// at once. An answer takes of it as it grows, from freeAnswer on, so that small ones cost nothing. nil is no bound.
type Memory struct {
	limit int64
	taken atomic.Int64
}

// freeAnswer is how many bytes of an answer are not counted: what many requests take at once is bounded by how many may run.
const freeAnswer = 64 << 10

// step is what a growing answer takes beyond what it needs.
const step = 128 << 10

// NewMemory makes one of so many bytes.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Taken is how many bytes are taken now.
func (m *Memory) Taken() int64 { return m.taken.Load() }

// take takes n bytes or nothing.
func (m *Memory) take(n int64) bool {
	if m.taken.Add(n) > m.limit && n > 0 {
		m.taken.Add(-n)
		return false
	}
	return true
}

var errNoRoom = fault.New(fault.Unavailable, "The memory for answers in one piece is full.", fault.Code("answers_full"), fault.After(time.Second),
	fault.Fix("Ask for a stream, for fewer tokens (max_tokens), or try again in a moment."))

var errLong = errors.New("gateway: the answer is too long")

// grab has the flight hold room for so many bytes in all; it fails with errNoRoom.
func (f *flight) grab(bytes int) error {
	if bytes <= freeAnswer || int64(bytes) <= f.taken || f.Memory == nil {
		return nil
	}
	to := int64(bytes) + step // not for each chunk
	if !f.Memory.take(to - f.taken) {
		if to = int64(bytes); !f.Memory.take(to - f.taken) {
			return errNoRoom
		}
	}
	f.taken = to
	return nil
}

// release gives back what the flight holds.
func (f *flight) release() {
	if f.taken > 0 {
		f.Memory.take(-f.taken)
		f.taken = 0
	}
}

// collect appends the rest of an answer to b. Its memory is that of the answer, and of the copy while it grows.
func (f *flight) collect(s engine.Stream, b []byte, limit int) ([]byte, error) {
	for {
		c, err := s.Next()
		if n := len(b) + len(c.Data); n > cap(b) && n > freeAnswer {
			size := min(max(2*cap(b), n), limit+len(c.Data))
			if full := f.grab(cap(b) + size); full != nil {
				return b, full
			}
			b = append(make([]byte, 0, size), b...)
		}
		b = append(b, c.Data...)
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		case len(b) > limit:
			return b, errLong
		}
	}
}
