package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// KeepBad is how many broken lines a version, or the error of a failed import, remembers one by one.
const KeepBad = 20

// maxMessages bounds the turns of one conversation.
const maxMessages = 4096

// BadLines is the cause inside the error of an import that met broken lines. More says that reading stopped before
// the end of the file.
type BadLines struct {
	Lines []BadLine
	More  bool
}

// Error lists the lines.
func (b *BadLines) Error() string {
	var s strings.Builder
	for i, l := range b.Lines {
		if i > 0 {
			s.WriteString("; ")
		}
		fmt.Fprintf(&s, "line %d: %s", l.Line, strings.TrimRight(l.Reason, "."))
	}
	if b.More {
		s.WriteString("; and more")
	}
	return s.String()
}

// Import reads r to its end as records of the format and makes them a version of the named data set, or returns the
// version that already holds the same records. Memory is constant: one line at a time, the records stream into the
// blob store.
//
// A broken line (not UTF-8, not JSON, wrong fields, too long) fails the import with a fault.Invalid that names the
// first KeepBad lines and reasons, cause *BadLines; with opt.SkipBad such lines are left out and counted. Nothing is
// stored when it fails. Other errors: fault.Invalid for a bad name, format or a file without records,
// fault.TooLarge above the limits, and what the stores return.
func (s *Service) Import(ctx context.Context, project, name string, format Format, r io.Reader, opt Options) (Version, error) {
	if err := ref.Check("name", name); err != nil {
		return Version{}, err
	}
	if _, err := ParseFormat(string(format)); err != nil {
		return Version{}, err
	}
	n := newNormaliser(r, format, s.Limits.filled(), opt.SkipBad)
	stored, size, err := s.Blobs.Put(ctx, n)
	if n.err != nil && !errors.Is(n.err, io.EOF) {
		err = n.err // the reader's own reason says more than the store's wrapping of it
	}
	if err != nil {
		return Version{}, err
	}
	v, err := s.Store.Add(ctx, Version{
		ID: s.IDs.New("dv"), Project: project, DataSet: name, Format: format, Ref: stored, Bytes: size,
		Records: n.records, Chars: n.chars, Bad: n.bad, BadLines: n.badLines,
		CreatedBy: opt.CreatedBy, CreatedAt: s.Now().UTC().Truncate(time.Microsecond),
	})
	if err != nil {
		return Version{}, err
	}
	v.Bad, v.BadLines = n.bad, n.badLines // of this file, also when an older version holds the same records
	return v, nil
}

func (l Limits) filled() Limits {
	if l.Line == 0 {
		l.Line = 4 << 20
	}
	if l.Record == 0 {
		l.Record = 1 << 20
	}
	if l.Bytes == 0 {
		l.Bytes = 64 << 30
	}
	return l
}

// normaliser is the io.Reader that the blob store drains: it pulls lines from the file and yields the stored form.
type normaliser struct {
	lines  *lineReader
	parse  func() ([]byte, error) // next stored record without line break; io.EOF at the end
	skip   bool
	doc    docReader
	out    bytes.Buffer // what has been made but not yet read
	err    error        // why it ended; io.EOF when well
	enc    encoder
	failed bool // a broken line was met and skip is off: read on for more of them, store nothing

	records, chars, bad int64
	badLines            []BadLine
}

func newNormaliser(r io.Reader, format Format, lim Limits, skip bool) *normaliser {
	n := &normaliser{lines: newLineReader(r, lim), skip: skip}
	n.enc.init()
	n.parse = n.nextObject(format)
	if format == Text {
		n.doc = docReader{lines: n.lines, max: lim.Record}
		n.parse = n.nextDocument
	}
	return n
}

// Read implements io.Reader. After a broken line without skip it yields an error, never a short but valid end.
func (n *normaliser) Read(p []byte) (int, error) {
	for n.out.Len() == 0 {
		if n.err == nil {
			n.fill()
		}
		if n.err != nil && n.out.Len() == 0 {
			return 0, n.err
		}
	}
	return n.out.Read(p)
}

// fill makes the next record or sets err.
func (n *normaliser) fill() {
	rec, err := n.parse()
	var bad *badLine
	switch {
	case errors.As(err, &bad):
		n.noteBad(bad)
	case errors.Is(err, io.EOF):
		n.err = n.finish()
	case err != nil:
		n.err = err
	case !n.failed:
		n.records++
		n.out.Write(rec)
		n.out.WriteByte('\n')
	}
}

func (n *normaliser) noteBad(b *badLine) {
	n.bad++
	if len(n.badLines) < KeepBad {
		n.badLines = append(n.badLines, BadLine{Line: b.line, Reason: b.reason})
	}
	if n.skip {
		return
	}
	n.failed = true
	if len(n.badLines) == KeepBad {
		n.err = n.badFault(true)
	}
}

func (n *normaliser) finish() error {
	if n.failed {
		return n.badFault(false)
	}
	if n.records == 0 {
		e := fault.New(fault.Invalid, "The file holds no record.", fault.Field("file"), fault.Code("no_records"))
		if n.bad > 0 {
			e.Message = fmt.Sprintf("The file holds no good record: all %d lines are broken, line %d: %s",
				n.bad, n.badLines[0].Line, n.badLines[0].Reason)
		}
		return e
	}
	return io.EOF
}

// badFault says which lines are broken: the first three in the sentence, all that are known in the cause.
func (n *normaliser) badFault(more bool) error {
	cause := &BadLines{Lines: n.badLines, More: more}
	shown := &BadLines{Lines: cause.Lines[:min(3, len(cause.Lines))], More: more || len(cause.Lines) > 3}
	return fault.New(fault.Invalid, "The file has broken lines: "+shown.Error()+".", fault.Field("file"),
		fault.Code("bad_lines"), fault.Cause(cause),
		fault.Fix("Mend them, or leave them out with --skip-bad."))
}

// badLine is the internal signal for one broken line; parsing goes on after it.
type badLine struct {
	line   int64
	reason string
}

func (b *badLine) Error() string { return fmt.Sprintf("line %d: %s", b.line, b.reason) }
