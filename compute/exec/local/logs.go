package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/compute/job"
)

// An attempt's output is in the file log; older output in files log.<offset>, named by the count of all bytes
// before them in 20 digits, so that their names sort and `cat log.* log` shows all there is.
const (
	logFile = "log"
	logLock = "log.lock" // held while files change places; readers share it
)

// segment is one file of an output: the bytes of it from offset start.
type segment struct {
	path        string
	start, size int64
}

// segments lists an output's files in order; the last is the one being written, and may be empty.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out []segment
	end := int64(0)
	for _, e := range entries { // sorted by name
		digits, ok := strings.CutPrefix(e.Name(), logFile+".")
		start, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || len(digits) != 20 {
			continue
		}
		st, err := e.Info()
		if err != nil {
			return nil, err
		}
		out = append(out, segment{filepath.Join(dir, e.Name()), start, st.Size()})
		end = start + st.Size()
	}
	last := segment{path: filepath.Join(dir, logFile), start: end}
	if st, err := os.Stat(last.path); err == nil {
		last.size = st.Size()
	}
	return append(out, last), nil
}

// rotate moves the older part of a log that has grown beyond limit into a file of its own and drops the oldest of
// those beyond keep. The process goes on writing to the same open file meanwhile: where the file system can cut
// off the head of a file (ext4, xfs) not a byte is lost; elsewhere what is written between the last copy and the
// cut, some microseconds, is.
func rotate(dir string, log *os.File, limit int64, keep int) error {
	st, err := log.Stat()
	if err != nil || st.Size() <= limit {
		return err
	}
	l, err := lock(filepath.Join(dir, logLock), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer l.Close()
	all, err := segments(dir)
	if err != nil {
		return err
	}
	const block = 4096 // head cuts come in whole blocks, and must leave something
	head := (st.Size() - 1) / block * block
	tmp := filepath.Join(dir, ".new-log")
	defer os.Remove(tmp)
	if err := moveHead(log, tmp, head); err != nil {
		return err
	}
	start := all[len(all)-1].start
	if err := os.Rename(tmp, filepath.Join(dir, fmt.Sprintf("%s.%020d", logFile, start))); err != nil {
		return err
	}
	all = all[:len(all)-1]
	for len(all)+1 > keep {
		if err := os.Remove(all[0].path); err != nil {
			return err
		}
		all = all[1:]
	}
	return nil
}

// moveHead makes a file of the first n bytes of log, or of all of it, and takes them out of log.
func moveHead(log *os.File, to string, n int64) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(log, 0, n)); err != nil {
		return err
	}
	if n > 0 && cutHead(log, n) == nil {
		return nil
	}
	for at := n; ; { // until a copy finds nothing new
		m, err := io.Copy(out, io.NewSectionReader(log, at, 1<<62))
		if err != nil {
			return err
		}
		if at += m; m == 0 {
			return log.Truncate(0)
		}
	}
}

// Logs reads an attempt's output, see job.Executor.
func (x *Executor) Logs(ctx context.Context, jobID string, attempt int, offset int64, limit int) (job.LogChunk, error) {
	st, err := x.Status(ctx, jobID, attempt) // before reading: what was written until then is read below
	if err != nil {
		return job.LogChunk{}, err
	}
	c, err := readLog(x.AttemptDir(jobID, attempt), offset, limit)
	c.Ended = st.Phase == job.PhaseEnded && c.Next == c.End
	return c, wrap(err, "reading the log of an attempt")
}

func readLog(dir string, offset int64, limit int) (job.LogChunk, error) {
	if !exists(dir, logFile) {
		return job.LogChunk{}, nil
	}
	l, err := lock(filepath.Join(dir, logLock), unix.LOCK_SH)
	if err != nil {
		return job.LogChunk{}, err
	}
	defer l.Close()
	all, err := segments(dir)
	if err != nil {
		return job.LogChunk{}, err
	}
	last := all[len(all)-1]
	c := job.LogChunk{End: last.start + last.size}
	c.Offset = min(max(offset, all[0].start), c.End)
	c.Next = c.Offset
	for _, s := range all {
		room := int64(limit) - int64(len(c.Data))
		if c.Next >= s.start+s.size || room <= 0 {
			continue
		}
		b, err := readPart(s.path, c.Next-s.start, min(room, s.start+s.size-c.Next))
		if err != nil {
			return job.LogChunk{}, err
		}
		c.Data = append(c.Data, b...)
		c.Next += int64(len(b))
	}
	return c, nil
}

func readPart(path string, from, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, from, n))
}

// maxLine is the longest line of progress that is handed on; longer ones are skipped.
const maxLine = 1 << 20

// Progress reads whole lines of an attempt's progress file, see job.Executor.
func (x *Executor) Progress(_ context.Context, jobID string, attempt int, offset int64, limit int) ([]byte, int64, error) {
	if err := x.checked(jobID, attempt); err != nil {
		return nil, offset, err
	}
	data, next, err := readLines(filepath.Join(x.AttemptDir(jobID, attempt), job.ProgressFile), max(0, offset), limit)
	return data, next, wrap(err, "reading the progress of an attempt")
}

func readLines(path string, offset int64, limit int) ([]byte, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, offset, nil
	}
	if err != nil {
		return nil, offset, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, offset, errors.Join(err, errors.New("the progress file is no regular file"))
	}
	for {
		b, err := io.ReadAll(io.NewSectionReader(f, offset, int64(max(limit, maxLine))))
		if err != nil {
			return nil, offset, err
		}
		if i := bytes.LastIndexByte(b[:min(limit, len(b))], '\n'); i >= 0 {
			return b[:i+1], offset + int64(i) + 1, nil
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 { // one line longer than the limit
			return b[:i+1], offset + int64(i) + 1, nil
		}
		if len(b) < maxLine {
			return nil, offset, nil // a line that is still being written, or nothing
		}
		end, err := nextLine(f, offset+int64(len(b)))
		if err != nil || end < 0 {
			return nil, offset, err
		}
		offset = end
	}
}

// nextLine finds where the line after the one around offset begins; -1 if that line has no end yet.
func nextLine(f *os.File, offset int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := f.ReadAt(buf, offset)
		if i := slices.Index(buf[:n], '\n'); i >= 0 {
			return offset + int64(i) + 1, nil
		}
		if errors.Is(err, io.EOF) {
			return -1, nil
		}
		if err != nil {
			return -1, err
		}
		offset += int64(n)
	}
}
