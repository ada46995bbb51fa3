package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Watcher is told of each request when it begins and when it has ended. It must not block, and keep nothing of what it
// is shown: a Sight, its Call and the bodies are used again.
type Watcher interface {
	// Begin may set Trace, TraceState and Keep of the sight, of which only Call and Began are there yet.
	Begin(*Sight)
	End(*Sight)
}

// Sight is what is seen of one request.
type Sight struct {
	Call       *Call
	Began      time.Time
	Trace      string // traceparent that backends are sent, of a sampled trace with the id that AttemptSpan makes of its span; empty: none
	TraceState string // which engines of this installation are sent with it
	Note       any    // the watcher's own
	Keep       int    // how many bytes of the answer are to be kept; 0: nothing is

	Kind    meter.Kind
	Dialect dialect.Kind // of the caller
	Model   string       // as the caller named it, the first 256 bytes; empty where the request could not be read
	Stream  bool
	Target  *serve.Target   // nil when there is no route of the name
	Backend *serve.Upstream // what was asked last; nil: nothing was

	Outcome  meter.Outcome // as it was booked; 0: nothing was served
	Status   int           // of the answer; 499 of a caller who left before it had one
	Err      error         // what Do returns
	Used     meter.Usage
	Cost     int64         // micro-units
	Reserved time.Duration // from Began until the bill was open; 0: it never was
	First    time.Duration // from Began to the first byte for the client; 0: it had none
	Took     time.Duration
	Cut      bool   // its output was bounded by what the money pays
	Blocks   int    // of the prompt, 1 KiB each, where replicas were compared by what they have seen of it
	Matched  int    // of these the chosen one had seen
	Answer   []byte // as far as it was kept
	Whole    bool   // Answer is all of it

	f *flight
}

// Attempt is one asking of one backend, in times since Began.
type Attempt struct {
	Backend *serve.Upstream
	Replica string
	Began   time.Duration
	Waited  time.Duration // of the time before, for a place
	Took    time.Duration // until the head of the answer, or the failure
	Status  int           // 0: no answer came
	Again   bool          // another was asked because of it
	Full    bool          // it had no place in time
}

// Judgements are what the route's guard was asked, the last one among them; more are those beyond.
func (s *Sight) Judgements() (list []Judgement, more int) {
	if s.f == nil || s.f.guard == nil {
		return nil, 0
	}
	return s.f.guard.list, s.f.guard.more
}

// AttemptSpan is the id of the span of the i-th attempt of a request whose first one has this.
func AttemptSpan(first [8]byte, i int) [8]byte {
	first[7] ^= byte(i)
	return first
}

// trace is the traceparent of the i-th attempt.
func (s *Sight) trace(i int) string {
	const at, end = 36, 52 // of the span's id
	if i == 0 || len(s.Trace) < end || s.Note == nil {
		return s.Trace
	}
	var span [8]byte
	if _, err := hex.Decode(span[:], []byte(s.Trace[at:end])); err != nil {
		return s.Trace
	}
	span = AttemptSpan(span, i)
	return s.Trace[:at] + hex.EncodeToString(span[:]) + s.Trace[end:]
}

// Attempts is how often something was asked.
func (s *Sight) Attempts() int {
	if s.f == nil {
		return 0
	}
	return s.f.asks
}

// Attempt is the i-th of them.
func (s *Sight) Attempt(i int) Attempt {
	t := s.f.tries[i]
	return Attempt{Backend: t.via, Replica: t.to.Replica, Began: s.Reserved + t.began, Waited: t.waited, Took: t.took, Status: int(t.status), Again: t.again, Full: t.full}
}

// watched is Do where somebody watches.
func (f *flight) watched(ctx context.Context, to Sink) (err error) {
	s := &f.sight
	s.Call, s.Began, s.f = f.call, f.Now(), f
	f.Watch.Begin(s)
	var copied *copying
	if s.Keep > 0 {
		copied = &copying{Sink: to, most: s.Keep, all: &f.copies}
		to = copied
	}
	ended := false
	defer func() {
		f.see(ctx, err, ended)
		if copied != nil {
			s.Answer, s.Whole = copied.kept, !copied.more
		}
		f.Watch.End(s)
		if copied != nil {
			copied.all.Add(-int64(len(copied.kept)))
		}
	}()
	err = f.begun(ctx, to)
	ended = true
	return err
}

// see fills in what the flight knows at its end; it did not end by itself if it panicked.
func (f *flight) see(ctx context.Context, err error, ended bool) {
	s := &f.sight
	s.Kind, s.Dialect, s.Model, s.Stream, s.Target, s.Err = f.kind(), f.caller(), f.fields.model[:min(len(f.fields.model), maxName)], f.fields.stream, f.target, err
	s.Took = f.clock().Sub(s.Began)
	if !f.began.IsZero() {
		s.Reserved = f.began.Sub(s.Began)
	}
	if f.first > 0 {
		s.First = s.Reserved + f.first
	}
	s.Outcome, s.Used, s.Cost = f.outcome, f.used, f.cost
	s.Blocks, s.Matched = f.blocks, f.matched
	s.Cut = f.res != nil && f.res.Cut
	if f.asks > 0 {
		t := f.tries[f.asks-1]
		s.Backend, s.Status = t.via, int(t.status)
	}
	switch {
	case !ended:
		s.Status = http.StatusInternalServerError
	case err == nil && f.asks == 0: // an answer that was kept
		s.Status = http.StatusOK
	case err == nil:
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		s.Status = fault.HTTPStatus(fault.Canceled)
	default:
		s.Status, _ = openai.ErrorOf(err)
	}
}

// copying is a sink that keeps a bounded copy of what is written.
type copying struct {
	Sink
	kept []byte
	most int
	more bool // there was more
	all  *atomic.Int64
}

// copiesMost bounds the bytes of all copies of running requests together; what finds no room is not whole.
const copiesMost = 256 << 20

func (c *copying) Write(b []byte) (int, error) {
	n := min(len(b), c.most-len(c.kept))
	if n > 0 && c.all.Add(int64(n)) > copiesMost {
		c.all.Add(-int64(n))
		n, c.most = 0, len(c.kept) // nor what comes behind
	}
	c.kept = append(c.kept, b[:n]...)
	c.more = c.more || n < len(b)
	return c.Sink.Write(b)
}

// Backends tells of everything that was asked so far: how many requests run there from here, and whether its breaker
// keeps requests away.
func (g *Gateway) Backends(each func(replica string, running int64, open bool)) {
	g.replicas.Range(func(name, r any) bool {
		known := r.(*replica)
		each(name.(string), known.running.Load(), known.breaker.open.Load())
		return true
	})
}
