// Package upstream is an HTTP/1.1 client for engines on trusted, mostly local, sockets: pooled connections, no
// goroutine of its own per request, bodies handed out as slices of the read buffer. It exists because the standard
// client costs more than the rest of the gateway together; it follows no redirects, keeps no cookies and decodes
// nothing but chunks.
//
// Rules for callers: close every Response. A Response belongs to one goroutine. Cancelling the context of Do, or
// Close before the end of the body, closes
// the connection, which is how an engine learns that nobody listens any more. An answer is not trusted: its head is
// bounded, and everything malformed is an error.
package upstream

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/rawtcp"
)

// Client keeps connections to engines. The zero value works; it is safe for concurrent use.
type Client struct {
	// Timeout is the longest silence: how long an engine may send, or take, nothing at all, up to a quarter more. An
	// answer that is no stream is silent until it is complete. 0 = 1 hour. An answer as a whole may last as long as it likes.
	Timeout     time.Duration
	DialTimeout time.Duration // 0 = 2 seconds
	IdleTimeout time.Duration // an unused connection is not used again after this; 0 = 30 seconds
	MaxIdle     int           // unused connections kept for each address; 0 = 512

	mu    sync.Mutex
	idle  map[string][]*conn // each list in order of last use
	swept time.Duration
}

// Request is what Do sends.
type Request struct {
	Addr      string // host:port
	Method    string // "POST" if empty
	Path      string
	Secret    string // bearer secret
	RequestID string // x-request-id; left out if empty
	Scope     string // x-cache-scope; left out if empty
	Body      []byte // JSON

	Trace, TraceState string // traceparent and tracestate; left out if empty
}

// Do sends a request and returns when the head of the answer was read. When no answer came the error is a fault of
// kind Unavailable, Timeout or Canceled. A request is sent again, once and on a new connection, only if writing it to a
// pooled one failed with nothing of it taken: an engine that may have seen it does not get it twice.
func (c *Client) Do(ctx context.Context, q *Request) (*Response, error) {
	if strings.ContainsAny(q.Path, " \r\n") || strings.ContainsAny(q.Secret, "\r\n") || strings.ContainsAny(q.RequestID, "\r\n") ||
		strings.ContainsAny(q.Scope, "\r\n") || strings.ContainsAny(q.Trace, "\r\n") || strings.ContainsAny(q.TraceState, "\r\n") {
		return nil, fault.New(fault.Invalid, "A request to an engine holds a line break.")
	}
	for cn := c.pooled(q.Addr); cn != nil; cn = c.pooled(q.Addr) {
		r, err := c.send(ctx, cn, q)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, errUnsent) || ctx.Err() != nil {
			return nil, noAnswer(ctx, err)
		}
		if !errors.Is(err, rawtcp.ErrStale) {
			break
		}
	}
	cn, err := c.dial(ctx, q.Addr)
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	r, err := c.send(ctx, cn, q)
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	return r, nil
}

// errUnsent says that a pooled connection was dead before it took a byte of the request.
var errUnsent = errors.New("upstream: the engine had closed the connection")

// unsent tells a connection that was dead before from an engine that failed while it worked.
func unsent(sent int64, err error) bool {
	return sent == 0 && (errors.Is(err, rawtcp.ErrStale) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET))
}

func noAnswer(ctx context.Context, err error) error {
	var slow net.Error
	switch {
	case ctx.Err() != nil:
		return fault.Wrap(ctx.Err(), "asking the engine")
	case errors.As(err, &slow) && slow.Timeout():
		return fault.New(fault.Timeout, "The engine did not answer in time.", fault.Cause(err))
	}
	return fault.New(fault.Unavailable, "The engine did not answer.", fault.Fix("Try again in a moment."), fault.Cause(err))
}

func (c *Client) send(ctx context.Context, cn *conn, q *Request) (*Response, error) {
	cn.timeout = orDefault(c.Timeout, time.Hour)
	if err := cn.renew(); err != nil {
		cn.Close()
		return nil, err
	}
	r := &Response{client: c, addr: q.Addr, c: cn, ctx: ctx, stop: atEnd(ctx, cn.hangUp)}
	sent, whole, err := cn.ask(q)
	if err == nil || !whole && !cn.used { // an engine may refuse before it has read everything: then there is an answer
		herr := r.readHead()
		if herr == nil {
			r.keep = r.keep && whole
			return r, nil
		}
		if err == nil {
			err = herr
		}
	}
	if cn.used && unsent(sent, err) {
		err = errors.Join(errUnsent, err)
	}
	r.stop()
	cn.Close()
	return nil, err
}

// atEnd is context.AfterFunc, without its cost for contexts that can do the same themselves.
func atEnd(ctx context.Context, f func()) (stop func() bool) {
	if a, ok := ctx.(interface {
		AfterFunc(func()) func() bool
	}); ok {
		return a.AfterFunc(f)
	}
	if ctx.Done() == nil {
		return noStop
	}
	return context.AfterFunc(ctx, f)
}

func noStop() bool { return true }

// ask sends the request and reads what comes first; how much of it the kernel took, and whether that is all, is told as
// well.
func (cn *conn) ask(q *Request) (sent int64, whole bool, err error) {
	b := cn.out[:0]
	method := q.Method
	if method == "" {
		method = "POST"
	}
	b = append(append(append(append(b, method...), ' '), q.Path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, q.Addr...), "\r\nAuthorization: Bearer "...)
	b = append(b, q.Secret...)
	if q.RequestID != "" {
		b = append(append(b, "\r\nX-Request-Id: "...), q.RequestID...)
	}
	if q.Scope != "" {
		b = append(append(b, "\r\nX-Cache-Scope: "...), q.Scope...)
	}
	if q.Trace != "" {
		b = append(append(b, "\r\nTraceparent: "...), q.Trace...)
		if q.TraceState != "" {
			b = append(append(b, "\r\nTracestate: "...), q.TraceState...)
		}
	}
	if q.Body != nil {
		b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(q.Body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	cn.out, cn.r, cn.w = b, 0, 0
	sent, cn.w, err = cn.Ask(b, q.Body, cn.room, !cn.used) // which sends both with one call
	return sent, sent == int64(len(b)+len(q.Body)), err
}

// pooled returns the connection used last, which is the likeliest to live; nil if there is none. One that the engine
// has closed, or on which it said something that nobody asked for, is found out before it is used again: what it said
// would be taken for the answer to the next request.
func (c *Client) pooled(addr string) *conn {
	oldest := elapsed() - c.idleTimeout()
	for {
		c.mu.Lock()
		list := c.idle[addr]
		if len(list) == 0 {
			c.mu.Unlock()
			return nil
		}
		cn := list[len(list)-1]
		list[len(list)-1] = nil
		c.idle[addr] = list[:len(list)-1]
		c.mu.Unlock()
		if cn.idle > oldest {
			return cn
		}
		cn.Close()
	}
}

func (c *Client) dial(ctx context.Context, addr string) (*conn, error) {
	d := net.Dialer{Timeout: orDefault(c.DialTimeout, 2*time.Second)}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return newConn(nc), nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Close ends the answer. Read to its end, it leaves the connection for the next request; otherwise it closes it.
// Closing twice does nothing more.
func (r *Response) Close() error {
	if r.closed {
		return nil
	}
	r.closed, r.ended = true, r.ended || r.exhausted()
	if !r.stop() || !r.ended || !r.keep || r.c.buffered() > 0 {
		return r.c.Close()
	}
	r.client.give(r.addr, r.c)
	return nil
}

// exhausted says whether a sized body was read completely, though its end was not asked for.
func (r *Response) exhausted() bool { return r.form == sized && r.left == 0 }

func (c *Client) give(addr string, cn *conn) {
	cn.used, cn.idle = true, elapsed()
	cn.lay()
	limit := c.MaxIdle
	if limit <= 0 {
		limit = 512
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == nil {
		c.idle = map[string][]*conn{}
	}
	if len(c.idle[addr]) >= limit {
		cn.Close()
		return
	}
	c.idle[addr] = append(c.idle[addr], cn)
	if oldest := cn.idle - c.idleTimeout(); c.swept == 0 || c.swept < oldest {
		c.swept = cn.idle
		c.sweep(oldest)
	}
}

// sweep closes what was not used for too long, of engines that are gone as well.
func (c *Client) sweep(oldest time.Duration) {
	for addr, list := range c.idle {
		n := 0
		for n < len(list) && list[n].idle < oldest {
			list[n].Close()
			n++
		}
		if list = append(list[:0:0], list[n:]...); len(list) == 0 {
			delete(c.idle, addr)
		} else {
			c.idle[addr] = list
		}
	}
}

func (c *Client) idleTimeout() time.Duration { return orDefault(c.IdleTimeout, 30*time.Second) }

// CloseIdle closes the unused connections to an address, or all of them if addr is empty.
func (c *Client) CloseIdle(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a, list := range c.idle {
		if addr != "" && a != addr {
			continue
		}
		for _, cn := range list {
			cn.Close()
		}
		delete(c.idle, a)
	}
}
