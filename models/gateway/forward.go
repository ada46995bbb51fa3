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
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// refusal hands through what the engine says against the request. It costs nothing.
func (f *flight) refusal(ctx context.Context, to Sink, s engine.Stream) error {
	body, err := f.collect(s, nil, maxErrorBody)
	if err != nil {
		return brokeOff(err)
	}
	if f.unstreamable(ctx, s.Status(), body) {
		return errNoStreams
	}
	h := to.Header()
	SetRate(h, f.res.Rate)
	f.header(h)
	for _, name := range []string{contentType, "Retry-After"} {
		if v := s.Header(name); v != "" {
			h.Set(name, v)
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if s.Status() >= http.StatusInternalServerError {
		f.verdict = failed
	}
	f.finish()
	to.WriteHeader(s.Status())
	_, _ = to.Write(body) // a client that is gone does not miss it
	return nil
}

// unread is why an answer could not be read: its engine failed, or there was no room for it.
func (f *flight) unread(err error) error {
	if errors.Is(err, errNoRoom) {
		f.verdict = unknown
		return err
	}
	f.verdict = failed
	return brokeOff(err)
}

func brokeOff(err error) error {
	return fault.New(fault.Unavailable, "The engine broke off its answer.", fault.Code("engine_failed"),
		fault.Fix("Try again in a moment."), fault.Cause(err))
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
	body, err := f.collect(s, (*buf)[:0], maxAnswer)
	*buf = body
	if err != nil {
		if ctx.Err() != nil {
			f.verdict = unknown
			f.left(ctx)
			return ctx.Err()
		}
		return f.unread(err)
	}
	var used meter.Usage
	ok := true
	if f.far != nil && f.far.vectors != nil && f.far.via != "" {
		if body, used, err = f.vector(body); err != nil {
			f.verdict = failed
			return err
		}
		f.told(to.Header())
	} else if used, ok = f.usage(body); !ok {
		if used, ok = f.estimated(body); ok {
			f.Log.Warn("gateway: an answer without usage is billed by an estimate", slog.String("request", f.call.RequestID), slog.Any("usage", used))
		}
	}
	if !ok {
		f.verdict = failed
		return brokeOff(errors.New("gateway: the answer has no usage"))
	}
	outcome := meter.Finished
	if f.res.Cut && f.cutBy(body) {
		to.Header().Set(cutHeader, cutByBudget)
		outcome = meter.OutOfMoney
	}
	return f.given(ctx, to, body, used, outcome) // one that is too long is made already: it is given away
}

// surelyKept is how much a sink takes without waiting for the client.
const surelyKept = 16 << 10

var lengthReason = []byte(`"finish_reason":"length"`)

// forward hands an event stream through, chunk by chunk. From here on the answer has begun, so failures are told as
// events.
func (f *flight) forward(ctx context.Context, to Sink, s engine.Stream) {
	h := to.Header()
	SetRate(h, f.res.Rate)
	f.header(h)
	v := []string{eventStreamType, "no-cache", "no"}
	h[contentType], h["Cache-Control"], h["X-Accel-Buffering"] = v[:1:1], v[1:2:2], v[2:]
	cut, told := false, false
	for {
		c, err := s.Next()
		if len(c.Data) > 0 {
			f.answers()
			told = tellsFailure(c.Data)
			if !f.delivered(ctx, counts(c)) {
				if ctx.Err() != nil { // while it waited for money
					f.ended(ctx, to, s, ctx.Err(), told)
					return
				}
				f.stop(to, s)
				return
			}
			data := c.Data
			if f.res.Cut {
				cut = cut || f.cutBy(data)
				if c.Done && cut {
					data = f.withCut(data)
				}
			}
			switch {
			case c.Done && cut:
				f.settle(meter.OutOfMoney)
			case c.Done && f.call.Keep != nil && !f.kept(data):
				f.verdict = failed
				f.settle(meter.Broke)
			case c.Done:
				f.settle(meter.Finished)
			}
			if !send(to, data) {
				f.drain(ctx, s)
				f.left(ctx)
				return
			}
			if c.Done {
				_, _ = s.Next() // the end, after which the connection serves another; anything else is nobody's
				return
			}
		}
		if err != nil {
			f.ended(ctx, to, s, err, told)
			return
		}
	}
}

// kept hands the answer of a response, which its last event has whole, to who keeps it; false when it failed.
func (f *flight) kept(data []byte) bool {
	for line := range bytes.Lines(data) {
		one, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		switch x := gjson.ParseBytes(one); x.Get("type").String() {
		case "response.failed":
			return false
		case "response.completed", "response.incomplete":
			if err := f.call.Keep([]byte(x.Get("response").Raw)); err != nil {
				f.Log.Warn("gateway: an answer could not be kept", slog.String("request", f.call.RequestID), slog.Any("error", err))
			}
		}
	}
	return true
}

// stop ends a stream whose engine did not, where the money did, or what was asked for. What went beyond is not delivered.
func (f *flight) stop(to Sink, s engine.Stream) {
	s.Close() // so that it generates no more
	why := f.overrun()
	if f.foreign() {
		send(to, f.failure(why))
		return
	}
	_, e := openai.ErrorOf(why)
	send(to, append(e.Event(), openai.Done...))
}

// overrun settles an answer that went beyond its bounds and says why it ends.
func (f *flight) overrun() error {
	if why := f.res.Denied(); why != nil {
		f.settle(meter.Broke)
		return why.Fault
	}
	if f.res.Budgeted() {
		f.settle(meter.OutOfMoney)
		return cutReason
	}
	f.verdict = failed
	f.settle(meter.Broke)
	return fault.New(fault.Unavailable, "The engine did not end its answer where it was asked to, so it was cut there.", fault.Code("engine_overran"),
		fault.Fix("Use another model, or ask whoever runs this one."))
}

// tellsFailure says whether a piece of a stream has an event that tells a failure, in any of the dialects.
func tellsFailure(data []byte) bool {
	if !bytes.Contains(data, []byte(`"error"`)) {
		return false
	}
	for line := range bytes.Lines(data) {
		if e, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if x := gjson.GetBytes(e, "error"); x.IsObject() || x.Type == gjson.String || gjson.GetBytes(e, "type").String() == "error" {
				return true
			}
		}
	}
	return false
}

func send(to Sink, data []byte) bool {
	if _, err := to.Write(data); err != nil {
		return false
	}
	return to.Flush() == nil
}

// drain learns what an answer costs whose caller left, where it is billed to us all the same.
func (f *flight) drain(ctx context.Context, s engine.Stream) {
	d, ok := s.(engine.Drainer)
	if f.verdict = unknown; !ok || f.settled {
		return
	}
	u, _ := f.exceeded(context.WithoutCancel(ctx), counts(d.Drain())) // as far as it is paid for
	f.used = u.Clamped()
	f.entry.Live(f.used)
}

// ended settles a stream that ended without saying so, and says so to a client that is still there, unless the engine has
// told its failure in an event of its own.
func (f *flight) ended(ctx context.Context, to Sink, s engine.Stream, err error, told bool) {
	if f.settled {
		return
	}
	if ctx.Err() != nil {
		f.drain(ctx, s)
		f.left(ctx)
		return
	}
	f.verdict = failed
	f.settle(meter.Broke)
	if told && errors.Is(err, io.EOF) {
		return
	}
	f.Log.Warn("gateway: an engine broke off a stream", slog.String("request", f.call.RequestID), slog.Any("error", err))
	if f.foreign() {
		send(to, f.failure(brokeOff(err)))
		return
	}
	_, e := openai.ErrorOf(brokeOff(err))
	send(to, e.Event())
}

// usage reads what an answer in one piece says that it took.
func (f *flight) usage(body []byte) (meter.Usage, bool) {
	switch kind := f.caller(); {
	case !f.conversing():
		u := gjson.GetBytes(body, "usage")
		n := max(u.Get("prompt_tokens").Int(), u.Get("total_tokens").Int(), u.Get("input_tokens").Int(), gjson.GetBytes(body, "meta.tokens.input_tokens").Int())
		if n <= 0 {
			return meter.Usage{}, false
		}
		if f.call.Path == openai.EmbeddingsPath {
			return meter.Usage{Embedding: n}, true
		}
		return meter.Usage{Input: n}, true
	case kind == dialect.Anthropic || kind == dialect.Google:
		u, _ := dialect.ReadUsage(kind, body, dialect.Usage{})
		return metered(u), u.Known
	}
	if u, ok := plainUsage(body); ok {
		return u, true
	}
	return engine.ReadUsage(gjson.GetBytes(body, "usage"))
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
// the key does not have are left out. The names are in canonical form already, and all values share one text.
func SetRate(h http.Header, r quota.Rate) {
	if r.LimitRequests <= 0 && r.LimitTokens <= 0 {
		return
	}
	var b [128]byte
	var ends [2 * len(requestHeaders)]int
	text, v := b[:0], make([]string, len(ends))
	for i, x := range [...]struct {
		limit, remaining int64
		reset            time.Duration
	}{{r.LimitRequests, r.RemainingRequests, r.ResetRequests}, {r.LimitTokens, r.RemainingTokens, r.ResetTokens}} {
		text = strconv.AppendInt(text, x.limit, 10)
		ends[3*i] = len(text)
		text = strconv.AppendInt(text, x.remaining, 10)
		ends[3*i+1] = len(text)
		text = appendSpan(text, x.reset.Round(time.Millisecond))
		ends[3*i+2] = len(text)
	}
	all, at := string(text), 0
	for i, end := range ends {
		v[i], at = all[at:end], end
	}
	for i := range requestHeaders {
		if r.LimitRequests > 0 {
			h[requestHeaders[i]] = v[i : i+1 : i+1]
		}
		if k := 3 + i; r.LimitTokens > 0 {
			h[tokenHeaders[i]] = v[k : k+1 : k+1]
		}
	}
}

var (
	requestHeaders = [3]string{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"}
	tokenHeaders   = [3]string{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"}
)

// appendSpan appends what String gives, of spans between a second and a minute without its text.
func appendSpan(b []byte, d time.Duration) []byte {
	if d < time.Second || d >= time.Minute || d%time.Millisecond != 0 {
		return append(b, d.String()...)
	}
	b = strconv.AppendInt(b, int64(d/time.Second), 10)
	if ms := int64(d % time.Second / time.Millisecond); ms > 0 {
		n := len(b) + 4
		b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		for b[n-1] == '0' {
			n--
		}
		b = b[:n]
	}
	return append(b, 's')
}
