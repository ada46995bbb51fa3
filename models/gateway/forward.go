package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// open asks one replica after the other until one answers; nothing was delivered yet, so asking again is safe. leave
// ends the count of the request against the replica.
func (f *flight) open(ctx context.Context) (engine.Stream, func(), error) {
	body, err := f.body()
	if err != nil {
		return nil, nil, err
	}
	left := f.target.Endpoints
	for {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		f.asked = true
		to := f.pick(left)
		n := f.load(to.Replica)
		n.Add(1)
		s, err := f.target.Engine.Open(ctx, to, engine.Request{Path: f.call.Path, Body: body, RequestID: f.call.RequestID,
			Scope: f.call.Who.ProjectID, Stream: f.fields.stream, Usage: f.fields.usage})
		busy := err == nil && s.Status() == http.StatusServiceUnavailable && len(left) > 1
		if err == nil && !broken(s.Status()) && !busy {
			return s, func() { n.Add(-1) }, nil
		}
		n.Add(-1)
		if busy { // full or still loading, which another may not be
			s.Close()
			left = without(left, to.Replica)
			continue
		}
		if err == nil {
			f.Log.Error("gateway: a replica refuses the gateway", slog.String("replica", to.Replica), slog.Int("status", s.Status()))
			s.Close()
			err = notServed(f.fields.model)
		}
		if ctx.Err() != nil || !fault.Is(err, fault.Unavailable) {
			return nil, nil, err
		}
		f.Routes.Suspect(to.Replica)
		if left = without(left, to.Replica); len(left) == 0 {
			return nil, nil, err
		}
	}
}

// broken are answers that say something about the replica, not about the request.
func broken(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadGateway:
		return true
	}
	return false
}

func without(ends []engine.Endpoint, replica string) []engine.Endpoint {
	var out []engine.Endpoint
	for _, e := range ends {
		if e.Replica != replica {
			out = append(out, e)
		}
	}
	return out
}

// pick takes the replica with the fewest requests from here, and among equals each in turn.
func (g *Gateway) pick(ends []engine.Endpoint) engine.Endpoint {
	if len(ends) == 1 {
		return ends[0]
	}
	first := int(g.turn.Add(1)) % len(ends)
	best, least := ends[first], g.load(ends[first].Replica).Load()
	for i := range ends {
		e := ends[(first+i)%len(ends)]
		if n := g.load(e.Replica).Load(); n < least {
			best, least = e, n
		}
	}
	return best
}

func (g *Gateway) load(replica string) *atomic.Int64 {
	if n, ok := g.running.Load(replica); ok {
		return n.(*atomic.Int64)
	}
	n, _ := g.running.LoadOrStore(replica, new(atomic.Int64))
	return n.(*atomic.Int64)
}

// body is the caller's, unless the output is cut to what the money pays: then every name that it sets a limit by says
// so, whichever of them an engine prefers, or else the one that its path has always had.
func (f *flight) body() ([]byte, error) {
	if !f.res.Cut {
		return f.call.Body, nil
	}
	var names []string
	if f.fields.maxTokens || !f.fields.maxCompl && f.call.Path == openai.CompletionPath {
		names = append(names, "max_tokens")
	}
	if f.fields.maxCompl || len(names) == 0 {
		names = append(names, "max_completion_tokens")
	}
	body, err := f.call.Body, error(nil)
	for _, name := range names {
		if body, err = sjson.SetBytes(body, name, f.res.Output); err != nil {
			return nil, fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"), fault.Cause(err))
		}
	}
	return body, nil
}

// refusal hands through what the engine says against the request. It costs nothing.
func (f *flight) refusal(to Sink, s engine.Stream) error {
	body, err := collect(s, nil, maxErrorBody)
	if err != nil {
		return brokeOff(err)
	}
	h := to.Header()
	SetRate(h, f.res.Rate)
	for _, name := range []string{contentType, "Retry-After"} {
		if v := s.Header(name); v != "" {
			h.Set(name, v)
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	f.finish()
	to.WriteHeader(s.Status())
	_, _ = to.Write(body) // a client that is gone does not miss it
	return nil
}

func brokeOff(err error) error {
	return fault.New(fault.Unavailable, "The engine broke off its answer.", fault.Code("engine_failed"),
		fault.Fix("Try again in a moment."), fault.Cause(err))
}

// collect appends the rest of an answer to b.
func collect(s engine.Stream, b []byte, limit int) ([]byte, error) {
	for {
		c, err := s.Next()
		b = append(b, c.Data...)
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		case len(b) > limit:
			return b, errors.New("gateway: the answer is too long")
		}
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// maxPooled keeps rare huge answers from staying in memory.
const maxPooled = 1 << 20

// whole forwards an answer that is one JSON object, settled before it is written.
func (f *flight) whole(ctx context.Context, to Sink, s engine.Stream) error {
	buf := buffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxPooled {
			buffers.Put(buf)
		}
	}()
	body, err := collect(s, (*buf)[:0], maxAnswer)
	*buf = body
	if err != nil {
		if ctx.Err() != nil {
			f.left(ctx)
			return ctx.Err()
		}
		return brokeOff(err)
	}
	used, ok := engine.ReadUsage(gjson.GetBytes(body, "usage"))
	if !ok {
		return brokeOff(errors.New("gateway: the answer has no usage"))
	}
	h := to.Header()
	SetRate(h, f.res.Rate)
	v := []string{"application/json", strconv.Itoa(len(body))}
	h[contentType], h["Content-Length"] = v[:1:1], v[1:]
	outcome := meter.Finished
	if f.res.Cut && bytes.Contains(body, lengthReason) {
		h.Set(cutHeader, "budget")
		outcome = meter.OutOfMoney
	}
	f.delivered(used) // an answer that is too long is made already: it is given away
	f.settle(outcome) // before the client can ask again
	to.WriteHeader(http.StatusOK)
	_, _ = to.Write(body) // it was made for the client, taken or not
	return nil
}

var lengthReason = []byte(`"finish_reason":"length"`)

// forward hands an event stream through, chunk by chunk. From here on the answer has begun, so failures are told as
// events.
func (f *flight) forward(ctx context.Context, to Sink, s engine.Stream) {
	h := to.Header()
	SetRate(h, f.res.Rate)
	v := []string{eventStreamType, "no-cache", "no"}
	h[contentType], h["Cache-Control"], h["X-Accel-Buffering"] = v[:1:1], v[1:2:2], v[2:]
	cut := false
	for {
		c, err := s.Next()
		if len(c.Data) > 0 {
			if !f.delivered(meter.Usage{Input: int64(c.Prompt), Cached: int64(c.Cached), Output: int64(c.Completion), Reasoning: int64(c.Reasoning)}) {
				f.stop(to, s)
				return
			}
			data := c.Data
			if f.res.Cut {
				cut = cut || bytes.Contains(data, lengthReason)
				if c.Done && cut {
					data = withReason(data)
				}
			}
			switch {
			case c.Done && cut:
				f.settle(meter.OutOfMoney)
			case c.Done:
				f.settle(meter.Finished)
			}
			if !send(to, data) {
				f.settle(meter.HungUp)
				return
			}
			if c.Done {
				_, _ = s.Next() // the end, after which the connection serves another; anything else is nobody's
				return
			}
		}
		if err != nil {
			f.ended(ctx, to, err)
			return
		}
	}
}

// stop ends a stream whose engine did not, where the money did. What went beyond the money is not delivered.
func (f *flight) stop(to Sink, s engine.Stream) {
	s.Close() // so that it generates no more
	f.settle(meter.OutOfMoney)
	send(to, withReason([]byte(openai.Done)))
}

func send(to Sink, data []byte) bool {
	if _, err := to.Write(data); err != nil {
		return false
	}
	return to.Flush() == nil
}

// ended settles a stream that ended without saying so, and says so to a client that is still there.
func (f *flight) ended(ctx context.Context, to Sink, err error) {
	if f.settled {
		return
	}
	if ctx.Err() != nil {
		f.left(ctx)
		return
	}
	f.settle(meter.Broke)
	if errors.Is(err, io.EOF) {
		return // the engine told its failure in an event of its own
	}
	f.Log.Warn("gateway: an engine broke off a stream", slog.String("request", f.call.RequestID), slog.Any("error", err))
	_, e := openai.ErrorOf(brokeOff(err))
	send(to, e.Event())
}

var doneEvent = []byte("data: [DONE]") // whatever its line ends with

var cutReason = fault.New(fault.NoMoney, "The answer was cut where the budget of this key, its project or its organisation ended.",
	fault.Code("insufficient_quota"), fault.Fix("Raise the budget to get longer answers."))

// withReason puts the reason of a cut before the end of the stream.
func withReason(data []byte) []byte {
	_, e := openai.ErrorOf(cutReason)
	text := data[:max(0, bytes.LastIndex(data, doneEvent))]
	out := append(append(make([]byte, 0, len(data)+512), text...), e.Event()...)
	return append(out, openai.Done...)
}

// SetRate writes the state of a key's limits into the headers of an answer, in the words of the dialect; limits that
// the key does not have are left out.
func SetRate(h http.Header, r quota.Rate) {
	if r.LimitRequests > 0 {
		setRate(h, &requestHeaders, r.LimitRequests, r.RemainingRequests, r.ResetRequests)
	}
	if r.LimitTokens > 0 {
		setRate(h, &tokenHeaders, r.LimitTokens, r.RemainingTokens, r.ResetTokens)
	}
}

var (
	requestHeaders = [3]string{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"}
	tokenHeaders   = [3]string{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"}
)

// setRate writes the three headers with one list and one text behind them; the names are in canonical form already.
func setRate(h http.Header, names *[3]string, limit, remaining int64, reset time.Duration) {
	var b [64]byte
	text := strconv.AppendInt(b[:0], limit, 10)
	first := len(text)
	text = strconv.AppendInt(text, remaining, 10)
	second := len(text)
	all := string(append(text, reset.Round(time.Millisecond).String()...))
	v := []string{all[:first], all[first:second], all[second:]}
	for i, name := range names {
		h[name] = v[i : i+1 : i+1]
	}
}
