package front

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Writer is the http.ResponseWriter of a request of the hot path. Whatever the handler writes has its own time to be
// taken by the client, so a handler needs no write deadlines. It guesses no Content-Type.
type Writer struct {
	c       *conn
	header  http.Header
	buf     []byte  // to be sent
	room    *[]byte // what buf began as; nil: there is none
	begun   bool
	chunked bool
	bare    bool          // the status allows no body
	left    int64         // of a sized body
	close   bool          // the connection ends after the answer
	err     error         // of the connection
	until   time.Duration // deadline of writes in force, in elapsed time
}

const (
	sendAt  = 16 << 10 // bytes that wait for more before they are sent
	joinMax = 32 << 10 // pieces up to this are copied behind what waits
)

func (w *Writer) reset(closing bool) {
	clear(w.header)
	w.lay()
	w.begun, w.chunked, w.bare, w.left, w.close = false, false, false, 0, closing
}

// Header is what WriteHeader sends.
func (w *Writer) Header() http.Header { return w.header }

// Whole says whether all of the request's body that was not read is here.
func (w *Writer) Whole() bool { return int64(w.c.w-w.c.r) >= w.c.body.left }

// Rest returns what is left of the request's body if all of it is here, without copying; it counts as read then. It is
// valid until the handler returns.
func (w *Writer) Rest() ([]byte, bool) {
	if !w.Whole() {
		return nil, false
	}
	c, n := w.c, int(w.c.body.left)
	b := c.buf[c.r : c.r+n : c.r+n]
	c.r += n
	if c.body.left > 0 {
		c.body.left = 0
		c.arm()
	}
	return b, true
}

// WriteHeader begins the answer. Without a Content-Length the body is sent in chunks.
func (w *Writer) WriteHeader(status int) {
	if w.begun || status < 200 {
		return
	}
	w.begun = true
	w.bare = status == http.StatusNoContent || status == http.StatusNotModified
	w.close = w.close || w.c.srv.closing.Load()
	now := time.Now()
	b := append(w.waiting(), "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(append(b, ' '), http.StatusText(status)...), "\r\nDate: "...)
	b = append(b, w.c.srv.dateText(now)...)
	w.chunked = !w.bare
	for name, values := range w.header {
		for _, v := range values {
			b = w.field(b, name, v)
		}
	}
	if w.close {
		b = append(b, "\r\nConnection: close"...)
	}
	if w.chunked {
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	}
	w.buf = append(b, "\r\n\r\n"...)
}

// field appends a field, but for those that say how the answer is framed, which are the Writer's.
func (w *Writer) field(b []byte, name, value string) []byte {
	switch name {
	case "Date", "Transfer-Encoding":
		return b
	case "Connection":
		w.close = w.close || strings.EqualFold(value, "close")
		return b
	case "Content-Length":
		n, ok := number(value)
		if !ok || w.bare || !w.chunked {
			return b
		}
		w.chunked, w.left = false, n
	}
	if c, ok := canonical(name); !ok || c == "" {
		return b
	}
	b = append(append(append(b, "\r\n"...), name...), ": "...)
	if plain(value) {
		return append(b, value...)
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			b = append(b, ' ')
			continue
		}
		b = append(b, value[i])
	}
	return b
}

// Write takes a piece of the body. It is sent when enough waits, on Flush, and at the end.
func (w *Writer) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.bare:
		return 0, http.ErrBodyNotAllowed
	case !w.chunked && int64(len(p)) > w.left:
		return 0, http.ErrContentLength
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	}
	if w.waiting(); w.chunked {
		w.buf = append(strconv.AppendInt(w.buf, int64(len(p)), 16), "\r\n"...)
	} else {
		w.left -= int64(len(p))
	}
	if len(p) <= joinMax {
		w.buf = append(w.buf, p...)
	} else if err := w.send(p); err != nil {
		return 0, err
	}
	if w.chunked {
		w.buf = append(w.waiting(), "\r\n"...)
	}
	if len(w.buf) >= sendAt {
		return len(p), w.send(nil)
	}
	return len(p), nil
}

// FlushError sends what was written so far.
func (w *Writer) FlushError() error {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.send(nil)
}

// Flush is FlushError for those who do not ask.
func (w *Writer) Flush() { _ = w.FlushError() }

// send writes what waits, then more, with one call.
func (w *Writer) send(more []byte) error {
	if w.err != nil || len(w.buf)+len(more) == 0 {
		return w.err
	}
	if now := elapsed(); w.until == 0 || w.until-now < w.c.srv.WriteTime {
		w.until = now + 2*w.c.srv.WriteTime
		_ = w.c.tcp.SetWriteDeadline(time.Now().Add(2 * w.c.srv.WriteTime)) // what is wrong shows in the write
	}
	_, w.err = w.c.sock.WriteBoth(w.buf, more)
	w.lay()
	return w.err
}

// waiting is buf, which is there then.
func (w *Writer) waiting() []byte {
	if w.room == nil {
		w.room = rooms.Get().(*[]byte)
		w.buf = *w.room
	}
	return w.buf
}

// lay gives buf back once nothing waits: a connection that waits holds none, and the next one that writes finds its memory
// in the cache.
func (w *Writer) lay() {
	if w.room != nil && cap(w.buf) <= sendAt+joinMax {
		*w.room = w.buf[:0]
		rooms.Put(w.room)
	}
	w.room, w.buf = nil, nil
}

// rooms are the buffers of writers that have nothing to send.
var rooms = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// finish ends the answer; false if the connection cannot go on.
func (w *Writer) finish() bool {
	if !w.begun {
		w.header["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusOK)
	}
	if w.chunked {
		w.buf = append(w.waiting(), "0\r\n\r\n"...)
	}
	return w.send(nil) == nil && w.left == 0
}

// SetReadDeadline bounds reading of the request's body.
func (w *Writer) SetReadDeadline(t time.Time) error {
	w.c.until = 0
	return w.c.tcp.SetReadDeadline(t)
}

// SetWriteDeadline does nothing but say so: what is written has its time already.
func (w *Writer) SetWriteDeadline(time.Time) error { return http.ErrNotSupported }
