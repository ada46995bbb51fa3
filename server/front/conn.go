package front

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/rawtcp"
)

const (
	firstBuffer = 8 << 10
	lingerTime  = time.Second // for a client that is still sending to read why it should not
	lingerBytes = 256 << 10
	strayEnds   = 4 // bytes of line ends that old clients send behind a body
)

// conn is one connection, served by one goroutine; only watch runs beside it.
type conn struct {
	srv   *Server
	tcp   *net.TCPConn
	sock  *rawtcp.Conn // reads and writes tcp
	seat  *seat
	from  string // address of the client
	buf   []byte // buf[r:w] was read and not used
	r, w  int
	until time.Duration // deadline of reads in force, in elapsed time; zero if it is not known

	head  head
	ctx   *span         // of the last request
	blank *http.Request // one that has ctx and nothing else
	req   http.Request
	url   url.URL
	body  body
	out   Writer

	mu       sync.Mutex // guards the rest
	state    state
	timer    *time.Timer // starts watch
	armed    bool        // watch may begin
	watching bool
	watched  bool      // since the request began
	stopped  sync.Cond // watching became false
	byte     [1]byte   // what watch read
	got      bool      // it read something
	span     *span     // of the request that runs
}

// state says what a connection is at.
type state uint8

const (
	idle    state = iota // between requests
	busy                 // from the first byte of a request to the end of its answer
	leaving              // woken to end
)

func newConn(s *Server, tcp *net.TCPConn, seat *seat) *conn {
	c := &conn{srv: s, tcp: tcp, sock: rawtcp.New(tcp), seat: seat, from: tcp.RemoteAddr().String(), buf: make([]byte, firstBuffer)}
	c.stopped.L = &c.mu
	c.out.c, c.body.c = c, c
	c.out.header = make(http.Header, 16)
	return c
}

// serve answers requests until the connection is done with; true if net/http is to go on with it.
func (c *conn) serve() (over bool) {
	for first := true; ; first = false {
		switch c.next(first) {
		case incomplete:
			return false
		case theirs:
			return c.tcp.SetReadDeadline(time.Time{}) == nil
		}
		if first {
			c.srv.room.spoke(c.seat)
		}
		if !c.answer() {
			return false
		}
	}
}

// next reads the head of the next request; incomplete if none comes.
func (c *conn) next(first bool) verdict {
	c.head.size = 0
	if c.r == c.w {
		c.r, c.w = 0, 0
		if !c.patient(first) || !c.fill() {
			return incomplete
		}
	}
	if !c.begin() {
		return incomplete
	}
	for waited, skip := first, strayEnds; ; waited = true {
		for !first && skip > 0 && c.r < c.w { // as net/http does behind a POST
			if b := c.buf[c.r]; b != '\r' && b != '\n' {
				skip = 0
				break
			}
			c.r++
			skip--
		}
		switch v := c.head.scan(c.buf[c.r:c.w], c.srv.lines, c.srv.Paths); {
		case v == theirs, v == ours && !c.parse():
			return theirs
		case v == ours:
			return ours
		}
		if !waited {
			c.readFor(c.srv.HeadTimeout)
		}
		if !c.fill() {
			return incomplete
		}
	}
}

// patient sets how long the first byte of a request may take, if what is left of the last time is not enough; false
// if the connection is to end.
func (c *conn) patient(first bool) bool {
	wait, least := c.srv.IdleTimeout, c.srv.IdleTimeout*3/4
	if first {
		wait, least = c.srv.HeadTimeout, c.srv.HeadTimeout
	}
	if c.until != 0 && c.until-elapsed() >= least {
		return true
	}
	c.mu.Lock() // against wake
	defer c.mu.Unlock()
	c.readFor(wait)
	return c.state != leaving
}

func (c *conn) parse() bool {
	line := len("POST  HTTP/1.1\r\n") + len(c.head.path)
	if text := c.buf[c.r+line : c.r+c.head.size]; string(text) != c.head.text { // most clients say the same each time
		if !c.head.parse(string(text)) {
			return false
		}
	}
	c.r += c.head.size
	return true
}

// fill reads more, behind what is there.
func (c *conn) fill() bool {
	if c.w == len(c.buf) {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		} else {
			c.buf = append(c.buf, make([]byte, len(c.buf))...) // a head, which is bounded
		}
	}
	n, err := c.sock.Read(c.buf[c.w:])
	c.w += n
	return n > 0 && (err == nil || errors.Is(err, io.EOF))
}

func (c *conn) readFor(d time.Duration) {
	c.until = elapsed() + d
	_ = c.tcp.SetReadDeadline(time.Now().Add(d)) // a closed connection shows in the next read
}

// elapsed is the time since some moment: half the work of time.Now.
func elapsed() time.Duration { return time.Since(epoch) }

var epoch = time.Now()

// begin marks the connection as busy; false when it is to end.
func (c *conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == leaving {
		return false
	}
	c.state = busy
	return true
}

// wake ends an idle connection.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == idle {
		c.state = leaving
		_ = c.tcp.SetReadDeadline(time.Unix(1, 0)) // one that is closed needs none
	}
}

// abort ends the connection whatever it is at.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.span != nil {
		c.span.end()
	}
	c.tcp.Close()
}

// answer lets the handler answer the request whose head was read; false if the connection is to be closed.
func (c *conn) answer() bool {
	ctx := c.request()
	c.out.reset(c.head.close)
	c.body.reset(c.head.length)
	c.mu.Lock()
	c.span = ctx
	c.mu.Unlock()
	if c.body.left == 0 {
		c.arm()
	}
	whole := c.call(&c.req)
	c.disarm()
	ctx.end()
	if c.out.Whole() { // refused without a look at the body, which is here
		c.r, c.body.left = c.r+int(c.body.left), 0
	}
	switch {
	case !whole:
		return false
	case !c.out.finish():
		return false
	case c.body.left > 0:
		c.linger()
		return false
	}
	return !c.out.close && !c.srv.closing.Load()
}

// request makes the request of the head that was read, and its context. Both are made anew only where somebody may
// still look at the last one's context.
func (c *conn) request() *span {
	if c.ctx == nil || !c.ctx.renew() {
		c.ctx = &span{values: c.srv.Context}
		blank := http.Request{Method: http.MethodPost, URL: &c.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: &c.body, RemoteAddr: c.from}
		c.blank = blank.WithContext(c.ctx)
	}
	c.url = url.URL{Path: c.head.path}
	c.req = *c.blank
	c.req.Header, c.req.ContentLength, c.req.Host, c.req.RequestURI, c.req.Close = c.head.header, c.head.length, c.head.host, c.head.path, c.head.close
	return c.ctx
}

// call runs the handler; false if it panicked.
func (c *conn) call(r *http.Request) (whole bool) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				c.srv.Log.Error("panic", slog.String("path", c.head.path), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			}
			whole = false
		}
	}()
	c.srv.Std.Handler.ServeHTTP(&c.out, r)
	return true
}

// arm begins the time after which the connection is watched. The body was read to its end: what comes now is either
// the next request or a hang-up.
func (c *conn) arm() {
	if c.r < c.w {
		return // the next request is here already
	}
	c.mu.Lock()
	c.armed = true
	c.mu.Unlock()
	if c.timer == nil {
		c.timer = time.AfterFunc(c.srv.Notice, c.watch)
		return
	}
	c.timer.Reset(c.srv.Notice)
}

// watch waits for the client to hang up, or for the next request.
func (c *conn) watch() {
	c.mu.Lock()
	if !c.armed || c.watching { // too late, or a belated start of an earlier request's has come first
		c.mu.Unlock()
		return
	}
	c.watching, c.watched = true, true
	_ = c.tcp.SetReadDeadline(time.Time{}) // what is wrong shows in Read
	c.mu.Unlock()
	n, err := c.tcp.Read(c.byte[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching, c.got = false, n > 0
	if err != nil && c.armed {
		c.span.end()
	}
	c.armed = false
	c.stopped.Broadcast()
}

// disarm ends the watch and takes what it read.
func (c *conn) disarm() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.span, c.state = false, nil, idle
	if c.watching {
		_ = c.tcp.SetReadDeadline(time.Unix(1, 0)) // ends its Read
		for c.watching {
			c.stopped.Wait()
		}
	}
	if c.watched {
		c.watched, c.until = false, 0
	}
	if c.got {
		c.got = false
		c.r, c.w = 0, copy(c.buf, c.byte[:])
	}
}

// linger lets a client that is still sending read the answer before the connection is reset: it takes some of what
// comes, and leaves the rest unread for a while.
func (c *conn) linger() {
	if c.tcp.CloseWrite() != nil {
		return
	}
	c.readFor(lingerTime)
	if _, err := io.CopyN(io.Discard, struct{ io.Reader }{c.tcp}, lingerBytes); err == nil {
		time.Sleep(lingerTime / 2)
	}
}

// body is what follows a head.
type body struct {
	c    *conn
	left int64
}

func (b *body) reset(length int64) { b.left = length }

// Read reads what is buffered, then from the connection.
func (b *body) Read(p []byte) (int, error) {
	c := b.c
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := copy(p, c.buf[c.r:c.w]), error(nil)
	if c.r += n; n == 0 && len(p) > 0 {
		n, err = c.sock.Read(p)
	}
	if b.left -= int64(n); b.left == 0 {
		c.arm()
		return n, io.EOF
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close does nothing: the connection looks after what was not read.
func (b *body) Close() error { return nil }
