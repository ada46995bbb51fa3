package upstream

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
)

// Source is what events are read from; a Response is one.
type Source interface {
	// Chunk returns the next bytes, at least one, valid until the next call; io.EOF at the end.
	Chunk() ([]byte, error)
	// Buffered says whether the next Chunk comes without waiting.
	Buffered() bool
}

// Events reads a stream of server-sent events as whole events, drops comments, and keeps the running token counts
// that a comment of the form ": t PROMPT COMPLETION [CACHED [REASONING]]" tells.
type Events struct {
	R Source

	room *[]byte // what buf began as; nil while there is none
	buf  []byte  // lines not handed out yet, from tail on
	tail int
	err  error

	// Prompt and Completion are the counts of the events handed out so far; Done is set once the event that ends the
	// stream, "data: [DONE]", was among them: it is the last one, and what comes behind it is dropped.
	// Cached and Reasoning are parts of the counts: tokens from the engine's prompt cache, and tokens of reasoning.
	Prompt, Completion, Cached, Reasoning int
	Done                                  bool

	ahead [4]int // told by comments since the last whole event: prompt, completion, cached, reasoning
}

const (
	maxEvent = 4 << 20  // bytes of one event
	coalesce = 32 << 10 // bytes read ahead at most
	piece    = 16000    // bytes handed out at once at most, if events are smaller: what server/front sends with one call
)

var (
	errAfterDone = errors.New("upstream: the stream goes on behind its end")

	errEvent = errors.New("upstream: an event of the stream is too long")
	countTag = []byte(": t ")
	doneLine = []byte("data: [DONE]")
)

// Release gives the buffer back for other streams; what Next returned is no longer valid.
func (e *Events) Release() {
	e.lay()
	if e.err == nil {
		e.err = io.ErrClosedPipe
	}
}

// lay gives the buffer back, and take has one again: a stream that is silent holds none.
func (e *Events) lay() {
	if e.room != nil && cap(e.buf) <= 2*coalesce {
		*e.room = e.buf[:0]
		buffers.Put(e.room)
	}
	e.room, e.buf, e.tail = nil, nil, 0
}

func (e *Events) take() {
	if e.room == nil {
		e.room = buffers.Get().(*[]byte)
		e.buf = *e.room
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, firstBuffer); return &b }}

// Next returns whole events that have arrived, at least one, waiting for it; valid until the next call. After the last
// one it returns io.EOF, or io.ErrUnexpectedEOF if the stream ended inside an event or was broken off.
func (e *Events) Next() ([]byte, error) {
	if e.err == nil {
		e.take()
	}
	for {
		n := copy(e.buf, e.buf[e.tail:])
		e.buf, e.tail = e.buf[:n], 0
		if out := e.events(); len(out) > 0 {
			return out, nil
		}
		if e.tail > 0 { // nothing but comments
			continue
		}
		if e.err != nil {
			break
		}
		e.read()
	}
	if e.err == io.EOF && len(e.buf) > 0 {
		e.err = io.ErrUnexpectedEOF
	}
	return nil, e.err
}

// read appends what comes next, and what has come already behind it.
func (e *Events) read() {
	if e.Done {
		if _, e.err = e.R.Chunk(); e.err == nil {
			e.err = errAfterDone
		}
		return
	}
	if len(e.buf) > maxEvent {
		e.err = errEvent
		return
	}
	if len(e.buf) == 0 && !e.R.Buffered() {
		e.lay()
	}
	b, err := e.R.Chunk()
	e.take()
	e.buf = append(e.buf, b...)
	for err == nil && e.R.Buffered() && len(e.buf) < coalesce {
		b, err = e.R.Chunk()
		e.buf = append(e.buf, b...)
	}
	e.err = err
}

// events moves whole events to the front of the buffer, without the comments, and returns them; what is behind the
// last one stays for later, comments included: their counts are of an event that is yet to come.
func (e *Events) events() []byte {
	whole := boundary(e.buf[:min(len(e.buf), piece)])
	if whole == 0 && len(e.buf) > piece {
		whole = boundary(e.buf)
	}
	b, out, has := e.buf[:whole], 0, false
	for pos := 0; pos < whole; {
		line := b[pos : pos+bytes.IndexByte(b[pos:], '\n')+1]
		pos += len(line)
		switch text := trimEnd(line); {
		case len(text) == 0:
			if has {
				for i, n := range [...]*int{&e.Prompt, &e.Completion, &e.Cached, &e.Reasoning} {
					*n = max(*n, e.ahead[i])
				}
				out += copy(b[out:], line)
			}
			if has = false; e.Done {
				whole = pos
			}
		case text[0] == ':':
			if bytes.HasPrefix(text, countTag) {
				e.count(text[len(countTag):])
			}
		default:
			has, e.Done = true, e.Done || bytes.Equal(text, doneLine)
			out += copy(b[out:], line)
		}
	}
	if e.tail = whole; e.Done {
		e.buf = e.buf[:whole]
	}
	return b[:out]
}

// boundary is where the last whole event of b ends: behind its empty line.
func boundary(b []byte) int {
	end := 0
	if i := bytes.LastIndex(b, []byte("\n\n")); i >= 0 {
		end = i + 2
	}
	if i := bytes.LastIndex(b[end:], []byte("\n\r\n")); i >= 0 {
		end += i + 3
	}
	return end
}

func trimEnd(line []byte) []byte {
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// count reads "PROMPT COMPLETION", and what may follow of them; anything else is a comment like others.
func (e *Events) count(text []byte) {
	var told [4]int
	n := 0
	for more := true; more; n++ {
		var word []byte
		word, text, more = bytes.Cut(text, []byte(" "))
		v, err := strconv.ParseUint(string(word), 10, 31)
		if err != nil || n == len(told) {
			return
		}
		told[n] = int(v)
	}
	if n >= 2 {
		e.ahead = told
	}
}
