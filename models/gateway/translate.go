package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// maxEvent bounds one event of a backend's stream.
const maxEvent = 4 << 20

// DroppedHeader names the fields of a request that its backend could not be told.
const DroppedHeader = "X-Triarch-Dropped"

// between is the codec between a backend's stream and its caller: it reads events, knows how the answer ends, and holds
// the end back until the request is settled.
type between struct {
	f      *flight
	dec    dialect.Decoder
	cut    bool  // a choice ended where its output bound did
	failed error // what the backend says that it failed with
	ended  bool
	open   map[int]bool // choices that have begun; false: and stopped
}

func (f *flight) between() *between {
	return &between{f: f, dec: dialect.NewDecoder(f.far.via, maxEvent), open: map[int]bool{}}
}

// read takes a chunk's events and hands on all but the end.
func (b *between) read(c engine.Chunk, last bool, each func(dialect.Event) error) error {
	events, err := b.dec.Feed(c.Data)
	if err := b.pass(events, each); err != nil {
		return err
	}
	if err == nil && (c.Done || last) && !b.ended && b.failed == nil {
		events, err = b.dec.End()
		if err := b.pass(events, each); err != nil {
			return err
		}
	}
	return err
}

func (b *between) pass(events []dialect.Event, each func(dialect.Event) error) error {
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case dialect.Ended:
			b.ended = true
			continue
		case dialect.Failed:
			b.failed = e.Err
			continue
		case dialect.Stopped:
			b.open[e.Choice] = false
			b.cut = b.cut || e.Stop == dialect.StopLength
		case dialect.Started, dialect.Counted, dialect.Ping:
		default:
			b.open[e.Choice] = true
		}
		if err := each(*e); err != nil {
			return err
		}
	}
	return nil
}

// counts are a chunk's as they are booked.
func counts(c engine.Chunk) meter.Usage {
	return meter.Usage{Input: int64(c.Prompt), Cached: int64(c.Cached), Output: int64(c.Completion), Reasoning: int64(c.Reasoning),
		Estimated: c.Guessed}
}

// told writes the headers that every translated answer has.
func (f *flight) told(h http.Header) {
	SetRate(h, f.res.Rate)
	f.header(h)
	if dropped := f.honoured(f.far.dropped); len(dropped) > 0 {
		h.Set(DroppedHeader, strings.Join(dropped, ", "))
	}
}

// declinedBy is a refusal of a backend in another dialect, as a fault that the caller's dialect has words for.
func (f *flight) declinedBy(to Sink, s engine.Stream) error {
	body, err := f.collect(s, nil, maxErrorBody)
	if err != nil {
		return brokeOff(err)
	}
	if s.Status() >= http.StatusInternalServerError {
		f.verdict = failed
	}
	f.told(to.Header())
	if v := s.Header("Retry-After"); v != "" {
		to.Header().Set("Retry-After", v)
	}
	return dialect.ParseError(f.far.via, s.Status(), body)
}

// relay hands a stream through a codec, event by event, as forward does with bytes.
func (f *flight) relay(ctx context.Context, to Sink, s engine.Stream) {
	h := to.Header()
	f.told(h)
	kind := eventStreamType
	if f.call.Array {
		kind = "application/json"
	}
	v := []string{kind, "no-cache", "no"}
	h[contentType], h["Cache-Control"], h["X-Accel-Buffering"] = v[:1:1], v[1:2:2], v[2:]
	b, enc, whole := f.between(), dialect.NewEncoder(f.far.request, f.head()), f.gather()
	var out []byte
	var prompt int64 // what is known of it before the backend says more
	each := func(e dialect.Event) error {
		if e.Kind == dialect.Started {
			e.Usage.Input = prompt
		}
		out = enc.Encode(out, e)
		if whole != nil {
			if err := whole.Add(e); err != nil {
				return err
			}
			return f.grab(assembled * whole.Size())
		}
		return nil
	}
	for {
		c, err := s.Next()
		out = out[:0]
		before := f.used
		if len(c.Data) > 0 && !f.delivered(ctx, counts(c)) {
			if ctx.Err() != nil {
				f.ended(ctx, to, s, ctx.Err(), false)
				return
			}
			s.Close() // so that it generates no more
			send(to, enc.Encode(out, dialect.Event{Kind: dialect.Failed, Err: f.overrun()}))
			return
		}
		prompt = f.promptSoFar(c)
		broken := err != nil && !errors.Is(err, io.EOF)
		if !broken {
			if wrong := b.read(c, err != nil, each); wrong != nil {
				err, broken = wrong, true
				if len(out) == 0 { // nothing of it could be read, so nothing of it is delivered
					f.used = before
					f.entry.Live(before)
				}
			}
		}
		switch {
		case broken && ctx.Err() == nil, b.failed != nil:
			f.snapped(to, enc, out, err, b.failed)
			return
		case broken:
			f.drain(ctx, s)
			f.left(ctx)
			return
		case b.ended:
			f.close(to, s, b, enc, out, whole)
			return
		}
		if len(out) > 0 {
			f.answers()
		}
		if len(out) > 0 && !send(to, out) {
			f.drain(ctx, s)
			f.left(ctx)
			return
		}
	}
}

// promptSoFar is the best that is known of the prompt's tokens when a stream begins: what the backend has told by then,
// what was counted for the limits, or what texts of that length usually have.
func (f *flight) promptSoFar(c engine.Chunk) int64 {
	switch {
	case c.Prompt > 0:
		return int64(c.Prompt)
	case f.counted > 0:
		return int64(f.counted)
	}
	return int64(len(f.call.Body)+len(f.call.Earlier))/usualToken + 1
}

// snapped ends a stream whose backend failed or sent what cannot be read; the caller is told in its own dialect.
func (f *flight) snapped(to Sink, enc *dialect.Encoder, out []byte, err, said error) {
	if f.verdict = failed; errors.Is(err, errNoRoom) {
		f.verdict = unknown
	}
	f.settle(meter.Broke)
	if said == nil {
		f.Log.Warn("gateway: an engine broke off a stream", slog.String("request", f.call.RequestID), slog.Any("error", err))
		if said = err; !fault.Is(err, fault.Unavailable) {
			said = brokeOff(err)
		}
	}
	send(to, enc.Encode(out, dialect.Event{Kind: dialect.Failed, Err: said}))
}

// close settles a stream and sends its end. An answer that the money cut ends with the reason instead.
func (f *flight) close(to Sink, s engine.Stream, b *between, enc *dialect.Encoder, out []byte, whole *dialect.Assembler) {
	f.answers()
	end := dialect.Event{Kind: dialect.Ended}
	if whole != nil {
		if err := f.keep(whole, end); err != nil {
			end = dialect.Event{Kind: dialect.Failed, Err: err}
		}
	}
	if f.res.Cut && b.cut {
		f.settle(meter.OutOfMoney)
		end = dialect.Event{Kind: dialect.Failed, Err: cutReason}
	} else {
		f.settle(meter.Finished)
	}
	if send(to, enc.Encode(out, end)) {
		_, _ = s.Next() // the end, after which the connection serves another; anything else is nobody's
	}
}

// assembled is how many bytes an answer takes that is put together, for each of its own: the pieces as they grow, and what
// is written of them.
const assembled = 3

// gather is what puts together a streamed answer that somebody keeps; nil where nobody does.
func (f *flight) gather() *dialect.Assembler {
	if f.call.Keep == nil {
		return nil
	}
	return &dialect.Assembler{Limit: maxAnswer}
}

func (f *flight) keep(whole *dialect.Assembler, end dialect.Event) error {
	_ = whole.Add(end)
	a, err := whole.Answer()
	if err != nil {
		return err
	}
	return f.call.Keep(f.inTier(dialect.WriteAnswer(f.far.request, a, f.head())))
}

// joined puts a stream together for a caller who wants the answer in one piece, settled before it is written. Where the
// money ends, it is cut there.
func (f *flight) joined(ctx context.Context, to Sink, s engine.Stream) error {
	b, whole := f.between(), &dialect.Assembler{Limit: maxAnswer}
	var last meter.Usage
	over := false
	for !b.ended && !over {
		c, err := s.Next()
		if len(c.Data) > 0 {
			var told meter.Usage
			if told, over = f.exceeded(ctx, counts(c)); !over {
				last = told
			}
		}
		broken := err != nil && !errors.Is(err, io.EOF)
		if !broken && !over {
			wrong := b.read(c, err != nil, whole.Add)
			if wrong == nil {
				wrong = f.grab(assembled * whole.Size())
			}
			if wrong != nil {
				err, broken = wrong, true
			}
		}
		switch {
		case broken && ctx.Err() != nil:
			f.used = last // what was made for a caller who left is billed
			f.drain(ctx, s)
			f.left(ctx)
			return ctx.Err()
		case b.failed != nil:
			f.verdict = failed
			return b.failed
		case broken:
			return f.unread(err)
		}
	}
	return f.deliver(ctx, to, s, b, whole, last, over)
}

// deliver writes an answer that was put together.
func (f *flight) deliver(ctx context.Context, to Sink, s engine.Stream, b *between, whole *dialect.Assembler, used meter.Usage, over bool) error {
	outcome := meter.Finished
	if over {
		s.Close()
		for choice, open := range b.open {
			if open {
				_ = whole.Add(dialect.Event{Kind: dialect.Stopped, Choice: choice, Stop: dialect.StopLength})
			}
		}
	}
	_ = whole.Add(dialect.Event{Kind: dialect.Ended})
	a, err := whole.Answer()
	if err != nil {
		f.verdict = failed
		return err
	}
	h := to.Header()
	f.told(h)
	switch {
	case over && f.res.Denied() != nil:
		h.Set(cutHeader, cutByLimits)
		outcome = meter.Broke
	case over && f.res.Budgeted() || f.res.Cut && b.cut:
		h.Set(cutHeader, cutByBudget)
		outcome = meter.OutOfMoney
	}
	body := f.inTier(dialect.WriteAnswer(f.far.request, a, f.head()))
	if f.call.Keep != nil {
		if err := f.call.Keep(body); err != nil {
			return err
		}
	}
	f.answers()
	f.delivered(ctx, used)
	f.settle(outcome)
	f.write(to, body)
	return nil
}

// write sends an answer in one piece.
func (f *flight) write(to Sink, body []byte) {
	h := to.Header()
	v := []string{"application/json", strconv.Itoa(len(body))}
	h[contentType], h["Content-Length"] = v[:1:1], v[1:]
	to.WriteHeader(http.StatusOK)
	_, _ = to.Write(body) // it was made for the client, taken or not
}

// vector is the answer to a request for vectors in the caller's form, with how many tokens it took: what the backend
// says, or where it says nothing, what texts of that length usually have.
func (f *flight) vector(body []byte) ([]byte, meter.Usage, error) {
	parse, e := dialect.ParseEmbedAnswer, f.far.vectors
	if f.far.via == dialect.Google {
		parse = dialect.ParseGoogleEmbedAnswer
	}
	a, err := parse(body, len(e.Inputs))
	if err != nil {
		return nil, meter.Usage{}, err
	}
	a.Model = f.fields.model
	guessed := a.Input == 0
	if guessed {
		for _, p := range e.Inputs {
			a.Input += int64(len(p.Text)/usualToken + len(p.Tokens) + 1)
		}
	}
	used := meter.Usage{Embedding: a.Input, Estimated: guessed}
	if f.far.kind == dialect.Google {
		return dialect.WriteGoogleEmbedAnswer(a, f.far.batch), used, nil
	}
	return dialect.WriteEmbedAnswer(e, a), used, nil
}

// usualToken is how many bytes of text a token usually has.
const usualToken = 4

// failure is an error in the middle of a stream in the caller's dialect.
func (f *flight) failure(err error) []byte {
	return dialect.NewEncoder(&dialect.Request{From: f.caller()}, f.head()).Encode(nil, dialect.Event{Kind: dialect.Failed, Err: err})
}

// cutBy says whether an answer in the caller's own dialect ended at its output bound.
func (f *flight) cutBy(data []byte) bool {
	switch f.caller() {
	case dialect.Anthropic:
		return bytes.Contains(data, []byte(`"stop_reason"`)) && bytes.Contains(data, []byte(`"max_tokens"`))
	case dialect.Google:
		return bytes.Contains(data, []byte(`"finishReason"`)) && bytes.Contains(data, []byte(`"MAX_TOKENS"`))
	case dialect.Responses:
		if data[0] == '{' {
			return gjson.GetBytes(data, "incomplete_details.reason").String() == "max_output_tokens"
		}
		return bytes.Contains(data, []byte("event: response.incomplete"))
	}
	return bytes.Contains(data, lengthReason)
}

// withCut puts the reason of a cut where the stream ends.
func (f *flight) withCut(data []byte) []byte {
	switch f.caller() {
	case dialect.Anthropic:
		end := bytes.LastIndex(data, []byte("event: message_stop"))
		if end < 0 {
			end = len(data)
		}
		return append(bytes.Clone(data[:end]), f.failure(cutReason)...)
	case dialect.Google:
		return append(bytes.Clone(data), f.failure(cutReason)...)
	case dialect.Responses:
		end := bytes.LastIndex(data, []byte("event: response.incomplete"))
		if end < 0 {
			end = len(data)
		}
		return append(bytes.Clone(data[:end]), f.failure(cutReason)...)
	}
	return withReason(data)
}
