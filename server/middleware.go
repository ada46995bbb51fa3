package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// maxJSON bounds the body of every request that is not an upload.
const maxJSON = 1 << 20

// Times a client may take.
const (
	bodyTimeout   = 30 * time.Second // to send a JSON body
	chunkTimeout  = time.Minute      // between two pieces of an upload, and to take a piece of a download
	unreadTimeout = time.Second      // to send on after an answer that did not wait for the body
)

// The end of a body that nobody asked for: net/http reads it before it lets go of a connection, without a limit in
// time. Whoever announced one and sends nothing would hold the connection for ever, without so much as a key. So each
// body has a deadline before anything is done about it, and an answer that comes before its end closes the connection,
// soon. (Not at once: what is under way would reset it, and the client would not read the answer.) In HTTP/2 a body holds
// its own stream alone, which ends with the answer: the connection goes on, with the answers of other streams.

// timeBody gives the body of a request, if it has one, its first deadline; false if it has none.
func timeBody(w http.ResponseWriter, r *http.Request, until time.Time) bool {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return false
	}
	_ = http.NewResponseController(w).SetReadDeadline(until)
	return true
}

// leaveBody is called before an answer to a request whose body was not read to its end; major is of its HTTP version.
func leaveBody(w http.ResponseWriter, major int) {
	if major < 2 {
		w.Header().Set("Connection", "close")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadTimeout))
}

// watched is a body that tells when it was read to its end.
type watched struct {
	io.ReadCloser
	rec *recorder
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.rec.unread = false
	}
	return n, err
}

// recorder remembers how a response began, for the log and for panics, and whether the request's body was read.
type recorder struct {
	http.ResponseWriter
	status int
	unread bool // the request has a body whose end was not seen
	major  int  // of the request's HTTP version
}

func (r *recorder) WriteHeader(code int) {
	if r.status == 0 {
		r.status = code
		if r.unread {
			leaveBody(r.ResponseWriter, r.major)
		}
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// wentWrong is all that a client is told of a defect.
const wentWrong = "Something went wrong inside Triarch; the log of the control plane has the cause."

type requestKey struct{}

// requestID is the id that middleware gave the request; it stands in the x-request-id header and in logs.
func requestID(ctx context.Context) string {
	s, _ := ctx.Value(requestKey{}).(string)
	return s
}

// middleware wraps everything: a request id, headers against misuse in browsers, a line in the debug log, and the
// end of a panic.
func (s *Server) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, rid := s.Now(), s.IDs.New("req")
		rec := &recorder{ResponseWriter: w, major: r.ProtoMajor}
		h := w.Header()
		h.Set("X-Request-Id", rid)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, rid))
		if rec.unread = timeBody(w, r, time.Now().Add(bodyTimeout)); rec.unread {
			r.Body = &watched{r.Body, rec}
		}
		defer func() {
			if p := recover(); p != nil {
				s.panicked(rec, r, p)
			}
			if s.Log.Enabled(r.Context(), slog.LevelDebug) {
				s.Log.Debug("request", "id", rid, "method", r.Method, "path", r.URL.Path, "status", rec.status, "took", s.Now().Sub(began))
			}
		}()
		if err := plainText(r.URL); err != nil {
			s.fail(rec, r, err)
			return
		}
		next.ServeHTTP(rec, r)
	})
}

// plainText refuses what no name holds and not every database takes as text: a zero byte, and what is no UTF-8.
func plainText(u *url.URL) error {
	plain := func(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
	if !plain(u.Path) {
		return fault.New(fault.Invalid, "The path holds a zero byte or is not UTF-8.", fault.Fix("Send names as they are listed, percent-encoded."))
	}
	if u.RawQuery == "" {
		return nil
	}
	for name, values := range u.Query() {
		if !plain(name) {
			return fault.New(fault.Invalid, "The name of a query parameter holds a zero byte or is not UTF-8.")
		}
		for _, v := range values {
			if !plain(v) {
				return fault.InvalidField(name, "%s holds a zero byte or is not UTF-8.", name)
			}
		}
	}
	return nil
}

// panicked logs a defect and answers it, if nothing was answered yet; else it cuts the connection, so that the
// client does not take half an answer for a whole one.
func (s *Server) panicked(rec *recorder, r *http.Request, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	s.Log.Error("panic", "id", requestID(r.Context()), "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if rec.status != 0 {
		panic(http.ErrAbortHandler)
	}
	s.fail(rec, r, fault.New(fault.Internal, wentWrong))
}

// guard lets through what the endpoint's line of the table allows, with the principal in the context, and reads
// the body of what is no upload.
func (s *Server) guard(e Endpoint, fail failer, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !e.Public {
			p, err := s.authorise(e, r)
			if err != nil {
				fail(w, r, err)
				return
			}
			r = r.WithContext(auth.With(r.Context(), p))
		}
		if !e.Stream && e.Method != http.MethodGet { // nothing reads the body of a GET
			if err := readBody(w, r); err != nil {
				fail(w, r, err)
				return
			}
		}
		next(w, r)
	}
}

func (s *Server) authorise(e Endpoint, r *http.Request) (*auth.Principal, error) {
	p, err := s.Keys.AuthenticateFrom(r.RemoteAddr, bearer(r))
	if err != nil {
		return nil, err
	}
	if p.May(e.Role, e.Scope) {
		return p, nil
	}
	return nil, fault.New(fault.Forbidden, "This key may not do that: it needs the role "+string(e.Role)+" and the scope "+string(e.Scope)+".",
		fault.Code("not_allowed"), fault.Fix("Ask an owner for another key."))
}

// bearer is the secret of the Authorization header, or empty.
func bearer(r *http.Request) string {
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// readBody takes a small body whole before the handler runs, so that a slow client costs no handler, and a deadline
// on it does not end the handler's context later.
func readBody(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > maxJSON {
		return tooLarge(maxJSON)
	}
	c := http.NewResponseController(w)
	if err := c.SetReadDeadline(time.Now().Add(bodyTimeout)); err == nil {
		defer c.SetReadDeadline(time.Time{}) //nolint:errcheck // it was settable a moment ago
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxJSON+1))
	if err != nil {
		return fault.New(fault.Timeout, "The body did not arrive in time.", fault.Cause(err))
	}
	if len(b) > maxJSON {
		return tooLarge(maxJSON)
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

func tooLarge(limit int64) error {
	return fault.Newf(fault.TooLarge, "The body is larger than the limit of %d bytes.", limit)
}

// upload bounds a streamed body in size and in the time between its pieces.
type upload struct {
	r    io.Reader
	c    *http.ResponseController
	left int64
	max  int64
	open bool // reading has begun and not reached the end
}

func (s *Server) upload(c *http.ResponseController, r io.Reader) *upload {
	return &upload{r: r, c: c, left: s.MaxUpload, max: s.MaxUpload}
}

func (u *upload) Read(p []byte) (int, error) {
	u.open = true
	_ = u.c.SetReadDeadline(time.Now().Add(chunkTimeout))
	n, err := u.r.Read(p)
	if u.left -= int64(n); u.left < 0 {
		return 0, tooLarge(u.max)
	}
	if err != nil {
		u.open = false
	}
	if err != nil && !errors.Is(err, io.EOF) && fault.KindOf(err) == fault.Internal {
		err = fault.New(fault.Canceled, "The upload broke off.", fault.Cause(err))
	}
	return n, err
}

// drainTimeout is how long a client that is still sending gets to read why it should not.
const drainTimeout = 15 * time.Second

// done ends an upload after the answer was written. If the answer came before the body's end, as with a broken line
// in a long file, closing the connection now would reset it, and the client would see that in place of the answer: so
// the rest is thrown away until the client has read the answer and hangs up.
func (u *upload) done() {
	if u.open {
		_ = u.c.Flush()
		if u.c.SetReadDeadline(time.Now().Add(drainTimeout)) == nil {
			_, _ = io.Copy(io.Discard, u.r)
		}
	}
	_ = u.c.SetReadDeadline(time.Time{})
}

// paced gives each piece of a long answer its own time to be taken, and sends it at once.
type paced struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func newPaced(w http.ResponseWriter) *paced { return &paced{w, http.NewResponseController(w)} }

func (p *paced) Write(b []byte) (int, error) {
	_ = p.c.SetWriteDeadline(time.Now().Add(chunkTimeout))
	return p.w.Write(b)
}

func (p *paced) flush() error {
	if err := p.c.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// fail answers with a problem: the one place where errors become HTTP for the control API.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r.Context(), err)
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="triarch"`)
	}
	setRetry(w.Header(), err)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// setRetry tells an address that sent too many wrong keys when it is heard again.
func setRetry(h http.Header, err error) {
	if many, ok := errors.AsType[*auth.TooMany](err); ok {
		h.Set("Retry-After", strconv.Itoa(auth.Seconds(many.After)))
	}
}

// problem logs what is ours to repair and gives the rest its form.
func (s *Server) problem(ctx context.Context, err error) *api.Problem {
	if fault.Is(err, fault.Internal) {
		s.Log.Error("request failed", "id", requestID(ctx), "error", err)
	}
	p := api.NewProblem(err, requestID(ctx))
	if bad, ok := errors.AsType[*data.BadLines](err); ok {
		p.BadLines = badLines(bad.Lines)
	}
	return p
}
