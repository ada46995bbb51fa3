package wire

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrTooLong says that one event of a stream is above its limit.
var ErrTooLong = errors.New("wire: an event of the stream is too long")

// Emit takes one event of a stream: the name of a server-sent event (empty without one) and its data, which is only
// good until it returns. Its error ends the reading.
type Emit func(event string, data []byte) error

// Splitter cuts a stream into events wherever its chunks begin and end, holding no more than one event.
type Splitter interface {
	// Feed takes the next bytes.
	Feed(p []byte, emit Emit) error
	// End says that there are no more; a last event without its end is still given.
	End(emit Emit) error
}

// NewSSE splits server-sent events (the WHATWG HTML standard, section 9.2.6) of at most limit bytes each.
func NewSSE(limit int) Splitter { return &sse{limit: limit} }

type sse struct {
	line, data []byte
	event      string
	some       bool // a data line was seen
	cr         bool // the last byte was a carriage return: a line feed after it is the same end
	begun      bool
	limit      int
}

func (s *sse) Feed(p []byte, emit Emit) error {
	for len(p) > 0 {
		if s.cr {
			s.cr = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			if len(s.line)+len(p)+len(s.data) > s.limit {
				return ErrTooLong
			}
			s.line = append(s.line, p...)
			return nil
		}
		if len(s.line)+i+len(s.data) > s.limit {
			return ErrTooLong
		}
		line := p[:i]
		if len(s.line) > 0 {
			line = append(s.line, line...)
		}
		s.cr = p[i] == '\r'
		p = p[i+1:]
		err := s.take(line, emit)
		s.line = s.line[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sse) End(emit Emit) error {
	if len(s.line) > 0 {
		if err := s.take(s.line, emit); err != nil {
			return err
		}
		s.line = s.line[:0]
	}
	return s.take(nil, emit)
}

// take handles one line; an empty one ends the event.
func (s *sse) take(line []byte, emit Emit) error {
	if !s.begun {
		s.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) == 0 {
		event, some := s.event, s.some
		s.event, s.some = "", false
		data := s.data
		s.data = s.data[:0]
		if some {
			return emit(event, data)
		}
		return nil
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		if s.some {
			s.data = append(s.data, '\n')
		}
		s.data, s.some = append(s.data, value...), true
	case "event":
		s.event = string(value)
	}
	return nil
}

// NewElements splits a JSON array that arrives in pieces into its elements, of at most limit bytes each.
func NewElements(limit int) Splitter { return &elements{limit: limit} }

type elements struct {
	buf         []byte
	depth       int // brackets open around the next byte; 1 inside of the array
	quoted, esc bool
	begun, over bool
	limit       int
}

func (s *elements) Feed(p []byte, emit Emit) error {
	for _, c := range p {
		if err := s.take(c, emit); err != nil {
			return err
		}
	}
	return nil
}

func (s *elements) End(Emit) error {
	if s.begun && !s.over {
		return errors.New("wire: the array ends in the middle")
	}
	return nil
}

func (s *elements) take(c byte, emit Emit) error {
	space := c == ' ' || c == '\n' || c == '\r' || c == '\t'
	switch {
	case s.quoted:
		switch {
		case s.esc:
			s.esc = false
		case c == '\\':
			s.esc = true
		case c == '"':
			s.quoted = false
		}
	case space && s.depth <= 1:
		return nil
	case s.over || !s.begun && c != '[':
		return fmt.Errorf("wire: %q where an array should be", c)
	case c == '"':
		s.quoted = true
	case c == '[' || c == '{':
		if s.depth++; s.depth > MaxDepth {
			return ErrTooLong
		}
		if !s.begun {
			s.begun = true
			return nil
		}
	case c == ']' || c == '}':
		if s.depth--; s.depth == 0 {
			s.over = true
			return s.give(emit)
		}
	case c == ',' && s.depth == 1:
		return s.give(emit)
	}
	if len(s.buf) >= s.limit {
		return ErrTooLong
	}
	s.buf = append(s.buf, c)
	if s.depth == 1 && !s.quoted && c == '}' {
		return s.give(emit) // at once, without waiting for the comma
	}
	return nil
}

func (s *elements) give(emit Emit) error {
	if len(s.buf) == 0 {
		return nil
	}
	data := s.buf
	s.buf = s.buf[:0]
	return emit("", data)
}
