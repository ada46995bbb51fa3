package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// long says whether an answer in one piece may be so long that it is asked for as a stream and put together here: then its
// money is held piece by piece, and it can be cut and billed on its way. A shorter one is held as a whole, and asked for as
// it is: a stream of it would cost more than the rest of the request.
func (f *flight) long() bool {
	if f.fields.stream || f.fields.whole || !f.conversing() {
		return false
	}
	_, output, _ := f.bounds()
	return output > firstPiece
}

// joins says whether a backend of the caller's dialect is asked for a stream that the caller did not ask for.
func (f *flight) joins(u *serve.Upstream) bool { return f.pieces && !f.fields.stream && f.alike(u) }

// streaming is the caller's request, asking for a stream with its usage.
func (f *flight) streaming(u *serve.Upstream, q engine.Request) (engine.Request, error) {
	q.Stream, q.Usage = true, true
	if f.far != nil && f.far.scanned != nil {
		return f.edited(u, q)
	}
	kind := f.caller()
	s, err := dialect.Scan(kind, f.call.Body, f.said())
	if err != nil {
		return q, err
	}
	e := dialect.Edit{Stream: true, Usage: true}
	if name := f.name(u); name != f.fields.model {
		e.Model = name
	}
	if f.res.Cut {
		e.Output = int64(f.res.Output)
	}
	q.Body = e.Apply(kind, f.call.Body, s)
	return q, nil
}

// errNoStreams says that a backend refuses the stream that only the gateway asked for.
var errNoStreams = errors.New("gateway: the backend takes no streams")

// unstreamable says whether a refusal is of the stream, which the caller did not ask for, and the money for the answer in
// one piece is there.
func (f *flight) unstreamable(ctx context.Context, status int, refusal []byte) bool {
	if !f.pieces || f.fields.stream || status != http.StatusBadRequest && status != http.StatusUnprocessableEntity || !bytes.Contains(refusal, []byte("stream")) {
		return false
	}
	_, _, choices := f.bounds()
	return !f.res.Budgeted() || f.res.Grow(ctx, f.res.Output*choices)
}

// rejoined puts a stream of the caller's dialect together for a caller who wants the answer in one piece, settled before it
// is written. Where the money ends it is cut there. What was made for a caller who left meanwhile is billed: nobody else
// has to guess how much that was.
func (f *flight) rejoined(ctx context.Context, to Sink, s engine.Stream) error {
	j := dialect.NewJoiner(f.caller(), maxEvent, maxAnswer)
	var made meter.Usage // of what j holds
	over := false
	for ended := false; !ended && !over; {
		c, err := s.Next()
		if len(c.Data) > 0 {
			var told meter.Usage
			if told, over = f.exceeded(ctx, counts(c)); !over {
				made = told
				if wrong := j.Feed(c.Data); wrong != nil {
					return f.unjoined(wrong)
				}
				if full := f.grab(assembled * j.Size()); full != nil {
					return f.unread(full)
				}
			}
		}
		switch {
		case ctx.Err() != nil && (over || err != nil):
			f.used = made
			f.drain(ctx, s)
			f.left(ctx)
			return ctx.Err()
		case err != nil && !errors.Is(err, io.EOF):
			return f.unread(err)
		}
		ended = c.Done || err != nil
	}
	if over {
		s.Close() // so that it generates no more
		return f.curtailed(to, j, made)
	}
	body, err := j.Answer()
	if err != nil {
		return f.unjoined(err)
	}
	_, _ = s.Next() // the end, after which the connection serves another; anything else is nobody's
	used, ok := f.usage(body)
	if !ok {
		used = made
	}
	outcome := meter.Finished
	if f.res.Cut && f.cutBy(body) {
		to.Header().Set(cutHeader, cutByBudget)
		outcome = meter.OutOfMoney
	}
	return f.given(ctx, to, body, used, outcome)
}

// unjoined is why a stream could not be put together: what its engine says, or that it cannot be read.
func (f *flight) unjoined(err error) error {
	f.verdict = failed
	return err
}

// curtailed gives what came until the money ended, or the bound that the request asked for.
func (f *flight) curtailed(to Sink, j *dialect.Joiner, made meter.Usage) error {
	body, err := j.Cut(dialect.Usage{Known: true, Input: made.Input, CachedInput: made.Cached, Output: made.Output, Reasoning: made.Reasoning})
	why := f.res.Denied()
	switch budget := f.res.Budgeted(); {
	case err != nil && why != nil:
		return why.Fault
	case err != nil && budget:
		return cutReason
	case err == nil && why != nil:
		to.Header().Set(cutHeader, cutByLimits)
		return f.given(context.Background(), to, body, made, meter.Broke)
	case err != nil:
		return f.unjoined(err)
	case budget:
		to.Header().Set(cutHeader, cutByBudget)
		return f.given(context.Background(), to, body, made, meter.OutOfMoney)
	}
	f.verdict = failed
	return f.given(context.Background(), to, body, made, meter.Finished)
}

// given settles a whole answer and writes it.
func (f *flight) given(ctx context.Context, to Sink, body []byte, used meter.Usage, o meter.Outcome) error {
	body = f.inTier(body)
	if f.call.Keep != nil {
		if err := f.call.Keep(body); err != nil {
			return err
		}
	}
	f.ready = f.Now()
	h := to.Header()
	SetRate(h, f.res.Rate)
	f.header(h)
	v := []string{"application/json", strconv.Itoa(len(body))}
	h[contentType], h["Content-Length"] = v[:1:1], v[1:]
	f.answers()
	f.delivered(ctx, used)
	f.settle(o) // before the client can ask again
	to.WriteHeader(http.StatusOK)
	_, _ = to.Write(body) // it was made for the client, taken or not
	if len(body) > surelyKept {
		f.ready = f.Now()
	}
	return nil
}
