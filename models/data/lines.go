package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
)

// lineReader yields the lines of a file without their ends (LF or CRLF), counting them, within the limits. A byte
// order mark at the start is dropped.
type lineReader struct {
	r    *bufio.Reader
	n    int64 // number of the line last returned, from 1
	left int64 // bytes that may still be read
	lim  Limits
	buf  []byte
}

func newLineReader(r io.Reader, lim Limits) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), left: lim.Bytes, lim: lim}
}

// next returns the next line, valid until the next call; io.EOF at the end, *badLine for a line that is too long or
// not UTF-8, fault.TooLarge when the file is.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if l.left -= int64(len(part)); l.left < 0 {
			return nil, fault.New(fault.TooLarge, "The file is larger than "+byteCount(l.lim.Bytes)+".", fault.Field("file"),
				fault.Fix("Split it into several data sets."))
		}
		if long = long || len(l.buf)+len(part) > l.lim.Line+2; !long {
			l.buf = append(l.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(l.buf) == 0 && !long {
			return nil, io.EOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		break
	}
	l.n++
	return l.check(long)
}

func (l *lineReader) check(long bool) ([]byte, error) {
	line := bytes.TrimSuffix(bytes.TrimSuffix(l.buf, []byte("\n")), []byte("\r"))
	if l.n == 1 {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if long || len(line) > l.lim.Line {
		return nil, &badLine{l.n, "it is longer than " + byteCount(int64(l.lim.Line))}
	}
	if !utf8.Valid(line) {
		return nil, &badLine{l.n, "it is not valid UTF-8"}
	}
	return line, nil
}

// docReader joins the lines of plain text into documents: a blank line ends one, and one that would grow past max
// bytes ends at a line end.
type docReader struct {
	lines *lineReader
	max   int
	doc   []byte // the document being made
	held  []byte // the line that begins the next one
	bad   *badLine
	eof   bool
}

// next returns the next document, valid until the next call; io.EOF at the end, *badLine for a broken line, which
// also ends the document before it.
func (d *docReader) next() ([]byte, error) {
	d.doc = append(d.doc[:0], d.held...)
	d.held = d.held[:0]
	for d.bad == nil && !d.eof {
		line, err := d.lines.next()
		switch {
		case errors.As(err, &d.bad):
		case errors.Is(err, io.EOF):
			d.eof = true
		case err != nil:
			return nil, err
		case blank(line):
			if len(d.doc) > 0 {
				return d.doc, nil
			}
		case len(d.doc) > 0 && len(d.doc)+1+len(line) > d.max:
			d.held = append(d.held, line...)
			return d.doc, nil
		case len(d.doc) > 0:
			d.doc = append(append(d.doc, '\n'), line...)
		default:
			d.doc = append(d.doc, line...)
		}
	}
	if len(d.doc) > 0 {
		return d.doc, nil
	}
	if bad := d.bad; bad != nil {
		d.bad = nil
		return nil, bad
	}
	return nil, io.EOF
}

func blank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }

func byteCount(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
