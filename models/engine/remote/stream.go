package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/upstream"
)

const readBuffer = 16 << 10

var errTooLong = errors.New("remote: the answer is too long")

// stream is an answer on its way. Its request lives in a context of its own, which ends some time after the caller's.
type stream struct {
	p      *Provider
	caller context.Context
	cancel context.CancelFunc
	left   func() bool // takes linger back
	stall  *time.Timer
	resp   *http.Response
	tally  tally
	body   lent // of the request

	buf    []byte
	read   int // bytes
	closed bool
}

// linger gives an answer whose caller left the time to tell its counts.
func (s *stream) linger() {
	if s.p.DrainTime < 0 {
		s.cancel()
		return
	}
	time.AfterFunc(s.p.DrainTime, s.cancel)
}

func (s *stream) release() {
	s.left()
	s.cancel()
	s.body.giveBack()
	if s.stall != nil {
		s.stall.Stop()
	}
}

func (s *stream) Status() int {
	if c := s.resp.StatusCode; c < 300 || c >= 400 {
		return c
	}
	return http.StatusBadGateway // it redirects, which is not followed
}

// Header has the time at which one of the keys is used again in place of what the provider said to the last of them.
func (s *stream) Header(name string) string {
	if s.resp.StatusCode == http.StatusTooManyRequests && name == "Retry-After" {
		if rest := s.p.rest(); rest > 0 {
			return strconv.FormatInt(int64((rest+time.Second-1)/time.Second), 10)
		}
	}
	return s.resp.Header.Get(name)
}

// Close ends the request. The body was read to its end where the connection is to serve again.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.release()
	return s.resp.Body.Close()
}

// Chunk implements upstream.Source.
func (s *stream) Chunk() ([]byte, error) {
	if s.buf == nil {
		s.buf = make([]byte, readBuffer)
	}
	for {
		n, err := s.resp.Body.Read(s.buf)
		s.stall.Reset(s.p.Stall)
		if s.read += n; s.read > s.p.MaxBytes {
			return nil, errTooLong
		}
		if n > 0 {
			return s.buf[:n], nil // an error comes again
		}
		if err != nil {
			return nil, err
		}
	}
}

// Buffered implements upstream.Source: nobody knows.
func (s *stream) Buffered() bool { return false }

// gone is the error of a caller that left, whatever ended the reading.
func (s *stream) gone(err error) error {
	if s.caller.Err() != nil && !errors.Is(err, io.EOF) {
		return fault.Wrap(s.caller.Err(), "reading the provider's answer")
	}
	return err
}

// whole is an answer that is no event stream; its counts are in it. It is read to its end though the caller left, as
// long as linger lets it: it was made and will be billed.
type whole struct{ *stream }

func (w *whole) Next() (engine.Chunk, error) {
	b, err := w.Chunk()
	return engine.Chunk{Data: b}, w.gone(err)
}

// events is an event stream.
type events struct {
	*stream
	ev   upstream.Events
	done bool
}

func newEvents(s *stream) *events { return &events{stream: s, ev: upstream.Events{R: s}} }

var _ engine.Drainer = (*events)(nil)

func (e *events) Close() error {
	e.ev.Release()
	return e.stream.Close()
}

func (e *events) Next() (engine.Chunk, error) {
	if e.caller.Err() != nil {
		return e.chunk(nil), fault.Wrap(e.caller.Err(), "reading the provider's answer")
	}
	data, err := e.next()
	return e.chunk(data), err
}

func (e *events) chunk(data []byte) engine.Chunk {
	c := e.tally.chunk(data)
	c.Done = e.done
	return c
}

// next counts what comes and leaves out what nobody asked for.
func (e *events) next() ([]byte, error) {
	data, err := e.ev.Next()
	if err == io.EOF && !e.done && !e.tally.closed { // it broke off, though in good form
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, e.gone(err)
	}
	out := 0
	for rest := data; len(rest) > 0; {
		one := rest[:eventEnd(rest)]
		rest = rest[len(one):]
		if e.tally.event(one) {
			out += copy(data[out:], one)
		}
	}
	e.done = e.ev.Done || e.tally.ended
	return data[:out], nil
}

// eventEnd is where the first event ends: behind its empty line.
func eventEnd(b []byte) int {
	for at := 0; at < len(b); {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			break
		}
		if line := b[at : at+i]; at > 0 && (len(line) == 0 || len(line) == 1 && line[0] == '\r') {
			return at + i + 1
		}
		at += i + 1
	}
	return len(b)
}

// Drain implements engine.Drainer. Its time is bounded for a caller, too, who takes nothing without hanging up.
func (e *events) Drain() engine.Chunk {
	if e.p.DrainTime > 0 {
		enough := time.AfterFunc(e.p.DrainTime, e.cancel)
		defer enough.Stop()
	}
	for most := e.read + e.p.DrainBytes; !e.done && e.read < most && e.p.DrainTime > 0; {
		if _, err := e.next(); err != nil {
			break
		}
	}
	return e.chunk(nil)
}
