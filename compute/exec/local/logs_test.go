package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/exec/exectest"
	"github.com/triarch-ai/triarch/compute/job"
)

func openLog(t testing.TB, dir string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, logFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// readAll reads an output from an offset in pieces.
func readAll(t testing.TB, dir string, offset int64, piece int) (from int64, text string) {
	t.Helper()
	var b strings.Builder
	from = -1
	for {
		c, err := readLog(dir, offset, piece)
		if err != nil {
			t.Fatal(err)
		}
		if from < 0 {
			from = c.Offset
		} else if c.Offset != offset {
			t.Fatalf("asked for %d and got %d", offset, c.Offset)
		}
		if c.Next != c.Offset+int64(len(c.Data)) || len(c.Data) > piece {
			t.Fatalf("odd piece: %d to %d with %d bytes of at most %d", c.Offset, c.Next, len(c.Data), piece)
		}
		b.Write(c.Data)
		if offset = c.Next; len(c.Data) == 0 {
			return from, b.String()
		}
	}
}

// TestRotationKeepsEveryOffset writes and rotates in any order: what is still there must read as the end of all
// that was written, at its true offsets.
func TestRotationKeepsEveryOffset(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "log")
		if err != nil {
			rt.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, logFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		keep := rapid.IntRange(1, 3).Draw(rt, "keep")
		var all bytes.Buffer
		for i := range rapid.IntRange(1, 12).Draw(rt, "rounds") {
			text := strings.Repeat(fmt.Sprintf("round %d\n", i), rapid.IntRange(0, 3000).Draw(rt, "lines"))
			all.WriteString(text)
			if _, err := f.WriteString(text); err != nil {
				rt.Fatal(err)
			}
			if err := rotate(dir, f, 8000, keep); err != nil {
				rt.Fatal(err)
			}
			if st, err := f.Stat(); err != nil || st.Size() > 8000 {
				rt.Fatalf("the log still has %d bytes, %v", st.Size(), err)
			}
		}
		segs, err := segments(dir)
		if err != nil || len(segs) > keep+1 {
			rt.Fatalf("%d files, %v; want at most %d", len(segs), err, keep+1)
		}
		offset := rapid.Int64Range(0, int64(all.Len())).Draw(rt, "offset")
		from, got := readAll(t, dir, offset, rapid.IntRange(1000, 50000).Draw(rt, "piece"))
		if from < offset || got != all.String()[from:] || from != max(offset, segs[0].start) {
			rt.Fatalf("from %d on (asked %d) it reads %d bytes of %d", from, offset, len(got), all.Len()-int(from))
		}
	})
}

// TestRotationUnderWay rotates while a process writes. Where the file system can cut off a file's head, every line
// arrives once and in order; elsewhere the process pauses while it is rotated, as nothing better is promised.
func TestRotationUnderWay(t *testing.T) {
	dir := t.TempDir()
	f := openLog(t, dir)
	probe, err := os.CreateTemp(dir, "probe")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if _, err := probe.Write(make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	cuts := cutHead(probe, 4096) == nil
	const lines = 20000
	written := make(chan error, 1)
	writer := openLog(t, dir) // another open file, as the process has
	pause := make(chan struct{}, 1)
	go func() {
		for i := range lines {
			if !cuts {
				pause <- struct{}{}
			}
			if _, err := fmt.Fprintf(writer, "line %08d\n", i); err != nil {
				written <- err
				return
			}
			if !cuts {
				<-pause
			}
		}
		written <- nil
	}()
	rotations, ended := 0, false
	for !ended {
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		if !cuts {
			pause <- struct{}{}
		}
		before, _ := segments(dir)
		if err := rotate(dir, f, 16<<10, 1000); err != nil {
			t.Fatal(err)
		}
		if after, _ := segments(dir); len(after) > len(before) {
			rotations++
		}
		if !cuts {
			<-pause
		}
	}
	if rotations < 2 {
		t.Errorf("only %d rotations happened", rotations)
	}
	_, got := readAll(t, dir, 0, 1<<20)
	for i, line := range strings.Split(strings.TrimSuffix(got, "\n"), "\n") {
		if want := fmt.Sprintf("line %08d", i); line != want {
			t.Fatalf("line %d reads %q (%d rotations)", i, line, rotations)
		}
	}
	if len(got) != lines*14 {
		t.Errorf("%d bytes of %d arrived", len(got), lines*14)
	}
}

// TestSupervisorRotates has a process write more than its log may hold.
func TestSupervisorRotates(t *testing.T) {
	t.Parallel()
	x := open(t, place(t), func(o *Options) { o.LogBytes, o.LogKeep = 10000, 2 })
	task := job.Task{Job: "job_01hzzzzzzzzzzzzzzzzzzzzzz0", Attempt: 1, Command: exectest.Command("lines:3000", "hang"), Grace: time.Second}
	if err := x.Start(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	dir := x.AttemptDir(task.Job, 1)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if s, err := segments(dir); err == nil && len(s) > 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the log was never rotated")
		}
	}
	if err := x.Stop(t.Context(), task.Job, 1, patience, "enough"); err != nil {
		t.Fatal(err)
	}
	exectest.Await(t, x, task.Job, 1, job.PhaseEnded)
	c, err := x.Logs(t.Context(), task.Job, 1, 0, 1<<20)
	if err != nil || !c.Ended || !strings.HasSuffix(string(c.Data), "line 00002999\nready\nasked to end\n") || c.End != 3000*14+6+13 {
		t.Errorf("offset %d, end %d, ended %v, %v: ...%q", c.Offset, c.End, c.Ended, err, c.Data[max(0, len(c.Data)-60):])
	}
}

func TestProgressLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), job.ProgressFile)
	long := `{"step":2,"x":"` + strings.Repeat("y", 3<<20) + "\"}\n"
	if err := os.WriteFile(path, []byte("{\"step\":1}\n"+long+"{\"step\":3}\n{\"ste"), 0o600); err != nil {
		t.Fatal(err)
	}
	data, next, err := readLines(path, 0, 100)
	if err != nil || string(data) != "{\"step\":1}\n" {
		t.Fatalf("first %q, %v", data, err)
	}
	data, next, err = readLines(path, next, 100)
	if err != nil || string(data) != "{\"step\":3}\n" {
		t.Errorf("after a line without measure %q, %v", data, err)
	}
	data, again, err := readLines(path, next, 100)
	if err != nil || len(data) > 0 || again != next {
		t.Errorf("a line still being written reads %q, %d, %v", data, again, err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("z", 2<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, next, err := readLines(path, 0, 100); err != nil || len(data) > 0 || next != 0 {
		t.Errorf("an endless line reads %q, %d, %v", data, next, err)
	}
	// A worker is not trusted: its file may be a link to elsewhere, or nothing that ends.
	other := filepath.Join(filepath.Dir(path), "link")
	if err := os.Symlink(path, other); err != nil {
		t.Fatal(err)
	}
	if data, _, err := readLines(other, 0, 100); err == nil {
		t.Errorf("a link reads %q", data)
	}
	fifo := filepath.Join(filepath.Dir(path), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if data, _, err := readLines(fifo, 0, 100); err == nil {
		t.Errorf("a pipe reads %q", data)
	}
}
