package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/kept"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/server/front"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// OpenAI serves the model API under /v1/ in the dialects of OpenAI and Anthropic, and under /v1beta/ in Google's: it
// authenticates, bounds and reads the body, and writes refusals; the gateway does the rest. All fields but Intake, Kept
// and MaxBody are needed.
//
// It is an http.Handler of its own, because nothing may stand between it and the connection that costs time. The
// http.Server in front must have no ReadTimeout, which would end long answers; bodies are timed here.
type OpenAI struct {
	Gateway *gateway.Gateway
	Keys    *auth.Keyring
	IDs     *id.Maker
	Now     func() time.Time
	Log     *slog.Logger
	Kept    *kept.Service // responses to go on from, and files; nil = none
	Intake  *Intake       // bounds requests together; nil = nothing does
	MaxBody int64         // bytes of a request's body; 0 = 4 MiB
	// Refused is told of what is refused before it comes to the gateway; nil = nobody is.
	Refused func(error)
}

const (
	defaultMaxBody = 4 << 20
	bodyTime       = 60 * time.Second // for the whole body to arrive
	writeTime      = 60 * time.Second // for a client to take what was written
)

// ServeHTTP answers one request.
func (o *OpenAI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := served.Get().(*service)
	o.serve(x, w, r)
	*x = service{} // after a panic it is left to the collector
	served.Put(x)
}

// service is the memory of one request.
type service struct {
	sink sink
	call gateway.Call
}

var served = sync.Pool{New: func() any { return new(service) }}

func (o *OpenAI) serve(x *service, w http.ResponseWriter, r *http.Request) {
	out := &x.sink
	raw, rid := o.begin(out, w, r)
	defer out.release()
	defer o.recover(out, rid)
	if err := o.route(x, r, raw, rid); err != nil {
		if o.Refused != nil && !out.passed {
			o.Refused(err)
		}
		o.refuse(out, rid, err)
	}
}

func (o *OpenAI) begin(out *sink, w http.ResponseWriter, r *http.Request) (raw id.Raw, rid string) {
	raw = o.IDs.Raw()
	list := &[1]string{raw.Named("req")} // the header keeps it
	rid = list[0]
	*out = sink{ResponseWriter: w, now: o.Now, id: list, major: r.ProtoMajor}
	w.Header()["X-Request-Id"] = out.id[:]
	if out.front, _ = w.(*front.Writer); out.front == nil || !out.front.Whole() {
		out.unread = timeBody(w, r, o.Now().Add(bodyTime))
	}
	return raw, rid
}

// The endpoints that most requests are for.
var (
	chatEndpoint       = line("POST", openai.ChatPath)
	completionEndpoint = line("POST", openai.CompletionPath)
)

func line(method, pattern string) Endpoint {
	e, ok := find(method, pattern)
	if !ok {
		panic("server: " + method + " " + pattern + " is not in the table of endpoints")
	}
	return e
}

func (o *OpenAI) route(x *service, r *http.Request, raw id.Raw, rid string) error {
	w, e, path := &x.sink, chatEndpoint, r.URL.Path
	switch path {
	case openai.ChatPath:
	case openai.CompletionPath:
		e = completionEndpoint
	default:
		return o.elsewhere(w, r, raw, rid)
	}
	if r.Method != e.Method {
		return wrongMethod(w, path, e.Method)
	}
	who, err := o.principal(e, r)
	if err != nil {
		return err
	}
	x.call = gateway.Call{Who: who, Path: path, Request: raw, RequestID: rid}
	return o.complete(w, r, &x.call, (*OpenAI).run)
}

// elsewhere is a request for anything but chat and text completions.
func (o *OpenAI) elsewhere(w *sink, r *http.Request, raw id.Raw, rid string) error {
	w.face = faceOf(r)
	if w.face == dialect.Anthropic {
		w.Header()["Request-Id"] = w.id[:]
	}
	p, name, err := locate(w, r)
	if err != nil {
		return err
	}
	who, err := o.principal(p.Endpoint, r)
	if err != nil {
		return err
	}
	return p.answer(o, w, r, &asked{who: who, raw: raw, rid: rid, name: name})
}

func clip(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

func (o *OpenAI) principal(e Endpoint, r *http.Request) (*auth.Principal, error) {
	who, err := o.Keys.AuthenticateFrom(r.RemoteAddr, secretOf(r))
	if err != nil {
		return nil, err
	}
	if !who.May(e.Role, e.Scope) {
		return nil, fault.New(fault.Forbidden, "This API key may not call models.", fault.Fix("Use a key with the scope inference."))
	}
	return who, nil
}

// complete takes the body of a request and has it answered.
func (o *OpenAI) complete(w *sink, r *http.Request, call *gateway.Call, answer func(*OpenAI, *sink, *http.Request, *gateway.Call) error) error {
	if v := r.Header["Idempotency-Key"]; len(v) > 0 {
		call.Again = v[0]
	}
	if v := r.Header["X-Triarch-Cache"]; len(v) > 0 && v[0] == "1" {
		call.Cached = true
	}
	if v := r.Header["X-Triarch-Explain"]; len(v) > 0 && v[0] == "1" {
		call.Explain, call.Names = true, tenancy.Allows(call.Who.Scopes, tenancy.Read)
	}
	if w.front != nil && r.ContentLength <= o.limit() {
		if body, ok := w.front.Rest(); ok {
			call.Body = body
			return answer(o, w, r, call)
		}
	}
	b := &intaken{in: o.Intake, buf: bodies.Get().(*[]byte)}
	defer b.release()
	if err := o.receive(w, r, call.Who, b); err != nil {
		return err
	}
	call.Body = *b.buf
	return answer(o, w, r, call)
}

// run has the gateway answer a request whose body is here.
func (o *OpenAI) run(w *sink, r *http.Request, call *gateway.Call) error {
	if err := o.Intake.enter(); err != nil {
		return err
	}
	defer o.Intake.leave()
	if dialect.NamesFiles(call.Body) || dialect.NamesFiles(call.Earlier) {
		held, err := o.withFiles(r.Context(), call)
		defer func() { _ = o.Intake.hold(-held) }()
		if err != nil {
			return err
		}
	}
	w.passed = true
	told(call, r.Header)
	return o.Gateway.Do(r.Context(), w, call)
}

// receive waits for the body, as one of the key's that are on their way.
func (o *OpenAI) receive(w *sink, r *http.Request, who *auth.Principal, b *intaken) error {
	if err := o.Intake.expect(who); err != nil {
		return err
	}
	defer o.Intake.arrived(who)
	return o.read(w, r, b)
}

// intaken is the memory of a body, which the process's intake counts while it is held.
type intaken struct {
	in   *Intake
	buf  *[]byte
	held int // bytes counted
}

// grow makes room for more of a body, of at most most bytes: twice the room there was, so that what is allocated stays
// in proportion to what arrived, or the room of an earlier long body if there is one.
func (b *intaken) grow(most int64) error {
	have := *b.buf
	if b.held == 0 { // the first room is there already
		if err := b.in.hold(cap(have)); err != nil {
			return err
		}
		b.held = cap(have)
	}
	if len(have) < cap(have) {
		return nil
	}
	room := int(min(int64(2*cap(have)), max(most, int64(cap(have))+1)))
	next := b.known(most, room)
	if err := b.in.hold(cap(*next)); err != nil { // for a moment there are both
		keepRoom(next)
		return err
	}
	*next = append((*next)[:0], have...)
	keepRoom(b.buf)
	b.buf = next
	_ = b.in.hold(-cap(have))
	b.held = cap(*next)
	return nil
}

// known is room that is kept, where the body is a long one, or new room.
func (b *intaken) known(most int64, room int) *[]byte {
	if most > maxPooled {
		if p := longBodies.take(room); p != nil {
			return p
		}
	}
	p := make([]byte, 0, room)
	return &p
}

// maxPooled keeps the room of long bodies from being held by short ones; the room of very long ones is not kept.
const (
	maxPooled     = 64 << 10
	maxLongPooled = 1 << 20
)

func (b *intaken) release() {
	_ = b.in.hold(-b.held)
	keepRoom(b.buf)
}

// keepRoom keeps room for later bodies.
func keepRoom(p *[]byte) {
	switch n := cap(*p); {
	case n <= maxPooled:
		bodies.Put(p)
	case n <= maxLongPooled:
		longBodies.keep(p)
	}
}

// rooms is the room of long bodies, the first keptRoom bytes of it held for good: a collection takes what a sync.Pool
// has, and to make room anew for each long body, in steps, costs more than all the rest of its request.
type rooms struct {
	mu   sync.Mutex
	held []*[]byte
	size int // bytes of held
	more sync.Pool
}

const keptRoom = 16 << 20

func (r *rooms) keep(p *[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size+cap(*p) > keptRoom {
		r.more.Put(p)
		return
	}
	r.held, r.size = append(r.held, p), r.size+cap(*p)
}

// take is room of at least so many bytes; nil if there is none at hand. Room that is too short is let go of, so that
// what is held fits the bodies that come.
func (r *rooms) take(least int) *[]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := len(r.held); n > 0; n = len(r.held) {
		p := r.held[n-1]
		r.held[n-1], r.held, r.size = nil, r.held[:n-1], r.size-cap(*p)
		if cap(*p) >= least {
			return p
		}
	}
	if p, ok := r.more.Get().(*[]byte); ok && cap(*p) >= least {
		return p
	}
	return nil
}

// limit is the largest body.
func (o *OpenAI) limit() int64 {
	if o.MaxBody <= 0 {
		return defaultMaxBody
	}
	return o.MaxBody
}

var (
	bodies     = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}
	longBodies rooms
)

// read reads the body into b, to its end: only then does the server watch for a client that hangs up.
func (o *OpenAI) read(w *sink, r *http.Request, b *intaken) error {
	limit := o.limit()
	most := limit + 1 // one byte more than may come, to see its end
	switch {
	case r.ContentLength > limit:
		return tooLarge(limit)
	case r.ContentLength >= 0:
		most = r.ContentLength + 1
	}
	*b.buf = (*b.buf)[:0]
	for {
		if err := b.grow(most); err != nil {
			return err
		}
		have := *b.buf
		n, err := r.Body.Read(have[len(have):cap(have)])
		have = have[:len(have)+n]
		*b.buf = have
		switch {
		case int64(len(have)) > limit:
			return tooLarge(limit)
		case err == io.EOF:
			if w.unread { // left in place, the deadline would look like a client that hangs up
				w.unread = false
				_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Time{}) // tests have no connection
			}
			return nil
		case err != nil:
			return fault.New(fault.Invalid, "The request's body ended before it was complete, or came too slowly.", fault.Cause(err))
		}
	}
}

func modelOf(t *serve.Target) openai.Model {
	return openai.Model{ID: t.Route.Name, Object: "model", Created: t.Route.CreatedAt.Unix(), OwnedBy: t.Route.Project}
}

func reply(w *sink, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fault.Wrap(err, "writing the answer")
	}
	return send(w, b)
}

// send answers with JSON.
func send(w *sink, b []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b) // a client that is gone does not miss it
	return nil
}

// refuse writes an error in the caller's dialect, with the headers that tell clients whether and when to try again.
func (o *OpenAI) refuse(w *sink, rid string, err error) {
	h := w.Header()
	setRetry(h, err)
	if r, ok := errors.AsType[*quota.Refusal](err); ok {
		gateway.SetRate(h, r.Rate)
		if r.After > 0 {
			h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.After.Seconds()))))
			h.Set("Retry-After-Ms", strconv.FormatInt(int64(math.Ceil(float64(r.After)/float64(time.Millisecond))), 10))
		}
	}
	switch kind := fault.KindOf(err); kind {
	case fault.NoMoney:
		h.Set("X-Should-Retry", "false")
	case fault.Unavailable:
		if h.Get("Retry-After") == "" { // an upstream's own word
			h.Set("Retry-After", "1")
		}
	case fault.Unauthenticated:
		h.Set("Www-Authenticate", "Bearer")
	case fault.Internal:
		o.Log.Error("model API: a request failed", slog.String("request", rid), slog.Any("error", err))
	}
	face := w.face
	if face == "" {
		face = dialect.Chat
	}
	status, body := dialect.WriteError(face, err)
	if own, ok := errors.AsType[withStatus](err); ok {
		status = own.status
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone does not miss it
}

// recover answers a panic with 500, or ends the connection when the answer had begun; it is settled by then.
func (o *OpenAI) recover(w *sink, rid string) {
	p := recover()
	if p == nil {
		return
	}
	if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
		panic(p)
	}
	o.Log.Error("model API: a request panicked", slog.String("request", rid), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	o.refuse(w, rid, fault.New(fault.Internal, "Something went wrong inside Triarch; the log has the cause."))
}

// sink is a response writer whose Flush reports errors and which gives up on a client that takes nothing.
type sink struct {
	http.ResponseWriter
	now    func() time.Time
	id     *[1]string    // value of its header
	face   dialect.Kind  // what the caller reads; empty: OpenAI's chat
	front  *front.Writer // ResponseWriter, if it is one: it looks after the time that writes take
	begun  bool
	unread bool      // the request has a body whose end was not seen
	passed bool      // the request came to the gateway
	major  int       // of the request's HTTP version
	until  time.Time // write deadline in force
}

func (s *sink) WriteHeader(status int) {
	if s.unread && !s.begun {
		leaveBody(s.ResponseWriter, s.major)
	}
	s.begun = true
	s.ResponseWriter.WriteHeader(status)
}

func (s *sink) Write(b []byte) (int, error) {
	if !s.begun {
		s.WriteHeader(http.StatusOK)
	}
	if len(b) > 64<<10 { // smaller ones fit into buffers on the way
		s.extend()
	}
	if s.major >= 2 { // a stream that is reset has Write return while what is written may still be read
		b = bytes.Clone(b)
	}
	return s.ResponseWriter.Write(b)
}

// extend renews the deadline, but only now and then: it need not be exact.
func (s *sink) extend() {
	if s.front != nil {
		return
	}
	if now := s.now(); s.until.Sub(now) < writeTime/2 {
		s.until = now.Add(writeTime)
		_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(s.until) // tests have no connection
	}
}

// Flush sends what was written.
func (s *sink) Flush() error {
	s.extend()
	if s.front != nil {
		return s.front.FlushError()
	}
	if f, ok := s.ResponseWriter.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// release takes the deadline away again, for the next request on the connection.
func (s *sink) release() {
	if !s.until.IsZero() {
		_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}
