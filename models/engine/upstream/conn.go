package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/rawtcp"
)

const (
	firstBuffer = 8 << 10
	maxHead     = 64 << 10 // status line and headers of an answer
	maxLine     = 4 << 10  // a chunk's size with its extensions, or a trailer
	maxTrailers = 100
)

// conn is a connection with what was read from it and not used yet.
type conn struct {
	*rawtcp.Conn
	buf      []byte        // none between requests, and till the answer begins
	room     func() []byte // take
	r, w     int
	out      []byte        // head of the request being written
	head     []byte        // status line and headers of the answer being read
	used     bool          // has carried a request before
	idle     time.Duration // since when, in elapsed time
	deadline time.Duration // in force, in elapsed time; 0: none
	timeout  time.Duration
	hangUp   func() // closes it
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: rawtcp.New(nc), hangUp: func() { nc.Close() }}
	c.room = c.take
	return c
}

// renew moves the deadline on when less than the timeout is left of it, which is not every time.
func (c *conn) renew() error {
	now := elapsed()
	if c.timeout <= 0 || c.deadline != 0 && c.deadline-now >= c.timeout {
		return nil
	}
	c.deadline = now + c.timeout + c.timeout/4
	return c.SetDeadline(time.Now().Add(c.timeout + c.timeout/4))
}

// elapsed is the time since some moment: half the work of time.Now.
func elapsed() time.Duration { return time.Since(epoch) }

var epoch = time.Now()

// take gives the connection a buffer. Few are in use at once, however many connections wait, so they stay in the cache.
func (c *conn) take() []byte {
	if c.buf == nil {
		c.buf = reads.Get().(*[firstBuffer]byte)[:]
	}
	return c.buf
}

// lay gives the buffer back; nothing may be unread.
func (c *conn) lay() {
	if len(c.buf) >= firstBuffer {
		reads.Put((*[firstBuffer]byte)(c.buf))
	}
	c.buf, c.r, c.w = nil, 0, 0
}

var reads = sync.Pool{New: func() any { return new([firstBuffer]byte) }}

func (c *conn) buffered() int { return c.w - c.r }

// fill reads more, making room up to limit bytes in all.
func (c *conn) fill(limit int) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	c.take()
	if c.w == len(c.buf) {
		switch {
		case c.r > 0:
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		case len(c.buf) >= limit:
			return errTooLong
		default:
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
	if err := c.renew(); err != nil {
		return err
	}
	n, err := c.Conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// until returns the bytes up to and including end, reading as needed.
func (c *conn) until(end string, limit int) ([]byte, error) {
	from := 0
	for {
		if i := bytes.Index(c.buf[c.r+from:c.w], []byte(end)); i >= 0 {
			b := c.buf[c.r : c.r+from+i+len(end)]
			if len(b) > limit {
				return nil, errTooLong
			}
			c.r += len(b)
			return b, nil
		}
		from = max(0, c.buffered()-len(end)+1)
		if c.buffered() > limit {
			return nil, errTooLong
		}
		if err := c.fill(2 * limit); err != nil {
			return nil, err
		}
	}
}

var (
	errTooLong   = errors.New("upstream: a line or header of the answer is too long")
	errMalformed = errors.New("upstream: the answer is not HTTP/1.1")
)

// framing is how the end of a body is told.
type framing uint8

const (
	sized   framing = iota // left bytes
	chunked                // chunks, left bytes of the current one
	closing                // until the connection ends
)

// Response is an answer whose head was read. It belongs to one goroutine.
type Response struct {
	Status int
	Stream bool // the body is an event stream, as its Content-Type has it

	client *Client
	addr   string
	c      *conn
	head   []byte
	form   framing
	left   int64
	inside bool // chunked: a chunk was begun, its line end is to come
	ended  bool // the body was read to its end, or cannot be read further
	closed bool
	keep   bool // the connection may be used again after the body
	stop   func() bool
	ctx    context.Context
}

// readHead reads status line and headers, skipping interim answers.
func (r *Response) readHead() error {
	for range 10 {
		head, err := r.c.until("\r\n\r\n", maxHead)
		if err != nil {
			return err
		}
		if err := r.parseHead(head[:len(head)-2]); err != nil {
			return err
		}
		if r.Status >= 200 {
			return nil
		}
		if r.Status == 101 {
			return errMalformed
		}
	}
	return errMalformed
}

func (r *Response) parseHead(head []byte) error {
	r.c.head = append(r.c.head[:0], head...)
	r.head = r.c.head
	line, rest, _ := bytes.Cut(r.head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' || (len(line) > 12 && line[12] != ' ') {
		return errMalformed
	}
	status, err := strconv.ParseUint(string(line[9:12]), 10, 16)
	if err != nil || status < 100 {
		return errMalformed
	}
	r.Status, r.head = int(status), rest
	r.keep = line[7] == '1'
	r.form, r.left = closing, -1
	r.Stream = false
	sawChunked, typed := false, false
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || line[0] == ' ' || line[0] == '\t' {
			return errMalformed
		}
		value = bytes.TrimSpace(value)
		switch {
		case foldEqual(name, "content-length"):
			n, err := strconv.ParseUint(string(value), 10, 63)
			if err != nil || (r.form == sized && r.left != int64(n)) {
				return errMalformed
			}
			r.form, r.left = sized, int64(n)
		case foldEqual(name, "transfer-encoding"):
			if !foldEqual(value, "chunked") || sawChunked {
				return errMalformed
			}
			sawChunked = true
		case foldEqual(name, "connection"):
			r.keep = r.keep && !foldEqual(value, "close")
		case !typed && foldEqual(name, "content-type"):
			typed, r.Stream = true, bytes.HasPrefix(value, []byte("text/event-stream"))
		}
	}
	if sawChunked {
		if r.form == sized { // both: smuggling or nonsense
			return errMalformed
		}
		r.form, r.left = chunked, 0
	}
	if r.Status == 204 || r.Status == 304 {
		r.form, r.left = sized, 0
	}
	r.keep = r.keep && r.form != closing
	return nil
}

// foldEqual compares with a name or word in lower case.
func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c != s[i] && (c|0x20 != s[i] || c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Header returns the first value of a header, or "". It is valid until the body was read to its end or closed.
func (r *Response) Header(name string) string {
	rest := r.head
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if n, value, _ := bytes.Cut(line, []byte(":")); len(n) == len(name) && strings.EqualFold(string(n), name) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// Buffered says whether the next Chunk comes without waiting for the network. The bytes that frame a chunk do not
// count: behind them may be nothing yet.
func (r *Response) Buffered() bool {
	if r.ended {
		return false
	}
	b := r.c.buf[r.c.r:r.c.w]
	if r.form != chunked || r.left != 0 {
		return len(b) > 0
	}
	if r.inside {
		if len(b) < 2 {
			return false
		}
		b = b[2:]
	}
	line := bytes.IndexByte(b, '\n')
	return line >= 0 && line+1 < len(b)
}

// Size is the length of the body if the answer tells it, otherwise -1.
func (r *Response) Size() int64 {
	if r.form == sized {
		return r.left
	}
	return -1
}

// Chunk returns the next piece of the body, at least one byte, valid until the next call; io.EOF at its end and
// io.ErrUnexpectedEOF when the connection ended before.
func (r *Response) Chunk() ([]byte, error) {
	if r.ended {
		return nil, io.EOF
	}
	b, err := r.chunk()
	if err != nil {
		r.ended = true
		if err == io.EOF && r.form != closing && !(r.form == chunked && r.left < 0) && !(r.form == sized && r.left == 0) {
			err = io.ErrUnexpectedEOF
		}
		if err != io.EOF {
			r.keep = false
			if cerr := r.ctx.Err(); cerr != nil {
				err = cerr
			}
		}
	}
	return b, err
}

func (r *Response) chunk() ([]byte, error) {
	if r.form == chunked && r.left == 0 {
		if err := r.nextChunk(); err != nil {
			return nil, err
		}
	}
	if r.form == sized && r.left == 0 {
		return nil, io.EOF
	}
	if r.c.buffered() == 0 {
		if err := r.c.fill(firstBuffer); err != nil {
			return nil, err
		}
	}
	n := r.c.buffered()
	if r.form != closing {
		n = int(min(int64(n), r.left))
		r.left -= int64(n)
	}
	b := r.c.buf[r.c.r : r.c.r+n]
	r.c.r += n
	return b, nil
}

// nextChunk reads the line that begins a chunk; after the last one, the trailers, and then returns io.EOF.
func (r *Response) nextChunk() error {
	if r.inside {
		if line, err := r.c.until("\r\n", maxLine); err != nil || len(line) != 2 {
			return orMalformed(err)
		}
	}
	line, err := r.c.until("\r\n", maxLine)
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line[:len(line)-2], []byte(";"))
	n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 63)
	if err != nil || size[0] == '+' {
		return errMalformed
	}
	r.inside, r.left = true, int64(n)
	if n > 0 {
		return nil
	}
	for range maxTrailers {
		line, err := r.c.until("\r\n", maxLine)
		if err != nil {
			return err
		}
		if len(line) == 2 {
			r.left = -1
			return io.EOF
		}
	}
	return errMalformed
}

func orMalformed(err error) error {
	if err == nil {
		return errMalformed
	}
	return err
}
