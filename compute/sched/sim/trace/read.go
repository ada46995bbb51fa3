package trace

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Options of reading a trace.
type Options struct {
	File    string // for messages
	SkipBad bool   // count rows that cannot be true instead of failing on the first
}

// Report is what reading a trace came to beside its jobs.
type Report struct {
	Form    string `json:"form"`
	Rows    int    `json:"rows"`
	Skipped int    `json:"skipped"`
	First   string `json:"first_skipped,omitempty"` // why the first skipped row was
}

// Read reads a trace of any form, plain or gzip, sorted by submission.
func Read(r io.Reader, o Options) ([]Job, Report, error) {
	t, err := open(r, o)
	if err != nil {
		return nil, Report{}, err
	}
	form, err := formOf(t)
	if err != nil {
		return nil, Report{}, err
	}
	rep := Report{Form: form.name}
	var jobs []Job
	seen := map[string]int{}
	for t.next() {
		rep.Rows++
		if rep.Rows > MaxRows {
			return nil, rep, fault.New(fault.TooLarge, fmt.Sprintf("%s has more than %d rows.", o.File, MaxRows), fault.Fix("Cut it into parts"))
		}
		job := Job{Spec: Spec{Line: int32(t.line), Share: 1000, Preemptible: true}}
		form.fill(t, &job)
		if t.err == nil {
			t.check(&job, seen)
		}
		if t.err != nil {
			if !o.SkipBad {
				return nil, rep, t.err
			}
			if rep.Skipped == 0 {
				rep.First = fault.As(t.err).Sentence()
			}
			rep.Skipped++
			t.err = nil
			continue
		}
		jobs = append(jobs, job)
	}
	if t.fatal != nil {
		return nil, rep, t.fatal
	}
	if len(jobs) == 0 {
		return nil, rep, fault.New(fault.Invalid, fmt.Sprintf("%s has no job.", o.File))
	}
	slices.SortStableFunc(jobs, func(a, b Job) int {
		switch {
		case a.Submit < b.Submit:
			return -1
		case a.Submit > b.Submit:
			return 1
		}
		return 0
	})
	return jobs, rep, nil
}

// form is one shape of trace: the columns that tell it and the function that fills a job from a row.
type form struct {
	name string
	must []string
	may  []string // nil: any other column is passed over
	fill func(*table, *Job)
}

var forms = []form{
	{"own", []string{"job", "submit", "duration"}, ownMay, fillOwn},
	{"itp", []string{"cluster", "job_id", "duration", "num_gpu"}, nil, fillITP},
	{"openb", []string{"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"}, nil, fillOpenb},
}

func formOf(t *table) (form, error) {
	if t.has("worker_type") && t.has("iters_per_s") {
		return form{}, fault.New(fault.Invalid, t.file+" is a table of throughputs, not a trace of jobs.", fault.Fix("Give it as the throughput file beside a trace"))
	}
	if t.has("sn") && t.has("model") {
		return form{}, fault.New(fault.Invalid, t.file+" is a list of nodes, not a trace of jobs.", fault.Fix("Give it with --fleet"))
	}
	for _, f := range forms {
		if slices.ContainsFunc(f.must, func(c string) bool { return !t.has(c) }) {
			continue
		}
		for _, c := range t.heads {
			if f.may != nil && !slices.Contains(f.must, c) && !slices.Contains(f.may, c) {
				return form{}, fault.New(fault.Invalid, fmt.Sprintf("%s has an unknown column %q.", t.file, c), fault.Field(c),
					fault.Fix("The nearest known one is %q", nearest.Name(c, slices.Concat(f.must, f.may))))
			}
		}
		return f, nil
	}
	return form{}, fault.New(fault.Invalid, fmt.Sprintf("%s begins with columns %s, which is no known form of trace.", t.file, strings.Join(t.heads, ",")),
		fault.Fix("The least a trace has is job,submit,duration,chips"))
}

// check says what cannot be true of any job, whatever the form.
func (t *table) check(j *Job, seen map[string]int) {
	switch {
	case j.ID == "":
		t.bad("job", "the id is empty")
	case seen[j.ID] != 0:
		t.bad("job", "the id %q is that of line %d too", j.ID, seen[j.ID])
	case j.Chips == 0 && j.CPU == 0:
		t.bad("chips", "it asks for no chip and no CPU")
	case j.Share != 1000 && j.Chips != 1:
		t.bad("share", "a share of a chip needs chips 1, not %d", j.Chips)
	case j.Chips > 0 && (j.Share < 1 || j.Share > 1000):
		t.bad("share", "%d is not 1 to 1000 thousandths", j.Share)
	case j.Deadline != 0 && j.Deadline < j.Submit:
		t.bad("deadline", "it lies before the submission")
	}
	if t.err != nil {
		return
	}
	if j.MinChips == 0 {
		j.MinChips = j.Chips
	}
	if j.MaxChips == 0 {
		j.MaxChips = j.Chips
	}
	switch {
	case j.MinChips > j.Chips:
		t.bad("min_chips", "%d is above chips %d", j.MinChips, j.Chips)
	case j.MaxChips < j.Chips:
		t.bad("max_chips", "%d is below chips %d", j.MaxChips, j.Chips)
	case j.Share != 1000 && j.Elastic():
		t.bad("share", "a share of a chip cannot be elastic")
	}
	if t.err == nil {
		seen[j.ID] = int(j.Line)
	}
}

// table walks the rows of a CSV text. The first wrong cell of a row is kept in err; fatal ends the walk.
type table struct {
	file  string
	in    *bounded
	scan  *bufio.Scanner
	heads []string
	col   map[string]int
	cells []string
	line  int
	err   error
	fatal error
	names map[string]string
}

// open undoes gzip, bounds the text and reads the header.
func open(r io.Reader, o Options) (*table, error) {
	if o.File == "" {
		o.File = "the trace"
	}
	b := bufio.NewReaderSize(r, 1<<16)
	var src io.Reader = b
	if magic, _ := b.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fault.New(fault.Invalid, o.File+" is damaged gzip.", fault.Cause(err))
		}
		src = z
	}
	in := &bounded{r: src, left: MaxText}
	t := &table{file: o.File, in: in, scan: bufio.NewScanner(in), col: map[string]int{}, names: map[string]string{}}
	t.scan.Buffer(make([]byte, 0, 4096), MaxLine)
	if !t.next() {
		if t.fatal != nil {
			return nil, t.fatal
		}
		return nil, fault.New(fault.Invalid, o.File+" is empty.", fault.Fix("A trace begins with a line of column names"))
	}
	for i, h := range t.cells {
		h = strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))
		if _, twice := t.col[h]; twice {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("%s has the column %q twice.", o.File, h), fault.Field(h))
		}
		t.col[strings.Clone(h)] = i
		t.heads = append(t.heads, strings.Clone(h))
	}
	return t, nil
}

// bounded fails, unlike io.LimitReader, when more than left bytes come, and keeps how reading failed: the scanner hands
// out the last piece of a torn text before it tells.
type bounded struct {
	r    io.Reader
	left int64
	err  error
}

var errTooLong = errors.New("text too long")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.err = errTooLong
		return 0, b.err
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// next moves to the next row that is not empty; a row of another width than the header is its first error.
func (t *table) next() bool {
	for t.fatal == nil && t.scan.Scan() && t.in.err == nil {
		t.line++
		text := strings.TrimSuffix(t.scan.Text(), "\r")
		if text == "" {
			continue
		}
		t.cells = split(text, t.cells[:0])
		if t.heads != nil && len(t.cells) != len(t.heads) {
			t.bad("", "it has %d cells where the header has %d", len(t.cells), len(t.heads))
		}
		return true
	}
	if err := cmp.Or(t.in.err, t.scan.Err()); err != nil && t.fatal == nil {
		t.fatal = fault.New(fault.Invalid, fmt.Sprintf("%s cannot be read beyond line %d: %s.", t.file, t.line, plainly(err)), fault.Cause(err))
	}
	return false
}

func plainly(err error) string {
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Sprintf("a line is longer than %d bytes", MaxLine)
	case errors.Is(err, errTooLong):
		return fmt.Sprintf("the text is longer than %d GiB", MaxText>>30)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the gzip ends too early"
	}
	return "damaged gzip or unreadable file"
}

// split cuts a CSV line; a cell in double quotes may hold commas, and a doubled quote stands for one.
func split(line string, cells []string) []string {
	for {
		if !strings.HasPrefix(line, `"`) {
			cell, rest, more := strings.Cut(line, ",")
			cells = append(cells, cell)
			if !more {
				return cells
			}
			line = rest
			continue
		}
		var b strings.Builder
		line = line[1:]
		for {
			part, rest, closed := strings.Cut(line, `"`)
			b.WriteString(part)
			line = rest
			if !closed || !strings.HasPrefix(line, `"`) {
				break
			}
			b.WriteByte('"')
			line = line[1:]
		}
		tail, rest, more := strings.Cut(line, ",")
		cells = append(cells, b.String()+tail)
		if !more {
			return cells
		}
		line = rest
	}
}

func (t *table) has(col string) bool { _, ok := t.col[col]; return ok }

// bad keeps the first thing wrong with the row.
func (t *table) bad(col, format string, args ...any) {
	if t.err != nil {
		return
	}
	where := fmt.Sprintf("%s line %d", t.file, t.line)
	if col != "" {
		where += ", " + col
	}
	t.err = fault.New(fault.Invalid, where+": "+fmt.Sprintf(format, args...)+".", fault.Field(col))
}

// cell is a trimmed cell; empty where the column is missing. It shares the row's memory: name keeps one.
func (t *table) cell(col string) string {
	i, ok := t.col[col]
	if !ok || i >= len(t.cells) {
		return ""
	}
	return strings.TrimSpace(t.cells[i])
}

// name is a cell whose few distinct values are stored once.
func (t *table) name(col string) string {
	c := t.cell(col)
	if c == "" {
		return ""
	}
	if kept, ok := t.names[c]; ok {
		return kept
	}
	c = strings.Clone(c)
	t.names[c] = c
	return c
}

// number is a finite number from lo to hi; an empty or missing cell is def, or an error where def is NaN.
func (t *table) number(col string, lo, hi, def float64) float64 {
	c := t.cell(col)
	if c == "" {
		if math.IsNaN(def) {
			t.bad(col, "it is empty")
			return 0
		}
		return def
	}
	v, err := strconv.ParseFloat(c, 64)
	switch {
	case err != nil || math.IsNaN(v):
		t.bad(col, "%s is not a number", quoted(c))
	case v < lo && lo == 0:
		t.bad(col, "%s is negative", quoted(c))
	case v < lo || v > hi:
		t.bad(col, "%s is not from %g to %g", quoted(c), lo, hi)
	default:
		return v
	}
	return 0
}

func quoted(c string) string {
	if len(c) > 40 {
		c = c[:40] + "..."
	}
	return strconv.Quote(c)
}

// whole is a whole number from lo to hi.
func (t *table) whole(col string, lo, hi, def float64) int64 {
	v := t.number(col, lo, hi, def)
	if v != math.Trunc(v) {
		t.bad(col, "%s is not a whole number", quoted(t.cell(col)))
		return 0
	}
	return int64(v)
}

// seconds is a point or stretch of time, written in seconds.
func (t *table) seconds(col string, def float64) time.Duration {
	return time.Duration(math.Round(t.number(col, 0, MaxSpan.Seconds(), def)*1e6)) * time.Microsecond
}

var must = math.NaN()
